"""A copy of the tables for a backup: one instant, one at a time, nothing left behind. On the disk and in memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from storage_kit import Client, fired, results, rows
from test_log import HandThreads
from twisted.internet.defer import CancelledError

from ddbd.commands import Column, CreateTable, Delete, InitDatabase
from ddbd.config import Limits
from ddbd.errors import Busy, Corrupt, NoRoom, NotReady, StorageFailed
from ddbd.storage import Query
from ddbd.storage.memory_tables import MemoryTables
from ddbd.storage.tables import SqliteTables
from ddbd.storage.threads import InlineThreads, Threads


def on_disk(folder: Path, limits: Limits | None = None, threads: Threads | None = None) -> SqliteTables:
    (folder / "outgoing").mkdir()
    small = limits or Limits(disk_reserve_bytes=1024, scan_seconds=1)
    return SqliteTables(str(folder / "tables.db"), str(folder / "outgoing"), small, lambda: 0.0, lambda _: threads or InlineThreads())


@pytest.fixture(params=["disk", "memory"])
def tables(request: Any, tmp_path: Path) -> Any:
    made: Any = on_disk(tmp_path) if request.param == "disk" else MemoryTables(Limits(scan_seconds=1), lambda: 0.0)
    yield made
    made.close()


def test_a_copy_is_of_one_instant_whatever_is_written_beside_it(tables: Any) -> None:
    client = Client(tables).start()
    for number in range(3):
        client.insert(str(number), {"name": f"n{number}", "grade": 2**63 - 1})
    index, state_hash = tables.applied_index, tables.state_hash(tables.applied_index)
    copy = fired(tables.copy())
    client.do(Delete(None, "t", "1"))
    client.do(InitDatabase("other"))
    assert (copy.meta.index, copy.state_hash, copy.default_database) == (index, state_hash, "d")
    assert [(name, [(t.name, t.row_count, t.columns) for t in infos]) for name, infos in copy.databases()] == [
        ("d", [("t", 3, (Column("name"), Column("grade", index=True)))])
    ]
    for _ in range(2):  # one scan after the other
        assert [row[0] for row in rows(copy.scan(Query("D", "T")))] == ["0", "1", "2"]
    copy.close()


def test_young_tables_have_a_copy_without_anything(tables: Any) -> None:
    copy = fired(tables.copy())
    assert (copy.databases(), copy.default_database, copy.meta.index) == ([], None, 0)
    copy.close()


def test_only_one_copy_at_a_time(tables: Any) -> None:
    copy = fired(tables.copy())
    with pytest.raises(Busy, match="another node"):
        fired(tables.copy())
    copy.close()
    fired(tables.copy()).close()


def test_a_scan_of_a_copy_has_no_end_to_its_time(tmp_path: Path) -> None:
    seconds = [0.0]
    (tmp_path / "outgoing").mkdir()
    disk = SqliteTables(
        str(tmp_path / "t.db"), str(tmp_path / "outgoing"), Limits(disk_reserve_bytes=1, scan_seconds=1), lambda: seconds[0]
    )
    memory = MemoryTables(Limits(scan_seconds=1), lambda: seconds[0])
    client = Client(disk, memory).start()
    client.insert("1", {})
    for tables in (disk, memory):
        copy = fired(tables.copy())
        scan = iter(copy.scan(Query("d", "t")))
        seconds[0] += 1_000
        assert len(next(scan)) == 1
        copy.close()
    disk.close()


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "outgoing"))


def test_the_file_of_a_copy_goes_when_it_is_closed_also_in_the_middle_of_a_scan(tmp_path: Path) -> None:
    tables = on_disk(tmp_path)
    client = Client(tables).start()
    for number in range(5_000):
        client.insert(str(number), {"name": "x" * 100})
    copy = fired(tables.copy())
    assert files(tmp_path) == [f"backup-{tmp_path.name}-1.db"]
    assert next(iter(copy.scan(Query("d", "t"))))
    copy.close()
    copy.close()  # twice is fine
    assert files(tmp_path) == []
    tables.close()


def test_a_copy_that_is_given_up_while_it_is_made_is_thrown_away(tmp_path: Path) -> None:
    threads = HandThreads()
    tables = on_disk(tmp_path, threads=threads)
    Client(tables).start()
    asked = tables.copy()
    got = results(asked)
    asked.cancel()
    assert got[0].check(CancelledError)
    with pytest.raises(Busy):
        fired(tables.copy())
    threads.work()
    assert files(tmp_path) == []
    again = results(tables.copy())
    threads.work()
    again[0].close()
    tables.close()


class ClosedThreads(HandThreads):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_tables_that_make_room_for_others_wait_for_no_copy(tmp_path: Path) -> None:
    """A snapshot is installed on the reactor, and a copy takes as long as the tables are large."""
    threads = ClosedThreads()
    made = on_disk(tmp_path, threads=threads)
    got: list[Any] = []
    made.copy().addCallback(got.append)
    made.close()
    before = threads.closed
    threads.work()
    assert threads.closed == before + 1, "the copy's thread ends when the copy is made, and not before"
    assert got[0].databases() == []
    got[0].close()
    assert files(tmp_path) == []


def test_the_tables_of_two_generations_copy_into_files_of_their_own(tmp_path: Path) -> None:
    """A backup may still be read when a snapshot has taken the place of its tables."""
    outgoing = tmp_path / "outgoing"
    outgoing.mkdir()
    copies = []
    for generation in ("tables-1", "tables-2"):
        (tmp_path / generation).mkdir()
        path = str(tmp_path / generation / "tables.db")
        tables = SqliteTables(path, str(outgoing), Limits(disk_reserve_bytes=1024), lambda: 0.0, lambda _: InlineThreads())
        tables.copy().addCallback(copies.append)
        tables.close()
    assert len(files(tmp_path)) == 2
    copies[0].close()
    assert len(files(tmp_path)) == 1, "the other one stays"
    assert copies[1].databases() == []
    copies[1].close()
    assert files(tmp_path) == []


def test_a_copy_that_fails_after_it_was_given_up_frees_the_place(tmp_path: Path) -> None:
    threads = HandThreads()
    tables = on_disk(tmp_path, Limits(disk_reserve_bytes=2**60), threads)
    asked = tables.copy()
    results(asked)
    asked.cancel()
    threads.work()
    got = results(tables.copy())
    threads.work()
    assert got[0].check(NoRoom)
    tables.close()


def test_no_room_for_a_copy_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    tables = on_disk(tmp_path, Limits(disk_reserve_bytes=2**60))
    Client(tables).start()
    with pytest.raises(NoRoom, match="make room") as caught:
        fired(tables.copy())
    assert caught.value.code == "disk_full"
    assert files(tmp_path) == []
    tables.close()


def test_tables_that_are_closed_give_no_copy(tmp_path: Path) -> None:
    tables = on_disk(tmp_path)
    tables.close()
    with pytest.raises(NotReady):
        tables.copy()


def test_a_damaged_copy_is_an_error_and_never_an_answer(tmp_path: Path) -> None:
    tables = on_disk(tmp_path)
    client = Client(tables).start()
    for number in range(2_000):
        client.insert(f"{number:05}", {"name": "x" * 100})
    copy = fired(tables.copy())
    path = tmp_path / "outgoing" / f"backup-{tmp_path.name}-1.db"
    data = bytearray(path.read_bytes())
    for place in range(4096 + 100, len(data), 4096):
        data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises((Corrupt, StorageFailed)):
        rows(copy.scan(Query("d", "t")))
    copy.close()
    tables.close()


def test_both_copies_give_the_same(tmp_path: Path) -> None:
    disk, memory = on_disk(tmp_path), MemoryTables(Limits(), lambda: 0.0)
    client = Client(disk, memory).start()
    client.do(CreateTable("d", "more", (Column("any"), Column("j", "json"))))
    client.insert("ü", {"name": None, "grade": -0.0})
    client.insert("x", {"name": {"a": [1, 2.5, True, None]}, "grade": True})
    copies = [fired(tables.copy()) for tables in (disk, memory)]
    found = [[(db, infos, [rows(copy.scan(Query(db, t.name))) for t in infos]) for db, infos in copy.databases()] for copy in copies]
    assert found[0] == found[1]
    assert copies[0].meta == copies[1].meta
    assert copies[0].state_hash == copies[1].state_hash
    for copy in copies:
        copy.close()
    disk.close()
