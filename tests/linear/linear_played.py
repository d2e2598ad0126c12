"""Rows that are right, played by many clients at once: where good histories come from. It shares nothing with the model of the checker."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from linear_history import NEVER, OK, REFUSED, UNKNOWN, Operation

Row = tuple[Any, int] | None  # value, version


class Asked(NamedTuple):
    at: float  # when it takes effect
    operation: Operation


def execute(row: Row, operation: Operation, index: int) -> tuple[Operation, Row]:
    """What a server answers that does it at this index of the log, and the row after it."""
    if operation.kind == "read":
        value, version = row or (None, 0)
        return operation._replace(outcome=OK, value=value, version=version, code="", index=0), row
    code = ""
    if operation.kind == "insert" and row is not None:
        code = "row_exists"
    if operation.kind in ("update", "delete"):
        if row is None:
            code = "row_not_found"
        elif operation.if_version not in (None, row[1]):
            code = "version_mismatch"
    if code:
        return operation._replace(outcome=REFUSED, code=code, version=0), row
    done = operation._replace(outcome=OK, code="", version=index)
    if operation.kind == "delete":
        return done, None
    value = operation.value
    if isinstance(value, dict):
        old = row[0] if row is not None and operation.kind == "update" else {}
        value = {name: each for name, each in {**old, **value}.items() if each is not None}
    return done, (value, index)


def play(seed: int, count: int = 300, keys: int = 5, clients: int = 6, unknown: float = 0.05, slow: float = 1.0) -> list[Operation]:
    """One call at a time for each client, each done at some moment between call and return; of some writes the outcome is not told."""
    dice = random.Random(seed)
    rows: dict[str, Row] = dict.fromkeys(f"k{key}" for key in range(keys))
    done: list[Operation] = []
    for index, asked in enumerate(_asked(dice, count, list(rows), clients, slow), 1):
        operation = asked.operation
        if operation.kind == "select":
            shown = [[key, *row] for key, row in rows.items() if row is not None]
            done.append(operation._replace(value=shown, index=index))
            continue
        row = rows[operation.key]
        if operation.kind in ("update", "delete") and row is not None and dice.random() < 0.4:
            operation = operation._replace(if_version=dice.choice([row[1], row[1] + 1]))
        answered, rows[operation.key] = execute(row, operation, index)
        if operation.kind == "read":
            answered = answered._replace(index=index)
        elif answered.outcome == OK and dice.random() < unknown:
            answered = answered._replace(outcome=UNKNOWN, returned=NEVER, version=0)
        done.append(answered)
    return done


def _asked(dice: random.Random, count: int, keys: Sequence[str], clients: int, slow: float) -> list[Asked]:
    free = [0.0] * clients
    asked: list[Asked] = []
    for number in range(count):
        client = dice.randrange(clients)
        called = free[client] + dice.random()
        at = called + slow * dice.random()
        free[client] = returned = at + slow * dice.random()
        kind = dice.choice(["insert", "upsert", "update", "delete", "read", "read", "read" if number % 4 else "select"])
        value = None if kind in ("delete", "read", "select") else f"v{number}"
        key = "" if kind == "select" else dice.choice(keys)
        asked.append(Asked(at, Operation(number, f"c{client}", kind, key, called, returned, OK, value)))
    return sorted(asked, key=lambda each: each.at)
