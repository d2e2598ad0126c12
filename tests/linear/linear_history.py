"""What clients did to the rows and saw of them. One line of JSON an operation, so that a history can be judged again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"
NEVER = float("inf")
WRITES = ("insert", "upsert", "update", "delete")
READS = ("read", "select")


class Malformed(ValueError):
    """It is no history; nothing is said about who made it."""


class Operation(NamedTuple):
    """`called` and `returned` are of one clock. Attempts of a client that repeat a call with the same idempotency key are one operation.

    What was certainly not done does not belong into a history; what may have been done returns never. A write of several rows is one
    operation for each of them, all with the same `batch`.
    """

    number: int
    client: str
    kind: str  # one of WRITES, "read" of one row, or "select" of all rows whose key begins with `key`
    key: str  # the row
    called: float
    returned: float
    outcome: str
    value: Any = None  # JSON. Written, or read; of a read of no row: None; of a select: [key, value, version] of each row
    version: int = 0  # of the write; of a read: the row's, 0 for no row
    if_version: int | None = None
    code: str = ""  # of a refusal
    node: str = ""  # the one that answered
    index: int = 0  # type: ignore[assignment]  # of the log, that a read or select was answered at; 0: nobody said
    batch: int = 0  # not 0: all operations with this number were one write

    def __str__(self) -> str:
        asked = "" if self.if_version is None else f" if version {self.if_version}"
        shown = "" if self.kind in ("delete", "select") else f" {self.value!r}"
        if self.kind == "select":
            came = f"{len(self.value or ())} rows at index {self.index}" if self.outcome == OK else self.outcome
        else:
            came = {OK: f"version {self.version}", REFUSED: self.code, UNKNOWN: "unknown"}[self.outcome]
        until = "…" if self.returned == NEVER else f"{self.returned:.4f}"
        where = f" at node {self.node}" if self.node else ""
        return f"#{self.number} {self.client} [{self.called:.4f}, {until}] {self.kind} {self.key}{shown}{asked}{where} -> {came}"

    def problem(self) -> str:
        """Why no history has such an operation; empty: one may."""
        if self.kind not in (*WRITES, *READS):
            return f"kind is {self.kind!r}"
        if self.outcome not in (OK, REFUSED, UNKNOWN):
            return f"outcome is {self.outcome!r}; what was certainly not done is left out"
        if not self.called <= self.returned:
            return "it returned before it was called"
        if self.version < 0 or self.index < 0:
            return "versions and indexes are not negative"
        if self.outcome != OK and self.version:
            return "only what was acknowledged has a version"
        if self.kind == "read" and not self.version and self.value is not None:
            return "a read that found no row has no value"
        if self.if_version is not None and self.kind not in ("update", "delete"):
            return "only an update or a delete asks for a version"
        if self.outcome == REFUSED:
            return "" if self.code else "a refusal has a code"
        return "what was done has no code" if self.outcome == OK and self.code else ""


def checked(operations: Iterable[Operation]) -> list[Operation]:
    """Raises Malformed."""
    found = list(operations)
    for operation in found:
        if problem := operation.problem():
            raise Malformed(f"operation {operation.number}: {problem}: {operation!r}")
    return found


def save(operations: Iterable[Operation], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for operation in operations:
            fields = operation._asdict()
            if operation.returned == NEVER:
                fields["returned"] = None
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def load(path: Path) -> list[Operation]:
    """Raises Malformed, with the line's number; OSError."""
    found: list[Operation] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            operation = Operation(**json.loads(line))
            found.append(operation._replace(returned=NEVER) if operation.returned is None else operation)
            checked(found[-1:])
        except (ValueError, TypeError) as error:
            raise Malformed(f"line {number}: {error}") from error
    return found
