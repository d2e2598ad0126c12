"""Rows in each form, for terminals and for pipes; and how far a long piece of work is."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from twisted.internet.task import Clock

from ddbd.cli.output import Output, csv_line
from ddbd.cli.progress import Bar, Lines, Progress, in_bytes, progress_on

ROWS: list[dict[str, Any]] = [
    {"row_id": "1", "name": "Ahmed", "age": 20, "more": {"a": [1, None]}},
    {"row_id": "2", "name": "tab\there\nline\\", "age": None, "more": "\x1b[31mred\x07"},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(form: str | None, rows: Any = ROWS, columns: Any = None, terminal: bool = False) -> str:
    out = Terminal() if terminal else io.StringIO()
    Output(form, out).rows(rows, columns)
    return out.getvalue()


def test_a_pipe_gets_one_row_a_line_and_one_field_a_tab() -> None:
    text = shown(None)
    assert text == 'row_id\tname\tage\tmore\n1\tAhmed\t20\t{"a":[1,null]}\n2\ttab\\there\\nline\\\\\t\\N\t\x1b[31mred\x07\n'
    assert [len(line.split("\t")) for line in text.splitlines()] == [4, 4, 4]


def test_json_is_an_array_of_the_rows_as_they_are() -> None:
    assert json.loads(shown("json")) == ROWS
    assert json.loads(shown("json", [])) == []
    assert json.loads(shown("json", ROWS, ["age"])) == [{"age": 20}, {"age": None}]
    assert [json.loads(line) for line in shown("ndjson").splitlines()] == ROWS


def test_csv_keeps_null_apart_from_the_empty_text() -> None:
    assert shown("csv", [{"a": None, "b": "", "c": 'x,"y"\r\n', "d": True, "e": [1]}]) == 'a,b,c,d,e\r\n,"","x,""y""\r\n",true,[1]\r\n'
    assert csv_line(["a b", 1.5, {"k": "v"}]) == 'a b,1.5,"{""k"":""v""}"\r\n'


def test_a_table_stands_in_line_and_sends_no_control_character() -> None:
    lines = shown("table").splitlines()
    assert lines[0].split() == ["row_id", "name", "age", "more"]
    assert lines[2].split() == ["2", "tab\\there\\nline\\", "null", "\\x1b[31mred\\x07"]
    assert lines[0].index("age") == lines[1].index("20") == lines[2].index("null")
    assert all(line == line.rstrip() for line in lines)


def test_a_wide_table_in_a_pipe_is_not_wrapped() -> None:
    [head, line] = shown("table", [{"a": "x" * 500, "b": "ü" * 300}]).splitlines()
    assert line == "x" * 500 + "  " + "ü" * 300
    assert head.split() == ["a", "b"]


def test_a_terminal_gets_a_table_without_being_asked() -> None:
    text = shown(None, terminal=True)
    assert "Ahmed" in text
    assert "\t" not in text
    assert "\x07" not in text


def test_a_terminal_without_room_for_so_many_columns_gets_a_line_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{f"col_{n}": n * row if n else None for n in range(300)} for row in (1, 2)]
    lines = shown(None, rows, terminal=True).splitlines()
    assert lines[:2] == ["col_0    null", "col_1    1"]
    assert lines[299:303] == ["col_299  299", "", "col_0    null", "col_1    2"]
    few = [{f"c{n}": n for n in range(18)}]
    assert len(shown(None, few, terminal=True).splitlines()) == 2, "narrow columns fit"


def test_an_empty_table_has_its_head_where_the_columns_are_known() -> None:
    assert shown(None, [], ["a", "b"]) == "a\tb\n"
    assert shown("table", [], ["a", "b"]).split() == ["a", "b"]
    assert shown("csv", [], ["a"]) == "a\r\n"
    assert shown("table", []) == ""


def test_long_tables_are_drawn_in_blocks() -> None:
    text = shown("table", ({"a": number} for number in range(450)))
    assert text.count("a\n") == 3
    assert [int(line) for line in text.split() if line != "a"] == [*range(450)]


def test_rows_are_written_as_they_come() -> None:
    out = io.StringIO()

    def rows() -> Any:
        for number in range(3):
            yield {"a": number}
            assert f'"a":{number}' in out.getvalue() or number == 2

    Output("ndjson", out).rows(rows())


def test_one_thing_is_an_object_or_a_line_for_each_field() -> None:
    for form, text in [("table", "a    1\nbcd  null\n"), (None, "a\t1\nbcd\t\\N\n"), ("ndjson", '{"a":1,"bcd":null}\n')]:
        out = io.StringIO()
        Output(form, out).one({"a": 1, "bcd": None})
        assert out.getvalue() == text


# Progress.


def test_a_line_comes_every_five_seconds_where_there_is_no_terminal() -> None:
    clock, out = Clock(), io.StringIO()
    with Lines(out, "import t", 10_000_000, clock.seconds) as progress:
        for second in range(1, 12):
            clock.advance(1)
            progress.at(second * 500_000, f"{second} rows")
    assert out.getvalue().splitlines() == [
        "import t: 5 rows, 2.5 MB of 10 MB (25 %), 500 kB/s, 5 s, 15 s left",
        "import t: 10 rows, 5 MB of 10 MB (50 %), 500 kB/s, 10 s, 10 s left",
    ]


def test_without_a_total_nobody_says_how_long_it_takes() -> None:
    clock, out = Clock(), io.StringIO()
    progress = Lines(out, "x", None, clock.seconds)
    clock.advance(6)
    progress.at(600)
    assert out.getvalue() == "x: 600 B, 100 B/s, 6 s\n"
    clock.advance(6)
    progress.at(1200, total_bytes=2400)
    assert out.getvalue().splitlines()[1] == "x: 1.2 kB of 2.4 kB (50 %), 100 B/s, 12 s, 12 s left"


def test_a_terminal_gets_a_bar_that_ends_where_the_work_did() -> None:
    out = Terminal()
    with Bar(out, "import t", 1000, Clock().seconds) as progress:
        progress.at(400, "4 rows")
        progress.at(1000, "10 rows")
    assert "10 rows" in out.getvalue()
    assert "1.0/1.0 kB" in out.getvalue()


def test_quiet_says_nothing_and_each_stream_gets_what_suits_it() -> None:
    assert type(progress_on(io.StringIO(), "x", 1, quiet=True)) is Progress
    assert type(progress_on(io.StringIO(), "x", 1, quiet=False)) is Lines
    assert type(progress_on(Terminal(), "x", 1, quiet=False)) is Bar


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (999_600_000, "1 GB"), (5e15, "5,000 TB")]
)
def test_sizes_have_three_digits(count: float, text: str) -> None:
    assert in_bytes(count) == text
