"""The fields of a body -> a command. Each field known, of its type and within its limits; whatever else is refused with a sentence.

Which fields a call has stands in its `Body`; what they may hold stands in `kinds`. Only what needs no state is checked here. Whether a
table or a column is there, and what a column may hold, is known where the command is applied, and only there: a node that lags would
refuse what the leader takes.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any, NamedTuple

from ddbd.commands import CreateTable, Delete, DeleteTable, DropDatabase, InitDatabase, Insert, Row, Update
from ddbd.config import Limits
from ddbd.errors import Refused
from ddbd.web.ids import RowIds
from ddbd.web.kinds import A_NAME, COLUMNS, DATA, FLAG, NODE_ID, ROW_ID, ROWS, TEXT, VERSION, Body, Field, check_row_size

GROWTH_MAX = 8  # JSON written out again is at most this many times as long as what came ("\t" for "\u0009" is shorter, 1e9 longer)

_DB_NAME = Field(A_NAME, "the database; the default one where neither this nor ?db names one")
_DB_NAMED = Field(A_NAME, "the database; ?db may name it instead")
_TABLE_NAME = Field(A_NAME, "the table", required=True)
_ROW_ID = Field(ROW_ID, "the row", required=True)
_UPSERT = Field(FLAG, "replaces rows that are there, whole", default=False)
_IF_VERSION = Field(VERSION, "only if the row has this version")
_DROPPED = Field(TEXT, "checked to be text; neither used nor stored")

INIT_DATABASE = Body(
    "InitDatabase",
    {"db_name": _DB_NAMED, "user": _DROPPED, "password": _DROPPED, "host": _DROPPED},
    {"db_name": "DDB0", "user": "root", "password": "rootroot", "host": "localhost:3306"},
)
CREATE_TABLE = Body(
    "CreateTable",
    {"db_name": _DB_NAME, "table_name": _TABLE_NAME, "columns": Field(COLUMNS, "names, or objects", required=True)},
    {"table_name": "students", "columns": ["id", "name", {"name": "grade", "type": "text", "index": True}]},
)
INSERT_ROW = Body(
    "InsertRow",
    {
        "db_name": _DB_NAME,
        "table_name": _TABLE_NAME,
        "row_id": Field(ROW_ID, "the new row; left out, the node makes one, which sorts by time"),
        "data": Field(DATA, "the row; columns that are not given are null", required=True),
        "upsert": _UPSERT,
    },
    {"table_name": "students", "row_id": "1", "data": {"id": "1", "name": "Ahmed", "grade": "A"}},
    elsewhere=frozenset({"rows"}),
)
INSERT_ROWS = Body(
    "InsertRows",
    {"db_name": _DB_NAME, "table_name": _TABLE_NAME, "rows": Field(ROWS, "all or nothing", required=True), "upsert": _UPSERT},
    {"table_name": "students", "rows": [{"row_id": "2", "data": {"name": "Mona"}}, {"data": {"name": "Ali"}}]},
    elsewhere=frozenset({"row_id", "data"}),
)
UPDATE = Body(
    "Update",
    {
        "db_name": _DB_NAME,
        "table_name": _TABLE_NAME,
        "row_id": _ROW_ID,
        "new_data": Field(DATA, "merged into the row: columns that are not given stay", required=True),
        "if_version": _IF_VERSION,
    },
    {"table_name": "students", "row_id": "1", "new_data": {"grade": "A+"}},
)
DELETE_RECORD = Body(
    "DeleteRecord",
    {"db_name": _DB_NAME, "table_name": _TABLE_NAME, "row_id": _ROW_ID, "if_version": _IF_VERSION},
    {"table_name": "students", "row_id": "1"},
)
DELETE_TABLE = Body("DeleteTable", {"db_name": _DB_NAME, "table_name": _TABLE_NAME}, {"table_name": "students"})
DROP_DATABASE = Body("DropDatabase", {"db_name": _DB_NAMED}, {"db_name": "DDB0"})
STEP_DOWN = Body("StepDown", {}, {})
TRANSFER = Body("Transfer", {"to": Field(NODE_ID, "the node that is to lead", required=True)}, {"to": "1"})


class Given(NamedTuple):
    """What came: the body's JSON, how long it was, and the database of the query string. Reading the body changes it."""

    body: dict[str, Any]
    bytes: int
    db: str | None
    limits: Limits


def _database(values: dict[str, Any], db: str | None) -> str | None:
    """Given in both places, they must be the same."""
    named: str | None = values.get("db_name")
    if named is None:
        return db
    if db is not None and db.lower() != named.lower():
        raise Refused("invalid_value", f"db is {db} in the query string and {named} in the body; give one database, or the same twice")
    return named


def _required_database(values: dict[str, Any], db: str | None) -> str:
    named = _database(values, db)
    if named is None:
        raise Refused("missing_field", "the field db_name is missing")
    return named


def init_database(given: Given) -> InitDatabase:
    """user, password and host are checked for their type and go no further than this."""
    return InitDatabase(_required_database(INIT_DATABASE.read(given.body, given.limits), given.db))


def drop_database(given: Given) -> DropDatabase:
    return DropDatabase(_required_database(DROP_DATABASE.read(given.body, given.limits), given.db))


def create_table(given: Given) -> CreateTable:
    values = CREATE_TABLE.read(given.body, given.limits)
    return CreateTable(_database(values, given.db), values["table_name"], values["columns"])


def delete_table(given: Given) -> DeleteTable:
    values = DELETE_TABLE.read(given.body, given.limits)
    return DeleteTable(_database(values, given.db), values["table_name"])


def insert(given: Given, ids: RowIds) -> Insert:
    if "rows" in given.body:
        return _insert_rows(given, ids)
    limits = given.limits
    values = INSERT_ROW.read(given.body, limits)
    data = values["data"]
    if given.bytes * GROWTH_MAX > limits.row_bytes_max:
        check_row_size("data", data, limits)
    row_id = values["row_id"] if "row_id" in values else ids.next()
    return Insert(_database(values, given.db), values["table_name"], ((row_id, data),), values.get("upsert", False), True)


def _insert_rows(given: Given, ids: RowIds) -> Insert:
    if "row_id" in given.body or "data" in given.body:
        raise Refused("invalid_value", "rows stands beside row_id or data; give rows for a batch, or row_id and data for one row")
    values = INSERT_ROWS.read(given.body, given.limits)
    rows: tuple[tuple[str, Row], ...] = values["rows"]
    if given.bytes * GROWTH_MAX > given.limits.row_bytes_max:
        for place, (_, data) in enumerate(rows):
            check_row_size(f"rows[{place}].data", data, given.limits)
    if not all(map(itemgetter(0), rows)):
        rows = tuple([(row_id or ids.next(), data) for row_id, data in rows])
    return Insert(_database(values, given.db), values["table_name"], rows, values.get("upsert", False), single=False)


def update(given: Given) -> Update:
    values = UPDATE.read(given.body, given.limits)
    data = values["new_data"]
    if given.bytes * GROWTH_MAX > given.limits.row_bytes_max:
        check_row_size("new_data", data, given.limits)
    return Update(_database(values, given.db), values["table_name"], values["row_id"], data, values.get("if_version"))


def delete_record(given: Given) -> Delete:
    values = DELETE_RECORD.read(given.body, given.limits)
    return Delete(_database(values, given.db), values["table_name"], values["row_id"], values.get("if_version"))
