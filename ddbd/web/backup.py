"""A backup on its way to a client: the copy of the tables is made first, then written line by line with flat memory.

One slice is written in a turn of the reactor, and none while the client does not read. One that takes next to nothing in
`backup_idle_seconds` is cut, because the copy takes space on this node's disk as long as it is read. What breaks off ends without its last
chunk, and without its last line (see `ddbd.backupfile`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ddbd.backupfile import FORMAT, Header, Writer, lines_of
from ddbd.errors import Refused
from ddbd.storage import Copy, Query, TableInfo
from ddbd.web.backend import Backend
from ddbd.web.clock import Clock
from ddbd.web.door import check_origin
from ddbd.web.pace import Pace, unsent_bytes
from ddbd.web.parameters import BACKUP, Parameters
from ddbd.web.reply import Reply, Stream, age

CONTENT_TYPE = b"application/x-ndjson"

Databases = list[tuple[str, list[TableInfo]]]
Fields = list[tuple[bytes, bytes]]


class BackupStream:
    """`reply.Stream`."""

    def __init__(self, copy: Copy, databases: Databases, header: Header, clock: Clock, idle_seconds: float) -> None:
        self._copy = copy
        self._databases = databases
        self._header = header
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._pace: Pace | None = None

    async def write_to(self, request: Any) -> None:
        pace = self._pace = Pace(self._clock, self._idle_seconds, lambda: unsent_bytes(request.transport))
        request.registerProducer(pace, True)
        for piece in self._pieces():
            request.write(piece)
            await pace.turn()
        request.unregisterProducer()

    def _pieces(self) -> Iterator[bytes]:
        writer = Writer()
        yield writer.header(self._header)
        for name, tables in self._databases:
            yield writer.database(name)
            for table in tables:
                yield writer.table(table.name, table.columns, table.row_count)
                for rows in self._copy.scan(Query(name, table.name)):
                    yield writer.rows(rows)
            yield writer.database_end()
        yield writer.end()

    def close(self) -> None:
        if self._pace is not None:
            self._pace.close()
        self._copy.close()


class HeadAlone:
    """`reply.Stream`, of an answer to HEAD."""

    async def write_to(self, request: Any) -> None:
        raise AssertionError("HEAD is answered without a body")

    def close(self) -> None:
        """There is no copy."""


async def backup(backend: Backend, clock: Clock, wall_seconds: float, request: Any) -> Reply:
    """Raises Refused, and whatever the wait or the copy do."""
    check_origin(request.requestHeaders)
    limits = backend.config.limits
    parameters = Parameters(request.uri.partition(b"?")[2], BACKUP, limits)
    db = parameters.get("db")
    headers: Fields = []
    if parameters.get("consistency") == "local":
        headers.append(age(backend.staleness_ms()))
    else:
        await backend.read_barrier(parameters.timeout_seconds)
    databases = _wanted(backend.tables.databases(), db)  # what is refused anyway, or has no body, costs no copy
    if request.method == b"HEAD":
        return _reply(databases, db, backend.applied_index, headers, HeadAlone())
    copy = await backend.tables.copy()
    try:
        databases = _wanted(copy.databases(), db)
        header = _header(backend, copy, databases, db, wall_seconds)
    except BaseException:
        copy.close()
        raise
    stream = BackupStream(copy, databases, header, clock, limits.backup_idle_seconds)
    return _reply(databases, db, header.index, headers, stream)


def _reply(databases: Databases, db: str | None, index: int, headers: Fields, stream: Stream) -> Reply:
    name = f"ddbd-{databases[0][0] if db is not None else 'all'}-{index}.backup"
    tables = [table for _, tables in databases for table in tables]
    lines = lines_of(len(databases), len(tables), sum(table.row_count for table in tables))
    own = [
        (b"Content-Disposition", b'attachment; filename="%s"' % name.encode("ascii")),
        (b"Ddb-Backup-Lines", b"%d" % lines),
    ]
    return Reply(200, b"", CONTENT_TYPE, (*headers, *own), stream, index)


def _wanted(databases: Databases, db: str | None) -> Databases:
    """Raises Refused."""
    if db is None:
        return databases
    found = [(name, tables) for name, tables in databases if name.lower() == db.lower()]
    if not found:
        raise Refused("database_not_found", f"there is no database {db}; GET /status lists those that there are")
    return found


def _header(backend: Backend, copy: Copy, databases: Databases, db: str | None, wall_seconds: float) -> Header:
    tables = [table for _, tables in databases for table in tables]
    return Header(
        format=FORMAT,
        cluster_id=backend.cluster_id,
        node_id=backend.node_id,
        index=copy.meta.index,
        term=copy.meta.term,
        state_hash=copy.state_hash.hex(),
        made_at=datetime.fromtimestamp(wall_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        default_database=copy.default_database,
        databases=len(databases),
        tables=len(tables),
        rows=sum(table.row_count for table in tables),
        db=None if db is None else databases[0][0],
    )
