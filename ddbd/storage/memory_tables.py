"""The twin of the tables: the same state machine over dicts, for tests and the simulator.

Answers, hashes and what scans give are those of the disk. `checkpoint` keeps a copy of the whole state; after `crash` that is what is left.
A snapshot is bytes in `files`, a dict that stands for the folder; the simulator carries them from node to node.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed

from ddbd.answers import Counters
from ddbd.commands import Applied, Column, Value
from ddbd.config import Limits
from ddbd.errors import Busy, Corrupt, ScanTimedOut
from ddbd.raft.types import Entry, Membership, SnapshotMeta
from ddbd.storage import Copy, Query, Scan, SnapshotFile, TableInfo, Tell, nobody
from ddbd.storage.backend import YOUNG, Kept, Progress
from ddbd.storage.catalogue import Catalogue, Database, Table
from ddbd.storage.copies import COPY_BUSY
from ddbd.storage.machine import HASH_FORMAT, Machine
from ddbd.storage.maintenance import DIGEST_BYTES, meta_of
from ddbd.storage.scan import Plan, check_limit
from ddbd.storage.values import StoredRow, load_row
from ddbd.storage.windows import Window

SLICE_ROWS = 500


class Image(msgspec.Struct, array_like=True):
    """The whole state as bytes would have it."""

    progress: Progress
    databases: list[tuple[int, str]]
    tables: list[tuple[int, int, str, tuple[Column, ...], list[tuple[Any, ...]]]]
    windows: dict[str, bytes]
    keys: list[tuple[str, int, bytes, bytes, int]]


class MemoryBackend:
    """`backend.Backend` on dicts."""

    def __init__(self, image: bytes = b"") -> None:
        self.progress = YOUNG
        self.catalogue = Catalogue()
        self.windows: dict[str, Window] = {}
        self.rows: dict[int, dict[str, StoredRow]] = {}  # by table id
        self.keys: dict[str, Kept] = {}
        self.key_names: dict[int, str] = {}  # by entry, so in order of age
        if image:
            self._restore(msgspec.msgpack.decode(image, type=Image))

    def _restore(self, image: Image) -> None:
        self.progress = image.progress
        by_id = {id_: Database(id_, name) for id_, name in image.databases}
        for database in by_id.values():
            self.catalogue.add_database(database)
        for id_, db, name, columns, rows in image.tables:
            by_id[db].tables[name.lower()] = Table(id_, db, name, columns, len(rows))
            self.rows[id_] = {row[0]: tuple(row) for row in rows}
        self.catalogue.default = by_id.get(self.progress.default_id)
        self.windows = {origin: Window.from_bytes(data) for origin, data in image.windows.items()}
        for key, index, fingerprint, answer, stamp in image.keys:
            self.key_put(key, Kept(index, fingerprint, answer, stamp))

    def image(self) -> bytes:
        databases = list(self.catalogue.databases.values())
        tables = [table for database in databases for table in database.tables.values()]
        return msgspec.msgpack.encode(
            Image(
                self.progress,
                [(database.id, database.name) for database in databases],
                [(table.id, table.db_id, table.name, table.columns, list(self.rows[table.id].values())) for table in tables],
                {origin: window.to_bytes() for origin, window in self.windows.items()},
                [(self.key_names[index], *self.keys[self.key_names[index]]) for index in sorted(self.key_names)],
            )
        )

    def load(self) -> tuple[Progress, Catalogue, dict[str, Window]]:
        return self.progress, self.catalogue, self.windows

    def begin(self) -> None:
        pass

    def commit(self, progress: Progress, windows: Iterable[tuple[str, Window]], counted: Iterable[Table]) -> None:
        self.progress = progress

    def create_database(self, database: Database) -> None:
        pass

    def drop_database(self, database: Database) -> None:
        pass

    def rename_database(self, database: Database) -> None:
        pass

    def create_table(self, table: Table) -> None:
        self.rows[table.id] = {}

    def drop_table(self, table: Table) -> None:
        del self.rows[table.id]

    def get(self, table: Table, row_id: str) -> StoredRow | None:
        return self.rows[table.id].get(row_id)

    def version(self, table: Table, row_id: str) -> int | None:
        row = self.rows[table.id].get(row_id)
        return None if row is None else row[1]

    def insert(self, table: Table, row: StoredRow) -> bool:
        held = self.rows[table.id]
        if row[0] in held:
            return False
        held[row[0]] = row
        return True

    def insert_many(self, table: Table, rows: Sequence[StoredRow]) -> int:
        return sum(self.insert(table, row) for row in rows)

    def replace_many(self, table: Table, rows: Sequence[StoredRow]) -> int:
        held = self.rows[table.id]
        older = [row for row in rows if row[0] in held and held[row[0]][1] < row[1]]
        held.update((row[0], row) for row in older)
        return len(older)

    def delete(self, table: Table, row_id: str) -> None:
        self.rows[table.id].pop(row_id, None)

    def delete_many(self, table: Table, row_ids: Iterable[str], version: int) -> None:
        for row_id in row_ids:
            if self.version(table, row_id) == version:
                self.delete(table, row_id)

    def key_count(self) -> int:
        return len(self.keys)

    def key_get(self, key: str) -> Kept | None:
        return self.keys.get(key)

    def key_put(self, key: str, kept: Kept) -> None:
        self.keys[key] = kept
        self.key_names[kept.index] = key

    def key_delete(self, index: int) -> None:
        del self.keys[self.key_names.pop(index)]

    def key_oldest(self) -> tuple[int, int] | None:
        index = next(iter(self.key_names), None)
        return None if index is None else (index, self.keys[self.key_names[index]].stamp)


class MemoryScan:
    """`storage.Scan` over a copy of the matching rows."""

    def __init__(self, plan: Plan, rows: dict[str, StoredRow], clock: Callable[[], float], seconds_max: float) -> None:
        self.columns = plan.columns
        self._plan = plan
        self._rows = dict(rows)
        self._clock = clock
        self._seconds_max = seconds_max
        self._deadline = clock() + seconds_max
        self._closed = False

    def __iter__(self) -> Iterator[list[tuple[Value, ...]]]:
        found = self._found()
        while True:
            if self._closed or self._clock() > self._deadline:
                raise ScanTimedOut(f"the scan took longer than {self._seconds_max:g} s; read it in pages, with limit and after")
            if not found:
                break
            yield found[:SLICE_ROWS]
            found = found[SLICE_ROWS:]
        self.close()

    def _found(self) -> list[tuple[Value, ...]]:
        query = self._plan.query
        ids = sorted(self._rows)
        ids = ids[bisect_right(ids, query.after or "") :]
        if query.row_id is not None:
            ids = [row_id for row_id in ids if row_id == query.row_id]
        found = [self._rows[row_id] for row_id in ids if self._matches(self._rows[row_id])]
        return [self._shaped(row) for row in (found if query.limit is None else found[: query.limit])]

    def _matches(self, row: StoredRow) -> bool:
        plan = self._plan
        if plan.matches is None:
            return True
        return plan.matches(row[0] if plan.search_position is None else row[2 + plan.search_position])

    def _shaped(self, row: StoredRow) -> tuple[Value, ...]:
        return load_row((row[0], row[1], *[row[2 + place] for place in self._plan.positions]))

    def close(self) -> None:
        self._closed = True


class MemoryTables:
    """`storage.Tables`."""

    holds_writes = False
    is_full = False

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float],
        files: dict[str, bytes] | None = None,
        founders: Membership | None = None,
        image: bytes = b"",
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._files = {} if files is None else files
        self._founders = founders
        self.durable_image = image
        self.is_suspect = False  # see `Store.mark_suspect`; it goes with these tables
        self._backend = MemoryBackend(image)
        self._machine = Machine(self._backend, limits, founders)
        self._snapshots = 0
        self._copy: MemoryCopy | None = None

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
        if not entries:
            return []
        results = self._machine.run(entries)
        tell(results)
        self._machine.commit()
        return results

    def settle(self) -> None:
        """Nothing stays open here."""

    def table(self, db: str | None, name: str) -> TableInfo:
        catalogue = self._machine.catalogue
        return catalogue.table(db, name).info(catalogue.database(db).name)

    def databases(self) -> list[tuple[str, list[TableInfo]]]:
        return self._machine.catalogue.listing()

    def scan(self, query: Query) -> MemoryScan:
        check_limit(query)
        table = self._machine.catalogue.table(query.db, query.table)
        return MemoryScan(Plan(table, query), self._backend.rows[table.id], self._clock, self._limits.scan_seconds)

    def row(self, db: str | None, table: str, row_id: str) -> tuple[Value, ...] | None:
        return self.point(db, table, row_id)[1]

    def point(self, db: str | None, table: str, row_id: str) -> tuple[tuple[Column, ...], tuple[Value, ...] | None]:
        found = self._machine.catalogue.table(db, table)
        row = self._backend.get(found, row_id)
        return found.columns, None if row is None else load_row(row)

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

    def checkpoint(self, urgent: bool = False) -> Deferred[SnapshotMeta]:
        self.durable_image = self._backend.image()
        return succeed(self._machine.place())

    def sync_early(self) -> Deferred[None]:
        return succeed(None)

    def snapshot(self) -> Deferred[SnapshotFile]:
        self._snapshots += 1
        token = f"{self.applied_term}-{self.applied_index}-{self._snapshots}"
        image = self._backend.image()
        path = f"outgoing/{token}.db"
        self._files[path] = image
        digest = blake2b(image, digest_size=DIGEST_BYTES).digest()
        return succeed(SnapshotFile(meta_of(self._backend.progress), token, path, len(image), digest))

    def copy(self) -> Deferred[Copy]:
        if self._copy is not None:
            return fail(Busy(COPY_BUSY))
        self._copy = MemoryCopy(self._limits, self._clock, self._backend.image(), self._copy_closed)
        return succeed(self._copy)

    def _copy_closed(self) -> None:
        self._copy = None

    def counters(self) -> Counters:
        return {
            "idempotency_keys": self._machine.keys,
            "idempotency_keys_max": self._limits.idempotency_keys_max,
            "hash_format": HASH_FORMAT.decode(),
        }

    def crash(self) -> MemoryTables:
        """What a restart finds: the state at the last checkpoint."""
        left = MemoryTables(self._limits, self._clock, self._files, self._founders, self.durable_image)
        left.is_suspect = self.is_suspect
        return left

    def close(self) -> None:
        pass


class MemoryCopy:
    """`storage.Copy`: tables of their own, to which nothing is applied."""

    def __init__(self, limits: Limits, clock: Callable[[], float], image: bytes, closed: Callable[[], None]) -> None:
        progress = msgspec.msgpack.decode(image, type=Image).progress
        self.meta = meta_of(progress)
        self.state_hash = progress.state_hash
        self._tables = MemoryTables(replace(limits, scan_seconds=math.inf), clock, image=image)
        self._closed = closed

    @property
    def default_database(self) -> str | None:
        return self._tables.default_database

    def databases(self) -> list[tuple[str, list[TableInfo]]]:
        return self._tables.databases()

    def scan(self, query: Query) -> Scan:
        return self._tables.scan(query)

    def close(self) -> None:
        self._closed()


def image_meta(image: bytes) -> SnapshotMeta:
    """Raises Corrupt when the bytes are no snapshot of a twin."""
    try:
        return meta_of(msgspec.msgpack.decode(image, type=Image).progress)
    except msgspec.DecodeError as error:
        raise Corrupt(f"the snapshot cannot be read: {error}") from error
