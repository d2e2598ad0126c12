"""Each call of the contract: its request, and how its answer is read. Both forms of the client send what is built here.

Catalogue calls ask with `forward=true`, so that the node that gets them carries them to the master itself: a client may sit where it
reaches one node only. A node is told to give up after NODE_SECONDS (it would wait 10 s) with a clear answer; the client then asks another
one. The parameter is the same for each attempt and for each life of a client: a node compares the whole request with the one that it knows
under the same idempotency key.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from ddbd.client.errors import BadAnswer
from ddbd.client.http import JSON, KEY_HEADER, NDJSON, Answer, Request, check_key, path_of, to_json
from ddbd.client.values import Page, StoredRow, Written, WrittenMany

NODE_SECONDS = 3
CONSISTENCIES = ("linearizable", "local")
OPS = ("eq", "ne", "lt", "le", "gt", "ge", "prefix", "contains")

T = TypeVar("T")
Column = str | Mapping[str, Any]

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    request: Request
    read: Callable[[Answer], T]  # raises BadAnswer


# Databases and tables.


def init_database(name: str, key: str | None) -> Call[bool]:
    return Call(_catalogue("/init_database", {"db_name": name}, key), _created)


def drop_database(name: str, key: str | None) -> Call[None]:
    return Call(_catalogue("/drop_database", {"db_name": name}, key), _nothing)


def create_table(table: str, columns: Iterable[Column], db: str | None, key: str | None) -> Call[bool]:
    given = [column if isinstance(column, str) else dict(column) for column in columns]
    return Call(_catalogue("/create_table", {"table_name": table, "columns": given, **_db(db)}, key), _created)


def delete_table(table: str, db: str | None, key: str | None) -> Call[None]:
    return Call(_catalogue("/delete_table", {"table_name": table, **_db(db)}, key), _nothing)


# Rows.


def insert(table: str, data: Mapping[str, Any], row_id: str | None, upsert: bool, db: str | None, key: str | None) -> Call[Written]:
    body = {"table_name": table, **_row_of(data, row_id), **_upsert(upsert), **_db(db)}
    return Call(_write("/insert", body, key), _written)


def insert_many(table: str, rows: Iterable[Mapping[str, Any]], upsert: bool, db: str | None, key: str | None) -> Call[WrittenMany]:
    body = {"table_name": table, "rows": [_row_of(row, None) for row in rows], **_upsert(upsert), **_db(db)}
    return Call(_write("/insert", body, key), _written_many)


@dataclass(frozen=True, slots=True)
class Slices:
    """What a streaming load did."""

    rows: int
    slices: int
    index: int


def load_rows(table: str, content_type: str, upsert: bool, db: str | None, body: bytes, key: str) -> Call[Slices]:
    """Rows as lines of JSON or as CSV, in the node's own words for a streaming load."""
    path = path_of("/insert", {"table": table, "db": db, "upsert": "true" if upsert else None, "timeout": NODE_SECONDS})
    return Call(Request("POST", path, body, (("Content-Type", content_type), (KEY_HEADER, key))), _slices)


def update(table: str, row_id: str, data: Mapping[str, Any], if_version: int | None, db: str | None, key: str | None) -> Call[Written]:
    body = {"table_name": table, "row_id": row_id, "new_data": dict(data), **_if_version(if_version), **_db(db)}
    return Call(_write("/update", body, key), _written)


def delete(table: str, row_id: str, if_version: int | None, db: str | None, key: str | None) -> Call[Written]:
    return Call(_write("/delete_record", {"table_name": table, "row_id": row_id, **_if_version(if_version), **_db(db)}, key), _written)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a read asks for. `search` is (column, op, value), None for a select."""

    table: str
    search: tuple[str, str, str] | None = None
    db: str | None = None
    columns: Sequence[str] | None = None
    versions: bool = False
    consistency: str = "linearizable"
    min_index: int | None = None

    def __post_init__(self) -> None:
        if self.consistency not in CONSISTENCIES:
            raise ValueError(f"consistency is {self.consistency!r}; give one of {', '.join(CONSISTENCIES)}")
        if self.search is not None and self.search[1] not in OPS:
            raise ValueError(f"op is {self.search[1]!r}; give one of {', '.join(OPS)}")

    def path(self, limit: int | None, after: str | None, row_id: str | None = None) -> str:
        column, op, value = self.search or (None, None, None)
        query: dict[str, str | int | None] = {
            "table": self.table,
            "row_id": row_id,
            "column": column,
            "op": None if op == "eq" else op,
            "value": value,
            "db": self.db,
            "columns": None if self.columns is None else ",".join(self.columns),
            "limit": limit,
            "after": after,
            "versions": "true" if self.versions else None,
            "consistency": None if self.consistency == "linearizable" else self.consistency,
            "min_index": self.min_index,
            "timeout": NODE_SECONDS,
        }
        return path_of("/select" if self.search is None else "/search", query)


def page(wanted: Wanted, limit: int | None, after: str | None) -> Call[Page]:
    return Call(Request("GET", wanted.path(limit, after), headers=(("Accept", JSON),)), _page)


def lines(wanted: Wanted, limit: int | None, after: str | None) -> Call[Answer]:
    """The head of an answer whose body is read as it comes, a row a line."""
    return Call(Request("GET", wanted.path(limit, after), headers=(("Accept", NDJSON),)), _head_of_lines)


def get(wanted: Wanted, row_id: str) -> Call[StoredRow | None]:
    return Call(Request("GET", wanted.path(None, None, row_id), headers=(("Accept", JSON),)), _stored_row)


# Nodes.


def status() -> Call[dict[str, Any]]:
    return Call(Request("GET", "/status"), _object)


def ping() -> Call[None]:
    return Call(Request("GET", "/ping"), _nothing)


def ready() -> Call[None]:
    """503 is an answer here: send it with one attempt."""
    return Call(Request("GET", "/readyz"), _nothing)


def step_down() -> Call[dict[str, Any]]:
    return Call(_command("/step_down", {}), _object)


def transfer(to: str) -> Call[dict[str, Any]]:
    return Call(_command("/transfer", {"to": to}), _object)


def timeline(limit: int | None) -> Call[list[dict[str, Any]]]:
    return Call(Request("GET", path_of("/timeline", {"limit": limit})), _list)


# Requests.


def new_key() -> str:
    return str(uuid.uuid4())


def _write_headers(key: str | None) -> tuple[tuple[str, str], ...]:
    return (("Content-Type", JSON), (KEY_HEADER, new_key() if key is None else check_key(key)))


def _write(path: str, body: Mapping[str, Any], key: str | None) -> Request:
    return Request("POST", f"{path}?timeout={NODE_SECONDS}", to_json(body), _write_headers(key))


def _catalogue(path: str, body: Mapping[str, Any], key: str | None) -> Request:
    return Request("POST", f"{path}?forward=true&timeout={NODE_SECONDS}", to_json(body), _write_headers(key))


def _command(path: str, body: Mapping[str, Any]) -> Request:
    return Request("POST", f"{path}?forward=true&timeout={NODE_SECONDS}", to_json(body), (("Content-Type", JSON),))


def _row_of(data: Mapping[str, Any], row_id: str | None) -> dict[str, Any]:
    """`row_id` may stand in a flat row, or beside it. Raises ValueError when both say something else."""
    row = dict(data)
    inside = row.pop("row_id", None)
    if row_id is not None and inside is not None and inside != row_id:
        raise ValueError(f"the row has the row_id {inside!r}, but {row_id!r} is given beside it")
    row_id = inside if row_id is None else row_id
    return {"data": row} if row_id is None else {"row_id": row_id, "data": row}


def _db(db: str | None) -> dict[str, str]:
    return {} if db is None else {"db_name": db}


def _upsert(upsert: bool) -> dict[str, bool]:
    return {"upsert": True} if upsert else {}


def _if_version(version: int | None) -> dict[str, int]:
    return {} if version is None else {"if_version": version}


# Answers.


def _not_ours(answer: Answer) -> NoReturn:
    raise BadAnswer(f"{answer.address} answered {answer.status}, but not as a node of ddbd does")


def _value(answer: Answer) -> Any:
    try:
        return _decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _not_ours(answer)


def _object(answer: Answer) -> dict[str, Any]:
    value = _value(answer)
    if not isinstance(value, dict):
        _not_ours(answer)
    return value


def _list(answer: Answer) -> list[dict[str, Any]]:
    value = _value(answer)
    if not isinstance(value, list):
        _not_ours(answer)
    return value


def _nothing(answer: Answer) -> None:
    _object(answer)


def _created(answer: Answer) -> bool:
    return bool(_object(answer).get("created"))


def _written(answer: Answer) -> Written:
    value = _object(answer)
    try:
        return Written(str(value["row_id"]), int(value["version"]), int(value["index"]))
    except (KeyError, TypeError, ValueError):
        _not_ours(answer)


def _written_many(answer: Answer) -> WrittenMany:
    value = _object(answer)
    try:
        return WrittenMany([str(row_id) for row_id in value["row_ids"]], int(value["version"]), int(value["index"]))
    except (KeyError, TypeError, ValueError):
        _not_ours(answer)


def _slices(answer: Answer) -> Slices:
    value = _object(answer)
    try:
        return Slices(int(value["rows"]), int(value["slices"]), int(value["index"]))
    except (KeyError, TypeError, ValueError):
        _not_ours(answer)


def _page(answer: Answer) -> Page:
    rows = _list(answer)
    headers = answer.headers
    try:
        where = headers["ddb-node"], int(headers["ddb-term"]), int(headers["ddb-index"])
    except (KeyError, ValueError):
        _not_ours(answer)
    staleness = headers.get("ddb-staleness-ms", "")
    return Page(rows, next_after(answer), *where, int(staleness) if staleness.isdecimal() else None)


def next_after(answer: Answer) -> str | None:
    """Where the next page begins: the parameter `after` of the link to it."""
    link = re.fullmatch(r'<([^>]*)>; rel="next"', answer.headers.get("link", ""))
    if link is None:
        return None
    after = parse_qs(urlsplit(link[1]).query, keep_blank_values=True).get("after")
    return None if after is None else after[0]


def _head_of_lines(answer: Answer) -> Answer:
    if not answer.headers.get("content-type", "").startswith(NDJSON):
        _not_ours(answer)
    return answer


def _stored_row(answer: Answer) -> StoredRow | None:
    rows = _list(answer)
    if not rows:
        return None
    version = answer.headers.get("etag", "").strip('"')
    if len(rows) > 1 or not version.isdecimal():
        _not_ours(answer)
    return StoredRow(rows[0], int(version))
