"""What /openapi.json says of each call besides what is checked anyway: what it is for, what comes back, which problems it can meet.

Keyed by the name of the route's handler. Bodies and parameters are the very tables by which the handlers read (`shape`, `parameters`),
answers are the types that the code is held to (`answers`). The codes are the one thing that is told by hand; the tests of the web room
and the fuzzer hold every answer that they get to it. In the order of a story: each example works after those before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ddbd import answers
from ddbd.web import parameters, shape
from ddbd.web.door import LOAD_TYPES
from ddbd.web.formats import MEDIA_TYPES
from ddbd.web.kinds import Body, Table

DOOR = frozenset(
    (
        *("bad_request", "request_timeout", "body_too_large", "unsupported_media_type", "expectation_failed", "misdirected"),
        *("head_too_large", "internal", "overloaded"),
    )
)  # whatever was called
QUERY = frozenset({"unknown_parameter", "invalid_value", "missing_field", "invalid_name"})
BODY = QUERY | {"invalid_json", "unknown_field", "cross_origin"}
WAIT = frozenset({"no_leader", "not_ready"})
WRITE = DOOR | BODY | WAIT | {"outcome_unknown", "idempotency_mismatch", "idempotency_full"}
AT_MASTER = WRITE | {"not_master"}
HAND_OVER = DOOR | BODY | WAIT | {"not_master", "not_handed_over", "outcome_unknown"}
NAMED_DB = frozenset({"database_not_found"})
DB = NAMED_DB | {"no_database"}
TABLE = DB | {"table_not_found"}
READ = DOOR | QUERY | WAIT | TABLE | {"unknown_column", "not_acceptable", "scan_timed_out"}

NOTHING: Mapping[str, Any] = MappingProxyType({})

ROWS = "rows"  # an answer in one of the formats of a read
TEXT = "text"  # an answer that is plain text
LINES = "lines"  # an answer of lines of JSON


class Call(NamedTuple):
    tag: str
    summary: str
    codes: frozenset[str]
    answers: tuple[Any, ...]  # types of `answers`; ROWS, TEXT, LINES, or dict for any object
    about: str = ""
    bodies: tuple[Body, ...] = ()
    load_types: tuple[str, ...] = ()  # content types of a streaming load that it takes as well
    parameters: Table = NOTHING
    example: Mapping[str, str] = NOTHING  # of the parameters
    is_keyed: bool = False  # an Idempotency-Key counts
    has_etag: bool = False
    headers: tuple[str, ...] = ()  # of the answer, in `openapi.HEADERS`, beside those of all


_LOADS = tuple(kind.decode("ascii") for kind in LOAD_TYPES)
_HELD = "Writes are held meanwhile. The preferred master does not take it back while the new one leads, for transfer_hold_ms at most."
_READ_ABOUT = f"Rows come in row_id order. Formats by Accept: {', '.join(MEDIA_TYPES)}."

CALLS: dict[str, Call] = {
    "init_database": Call(
        *("databases and tables", "Make a database, and make it the default one", AT_MASTER | {"disk_full"}),
        (answers.DatabaseMade,),
        "One that is there already becomes the default one.",
        (shape.INIT_DATABASE,),
        parameters=parameters.WRITE,
        is_keyed=True,
    ),
    "create_table": Call(
        *("databases and tables", "Make a table", AT_MASTER | DB | {"table_exists", "disk_full"}),
        (answers.TableMade,),
        "The same table again is no error; the same name with other columns is.",
        (shape.CREATE_TABLE,),
        parameters=parameters.WRITE,
        is_keyed=True,
    ),
    "insert": Call(
        *(
            "rows",
            "Insert a row, a batch, or load any number",
            WRITE | TABLE | {"row_exists", "unknown_column", "invalid_csv", "disk_full"},
        ),
        (answers.RowWritten, answers.RowsWritten, answers.Loaded),
        "With `Content-Type: application/x-ndjson` or `text/csv` this is the streaming load: a body of any length, cut into slices, each "
        "atomic. The parameters `table` and `upsert` are the load's, `forward` is not. Any other content type is read as JSON.",
        (shape.INSERT_ROW, shape.INSERT_ROWS),
        _LOADS,
        {**parameters.WRITE, **{name: field._replace(required=False) for name, field in parameters.LOAD.items()}},
        is_keyed=True,
    ),
    "update": Call(
        *("rows", "Put new values over a row", WRITE | TABLE | {"row_not_found", "unknown_column", "version_mismatch", "disk_full"}),
        (answers.RowWritten,),
        bodies=(shape.UPDATE,),
        parameters=parameters.WRITE,
        is_keyed=True,
    ),
    "select": Call(
        *("rows", "Read a table, or one row of it", READ),
        (ROWS,),
        _READ_ABOUT,
        parameters=parameters.SELECT,
        example={"table": "students"},
        has_etag=True,
        headers=("Link", "Ddb-Staleness-Ms"),
    ),
    "search": Call(
        *("rows", "Read the rows that fit", READ),
        (ROWS,),
        _READ_ABOUT,
        parameters=parameters.SEARCH,
        example={"table": "students", "column": "name", "value": "Ahmed"},
        headers=("Link", "Ddb-Staleness-Ms"),
    ),
    "delete_record": Call(
        *("rows", "Delete a row", WRITE | TABLE | {"row_not_found", "version_mismatch"}),
        (answers.RowWritten,),
        bodies=(shape.DELETE_RECORD,),
        parameters=parameters.WRITE,
        is_keyed=True,
    ),
    "delete_table": Call(
        *("databases and tables", "Delete a table with its rows", AT_MASTER | TABLE),
        (answers.TableDeleted,),
        bodies=(shape.DELETE_TABLE,),
        parameters=parameters.WRITE,
        is_keyed=True,
    ),
    "drop_database": Call(
        *("databases and tables", "Drop a database with its tables", AT_MASTER | NAMED_DB),
        (answers.DatabaseDropped,),
        bodies=(shape.DROP_DATABASE,),
        parameters=parameters.WRITE,
        is_keyed=True,
    ),
    "backup": Call(
        "backups",
        "All databases, or one, as they are at one instant",
        DOOR | QUERY | WAIT | NAMED_DB | {"cross_origin", "disk_full", "scan_timed_out"},
        (LINES,),
        "Lines of JSON. The last one holds a checksum of all before it: a file without it is not whole.",
        parameters=parameters.BACKUP,
        headers=("Ddb-Staleness-Ms", "Ddb-Backup-Lines"),
    ),
    "restore": Call(
        *(
            "backups",
            "Take a backup back, all of it or nothing",
            WRITE - {"idempotency_mismatch", "idempotency_full"}
            | DB
            | {"database_exists", "table_exists", "content_mismatch", "invalid_backup", "unknown_column", "table_not_found", "disk_full"},
        ),
        (answers.Restored,),
        "The body is a backup, of any length and content type. The same one again goes on where the last attempt broke off.",
        parameters=parameters.RESTORE,
        load_types=("application/x-ndjson",),
    ),
    "step_down": Call(
        *("the nodes", "Have the master hand leadership to the fittest other node", HAND_OVER),
        (answers.Handed,),
        _HELD,
        (shape.STEP_DOWN,),
        parameters=parameters.AT_MASTER,
    ),
    "transfer": Call(
        *("the nodes", "Have the master hand leadership to a node", HAND_OVER),
        (answers.Handed,),
        _HELD,
        (shape.TRANSFER,),
        parameters=parameters.AT_MASTER,
    ),
    "ping": Call("the nodes", "Whether the process serves", DOOR, (answers.Pong,)),
    "healthz": Call("the nodes", "Whether an operator must look at this node", DOOR | {"unhealthy"}, (answers.Healthy,)),
    "readyz": Call("the nodes", "Whether there is a master and this node has caught up", DOOR | {"not_ready"}, (answers.Healthy,)),
    "status": Call("the nodes", "How this node sees the cluster", DOOR, (answers.Status,)),
    "timeline": Call(
        *("the nodes", "What happened at this node since it was started", DOOR | QUERY),
        (list[answers.Happened],),
        "Oldest first.",
        parameters=parameters.TIMELINE,
    ),
    "metrics": Call("the nodes", "Numbers for Prometheus, in its text format", DOOR, (TEXT,)),
    "openapi": Call("the nodes", "This document", DOOR, (dict,), "Of this node, with the limits of its config.", has_etag=True),
}

EXAMPLES: dict[Any, Any] = {
    answers.DatabaseMade: {"status": "ok", "db": "DDB0", "created": True},
    answers.DatabaseDropped: {"status": "ok", "db": "DDB0"},
    answers.TableMade: {"status": "ok", "db": "DDB0", "table": "students", "created": True},
    answers.TableDeleted: {"status": "ok", "db": "DDB0", "table": "students"},
    answers.RowWritten: {"row_id": "1", "version": 10, "index": 10},
    answers.RowsWritten: {"row_ids": ["2", "3"], "version": 12, "index": 12},
    answers.Loaded: {"rows": 2, "slices": 1, "index": 18},
    answers.Handed: {"status": "ok", "from": "1", "to": "2", "term": 5},
    answers.Pong: {"status": "ok", "node": "1"},
    answers.Healthy: {"status": "ok"},
    ROWS: [{"row_id": "1", "id": "1", "name": "Ahmed", "grade": "A"}],
}
