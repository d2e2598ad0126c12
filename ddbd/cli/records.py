"""Files of rows, cut into records without holding more than one: lines of JSON, a JSON array, CSV. What is read is passed on as it stands.

    for record in records: record.line (its first line in the file, from 1), record.encoded (with its line's end)
    records.head, records.content_type, records.bytes_read

The nodes read the values, since they know the types of the columns: nothing is turned into another number or text on the way. Only names
are changed here, and columns left out.
"""

from __future__ import annotations

import codecs
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from ddbd.cli.errors import CliError

FORMATS = ("csv", "ndjson", "json")
SUFFIXES = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json"}
CHUNK_BYTES = 256 * 1024
RECORD_BYTES_MAX = 16 * 1024 * 1024  # far above what a row may have; a file without line ends must not fill the memory

_FIELD = re.compile(rb'("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n?\Z)')


class Record(NamedTuple):
    line: int
    encoded: bytes


class Names:
    """New names for columns; an empty one leaves the column out. Names compare without case, as in the tables."""

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self._renamed = {old.lower(): new for old, new in renamed.items()}

    def __bool__(self) -> bool:
        return bool(self._renamed)

    def new(self, name: str) -> str:
        return self._renamed.get(name.lower(), name)

    def unknown(self, names: Sequence[str]) -> list[str]:
        """What is to be renamed and is not there."""
        there = {name.lower() for name in names}
        return [name for name in self._renamed if name not in there]


class Records:
    """Lines of JSON. The parent of the others."""

    content_type = "application/x-ndjson"
    head = b""

    def __init__(self, file: BinaryIO, names: Names) -> None:
        self.bytes_read = 0
        self._file = file
        self._names = names

    def __iter__(self) -> Iterator[Record]:
        """Raises CliError for what is no such file."""
        for number, line in self._lines():
            if line.strip():
                yield Record(number, self._renamed(number, line) if self._names else _ended(line))

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        while line := self._file.readline(RECORD_BYTES_MAX + 1):
            number += 1
            self.bytes_read += len(line)
            if len(line) > RECORD_BYTES_MAX:
                raise CliError(f"line {number} has more than {RECORD_BYTES_MAX} bytes; is the format right? See --format")
            yield number, line

    def _renamed(self, number: int, line: bytes) -> bytes:
        try:
            row = json.loads(line, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            raise CliError(f"line {number} is no JSON") from None
        if not isinstance(row, _Pairs):
            raise CliError(f"line {number} is no object of columns and values")
        pairs = [(self._names.new(name), value) for name, value in row]
        kept = (f"{json.dumps(name, ensure_ascii=False)}:{_written(value)}" for name, value in pairs if name)
        return f"{{{','.join(kept)}}}\n".encode()


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written: also with a key that comes twice, which the node is to refuse."""


def _written(value: object) -> str:
    """JSON again, of what was read with _Pairs."""
    if isinstance(value, _Pairs):
        return "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{_written(item)}" for name, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _ended(line: bytes) -> bytes:
    return line if line.endswith(b"\n") else line + b"\n"


class ArrayRecords(Records):
    """A JSON array of objects, in whatever layout."""

    def __iter__(self) -> Iterator[Record]:
        for number, text in self._objects():
            line = text.replace("\n", " ").replace("\r", " ").encode() + b"\n"  # outside of strings: inside, JSON has them escaped
            yield Record(number, self._renamed(number, line) if self._names else line)

    def _objects(self) -> Iterator[tuple[int, str]]:
        pieces = self._pieces()
        text, line, wanted = next(pieces, ""), 1, "["
        decoder = json.JSONDecoder()
        while True:
            stripped = text.lstrip(" \t\r\n")
            line += text.count("\n", 0, len(text) - len(stripped))
            text = stripped
            if not text:
                if (piece := next(pieces, None)) is None:
                    raise CliError(f"the array is never closed: line {line} is the end of the file")
                text = piece
            elif text[0] in wanted:
                if text[0] == "]":
                    self._nothing_follows(text[1:], pieces, line)
                    return
                wanted = "," if text[0] not in "[," else "{]" if text[0] == "[" else "{"
                if text[0] in "[,":
                    text = text[1:]
                    continue
                text, end = self._object_end(decoder, text, pieces, line)
                yield line, text[:end]
                line += text.count("\n", 0, end)
                text, wanted = text[end:], ",]"
            else:
                raise CliError(
                    f"line {line}: {text[:20]!r} stands where one of {' '.join(wanted)} is expected; the file is an array of objects"
                )

    def _nothing_follows(self, text: str, pieces: Iterator[str], line: int) -> None:
        """Raises CliError: rows behind the end would be lost without a word."""
        for piece in itertools.chain([text], pieces):
            if piece.strip(" \t\r\n"):
                raise CliError(f"line {line}: something follows the end of the array; one file is one array")

    def _object_end(self, decoder: json.JSONDecoder, text: str, pieces: Iterator[str], line: int) -> tuple[str, int]:
        while True:
            try:
                return text, decoder.raw_decode(text)[1]
            except (ValueError, RecursionError) as error:
                piece = next(pieces, None)
                if piece is None or len(text) > RECORD_BYTES_MAX:
                    raise CliError(f"line {line}: no JSON object begins here ({error})") from None
                text += piece

    def _pieces(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        while piece := self._file.read(CHUNK_BYTES):
            self.bytes_read += len(piece)
            try:
                yield decoder.decode(piece)
            except UnicodeDecodeError:
                raise CliError("the file is no text in UTF-8") from None


class CsvRecords(Records):
    """RFC 4180. The first record names the columns, unless `columns` does."""

    content_type = "text/csv"

    def __init__(self, file: BinaryIO, names: Names, columns: Sequence[str] | None) -> None:
        super().__init__(file, names)
        self._records = self._cut()
        if columns is None:
            first = next(self._records, None)
            if first is None:
                raise CliError("the file is empty; a CSV file begins with the names of its columns")
            columns = [_unquoted(field) for field in _fields(first.encoded.removeprefix(codecs.BOM_UTF8))]
        new = [names.new(name) for name in columns]
        if unknown := names.unknown(columns):
            raise CliError(f"the file has no column {unknown[0]}; its columns are {', '.join(columns)}", 2)
        self._kept = [place for place, name in enumerate(new) if name]
        self._width = len(new)
        self.head = (",".join(new[place] for place in self._kept) + "\r\n").encode()

    def __iter__(self) -> Iterator[Record]:
        whole = len(self._kept) == self._width
        for record in self._records:
            if record.encoded.strip(b"\r\n"):
                yield Record(record.line, _ended(record.encoded) if whole else self._without(record))

    def _without(self, record: Record) -> bytes:
        fields = _fields(record.encoded)
        if len(fields) != self._width:
            raise CliError(f"line {record.line} has {len(fields)} fields; the header has {self._width}")
        return b",".join(fields[place] for place in self._kept) + b"\r\n"

    def _cut(self) -> Iterator[Record]:
        """A record goes on over the end of a line while its quotes are open."""
        held: list[bytes] = []
        held_bytes = begun = 0
        for number, line in self._lines():
            is_odd = line.count(b'"') % 2 == 1
            if not held and not is_odd:
                yield Record(number, line)
                continue
            begun = begun if held else number
            held.append(line)
            held_bytes += len(line)
            if held_bytes > RECORD_BYTES_MAX:
                raise CliError(f"the record that begins at line {begun} has more than {RECORD_BYTES_MAX} bytes; are its quotes closed?")
            if is_odd and len(held) > 1:
                yield Record(begun, b"".join(held))
                held, held_bytes = [], 0
        if held:
            raise CliError(f"the quotes of the record that begins at line {begun} are never closed")


def _fields(record: bytes) -> list[bytes]:
    """As they stand, quotes and all. What is malformed is left for the node to refuse."""
    fields: list[bytes] = []
    place = 0
    while match := _FIELD.match(record, place):
        fields.append(match[1])
        place = match.end()
        if match[2] != b",":
            break
    return fields


def _unquoted(field: bytes) -> str:
    text = field.decode("utf-8", "replace")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.strip()


def open_records(file: BinaryIO, form: str, names: Names, columns: Sequence[str] | None) -> Records:
    if form == "csv":
        return CsvRecords(file, names, columns)
    return ArrayRecords(file, names) if form == "json" else Records(file, names)
