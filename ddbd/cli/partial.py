"""What is whole of a file that an export began: it is cut behind its last whole row, and the row is named.

The forms are those that `exporting` writes: a row a line; in a JSON array with a comma behind each row but the last; CSV with CRLF, where a
quoted value may hold line ends. Only the last row is held in memory.
"""

from __future__ import annotations

import json
from typing import BinaryIO

from ddbd.cli.errors import CliError

TAIL_BYTES = 64 * 1024
ARRAY_END = b"\n]\n"


def last_row_id(file: BinaryIO, form: str) -> str | None:
    """Leaves the file open at its new end. None: nothing was whole, and the file is empty now. Raises CliError for another form."""
    end, row_id = _last_of_csv(file) if form == "csv" else _last_of_lines(file, form == "json")
    file.seek(end)
    file.truncate()
    return row_id


def _last_of_lines(file: BinaryIO, is_array: bool) -> tuple[int, str | None]:
    size = file.seek(0, 2)
    if is_array and _read(file, max(0, size - len(ARRAY_END)), size) == ARRAY_END:
        end = size - len(ARRAY_END)  # it was whole and only lacked its name
    elif is_array:
        end = _behind_last(file, b",\n", size) - 2  # the comma is written with the next row
    else:
        end = _behind_last(file, b"\n", size)
    if end <= 0:
        return 0, None
    start = _behind_last(file, b"\n", end if is_array else end - 1)
    return end, _row_id(_read(file, start, end))


def _behind_last(file: BinaryIO, mark: bytes, end: int) -> int:
    """The place behind the last mark before `end`; 0 when there is none."""
    tail = TAIL_BYTES
    while True:
        start = max(0, end - tail)
        found = _read(file, start, end).rfind(mark)
        if found >= 0:
            return start + found + len(mark)
        if start == 0:
            return 0
        tail *= 4


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _row_id(line: bytes) -> str:
    try:
        return str(json.loads(line)["row_id"])
    except (ValueError, KeyError, TypeError):
        raise CliError("what is there is no export of this form; --force begins anew") from None


def _last_of_csv(file: BinaryIO) -> tuple[int, str | None]:
    file.seek(0)
    place = end = 0
    quotes = 0
    record: list[bytes] = []
    last: bytes | None = None
    is_header = True
    for line in file:
        place += len(line)
        record.append(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0 and line.endswith(b"\r\n"):
            end, last, is_header = place, None if is_header else b"".join(record), False
            record, quotes = [], 0
    if last is None:
        return 0, None
    text = last.decode("utf-8", "replace")
    if not text.startswith('"'):
        return end, text.partition(",")[0].rstrip("\r\n")
    inner = text[1:].replace('""', "\0")  # a row_id holds no U+0000
    return end, inner.partition('"')[0].replace("\0", '"')
