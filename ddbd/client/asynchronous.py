"""The client for Twisted: the same calls as `blocking.Client`, `async def`, on a reactor that is handed in.

    async def main(reactor):
        async with AsyncClient("localhost:8080,localhost:8081,localhost:8082", reactor=reactor) as client:
            await client.insert("students", {"name": "Ahmed"}, row_id="1")
            async for row in client.select_rows("students"):
                ...

    task.react(main)

A call that is cancelled gives up its wait; a write that was under way may be done all the same.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from ddbd.client import calls
from ddbd.client.attempts import Attempts, Pause, Policy, Send, SendFailed
from ddbd.client.blocking import ONE_NODE
from ddbd.client.calls import Call, Column, Wanted
from ddbd.client.errors import ClientError, Refused
from ddbd.client.exchange import AsyncOpened, AsyncTransport, Treq, read_whole
from ddbd.client.http import Answer
from ddbd.client.lines import PAGE_ROWS, Lines
from ddbd.client.load import Load, RefusedRow, line_of
from ddbd.client.nodes import Nodes
from ddbd.client.values import Loaded, NodeReport, Page, Row, StoredRow, Written, WrittenMany

T = TypeVar("T")


class AsyncClient:
    """`nodes`: addresses, text with commas between them, or the Path of the cluster's config.json."""

    def __init__(
        self,
        nodes: Iterable[str] | str | Path,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        *,
        reactor: Any = None,
        transport: AsyncTransport | None = None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        """The reactor's clock counts; None is the one that runs. Raises ConfigError."""
        if reactor is None:
            from twisted.internet import reactor  # importing it earlier would choose it for the caller
        self.nodes = Nodes.of(nodes)
        self.policy = policy
        self._reactor: Any = reactor
        self._transport: AsyncTransport = Treq(reactor) if transport is None else transport
        self._dice = dice

    def only(self, address: str, policy: Policy = ONE_NODE) -> AsyncClient:
        """A client for questions to one node. It shares the connections; closing this one closes them."""
        return AsyncClient([address], policy, reactor=self._reactor, transport=self._transport, dice=self._dice)

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # Databases and tables.

    async def init_database(self, name: str, *, key: str | None = None) -> bool:
        """Makes the database the default one; False when it was there."""
        return await self.run(calls.init_database(name, key))

    async def drop_database(self, name: str, *, key: str | None = None) -> None:
        await self.run(calls.drop_database(name, key))

    async def create_table(self, table: str, columns: Iterable[Column], *, db: str | None = None, key: str | None = None) -> bool:
        """False when it was there with the same columns."""
        return await self.run(calls.create_table(table, columns, db, key))

    async def delete_table(self, table: str, *, db: str | None = None, key: str | None = None) -> None:
        await self.run(calls.delete_table(table, db, key))

    # Writing rows.

    async def insert(
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
        return await self.run(calls.insert(table, row, row_id, upsert, db, key))

    async def insert_many(
        self, table: str, rows: Iterable[Mapping[str, Any]], *, upsert: bool = False, db: str | None = None, key: str | None = None
    ) -> WrittenMany:
        """All or nothing, in one request: up to 2 MiB and 10,000 flat rows."""
        return await self.run(calls.insert_many(table, rows, upsert, db, key))

    async def load(
        self,
        table: str,
        rows: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        *,
        upsert: bool = False,
        db: str | None = None,
        key: str | None = None,
        on_refused: Callable[[RefusedRow[Mapping[str, Any]]], None] | None = None,
    ) -> Loaded:
        """Any number of flat rows, in batches; memory holds one. See `ddbd.client.load` for keys, repetition and refused rows."""
        load = Load[Mapping[str, Any]](table, upsert=upsert, db=db, key=key, on_refused=on_refused)
        async for row in _each(rows):
            load.add(row, line_of(row))
            await self.send_batches(load)
        load.end()
        await self.send_batches(load)
        return load.result()

    async def send_batches(self, load: Load[Any]) -> None:
        """What is ready of a load that the caller feeds himself."""
        while (call := load.next()) is not None:
            try:
                load.wrote(await self.run(call))
            except Refused as error:
                load.refused(error)

    async def update(
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
        return await self.run(calls.update(table, row_id, data, if_version, db, key))

    async def delete(
        self, table: str, row_id: str, *, if_version: int | None = None, db: str | None = None, key: str | None = None
    ) -> Written:
        """Raises RowNotFound, VersionMismatch."""
        return await self.run(calls.delete(table, row_id, if_version, db, key))

    # Reading rows.

    async def get(
        self, table: str, row_id: str, *, db: str | None = None, consistency: str = "linearizable", min_index: int | None = None
    ) -> StoredRow | None:
        """The row with its version; None when there is none."""
        return await self.run(calls.get(Wanted(table, None, db, None, False, consistency, min_index), row_id))

    async def select(
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
        return await self.run(calls.page(Wanted(table, None, db, columns, versions, consistency, min_index), limit, after))

    async def search(
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
        return await self.run(calls.page(Wanted(table, (column, op, value), db, columns, versions, consistency, min_index), limit, after))

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
    ) -> AsyncIterator[Row]:
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
    ) -> AsyncIterator[Row]:
        """The same, of the rows that match."""
        return self.rows(Wanted(table, (column, op, value), db, columns, versions, consistency, min_index), after)

    async def rows(self, wanted: Wanted, after: str | None = None, page_rows: int = PAGE_ROWS) -> AsyncIterator[Row]:
        reading = Lines(wanted, after, page_rows)
        async for _ in self._feed(reading):
            for row in reading.take_rows():
                yield row

    async def lines(self, wanted: Wanted, after: str | None = None, page_rows: int = PAGE_ROWS) -> AsyncIterator[bytes]:
        """The rows as JSON, a line each, byte for byte as the node wrote them."""
        reading = Lines(wanted, after, page_rows)
        async for _ in self._feed(reading):
            for line in reading.take_lines():
                yield line

    async def _feed(self, reading: Lines) -> AsyncIterator[None]:
        while (call := reading.next()) is not None:
            opened = await self.open(call)
            reading.began(opened.head)
            with closing(opened):
                try:
                    while chunk := await opened.read():
                        reading.feed(chunk)
                        yield
                except SendFailed as failure:
                    self.nodes.failed(opened.head.address)
                    reading.broke_off(failure.reason)
                else:
                    reading.ended()

    # Nodes.

    async def status(self) -> dict[str, Any]:
        """What the node that answers knows of the cluster."""
        return await self.run(calls.status())

    async def ping(self) -> None:
        """Some node serves."""
        await self.run(calls.ping())

    async def ready(self) -> bool:
        """Some node has a master and has caught up."""
        return any(report.ready for report in await self.survey())

    async def survey(self, timeout_seconds: float = 2.0) -> list[NodeReport]:
        """All nodes are asked at once, each for itself."""
        asked = [Deferred.fromCoroutine(self._report(address, timeout_seconds)) for address in self.nodes.addresses]
        return list(await gatherResults(asked, consumeErrors=True))

    async def _report(self, address: str, timeout_seconds: float) -> NodeReport:
        begun = self._reactor.seconds()
        one = self.only(address, Policy(timeout_seconds, timeout_seconds))
        try:
            status = await one.status()
        except ClientError as error:
            return NodeReport(address, self._reactor.seconds() - begun, error=error.detail)
        seconds = self._reactor.seconds() - begun
        return NodeReport(address, seconds, status, bool(status.get("ready")), await self._unready_reason(one, status))

    async def _unready_reason(self, one: AsyncClient, status: Mapping[str, Any]) -> str | None:
        if not status.get("ready"):
            try:
                await one.run(calls.ready())
            except ClientError as error:
                return error.detail
        return None

    async def step_down(self) -> dict[str, Any]:
        """The leader hands over to the best follower."""
        return await self.run(calls.step_down())

    async def transfer(self, to: str) -> dict[str, Any]:
        """The leader hands over to the node with this id."""
        return await self.run(calls.transfer(to))

    async def timeline(self, limit: int | None = None) -> list[dict[str, Any]]:
        """What happened in the cluster, as the node that answers saw it."""
        return await self.run(calls.timeline(limit))

    # One call.

    async def run(self, call: Call[T]) -> T:
        """Any call: those above, or one that the caller built himself."""
        attempts = self._attempts(call)
        while True:
            step = await self._next(attempts)
            try:
                opened = await self._transport.open(step.address, call.request, step.timeout_seconds)
                answer = await read_whole(opened, attempts.left_seconds(self._reactor.seconds()), self._reactor.seconds)
            except SendFailed as failure:
                attempts.failed(step.address, failure.reason, failure.may_be_done)
                continue
            if (result := attempts.answered(answer)) is not None:
                return result.value

    async def open(self, call: Call[Answer]) -> AsyncOpened:
        """The same, for an answer that is read as it comes. Only what is no such answer is read whole."""
        attempts = self._attempts(call)
        while True:
            step = await self._next(attempts)
            try:
                opened = await self._transport.open(step.address, call.request, step.timeout_seconds)
                answer = (
                    opened.head
                    if opened.head.status == 200
                    else await read_whole(opened, attempts.left_seconds(self._reactor.seconds()), self._reactor.seconds)
                )
            except SendFailed as failure:
                attempts.failed(step.address, failure.reason, failure.may_be_done)
                continue
            if attempts.answered(answer) is not None:
                return opened
            opened.close()

    def _attempts(self, call: Call[T]) -> Attempts[T]:
        return Attempts(call, self.nodes, self.policy, self._reactor.seconds(), self._dice)

    async def _next(self, attempts: Attempts[T]) -> Send:
        while isinstance(step := attempts.next(self._reactor.seconds()), Pause):
            await deferLater(self._reactor, step.seconds)
        return step


async def _each(rows: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row
