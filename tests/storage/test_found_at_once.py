"""A search that an index answers with few rows has no transaction of its own; one with many has."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
from storage_kit import Client, entry, fired
from test_answered_early import seen_elsewhere
from test_tables_disk import opened

from ddbd.commands import AnyCommand, Column, CreateTable, Delete, InitDatabase, Insert, encode_proposal
from ddbd.errors import Corrupt, StorageFailed
from ddbd.storage import Query
from ddbd.storage.scan import EQ_PAGE_ROWS, EQ_PAGE_ROWS_FIRST, SqliteScan, Walk
from ddbd.storage.tables import SqliteTables

RED = Query(None, "t", column="colour", value="red")


def with_table(path: Path, **more: Any) -> SqliteTables:
    made = opened(path, **more)
    client = Client(made)
    client.register(1)
    client.do(InitDatabase("d"))
    client.do(CreateTable("d", "t", (Column("colour", index=True), Column("text"))))
    made.settle()
    return made


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[SqliteTables]:
    made = with_table(tmp_path)
    yield made
    made.close()


def add(tables: SqliteTables, count: int, colour: str = "red", text: str = "x", first: int = 0) -> Client:
    client = Client(tables)
    client.register(tables.applied_index)
    rows = tuple((f"{number:06}", {"colour": colour, "text": text}) for number in range(first, first + count))
    run(tables, client, Insert(None, "t", rows, single=False))
    return client


def run(tables: SqliteTables, client: Client, command: AnyCommand) -> None:
    """Which leaves its transaction open."""
    tables.apply([entry(tables.applied_index + 1, data=encode_proposal(client.proposal(command)))])


def ids(tables: SqliteTables, query: Query) -> list[Any]:
    return [row[0] for rows in tables.scan(query) for row in rows]


def test_a_short_answer_holds_what_is_not_committed_and_commits_nothing(tables: SqliteTables) -> None:
    client = add(tables, 3)
    assert ids(tables, RED) == ["000000", "000001", "000002"]
    run(tables, client, Delete(None, "t", "000001"))
    scan = tables.scan(RED)
    assert [row[0] for rows in scan for row in rows] == ["000000", "000002"]
    for _ in range(2):
        scan.close()
    run(tables, client, Delete(None, "t", "000002"))
    assert ids(tables, RED) == ["000000"]
    assert seen_elsewhere(tables) == 0


@pytest.mark.parametrize(
    "count", [0, 1, EQ_PAGE_ROWS_FIRST - 1, EQ_PAGE_ROWS_FIRST, EQ_PAGE_ROWS_FIRST + 1, 5 * EQ_PAGE_ROWS_FIRST, 3 * EQ_PAGE_ROWS + 7]
)
def test_however_many_rows_there_are_the_answer_is_all_of_them_in_order(tables: SqliteTables, count: int) -> None:
    add(tables, 5, "blue")
    if count:
        add(tables, count, first=5)
    wanted = [f"{number:06}" for number in range(5, 5 + count)]
    assert ids(tables, RED) == wanted
    for limit in (0, 1, EQ_PAGE_ROWS_FIRST, EQ_PAGE_ROWS):
        assert ids(tables, RED._replace(limit=limit)) == wanted[:limit]
        assert ids(tables, RED._replace(limit=limit, after="000005")) == wanted[1 : 1 + limit]


@pytest.mark.parametrize("query", [Query(None, "t"), RED._replace(op="ne"), Query(None, "t", column="text", value="x")])
def test_what_looks_at_many_rows_has_a_transaction_of_its_own(tables: SqliteTables, query: Query) -> None:
    add(tables, 1)
    scan = tables.scan(query)
    assert isinstance(scan, SqliteScan)
    assert tables.counters()["scans_open"] == 1
    scan.close()


def test_an_answer_that_takes_its_time_is_begun_anew_with_a_transaction_of_its_own(tmp_path: Path) -> None:
    tables = with_table(tmp_path, clock=partial(next, itertools.count(step=0.0003)))
    client = add(tables, 40)
    scan = tables.scan(RED)
    assert isinstance(scan, SqliteScan)
    run(tables, client, Delete(None, "t", "000039"))
    tables.settle()
    assert len([row for rows in scan for row in rows]) == 40, "of the moment at which it was begun"
    tables.close()


def test_an_answer_that_is_begun_anew_leaves_nothing_of_the_first_try(tmp_path: Path) -> None:
    """Rows of a megabyte each would wait for the collector of rubbish: a hundred such searches, and the memory is full."""
    tables = with_table(tmp_path, clock=partial(next, itertools.count(step=0.0003)))
    add(tables, 40)
    gc.collect()
    gc.disable()
    try:
        tables.scan(RED).close()
        assert [each for each in gc.get_objects() if type(each) is Walk] == []
    finally:
        gc.enable()
    assert tables._backend.connection.txn_state("main") == apsw.SQLITE_TXN_NONE
    tables.close()


def test_a_page_that_rotted_stops_the_tables_at_a_short_search_too(tmp_path: Path) -> None:
    tables = with_table(tmp_path)
    for first in range(0, 3_000, 1_000):
        add(tables, 1_000, text="some text", first=first)
    add(tables, 1, "blue", "other text", first=5_000)
    fired(tables.checkpoint())
    tables.close()
    file = tmp_path / "tables.db"
    content = bytearray(file.read_bytes())
    content[content.index(b"other text")] ^= 1
    file.write_bytes(content)

    tables = opened(tmp_path)
    with pytest.raises(Corrupt):
        tables.scan(RED._replace(value="blue"))
    with pytest.raises(StorageFailed, match="failed before"):
        tables.scan(RED._replace(value="green"))
    tables.close()
