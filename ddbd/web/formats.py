"""Rows as bytes, slice by slice: a JSON array, lines of JSON, or CSV.

    fmt = choose(accept)      start(names)  rows(rows)*  end()

CSV (RFC 4180): a header line, CRLF at the ends of lines, null as nothing at all, and text as it is, in quotes where it is empty or holds a
comma, a quote or a line's end. Numbers and booleans are written as in JSON, lists and objects as their JSON text in quotes. So null and
the empty text differ, but the text 1 and the number 1 look alike: a table read back from CSV needs typed columns. Nothing is put before
text that a spreadsheet takes for a formula: what was stored is what comes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from ddbd.commands import Value
from ddbd.errors import Refused

STRUCT_ROWS_MIN = 64  # in fewer rows a struct does not earn what making it costs, where the client names columns in ever new orders
STRUCT_WIDTH_MAX = 128

_encoder = msgspec.json.Encoder()
_NEEDS_QUOTES = re.compile(r'[",\r\n]')


class Format(Protocol):
    content_type: bytes

    def start(self, names: Sequence[str]) -> bytes: ...

    def rows(self, rows: Sequence[Sequence[Value]]) -> bytes: ...

    def end(self) -> bytes: ...


@lru_cache(maxsize=64)
def _maker(names: tuple[str, ...]) -> Callable[..., Any]:
    """Of a struct that is written as an object with these keys: they are made to JSON once, not for each row."""
    fields = [f"f{place}" for place in range(len(names))]
    return msgspec.defstruct("Row", fields, rename=dict(zip(fields, names, strict=True)), gc=False)


def _objects(names: Sequence[str], rows: Sequence[Sequence[Value]]) -> list[Any]:
    """What stands behind the last name in a row is left out. Measured, of six columns: 1.0 us a row as dicts, 0.4 as structs."""
    width = len(names)
    if len(rows) < STRUCT_ROWS_MIN or width > STRUCT_WIDTH_MAX:
        return [dict(zip(names, row, strict=False)) for row in rows]
    make = _maker(tuple(names))
    return [make(*row[:width]) for row in rows]


class JsonArray:
    content_type = b"application/json"

    def start(self, names: Sequence[str]) -> bytes:
        self._names = names
        self._separator = b""
        return b"["

    def rows(self, rows: Sequence[Sequence[Value]]) -> bytes:
        text = _encoder.encode(_objects(self._names, rows))[1:-1]
        if not text:
            return b""
        separator, self._separator = self._separator, b","
        return separator + text

    def end(self) -> bytes:
        return b"]\n"


class JsonLines:
    content_type = b"application/x-ndjson"

    def start(self, names: Sequence[str]) -> bytes:
        self._names = names
        return b""

    def rows(self, rows: Sequence[Sequence[Value]]) -> bytes:
        return _encoder.encode_lines(_objects(self._names, rows))

    def end(self) -> bytes:
        return b""


class Csv:
    content_type = b"text/csv; charset=utf-8; header=present"

    def start(self, names: Sequence[str]) -> bytes:
        self._width = len(names)
        return (",".join(names) + "\r\n").encode()

    def rows(self, rows: Sequence[Sequence[Value]]) -> bytes:
        width = self._width
        return "".join([",".join([_cell(value) for value in row[:width]]) + "\r\n" for row in rows]).encode()

    def end(self) -> bytes:
        return b""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if type(value) is str:
        return _in_quotes(value) if not value or _NEEDS_QUOTES.search(value) else value
    text = _encoder.encode(value).decode()
    return _in_quotes(text) if type(value) in (list, dict) else text


def _in_quotes(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


_FORMATS: tuple[tuple[str, type[JsonArray] | type[JsonLines] | type[Csv]], ...] = (
    ("application/json", JsonArray),  # first: what anyone gets who has no wish, or the same wish for all
    ("application/x-ndjson", JsonLines),
    ("text/csv", Csv),
)

MEDIA_TYPES = tuple(media_type for media_type, _ in _FORMATS)


def choose(accept: Sequence[bytes]) -> Format:
    """By the values of Accept (RFC 9110, 12.5.1). Raises Refused("not_acceptable")."""
    if not accept:
        return JsonArray()
    wishes = [_wish(item) for value in accept for item in value.decode("latin-1").lower().split(",") if item.strip()]
    best, chosen = 0.0, None
    for media_type, format_ in _FORMATS:
        weight = _weight(media_type, wishes)
        if weight > best:
            best, chosen = weight, format_
    if wishes and chosen is None:
        raise Refused("not_acceptable", f"nothing that Accept lists can be given; accept one of {', '.join(MEDIA_TYPES)}")
    return (chosen or JsonArray)()


def _wish(item: str) -> tuple[str, float]:
    media_type, *parameters = [part.strip() for part in item.split(";")]
    quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    return media_type, float(quality) if re.fullmatch(r"[01](\.[0-9]{0,3})?", quality) else 0.0


def _weight(media_type: str, wishes: list[tuple[str, float]]) -> float:
    """The most specific wish counts."""
    by_range = dict(wishes)
    for pattern in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        if pattern in by_range:
            return by_range[pattern]
    return 0.0
