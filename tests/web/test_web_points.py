"""The short way to one row, and how slices of rows are written."""

from __future__ import annotations

import json

import pytest
from web_client import Node

from ddbd.web.formats import JsonArray, JsonLines


@pytest.fixture
def school() -> Node:
    return Node().with_students()


@pytest.mark.parametrize(
    "query",
    [
        "table=students&row_id=1",
        "row_id=1&table=students&columns=grade,id",
        "table=students&row_id=2",
        "table=students&row_id=1&versions=true",
        "table=students&row_id=1&after=1",
        "table=students&row_id=1&consistency=local",
        "table=students&row_id=1&row_id=2",
        "table=students&row%5Fid=2&row_id=1",
        "table=students&row_id=1&columns=nowhere",
        "table=nowhere&row_id=1",
        "table=students&row_id=1&timeout=0",
        f"table=students&row_id={'1' * 1025}",
        "table=students&row_id=",
    ],
)
def test_the_short_way_to_one_row_answers_as_the_long_one_does(school: Node, query: str) -> None:
    """An escaped parameter is only understood by the long way."""
    short, long = school.get(f"/select?{query}"), school.get(f"/select?{query}&min_index=0")
    assert (short.status, short.body, {**short.headers, "date": long.headers["date"]}) == (long.status, long.body, long.headers)


def test_one_row_follows_a_table_that_was_made_anew(school: Node) -> None:
    assert school.get("/select?table=students&row_id=1").json == [{"row_id": "1", "id": "1", "name": "Ahmed", "grade": "A"}]
    assert school.post("/delete_table", {"table_name": "students"}).status == 200
    assert school.post("/create_table", {"table_name": "students", "columns": ["grade"]}).status == 200
    assert school.post("/insert", {"table_name": "students", "row_id": "1", "data": {"grade": "B"}}).status == 200
    assert school.get("/select?table=students&row_id=1").json == [{"row_id": "1", "grade": "B"}]


def test_a_client_that_leaves_gives_up_the_wait_for_its_row(school: Node) -> None:
    school.twin.holding = True
    connection = school.start("GET", "/select?table=students&row_id=1")
    connection.lose()
    assert school.twin.cancelled == school.twin.held


@pytest.mark.parametrize("rows", [1, 63, 64, 500])
@pytest.mark.parametrize("versions", [False, True])
def test_rows_look_alike_however_many_are_written_at_once(rows: int, versions: bool) -> None:
    names = ("row_id", "def", "__class__", "f0", *(("_version",) if versions else ()))
    values = [(f"k{n}", n / 7, [n, {"a": None}], n % 2 == 0, 17) for n in range(rows)]
    expected = [dict(zip(names, row, strict=False)) for row in values]
    array, lines = JsonArray(), JsonLines()
    assert json.loads(array.start(names) + array.rows(values) + array.end()) == expected
    assert [json.loads(line) for line in (lines.start(names) + lines.rows(values)).splitlines()] == expected
