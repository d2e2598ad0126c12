"""The tables at one instant, for a backup that takes as long as its client reads.

A read transaction must not live that long: it would hold the WAL. So the tables are copied first, as for a snapshot: in a thread, in one
long C call, writers go on. What is read then is the copy, on a connection of its own. One copy at a time: each takes as much space as
the tables, and `outgoing` is emptied at the start, so that a node that was killed leaves none behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import apsw
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from ddbd.errors import Busy
from ddbd.raft.types import SnapshotMeta
from ddbd.storage import Copy, Query, TableInfo
from ddbd.storage.backend import Progress
from ddbd.storage.catalogue import Catalogue
from ddbd.storage.maintenance import make_copy, meta_of
from ddbd.storage.scan import Plan, SqliteScan, check_limit
from ddbd.storage.sqlite import connect, fatal
from ddbd.storage.sqlite_backend import read_catalogue, read_progress
from ddbd.storage.threads import Threads

COPY_BUSY = "a backup is being taken from this node; wait until it is done, or ask another node"


class _Opened(NamedTuple):
    path: str
    connection: apsw.Connection
    progress: Progress
    catalogue: Catalogue


class Copies:
    """`outgoing` is the folder for the files."""

    def __init__(self, path: str, outgoing: str, reserve_bytes: int, clock: Callable[[], float], threads: Threads) -> None:
        self._path = path
        self._outgoing = outgoing
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._threads = threads
        self._count = 0
        self._is_taken = False  # there is a copy, or one in the making
        self._is_making = False
        self._is_closed = False

    def make(self) -> Deferred[Copy]:
        """See `storage.Tables.copy`."""
        if self._is_taken:
            return fail(Busy(COPY_BUSY))
        self._is_taken = self._is_making = True
        self._count += 1
        # Named after the tables' own folder too: a copy of a former generation may still be read when a snapshot has taken its place.
        target = f"{self._outgoing}/backup-{Path(self._path).parent.name}-{self._count}.db"
        asked: Deferred[Copy] = Deferred(lambda _: None)  # the thread cannot be stopped: what it makes is thrown away then
        made = self._threads.defer(lambda: self._in_thread(target))
        made.addCallbacks(self._made, self._failed, callbackArgs=(asked,), errbackArgs=(asked,))
        return asked

    def _in_thread(self, target: str) -> _Opened:
        make_copy(self._path, target, self._reserve_bytes)
        with ExitStack() as undo:
            undo.callback(Path(target).unlink, missing_ok=True)
            with fatal(target):
                connection = connect(target, readonly=True)
                undo.callback(connection.close)
                progress = read_progress(connection)
                opened = _Opened(target, connection, progress, read_catalogue(connection, progress))
            undo.pop_all()
        return opened

    def _ended(self) -> None:
        self._is_making = False
        if self._is_closed:
            self._threads.close()

    def _made(self, opened: _Opened, asked: Deferred[Copy]) -> None:
        self._ended()
        copy = SqliteCopy(opened, self._clock, self._free)
        if asked.called:
            copy.close()
        else:
            asked.callback(copy)

    def _failed(self, failure: Failure, asked: Deferred[Copy]) -> None:
        self._ended()
        self._free()
        if not asked.called:
            asked.errback(failure)

    def _free(self) -> None:
        self._is_taken = False

    def close(self) -> None:
        """Waits for nothing: these tables may only make room for others. A copy in the making, or being read, stays until it is closed."""
        self._is_closed = True
        if not self._is_making:
            self._threads.close()


class SqliteCopy:
    """`storage.Copy`."""

    def __init__(self, opened: _Opened, clock: Callable[[], float], closed: Callable[[], None]) -> None:
        self.meta: SnapshotMeta = meta_of(opened.progress)
        self.state_hash = opened.progress.state_hash
        self._path = opened.path
        self._connection = opened.connection
        self._catalogue = opened.catalogue
        self._clock = clock
        self._closed: Callable[[], None] | None = closed
        self._scan: SqliteScan | None = None

    @property
    def default_database(self) -> str | None:
        default = self._catalogue.default
        return None if default is None else default.name

    def databases(self) -> list[tuple[str, list[TableInfo]]]:
        return self._catalogue.listing()

    def scan(self, query: Query) -> SqliteScan:
        assert self._scan is None, "a second scan of a copy, which has one connection"
        check_limit(query)
        plan = Plan(self._catalogue.table(query.db, query.table), query)
        with fatal(self._path):
            self._scan = SqliteScan(plan, self._connection, self._released, self._clock, math.inf, lambda _: None)
        return self._scan

    def _released(self, scan: SqliteScan, connection: apsw.Connection) -> None:
        self._scan = None
        with fatal(self._path):
            connection.execute("ROLLBACK")

    def close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is None:
            return
        with ExitStack() as done:
            done.callback(closed)
            done.callback(Path(self._path).unlink, missing_ok=True)
            done.callback(self._connection.close)
            if self._scan is not None:
                self._scan.close()
