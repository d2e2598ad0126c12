"""Searches: disk and memory give the same rows, and both what the contract says, for every operator, value and index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storage_kit import SMALL, Client, rows
from test_tables import VALUES, Time

from ddbd.commands import Insert
from ddbd.storage import Query
from ddbd.storage.memory_tables import MemoryTables
from ddbd.storage.scan import WINDOW_ROWS_MAX, WINDOW_SECONDS, _window_rows
from ddbd.storage.search import OPS, number_of
from ddbd.storage.tables import SqliteTables

MORE = [
    2,
    10,
    9,
    "10",
    "9",
    "abc",
    "abd",
    "ab\U0010ffff",
    "ab\U0010ffffx",
    "ab\ud7ff",
    "ab\ue000",
    "false",
    False,
    1e22,
    10**18,
    1.5,
    "1.0",
]
ASKED = [
    *(
        "",
        "a",
        "ab",
        "ab\U0010ffff",
        "\U0010ffff",
        "é",
        "😀",
        "\0",
        "1",
        "1.0",
        "-0.0",
        "0.0",
        "0",
        "-0",
        "01",
        "true",
        "false",
        "null",
        "[]",
    ),
    *(
        "[1]",
        "9",
        "10",
        "1e22",
        "1e999",
        "-1e999",
        str(2**63),
        str(-(2**63) - 1),
        str(10**400),
        str(2**63 - 1),
        "9.5",
        "1E22",
        "nan",
        "x" * 50,
    ),
]


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Client]:
    disk = SqliteTables(str(tmp_path / "t.db"), str(tmp_path), SMALL, Time())
    client = Client(disk, MemoryTables(SMALL, Time())).start()
    yield client
    disk.close()


def fill(client: Client, values: list[Any], times: int = 1) -> None:
    data = [(f"r{n:05}", {"name": v, "grade": v}) for n, v in enumerate(values * times)]
    client.do(Insert(None, "t", tuple(data), single=False))


def same(client: Client, **query: Any) -> list[tuple[Any, ...]]:
    disk, memory = (rows(tables.scan(Query(None, "t", **query))) for tables in client.tables)
    assert repr(disk) == repr(memory), query
    return disk


def test_every_operator_gives_the_same_rows_on_disk_and_in_memory(both: Client) -> None:
    fill(both, VALUES + MORE)
    for op in OPS:
        for value in ASKED:
            plain = same(both, column="name", op=op, value=value)
            assert repr(same(both, column="grade", op=op, value=value)) == repr(plain), "the index changes nothing"
            same(both, column="row_id", op=op, value=value)
            if op == "ne":
                equal = same(both, column="name", op="eq", value=value)
                assert sorted(row[0] for row in equal + plain) == sorted(row[0] for row in same(both))


def test_eq_matches_text_and_the_json_text_of_other_values(both: Client) -> None:
    fill(both, ["1", 1, 1.0, "1.0", True, "true", None, "null", [1], "[1]", -0.0, 0.0, 0])

    def found(value: str) -> list[Any]:
        return [row[1] for row in same(both, column="grade", value=value)]

    assert repr(found("1")) == repr(["1", 1])
    assert repr(found("1.0")) == repr([1.0, "1.0"])
    assert repr(found("true")) == repr([True, "true"])
    assert repr(found("null")) == repr([None, "null"])
    assert repr(found("[1]")) == repr(["[1]"])
    assert repr(found("-0.0")) == repr([-0.0])
    assert repr(found("0")) == repr([0])


def test_orderings_compare_numbers_with_numbers_and_text_by_code_point(both: Client) -> None:
    fill(both, [9, 10, 9.5, "9", "10", "é", "z", True, None, [1]])
    assert [row[1] for row in same(both, column="name", op="gt", value="9")] == [10, 9.5, "é", "z"]
    assert [row[1] for row in same(both, column="name", op="lt", value="z")] == ["9", "10"]
    assert [row[1] for row in same(both, column="name", op="ge", value="z")] == ["é", "z"]


@pytest.mark.parametrize("column", ["name", "grade"])
@pytest.mark.parametrize("limit", [1, 3, 499, 500, 501])
def test_pages_put_together_are_the_whole(both: Client, column: str, limit: int) -> None:
    fill(both, [1, "1", 1.0, "x"], times=700)
    whole = same(both, column=column, value="1")
    assert len(whole) == 1_400
    pages: list[tuple[Any, ...]] = []
    for _ in range(12):
        page = same(both, column=column, value="1", limit=limit, after=pages[-1][0] if pages else None)
        pages += page
    assert pages == whole[: len(pages)]
    assert len(pages) == min(1_400, 12 * limit)


def test_columns_come_as_asked_with_row_id_first_and_version_last(both: Client) -> None:
    fill(both, ["a"])
    for tables in both.tables:
        scan = tables.scan(Query(None, "t", columns=("Grade", "row_id", "grade")))
        assert scan.columns == ("row_id", "grade", "_version")
        assert rows(scan) == [("r00000", "a", 4)]


def test_select_by_row_id_gives_one_row_or_none(both: Client) -> None:
    fill(both, ["a", "b"])
    assert same(both, row_id="r00001") == [("r00001", "b", "b", 4)]
    assert same(both, row_id="no") == []
    assert same(both, row_id="r00001", column="name", value="a") == []
    assert same(both, row_id="r00001", after="r00001") == []
    assert same(both, limit=0) == []


text = st.text(st.characters(codec="utf-8"), max_size=3)
values = st.one_of(
    text, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none(),
    st.sampled_from(VALUES + MORE),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(held=st.lists(values, min_size=1, max_size=20), op=st.sampled_from(OPS), asked=st.one_of(text, values.map(str)))
def test_any_value_is_found_alike(both: Client, held: list[Any], op: str, asked: str) -> None:
    data = [(f"r{n:05}", {"name": v, "grade": v}) for n, v in enumerate(held)]
    both.do(Insert(None, "t", tuple(data), upsert=True, single=False))
    plain = same(both, column="name", op=op, value=asked)
    assert repr(same(both, column="grade", op=op, value=asked)) == repr(plain)


def test_text_of_digits_and_points_that_is_no_number_is_compared_as_text(both: Client) -> None:
    fill(both, [1, 2, 1e300, "1.2", "1.2.3", "1.2.4", "2"])
    for asked in ("1.2.3", "1e", "1-2"):
        assert number_of(asked) is None
    assert [row[1] for row in same(both, column="name", op="ge", value="1.2.3")] == ["1.2.3", "1.2.4", "2"]
    assert [row[1] for row in same(both, column="name", op="lt", value="1.2.3")] == ["1.2"]


@pytest.mark.parametrize(
    ("seconds", "is_tested_whole", "then"),
    [
        (4 * WINDOW_SECONDS, True, 25),
        (4 * WINDOW_SECONDS, False, 25),
        (1_000 * WINDOW_SECONDS, True, 10),  # never to less than a tenth at once: the processor may only have been busy
        (0.9 * WINDOW_SECONDS, True, 100),
        (0.1 * WINDOW_SECONDS, True, 200),
        (0.1 * WINDOW_SECONDS, False, 100),  # something matched: what the rest of the window takes is not known
    ],
)
def test_a_window_of_a_search_becomes_smaller_where_it_took_long_and_larger_where_not(
    seconds: float, is_tested_whole: bool, then: int
) -> None:
    assert _window_rows(100, seconds, is_tested_whole) == then


def test_a_window_of_a_search_has_a_row_at_least_and_not_too_many() -> None:
    assert _window_rows(1, 1.0, True) == 1
    assert _window_rows(WINDOW_ROWS_MAX, 0.0, True) == WINDOW_ROWS_MAX


@pytest.mark.parametrize("last", ["\ud7ff", "\U0010ffff", "\uffff", "z"])
def test_prefix_that_ends_before_a_gap_in_the_characters_finds_all_that_begin_with_it(both: Client, last: str) -> None:
    matching = [f"a{last}", f"a{last}b", f"a{last}{last}", f"a{last}\U0010ffff"]
    fill(both, ["a", "b", "a\ue000", *matching])
    assert [row[1] for row in same(both, column="grade", op="prefix", value=f"a{last}")] == matching
