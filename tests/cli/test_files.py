"""Files cut into records, and broken-off exports cut back to what is whole."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from ddbd.cli import records as records_module
from ddbd.cli.errors import CliError
from ddbd.cli.output import as_json, csv_line
from ddbd.cli.partial import last_row_id
from ddbd.cli.records import Names, Record, open_records


def read(data: bytes, form: str, renamed: dict[str, str] | None = None, columns: list[str] | None = None) -> tuple[bytes, list[Record]]:
    records = open_records(io.BytesIO(data), form, Names(renamed or {}), columns)
    found = [*records]
    assert records.bytes_read == len(data)
    return records.head, found


def test_lines_of_json_are_passed_on_as_they_stand() -> None:
    head, found = read(b'{"a": 1.10}\r\n\n {"b":9223372036854775807}', "ndjson")
    assert head == b""
    assert found == [Record(1, b'{"a": 1.10}\r\n'), Record(3, b' {"b":9223372036854775807}\n')]


def test_names_are_changed_and_columns_left_out_in_json() -> None:
    _, found = read(b'{"ID":7,"x":{"ID":[1,{}]},"y":null}\n', "ndjson", {"id": "row_id", "y": ""})
    assert found == [Record(1, b'{"row_id":7,"x":{"ID":[1,{}]}}\n')]
    for wrong in (b"[1]\n", b"7\n", b"nope\n"):
        with pytest.raises(CliError, match="line 1"):
            read(wrong, "ndjson", {"a": "b"})


def test_an_array_may_be_laid_out_in_any_way() -> None:
    text = b'\xef\xbb\xbf [\n {"a":\n  "x\\n\xc3\xbc"},{"b":[1,\n2]}\n ,\n{}]  \n'
    _, found = read(text, "json")
    assert [record.line for record in found] == [2, 3, 6]
    assert [json.loads(record.encoded) for record in found] == [{"a": "x\nü"}, {"b": [1, 2]}, {}]
    assert all(record.encoded.count(b"\n") == 1 for record in found)
    assert read(b"[]", "json")[1] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "the array is never closed: line 1"),
        (b'{"a":1}', "line 1: '{\"a\":1}' stands where one of \\[ is expected"),
        (b'[{"a":1}', "never closed"),
        (b'[\n{"a":1}\n{"b":1}]', "line 3: .* stands where one of , ] is expected"),
        (b'[{"a":1},]', "stands where one of {"),
        (b"[1]", "stands where one of { ]"),
        (b'[{"a":', "line 1: no JSON object begins here"),
        (b"[\xff]", "no text in UTF-8"),
        (b'[{"a":1}]\n\n[{"a":2}]', "line 1: something follows the end of the array; one file is one array"),
        (b"[] x", "something follows the end of the array"),
        (b"[]" + b" " * 100_000 + b"{}", "something follows the end of the array"),
    ],
)
def test_what_is_no_array_is_told_with_its_line(text: bytes, told: str) -> None:
    with pytest.raises(CliError, match=told):
        read(text, "json")


def test_an_array_is_read_piece_by_piece() -> None:
    rows = [{"row_id": str(number), "text": "x" * 3000} for number in range(400)]
    text = json.dumps(rows, indent=1).encode()
    assert len(text) > 4 * records_module.CHUNK_BYTES
    assert [json.loads(record.encoded) for record in read(text, "json")[1]] == rows


def test_csv_records_may_go_over_lines_and_keep_null_apart_from_nothing() -> None:
    head, found = read(b'\xef\xbb\xbfid,"a ""b"""\r\n1,"x\ny"\r\n\r\n2,\n3,""', "csv", {"id": "row_id", 'a "b"': "a"})
    assert head == b"row_id,a\r\n"
    assert found == [Record(2, b'1,"x\ny"\r\n'), Record(5, b"2,\n"), Record(6, b'3,""\n')]


def test_csv_columns_are_left_out() -> None:
    head, found = read(b'a,b,c\n1,"x,""y",3\n,,\n', "csv", {"B": ""})
    assert head == b"a,c\r\n"
    assert [record.encoded for record in found] == [b"1,3\r\n", b",\r\n"]
    with pytest.raises(CliError, match="line 2 has 2 fields; the header has 3"):
        read(b"a,b,c\n1,2\n", "csv", {"b": ""})


def test_csv_without_a_header_has_its_columns_named() -> None:
    head, found = read(b"1,x\n", "csv", columns=["row_id", "name"])
    assert (head, found) == (b"row_id,name\r\n", [Record(1, b"1,x\n")])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "the file is empty"),
        (b'a\n"x\ny', "line 2 are never closed"),
        (b"a,b\n1,2", "the file has no column nope; its columns are a, b"),
    ],
)
def test_what_is_wrong_with_csv_is_told(text: bytes, told: str) -> None:
    with pytest.raises(CliError, match=told):
        read(text, "csv", {"nope": "x"} if b"," in text else None)


def test_a_file_without_line_ends_does_not_fill_the_memory() -> None:
    class Endless(io.RawIOBase):
        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert size > 0, "a limit is given"
            return b"x" * size

    endless: Any = Endless()
    with pytest.raises(CliError, match="line 1 has more than"):
        next(iter(open_records(endless, "ndjson", Names({}), None)))


# What an export left.

ROWS = [{"row_id": f"k{number}", "a": value} for number, value in enumerate(["x", 'y,"\r\nz', None, "ü" * 50_000, "end"])]


def whole(form: str, count: int) -> bytes:
    rows = ROWS[:count]
    if form == "ndjson":
        return "".join(as_json(row) + "\n" for row in rows).encode()
    if form == "json":
        return ("[\n" + ",\n".join(map(as_json, rows)) + "\n]\n").encode()
    return (csv_line(["row_id", "a"]) + "".join(csv_line(row.values()) for row in rows)).encode()


@pytest.mark.parametrize("form", ["ndjson", "json", "csv"])
def test_wherever_an_export_broke_off_it_is_cut_behind_a_whole_row(form: str) -> None:
    """At each byte but those within the long value; and what is left goes on to the whole."""
    text = whole(form, len(ROWS))
    middle = text.index("ü".encode() * 10)
    for length in [*range(middle + 5), *range(len(text) - 200, len(text) + 1)]:
        file = io.BytesIO(text[:length])
        row_id = last_row_id(file, form)
        left = file.getvalue()
        assert file.tell() == len(left)
        if row_id is None:
            assert left == b""
            continue
        count = int(row_id[1:]) + 1
        expected = whole(form, count)
        assert left == (expected.removesuffix(b"\n]\n") if form == "json" else expected)


def test_a_file_of_another_form_is_not_cut() -> None:
    with pytest.raises(CliError, match="no export of this form"):
        last_row_id(io.BytesIO(b"row_id,a\nx,y\n"), "ndjson")


def test_a_row_id_with_quotes_and_commas_is_found_in_csv() -> None:
    text = (csv_line(["row_id"]) + csv_line(['a,"b"'])).encode()
    assert last_row_id(io.BytesIO(text), "csv") == 'a,"b"'
