"""Whoever waits for an answer has it before the tables' transaction is committed: what may be seen of that, and what may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_kit import Client, entry, fired, rows
from test_tables_disk import opened

from ddbd.commands import Applied, Insert, encode_proposal
from ddbd.errors import StorageFailed
from ddbd.raft.types import Entry, EntryKind
from ddbd.storage import Query
from ddbd.storage.sqlite import connect
from ddbd.storage.tables import SqliteTables


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[SqliteTables]:
    made = opened(tmp_path)
    Client(made).start()
    yield made
    made.close()


def row_entry(tables: SqliteTables, client: Client, row_id: str) -> Entry:
    data = encode_proposal(client.proposal(Insert(None, "t", ((row_id, {"name": "Ahmed"}),))))
    return entry(tables.applied_index + 1, data=data)


def client_of(tables: SqliteTables) -> Client:
    client = Client(tables)
    client.register(8)
    return client


def seen_elsewhere(tables: SqliteTables) -> int:
    """Rows of the table as another connection sees them."""
    connection = connect(tables.path, readonly=True)
    try:
        return int(connection.execute("SELECT row_count FROM _tables").fetchall()[0][0])
    finally:
        connection.close()


def told_while(tables: SqliteTables, look: Callable[[], Any]) -> list[Any]:
    """What `look` gave at the moment at which the answers were told; with what was answered before it."""
    found: list[Any] = []

    def tell(results: list[Applied]) -> None:
        answer = results[0].answer
        assert answer is not None
        found.extend((answer.code, look()))

    tables.apply([row_entry(tables, client_of(tables), "a")], tell)
    return found


def test_answers_are_told_before_the_commit_and_point_reads_see_them(tables: SqliteTables) -> None:
    looks = told_while(tables, lambda: (seen_elsewhere(tables), tables.point(None, "t", "a")[1] is not None, tables.applied_index))
    assert looks == ["", (0, True, tables.applied_index)]
    assert seen_elsewhere(tables) == 1


@pytest.mark.parametrize(
    "look",
    [
        lambda tables: len(rows(tables.scan(Query(None, "t")))),
        lambda tables: len(rows(fired(tables.copy()).scan(Query(None, "t")))),
        lambda tables: fired(tables.snapshot()).meta.index - tables.applied_index + 1,
        lambda tables: fired(tables.checkpoint()).index - tables.applied_index + 1,
    ],
    ids=["scan", "copy", "snapshot", "checkpoint"],
)
def test_whatever_reads_the_tables_from_elsewhere_has_them_committed_first(tables: SqliteTables, look: Callable[[Any], int]) -> None:
    assert told_while(tables, lambda: look(tables)) == ["", 1]
    assert seen_elsewhere(tables) == 1


@pytest.mark.parametrize("sizes", [lambda tables: tables.counters()["wal_bytes"], lambda tables: tables.owed_bytes() or 1])
def test_sizes_are_told_of_what_is_committed(tables: SqliteTables, sizes: Callable[[SqliteTables], int]) -> None:
    fired(tables.checkpoint())
    [_, (told, rows_elsewhere)] = told_while(tables, lambda: (sizes(tables), seen_elsewhere(tables)))
    assert told == sizes(tables) > 0
    assert rows_elsewhere == 1


def test_a_commit_that_fails_behind_an_answer_ends_the_tables_and_the_log_brings_the_row_back(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    Client(tables).start()
    entries = [row_entry(tables, client_of(tables), "a")]
    tables._backend.connection.set_commit_hook(lambda: True)
    told: list[Applied] = []
    with pytest.raises(StorageFailed):
        tables.apply(entries, told.extend)
    assert len(told) == 1, "it was answered: a majority's logs have it"
    with pytest.raises(StorageFailed, match="failed before"):
        tables.apply([entry(entries[0].index + 1, kind=EntryKind.EMPTY)])
    tables.close()

    again = opened(tmp_path)
    assert again.applied_index == entries[0].index - 1
    again.apply(entries)
    assert again.point(None, "t", "a")[1] is not None
    again.close()


def test_a_commit_that_failed_for_a_reader_is_not_tried_again(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    Client(tables).start()
    entries = [row_entry(tables, client_of(tables), "a")]
    hook = [True]
    tables._backend.connection.set_commit_hook(lambda: hook[0])

    def tell(results: list[Applied]) -> None:
        with pytest.raises(StorageFailed):
            tables.scan(Query(None, "t"))
        hook[0] = False  # a second try would pass

    with pytest.raises(StorageFailed, match="failed before"):
        tables.apply(entries, tell)
    tables.close()
