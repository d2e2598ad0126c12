"""Reading a table in row_id order, in slices that each keep the reactor for one or two milliseconds.

A scan has a connection of its own from a pool and one read transaction, so all its slices are of one instant. How it walks:

* no search: the table's own order, as far as a slice's time goes;
* `eq` on an indexed column: the index holds equal values in row_id order, so a page begins where the last one ended. One text can stand
  for two stored values (the text "7" and the number 7): two streams, merged by row_id. SQLite calls 1 and 1.0 equal, so the exact
  predicate looks at each row again;
* any other search: windows of the table. SQLite tests the rows of a window in one call; the window grows and shrinks so that this takes
  a millisecond, however few rows match.

For orderings an index would give value order and need a sort of all matches; the windows keep memory flat instead.

A search that an index answers with few rows needs none of this: `found_at_once`.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable, Iterator
from itertools import chain, islice

import apsw

from ddbd.commands import Value
from ddbd.errors import Refused, ScanTimedOut
from ddbd.storage import Query
from ddbd.storage.catalogue import RESERVED, Table, unknown_column
from ddbd.storage.search import Condition, Matcher, condition, eq_variants, matcher
from ddbd.storage.sqlite import as_fatal
from ddbd.storage.sqlite_backend import quoted, table_name
from ddbd.storage.values import Stored, load

SLICE_SECONDS = 0.0015  # writing a slice out takes about as long again
AT_ONCE_SECONDS = 0.0005  # for a search whose answer may be short; what takes longer is begun anew, with a transaction of its own
SLICE_ROWS = 2_000
CHUNK_ROWS = 16  # that are read before the clock is looked at again
CHUNK_SECONDS = 0.0002  # after a chunk that took longer, rows are read one by one: they may have a megabyte each
WINDOW_SECONDS = 0.001
WINDOW_ROWS_FIRST = 256
WINDOW_ROWS_MAX = 16_384
EQ_PAGE_ROWS_FIRST = 8  # most searches by an index find fewer; they may have a megabyte each
EQ_PAGE_ROWS = 500

Clock = Callable[[], float]
RawRow = tuple[Stored, ...]  # (row_id, *wanted columns, version, and at the end what the predicate looks at)


class Plan:
    """A query, checked against its table. Raises Refused: unknown_column, invalid_value."""

    def __init__(self, table: Table, query: Query) -> None:
        self.table = table
        self.query = query
        wanted = [column.name for column in table.columns] if query.columns is None else _wanted(table, query.columns)
        self.columns: tuple[str, ...] = ("row_id", *wanted, "_version")
        self.positions = [table.positions[name] for name in wanted]
        self.matches: Matcher | None = None
        self.search_position: int | None = None  # None: no search, or one by row_id
        self.searched = ""  # the searched column's name
        if query.column is not None:
            self.matches = matcher(query.op, query.value)
            self.searched, self.search_position = self._searched(query.column)

    def _searched(self, name: str) -> tuple[str, int | None]:
        if name.lower() == "row_id":
            return "row_id", None
        place = self.table.position(name)
        if place is None:
            raise unknown_column(self.table, name)
        return self.table.columns[place].name, place

    @property
    def indexed_eq(self) -> bool:
        place = self.search_position
        return self.query.op == "eq" and place is not None and self.table.columns[place].index


def _wanted(table: Table, names: tuple[str, ...]) -> list[str]:
    """In the order asked for, spelled as created; row_id and _version come anyway."""
    wanted: list[str] = []
    for name in names:
        place = table.position(name)
        if place is None and name.lower() not in RESERVED:
            raise unknown_column(table, name)
        if place is not None and table.columns[place].name not in wanted:
            wanted.append(table.columns[place].name)
    return wanted


def check_limit(query: Query) -> None:
    if query.limit is not None and query.limit < 0:
        raise Refused("invalid_value", f"limit: {query.limit} is below 0")


class Walk:
    """The rows of a plan over one connection, some at a time. Close it: what is left of it refers to it, and holds what was read."""

    def __init__(self, plan: Plan, connection: apsw.Connection, clock: Clock) -> None:
        self.has_ended = False
        self._plan = plan
        self._connection = connection
        self._clock = clock
        self._left = self._limited()

    def take(self, seconds: float) -> list[tuple[Value, ...]]:
        """What can be read in about so long; has_ended says whether there is more. Raises apsw.Error."""
        rows: list[RawRow] = []
        clock, end = self._clock, self._clock() + seconds
        for chunk in self._left:
            rows += chunk
            if len(rows) >= SLICE_ROWS or clock() >= end:
                return _loaded(rows)
        self.has_ended = True
        return _loaded(rows)

    def close(self) -> None:
        """Its statements let go of the connection."""
        self._left = iter(())

    def _limited(self) -> Iterator[list[RawRow]]:
        """Rows of the answer, some at a time; none where time may have passed without one."""
        left = self._plan.query.limit
        if left is None:
            yield from self._rows()
            return
        if left == 0:
            return
        for chunk in self._rows():
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    def _rows(self) -> Iterator[list[RawRow]]:
        plan = self._plan
        if plan.query.row_id is not None:
            yield from self._chunks(self._select("row_id = ? AND row_id > ?", (plan.query.row_id, self._after), ""))
        elif plan.indexed_eq:
            yield from self._by_index()
        elif plan.matches is not None:
            yield from self._by_windows()
        else:
            yield from self._chunks(self._select("row_id > ?", (self._after,), "ORDER BY row_id"))

    @property
    def _after(self) -> str:
        return self._plan.query.after or ""  # a row_id has at least one byte, so all are above the empty text

    def _select(self, where: str, arguments: tuple[Stored, ...], tail: str) -> Iterator[RawRow]:
        plan = self._plan
        names = ["row_id", *[quoted(name) for name in plan.columns[1:-1]], "_version"]
        if plan.matches is not None:
            names.append(quoted(plan.searched))
        return self._connection.execute(f"SELECT {', '.join(names)} FROM {table_name(plan.table)} WHERE {where} {tail}", arguments)

    def _chunks(self, rows: Iterator[RawRow]) -> Iterator[list[RawRow]]:
        clock, size = self._clock, 1
        while True:
            started = clock()
            chunk = list(islice(rows, size))
            if not chunk:
                return
            size = CHUNK_ROWS if clock() - started <= CHUNK_SECONDS else 1
            yield self._matching(chunk)

    def _matching(self, rows: list[RawRow]) -> list[RawRow]:
        matches = self._plan.matches
        return rows if matches is None else [row[:-1] for row in rows if matches(row[-1])]

    def _by_index(self) -> Iterator[list[RawRow]]:
        streams = [self._equal(variant) for variant in eq_variants(self._plan.query.value)]
        yield from self._chunks(streams[0] if len(streams) == 1 else heapq.merge(*streams, key=operator.itemgetter(0)))

    def _equal(self, variant: Stored) -> Iterator[RawRow]:
        """The rows that SQLite calls equal, page by page: never more than a page is read ahead."""
        after, size = self._after, EQ_PAGE_ROWS_FIRST
        while True:
            where = f"{quoted(self._plan.searched)} IS ? AND row_id > ?"
            page = list(self._select(where, (variant, after), f"ORDER BY row_id LIMIT {size}"))
            yield from page
            if len(page) < size:
                return
            after, size = str(page[-1][0]), min(4 * size, EQ_PAGE_ROWS)

    def _by_windows(self) -> Iterator[list[RawRow]]:
        plan = self._plan
        narrowed = condition(plan.query.op, plan.query.value) or Condition("1", ())
        test = narrowed.sql.format(c=quoted(plan.searched))
        after, rows = self._after, WINDOW_ROWS_FIRST
        while True:
            started = self._clock()
            end = self._window_end(after, rows)
            within, bounds = ("row_id > ?", (after,)) if end is None else ("row_id > ? AND row_id <= ?", (after, end))
            found = self._select(f"{within} AND {test}", (*bounds, *narrowed.arguments), "ORDER BY row_id")
            first = list(islice(found, 1))  # where nothing matches, this one step tests the whole window
            seconds = self._clock() - started
            yield self._matching(first)
            yield from self._chunks(found)
            if end is None:
                return
            after, rows = end, _window_rows(rows, seconds, not first)

    def _window_end(self, after: str, rows: int) -> str | None:
        """The row_id that ends a window of so many rows; None when the table ends before."""
        sql = f"SELECT row_id FROM {table_name(self._plan.table)} WHERE row_id > ? ORDER BY row_id LIMIT 1 OFFSET ?"
        found = self._connection.execute(sql, (after, rows - 1)).fetchone()
        return None if found is None else str(found[0])


class SqliteScan:
    """`storage.Scan`. `release` gives the connection back; it is called exactly once.

    `grows` is told when the result is longer than one slice, and may raise Busy.
    """

    def __init__(
        self, plan: Plan, connection: apsw.Connection, release: Callable[[SqliteScan, apsw.Connection], None],
        clock: Clock, seconds_max: float, grows: Callable[[SqliteScan], None],
    ) -> None:  # fmt: skip
        self.columns = plan.columns
        self._connection: apsw.Connection | None = connection
        self._release = release
        self._clock = clock
        self._deadline = clock() + seconds_max
        self._grows = grows
        self._slices = 0
        self._why = f"the scan took longer than {seconds_max:g} s; read it in pages, with limit and after"
        self._path = connection.filename
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM _progress").fetchall()  # the read transaction begins with the first read
        self._walk = Walk(plan, connection, clock)

    @property
    def too_old(self) -> bool:
        return self._clock() > self._deadline

    def __iter__(self) -> Iterator[list[tuple[Value, ...]]]:
        try:
            while (rows := self._slice()) is not None:
                yield rows
        finally:
            self.close()

    def _slice(self) -> list[tuple[Value, ...]] | None:
        """None at the end."""
        if self._connection is None or self.too_old:
            raise ScanTimedOut(self._why)
        try:
            rows = self._walk.take(SLICE_SECONDS)
        except apsw.Error as error:
            raise as_fatal(self._path, error) from error
        if not rows and self._walk.has_ended:
            return None
        self._slices += 1
        if self._slices == 2:
            self._grows(self)
        return rows

    def end(self, why: str) -> None:
        """Before its time: whoever reads on is told why."""
        self._why = why
        self.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._walk.close()
            self._release(self, connection)


class Found:
    """`storage.Scan`, of an answer that is there as a whole."""

    def __init__(self, columns: tuple[str, ...], rows: list[tuple[Value, ...]]) -> None:
        self.columns = columns
        self._rows = rows

    def __iter__(self) -> Iterator[list[tuple[Value, ...]]]:
        if self._rows:
            yield self._rows

    def close(self) -> None:
        pass


def found_at_once(plan: Plan, connection: apsw.Connection, clock: Clock) -> Found | None:
    """The answer of a search that an index answers with few rows, without a transaction of its own; None where it needs a scan.

    Raises apsw.Error.
    """
    if not plan.indexed_eq:
        return None
    walk = Walk(plan, connection, clock)
    try:
        rows = walk.take(AT_ONCE_SECONDS)
    finally:
        walk.close()  # else what it has read stays until the collector of rubbish comes
    return Found(plan.columns, rows) if walk.has_ended else None


def _loaded(rows: list[RawRow]) -> list[tuple[Value, ...]]:
    """Most slices hold no BLOB: that is seen at half the price of a look at each value here."""
    if bytes not in set(map(type, chain.from_iterable(rows))):
        return rows
    return [tuple([load(value) if type(value) is bytes else value for value in row]) for row in rows]


def _window_rows(rows: int, seconds: float, tested_whole: bool) -> int:
    if seconds > WINDOW_SECONDS:
        return max(1, int(rows * max(WINDOW_SECONDS / seconds, 0.1)))
    if tested_whole and seconds < WINDOW_SECONDS / 2:
        return min(WINDOW_ROWS_MAX, rows * 2)
    return rows
