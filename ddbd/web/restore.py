"""A restore: a backup's lines go through the log into databases of their own, and at the end these get their names, all in one step.

    POST /restore?as=NAME         header -> names of staged databases, made of its hash: the same backup finds them again
                                  database, table, rows -> StageDatabase, CreateTable, Insert (upsert), slice by slice
                                  last line -> the file is whole; the staged rows are read back and hashed; SwitchDatabases

Until the switch nothing that a client sees has changed but one more database called `restore_…`. What breaks off leaves it there: the
same backup sent again passes over the rows that it holds (they were written in this very order, each slice whole) and goes on. What
cannot come to a good end (a file that was changed, rows that the tables refuse) drops it.

The content hash is compared before the switch, over what this node reads from its own tables; that the other nodes hold the same is what
the chained hash of effects is for. All that a client sent passes the same checks as any insert: nothing else goes into the log.
"""

from __future__ import annotations

from contextlib import closing
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from ddbd.answers import Restored, RestoredDatabase
from ddbd.backupfile import Content, DatabaseBegins, DatabaseEnds, Header, Item, Reader, Row, TableBegins
from ddbd.commands import Answer, AnyCommand, DropDatabase, Insert, StageDatabase, SwitchDatabases
from ddbd.config import Limits
from ddbd.errors import DdbError, Fatal, Refused
from ddbd.storage import Query
from ddbd.web import shape
from ddbd.web.backend import Backend
from ddbd.web.canonical import decode
from ddbd.web.clock import Clock
from ddbd.web.kinds import check_name, check_row_id, check_row_size
from ddbd.web.load import PARSE_SECONDS, SLICE_BYTES, SLICE_ROWS, LoadStopped, WholeBody
from ddbd.web.parameters import RESTORE, Parameters

PAGE_ROWS = 10_000  # that are read back in one scan, which must not live long
COMES_AGAIN = frozenset({"disk_full", "overloaded", "scan_timed_out", "no_leader", "not_ready", "outcome_unknown", "request_timeout"})


class Wishes(NamedTuple):
    """What the query string says."""

    db: str | None  # this one of the backup's databases alone
    name: str | None  # instead of its own
    replace: bool
    timeout_seconds: float


class _Staged(NamedTuple):
    """One database that was staged."""

    staged: str
    name: str  # that it gets
    source: str
    content: str
    tables: int
    rows: int


def wishes_of(query: bytes, limits: Limits) -> Wishes:
    """Raises Refused."""
    parameters = Parameters(query, RESTORE, limits)
    return Wishes(parameters.get("db"), parameters.get("as"), parameters.get("replace"), parameters.timeout_seconds)


async def restore(backend: Backend, clock: Clock, request: Any) -> Restored:
    """What the reply says. Raises LoadStopped, and before the first line whatever a read does."""
    limits = backend.config.limits
    wishes = wishes_of(request.uri.partition(b"?")[2], limits)
    await backend.read_barrier(wishes.timeout_seconds)  # this node must know which databases there are
    restorer = Restorer(backend, clock, wishes)
    body = getattr(request, "load", None) or WholeBody(request.content)
    try:
        while chunk := await body.read():
            await restorer.feed(chunk)
        return await restorer.finish()
    except Fatal:
        raise  # this node must end, and nothing may be dropped for it
    except DdbError as error:
        if error.code not in COMES_AGAIN:
            await restorer.drop_staged()
        raise LoadStopped(error, restorer.progress()) from error


class Restorer:
    def __init__(self, backend: Backend, clock: Clock, wishes: Wishes) -> None:
        self._backend = backend
        self._clock = clock
        self._wishes = wishes
        self._limits = backend.config.limits
        self._reader = Reader(lambda line: decode(line, self._limits.json_depth_max, "a row's line"))
        self._prefix = ""
        self._database: DatabaseBegins | None = None  # that is being restored; None: what comes is passed over
        self._staged = ""  # its name for now
        self._columns: list[str] = []  # of the table that is being filled
        self._insert = Insert(None, "", ())  # into it, with the rows left out
        self._skip = 0  # rows of it that an earlier attempt has written
        self._slice: list[tuple[str, dict[str, Any]]] = []
        self._slice_bytes = 0
        self._slice_rows_max = SLICE_ROWS
        self._counts = [0, 0]  # tables and rows of the database
        self._done: list[_Staged] = []
        self._names: list[str] = []  # of all staged databases
        self._rows = 0  # written or found in all
        self._until = 0.0

    def progress(self) -> dict[str, Any]:
        return {"rows": self._rows, "staged": list(self._names)}

    # The lines.

    async def feed(self, chunk: bytes) -> None:
        """Raises Refused, and what a proposal does."""
        await self._rest()
        for item in self._reader.feed(chunk):
            await self._take(item)
            if self._clock.seconds() >= self._until:
                await self._rest()

    async def _rest(self) -> None:
        """Before the next stretch of lines."""
        await self._clock.rest()
        self._until = self._clock.seconds() + PARSE_SECONDS

    async def _take(self, item: Item) -> None:
        if isinstance(item, Row):
            if self._database is not None:
                await self._row(item)
            return
        await self._flush()
        if isinstance(item, Header):
            self._header(item)
        elif isinstance(item, DatabaseBegins):
            await self._begin_database(item)
        elif self._database is None:
            return
        elif isinstance(item, TableBegins):
            await self._begin_table(item)
        else:
            self._end_database(item)

    def _header(self, header: Header) -> None:
        """Raises Refused."""
        wishes = self._wishes
        if wishes.name is not None and wishes.db is None and header.databases != 1:
            raise Refused("invalid_value", f"as names one database, and the backup has {header.databases}; say which one with db")
        said = msgspec.json.encode((header, wishes.db and wishes.db.lower(), wishes.name and wishes.name.lower()))
        self._prefix = f"restore_{sha256(said).hexdigest()[:16]}"

    async def _begin_database(self, item: DatabaseBegins) -> None:
        if self._wishes.db is not None and item.database.lower() != self._wishes.db.lower():
            return
        name = check_name("a database of the backup", self._wishes.name or item.database)
        there = {db.lower(): db for db, _ in self._backend.tables.databases()}
        if name.lower() in there and not self._wishes.replace:
            raise Refused(
                "database_exists", f"there is a database {there[name.lower()]} already; add replace=true, or another name by as=…"
            )
        self._staged = f"{self._prefix}_{len(self._done)}"
        self._names.append(self._staged)
        self._database, self._counts = item, [0, 0]
        await self._do(StageDatabase(self._staged))

    async def _begin_table(self, item: TableBegins) -> None:
        """As /create_table checks it. Raises Refused."""
        columns = [{"name": column.name, "type": column.type, "index": column.index} for column in item.columns]
        body = {"table_name": item.table, "columns": columns}
        answer = await self._do(shape.create_table(shape.Given(body, 0, self._staged, self._limits)))
        info = self._backend.tables.table(self._staged, item.table)
        self._columns = [column.name for column in item.columns]
        self._insert = Insert(self._staged, info.name, (), upsert=True, single=False)
        self._skip = 0 if answer.body["created"] else info.row_count
        self._slice_rows_max = min(SLICE_ROWS, self._limits.batch_rows_max, max(1, self._limits.batch_cells_max // len(item.columns)))
        self._counts[0] += 1

    async def _row(self, row: Row) -> None:
        self._counts[1] += 1
        if self._skip:
            self._skip -= 1
            self._rows += 1
            return
        assert self._columns, "a row outside of a table"
        data = {name: value for name, value in zip(self._columns, row.values, strict=True) if value is not None}
        check_row_id("row_id", row.row_id, self._limits)
        if row.size_bytes * shape.GROWTH_MAX > self._limits.row_bytes_max:
            check_row_size(f"row {row.row_id[:80]!a}", data, self._limits)
        if len(self._slice) >= self._slice_rows_max or self._slice_bytes + row.size_bytes > SLICE_BYTES:
            await self._flush()
        self._slice.append((row.row_id, data))
        self._slice_bytes += row.size_bytes

    async def _flush(self) -> None:
        if not self._slice:
            return
        rows, self._slice, self._slice_bytes = tuple(self._slice), [], 0
        await self._do(msgspec.structs.replace(self._insert, rows=rows))
        self._rows += len(rows)
        self._until = self._clock.seconds()  # what applied them was long enough

    def _end_database(self, item: DatabaseEnds) -> None:
        assert self._database is not None, "the end of a database that is passed over"
        source = self._database.database
        self._done.append(_Staged(self._staged, self._wishes.name or source, source, item.content, *self._counts))
        self._database, self._columns = None, []

    # The end.

    async def finish(self) -> Restored:
        """The body has ended. Raises Refused, and what a proposal does."""
        header = self._reader.end()
        if self._wishes.db is not None and not self._done:
            raise Refused("database_not_found", f"the backup has no database {self._wishes.db}")
        for restored in self._done:
            if await self._content(restored.staged) != restored.content:
                detail = f"what was written for {restored.name} is not what the backup holds; somebody else wrote to it: restore it again"
                raise Refused("content_mismatch", detail)
        if not self._done:
            return {"status": "ok", "databases": [], "index": self._backend.applied_index}
        default = next((r.name for r in self._done if r.source == header.default_database), None)
        pairs = tuple((restored.staged, restored.name) for restored in self._done)
        answer = await self._do(SwitchDatabases(pairs, self._wishes.replace, default))
        told: list[RestoredDatabase] = [
            {"db": r.name, "source": r.source, "tables": r.tables, "rows": r.rows, "content": r.content} for r in self._done
        ]
        return {"status": "ok", "databases": told, "index": answer.body["index"]}

    async def _content(self, staged: str) -> str:
        """Of what this node's tables hold, read page by page."""
        content = Content()
        infos = next((tables for db, tables in self._backend.tables.databases() if db == staged), [])
        for info in infos:
            content.table(info.name, info.columns)
            after: str | None = None
            is_left = True
            while is_left:
                after, is_left = await self._scanned(content, Query(staged, info.name, limit=PAGE_ROWS, after=after))
        return content.hexdigest()

    async def _scanned(self, content: Content, query: Query) -> tuple[str | None, bool]:
        """One scan, which must not live long: behind which row it ended, and whether there may be more."""
        count, after, until = 0, query.after, self._clock.seconds() + self._limits.scan_seconds / 4
        with closing(self._backend.tables.scan(query)) as scan:
            for rows in scan:
                if rows:
                    content.rows(rows)
                    count, after = count + len(rows), str(rows[-1][0])
                await self._clock.rest()
                if self._clock.seconds() >= until:
                    return after, True
        return after, count == query.limit

    async def drop_staged(self) -> None:
        """As far as it goes: what is left has a name that says what it is."""
        for name in self._names:
            await self._backend.propose(DropDatabase(name), self._wishes.timeout_seconds).addErrback(lambda failure: failure.trap(DdbError))

    async def _do(self, command: AnyCommand) -> Answer:
        """Raises Refused for an answer that is a refusal."""
        answer = await self._backend.propose(command, self._wishes.timeout_seconds)
        if answer.code:
            raise Refused(answer.code, answer.detail)
        return answer
