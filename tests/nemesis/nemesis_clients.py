"""The clients: threads in a namespace of their own, each with one call at a time, on all nodes.

    registers   a few rows that everybody inserts, updates (with and without if_version), deletes and reads
    tags        rows that are written once, with an Idempotency-Key, and repeated until they are acknowledged; whole selects
    counters    compare-and-set by if_version, repeated until the outcome is known

Every value is unique, so that each one read can be traced to the write that made it.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any
from urllib.parse import quote

from nemesis_history import NOT_DONE, OK, REFUSED, UNKNOWN, History, Operation
from nemesis_space import PORT, address_of, enter

from ddbd.cli.client import Client, NodeUnreachable, Reply

CALL_SECONDS = 4.0
SERVER_SECONDS = 3  # ?timeout: the server gives up before the client does
PAUSE_SECONDS = 0.06  # between two calls, at most
AGAIN_SECONDS = 0.1
PAD_CHARS, PAD_EVERY = 90_000, 25  # some entries are longer than a frame, and than a page of the disk
REGISTERS = 8
COUNTERS = 2
TABLES = {"registers": ["value"], "tags": ["value", "pad"], "counters": ["value"]}

_STATE_CODES = frozenset({"row_exists", "row_not_found", "version_mismatch"})
_NOT_DONE = frozenset({503, 507})


class Worker(threading.Thread):
    """Base of the clients: calls, retries, the record."""

    def __init__(self, name: str, home: int, nodes: int, space_fd: int, history: History, seed: str) -> None:
        super().__init__(name=name, daemon=True)
        self.history = history
        self.dice = random.Random(f"{seed} {name}")
        self.home = home
        self.stopping = threading.Event()
        self.giving_up = threading.Event()
        self.surprises: list[str] = []  # answers that no client may get
        self._nodes = nodes
        self._space_fd = space_fd
        self._count = 0
        self._connections: dict[int, Client] = {}

    def run(self) -> None:
        try:
            enter(self._space_fd)
            while not self.stopping.wait(self.dice.random() * PAUSE_SECONDS):
                self.step()
        except Exception as error:  # a mistake of the test must fail the test, not end one thread of it
            self.surprises.append(f"{self.name} ended: {type(error).__name__}: {error}")
            raise
        finally:
            for connection in self._connections.values():
                connection.close()

    def step(self) -> None:
        raise NotImplementedError

    def fresh(self) -> str:
        self._count += 1
        return f"{self.name}-{self._count}"

    def write(self, kind: str, table: str, row_id: str, value: Any, if_version: int | None = None, key: str = "") -> Operation:
        """With a key it is repeated, on any node, until the outcome is known."""
        operation = self.history.begin(self.name, kind, table, row_id, value, if_version, key)
        path, body = _write_call(operation)
        while True:
            self._attempt(operation, "POST", path, body, {"Idempotency-Key": key} if key else {})
            is_known = operation.outcome in (OK, REFUSED)
            if is_known or not key or self.giving_up.wait(AGAIN_SECONDS * self.dice.random()):
                break
        self.history.finish(operation)
        return operation

    def read(self, table: str, row_id: str) -> Operation:
        operation = self.history.begin(self.name, "read", table, row_id, None, None, "")
        self._attempt(operation, "GET", f"/select?table={table}&row_id={quote(row_id)}&versions=true&timeout={SERVER_SECONDS}")
        self.history.finish(operation)
        return operation

    def scan(self, table: str) -> Operation:
        operation = self.history.begin(self.name, "scan", table, "", None, None, "")
        self._attempt(operation, "GET", f"/select?table={table}&columns=value&versions=true&timeout={SERVER_SECONDS}")
        self.history.finish(operation)
        return operation

    def _attempt(self, operation: Operation, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> None:
        """One call. An attempt of which nothing is known stays in the operation: a later `not done` cannot take it back."""
        node = self.home if operation.attempts == 0 and self.dice.random() < 0.8 else self.dice.randrange(1, self._nodes + 1)
        operation.attempts += 1
        operation.node = node
        if node not in self._connections:
            self._connections[node] = Client(f"{address_of(node)}:{PORT}", CALL_SECONDS)
        try:
            reply = self._connections[node].request(method, path, body, headers)
        except NodeUnreachable as error:
            outcome = NOT_DONE if isinstance(error.__cause__, ConnectionRefusedError) else UNKNOWN
        else:
            outcome = self._judge(operation, reply)
        if not operation.is_write and outcome == UNKNOWN:
            outcome = NOT_DONE
        operation.outcome = UNKNOWN if operation.was_unknown and outcome == NOT_DONE else outcome
        operation.was_unknown |= outcome == UNKNOWN

    def _judge(self, operation: Operation, reply: Reply) -> str:
        operation.index = int(reply.headers.get("ddb-index", 0))
        operation.code = "" if reply.ok else reply.json().get("code", "")
        if reply.ok and operation.is_write:
            operation.version = reply.json()["version"]
            return OK
        if reply.ok:
            _take_rows(operation, reply.json())
            return OK
        if operation.code in _STATE_CODES:
            return REFUSED
        operation.was_full |= operation.code == "disk_full"
        if reply.status in _NOT_DONE:
            return NOT_DONE
        if reply.status != 504:
            self.surprises.append(f"{operation.kind} {operation.row_id} at node {operation.node}: {reply.status} {reply.text}")
        return UNKNOWN


def _take_rows(operation: Operation, rows: list[dict[str, Any]]) -> None:
    if operation.kind == "scan":
        operation.value = [[row["row_id"], row["value"], row["_version"]] for row in rows]
    elif rows:
        operation.value, operation.version = rows[0]["value"], rows[0]["_version"]


def _write_call(operation: Operation) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"table_name": operation.table}
    if operation.row_id:
        body["row_id"] = operation.row_id
    if operation.if_version is not None:
        body["if_version"] = operation.if_version
    if operation.kind == "delete":
        return f"/delete_record?timeout={SERVER_SECONDS}", body
    if operation.kind == "update":
        return f"/update?timeout={SERVER_SECONDS}", {**body, "new_data": {"value": operation.value}}
    if operation.kind == "upsert":
        body["upsert"] = True
    pad = {"pad": "x" * PAD_CHARS} if operation.table == "tags" and operation.number % PAD_EVERY == 0 else {}
    return f"/insert?timeout={SERVER_SECONDS}", {**body, "data": {"value": operation.value, **pad}}


class RegisterClient(Worker):
    def step(self) -> None:
        dice = self.dice
        row_id, what = f"r{dice.randrange(REGISTERS)}", dice.random()
        key = f"key {self.fresh()}" if dice.random() < 0.3 else ""
        if what < 0.4:
            self.read("registers", row_id)
        elif what < 0.55:
            self.write("insert", "registers", row_id, self.fresh(), key=key)
        elif what < 0.65:
            self.write("upsert", "registers", row_id, self.fresh(), key=key)
        elif what < 0.7:
            self.write("update", "registers", row_id, self.fresh(), key=key)
        elif what < 0.75:
            self.write("delete", "registers", row_id, None, key=key)
        else:
            seen = self.read("registers", row_id)
            if seen.outcome == OK and seen.version:
                kind = "update" if what < 0.93 else "delete"
                self.write(kind, "registers", row_id, self.fresh() if kind == "update" else None, seen.version, key)


class TagClient(Worker):
    def step(self) -> None:
        if self.dice.random() < 0.08:
            self.scan("tags")
            return
        tag = self.fresh()
        self.write("insert", "tags", tag if self.dice.random() < 0.5 else "", tag, key=f"key {tag}")


class CounterClient(Worker):
    def step(self) -> None:
        row_id = f"c{self.dice.randrange(COUNTERS)}"
        seen = self.read("counters", row_id)
        if seen.outcome == OK and seen.version:
            self.write("update", "counters", row_id, seen.value + 1, seen.version, f"key {self.fresh()}")


class Workload:
    """Clients of each kind at home on each node."""

    def __init__(self, nodes: int, space_fd: int, seed: str) -> None:
        self.history = History()
        self.workers: list[Worker] = []
        for home in range(1, nodes + 1):
            for kind, count in ((RegisterClient, 2), (TagClient, 1), (CounterClient, 1)):
                for number in range(count):
                    name = f"{kind.__name__.removesuffix('Client').lower()}{home}{'ab'[number]}"
                    self.workers.append(kind(name, home, nodes, space_fd, self.history, seed))

    def start(self) -> None:
        for worker in self.workers:
            worker.start()

    def stop(self, seconds: float) -> list[str]:
        """Those that repeat a write may come to its end within the seconds. Returns the surprises of all."""
        for worker in self.workers:
            worker.stopping.set()
        deadline = time.monotonic() + seconds
        for worker in self.workers:
            worker.join(max(0.0, deadline - time.monotonic()))
            worker.giving_up.set()
        for worker in self.workers:
            worker.join(2 * CALL_SECONDS)
        stuck = [f"{worker.name} does not end" for worker in self.workers if worker.is_alive()]
        return stuck + [surprise for worker in self.workers for surprise in worker.surprises]
