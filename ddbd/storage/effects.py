"""What each command does to the tables. Everything is checked before anything is written, so a refusal leaves no trace.

Each function returns (body of the answer, effect): the effect is what goes into the chained hash, with the rows as they are now stored.
A refusal is raised as `Refused` and becomes the answer. Nothing else may be raised that a command could cause.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ddbd.answers import DatabaseMade, DatabasesSwitched, RowsWritten, RowWritten, TableMade, Written
from ddbd.commands import (
    AnyCommand,
    CreateTable,
    Delete,
    DeleteTable,
    DropDatabase,
    InitDatabase,
    Insert,
    StageDatabase,
    SwitchDatabases,
    Update,
)
from ddbd.config import Limits
from ddbd.errors import Refused, row_exists_detail
from ddbd.storage.backend import Backend
from ddbd.storage.catalogue import Catalogue, Database, Table, check_columns, check_name, database_exists
from ddbd.storage.values import StoredRow, load, row_bytes

Outcome = tuple[Written, tuple[Any, ...]]


class Effects:
    def __init__(self, backend: Backend, catalogue: Catalogue, limits: Limits) -> None:
        self._backend = backend
        self._catalogue = catalogue
        self._limits = limits
        self.counted: set[Table] = set()  # whose row_count changed since the last commit
        self._handlers: dict[type, Callable[[Any, int], Outcome]] = {
            Insert: self._insert,
            Update: self._update,
            Delete: self._delete,
            InitDatabase: self._init_database,
            DropDatabase: self._drop_database,
            CreateTable: self._create_table,
            DeleteTable: self._delete_table,
            StageDatabase: self._stage_database,
            SwitchDatabases: self._switch_databases,
        }

    def run(self, command: AnyCommand, index: int) -> Outcome:
        """Raises Refused."""
        return self._handlers[type(command)](command, index)

    # Databases and tables.

    def _init_database(self, command: InitDatabase, index: int) -> Outcome:
        database, created = self._database(command.name, index)
        self._catalogue.default = database
        body: DatabaseMade = {"status": "ok", "db": database.name, "created": created}
        return body, ("init_database", database.id, database.name)

    def _stage_database(self, command: StageDatabase, index: int) -> Outcome:
        database, created = self._database(command.name, index)
        body: DatabaseMade = {"status": "ok", "db": database.name, "created": created}
        return body, ("stage_database", database.id, database.name)

    def _database(self, name: str, index: int) -> tuple[Database, bool]:
        """The one of this name, and whether it was made for it. Raises Refused."""
        check_name("database", name)
        database = self._catalogue.databases.get(name.lower())
        if database is not None:
            return database, False
        database = Database(index, name)
        self._catalogue.add_database(database)
        self._backend.create_database(database)
        return database, True

    def _drop_database(self, command: DropDatabase, index: int) -> Outcome:
        database = self._catalogue.database(command.name)
        self._drop(database)
        return {"status": "ok", "db": database.name}, ("drop_database", database.id)

    def _drop(self, database: Database) -> None:
        for table in database.tables.values():
            self._forget(table)
        self._backend.drop_database(database)
        self._catalogue.drop_database(database)

    def _switch_databases(self, command: SwitchDatabases, index: int) -> Outcome:
        switches = self._checked_switches(command)
        for database, name, replaced in switches:
            was_default = replaced is not None and replaced is self._catalogue.default
            if replaced is not None:
                self._drop(replaced)
            self._catalogue.rename_database(database, name)
            self._backend.rename_database(database)
            is_named = command.default is not None and command.default.lower() == name.lower()
            if was_default or (is_named and self._catalogue.default is None):
                self._catalogue.default = database
        effect = [(database.id, name, 0 if replaced is None else replaced.id) for database, name, replaced in switches]
        default = self._catalogue.default
        body: DatabasesSwitched = {"status": "ok", "databases": [name for _, name, _ in switches], "index": index}
        return body, ("switch_databases", effect, 0 if default is None else default.id)

    def _checked_switches(self, command: SwitchDatabases) -> list[tuple[Database, str, Database | None]]:
        """(which one, its new name, the one that has that name now). Raises Refused."""
        names = [name.lower() for pair in command.pairs for name in pair]
        if not names or len(set(names)) < len(names):
            raise Refused("invalid_value", "databases are given other names: at least one, and each name once")
        switches = []
        for old, name in command.pairs:
            check_name("database", name)
            replaced = self._catalogue.databases.get(name.lower())
            if replaced is not None and not command.replace:
                raise database_exists(replaced.name)
            switches.append((self._catalogue.database(old), name, replaced))
        return switches

    def _create_table(self, command: CreateTable, index: int) -> Outcome:
        database = self._catalogue.database(command.db)
        check_name("table", command.table)
        check_columns(command.columns)
        table = database.tables.get(command.table.lower())
        created = table is None
        if table is None:
            table = Table(index, database.id, command.table, command.columns)
            database.tables[command.table.lower()] = table
            self._backend.create_table(table)
        elif not _same_columns(table, command):
            names = ", ".join(column.name for column in table.columns)
            raise Refused("table_exists", f"table {table.name} is there with other columns: {names}")
        body: TableMade = {"status": "ok", "db": database.name, "table": table.name, "created": created}
        return body, ("create_table", table.id, table.name, table.columns if created else None)

    def _delete_table(self, command: DeleteTable, index: int) -> Outcome:
        table = self._catalogue.table(command.db, command.table)
        database = self._catalogue.database(command.db)
        self._forget(table)
        del database.tables[table.name.lower()]
        return {"status": "ok", "db": database.name, "table": table.name}, ("delete_table", table.id)

    def _forget(self, table: Table) -> None:
        self._backend.drop_table(table)
        self.counted.discard(table)

    # Rows.

    def _insert(self, command: Insert, index: int) -> Outcome:
        table = self._catalogue.table(command.db, command.table)
        if not command.rows:
            raise Refused("invalid_value", "rows: at least one row is needed")
        if len(command.rows) == 1 and not command.upsert:
            row_id, data = command.rows[0]
            row = (row_id, index, *table.store(data))
            if not self._backend.insert(table, row):
                raise _row_exists(table, row_id)
            table.row_count += 1
            rows: list[StoredRow] = [row]
        else:
            self._check_cells(table, len(command.rows))
            rows = self._insert_many(table, command, index)
        self.counted.add(table)
        body: RowWritten | RowsWritten
        if command.single:
            body = {"row_id": command.rows[0][0], "version": index, "index": index}
        else:
            body = {"row_ids": [row_id for row_id, _ in command.rows], "version": index, "index": index}
        return body, ("insert", table.id, rows)

    def _check_cells(self, table: Table, rows: int) -> None:
        """Known only here: the door cannot tell what columns the table will have. A single row is never too many."""
        limit, columns = self._limits.batch_cells_max, len(table.columns)
        rows_max = max(1, limit // columns)
        if rows > rows_max:
            raise Refused(
                "invalid_value",
                f"rows has {rows} rows of {columns} columns; a batch has at most {limit} values: send {rows_max} rows at once, or fewer",
            )

    def _insert_many(self, table: Table, command: Insert, index: int) -> list[StoredRow]:
        by_id = {row_id: (row_id, index, *table.store(data)) for row_id, data in command.rows}
        if len(by_id) < len(command.rows) and not command.upsert:
            raise Refused("row_exists", f"row {_first_twice(command)!a} is given twice in one insert")
        rows = [by_id[row_id] for row_id in sorted(by_id)]  # rising keys are several times as fast
        table.row_count += self._put_all(table, rows) if command.upsert else self._add_all(table, rows, command, index)
        return rows

    def _put_all(self, table: Table, rows: list[StoredRow]) -> int:
        """How many are new. Where the first row is there most of them are: so a load that comes again is a sixth faster."""
        if self._backend.version(table, rows[0][0]) is not None:
            there = self._backend.replace_many(table, rows)
            return self._backend.insert_many(table, rows) if there < len(rows) else 0
        new = self._backend.insert_many(table, rows)
        if new < len(rows):
            self._backend.replace_many(table, rows)
        return new

    def _add_all(self, table: Table, rows: list[StoredRow], command: Insert, index: int) -> int:
        """Raises Refused where one is there."""
        new = self._backend.insert_many(table, rows)
        if new < len(rows):
            there = next(row_id for row_id, _ in command.rows if self._backend.version(table, row_id) != index)
            self._backend.delete_many(table, [row[0] for row in rows], index)
            raise _row_exists(table, there)
        return new

    def _update(self, command: Update, index: int) -> Outcome:
        table = self._catalogue.table(command.db, command.table)
        row = self._backend.get(table, command.row_id)
        if row is None:
            table.store(command.new_data)
            raise _row_not_found(table, command.row_id)
        _check_version(table, command, row[1])
        values = list(row[2:])
        table.merge(command.new_data, values)
        self._check_size(table, values)
        merged = (command.row_id, index, *values)
        self._backend.replace_many(table, [merged])
        return {"row_id": command.row_id, "version": index, "index": index}, ("update", table.id, merged)

    def _check_size(self, table: Table, values: list[Any]) -> None:
        limit = self._limits.row_bytes_max
        # Escaping makes at most six bytes of one, so most rows need no second look.
        most = sum(len(column.name) + 4 for column in table.columns) + sum(
            6 * len(value.encode()) + 2 if type(value) is str else len(value) if type(value) is bytes else 24 for value in values
        )
        if most <= limit:
            return
        size = row_bytes({column.name: load(value) for column, value in zip(table.columns, values, strict=True)})
        if size > limit:
            raise Refused("invalid_value", f"the row would have {size} bytes with the new data; at most {limit} are allowed")

    def _delete(self, command: Delete, index: int) -> Outcome:
        table = self._catalogue.table(command.db, command.table)
        version = self._backend.version(table, command.row_id)
        if version is None:
            raise _row_not_found(table, command.row_id)
        _check_version(table, command, version)
        self._backend.delete(table, command.row_id)
        table.row_count -= 1
        self.counted.add(table)
        return {"row_id": command.row_id, "version": index, "index": index}, ("delete", table.id, command.row_id, version)


def _same_columns(table: Table, command: CreateTable) -> bool:
    there = [(column.name.lower(), column.type, column.index) for column in table.columns]
    return there == [(column.name.lower(), column.type, column.index) for column in command.columns]


def _row_exists(table: Table, row_id: str) -> Refused:
    return Refused("row_exists", row_exists_detail(table.name, row_id))


def _row_not_found(table: Table, row_id: str) -> Refused:
    return Refused("row_not_found", f"table {table.name} has no row {row_id!a}")


def _check_version(table: Table, command: Update | Delete, version: int) -> None:
    if command.if_version is not None and command.if_version != version:
        raise Refused("version_mismatch", f"row {command.row_id!a} of table {table.name} has version {version}, not {command.if_version}")


def _first_twice(command: Insert) -> str:
    seen: set[str] = set()
    row_ids = (row_id for row_id, _ in command.rows)
    while (row_id := next(row_ids)) not in seen:
        seen.add(row_id)
    return row_id
