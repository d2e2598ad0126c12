"""The client for programs without a reactor: every call waits for its answer. One `Client` serves any number of threads.

    with Client("localhost:8080,localhost:8081,localhost:8082") as client:
        client.insert("students", {"name": "Ahmed"}, row_id="1")
        for row in client.select_rows("students"):
            ...

Clock, pauses, dice and sockets can be handed in; all else is decided in `attempts`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ddbd.client import calls
from ddbd.client.attempts import Attempts, Pause, Policy, Send, SendFailed
from ddbd.client.calls import Call, Column, Wanted
from ddbd.client.errors import ClientError, Refused
from ddbd.client.http import Answer
from ddbd.client.lines import PAGE_ROWS, Lines
from ddbd.client.load import Load, RefusedRow, line_of
from ddbd.client.nodes import Nodes
from ddbd.client.transport import Opened, Transport, read_whole
from ddbd.client.values import Loaded, NodeReport, Page, Row, StoredRow, Written, WrittenMany

T = TypeVar("T")

ONE_NODE = Policy(deadline_seconds=2.0, attempt_seconds=2.0)  # for a question to one node, which may be gone


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


class Client:
    """`nodes`: addresses, text with commas between them, or the Path of the cluster's config.json."""

    def __init__(
        self,
        nodes: Iterable[str] | str | Path,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        *,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = _pause,
        dice: Callable[[], float] = random.random,
    ) -> None:
        """Raises ConfigError."""
        self.nodes = Nodes.of(nodes)
        self.policy = policy
        if transport is None:
            from ddbd.client.sockets import Sockets  # http.client is dear to import, and `ddb --help` opens no connection

            transport = Sockets()
        self._transport: Transport = transport
        self._clock, self._pause, self._dice = clock, pause, dice

    def only(self, address: str, policy: Policy = ONE_NODE) -> Client:
        """A client for questions to one node. It shares the connections; closing this one closes them."""
        return Client([address], policy, transport=self._transport, clock=self._clock, pause=self._pause, dice=self._dice)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Databases and tables.

    def init_database(self, name: str, *, key: str | None = None) -> bool:
        """Makes the database the default one; False when it was there."""
        return self.run(calls.init_database(name, key))

    def drop_database(self, name: str, *, key: str | None = None) -> None:
        self.run(calls.drop_database(name, key))

    def create_table(self, table: str, columns: Iterable[Column], *, db: str | None = None, key: str | None = None) -> bool:
        """False when it was there with the same columns."""
        return self.run(calls.create_table(table, columns, db, key))

    def delete_table(self, table: str, *, db: str | None = None, key: str | None = None) -> None:
        self.run(calls.delete_table(table, db, key))

    # Writing rows.

    def insert(
        self,
        table: str,
        row: Mapping[str, Any],
        row_id: str | None = None,
        *,
        upsert: bool = False,
        db: str | None = None,
        key: str | None = None,
    ) -> Written:
        """Without a `row_id`, in the row or beside it, the node makes one. Raises RowExists."""
        return self.run(calls.insert(table, row, row_id, upsert, db, key))

    def insert_many(
        self, table: str, rows: Iterable[Mapping[str, Any]], *, upsert: bool = False, db: str | None = None, key: str | None = None
    ) -> WrittenMany:
        """All or nothing, in one request: up to 2 MiB and 10,000 flat rows."""
        return self.run(calls.insert_many(table, rows, upsert, db, key))

    def load(
        self,
        table: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        upsert: bool = False,
        db: str | None = None,
        key: str | None = None,
        on_refused: Callable[[RefusedRow[Mapping[str, Any]]], None] | None = None,
    ) -> Loaded:
        """Any number of flat rows, in batches; memory holds one. See `ddbd.client.load` for keys, repetition and refused rows."""
        load = Load[Mapping[str, Any]](table, upsert=upsert, db=db, key=key, on_refused=on_refused)
        for row in rows:
            load.add(row, line_of(row))
            self.send_batches(load)
        load.end()
        self.send_batches(load)
        return load.result()

    def send_batches(self, load: Load[Any]) -> None:
        """What is ready of a load that the caller feeds himself."""
        while (call := load.next()) is not None:
            try:
                load.wrote(self.run(call))
            except Refused as error:
                load.refused(error)

    def update(
        self,
        table: str,
        row_id: str,
        data: Mapping[str, Any],
        *,
        if_version: int | None = None,
        db: str | None = None,
        key: str | None = None,
    ) -> Written:
        """Puts the data over the row. Raises RowNotFound, VersionMismatch."""
        return self.run(calls.update(table, row_id, data, if_version, db, key))

    def delete(self, table: str, row_id: str, *, if_version: int | None = None, db: str | None = None, key: str | None = None) -> Written:
        """Raises RowNotFound, VersionMismatch."""
        return self.run(calls.delete(table, row_id, if_version, db, key))

    # Reading rows.

    def get(
        self, table: str, row_id: str, *, db: str | None = None, consistency: str = "linearizable", min_index: int | None = None
    ) -> StoredRow | None:
        """The row with its version; None when there is none."""
        return self.run(calls.get(Wanted(table, None, db, None, False, consistency, min_index), row_id))

    def select(
        self,
        table: str,
        *,
        db: str | None = None,
        columns: Sequence[str] | None = None,
        versions: bool = False,
        consistency: str = "linearizable",
        min_index: int | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Page:
        """The rows of one instant, held whole; up to `limit` of them."""
        return self.run(calls.page(Wanted(table, None, db, columns, versions, consistency, min_index), limit, after))

    def search(
        self,
        table: str,
        column: str,
        value: str,
        op: str = "eq",
        *,
        db: str | None = None,
        columns: Sequence[str] | None = None,
        versions: bool = False,
        consistency: str = "linearizable",
        min_index: int | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Page:
        """The same, of the rows that match."""
        return self.run(calls.page(Wanted(table, (column, op, value), db, columns, versions, consistency, min_index), limit, after))

    def select_rows(
        self,
        table: str,
        *,
        db: str | None = None,
        columns: Sequence[str] | None = None,
        versions: bool = False,
        consistency: str = "linearizable",
        min_index: int | None = None,
        after: str | None = None,
    ) -> Iterator[Row]:
        """Every row, one by one, with flat memory. See `ddbd.client.lines` for what is promised when nodes die meanwhile."""
        return self.rows(Wanted(table, None, db, columns, versions, consistency, min_index), after)

    def search_rows(
        self,
        table: str,
        column: str,
        value: str,
        op: str = "eq",
        *,
        db: str | None = None,
        columns: Sequence[str] | None = None,
        versions: bool = False,
        consistency: str = "linearizable",
        min_index: int | None = None,
        after: str | None = None,
    ) -> Iterator[Row]:
        """The same, of the rows that match."""
        return self.rows(Wanted(table, (column, op, value), db, columns, versions, consistency, min_index), after)

    def rows(self, wanted: Wanted, after: str | None = None, page_rows: int = PAGE_ROWS) -> Iterator[Row]:
        reading = Lines(wanted, after, page_rows)
        for _ in self._feed(reading):
            yield from reading.take_rows()

    def lines(self, wanted: Wanted, after: str | None = None, page_rows: int = PAGE_ROWS) -> Iterator[bytes]:
        """The rows as JSON, a line each, byte for byte as the node wrote them."""
        reading = Lines(wanted, after, page_rows)
        for _ in self._feed(reading):
            yield from reading.take_lines()

    def _feed(self, reading: Lines) -> Iterator[None]:
        while (call := reading.next()) is not None:
            opened = self.open(call)
            reading.began(opened.head)
            with closing(opened):
                try:
                    for chunk in opened.chunks():
                        reading.feed(chunk)
                        yield
                except SendFailed as failure:
                    self.nodes.failed(opened.head.address)
                    reading.broke_off(failure.reason)
                else:
                    reading.ended()

    # Nodes.

    def status(self) -> dict[str, Any]:
        """What the node that answers knows of the cluster."""
        return self.run(calls.status())

    def ping(self) -> None:
        """Some node serves."""
        self.run(calls.ping())

    def ready(self) -> bool:
        """Some node has a master and has caught up."""
        return any(report.ready for report in self.survey())

    def survey(self, timeout_seconds: float = 2.0) -> list[NodeReport]:
        """All nodes are asked at once, each for itself."""
        from concurrent.futures import ThreadPoolExecutor  # dear to import, and few programs ask all nodes

        with ThreadPoolExecutor(len(self.nodes.addresses)) as pool:
            return list(pool.map(lambda address: self._report(address, timeout_seconds), self.nodes.addresses))

    def _report(self, address: str, timeout_seconds: float) -> NodeReport:
        begun = self._clock()
        one = self.only(address, Policy(timeout_seconds, timeout_seconds))
        try:
            status = one.status()
        except ClientError as error:
            return NodeReport(address, self._clock() - begun, error=error.detail)
        return NodeReport(address, self._clock() - begun, status, bool(status.get("ready")), self._unready_reason(one, status))

    def _unready_reason(self, one: Client, status: Mapping[str, Any]) -> str | None:
        if not status.get("ready"):
            try:
                one.run(calls.ready())
            except ClientError as error:
                return error.detail
        return None

    def step_down(self) -> dict[str, Any]:
        """The leader hands over to the best follower."""
        return self.run(calls.step_down())

    def transfer(self, to: str) -> dict[str, Any]:
        """The leader hands over to the node with this id."""
        return self.run(calls.transfer(to))

    def timeline(self, limit: int | None = None) -> list[dict[str, Any]]:
        """What happened in the cluster, as the node that answers saw it."""
        return self.run(calls.timeline(limit))

    # One call.

    def run(self, call: Call[T]) -> T:
        """Any call: those above, or one that the caller built himself."""
        attempts = self._attempts(call)
        while True:
            step = self._next(attempts)
            try:
                opened = self._transport.open(step.address, call.request, step.timeout_seconds)
                answer = read_whole(opened, attempts.left_seconds(self._clock()))
            except SendFailed as failure:
                attempts.failed(step.address, failure.reason, failure.may_be_done)
                continue
            if (result := attempts.answered(answer)) is not None:
                return result.value

    def open(self, call: Call[Answer]) -> Opened:
        """The same, for an answer that is read as it comes. Only what is no such answer is read whole."""
        attempts = self._attempts(call)
        while True:
            step = self._next(attempts)
            try:
                opened = self._transport.open(step.address, call.request, step.timeout_seconds)
                answer = opened.head if opened.head.status == 200 else read_whole(opened, attempts.left_seconds(self._clock()))
            except SendFailed as failure:
                attempts.failed(step.address, failure.reason, failure.may_be_done)
                continue
            if attempts.answered(answer) is not None:
                return opened
            opened.close()

    def _attempts(self, call: Call[T]) -> Attempts[T]:
        return Attempts(call, self.nodes, self.policy, self._clock(), self._dice)

    def _next(self, attempts: Attempts[T]) -> Send:
        while isinstance(step := attempts.next(self._clock()), Pause):
            self._pause(step.seconds)
        return step
