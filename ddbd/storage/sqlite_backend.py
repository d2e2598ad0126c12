"""The rows in SQLite.

    t_<db>_<table>   row_id TEXT PRIMARY KEY, _version, then the columns under their own names, WITHOUT ROWID; no column has a type, so
                     nothing that is stored is ever converted. An indexed column has an index i_<db>_<table>_<place>.
    _progress, _databases, _tables, _windows, _keys    what the state machine keeps beside the rows

A table is not dropped at once: it leaves the catalogue, and this commit and later ones delete some of its rows while they are many, and
then the table, a few tables a commit. So neither many rows nor many tables stop the reactor (measured: an empty table takes 0.4 ms where
there are 2,000 of them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apsw
import msgspec

from ddbd.errors import Corrupt, StorageFailed
from ddbd.storage.backend import YOUNG, Kept, Progress
from ddbd.storage.catalogue import Catalogue, Database, Table, columns_from_bytes
from ddbd.storage.seal import check_seal, check_whole
from ddbd.storage.sqlite import RESERVED_BYTES, as_fatal, connect, fatal, reserved_bytes
from ddbd.storage.values import StoredRow
from ddbd.storage.windows import Window

DROP_AT_ONCE_ROWS = 1_000
SWEEP_ENTRIES = 600  # of a dropped table and its indexes, in each commit
SWEEP_TABLES = 4  # that are dropped in each commit

_SCHEMA = """
CREATE TABLE IF NOT EXISTS _progress (id INTEGER PRIMARY KEY CHECK (id = 1), data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS _databases (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS _tables (id INTEGER PRIMARY KEY, db INTEGER NOT NULL, name TEXT NOT NULL, columns BLOB NOT NULL,
                                    row_count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _windows (origin TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _keys (entry INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, fingerprint BLOB NOT NULL,
                                  answer BLOB NOT NULL, stamp INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _dropped (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_progress_decoder = msgspec.msgpack.Decoder(Progress)


def table_name(table: Table) -> str:
    return f"t_{table.db_id}_{table.id}"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Statements:
    """A table's SQL, made once."""

    def __init__(self, table: Table) -> None:
        self.name = table_name(table)
        self.columns = [quoted(column.name) for column in table.columns]
        names = ", ".join(["row_id", "_version", *self.columns])
        marks = ", ".join("?" * (len(self.columns) + 2))
        sets = ", ".join(f"{name} = ?{place}" for place, name in enumerate(["_version", *self.columns], 2))
        self.insert = f"INSERT INTO {self.name} ({names}) VALUES ({marks}) ON CONFLICT (row_id) DO NOTHING"
        self.replace = f"UPDATE {self.name} SET {sets} WHERE row_id = ?1 AND _version < ?2"
        self.get = f"SELECT {names} FROM {self.name} WHERE row_id = ?"
        self.version = f"SELECT _version FROM {self.name} WHERE row_id = ?"
        self.delete = f"DELETE FROM {self.name} WHERE row_id = ?"
        self.undo = f"DELETE FROM {self.name} WHERE row_id = ? AND _version = ?"

    @classmethod
    def of(cls, table: Table) -> Statements:
        found = table.scratch.get("sql")
        if not isinstance(found, cls):
            found = table.scratch["sql"] = cls(table)
        return found


def read_progress(connection: apsw.Connection) -> Progress:
    """Raises Corrupt."""
    row: list[Any] = connection.execute("SELECT data FROM _progress").fetchall()
    if not row:
        return YOUNG
    try:
        return _progress_decoder.decode(row[0][0])
    except msgspec.DecodeError as error:
        raise Corrupt(f"the tables' progress cannot be read: {error}") from error


def read_catalogue(connection: apsw.Connection, progress: Progress) -> Catalogue:
    databases: list[Any] = connection.execute("SELECT id, name FROM _databases ORDER BY id").fetchall()
    tables: list[Any] = connection.execute("SELECT id, db, name, columns, row_count FROM _tables ORDER BY id").fetchall()
    catalogue = Catalogue()
    by_id = {id_: Database(id_, name) for id_, name in databases}
    for database in by_id.values():
        catalogue.add_database(database)
    for id_, db, name, columns, row_count in tables:
        by_id[db].tables[name.lower()] = Table(id_, db, name, columns_from_bytes(columns), row_count)
    catalogue.default = by_id.get(progress.default_id)
    return catalogue


class SqliteBackend:
    """`backend.Backend` on one connection. Errors of SQLite pass through `guarded`."""

    def __init__(self, path: str, cache_bytes: int) -> None:
        """Opens or creates the file. Raises Corrupt, StorageFailed."""
        self.path = path
        check_seal(f"{path}-wal")
        # `create` also where it is there: a power cut may have left it without content, and then its pages get their checksums now.
        self.connection = connect(path, create=True)
        with fatal(path):
            # Of SQLite's own 2 MB an index with values in no order throws a page away for each row (1,000 rows: 17.2 ms, with this 14.0).
            self.connection.pragma("cache_size", -cache_bytes // 1024)  # below 0: KiB
            pages, page_bytes = int(self.connection.pragma("page_count")), int(self.connection.pragma("page_size"))
            frames = self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0]
            check_whole(path, pages, page_bytes, frames)
        with fatal(path), self.connection:
            self.connection.execute(_SCHEMA)
        if reserved_bytes(path) != RESERVED_BYTES:
            raise Corrupt(f"{path}: the pages have no checksums; the tables are damaged, restore this node from its peers")
        self._cursor = self.connection.cursor()
        self._execute = self._cursor.execute
        self._read = self.connection.execute
        self._changes = self.connection.changes
        self._total_changes = self.connection.total_changes
        with fatal(path):
            self._dropped = [str(name) for (name,) in self.connection.execute("SELECT name FROM _dropped")]

    def guarded(self, call: Callable[[], Any]) -> Any:
        """Runs the call; what SQLite raises is fatal, and so is text that cannot be UTF-8."""
        try:
            return call()
        except (apsw.Error, UnicodeEncodeError, OverflowError) as error:
            raise as_fatal(self.path, error) from error

    def load(self) -> tuple[Progress, Catalogue, dict[str, Window]]:
        with fatal(self.path):
            progress = read_progress(self.connection)
            windows: list[Any] = self.connection.execute("SELECT origin, data FROM _windows").fetchall()
            catalogue = read_catalogue(self.connection, progress)
        return progress, catalogue, {origin: Window.from_bytes(data) for origin, data in windows}

    def begin(self) -> None:
        self._execute("BEGIN IMMEDIATE")

    @property
    def is_sweeping(self) -> bool:
        """Whether a dropped table has still to go."""
        return bool(self._dropped)

    def commit(self, progress: Progress, windows: Iterable[tuple[str, Window]], counted: Iterable[Table]) -> None:
        if not self.connection.in_transaction:  # then each of these statements would be a transaction of its own
            raise StorageFailed(f"{self.path}: SQLite has rolled the transaction back, after an error")
        self._execute("REPLACE INTO _progress VALUES (1, ?)", (msgspec.msgpack.encode(progress),))
        for origin, window in windows:
            self._execute("REPLACE INTO _windows VALUES (?, ?)", (origin, window.to_bytes()))
        for table in counted:
            self._execute("UPDATE _tables SET row_count = ? WHERE id = ?", (table.row_count, table.id))
        self._sweep()
        self._execute("COMMIT")

    def _sweep(self) -> None:
        for name in self._dropped[:SWEEP_TABLES]:
            if self._thin_out(name):
                return
            self._execute(f"DROP TABLE {name}")
            self._execute("DELETE FROM _dropped WHERE name = ?", (name,))
            self._dropped.remove(name)

    def _thin_out(self, name: str) -> bool:
        """Deletes some rows of a table that has too many to be dropped; says whether it had."""
        if self._first(f"SELECT 1 FROM {name} LIMIT 1 OFFSET {DROP_AT_ONCE_ROWS}", ()) is None:
            return False
        trees = len(self._execute(f"PRAGMA index_list({name})").fetchall())  # the table itself is its primary key
        rows = f"SELECT row_id FROM {name} ORDER BY row_id LIMIT {max(1, SWEEP_ENTRIES // trees)}"
        self._execute(f"DELETE FROM {name} WHERE row_id IN ({rows})")
        return True

    # Databases and tables.

    def create_database(self, database: Database) -> None:
        self._execute("INSERT INTO _databases VALUES (?, ?)", (database.id, database.name))

    def drop_database(self, database: Database) -> None:
        self._execute("DELETE FROM _databases WHERE id = ?", (database.id,))

    def rename_database(self, database: Database) -> None:
        self._execute("UPDATE _databases SET name = ? WHERE id = ?", (database.name, database.id))

    def create_table(self, table: Table) -> None:
        sql = Statements.of(table)
        columns = ", ".join(["row_id TEXT PRIMARY KEY NOT NULL", "_version INTEGER NOT NULL", *sql.columns])
        self._execute(f"CREATE TABLE {sql.name} ({columns}) WITHOUT ROWID")
        for place, column in enumerate(table.columns):
            if column.index:
                self._execute(f"CREATE INDEX i{sql.name[1:]}_{place} ON {sql.name} ({quoted(column.name)})")
        row = (table.id, table.db_id, table.name, table.columns_bytes(), table.row_count)
        self._execute("INSERT INTO _tables VALUES (?, ?, ?, ?, ?)", row)

    def drop_table(self, table: Table) -> None:
        name = table_name(table)
        self._execute("DELETE FROM _tables WHERE id = ?", (table.id,))
        self._execute("INSERT INTO _dropped VALUES (?)", (name,))
        self._dropped.append(name)

    # Rows.

    def _first(self, sql: str, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Reads to the end: a statement left half read would keep its read transaction, and with it the WAL.

        A cursor of its own: one that is used again first resets what it did before (measured: 4.5 us a row instead of 2.4).
        """
        rows: list[tuple[Any, ...]] = self._read(sql, arguments).fetchall()
        return rows[0] if rows else None

    def get(self, table: Table, row_id: str) -> StoredRow | None:
        return self._first(Statements.of(table).get, (row_id,))

    def version(self, table: Table, row_id: str) -> int | None:
        row = self._first(Statements.of(table).version, (row_id,))
        return None if row is None else row[0]

    def insert(self, table: Table, row: StoredRow) -> bool:
        self._execute(Statements.of(table).insert, row)
        return self._changes() == 1

    def insert_many(self, table: Table, rows: Sequence[StoredRow]) -> int:
        before = self._total_changes()
        self._cursor.executemany(Statements.of(table).insert, rows)
        return self._total_changes() - before

    def replace_many(self, table: Table, rows: Sequence[StoredRow]) -> int:
        before = self._total_changes()
        self._cursor.executemany(Statements.of(table).replace, rows)
        return self._total_changes() - before

    def delete(self, table: Table, row_id: str) -> None:
        self._execute(Statements.of(table).delete, (row_id,))

    def delete_many(self, table: Table, row_ids: Iterable[str], version: int) -> None:
        self._cursor.executemany(Statements.of(table).undo, [(row_id, version) for row_id in row_ids])

    # Idempotency keys.

    def key_count(self) -> int:
        row = self._first("SELECT count(*) FROM _keys", ())
        return 0 if row is None else int(row[0])

    def key_get(self, key: str) -> Kept | None:
        row = self._first("SELECT entry, fingerprint, answer, stamp FROM _keys WHERE key = ?", (key,))
        return None if row is None else Kept(*row)

    def key_put(self, key: str, kept: Kept) -> None:
        self._execute("INSERT INTO _keys VALUES (?, ?, ?, ?, ?)", (kept.index, key, kept.fingerprint, kept.answer, kept.stamp))

    def key_delete(self, index: int) -> None:
        self._execute("DELETE FROM _keys WHERE entry = ?", (index,))

    def key_oldest(self) -> tuple[int, int] | None:
        row = self._first("SELECT entry, stamp FROM _keys ORDER BY entry LIMIT 1", ())
        return None if row is None else (row[0], row[1])

    def close(self) -> None:
        self.connection.close()
