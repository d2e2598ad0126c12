"""The format of a backup: whatever is cut, changed or put together wrongly is no backup."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from ddbd import backupfile
from ddbd.backupfile import DatabaseBegins, DatabaseEnds, Header, Reader, Row, TableBegins, Writer, lines_of
from ddbd.commands import Column
from ddbd.errors import Refused

COLUMNS = (Column("n", "integer", True), Column("j"))
ROWS = [("1", 2**63 - 1, {"a": [None, 1.5]}, 7), ("2", None, "é", 8)]
HEADER = Header(1, "c", "1", 8, 2, "ab", "2026-01-01T00:00:00Z", "d", 1, 1, 2)


def written(rows: Sequence[Any] = ROWS, header: Header = HEADER) -> bytes:
    writer = Writer()
    parts = [writer.header(header), writer.database("d"), writer.table("t", COLUMNS, len(rows)), writer.rows(rows)]
    return b"".join([*parts, writer.database_end(), writer.end()])


def read(data: bytes, size: int | None = None) -> list[Any]:
    reader = Reader()
    step = size or len(data) or 1
    items = [item for at in range(0, len(data), step) for item in reader.feed(data[at : at + step])]
    assert reader.end() == items[0]
    return items


@pytest.mark.parametrize("size", [1, 7, 64, None])
def test_what_is_written_is_read_however_it_is_cut_on_the_way(size: int | None) -> None:
    header, database, table, one, two, end = read(written(), size)
    assert (header, database, table) == (HEADER, DatabaseBegins("d"), TableBegins("t", COLUMNS, 2))
    lines = written().splitlines(keepends=True)
    assert one == Row("1", [2**63 - 1, {"a": [None, 1.5]}], 7, len(lines[3]))
    assert two == Row("2", [None, "é"], 8, len(lines[4]))
    assert isinstance(end, DatabaseEnds)
    assert lines_of(header.databases, header.tables, header.rows) == written().count(b"\n")


def test_every_cut_is_seen() -> None:
    data = written()
    for length in range(len(data)):
        with pytest.raises(Refused, match="no whole backup"):
            read(data[:length])


def test_every_flipped_bit_is_seen() -> None:
    data = written()
    dice = random.Random(1)
    for place in range(len(data)):
        spoilt = bytearray(data)
        spoilt[place] ^= 1 << dice.randrange(8)
        with pytest.raises(Refused, match="no whole backup"):
            read(bytes(spoilt))


def test_every_line_that_is_left_out_doubled_or_added_is_seen() -> None:
    lines = written().splitlines(keepends=True)
    for place, line in enumerate(lines):
        for other in ([], [line, line], [line, b'{"database":"x"}\n'], [line, b"[]\n"], [line, b"\n"]):
            with pytest.raises(Refused, match="no whole backup"):
                read(b"".join([*lines[:place], *other, *lines[place + 1 :]]))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the last one is missing"),
        (b"hello\n", "none of a backup of ddbd"),
        (b'{"ddbd_backup":2,"cluster_id":"c","node_id":"1","index":1,"term":1,"state_hash":"","made_at":"","default_database":null,'
         b'"databases":0,"tables":0,"rows":0}\n', "reads up to 1"),
        (b'{"ddbd_backup":1}\n', "line 1"),
        (b"\xff\xfe\n", "none of a backup"),
    ],
)  # fmt: skip
def test_what_is_no_backup_is_told_in_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as caught:
        read(data)
    assert caught.value.code == "invalid_backup"


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    reader = Reader()
    list(reader.feed(written().splitlines(keepends=True)[0]))
    for _ in range(backupfile.LINE_BYTES_MAX // 2**20):
        assert list(reader.feed(b"x" * 2**20)) == []
    with pytest.raises(Refused, match="more than"):
        list(reader.feed(b"x"))


def test_rows_and_tables_stand_only_where_they_belong() -> None:
    first = written().splitlines(keepends=True)[0]
    table = b'{"table":"t","columns":[["a","any",false]],"rows":1}\n'
    for lines in ([table], [b'{"database":"d"}\n', b'{"database":"e"}\n'], [b'{"database":"d"}\n', table, b'["1",2]\n'], [b'["1",2,3]\n']):
        with pytest.raises(Refused, match="no whole backup"):
            list(Reader().feed(b"".join([first, *lines])))
