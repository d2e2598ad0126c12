"""The promises of the storage room, as protocols; the disk and the twin in memory keep the same ones.

A node's data directory (see `directory`) holds an identity, the Raft log, and one generation of tables. The log (`Log`) is the truth:
hard state and entries in one checksummed, append-only stream. The tables (`Tables`) are the state machine on disk; what a crash takes
from them is replayed from the log, so the log is never compacted beyond what the tables hold durably.

Errors: a failed write or fsync raises (or errbacks with) `errors.StorageFailed`, a failed checksum `errors.Corrupt`. The process stops on
both. `errors.Refused` from reads is an answer for the client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from ddbd.answers import Counters
from ddbd.commands import Applied, Column, Value
from ddbd.raft.types import Entry, HardState, Membership, SnapshotMeta

Tell = Callable[[list[Applied]], None]


def nobody(results: list[Applied]) -> None:
    """Whom to tell where nobody waits."""


class Recovered(NamedTuple):
    """What a log knew when it was opened."""

    hard_state: HardState
    base: SnapshotMeta  # the entry just before the first one held; index 0 in a young log
    last_index: int  # >= base.index
    memberships: tuple[tuple[int, Membership], ...]  # (index, membership) of every MEMBERSHIP entry held, in log order
    generation: int  # the generation of tables that belongs to this log


class Log(Protocol):
    """The Raft log: entries base.index+1 .. last_index, and the hard state.

    `save` appends; an entry whose index is not above last_index replaces that one and all behind it. The Deferred fires when
    everything given is on the platter; it has already fired where the sync was done inline. One save at a time.
    """

    @property
    def recovered(self) -> Recovered: ...

    def read(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        """Entries low..high-1 (base.index < low), fewer when their data exceeds bytes_max, but at least one."""

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]: ...

    def compact(self, index: int) -> int:
        """Entries up to index are no longer needed. Drops whole segments; returns the new base.index (<= index)."""

    def tail_from(self, bytes_max: int) -> int:
        """The lowest index behind which all entries take at most so many bytes on the disk, counted as the log drops them."""

    @property
    def base(self) -> SnapshotMeta:
        """The entry just before the first one held, now."""

    def install(self, meta: SnapshotMeta, generation: int) -> None:
        """Makes the snapshot the log's base and `generation` its tables, durably, in one step. No save may be under way.

        Entries behind meta.index are kept where the entry at meta.index has meta.term, else dropped (Raft figure 13, rules 6 and 7).
        """

    def close(self) -> None: ...


class TableInfo(NamedTuple):
    db: str
    name: str
    columns: tuple[Column, ...]
    row_count: int


class Query(NamedTuple):
    """A select (column is None) or a search over one table, in row_id order."""

    db: str | None
    table: str
    row_id: str | None = None
    columns: tuple[str, ...] | None = None  # None: all; row_id always comes first
    column: str | None = None
    op: str = "eq"  # eq ne lt le gt ge prefix contains
    value: str = ""
    limit: int | None = None
    after: str | None = None  # rows with row_id > after


class Scan(Protocol):
    """The rows of a query at one instant, in slices that each keep the reactor for a few milliseconds at most.

    `columns` are the names of a row's fields: row_id, the columns asked for, and `_version` last. A slice may be empty while the scan
    goes on. Raises ScanTimedOut when the read transaction got too old, Busy at the second slice where too many long scans are open.
    Closing twice is fine; a scan closes itself at its end.
    """

    columns: tuple[str, ...]

    def __iter__(self) -> Iterator[list[tuple[Value, ...]]]: ...

    def close(self) -> None: ...


class SnapshotFile(NamedTuple):
    """A whole copy of the tables in one file, ready to be sent. `token` names it; `digest` is over the whole content."""

    meta: SnapshotMeta
    token: str
    path: str
    size_bytes: int
    digest: bytes


class Copy(Protocol):
    """The tables at one instant, apart from the writes that go on. Close it whatever happens: its file goes then."""

    @property
    def meta(self) -> SnapshotMeta: ...

    @property
    def state_hash(self) -> bytes:
        """The chained hash at meta.index."""

    @property
    def default_database(self) -> str | None: ...

    def databases(self) -> list[tuple[str, list[TableInfo]]]: ...

    def scan(self, query: Query) -> Scan:
        """As `Tables.scan`, but one at a time, and without an end to its time."""

    def close(self) -> None: ...


class Tables(Protocol):
    """The state machine. Apply is one transaction: effects, idempotency keys, proposal windows, counts, chained hash, applied index."""

    @property
    def applied_index(self) -> int: ...

    @property
    def applied_term(self) -> int: ...

    @property
    def applied_stamp(self) -> int:
        """Log time of the last applied entry, milliseconds."""

    @property
    def membership(self) -> Membership | None:
        """Of the last applied MEMBERSHIP entry or installed snapshot; before the first one, the founders."""

    @property
    def default_database(self) -> str | None: ...

    def apply(self, entries: Sequence[Entry], tell: Tell = nobody) -> list[Applied]:
        """Applies applied_index+1 ... in order. One Applied for each COMMAND entry, none for the others. `tell` gets them at once.

        The transaction stays open for further entries until `settle`: the log has them all. Whoever reads these tables meanwhile sees
        them: `row`, `point` and a search that an index answers with few rows as they are, all else has them committed first.
        """

    def settle(self) -> None:
        """Commits what `apply` left open."""

    @property
    def is_full(self) -> bool:
        """So much is open that `settle` should be called, in a turn with some milliseconds to spare; else the next `apply` does it."""

    @property
    def holds_writes(self) -> bool:
        """A checkpoint is being ended, so `apply` must wait. It has an end before that checkpoint fires."""

    def table(self, db: str | None, name: str) -> TableInfo:
        """Raises Refused: no_database, database_not_found, table_not_found."""

    def databases(self) -> list[tuple[str, list[TableInfo]]]: ...

    def scan(self, query: Query) -> Scan:
        """Raises Refused as `table` does, and unknown_column."""

    def row(self, db: str | None, table: str, row_id: str) -> tuple[Value, ...] | None:
        """One whole row as a scan would give it."""

    def point(self, db: str | None, table: str, row_id: str) -> tuple[tuple[Column, ...], tuple[Value, ...] | None]:
        """The table's columns, the same object for as long as it has them, and the row as `row` gives it."""

    def open_sequences(self, origin: str) -> tuple[int, int, list[tuple[int, int]]]:
        """(boot, floor, ranges) of the origin's window: the seqs at or above floor that were applied, as inclusive ranges."""

    def registered(self, origin: str) -> tuple[int, int] | None:
        """(boot, nonce) of the origin's last registration."""

    def format_of(self, origin: str) -> int:
        """The highest format of commands that the origin reads, by its last registration; 0 before the first one."""

    def state_hash(self, index: int) -> bytes | None:
        """The chained hash after the entry at index, for recent ones; None when it is not (or no longer) known."""

    def checkpoint(self, urgent: bool = False) -> Deferred[SnapshotMeta]:
        """Moves applied entries to where they survive a power cut; fires with the place up to which they now do.

        Scans that are open may hold it back. An urgent one ends them.
        """

    def sync_early(self) -> Deferred[None]:
        """Takes a part of the next checkpoint's work ahead: what was written since the last one goes to the disk. Errbacks as that does."""

    def snapshot(self) -> Deferred[SnapshotFile]:
        """A copy at one instant, made beside the writes. The caller removes the file when it is no longer sent.

        Errbacks with NoRoom where the disk has no room for it now.
        """

    def copy(self) -> Deferred[Copy]:
        """For a backup; one at a time, and it takes space on the disk until it is closed. Cancel to give it up.

        Errbacks with Busy while there is another one, with NoRoom where the disk has no room for it now.
        """

    def counters(self) -> Counters:
        """What an operator may want to see: idempotency keys held and allowed, sizes in bytes, format of the hash."""

    def close(self) -> None: ...


class Store(Protocol):
    """One node's data: its log, its tables, and the switch from one generation of tables to the next."""

    @property
    def log(self) -> Log: ...

    @property
    def tables(self) -> Tables:
        """Another object after each install: read it anew for each use."""

    def incoming(self) -> str:
        """A fresh path for the bytes of a snapshot on its way in; what was there before is removed."""

    def check_incoming(self, meta: SnapshotMeta, path: str) -> Deferred[None]:
        """Reads the whole file in a thread, so that `install` need not. Errbacks with Corrupt."""

    def install(self, meta: SnapshotMeta, path: str) -> None:
        """Checks the file at path and makes it the tables: a new generation, fsynced, switched to by one record in the log.

        Afterwards `tables` is another object with applied_index == meta.index. Raises Corrupt when the file is not the snapshot
        that meta describes; nothing has changed then.
        """

    def remove_snapshot(self, snapshot: SnapshotFile) -> None:
        """The file is no longer sent."""

    def mark_suspect(self) -> None:
        """These tables differ from the majority's. Remembered, also over a restart, until others are installed."""

    def is_suspect(self) -> bool: ...

    def disk_low(self) -> bool:
        """Whether the reserve of free space is touched."""

    def life(self) -> str:
        """Empty for a founder; otherwise the name of the life that this directory began with, as an empty node among others."""

    def cluster_id(self) -> str: ...

    def close(self) -> None: ...
