"""A client that writes rows one after another through one node, without a pause, and remembers what came of each.

It repeats nothing: a write that fails is counted and its row is given up. So a failure here is one that a plain client would have seen.
"""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from ddbd.cli.client import TIMEOUT_SECONDS, Client, NodeUnreachable

COLUMNS = ["writer", "number", "text"]
PAUSE_AFTER_FAILURE_SECONDS = 0.02  # a node that is gone refuses at once


class Ack(NamedTuple):
    row_id: str
    data: dict[str, object]
    begun: float  # time.monotonic()
    ended: float


class Writer(threading.Thread):
    """Starts writing with `start()`, stops with `finish()`. The table has COLUMNS."""

    def __init__(self, address: str, table: str, name: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        super().__init__(name=f"writer {name}", daemon=True)
        self.address = address
        self.acks: list[Ack] = []  # answered 200: never lost from here on
        self.failures: list[str] = []  # one sentence each
        self._table = table
        self._row_prefix = name
        self._timeout_seconds = timeout_seconds
        self._finished = threading.Event()

    def run(self) -> None:
        with Client(self.address, self._timeout_seconds) as client:
            number = 0
            while not self._finished.is_set():
                number += 1
                if not self._write(client, number):
                    self._finished.wait(PAUSE_AFTER_FAILURE_SECONDS)

    def _write(self, client: Client, number: int) -> bool:
        row_id = f"{self._row_prefix}-{number:08}"
        data: dict[str, object] = {"writer": self._row_prefix, "number": number, "text": f"{number} für alle"}
        begun = time.monotonic()
        try:
            reply = client.post("/insert", {"table_name": self._table, "row_id": row_id, "data": data, "upsert": True})
        except NodeUnreachable as error:
            self.failures.append(error.detail)
            return False
        if not reply.ok:
            self.failures.append(f"{self.address} answered {reply.status}: {reply.text}")
            return False
        self.acks.append(Ack(row_id, data, begun, time.monotonic()))
        return True

    def first_ack_after(self, moment: float) -> float | None:
        """Seconds from the moment to the end of the first acknowledged write that was begun after it."""
        found = None
        for place in range(len(self.acks) - 1, -1, -1):
            ack = self.acks[place]
            if ack.begun < moment:
                break
            found = ack.ended - moment
        return found

    def finish(self) -> None:
        """Lets the write under way come to its end."""
        self._finished.set()
        if self.is_alive():
            self.join()
