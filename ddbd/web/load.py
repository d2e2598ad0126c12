"""The streaming load: a body of any length into one table, slice by slice, each slice one atomic insert.

Where a slice ends depends on the body and the table alone: after SLICE_ROWS rows (fewer where they have many columns) or SLICE_BYTES bytes,
and before a row_id that the slice holds already (so that a repeated row_id means the same within a slice and across two: refused, or with
upsert the later one wins). The same body is therefore cut the same way each time, and with an Idempotency-Key each slice is keyed by
(key, its number) and fingerprinted by its own bytes: sent again, what is done is passed over and the rest goes on.

The first row that is refused ends the load. Its slice is not done, the ones before it are; the problem says all three numbers. While a
slice is on its way the client is held back, so at most one slice and one chunk are in memory. Rows are read for PARSE_SECONDS at a stretch,
and never in the reactor's turn that applied the slice before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed

from ddbd.answers import Loaded
from ddbd.commands import Answer, Insert
from ddbd.errors import DdbError, Fatal, Refused, row_exists_detail
from ddbd.storage import TableInfo
from ddbd.web.backend import Backend
from ddbd.web.clock import Clock
from ddbd.web.fingerprint import fingerprint_of
from ddbd.web.ids import RowIds
from ddbd.web.lines import Record, first_misfit, records_of
from ddbd.web.parameters import Parameters

SLICE_ROWS = 1_000
SLICE_BYTES = 256 * 1024
PARSE_SECONDS = 0.004


class LoadStopped(DdbError):
    """What stopped a load, with how far it came in `more`."""

    def __init__(self, error: DdbError, more: Mapping[str, Any]) -> None:
        super().__init__(error.detail)
        self.code = error.code
        self.more = more


class WholeBody:
    """The body of a request that came whole, from a channel that knows no loads."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def read(self) -> Deferred[bytes]:
        return succeed(self._content.read(64 * 1024))


class Loader:
    """`key` is empty without an Idempotency-Key."""

    def __init__(
        self, backend: Backend, clock: Clock, info: TableInfo, insert: Insert, timeout_seconds: float, key: str, scope: bytes
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._until = 0.0  # then it is the others' turn
        self._info = info
        self._insert = insert  # with the rows left out
        self._timeout_seconds = timeout_seconds
        self._key = key
        self._scope = scope  # what else the fingerprint of a slice covers
        limits = backend.config.limits
        self._rows_max = min(SLICE_ROWS, limits.batch_rows_max, max(1, limits.batch_cells_max // len(info.columns)))
        self._slice: list[Record] = []
        self._slice_ids: set[str] = set()
        self._slice_bytes = 0
        self.rows = 0  # committed
        self.slices = 0  # committed
        self.index = 0  # of the last slice

    async def add(self, record: Record) -> None:
        size = len(record.raw)
        full = len(self._slice) >= self._rows_max or self._slice_bytes + size > SLICE_BYTES
        if self._slice and (full or record.row_id in self._slice_ids):
            await self.flush()
        self._slice.append(record)
        self._slice_ids.add(record.row_id)
        self._slice_bytes += size
        if self._clock.seconds() >= self._until:
            await self.rest()

    async def rest(self) -> None:
        """Before the next stretch of rows."""
        await self._clock.rest()
        self._until = self._clock.seconds() + PARSE_SECONDS

    async def flush(self) -> None:
        """Commits what was gathered."""
        if not self._slice:
            return
        command = Insert(
            self._insert.db, self._insert.table, tuple([(r.row_id, r.data) for r in self._slice]), self._insert.upsert, single=False
        )
        key, fingerprint = "", b""
        if self._key:
            key = f"{self._key}\n{self.slices}"  # no client's own key holds a line's end
            fingerprint = fingerprint_of(self._scope, *[record.raw.strip() for record in self._slice])
        try:
            answer = await self._backend.propose(command, self._timeout_seconds, key, fingerprint)
        except Refused as error:
            raise LoadStopped(error, self.progress()) from error  # a full disk: no row is to blame
        if answer.code:
            raise LoadStopped(Refused(answer.code, answer.detail), self._refused_row(answer))
        self.rows += len(self._slice)
        self.slices += 1
        self.index = answer.body.get("index", self.index)
        self._slice, self._slice_ids, self._slice_bytes = [], set(), 0
        self._until = self._clock.seconds()  # what applied them was long enough

    def progress(self) -> Loaded:
        return {"rows": self.rows, "slices": self.slices, "index": self.index}

    def _refused_row(self, answer: Answer) -> dict[str, Any]:
        """The same each time that the answer is given again, also when the table holds more by then."""
        more = {**self.progress(), "first_row": self._slice[0].number, "last_row": self._slice[-1].number}
        number = first_misfit(self._info, self._slice) if answer.code in ("unknown_column", "invalid_value") else None
        if answer.code == "row_exists":
            named = (r.number for r in self._slice if answer.detail == row_exists_detail(self._info.name, r.row_id))
            number = next(named, None)
        elif len(self._slice) == 1:
            number = self._slice[0].number
        return more if number is None else {**more, "row": number}


async def load(backend: Backend, clock: Clock, ids: RowIds, request: Any, parameters: Parameters, content_type: bytes, key: str) -> Loaded:
    """What the reply says. Raises LoadStopped, and before the first row whatever a read does."""
    timeout_seconds = parameters.timeout_seconds
    insert = Insert(parameters.get("db"), parameters.get("table"), (), parameters.get("upsert"), single=False)
    await backend.read_barrier(timeout_seconds)  # this node must know the table's columns as they are
    info = backend.tables.table(insert.db, insert.table)
    # All slices into one table, whatever becomes the default meanwhile.
    insert = Insert(info.db, info.name, (), insert.upsert, single=False)
    scope = fingerprint_of(request.method, *request.uri.partition(b"?"), content_type)
    loader = Loader(backend, clock, info, insert, timeout_seconds, key, scope)
    records = records_of(content_type, info, backend.config.limits, ids)
    body = getattr(request, "load", None) or WholeBody(request.content)
    try:
        while chunk := await body.read():
            await loader.rest()
            for record in records.feed(chunk):
                await loader.add(record)
        for record in records.end():
            await loader.add(record)
        await loader.flush()
    except (LoadStopped, Fatal):
        raise
    except Refused as error:
        raise LoadStopped(error, {**loader.progress(), "row": records.number + 1}) from error
    except DdbError as error:
        raise LoadStopped(error, loader.progress()) from error
    return loader.progress()
