"""Whoever waits for an answer has it before the tables' transaction is committed: what may be seen of that, and what may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from storage_kit import Client, entry, fired, rows
from test_tables_disk import opened
from twisted.internet.defer import Deferred

from ddbd.commands import Applied, DeleteTable, Insert, encode_proposal
from ddbd.config import Limits
from ddbd.errors import Corrupt, StorageFailed
from ddbd.raft.types import Entry, EntryKind
from ddbd.storage import Query
from ddbd.storage.sqlite import connect
from ddbd.storage.tables import OPEN_BYTES_MAX, OPEN_ENTRIES_MAX, SqliteTables
from ddbd.storage.threads import InlineThreads


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[SqliteTables]:
    made = opened(tmp_path)
    Client(made).start()
    made.settle()
    yield made
    made.close()


def row_entry(tables: SqliteTables, client: Client, row_id: str) -> Entry:
    data = encode_proposal(client.proposal(Insert(None, "t", ((row_id, {"name": "Ahmed"}),))))
    return entry(tables.applied_index + 1, data=data)


def client_of(tables: SqliteTables) -> Client:
    client = Client(tables)
    client.register(8)
    return client


def begun(path: Path) -> tuple[SqliteTables, Client]:
    """With a table, a client, and nothing open."""
    tables = opened(path)
    Client(tables).start()
    client = client_of(tables)
    tables.settle()
    return tables, client


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
    assert seen_elsewhere(tables) == 0, "further entries may join the transaction"
    tables.settle()
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
    tables.apply(entries, told.extend)
    with pytest.raises(StorageFailed):
        tables.settle()
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


def test_a_transaction_takes_entries_up_to_a_limit_of_them_and_of_their_bytes(tables: SqliteTables) -> None:
    client = client_of(tables)
    tables.settle()
    for number in range(OPEN_ENTRIES_MAX):
        assert not tables.is_full
        tables.apply([row_entry(tables, client, f"row{number}")])
    assert tables.is_full
    assert seen_elsewhere(tables) == 0, "whoever applies says when it is committed"
    large = encode_proposal(client.proposal(Insert(None, "t", (("large", {"name": "x" * OPEN_BYTES_MAX}),))))
    tables.apply([entry(tables.applied_index + 1, data=large)])
    assert seen_elsewhere(tables) == OPEN_ENTRIES_MAX, "or what is applied next begins with it"
    assert tables.is_full
    tables.settle()
    assert seen_elsewhere(tables) == OPEN_ENTRIES_MAX + 1
    assert not tables.is_full
    tables.apply([row_entry(tables, client, "behind")])
    assert seen_elsewhere(tables) == OPEN_ENTRIES_MAX + 1, "and the next one begins anew"


LOOKS: list[Callable[[SqliteTables], object]] = [
    lambda tables: tables.settle(),
    lambda tables: tables.counters(),
    lambda tables: tables.owed_bytes(),
    lambda tables: tables.checkpoint(),
    lambda tables: tables.snapshot(),
    lambda tables: tables.apply([]),
    lambda tables: tables.close(),
]


@pytest.mark.parametrize("look", LOOKS, ids=["settle", "counters", "owed", "checkpoint", "snapshot", "apply", "close"])
def test_after_a_read_that_broke_the_transaction_nothing_of_it_is_committed(tmp_path: Path, look: Callable[[SqliteTables], object]) -> None:
    """An I/O error of a SELECT, too, has SQLite roll the whole transaction back: then each statement would be one of its own."""
    tables = opened(tmp_path)
    client = Client(tables).start()
    for low in range(0, 3_000, 1_000):
        rows_of = tuple((f"{number:08}", {"name": "some text"}) for number in range(low, low + 1_000))
        client.do(Insert(None, "t", rows_of, single=False))
    fired(tables.checkpoint())
    tables.close()
    file = tmp_path / "tables.db"
    content = bytearray(file.read_bytes())
    content[content.index(b"some text", content.index(b"00001500"))] ^= 1
    file.write_bytes(content)

    tables = opened(tmp_path)
    client = Client(tables)
    client.register(9)
    before = tables.applied_index
    entries = [row_entry(tables, client, "new")]
    tables.apply(entries)
    with pytest.raises(Corrupt):
        [tables.point(None, "t", f"{number:08}") for number in range(3_000)]
    with suppress(StorageFailed):
        look(tables)
    tables.close()
    content[content.index(b"rome text")] ^= 1
    file.write_bytes(content)
    again = opened(tmp_path)
    assert again.applied_index == before
    assert again.table(None, "t").row_count == 3_000
    again.close()


@pytest.mark.parametrize("look", LOOKS, ids=["settle", "counters", "owed", "checkpoint", "snapshot", "apply", "close"])
def test_entries_that_broke_off_in_the_middle_are_not_committed(tmp_path: Path, look: Callable[[SqliteTables], object]) -> None:
    tables, client = begun(tmp_path)
    before = tables.applied_index
    tables.apply([row_entry(tables, client, "a")])
    good = row_entry(tables, client, "b")
    with pytest.raises(Corrupt):
        tables.apply([good, entry(good.index + 1, data=b"\xff")])
    with suppress(StorageFailed):
        look(tables)
    tables.close()
    again = opened(tmp_path)
    assert again.applied_index == before, "the log has the others"
    again.close()


def test_a_node_finds_out_at_its_next_heartbeat_that_its_tables_have_failed(tables: SqliteTables) -> None:
    tables.apply([row_entry(tables, client_of(tables), "a")])
    tables._backend.connection.set_commit_hook(lambda: True)
    with pytest.raises(StorageFailed):
        tables.counters()
    for _ in range(2):
        with pytest.raises(StorageFailed, match="failed before"):
            tables.settle()


def test_while_a_dropped_table_goes_each_run_is_committed(tables: SqliteTables) -> None:
    client = client_of(tables)
    for low in range(0, 3_000, 500):
        rows_of = tuple((f"{number:08}", {"name": "x"}) for number in range(low, low + 500))
        tables.apply([entry(tables.applied_index + 1, data=encode_proposal(client.proposal(Insert(None, "t", rows_of, single=False))))])
    tables.apply([entry(tables.applied_index + 1, data=encode_proposal(client.proposal(DeleteTable(None, "t"))))])
    runs = 0
    while tables._backend.is_sweeping:
        tables.apply([entry(tables.applied_index + 1, kind=EntryKind.EMPTY)])
        runs += 1
    assert 2 <= runs <= 12


@pytest.mark.parametrize("for_good", [False, True])
def test_what_is_open_at_the_close_is_committed_unless_the_tables_go(tmp_path: Path, for_good: bool) -> None:
    tables, client = begun(tmp_path)
    before = tables.applied_index
    tables.apply([row_entry(tables, client, "a")])
    tables.close(for_good)
    again = opened(tmp_path)
    assert again.applied_index == before + (not for_good)
    again.close()


def test_a_close_whose_commit_fails_leaves_the_tables_to_the_log(tmp_path: Path) -> None:
    tables, client = begun(tmp_path)
    before = tables.applied_index
    tables.apply([row_entry(tables, client, "a")])
    tables._backend.connection.set_commit_hook(lambda: True)
    tables.close()
    again = opened(tmp_path)
    assert again.applied_index == before
    again.close()


class Meanwhile(InlineThreads):
    """Something happens on the reactor's thread while this one works."""

    happens: Callable[[], object] = staticmethod(lambda: None)

    def defer(self, call: Callable[[], Any]) -> Deferred[Any]:
        done = super().defer(call)
        self.happens()
        return done


def test_a_checkpoint_tells_no_place_that_is_not_committed(tmp_path: Path) -> None:
    """Entries that are run while its thread is busy are committed before its end asks for the place."""
    threads = Meanwhile()
    tables = SqliteTables(str(tmp_path / "tables.db"), str(tmp_path), Limits(), lambda: 0.0, lambda name: threads)
    Client(tables).start()
    client = client_of(tables)
    threads.happens = lambda: tables.apply([row_entry(tables, client, "a")])
    assert fired(tables.checkpoint()).index == tables.applied_index
    assert seen_elsewhere(tables) == 1
    tables.close()
