"""What the bench counts, compares and writes. The systems themselves are not started here."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from speed import page
from speed.book import Book, Sample, Work
from speed.galera import insert_file
from speed.large import grown_writes
from speed.report import BARS, Bar, tables
from speed.works import CONNECTIONS, verify, write_lines, write_name
from speed.wrk import Load, LoadFailed

LOAD = Load(requests=1000, seconds=2.0, bytes=1, refused=0, broken=0, timeouts=0, p50_ms=1.0, p99_ms=2.0, max_ms=3.0)
WRITES = Work("writes", write_name("leader", 64), "/s", {})


def book_of(**samples: list[float]) -> Book:
    book = Book()
    book.row(WRITES).samples = {system: [Sample(value, 10 / value, 20 / value) for value in values] for system, values in samples.items()}
    return book


# What counts.


@pytest.mark.parametrize("stored", [100, 110, 164])
def test_rows_that_were_on_the_way_at_the_end_may_be_there_or_not(stored: int) -> None:
    verify(1_000, 1_000 + stored, 100, 64)


@pytest.mark.parametrize("stored", [99, 165, 0, -1])
def test_a_row_too_few_or_too_many_is_a_failure(stored: int) -> None:
    with pytest.raises(LoadFailed):
        verify(1_000, 1_000 + stored, 100, 64)


@pytest.mark.parametrize("change", [{"refused": 1}, {"broken": 1}, {"timeouts": 1}, {"requests": 0}])
def test_a_load_with_anything_but_good_answers_is_a_failure(change: dict[str, int]) -> None:
    values = {name: getattr(LOAD, name) for name in LOAD.__struct_fields__}
    with pytest.raises(LoadFailed):
        Load(**{**values, **change}).checked()
    assert LOAD.checked().per_second == 500


def test_one_sample_that_did_not_verify_spoils_the_figure() -> None:
    book = book_of(ddbd=[3.0, 1.0, 2.0], etcd=[1.0])
    assert book.ratio(WRITES.name, "etcd") == 2.0
    book.row(WRITES).invalid["ddbd"] = "5 rows were acknowledged, 4 are there"
    assert book.median(WRITES.name, "ddbd") is None
    assert book.ratio(WRITES.name, "etcd") is None
    assert "invalid" in tables(book)[-1]
    assert list(book.invalid()) == [f"{WRITES.name}, ddbd: 5 rows were acknowledged, 4 are there"]


# Bars.


@pytest.mark.parametrize(("found", "verdict"), [(1.49, "missed"), (1.5, "floor"), (2.2, "goal")])
def test_a_bar_where_more_is_better(found: float, verdict: str) -> None:
    assert Bar("", "", "etcd", 1.5, 2.2).verdict(found) == verdict


@pytest.mark.parametrize(("found", "verdict"), [(1.01, "missed"), (1.0, "floor"), (0.8, "goal")])
def test_a_bar_where_less_is_better(found: float, verdict: str) -> None:
    assert Bar("", "", "etcd", 1.0, 0.8, "p99_ms").verdict(found) == verdict


def test_each_bar_names_its_own_figure() -> None:
    """Two bars of one figure compare different things of it."""
    assert len({(bar.name, bar.of) for bar in BARS}) == len(BARS)


def test_growth_is_the_cost_in_the_largest_table_by_that_in_the_smallest() -> None:
    book = Book()
    for size, rate in ((10_000, 1_300.0), (1_000_000, 1_000.0)):
        book.row(Work("growth", grown_writes(size), "/s", {})).samples["ddbd"] = [Sample(rate)]
    assert "| cost of a write with 1,000,000 rows ÷ with 10,000 ↓ | 1.30 | 1.3 | 1.3 | goal |" in tables(book)


# What is sent, and what is written.


def test_both_kinds_of_bulk_files_hold_the_same_keys_and_names(tmp_path: Path) -> None:
    write_lines(tmp_path / "lines", "p00011", 2_000)
    insert_file(tmp_path / "inserts", "bulk", "p00011", 2_000)
    lines, inserts = (tmp_path / "lines").read_text().splitlines(), (tmp_path / "inserts").read_text().splitlines()
    assert (len(lines), len(inserts)) == (2_000, 2)
    assert lines[1_999].startswith('{"row_id":"p00011000001999","name":"n000001999",')
    assert inserts[1].startswith("INSERT INTO bulk VALUES ('p00011000001000','n000001000',")
    assert inserts[1].endswith(f"('p00011000001999','n000001999','A','{'x' * 64}');")


def test_the_page_keeps_what_stands_around_the_figures(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(f"before\n{page.BEGIN}old\n{page.END}after\n")
    page.write("new\n", {"a.svg": "<svg/>"}, path)
    assert path.read_text() == f"before\n{page.BEGIN}new\n{page.END}after\n"
    assert (tmp_path / "a.svg").read_text() == "<svg/>"


def test_the_plots_are_xml_with_a_line_for_each_system_that_was_measured() -> None:
    book = Book()
    for number in CONNECTIONS:
        samples = {"ddbd": [Sample(9_000.0 * number, 0.9, 12.0)], "etcd": [Sample(7_000.0, 1.1, 15.0)], "Galera": [Sample(2_700.0)]}
        book.row(Work("writes", write_name("leader", number), "/s", {})).samples = samples
    images = page.drawn(book, (10_000,))
    lines = {name: ElementTree.fromstring(image).findall(".//{*}polyline") for name, image in images.items()}
    assert {name: len(found) for name, found in lines.items()} == {"performance-connections.svg": 7, "performance-growth.svg": 0}
