"""The fields of a body -> a command. Each field known, of its type and within its limits; whatever else is refused with a sentence.

Only what needs no state is checked here. Whether a table or a column is there, and what a column may hold, is known where the command
is applied, and only there: a node that lags would refuse what the leader takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from ddbd.commands import (
    COLUMN_TYPES,
    AnyCommand,
    Column,
    CreateTable,
    Delete,
    DeleteTable,
    DropDatabase,
    InitDatabase,
    Insert,
    Row,
    Update,
)
from ddbd.config import Limits
from ddbd.errors import Refused
from ddbd.web.canonical import INTEGER_MAX, kind, quoted
from ddbd.web.ids import RowIds

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
RESERVED_COLUMNS = ("row_id", "_version")
GROWTH_MAX = 8  # JSON written out again is at most this many times as long as what came ("\t" for "\u0009" is shorter, 1e9 longer)

_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=1024)
def is_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None and not name.lower().startswith("sqlite_")


def check_name(what: str, name: str) -> str:
    if not is_name(name):
        raise Refused(
            "invalid_name",
            f"{what} is {quoted(name)}; a name has 1 to 63 letters, digits and '_', begins with no digit, and not with sqlite_",
        )
    return name


def check_row_id(what: str, value: Any, limits: Limits) -> str:
    if not isinstance(value, str):
        raise Refused("invalid_value", f'{what} is {kind(value)}; a row id is text, as in "1"')
    if not value or len(value.encode()) > limits.row_id_bytes_max:
        raise Refused("invalid_value", f"{what} has {len(value.encode())} bytes; a row id has 1 to {limits.row_id_bytes_max}")
    if "\0" in value:
        raise Refused("invalid_value", f"{what} holds the character U+0000; a row id may hold any other")
    return value


def check_data(what: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise Refused("invalid_value", f'{what} is {kind(value)}; give an object of columns and values, as in {{"name": "Ahmed"}}')
    return value


def check_row_size(what: str, data: Row, limits: Limits) -> None:
    size = len(_encode(data))
    if size > limits.row_bytes_max:
        raise Refused("invalid_value", f"{what} has {size} bytes as JSON; a row has at most {limits.row_bytes_max}")


class Fields:
    """A body's fields. `db` is the one of the query string: given in both places, they must be the same."""

    def __init__(self, body: dict[str, Any], allowed: frozenset[str], db: str | None, limits: Limits, body_bytes: int) -> None:
        if not body.keys() <= allowed:
            other = next(name for name in body if name not in allowed)
            raise Refused("unknown_field", f"there is no field {quoted(other)} here; use {', '.join(sorted(allowed))}")
        self._body = body
        self.limits = limits
        self.may_be_large = body_bytes * GROWTH_MAX > limits.row_bytes_max
        self.db = self._database(db)

    def _database(self, db: str | None) -> str | None:
        named = self.name("db_name") if "db_name" in self._body else None
        if db is not None and named is not None and db.lower() != named.lower():
            raise Refused("invalid_value", f"db is {db} in the query string and {named} in the body; give one database, or the same twice")
        return named if named is not None else db

    def has(self, field: str) -> bool:
        return field in self._body

    def any(self, field: str) -> Any:
        if field not in self._body:
            raise Refused("missing_field", f"the field {field} is missing")
        return self._body[field]

    def name(self, field: str) -> str:
        value = self.any(field)
        if not isinstance(value, str):
            raise Refused("invalid_value", f"{field} is {kind(value)}; give a name as text")
        return check_name(field, value)

    def text(self, field: str) -> None:
        """Of a field that is looked at no further."""
        if field in self._body and not isinstance(self._body[field], str):
            raise Refused("invalid_value", f"{field} is {kind(self._body[field])}; give a text, or leave it out")

    def flag(self, field: str) -> bool:
        value = self._body.get(field, False)
        if not isinstance(value, bool):
            raise Refused("invalid_value", f"{field} is {kind(value)}; give true or false")
        return value

    def version(self, field: str) -> int | None:
        if field not in self._body:
            return None
        value = self._body[field]
        if type(value) is not int or not 0 <= value <= INTEGER_MAX:
            raise Refused("invalid_value", f"{field} is no version; give the whole number that a read or a write gave")
        return value

    def row_id(self) -> str:
        return check_row_id("row_id", self.any("row_id"), self.limits)

    def row(self, field: str) -> Row:
        data = check_data(field, self.any(field))
        if self.may_be_large:
            check_row_size(field, data, self.limits)
        return data

    def required_db(self) -> str:
        if self.db is None:
            raise Refused("missing_field", "the field db_name is missing")
        return self.db


def init_database(fields: Fields) -> InitDatabase:
    """user, password and host are checked for their type and go no further than this."""
    for field in ("user", "password", "host"):
        fields.text(field)
    return InitDatabase(fields.required_db())


def drop_database(fields: Fields) -> DropDatabase:
    return DropDatabase(fields.required_db())


def create_table(fields: Fields) -> CreateTable:
    return CreateTable(fields.db, fields.name("table_name"), _columns(fields))


def delete_table(fields: Fields) -> DeleteTable:
    return DeleteTable(fields.db, fields.name("table_name"))


def insert(fields: Fields, ids: RowIds) -> Insert:
    table, upsert = fields.name("table_name"), fields.flag("upsert")
    if not fields.has("rows"):
        row_id = fields.row_id() if fields.has("row_id") else ids.next()
        return Insert(fields.db, table, ((row_id, fields.row("data")),), upsert, single=True)
    if fields.has("row_id") or fields.has("data"):
        raise Refused("invalid_value", "rows stands beside row_id or data; give rows for a batch, or row_id and data for one row")
    return Insert(fields.db, table, _rows(fields, ids), upsert, single=False)


def update(fields: Fields) -> Update:
    return Update(fields.db, fields.name("table_name"), fields.row_id(), fields.row("new_data"), fields.version("if_version"))


def delete_record(fields: Fields) -> Delete:
    return Delete(fields.db, fields.name("table_name"), fields.row_id(), fields.version("if_version"))


def _rows(fields: Fields, ids: RowIds) -> tuple[tuple[str, Row], ...]:
    rows, limit = fields.any("rows"), fields.limits.batch_rows_max
    if not isinstance(rows, list):
        raise Refused("invalid_value", f"rows is {kind(rows)}; give a list of rows")
    if not 1 <= len(rows) <= limit:
        raise Refused("invalid_value", f"rows has {len(rows)} rows; a batch has 1 to {limit}, and the streaming load any number")
    return tuple([_row(f"rows[{place}]", row, fields, ids) for place, row in enumerate(rows)])


def _row(what: str, row: Any, fields: Fields, ids: RowIds) -> tuple[str, Row]:
    if not isinstance(row, dict):
        raise Refused("invalid_value", f"{what} is {kind(row)}; give an object with row_id and data")
    if "data" not in row:
        raise Refused("missing_field", f"{what}.data is missing")
    if len(row) > 1 + ("row_id" in row):
        other = next(name for name in row if name not in ("row_id", "data"))
        raise Refused("unknown_field", f"{what} has a field {quoted(other)}; a row has row_id and data")
    data = check_data(f"{what}.data", row["data"])
    if fields.may_be_large:
        check_row_size(f"{what}.data", data, fields.limits)
    return check_row_id(f"{what}.row_id", row["row_id"], fields.limits) if "row_id" in row else ids.next(), data


def _columns(fields: Fields) -> tuple[Column, ...]:
    given, limit = fields.any("columns"), fields.limits.columns_max
    if not isinstance(given, list):
        raise Refused("invalid_value", f"columns is {kind(given)}; give a list of names, or of objects with name, type and index")
    if not 1 <= len(given) <= limit:
        raise Refused("invalid_value", f"columns has {len(given)} columns; a table has 1 to {limit}")
    columns = tuple([_column(f"columns[{place}]", column) for place, column in enumerate(given)])
    seen: set[str] = set()
    for column in columns:
        if column.name.lower() in seen:
            raise Refused("invalid_name", f"columns names {column.name} twice; names compare without case, so give each once")
        seen.add(column.name.lower())
    indexes = sum(column.index for column in columns)
    if indexes > fields.limits.indexes_max:
        raise Refused("invalid_value", f"columns has {indexes} with an index; a table has at most {fields.limits.indexes_max}")
    return columns


def _column(what: str, given: Any) -> Column:
    if isinstance(given, str):
        return Column(_column_name(what, given))
    if not isinstance(given, dict):
        raise Refused("invalid_value", f"{what} is {kind(given)}; give a name, or an object with name, type and index")
    other = next((name for name in given if name not in ("name", "type", "index")), None)
    if other is not None:
        raise Refused("unknown_field", f"{what} has a field {quoted(other)}; a column has name, type and index")
    if "name" not in given:
        raise Refused("missing_field", f"{what}.name is missing")
    name, type_, index = given["name"], given.get("type", "any"), given.get("index", False)
    if not isinstance(name, str):
        raise Refused("invalid_value", f"{what}.name is {kind(name)}; give a name as text")
    if type_ not in COLUMN_TYPES:
        raise Refused("invalid_value", f"{what}.type is no type; give one of {', '.join(COLUMN_TYPES)}")
    if not isinstance(index, bool):
        raise Refused("invalid_value", f"{what}.index is {kind(index)}; give true or false")
    return Column(_column_name(f"{what}.name", name), type_, index)


def _column_name(what: str, name: str) -> str:
    if name.lower() in RESERVED_COLUMNS:
        raise Refused("invalid_name", f"{what} is {name}, which is reserved; every row has row_id and _version already")
    return check_name(what, name)


Shaper = Callable[[Fields], AnyCommand]
