"""What a client did and saw. One operation at a time for each client; the times are of one monotonic clock."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

OK = "ok"
REFUSED = "refused"  # the state did not allow it (404, 409, 412): the answer says something about the state
NOT_DONE = "not done"  # certainly; the answer says nothing about the state
UNKNOWN = "unknown"


@dataclass
class Operation:
    number: int
    client: str
    kind: str  # insert, upsert, update, delete, read, scan
    table: str
    row_id: str  # empty: the server makes it
    value: Any  # what is written; of a read or a scan: what was seen
    if_version: int | None = None
    key: str = ""  # the idempotency key
    node: int = 0  # the one that answered
    called: float = 0.0
    returned: float = 0.0  # infinity stands for unknown writes: they may take effect at any time later
    outcome: str = UNKNOWN
    code: str = ""
    version: int = 0  # of the write; of a read: of the row, 0 for none
    index: int = 0  # Ddb-Index of the reply
    attempts: int = 0
    was_full: bool = False  # an attempt was refused because a disk was full
    was_unknown: bool = False  # of an attempt nothing is known

    @property
    def is_write(self) -> bool:
        return self.kind not in ("read", "scan")


class History:
    """Filled by all clients at once."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def begin(self, client: str, kind: str, table: str, row_id: str, value: Any, if_version: int | None, key: str) -> Operation:
        operation = Operation(next(self._numbers), client, kind, table, row_id, value, if_version, key, called=time.monotonic())
        with self._lock:
            self.operations.append(operation)
        return operation

    def finish(self, operation: Operation) -> None:
        operation.returned = float("inf") if operation.outcome == UNKNOWN else time.monotonic()


def save(operations: Iterable[Operation], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for operation in operations:
            file.write(json.dumps(asdict(operation), ensure_ascii=False) + "\n")


def load(path: Path) -> list[Operation]:
    with path.open(encoding="utf-8") as file:
        return [Operation(**json.loads(line)) for line in file]
