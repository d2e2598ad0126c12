"""Rows of a scan on their way to a client: what can still fail comes first, then the bytes, with flat memory.

`RowStream.prepare` reads until there are rows, or none: an error up to there is a proper reply. A result that is complete by then is sent
whole, with its length. Otherwise one slice is written in each reactor turn, and none while the client does not read.

A page (`limit`) names the next one in its head, so its last row must be known before its first byte. Most pages are complete in what
`prepare` reads. For a longer one a second scan, opened in the same turn and so of the same instant, runs ahead over the row ids alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from ddbd.commands import Value
from ddbd.errors import ScanTimedOut
from ddbd.storage import Query, Scan, Tables
from ddbd.web.clock import Clock
from ddbd.web.formats import Format

TURN_SECONDS = 0.001

Rows = list[tuple[Value, ...]]


@implementer(IPushProducer)
class RowStream:
    """`query` without its limit raised; `versions` keeps the last column. Close it whatever happens."""

    last_row_id: str | None = None  # of this page, when there are more rows behind it
    whole: bytes | None = None  # the body, when it is small enough to be there already

    def __init__(self, tables: Tables, query: Query, format_: Format, versions: bool, clock: Clock, seconds_max: float) -> None:
        self._tables = tables
        self._query = query
        self._format = format_
        self._versions = versions
        self._clock = clock
        self._seconds_max = seconds_max
        self._scans: list[Scan] = []
        self._ahead: Rows = []  # read, not yet written
        self._rest: Iterator[Rows] = iter(())
        self._left = -1 if query.limit is None else query.limit  # rows still to be written; below 0: all
        self._names: tuple[str, ...] = ()
        self._paused = False
        self._resumed: Deferred[None] | None = None  # set while the client does not read
        self._timer: IDelayedCall | None = None

    async def prepare(self) -> None:
        """Raises Refused, and ScanTimedOut before the first row."""
        try:
            await self._prepare()
        except BaseException:
            self.close()
            raise

    async def _prepare(self) -> None:
        limit = self._query.limit
        scan = self._open(self._query._replace(limit=None if limit is None else limit + 1))
        self._names = scan.columns if self._versions else scan.columns[:-1]
        self._rest = iter(scan)
        started = self._clock.seconds()
        ended = self._read_ahead()
        is_slow = self._clock.seconds() - started > TURN_SECONDS  # then the second slice, which mostly is the end, gets a turn of its own
        if not is_slow:
            ended = ended or self._read_ahead()
        keys = None if ended or limit is None or len(self._ahead) > limit else self._open_keys(limit)
        while not ended and (is_slow or not self._ahead):
            is_slow = False
            await self._clock.rest()
            ended = self._read_ahead()
        if limit is not None and len(self._ahead) > limit:
            self.last_row_id = self._ahead[limit - 1][0]
            ended = True
        elif keys is not None and not ended:
            self.last_row_id = await self._last_key(keys, limit)
        if ended:
            self._take_whole()

    def _open(self, query: Query) -> Scan:
        scan = self._tables.scan(query)
        self._scans.append(scan)
        return scan

    def _open_keys(self, limit: int | None) -> Scan:
        assert limit is not None
        return self._open(self._query._replace(limit=limit + 1, columns=()))

    def _read_ahead(self) -> bool:
        """Whether the scan has ended."""
        rows = next(self._rest, None)
        self._ahead += rows or ()
        return rows is None

    async def _last_key(self, keys: Scan, limit: int | None) -> str | None:
        count, last = 0, None
        for rows in keys:
            if limit is not None and count + len(rows) > limit:
                return last if count == limit else str(rows[limit - count - 1][0])
            count += len(rows)
            last = str(rows[-1][0]) if rows else last
            await self._clock.rest()
        return None

    def _take_whole(self) -> None:
        self.whole = self._format.start(self._names) + self._encode(self._ahead) + self._format.end()
        self.close()

    def _encode(self, rows: Rows) -> bytes:
        if self._left >= 0:
            rows = rows[: self._left]
            self._left -= len(rows)
        return self._format.rows(rows)

    # Writing.

    async def write_to(self, request: Any) -> None:
        """See `reply.Stream`."""
        self._timer = self._clock.callLater(self._seconds_max, self._too_slow)
        request.registerProducer(self, True)
        request.write(self._format.start(self._names) + self._encode(self._ahead))
        self._ahead = []
        rows: Rows | None = []
        while rows is not None and self._left != 0:
            await self._may_write()
            rows = next(self._rest, None)
            if text := self._encode(rows or []):
                request.write(text)
        request.write(self._format.end())
        request.unregisterProducer()

    async def _may_write(self) -> None:
        await self._clock.rest()
        while self._paused:
            if self._timer is None:  # it fired in the slice that filled the client's buffer, when nobody waited yet
                raise self._timed_out()
            self._resumed = Deferred()
            await self._resumed

    def _too_slow(self) -> None:
        self._timer = None
        if self._resumed is not None:
            resumed, self._resumed = self._resumed, None
            resumed.errback(self._timed_out())

    def _timed_out(self) -> ScanTimedOut:
        return ScanTimedOut(f"the client did not read within {self._seconds_max:g} s")

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        if self._resumed is not None:
            resumed, self._resumed = self._resumed, None
            resumed.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone; the request's end cancels the call, and that closes the scan."""
        self._paused = True

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for scan in self._scans:
            scan.close()
