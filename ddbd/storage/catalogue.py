"""Databases and tables by name, and what a row of a table may hold. Names compare without case and are spelled as they were created."""

from __future__ import annotations

import re

import msgspec

from ddbd.commands import Column, Row, Value
from ddbd.errors import Refused
from ddbd.storage import TableInfo
from ddbd.storage.values import PLAIN, Stored, accepted_types, is_column_type, store

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
RESERVED = ("row_id", "_version")
COLUMNS_MAX = 1_000
NUMBERS = frozenset({int, float})
NUMBER_MAX = 2**62  # below it a number is certainly one that can be stored, and stored as it is
SHOWN_CHARS_MAX = 80  # of a client's text in a sentence

_is_in = frozenset.__contains__
_columns_decoder = msgspec.msgpack.Decoder(tuple[Column, ...])


class Database:
    def __init__(self, id_: int, name: str) -> None:
        self.id = id_  # the index of the entry that created it
        self.name = name
        self.tables: dict[str, Table] = {}  # by name in lower case


class Table:
    """`id` is the index of the entry that created it, so that no two tables ever share one."""

    def __init__(self, id_: int, db_id: int, name: str, columns: tuple[Column, ...], row_count: int = 0) -> None:
        self.id = id_
        self.db_id = db_id
        self.name = name
        self.columns = columns
        self.row_count = row_count
        self.positions = {column.name: place for place, column in enumerate(columns)}
        self._lower = {column.name.lower(): place for place, column in enumerate(columns)}
        self._accepted = [accepted_types(column.type) for column in columns]
        self._plain = [PLAIN & accepted for accepted in self._accepted]
        self._numbers = [NUMBERS & accepted for accepted in self._accepted]
        self._empty: list[Stored] = [None] * len(columns)
        self._names = list(self.positions)
        self.scratch: dict[str, object] = {}  # what a backend keeps for this table: its SQL

    def position(self, name: str) -> int | None:
        place = self.positions.get(name)
        return self._lower.get(name.lower()) if place is None else place

    def store(self, data: Row) -> list[Stored]:
        """The values in column order; missing ones are null. Raises Refused: unknown_column, invalid_value."""
        if list(data) == self._names:  # whole, and in order: of text alone it needs no loop (bytecodes of three columns: 110 -> 40)
            values: list[Stored] = list(data.values())
            if all(map(_is_in, self._plain, map(type, values))):
                return values
        values = self._empty.copy()
        self.merge(data, values)
        return values

    def merge(self, data: Row, values: list[Stored]) -> None:
        """Puts the data over the values. Raises Refused as `store` does."""
        positions, plain, numbers = self.positions, self._plain, self._numbers
        for name, value in data.items():
            place = positions.get(name)
            if place is None:
                place = self._find(name, data)
            kind = type(value)
            if kind in plain[place] or (kind in numbers[place] and -NUMBER_MAX < value < NUMBER_MAX):
                values[place] = value
            else:
                values[place] = self._store(place, value)

    def _store(self, place: int, value: Value) -> Stored:
        column = self.columns[place]
        if type(value) not in self._accepted[place]:
            raise Refused("invalid_value", f"column {column.name} holds {column.type} values; {_kind(value)} is none")
        return store(value, column.name)

    def _find(self, name: str, data: Row) -> int:
        place = self._lower.get(name.lower())
        if place is None:
            raise unknown_column(self, name)
        if sum(other.lower() == name.lower() for other in data) > 1:
            raise Refused("invalid_value", f"column {self.columns[place].name} is given twice")
        return place

    def info(self, db: str) -> TableInfo:
        return TableInfo(db, self.name, self.columns, self.row_count)

    def columns_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self.columns)


def columns_from_bytes(data: bytes) -> tuple[Column, ...]:
    return _columns_decoder.decode(data)


def unknown_column(table: Table, name: str) -> Refused:
    """Sentences of apply go into the chained hash: never `!r`, whose escapes depend on the interpreter's version of Unicode."""
    names = ", ".join(column.name for column in table.columns)
    shown = name if len(name) <= SHOWN_CHARS_MAX else f"{name[:SHOWN_CHARS_MAX]}..."
    return Refused("unknown_column", f"table {table.name} has no column {shown!a}; its columns are {names}")


def database_exists(name: str) -> Refused:
    return Refused("database_exists", f"there is a database {name} already; replace it, or restore under another name")


def _kind(value: Value) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a real", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")


def check_columns(columns: tuple[Column, ...]) -> None:
    """The door checks this too; a replica that could not create the table would stop. Raises Refused."""
    if not 1 <= len(columns) <= COLUMNS_MAX:
        raise Refused("invalid_value", f"columns: a table has 1 to {COLUMNS_MAX} columns, not {len(columns)}")
    seen: set[str] = set()
    for column in columns:
        check_name("column", column.name)
        lower = column.name.lower()
        if lower in RESERVED:
            raise Refused("invalid_name", f"columns: {column.name} is a reserved name")
        if lower in seen:
            raise Refused("invalid_value", f"columns: {column.name} is given twice (names compare without case)")
        if not is_column_type(column.type):
            raise Refused("invalid_value", f"columns: {column.name}: {column.type!a} is no type")
        seen.add(lower)


def check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name) or name.lower().startswith("sqlite_"):
        raise Refused("invalid_name", f"{name!a} is no name of a {what}; use letters, digits and '_', 63 at most, no digit first")


class Catalogue:
    def __init__(self) -> None:
        self.databases: dict[str, Database] = {}  # by name in lower case
        self.default: Database | None = None

    def add_database(self, database: Database) -> None:
        self.databases[database.name.lower()] = database

    def drop_database(self, database: Database) -> None:
        del self.databases[database.name.lower()]
        if self.default is database:
            self.default = None

    def rename_database(self, database: Database, name: str) -> None:
        """It keeps its place in the order of creation."""
        old, database.name = database.name.lower(), name
        self.databases = {name.lower() if key == old else key: each for key, each in self.databases.items()}

    def database(self, name: str | None) -> Database:
        """Raises Refused: no_database, database_not_found."""
        if name is None:
            if self.default is None:
                raise Refused("no_database", "there is no default database; create one with init_database or name one with db")
            return self.default
        found = self.databases.get(name.lower())
        if found is None:
            raise Refused("database_not_found", f"there is no database {name!a}; create it with init_database")
        return found

    def table(self, db: str | None, name: str) -> Table:
        """Raises Refused: no_database, database_not_found, table_not_found."""
        database = self.default if db is None else None
        if database is None:
            database = self.database(db)
        found = database.tables.get(name) or database.tables.get(name.lower())
        if found is None:
            raise Refused("table_not_found", f"there is no table {name!a} in database {database.name}; create it with create_table")
        return found

    def listing(self) -> list[tuple[str, list[TableInfo]]]:
        """In order of creation."""
        return [(database.name, [table.info(database.name) for table in database.tables.values()]) for database in self.databases.values()]
