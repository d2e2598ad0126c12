"""The tables on disk: the state machine over SQLite, and who may read it how.

The writer's connection also serves point reads and short searches: its page cache is the warm one (another connection's is emptied by
each commit), and it sees what is not committed yet. Scans have connections of their own, so that their read transactions do not hold the
writer. After the first failure everything is refused: SQLite would go on as if nothing had happened, and a commit that failed may be there
again after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import apsw
from twisted.internet.defer import Deferred

from ddbd.answers import Counters
from ddbd.commands import Applied, Column, Value
from ddbd.config import Limits
from ddbd.errors import Busy, Fatal, NotReady, StorageFailed
from ddbd.raft.types import Entry, Membership, SnapshotMeta
from ddbd.storage import Copy, Query, Scan, SnapshotFile, TableInfo, Tell, nobody
from ddbd.storage.copies import Copies
from ddbd.storage.machine import HASH_FORMAT, Machine
from ddbd.storage.maintenance import Checkpoints, make_snapshot
from ddbd.storage.scan import Plan, SqliteScan, check_limit, found_at_once
from ddbd.storage.seal import WalSeal
from ddbd.storage.sqlite import as_fatal, read_connection
from ddbd.storage.sqlite_backend import SqliteBackend
from ddbd.storage.threads import InlineThreads, Threads
from ddbd.storage.values import load_row

READERS_KEPT = 8
OPEN_ENTRIES_MAX = 300  # that are run and not committed: the commit of so many rows, at random keys, takes 6 ms
OPEN_BYTES_MAX = 64 * 1024  # of their data, likewise


class SqliteTables:
    """`storage.Tables`. Snapshots go to files in `outgoing`."""

    def __init__(
        self,
        path: str,
        outgoing: str,
        limits: Limits,
        clock: Callable[[], float],
        threads: Callable[[str], Threads] = lambda name: InlineThreads(),
        founders: Membership | None = None,
    ) -> None:
        """Opens or creates the file. Raises Corrupt, StorageFailed."""
        self.path = path
        self._outgoing = outgoing
        self._limits = limits
        self._clock = clock
        self._failed: Fatal | None = None
        self._closed = False
        self._open_entries = self._open_bytes = 0  # of what was run and is not committed yet
        self._backend = SqliteBackend(path, limits.tables_cache_bytes)
        self._machine: Machine = self._backend.guarded(lambda: Machine(self._backend, limits, founders))
        self._idle: list[apsw.Connection] = []
        self._scans: set[SqliteScan] = set()
        self._long_scans: set[SqliteScan] = set()  # those of more than one slice
        self._checkpoint_threads = threads("checkpoint")
        self._snapshot_threads = threads("snapshot")
        self._copies = Copies(path, outgoing, limits.disk_reserve_bytes, clock, threads("backup"))
        self._snapshots = 0
        seal = WalSeal(f"{path}-wal", clock=clock)
        self._checkpoints = Checkpoints(path, self._backend.connection, self._checkpoint_threads, self._place, seal)

    @property
    def applied_index(self) -> int:
        return self._machine.index

    @property
    def applied_term(self) -> int:
        return self._machine.term

    @property
    def applied_stamp(self) -> int:
        return self._machine.stamp

    @property
    def membership(self) -> Membership | None:
        return self._machine.membership

    @property
    def default_database(self) -> str | None:
        default = self._machine.catalogue.default
        return None if default is None else default.name

    def apply(self, entries: Sequence[Entry], tell: Tell = nobody) -> list[Applied]:
        """See `storage.Tables`. Raises StorageFailed or Corrupt, then and ever after."""
        self._check_sound()
        assert not self._checkpoints.is_ending, "applied while a thread ends a checkpoint"
        if not entries:
            return []
        if self.is_full:
            self._commit()
        open_before, self._open_entries = self._open_entries, 0  # what breaks off in the middle is never committed
        results: list[Applied] = self._guarded(lambda: self._machine.run(entries))
        self._open_entries = open_before + len(entries)
        self._open_bytes += sum([len(entry.data) for entry in entries])
        tell(results)
        self._check_sound()
        return results

    @property
    def is_full(self) -> bool:
        """See `storage.Tables`."""
        # A commit takes some of a dropped table along.
        return self._open_entries >= OPEN_ENTRIES_MAX or self._open_bytes >= OPEN_BYTES_MAX or self._backend.is_sweeping

    def settle(self) -> None:
        """See `storage.Tables`."""
        self._commit()
        self._check_sound()

    def _commit(self) -> None:
        """Of what is open, before anyone looks by another connection: none sees it before. After a failure nothing is: SQLite has dropped
        the transaction, or it holds the half of an entry.
        """
        if self._open_entries and self._failed is None:
            self._open_entries = self._open_bytes = 0
            self._guarded(self._machine.commit)

    def _place(self) -> SnapshotMeta:
        self.settle()
        return self._machine.place()

    @property
    def holds_writes(self) -> bool:
        """See `storage.Tables`."""
        return self._checkpoints.is_ending

    def _guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return self._backend.guarded(call)
        except Fatal as error:
            self._failed = error
            raise

    def _check_sound(self) -> None:
        if self._failed is not None:
            raise StorageFailed(f"{self.path}: failed before: {self._failed.detail}")
        if self._closed:
            raise NotReady("these tables are closed")

    # Reading.

    def table(self, db: str | None, name: str) -> TableInfo:
        catalogue = self._machine.catalogue
        return catalogue.table(db, name).info(catalogue.database(db).name)

    def databases(self) -> list[tuple[str, list[TableInfo]]]:
        return self._machine.catalogue.listing()

    def row(self, db: str | None, table: str, row_id: str) -> tuple[Value, ...] | None:
        return self.point(db, table, row_id)[1]

    def point(self, db: str | None, table: str, row_id: str) -> tuple[tuple[Column, ...], tuple[Value, ...] | None]:
        if self._failed is not None or self._closed:
            self._check_sound()
        found = self._machine.catalogue.table(db, table)
        try:
            row = self._backend.get(found, row_id)
        except (apsw.Error, UnicodeEncodeError, OverflowError) as error:
            self._failed = as_fatal(self.path, error)
            raise self._failed from error
        return found.columns, None if row is None else load_row(row)

    def scan(self, query: Query) -> Scan:
        """See `storage.Tables`."""
        self._check_sound()
        check_limit(query)
        plan = Plan(self._machine.catalogue.table(query.db, query.table), query)
        try:
            found = found_at_once(plan, self._backend.connection, self._clock)
        except apsw.Error as error:  # not `_guarded`: text that cannot be UTF-8 is no failure of these tables
            self._failed = as_fatal(self.path, error)
            raise self._failed from error
        return found if found is not None else self._scanned(plan)

    def _scanned(self, plan: Plan) -> SqliteScan:
        self.settle()
        connection = self._idle.pop() if self._idle else read_connection(self.path)
        scan: SqliteScan = self._guarded(
            lambda: SqliteScan(plan, connection, self._release, self._clock, self._limits.scan_seconds, self._scan_grows)
        )
        self._scans.add(scan)
        return scan

    def _scan_grows(self, scan: SqliteScan) -> None:
        """A connection grows to a page cache of 2 MB: clients that read slowly must not add up to all memory. Raises Busy.

        Results of one slice are never refused: they are over before anyone waits.
        """
        if len(self._long_scans) >= self._limits.scans_open_max:
            self._end_old_scans()
        if len(self._long_scans) >= self._limits.scans_open_max:
            raise Busy(
                f"{len(self._long_scans)} long results are on their way, as many as are allowed; try again later, or read short pages"
            )
        self._long_scans.add(scan)

    def _end_old_scans(self) -> None:
        for scan in [scan for scan in self._scans if scan.too_old]:
            scan.close()

    def _release(self, scan: SqliteScan, connection: apsw.Connection) -> None:
        self._scans.discard(scan)
        self._long_scans.discard(scan)
        try:
            connection.execute("ROLLBACK")
        except apsw.Error as error:
            self._failed = as_fatal(self.path, error)
        if self._closed or self._failed is not None or len(self._idle) >= READERS_KEPT:
            connection.close()
        else:
            self._idle.append(connection)

    def open_sequences(self, origin: str) -> tuple[int, int, list[tuple[int, int]]]:
        window = self._machine.windows.get(origin)
        return (0, 0, []) if window is None else (window.boot, window.floor, window.ranges())

    def registered(self, origin: str) -> tuple[int, int] | None:
        window = self._machine.windows.get(origin)
        return None if window is None else (window.boot, window.nonce)

    def format_of(self, origin: str) -> int:
        window = self._machine.windows.get(origin)
        return 0 if window is None else window.formats

    def state_hash(self, index: int) -> bytes | None:
        return self._machine.state_hash(index)

    # Upkeep.

    def checkpoint(self, urgent: bool = False) -> Deferred[Any]:
        """See `storage.Tables`. Scans that outlived their time are ended first: they would hold the WAL."""
        self.settle()
        if urgent:
            for scan in list(self._scans):
                scan.end(
                    "the disk is nearly full, and long scans keep its space from being used again; read in pages, with limit and after"
                )
        self._end_old_scans()
        return self._checkpoints.run()

    def sync_early(self) -> Deferred[None]:
        """See `storage.Tables`."""
        self.settle()
        return self._checkpoints.sync_early()

    def snapshot(self) -> Deferred[SnapshotFile]:
        """See `storage.Tables`."""
        self.settle()
        self._snapshots += 1
        token = f"{self.applied_term}-{self.applied_index}-{self._snapshots}"
        target = f"{self._outgoing}/{token}.db"
        return self._snapshot_threads.defer(lambda: make_snapshot(self.path, target, token, self._limits.disk_reserve_bytes))

    def copy(self) -> Deferred[Copy]:
        """See `storage.Tables`."""
        self.settle()
        return self._copies.make()

    def owed_bytes(self) -> int:
        """Space on the disk that the next checkpoint will take."""
        self._commit()
        return self._checkpoints.owed_bytes()

    def counters(self) -> Counters:
        self._commit()
        return {
            "idempotency_keys": self._machine.keys,
            "idempotency_keys_max": self._limits.idempotency_keys_max,
            "tables_bytes": self._checkpoints.file_bytes,
            "wal_bytes": self._checkpoints.pending_bytes(),
            "owed_bytes": self._checkpoints.owed,
            "scans_open": len(self._scans),
            "hash_format": HASH_FORMAT.decode(),
        }

    def close(self, for_good: bool = False) -> None:
        """Where the tables go `for_good`, nothing of the WAL is copied into them any more: it takes its time."""
        if self._closed:
            return
        if not for_good:
            with suppress(Fatal):  # it is remembered, and nobody waits for it: the log has these entries
                self._commit()
        self._closed = True
        self._checkpoints.closed = True
        self._checkpoint_threads.close()
        self._snapshot_threads.close()
        self._copies.close()
        for scan in list(self._scans):
            scan.close()
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        self._checkpoints.close(is_sound=self._failed is None and not for_good)
        self._backend.close()
