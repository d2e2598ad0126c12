"""The format of a backup: lines of JSON, one instant of a cluster or of one database. Bytes <-> what they say; no disk, no network.

    {"ddbd_backup":1,"cluster_id":…,"node_id":…,"index":…,"term":…,"state_hash":…,"made_at":…,"default_database":…,"databases":1,"tables":1,"rows":2}
    {"database":"DDB0"}
    {"table":"students","columns":[["id","any",false],["name","text",true]],"rows":2}
    ["1","1","Ahmed",17]                                                     row_id, the values in the columns' order, version
    ["2","2",null,18]
    {"database_end":"DDB0","content":"<sha256>"}
    {"end":{"lines":6,"bytes":512,"sha256":"<of all bytes before this line>"}}

The last line makes it whole: a file that was cut has none, and one that was changed has another sum. `content` is over names, columns and
rows of a database without their versions, so it is the same for what was saved and for what was restored: a version is the index of the
log entry that wrote a row, and a restored row is written by an entry of another log.

Nothing in it makes a cluster the old one: no votes, no log, no members, no idempotency keys. The ids in the first line are for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from ddbd.commands import Column, Value
from ddbd.errors import Refused

FORMAT = 1  # of the file; a reader refuses a higher one
LINE_BYTES_MAX = 16 * 1024 * 1024  # a row of 1 MiB, written as wastefully as can be, and much more

_encoder = msgspec.json.Encoder()
_encode = _encoder.encode
_decode = msgspec.json.Decoder().decode


class Header(msgspec.Struct, frozen=True, rename={"format": "ddbd_backup"}):
    """`db` is set where one database was asked for. The counts are of all lines of that kind."""

    format: int
    cluster_id: str
    node_id: str
    index: int
    term: int
    state_hash: str
    made_at: str
    default_database: str | None
    databases: int
    tables: int
    rows: int
    db: str | None = None


def lines_of(databases: int, tables: int, rows: int) -> int:
    """Of a whole backup of so many."""
    return 2 + 2 * databases + tables + rows


class DatabaseBegins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    database: str


class TableBegins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    table: str
    columns: tuple[Column, ...]
    rows: int


class DatabaseEnds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    database_end: str
    content: str


class _Sums(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    lines: int
    bytes: int
    sha256: str


class _End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    end: _Sums


class Row(NamedTuple):
    """`values` in the order of the columns; `size_bytes` of its line."""

    row_id: str
    values: list[Value]
    version: int
    size_bytes: int


Item = Header | DatabaseBegins | TableBegins | Row | DatabaseEnds


class Content:
    """The hash of what a database holds."""

    def __init__(self) -> None:
        self._hash = sha256()

    def table(self, name: str, columns: tuple[Column, ...]) -> None:
        self._hash.update(_encode((name, columns)) + b"\n")

    def rows(self, rows: Sequence[Sequence[Value]]) -> None:
        """As a scan gives them: the version, which stands last, does not count."""
        self._hash.update(_encoder.encode_lines([row[:-1] for row in rows]))

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class Writer:
    """Each method gives the bytes that come next."""

    def __init__(self) -> None:
        self._sum = sha256()
        self._bytes = 0
        self._lines = 0
        self._database = ""
        self._content = Content()

    def header(self, header: Header) -> bytes:
        return self._line(header)

    def database(self, name: str) -> bytes:
        self._database, self._content = name, Content()
        return self._line(DatabaseBegins(name))

    def table(self, name: str, columns: tuple[Column, ...], rows: int) -> bytes:
        self._content.table(name, columns)
        return self._line(TableBegins(name, columns, rows))

    def rows(self, rows: Sequence[Sequence[Value]]) -> bytes:
        self._content.rows(rows)
        return self._counted(_encoder.encode_lines(rows), len(rows))

    def database_end(self) -> bytes:
        return self._line(DatabaseEnds(self._database, self._content.hexdigest()))

    def end(self) -> bytes:
        return _encode(_End(_Sums(self._lines + 1, self._bytes, self._sum.hexdigest()))) + b"\n"

    def _line(self, value: Any) -> bytes:
        return self._counted(_encode(value) + b"\n", 1)

    def _counted(self, data: bytes, lines: int) -> bytes:
        self._sum.update(data)
        self._bytes += len(data)
        self._lines += lines
        return data


class Reader:
    """Bytes, cut anywhere -> items, as soon as their line is whole. Whoever acts on them waits for `end` before it counts as done.

    Every call raises Refused("invalid_backup") for what is no whole, undamaged backup. Shape and sums are checked, the values are not.
    """

    def __init__(self, decode: Callable[[bytes], Any] = _decode) -> None:
        """`decode` reads a row's line; it may refuse more than what is no JSON."""
        self._decode = decode
        self._rest = b""
        self._sum = sha256()
        self._bytes = 0
        self._lines = 0
        self._left = 0  # rows of the table still to come
        self._columns = 0
        self._counts = [0, 0, 0]  # databases, tables, rows
        self._content: Content | None = None  # of the database that is open
        self._database = ""
        self._ended = False
        self.header: Header | None = None

    def feed(self, data: bytes) -> Iterator[Item]:
        start, data = 0, self._rest + data if self._rest else data
        while (stop := data.find(b"\n", start)) >= 0:
            item = self._line(data[start : stop + 1])
            start = stop + 1
            if item is not None:
                yield item
        self._rest = data[start:]
        if len(self._rest) > LINE_BYTES_MAX:
            raise _bad(f"line {self._lines + 1} has more than {LINE_BYTES_MAX} bytes")

    def end(self) -> Header:
        """All of it has come."""
        if not self._ended or self.header is None:
            raise _bad(f"it is cut: after {self._lines} lines the last one is missing; take it anew, or get the whole file")
        return self.header

    def _line(self, line: bytes) -> Item | None:
        if self._ended:
            raise _bad("something stands behind its last line")
        try:
            item = self._parsed(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _bad(f"line {self._lines + 1}: {error}") from None
        self._lines += 1
        if item is not None:
            self._sum.update(line)
            self._bytes += len(line)
        return item

    def _parsed(self, line: bytes) -> Item | None:
        if self.header is None:
            return self._first(line)
        if self._left:
            return self._row(line)
        for prefix, read in self._KINDS:
            if line.startswith(prefix):
                return read(self, line)
        raise _bad(f"line {self._lines + 1} is none of a backup")

    def _first(self, line: bytes) -> Header:
        if not line.startswith(b'{"ddbd_backup":'):
            raise _bad("its first line is none of a backup of ddbd")
        header = msgspec.json.decode(line, type=Header)
        if header.format > FORMAT:
            raise _bad(f"it has format {header.format}, this version reads up to {FORMAT}; take a newer version")
        self.header = header
        return header

    def _row(self, line: bytes) -> Row:
        values = self._decode(line)
        if type(values) is not list or len(values) != self._columns + 2 or type(values[0]) is not str or type(values[-1]) is not int:
            raise _bad(f"line {self._lines + 1} is no row of {self._columns} columns")
        assert self._content is not None, "rows outside of a database"
        self._content.rows([values])
        self._left -= 1
        self._counts[2] += 1
        return Row(values[0], values[1:-1], values[-1], len(line))

    def _begin_database(self, line: bytes) -> DatabaseBegins:
        item = msgspec.json.decode(line, type=DatabaseBegins)
        if self._content is not None:
            raise _bad(f"line {self._lines + 1}: a database begins inside of another")
        self._database, self._content = item.database, Content()
        self._counts[0] += 1
        return item

    def _begin_table(self, line: bytes) -> TableBegins:
        item = msgspec.json.decode(line, type=TableBegins)
        if self._content is None:
            raise _bad(f"line {self._lines + 1}: a table stands outside of a database")
        self._content.table(item.table, item.columns)
        self._left, self._columns = item.rows, len(item.columns)
        self._counts[1] += 1
        return item

    def _end_database(self, line: bytes) -> DatabaseEnds:
        item = msgspec.json.decode(line, type=DatabaseEnds)
        if self._content is None or item.database_end != self._database or item.content != self._content.hexdigest():
            raise _bad(f"line {self._lines + 1}: the content of database {self._database} does not fit its checksum")
        self._content = None
        return item

    def _take_end(self, line: bytes) -> None:
        sums = msgspec.json.decode(line, type=_End).end
        assert self.header is not None, "an end before the first line"
        header = self.header
        if self._counts != [header.databases, header.tables, header.rows] or self._content is not None:
            raise _bad("it lacks lines that its first line counts")
        if (sums.lines, sums.bytes, sums.sha256) != (self._lines + 1, self._bytes, self._sum.hexdigest()):
            raise _bad("it was changed or damaged: its checksum does not fit; take another copy of it")
        self._ended = True

    _KINDS = (
        (b'{"database":', _begin_database),
        (b'{"table":', _begin_table),
        (b'{"database_end":', _end_database),
        (b'{"end":', _take_end),
    )


def _bad(why: str) -> Refused:
    return Refused("invalid_backup", f"this is no whole backup: {why}")
