"""Select and search: the parameters of a read -> a query, what the read waits for, and the reply.

`linearizable` (the default) waits until this node holds all that was committed before the call. `local` waits for nothing and says how old
the answer can be. `min_index` waits, with either, until this node has applied that index. The table is opened in the same turn in which
the wait ends, and `Ddb-Index` is taken then: it is the index that the answer is of.

One row by its row_id is what clients read most. Such query strings differ in the row_id alone, so all else of them is parsed once, into a
`Point` that is kept (measured: 92 us a read before, 60 us with it, half of which are the channel's).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from ddbd.commands import Column
from ddbd.config import Limits
from ddbd.errors import Refused
from ddbd.storage import Query
from ddbd.web.backend import Backend
from ddbd.web.canonical import quoted
from ddbd.web.clock import Clock
from ddbd.web.formats import Format, choose
from ddbd.web.kinds import Table
from ddbd.web.parameters import SEARCH, SELECT, Parameters
from ddbd.web.reply import JSON, Reply, age, matches
from ddbd.web.rows import RowStream

KEPT_BYTES_MAX = 512  # of a query string whose Point is kept
POINTS_KEPT = 256

_PLAIN_ROW_ID = re.compile(rb"(?:\A|&)row_id=([A-Za-z0-9._~:-]+)(?=&|\Z)")

_encode = msgspec.json.Encoder().encode


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
    parameters = _parameters(request, SELECT, limits)
    return _read(request, parameters, _query(parameters)._replace(row_id=parameters.get("row_id")))


def search_read(request: Any, limits: Limits) -> Read:
    """Raises Refused."""
    parameters = _parameters(request, SEARCH, limits)
    op, column = parameters.get("op"), parameters.get("column")
    query = _query(parameters)._replace(column=column, op=op, value=parameters.get("value"))
    return _read(request, parameters, query)


async def read(backend: Backend, clock: Clock, read: Read) -> Reply:
    """Raises whatever the wait or the tables do."""
    deadline = clock.seconds() + read.timeout_seconds
    if not read.local:
        await backend.read_barrier(read.timeout_seconds)
    if read.min_index is not None and read.min_index > backend.applied_index:
        await backend.wait_applied(read.min_index, max(0.0, deadline - clock.seconds()))
    if read.query.row_id is not None:
        point = Point(read.query, read.local, read.versions, read.timeout_seconds)
        return OneRow(point, read.query.row_id, read.format, read.if_none_match).reply(backend)
    index, headers = backend.applied_index, [age(backend.staleness_ms())] if read.local else []
    return (await _many_rows(backend, clock, read, headers))._replace(index=index)


class Point:
    """A select of one row, but for which one."""

    __slots__ = ("_columns", "_names", "_places", "local", "query", "timeout_seconds", "versions")

    def __init__(self, query: Query, local: bool, versions: bool, timeout_seconds: float) -> None:
        self.query = query
        self.local = local
        self.versions = versions
        self.timeout_seconds = timeout_seconds
        self._columns: tuple[Column, ...] = ()  # of the table, when _names and _places were made of them
        self._names: tuple[str, ...] = ()
        self._places: tuple[int, ...] = ()  # in a row as a scan gives it

    def shape(self, columns: tuple[Column, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The names of the answer's fields, and where they are in a row. Raises Refused."""
        if columns is not self._columns:
            places = _places(self.query, columns)
            names = ["row_id", *[columns[place].name for place in places]]
            if self.versions:
                names.append("_version")
            self._places = (0, *[1 + place for place in places], len(columns) + 1)
            self._names, self._columns = tuple(names), columns
        return self._names, self._places


class OneRow(NamedTuple):
    """A request for one row."""

    point: Point
    row_id: str
    format: Format | None  # None: JSON
    if_none_match: tuple[bytes, ...]

    def reply(self, backend: Backend) -> Reply:
        """Runs at once: it takes microseconds. Raises whatever the tables do."""
        point, row_id = self.point, self.row_id
        query = point.query
        columns, row = backend.tables.point(query.db, query.table, row_id)
        headers = [age(backend.staleness_ms())] if point.local else []
        names, places = point.shape(columns)
        if row is not None and (query.after is None or row_id > query.after):
            etag = b'"%d"' % row[-1]
            headers.append((b"ETag", etag))
            if self.if_none_match and matches(self.if_none_match, etag):
                return Reply(304, headers=tuple(headers))
            if query.columns is not None:
                row = tuple([row[place] for place in places])
        else:
            row = None
        if self.format is None:
            body = b"[]\n" if row is None else b"[%s]\n" % _encode(dict(zip(names, row, strict=False)))
            return Reply(200, body, JSON, tuple(headers))
        body = self.format.start(names) + self.format.rows([] if row is None else [row]) + self.format.end()
        return Reply(200, body, self.format.content_type, tuple(headers))


class Points:
    """The short way: what is kept of query strings. One for each app, as the limits are."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._point = lru_cache(maxsize=POINTS_KEPT)(self._parse)

    def one_row(self, request: Any) -> OneRow | None:
        """None for what only `select_read` understands. Raises Refused."""
        query = request.uri.partition(b"?")[2]
        match = _PLAIN_ROW_ID.search(query)
        if match is None:
            return None
        start, end = match.span(1)
        if end - start > self._limits.row_id_bytes_max or len(query) - (end - start) > KEPT_BYTES_MAX:
            return None
        point = self._point(query[:start], query[end:])
        if point is None:
            return None
        get = request.requestHeaders.getRawHeaders
        accept, if_none_match = get(b"Accept"), get(b"If-None-Match")
        format_ = choose(accept) if accept else None
        return OneRow(point, str(match[1], "ascii"), format_, tuple(if_none_match or ()))

    def _parse(self, before: bytes, after: bytes) -> Point | None:
        """Of a query string around the value of its row_id. None where there is more to wait for. Raises Refused."""
        parameters = Parameters(b"%sx%s" % (before, after), SELECT, self._limits)
        query, timeout_seconds = _query(parameters), parameters.timeout_seconds
        local, versions = _is_local(parameters), parameters.get("versions")
        return None if parameters.get("min_index") is not None else Point(query, local, versions, timeout_seconds)


async def _many_rows(backend: Backend, clock: Clock, read: Read, headers: list[tuple[bytes, bytes]]) -> Reply:
    seconds_max = backend.config.limits.scan_seconds
    stream = RowStream(backend.tables, read.query, read.format, read.versions, clock, seconds_max)
    await stream.prepare()
    if stream.last_row_id is not None:
        headers.append((b"Link", _next_link(read, stream.last_row_id)))
    if stream.whole is not None:
        return Reply(200, stream.whole, read.format.content_type, tuple(headers))
    return Reply(200, b"", read.format.content_type, tuple(headers), stream)


def _parameters(request: Any, table: Table, limits: Limits) -> Parameters:
    return Parameters(request.uri.partition(b"?")[2], table, limits)


def _query(parameters: Parameters) -> Query:
    get = parameters.get
    return Query(db=get("db"), table=get("table"), columns=get("columns"), limit=get("limit"), after=get("after"))


def _read(request: Any, parameters: Parameters, query: Query) -> Read:
    headers = request.requestHeaders
    return Read(
        query=query,
        path=request.path,
        parameters=parameters,
        local=_is_local(parameters),
        min_index=parameters.get("min_index"),
        versions=parameters.get("versions"),
        timeout_seconds=parameters.timeout_seconds,
        format=choose(headers.getRawHeaders(b"Accept") or ()),
        if_none_match=tuple(headers.getRawHeaders(b"If-None-Match") or ()),
    )


def _is_local(parameters: Parameters) -> bool:
    return bool(parameters.get("consistency") == "local")


def _places(query: Query, columns: tuple[Column, ...]) -> list[int]:
    """As a scan does it: in the order asked for, each once; row_id and _version come anyway. Raises Refused."""
    if query.columns is None:
        return list(range(len(columns)))
    by_name = {column.name.lower(): place for place, column in enumerate(columns)}
    places: dict[int, None] = {}
    for name in query.columns:
        place = by_name.get(name.lower())
        if place is not None:
            places[place] = None
        elif name.lower() not in ("row_id", "_version"):
            there = ", ".join(column.name for column in columns)
            raise Refused("unknown_column", f"table {query.table} has no column {quoted(name)}; its columns are {there}")
    return list(places)


def _next_link(read: Read, last_row_id: str) -> bytes:
    """A relative reference: the client's own host and port stay what they are."""
    given = {**read.parameters.given, "after": last_row_id}
    return b'<%s?%s>; rel="next"' % (read.path, urlencode(given, quote_via=quote).encode("ascii"))
