"""The body of a streaming load, cut into records and read as rows. Chunks come as they come; no more than one record is held over.

Lines of JSON: each one flat row, as a select gives it (`{"row_id": "1", "name": "Ahmed"}`), or `{"row_id": …, "data": {…}}` as an insert
takes it, unless the table has a column `data`: then every line is flat. `row_id` may be left out. Empty lines count but hold no row.

CSV (RFC 4180, also with bare LF): the first record names the columns, `row_id` among them or not. Nothing between two commas is null, `""`
the empty text. A value is what its column's type says: text and any as they stand; integer, real, boolean and json as JSON.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from ddbd.commands import Row, Value
from ddbd.config import Limits
from ddbd.errors import Refused
from ddbd.storage import TableInfo
from ddbd.web.canonical import decode, decode_object, kind, quoted
from ddbd.web.ids import RowIds
from ddbd.web.kinds import check_row_id, check_row_size
from ddbd.web.shape import GROWTH_MAX

FIELDS_MAX = 10_000  # of a record; SQLite has at most 2,000 columns, and a file that lies on its side must not keep the node busy

# A field in quotes or without them, up to the next comma or the end.
_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\Z)')

# Integers that surely have 64 bits, as JSON has them.
_SHORT_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")

# The columns that hold one kind of value: what fits besides null, and how a client writes it.
_TYPES: dict[str, tuple[type, ...]] = {"text": (str,), "integer": (int,), "real": (int, float), "boolean": (bool,)}
_WRITTEN = {"integer": "whole numbers of 64 bits, as in 20", "real": "finite numbers, as in 1.5", "boolean": "true or false"}


class Record(NamedTuple):
    number: int  # of the row in the load, from 1
    raw: bytes
    row_id: str
    data: Row


class Records(Protocol):
    number: int  # of the last row that was given; the one behind it is to blame when something is raised

    def feed(self, chunk: bytes) -> Iterator[Record]:
        """Raises Refused."""

    def end(self) -> Iterator[Record]:
        """What stands behind the last line's end."""


class Lines:
    """Cuts at LF; a line may be as long as a row with its row_id and their escapes. Pieces are joined once, however small they come."""

    def __init__(self, limits: Limits) -> None:
        self.bytes_max = limits.row_bytes_max + limits.row_id_bytes_max + 1024
        self._pieces: list[bytes] = []
        self._bytes = 0  # in _pieces

    def cut(self, chunk: bytes) -> Iterator[bytes]:
        """Lines with their LF. Raises Refused behind the last good one."""
        start = 0
        bytes_max = self.bytes_max
        while (end := chunk.find(b"\n", start) + 1) > 0:
            if end - start > bytes_max or self._pieces:
                self._hold(chunk[start:end])
                yield self.rest()
            else:
                yield chunk[start:end]
            start = end
        self._hold(chunk[start:])

    def _hold(self, piece: bytes) -> None:
        self._bytes += len(piece)
        if self._bytes > self.bytes_max:
            raise Refused("invalid_value", f"a line has more than {self.bytes_max} bytes; a row has less")
        if piece:
            self._pieces.append(piece)

    def rest(self) -> bytes:
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._bytes = 0
        return line


class JsonRecords:
    def __init__(self, info: TableInfo, limits: Limits, ids: RowIds) -> None:
        self.number = 0
        self._lines = Lines(limits)
        self._limits = limits
        self._ids = ids
        self._always_flat = any(column.name.lower() == "data" for column in info.columns)

    def feed(self, chunk: bytes) -> Iterator[Record]:
        for line in self._lines.cut(chunk):
            if line.strip():
                yield self._record(line)

    def end(self) -> Iterator[Record]:
        line = self._lines.rest()
        if line.strip():
            yield self._record(line)

    def _record(self, line: bytes) -> Record:
        row = decode_object(line, self._limits.json_depth_max, "the line")
        row_id = check_row_id("row_id", row.pop("row_id"), self._limits) if "row_id" in row else self._ids.next()
        if not self._always_flat and len(row) == 1 and "data" in row:
            data = row["data"]
            if not isinstance(data, dict):
                raise Refused("invalid_value", f"data is {kind(data)}; give an object of columns and values")
            row = data
        _check_size(line, row, self._limits)
        self.number += 1
        return Record(self.number, line, row_id, row)


class CsvRecords:
    def __init__(self, info: TableInfo, limits: Limits, ids: RowIds) -> None:
        self.number = -1  # so that the header is row 0
        self._lines = Lines(limits)
        self._limits = limits
        self._ids = ids
        self._types = {column.name.lower(): column.type for column in info.columns}
        self._open: list[bytes] = []  # the lines of a record whose quotes are still open
        self._open_bytes = 0
        self._names: list[str] | None = None
        self._kinds: list[str] = []  # of each field: its column's type, or "row_id"

    def feed(self, chunk: bytes) -> Iterator[Record]:
        for line in self._lines.cut(chunk):
            yield from self._line(line)

    def end(self) -> Iterator[Record]:
        last = self._lines.rest()
        if last:
            yield from self._line(last)
        if self._open:
            raise Refused("invalid_csv", "the last record's quotes are never closed")

    def _line(self, line: bytes) -> Iterator[Record]:
        if self._open or line.count(b'"') % 2:
            closes = bool(self._open) and line.count(b'"') % 2 == 1
            self._open.append(line)
            self._open_bytes += len(line)
            if self._open_bytes > self._lines.bytes_max:
                raise Refused("invalid_csv", f"a record has more than {self._lines.bytes_max} bytes; are its quotes closed?")
            if not closes:
                return
            line = b"".join(self._open)
            self._open, self._open_bytes = [], 0
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        if self._names is None:
            self._names = self._header(text)
            self._kinds = [self._types.get(name.lower(), "row_id") for name in self._names]
            self.number = 0
        elif text:
            yield self._record(line, text, self._names)

    def _header(self, text: bytes) -> list[str]:
        names = [name or "" for name in _fields(text.removeprefix(b"\xef\xbb\xbf"))]
        lower = Counter(map(str.lower, names))
        twice = next((name for name, count in lower.items() if count > 1), None)
        if twice is not None:
            raise Refused("invalid_csv", f"the header names {quoted(twice)} twice; name each column once")
        unknown = next((name for name in names if name.lower() not in self._types and name.lower() != "row_id"), None)
        if unknown is not None:
            raise Refused("unknown_column", f"the header names {quoted(unknown)}; the columns are row_id, {', '.join(self._types)}")
        return names

    def _record(self, raw: bytes, text: bytes, names: list[str]) -> Record:
        fields = _fields(text)
        if len(fields) != len(names):
            raise Refused("invalid_csv", f"the record has {len(fields)} fields; the header has {len(names)}")
        row: Row = {}
        row_id: str | None = None
        for name, kind_, field in zip(names, self._kinds, fields, strict=True):
            if kind_ == "row_id":
                row_id = None if field is None else check_row_id("row_id", field, self._limits)
            elif field is None or kind_ in ("any", "text"):
                row[name] = field
            elif kind_ == "integer" and _SHORT_INTEGER.fullmatch(field):
                row[name] = int(field)
            else:
                row[name] = self._value(name, kind_, field)
        _check_size(raw, row, self._limits)
        self.number += 1
        return Record(self.number, raw, self._ids.next() if row_id is None else row_id, row)

    def _value(self, name: str, type_: str, field: str) -> Value:
        if type_ == "json":
            return decode(field.encode(), self._limits.json_depth_max, name)
        try:
            value = decode(field.encode(), self._limits.json_depth_max, name)
        except Refused:
            value = None  # a word that is no JSON is no more than a value of another type
        if type(value) not in _TYPES[type_]:
            raise Refused("invalid_value", f"{name} is {quoted(field)}; the column holds {_WRITTEN[type_]}")
        return value


def _fields(text: bytes) -> list[str | None]:
    """None for a field that is not there at all. Raises Refused."""
    try:
        record = text.decode()
    except UnicodeDecodeError:
        raise Refused("invalid_csv", "the record is not UTF-8; encode it as UTF-8") from None
    if '"' not in record and record.count(",") < FIELDS_MAX and "\r" not in record and "\n" not in record:
        return [field or None for field in record.split(",")]
    fields: list[str | None] = []
    place = 0
    while True:
        match = _FIELD.match(record, place)
        if match is None:
            raise Refused(
                "invalid_csv",
                f"field {len(fields) + 1} holds {_stray(record, place)}; put the whole field in quotes, and double those inside",
            )
        in_quotes, plain, end = match.groups()
        fields.append(in_quotes.replace('""', '"') if in_quotes is not None else plain or None)
        if not end:
            return fields
        if len(fields) == FIELDS_MAX:
            raise Refused("invalid_csv", f"the record has more than {FIELDS_MAX} fields; no table has so many columns")
        place = match.end()


def _stray(record: str, place: int) -> str:
    """Why no field begins at `place`."""
    if record.startswith('"', place):
        return "something behind its closing quote"
    stray = re.compile(r'["\r\n]').search(record, place)
    return "a quote inside" if stray is None or stray[0] == '"' else "a line's end outside of quotes"


def _check_size(raw: bytes, row: Row, limits: Limits) -> None:
    if len(raw) * GROWTH_MAX > limits.row_bytes_max:
        check_row_size("the row", row, limits)


def records_of(content_type: bytes, info: TableInfo, limits: Limits, ids: RowIds) -> Records:
    return CsvRecords(info, limits, ids) if content_type == b"text/csv" else JsonRecords(info, limits, ids)


def first_misfit(info: TableInfo, rows: list[Record]) -> Any:
    """The number of the first row that no insert into this table takes, whatever rows it holds; None when all fit."""
    types = {column.name.lower(): column.type for column in info.columns}
    return next((record.number for record in rows if not _fits(types, record.data)), None)


def _fits(types: dict[str, str], row: Row) -> bool:
    """Every column is there, is named once, and holds such values."""
    if len({name.lower() for name in row}) < len(row):
        return False
    for name, value in row.items():
        type_ = types.get(name.lower())
        if type_ is None or (value is not None and type_ in _TYPES and type(value) not in _TYPES[type_]):
            return False
    return True
