"""What the clients saw, judged a second time: by the linearizability checker, which knows nothing of the log and its indexes; and by the
replay that knows nothing but the indexes which the answers told, and so judges selects of the whole table as well.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ddbd.commands import Delete, Insert, Update

sys.path.append(str(Path(__file__).resolve().parent.parent / "linear"))

from linear_checker import NO, NOT_KNOWN, check
from linear_history import NEVER, OK, REFUSED, UNKNOWN
from linear_history import Operation as Seen
from linear_index import index_findings

if TYPE_CHECKING:
    from sim_clients import Operation
    from sim_world import World

STEPS_MAX = 100_000  # for each row; with an unknown write among each handful of others a search may have no end


def check_linearizable(world: World) -> None:
    """Once all is quiet. Rows do not depend on each other: a write of two rows is one write of each."""
    operations = [(client.name, operation) for client in world.clients for operation in client.done]
    told = [seen for number, (client, operation) in enumerate(operations, 1) for seen in _seen(client, operation, number)]
    history = [each._replace(number=number) for number, each in enumerate(told)]
    found = check(history, STEPS_MAX)
    if found.verdict == NO:
        world.violate(f"linearizability: {found.reason}")
    for sentence in index_findings(history)[:1]:
        world.violate(f"places in the log: {sentence}")
    world.sometimes["a history was too tangled to judge" if found.verdict == NOT_KNOWN else "a history was judged"] += 1


def _seen(client: str, operation: Operation, number: int) -> Iterator[Seen]:
    command = operation.command
    if operation.is_refused:
        return
    if command is None:
        if operation.applied_index and operation.is_linearizable:
            _, value, version = operation.row or ("", None, 0)
            when, index = (operation.called, operation.returned), operation.applied_index
            yield Seen(0, client, "read", operation.row_id, *when, OK, value, version, index=index)
            yield Seen(0, client, "select", "", *when, OK, [list(row) for row in operation.rows], index=index)
    elif isinstance(command, Insert | Update | Delete):
        rows = [row_id for row_id, _ in command.rows] if isinstance(command, Insert) else [command.row_id]
        for row_id in rows:
            yield _write(client, operation, command, row_id, number if len(rows) > 1 else 0)


def _write(client: str, operation: Operation, command: Insert | Update | Delete, row_id: str, batch: int) -> Seen:
    answer = operation.answer
    kind = (
        ("upsert" if command.upsert else "insert") if isinstance(command, Insert) else "update" if isinstance(command, Update) else "delete"
    )
    outcome = UNKNOWN if answer is None else REFUSED if answer.code else OK
    return Seen(
        number=0,
        client=client,
        kind=kind,
        key=row_id,
        called=operation.called,
        returned=NEVER if answer is None else operation.returned,
        outcome=outcome,
        value=None if kind == "delete" else operation.tag,
        version=answer.body["version"] if answer is not None and outcome == OK else 0,
        if_version=None if isinstance(command, Insert) else command.if_version,
        code="" if answer is None else answer.code,
        batch=batch,
    )
