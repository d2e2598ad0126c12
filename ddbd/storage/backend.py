"""What the state machine needs of whatever keeps the rows: SQLite, or a dict.

A backend decides nothing. Everything between `begin` and `commit` becomes visible and durable together; a crash before `commit` leaves
nothing of it. Rows are `StoredRow`: (row_id, version, *values).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from ddbd.raft.types import Membership
from ddbd.storage.catalogue import Catalogue, Database, Table
from ddbd.storage.values import StoredRow
from ddbd.storage.windows import Window

FORMAT = 1  # of the tables; a node refuses a higher one


class Progress(msgspec.Struct, array_like=True):
    """The one small row that moves with every commit."""

    format: int
    index: int
    term: int
    stamp: int
    membership: bytes  # empty before the first one
    state_hash: bytes
    default_id: int  # 0: none

    def membership_value(self) -> Membership | None:
        return Membership.from_bytes(self.membership) if self.membership else None


YOUNG = Progress(FORMAT, 0, 0, 0, b"", b"", 0)


class Kept(NamedTuple):
    """The outcome that is stored for an idempotency key."""

    index: int  # type: ignore[assignment]  # of the entry that decided it
    fingerprint: bytes
    answer: bytes
    stamp: int


class Backend(Protocol):
    def load(self) -> tuple[Progress, Catalogue, dict[str, Window]]: ...

    def begin(self) -> None: ...

    def commit(self, progress: Progress, windows: Iterable[tuple[str, Window]], counted: Iterable[Table]) -> None:
        """`counted` are the tables whose row_count changed."""

    def create_database(self, database: Database) -> None: ...

    def drop_database(self, database: Database) -> None:
        """Its tables were dropped before."""

    def rename_database(self, database: Database) -> None:
        """It has the new name already."""

    def create_table(self, table: Table) -> None: ...

    def drop_table(self, table: Table) -> None: ...

    def get(self, table: Table, row_id: str) -> StoredRow | None: ...

    def version(self, table: Table, row_id: str) -> int | None: ...

    def insert(self, table: Table, row: StoredRow) -> bool:
        """False, and nothing changes, where the row_id is there already."""

    def insert_many(self, table: Table, rows: Sequence[StoredRow]) -> int:
        """Inserts those that are not there; says how many."""

    def replace_many(self, table: Table, rows: Sequence[StoredRow]) -> int:
        """Overwrites those that are there with an older version; says how many."""

    def delete(self, table: Table, row_id: str) -> None: ...

    def delete_many(self, table: Table, row_ids: Iterable[str], version: int) -> None:
        """Deletes those that have this version: the undo of `insert_many`."""

    def key_count(self) -> int: ...

    def key_get(self, key: str) -> Kept | None: ...

    def key_put(self, key: str, kept: Kept) -> None: ...

    def key_delete(self, index: int) -> None: ...

    def key_oldest(self) -> tuple[int, int] | None:
        """(index, stamp) of the outcome that was stored first."""
