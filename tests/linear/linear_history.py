"""What clients did to the rows and saw of them. One line of JSON an operation, so that a history can be judged again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"
NEVER = float("inf")
WRITES = ("insert", "upsert", "update", "delete")


class Operation(NamedTuple):
    """`called` and `returned` are of one clock. Attempts of a client that repeat a call with the same idempotency key are one operation.

    What was certainly not done does not belong into a history; what may have been done returns never.
    """

    number: int
    client: str
    kind: str  # one of WRITES, or "read"
    key: str  # the row
    called: float
    returned: float
    outcome: str
    value: Any = None  # written, or read; of a read of no row: None
    version: int = 0  # of the write; of a read: the row's, 0 for no row
    if_version: int | None = None
    code: str = ""  # of a refusal

    def __str__(self) -> str:
        asked = "" if self.if_version is None else f" if version {self.if_version}"
        shown = "" if self.kind == "delete" else f" {self.value!r}"
        came = {OK: f"version {self.version}", REFUSED: self.code, UNKNOWN: "unknown"}[self.outcome]
        until = "…" if self.returned == NEVER else f"{self.returned:.4f}"
        return f"#{self.number} {self.client} [{self.called:.4f}, {until}] {self.kind} {self.key}{shown}{asked} -> {came}"


def save(operations: Iterable[Operation], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for operation in operations:
            fields = operation._asdict()
            if operation.returned == NEVER:
                fields["returned"] = None
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def load(path: Path) -> list[Operation]:
    with path.open(encoding="utf-8") as file:
        found = [Operation(**json.loads(line)) for line in file if line.strip()]
    return [each._replace(returned=NEVER) if each.returned is None else each for each in found]
