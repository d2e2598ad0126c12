"""Select and search: the parameters of a read -> a query, what the read waits for, and the reply.

`linearizable` (the default) waits until this node holds all that was committed before the call. `local` waits for nothing and says how old
the answer can be. `min_index` waits, with either, until this node has applied that index. The table is opened in the same turn in which
the wait ends, and `Ddb-Index` is taken then: it is the index that the answer is of.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from twisted.internet.interfaces import IReactorTime

from ddbd.commands import Value
from ddbd.config import Limits
from ddbd.errors import Refused
from ddbd.storage import Query, TableInfo
from ddbd.web.backend import Backend
from ddbd.web.canonical import quoted
from ddbd.web.formats import Format, choose
from ddbd.web.parameters import Parameters
from ddbd.web.reply import Reply
from ddbd.web.rows import RowStream
from ddbd.web.shape import check_name, check_row_id

_COMMON = frozenset({"table", "db", "columns", "limit", "after", "timeout", "consistency", "min_index", "versions"})
SELECT = _COMMON | {"row_id"}
SEARCH = _COMMON | {"column", "op", "value"}
OPS = ("eq", "ne", "lt", "le", "gt", "ge", "prefix", "contains")


class Read(NamedTuple):
    query: Query
    path: bytes
    parameters: Parameters
    local: bool
    min_index: int | None
    versions: bool
    timeout_seconds: float
    format: Format
    if_none_match: tuple[bytes, ...]


def select_read(request: Any, limits: Limits) -> Read:
    """Raises Refused."""
    parameters = _parameters(request, SELECT)
    query = _query(parameters)
    row_id = parameters.text("row_id")
    if row_id is not None:
        query = query._replace(row_id=check_row_id("row_id", row_id, limits))
    return _read(request, parameters, query, limits)


def search_read(request: Any, limits: Limits) -> Read:
    """Raises Refused."""
    parameters = _parameters(request, SEARCH)
    op = parameters.choice("op", OPS)
    column = check_name("column", parameters.required("column"))
    query = _query(parameters)._replace(column=column, op=op, value=parameters.required("value"))
    return _read(request, parameters, query, limits)


async def read(backend: Backend, clock: IReactorTime, read: Read) -> Reply:
    """Raises whatever the wait or the tables do."""
    deadline = clock.seconds() + read.timeout_seconds
    if not read.local:
        await backend.read_barrier(read.timeout_seconds)
    if read.local or read.min_index is not None:  # index 0 was applied long ago; what is asked then is whether this node may be read
        await backend.wait_applied(read.min_index or 0, max(0.0, deadline - clock.seconds()))
    headers: list[tuple[bytes, bytes]] = []
    index = backend.applied_index
    if read.local:
        staleness = backend.staleness_ms()
        headers.append((b"Ddb-Staleness-Ms", b"unknown" if staleness is None else b"%d" % staleness))
    if read.query.row_id is not None:
        return _one_row(backend, read, headers)
    return (await _many_rows(backend, clock, read, headers))._replace(index=index)


def _one_row(backend: Backend, read: Read, headers: list[tuple[bytes, bytes]]) -> Reply:
    """Runs at once: a point read takes microseconds."""
    query, tables = read.query, backend.tables
    assert query.row_id is not None
    info = tables.table(query.db, query.table)
    places = _places(info, query.columns)
    row = tables.row(query.db, query.table, query.row_id)
    if row is None or (query.after is not None and query.row_id <= query.after):
        rows: list[tuple[Value, ...]] = []
    else:
        rows = [(row[0], *[row[1 + place] for place in places], row[-1])]
        etag = b'"%d"' % row[-1]
        headers.append((b"ETag", etag))
        if _matches(read.if_none_match, etag):
            return Reply(304, headers=tuple(headers))
    names = ("row_id", *[info.columns[place].name for place in places], *(("_version",) if read.versions else ()))
    body = read.format.start(names) + read.format.rows(rows) + read.format.end()
    return Reply(200, body, read.format.content_type, tuple(headers))


async def _many_rows(backend: Backend, clock: IReactorTime, read: Read, headers: list[tuple[bytes, bytes]]) -> Reply:
    seconds_max = backend.config.limits.scan_seconds
    stream = RowStream(backend.tables, read.query, read.format, read.versions, clock, seconds_max)
    await stream.prepare()
    if stream.last_row_id is not None:
        headers.append((b"Link", _next_link(read, stream.last_row_id)))
    if stream.whole is not None:
        return Reply(200, stream.whole, read.format.content_type, tuple(headers))
    return Reply(200, b"", read.format.content_type, tuple(headers), stream)


def _parameters(request: Any, allowed: frozenset[str]) -> Parameters:
    return Parameters(request.uri.partition(b"?")[2], allowed)


def _query(parameters: Parameters) -> Query:
    db, columns = parameters.text("db"), parameters.text("columns")
    return Query(
        db=None if db is None else check_name("db", db),
        table=check_name("table", parameters.required("table")),
        columns=None if columns is None else tuple(check_name("columns", name) for name in columns.split(",")),
        limit=parameters.integer("limit", 1),
        after=parameters.text("after"),
    )


def _read(request: Any, parameters: Parameters, query: Query, limits: Limits) -> Read:
    headers = request.requestHeaders
    return Read(
        query=query,
        path=request.path,
        parameters=parameters,
        local=parameters.choice("consistency", ("linearizable", "local")) == "local",
        min_index=parameters.integer("min_index", 0),
        versions=parameters.flag("versions"),
        timeout_seconds=parameters.timeout_seconds(limits.timeout_seconds_max),
        format=choose(headers.getRawHeaders(b"Accept") or ()),
        if_none_match=tuple(headers.getRawHeaders(b"If-None-Match") or ()),
    )


def _places(info: TableInfo, names: tuple[str, ...] | None) -> list[int]:
    """As a scan does it: in the order asked for, each once; row_id and _version come anyway. Raises Refused."""
    if names is None:
        return list(range(len(info.columns)))
    by_name = {column.name.lower(): place for place, column in enumerate(info.columns)}
    places: dict[int, None] = {}
    for name in names:
        place = by_name.get(name.lower())
        if place is not None:
            places[place] = None
        elif name.lower() not in ("row_id", "_version"):
            there = ", ".join(column.name for column in info.columns)
            raise Refused("unknown_column", f"table {info.name} has no column {quoted(name)}; its columns are {there}")
    return list(places)


def _matches(if_none_match: tuple[bytes, ...], etag: bytes) -> bool:
    tags = [tag.strip().removeprefix(b"W/") for value in if_none_match for tag in value.split(b",")]
    return b"*" in tags or etag in tags


def _next_link(read: Read, last_row_id: str) -> bytes:
    """A relative reference: the client's own host and port stay what they are."""
    given = {**read.parameters.given, "after": last_row_id}
    return b'<%s?%s>; rel="next"' % (read.path, urlencode(given, quote_via=quote).encode("ascii"))
