"""What the tables' file still takes of the disk, and who keeps it from being taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_kit import Client, fired
from test_tables_disk import load, opened

from ddbd.commands import Update
from ddbd.errors import ScanTimedOut
from ddbd.storage import Query
from ddbd.storage.tables import SqliteTables


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[SqliteTables]:
    made = opened(tmp_path)
    yield made
    made.close()


def allocated(folder: Path) -> int:
    return (folder / "tables.db").stat().st_blocks * 512


def test_pages_that_a_scan_keeps_from_the_file_are_owed_though_the_file_has_its_length(tables: SqliteTables, tmp_path: Path) -> None:
    client = Client(tables).start()
    load(client, 10_000)
    scan = tables.scan(Query(None, "t"))
    for number in range(9_000):
        client.do(Update(None, "t", f"{number:08}", {"grade": "B"}))
    fired(tables.checkpoint())
    before, owed = allocated(tmp_path), tables.owed_bytes()
    assert (tmp_path / "tables.db").stat().st_size > before + 100_000, "no hole: the test shows nothing"
    assert owed > 100_000
    scan.close()
    fired(tables.checkpoint())
    assert (allocated(tmp_path), tables.owed_bytes()) == (before + owed, 0)


def test_urgent_checkpoint_ends_the_scans_that_hold_it_back_and_says_why(tables: SqliteTables) -> None:
    client = Client(tables).start()
    load(client, 5_000)
    scan = iter(tables.scan(Query(None, "t")))
    next(scan)
    client.insert("new", {})
    assert fired(tables.checkpoint()).index < client.index
    next(scan)
    assert fired(tables.checkpoint(urgent=True)).index == client.index
    with pytest.raises(ScanTimedOut, match="the disk is nearly full"):
        list(scan)


def test_what_the_wal_owes_is_what_a_checkpoint_adds_to_the_file(tables: SqliteTables, tmp_path: Path) -> None:
    client = Client(tables).start()
    load(client, 10_000)
    before, owed = allocated(tmp_path), tables.owed_bytes()
    assert owed > 100_000
    fired(tables.checkpoint())
    assert allocated(tmp_path) == before + owed
    assert tables.owed_bytes() == 0
    for number in range(500):
        client.do(Update(None, "t", f"{number:08}", {"grade": "B"}))
    assert tables.counters()["wal_bytes"] > 100_000
    assert tables.owed_bytes() <= 8192, "pages that the file has already take no space"


@pytest.mark.parametrize("for_good", [False, True])
def test_tables_that_go_for_good_are_closed_without_a_last_pass(tmp_path: Path, for_good: bool) -> None:
    made = opened(tmp_path)
    load(Client(made).start(), 10_000)
    before = allocated(tmp_path)
    made.close(for_good=for_good)
    assert (allocated(tmp_path) == before) == for_good
    assert (tmp_path / "tables.db-wal").exists() == for_good, "else the next start finds everything in the file"
