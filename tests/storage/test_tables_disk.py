"""What only the tables on disk can do: fail, rot, fill a WAL, be read in slices while writes go on."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace
from storage_kit import SMALL, Client, fired, results, rows
from test_log import HandThreads
from test_tables import Time

from ddbd.commands import Column, CreateTable, Delete, DeleteTable, DropDatabase, InitDatabase, Insert
from ddbd.errors import Busy, Corrupt, Fatal, NotReady, StorageFailed, Unavailable
from ddbd.storage import Query
from ddbd.storage.maintenance import check_copy
from ddbd.storage.sqlite import connect
from ddbd.storage.tables import SqliteTables

SLICE_SECONDS_MAX = 0.050  # aimed at 2 ms; a busy machine must not fail the test


def opened(path: Path, **more: Any) -> SqliteTables:
    return SqliteTables(str(path / "tables.db"), str(path), SMALL, more.pop("clock", Time()), **more)


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[SqliteTables]:
    made = opened(tmp_path)
    yield made
    made.close()


def load(client: Client, count: int, step: int = 5_000) -> None:
    for low in range(0, count, step):
        data = tuple((f"{n:08}", {"name": "some text", "grade": 1.0}) for n in range(low, low + step))
        client.do(Insert(None, "t", data, single=False))


def test_file_has_checksums_and_is_in_wal_mode(tables: SqliteTables, tmp_path: Path) -> None:
    Client(tables).start()
    fired(tables.checkpoint())
    header = (tmp_path / "tables.db").read_bytes()[:100]
    assert (header[18], header[19], header[20]) == (2, 2, 8)


def test_flipped_byte_in_a_page_is_corrupt_and_never_an_answer(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    client = Client(tables).start()
    load(client, 5_000)
    fired(tables.checkpoint())
    tables.close()
    data = bytearray((tmp_path / "tables.db").read_bytes())
    place = data.index(b"some text", len(data) // 2)
    data[place] ^= 1
    (tmp_path / "tables.db").write_bytes(data)
    tables = opened(tmp_path)
    with pytest.raises(Corrupt):
        rows(tables.scan(Query(None, "t")))
    with pytest.raises(Fatal):
        Client(tables).insert("x", {})
    tables.close()


def test_statement_that_fails_stops_the_tables_for_good(tables: SqliteTables, tmp_path: Path) -> None:
    client = Client(tables).start()
    other = connect(str(tmp_path / "tables.db"))
    other.execute("DROP TABLE " + other.execute("SELECT name FROM sqlite_schema WHERE name LIKE 't\\_%' ESCAPE '\\'").fetchall()[0][0])
    other.close()
    with pytest.raises(StorageFailed):
        client.insert("1", {})
    with pytest.raises(StorageFailed, match="failed before"):
        client.insert("1", {})


def test_a_point_read_that_fails_stops_the_tables_for_good(tables: SqliteTables, tmp_path: Path) -> None:
    Client(tables).start()
    other = connect(str(tmp_path / "tables.db"))
    other.execute("DROP TABLE " + other.execute("SELECT name FROM sqlite_schema WHERE name LIKE 't\\_%' ESCAPE '\\'").fetchall()[0][0])
    other.close()
    with pytest.raises(StorageFailed):
        tables.row(None, "t", "1")
    with pytest.raises(StorageFailed, match="failed before"):
        tables.row(None, "t", "1")


def test_tables_that_are_closed_give_no_row(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    Client(tables).start()
    tables.close()
    with pytest.raises(NotReady, match="closed"):
        tables.row(None, "t", "1")


def test_a_batch_of_more_values_than_are_allowed_is_refused_whole(tables: SqliteTables) -> None:
    client = Client(tables).start()
    most = SMALL.batch_cells_max
    client.do(CreateTable(None, "wide", tuple(Column(f"c{number}") for number in range(1000))))
    rows_max = most // 1000
    answer = client.do(Insert(None, "wide", tuple((f"{number:05}", {}) for number in range(rows_max + 1)), single=False))
    assert answer.code == "invalid_value"
    assert f"send {rows_max} rows at once" in answer.detail
    assert tables.table(None, "wide").row_count == 0
    assert not client.do(Insert(None, "wide", tuple((f"{number:05}", {}) for number in range(rows_max)), single=False)).code


def test_checkpoint_held_up_by_a_scan_tells_the_older_place(tables: SqliteTables) -> None:
    client = Client(tables).start()
    assert fired(tables.checkpoint()).index == 3
    scan = tables.scan(Query(None, "t"))
    client.insert("1", {})
    assert fired(tables.checkpoint()).index == 3
    scan.close()
    assert fired(tables.checkpoint()).index == 4


def test_checkpoint_ends_scans_that_are_too_old(tmp_path: Path) -> None:
    clock = Time()
    tables = opened(tmp_path, clock=clock)
    client = Client(tables).start()
    tables.scan(Query(None, "t"))
    client.insert("1", {})
    clock.now = SMALL.scan_seconds + 1
    assert fired(tables.checkpoint()).index == 4
    tables.close()


def test_checkpoint_moves_everything_into_the_file_and_the_wal_begins_anew(tables: SqliteTables, tmp_path: Path) -> None:
    client = Client(tables).start()
    load(client, 10_000)
    wal = tmp_path / "tables.db-wal"
    size = wal.stat().st_size
    assert 0 < size - tables.counters()["wal_bytes"] <= 100, "all of it but the WAL's header is to be moved"
    fired(tables.checkpoint())
    assert tables.counters()["wal_bytes"] == 0, "else the next checkpoint would be due at once, and at each heartbeat from then on"
    with sqlite3.connect(f"file:{tmp_path}/tables.db?immutable=1", uri=True) as plain:
        assert plain.execute("SELECT sum(row_count) FROM _tables").fetchone() == (10_000,)
    plain.close()
    for number in range(5):
        client.insert(f"x{number}", {})
    assert wal.stat().st_size == size
    assert 0 < tables.counters()["wal_bytes"] < size


def test_counters_tell_the_length_of_the_file_without_a_look_at_the_disk(tables: SqliteTables, tmp_path: Path) -> None:
    """They are asked for with each status and each heartbeat, and a disk can hang."""
    file, away = tmp_path / "tables.db", tmp_path / "away"
    load(Client(tables).start(), 10_000)
    assert tables.counters()["tables_bytes"] == file.stat().st_size
    fired(tables.checkpoint())
    size = file.stat().st_size
    assert size > 500_000
    file.rename(away)
    assert tables.counters()["tables_bytes"] == size
    away.rename(file)


def test_only_one_checkpoint_runs_and_all_who_asked_hear_of_it(tmp_path: Path) -> None:
    threads: dict[str, HandThreads] = {}
    tables = opened(tmp_path, threads=lambda name: threads.setdefault(name, HandThreads()))
    client = Client(tables).start()
    heard = [results(tables.checkpoint()), results(tables.checkpoint())]
    client.insert("1", {})
    assert len(threads["checkpoint"].calls) == 1
    threads["checkpoint"].work()
    assert [got[0].index for got in heard] == [4, 4], "the writer's part of the pass took the newest place"
    tables.close()


def test_snapshot_larger_than_the_page_cache_is_whole(tables: SqliteTables) -> None:
    client = Client(tables).start()
    load(client, 100_000)
    snapshot = fired(tables.snapshot())
    assert snapshot.size_bytes > 3_000_000
    check_copy(snapshot.path, snapshot.meta)


def test_snapshot_is_of_one_instant_while_writes_go_on(tmp_path: Path) -> None:
    threads: dict[str, HandThreads] = {}
    tables = opened(tmp_path, threads=lambda name: threads.setdefault(name, HandThreads()))
    client = Client(tables).start()
    taken = results(tables.snapshot())
    client.insert("1", {})
    threads["snapshot"].work()
    client.insert("2", {})
    assert taken[0].meta.index == 4, "as of when the thread began"
    copy = connect(taken[0].path, readonly=True)
    assert copy.execute("SELECT row_count FROM _tables").fetchall() == [(1,)]
    copy.close()
    tables.close()


def test_kill_between_commits_leaves_the_last_commit(tables: SqliteTables, tmp_path: Path) -> None:
    client = Client(tables).start()
    client.insert("1", {"name": "a"})
    copy = tmp_path / "copy"
    copy.mkdir()
    for suffix in ("", "-wal"):
        (copy / f"tables.db{suffix}").write_bytes((tmp_path / f"tables.db{suffix}").read_bytes())
    left = opened(copy)
    assert left.applied_index == 4
    assert left.row(None, "t", "1") == ("1", "a", None, 4)
    left.close()


def test_wal_cut_anywhere_leaves_a_state_that_was(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    client = Client(tables).start()
    hashes = {client.index: tables.state_hash(client.index)}
    for number in range(6):
        client.insert(f"{number}", {"name": "x" * 100})
        hashes[client.index] = tables.state_hash(client.index)
    wal = (tmp_path / "tables.db-wal").read_bytes()
    file = (tmp_path / "tables.db").read_bytes()
    tables.close()
    copy = tmp_path / "copy"
    for cut in range(0, len(wal), 1_111):
        copy.mkdir(exist_ok=True)
        for item in copy.iterdir():
            item.unlink()
        (copy / "tables.db").write_bytes(file)
        (copy / "tables.db-wal").write_bytes(wal[:cut])
        left = opened(copy)
        index = left.applied_index
        assert index not in hashes or left.state_hash(index) == hashes[index]
        if index >= 3:
            assert left.table(None, "t").row_count == len(rows(left.scan(Query(None, "t")))) == index - 3
        left.close()


@pytest.mark.parametrize(
    "query",
    [
        Query(None, "t", column="name", op="contains", value="nothing has this"),
        Query(None, "t", column="name", op="ne", value="some text"),
        Query(None, "t", column="grade", op="eq", value="1"),  # 60,000 rows hold 1.0, which SQLite calls equal
        Query(None, "t", column="name", op="gt", value="z"),
        Query(None, "t", column="name", op="eq", value="none"),
    ],
)
def test_search_without_a_match_never_keeps_the_reactor(tmp_path: Path, query: Query) -> None:
    tables = opened(tmp_path, clock=time.perf_counter)
    client = Client(tables).start()
    load(client, 60_000)
    longest, began = 0.0, time.perf_counter()
    for piece in tables.scan(query):
        longest = max(longest, time.perf_counter() - began)
        assert piece == []
        began = time.perf_counter()
    assert longest < SLICE_SECONDS_MAX
    tables.close()


def test_large_rows_come_in_short_slices(tmp_path: Path) -> None:
    """Each look at the clock finds 0.4 ms gone: rows that take so long are read one by one, and a slice ends behind few of them."""
    tables = opened(tmp_path, clock=partial(next, itertools.count(step=0.0004)))
    client = Client(tables).start()
    for number in range(40):
        client.insert(f"{number:02}", {"name": "z" * 500_000})
    pieces = [len(rows) for rows in tables.scan(Query(None, "t")) if rows]
    assert max(pieces) <= 2
    assert sum(pieces) == 40
    tables.close()


def test_dropped_rows_go_with_later_commits(tables: SqliteTables) -> None:
    client = Client(tables).start()
    load(client, 5_000)
    client.do(DeleteTable(None, "t"))
    for _ in range(20):
        client.do(Delete(None, "t", "x"))
    reader = apsw.Connection(tables.path, flags=apsw.SQLITE_OPEN_READWRITE, vfs="cksmvfs")
    left = [name for (name,) in reader.execute("SELECT name FROM sqlite_schema WHERE type = 'table'") if str(name).startswith("t_")]
    reader.close()
    assert left == []


def tables_in(tables: SqliteTables) -> list[str]:
    """The names of rows' tables that the file still holds."""
    reader = apsw.Connection(tables.path, flags=apsw.SQLITE_OPEN_READWRITE, vfs="cksmvfs")
    names = [str(name) for (name,) in reader.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    reader.close()
    return [name for name in names if name.startswith("t_")]


def test_tables_of_a_dropped_database_go_a_few_a_commit(tables: SqliteTables, tmp_path: Path) -> None:
    client = Client(tables).start()
    for number in range(30):
        client.do(CreateTable(None, f"t{number}", (Column("name", index=True),)))
    client.do(DropDatabase("d"))
    assert len(tables_in(tables)) >= 20, "all at once is a stop of the reactor where the tables are thousands"
    tables.close()
    again = opened(tmp_path)
    client.tables = (again,)
    for _ in range(10):
        client.do(InitDatabase("e"))
    assert tables_in(again) == []
    again.close()


def test_dropped_table_of_many_indexes_loses_few_rows_a_commit(tables: SqliteTables) -> None:
    client = Client(tables).start()
    client.do(CreateTable(None, "wide", tuple(Column(f"c{place}", index=True) for place in range(99))))
    client.do(Insert(None, "wide", tuple((f"{n:04}", {"c0": n}) for n in range(1_003)), single=False))
    client.do(DeleteTable(None, "wide"))
    name = next(name for name in tables_in(tables) if name.endswith(f"_{client.index - 2}"))
    reader = apsw.Connection(tables.path, flags=apsw.SQLITE_OPEN_READWRITE, vfs="cksmvfs")
    assert reader.execute(f"SELECT count(*) FROM {name}").fetchall() == [(997,)]
    reader.close()
    client.do(InitDatabase("d"))
    assert name not in tables_in(tables), "few enough rows are dropped with their table"


def test_long_scans_beyond_the_limit_are_refused_until_one_is_closed_or_too_old(tmp_path: Path) -> None:
    clock = Time()
    tables = SqliteTables(str(tmp_path / "tables.db"), str(tmp_path), replace(SMALL, scans_open_max=2), clock)
    load(Client(tables).start(), 5_000)

    def begin() -> Any:
        """A client that reads two slices and then no more."""
        scan = tables.scan(Query(None, "t"))
        pieces = iter(scan)
        next(pieces), next(pieces)
        return scan, pieces

    first, kept = begin(), [begin()]
    with pytest.raises(Busy, match="2 long results"):
        begin()
    assert len(rows(tables.scan(Query(None, "t", row_id="00000007")))) == 1
    assert len(rows(tables.scan(Query(None, "t", limit=100)))) == 100
    first[0].close()
    kept.append(begin())
    clock.now = SMALL.scan_seconds + 1
    kept.append(begin())
    assert tables.counters()["scans_open"] == 1, "those that were too old are ended"
    tables.close()


def test_snapshot_that_would_touch_the_reserve_is_put_off_and_the_tables_go_on(tmp_path: Path) -> None:
    limits = replace(SMALL, disk_reserve_bytes=1 << 60)
    tables = SqliteTables(str(tmp_path / "tables.db"), str(tmp_path), limits, Time())
    client = Client(tables).start()
    with pytest.raises(Unavailable, match="make room"):
        fired(tables.snapshot())
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["tables.db"]
    assert client.insert("1", {}).code == ""
    tables.close()


def test_closed_tables_answer_nothing_and_may_be_closed_again(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    Client(tables).start()
    tables.close()
    tables.close()
    for call in (lambda: tables.apply([]), lambda: tables.scan(Query(None, "t")), tables.checkpoint, tables.snapshot):
        with pytest.raises(NotReady, match="closed"):
            call()
