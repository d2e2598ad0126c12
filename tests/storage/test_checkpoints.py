"""Checkpoints and snapshots that meet something in their way: a reader, another checkpoint, a disk that fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from storage_kit import SMALL, Client, entry, fired, results
from test_log import HandThreads
from test_store_faults import files_of_at_most
from test_tables import Time
from test_tables_disk import load, opened

from ddbd.errors import Corrupt, StorageFailed, Unavailable
from ddbd.raft.types import EntryKind, Membership, SnapshotMeta
from ddbd.storage import Query
from ddbd.storage.backend import FORMAT, Progress
from ddbd.storage.disk import RealDisk
from ddbd.storage.machine import Machine
from ddbd.storage.maintenance import Checkpoints, make_snapshot
from ddbd.storage.seal import WalSeal
from ddbd.storage.sqlite import connect
from ddbd.storage.sqlite_backend import SqliteBackend
from ddbd.storage.tables import SqliteTables
from ddbd.storage.threads import InlineThreads


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[SqliteTables]:
    made = opened(tmp_path)
    yield made
    made.close()


def by_hand(path: Path) -> tuple[SqliteTables, HandThreads]:
    """Tables whose checkpoints work when the test says so."""
    threads = HandThreads()
    return opened(path, threads=lambda name: threads if name == "checkpoint" else InlineThreads()), threads


def while_another_checkpoints(path: str, call: Callable[[], object]) -> None:
    """A checkpoint that waits for a writer holds the lock of checkpoints meanwhile; then it is called back."""
    writer, other = connect(path), connect(path)
    writer.execute("BEGIN IMMEDIATE")
    called = []

    def busy(_: int) -> bool:
        called.append(call())
        return False

    other.set_busy_handler(busy)
    with pytest.raises(apsw.BusyError):
        other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
    assert len(called) == 1, "the checkpoint did not wait"
    other.close()
    writer.close()


def test_checkpoint_that_cannot_get_to_the_end_gives_up_for_now(tables: SqliteTables) -> None:
    client = Client(tables).start()
    assert fired(tables.checkpoint()).index == client.index
    scan = tables.scan(Query(None, "t"))
    load(client, 50_000)
    assert fired(tables.checkpoint()).index == 3, "the scan holds more frames than the writer may copy"
    scan.close()
    assert fired(tables.checkpoint()).index == client.index


def test_first_checkpoint_that_gets_nowhere_says_that_nothing_is_durable(tables: SqliteTables) -> None:
    client = Client(tables).start()
    scan = tables.scan(Query(None, "t"))
    client.insert("1", {})
    assert fired(tables.checkpoint()).index == 0
    scan.close()


def test_checkpoint_gives_way_to_another_one_and_tells_the_older_place(tables: SqliteTables) -> None:
    client = Client(tables).start()
    fired(tables.checkpoint())
    client.insert("1", {})
    told: list[int] = []
    while_another_checkpoints(tables.path, lambda: told.append(fired(tables.checkpoint()).index))
    assert told == [3]
    assert fired(tables.checkpoint()).index == 4


def test_writers_part_gives_way_to_another_checkpoint_too(tmp_path: Path) -> None:
    tables, threads = by_hand(tmp_path)
    Client(tables).start()
    told = results(tables.checkpoint())
    call, waiting = threads.calls.pop(0)
    left = call()
    while_another_checkpoints(tables.path, lambda: waiting.callback(left))
    assert [place.index for place in told] == [0]
    tables.close()


class SlowDisk(RealDisk):
    """Each sync of a folder, as the last step of a seal, takes so many seconds of `clock`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sync_seconds = 0.0

    def sync_dir(self, path: str) -> None:
        self.now += self.sync_seconds

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(("sync_seconds", "is_in_thread"), [(0.001, False), (0.090, True)])
def test_a_checkpoint_on_a_slow_disk_is_ended_in_a_thread_while_nothing_is_applied(
    tmp_path: Path, sync_seconds: float, is_in_thread: bool
) -> None:
    disk, threads = SlowDisk(), HandThreads()
    disk.sync_seconds = sync_seconds
    backend = SqliteBackend(f"{tmp_path}/t.db", SMALL.tables_cache_bytes)
    machine = Machine(backend, SMALL)
    seal = WalSeal(f"{backend.path}-wal", disk, disk.clock)
    checkpoints = Checkpoints(backend.path, backend.connection, threads, machine.place, seal)
    machine.run([entry(index, data=b"", kind=EntryKind.EMPTY) for index in range(1, 20)])
    machine.commit()
    told = results(checkpoints.run())
    machine.run([entry(index, data=b"", kind=EntryKind.EMPTY) for index in range(20, 40)])
    machine.commit()
    assert not checkpoints.is_ending
    threads.work()
    assert checkpoints.is_ending == is_in_thread == bool(threads.calls)
    if is_in_thread:
        threads.work()
    assert not checkpoints.is_ending
    assert [place.index for place in told] == [39]
    checkpoints.close(is_sound=False)
    backend.close()


def test_the_end_in_a_thread_gives_way_to_another_checkpoint_too(tmp_path: Path) -> None:
    disk, threads = SlowDisk(), HandThreads()
    disk.sync_seconds = 0.090
    backend = SqliteBackend(f"{tmp_path}/t.db", SMALL.tables_cache_bytes)
    machine = Machine(backend, SMALL)
    checkpoints = Checkpoints(backend.path, backend.connection, threads, machine.place, WalSeal(f"{backend.path}-wal", disk, disk.clock))
    machine.run([entry(index, data=b"", kind=EntryKind.EMPTY) for index in range(1, 20)])
    machine.commit()
    told = results(checkpoints.run())
    threads.work()
    assert checkpoints.is_ending
    while_another_checkpoints(backend.path, threads.work)
    assert not checkpoints.is_ending
    assert [place.index for place in told] == [0], "what was not copied to its end is not durable"
    checkpoints.close(is_sound=False)
    backend.close()


class Refusing:
    """A writer's connection that answers each question about the WAL with an error."""

    def __init__(self, error: apsw.Error) -> None:
        self._error = error

    def wal_checkpoint(self, **more: Any) -> Any:
        raise self._error


def test_what_is_not_copied_yet_is_nothing_while_it_cannot_be_asked(tmp_path: Path) -> None:
    def asked(writer: Any) -> Checkpoints:
        return Checkpoints(f"{tmp_path}/t.db", writer, HandThreads(), lambda: SnapshotMeta(0, 0, 0, Membership(())))

    assert asked(Refusing(apsw.BusyError("busy"))).pending_bytes() == 0
    with pytest.raises(StorageFailed):
        asked(Refusing(apsw.IOError("Input/output error"))).pending_bytes()
    closed = asked(Refusing(apsw.IOError("Input/output error")))
    closed.close(is_sound=False)
    assert closed.pending_bytes() == 0


def test_tables_say_that_they_hold_writes_and_take_none(tmp_path: Path) -> None:
    tables, _ = by_hand(tmp_path)
    client = Client(tables).start()
    assert not tables.holds_writes
    tables._checkpoints.is_ending = True
    assert tables.holds_writes
    with pytest.raises(AssertionError, match="a thread ends a checkpoint"):
        client.insert("1", {})
    tables._checkpoints.is_ending = False
    tables.close()


def test_checkpoint_of_a_wal_that_cannot_be_read_is_storage_failed(tables: SqliteTables) -> None:
    client = Client(tables).start()
    fired(tables.checkpoint())
    load(client, 5_000)
    os.truncate(f"{tables.path}-wal", 32)
    with pytest.raises(StorageFailed, match="I/O error"):
        fired(tables.checkpoint())


def test_writers_part_that_cannot_read_the_wal_is_storage_failed(tmp_path: Path) -> None:
    tables, threads = by_hand(tmp_path)
    client = Client(tables).start()
    told = results(tables.checkpoint())
    call, waiting = threads.calls.pop(0)
    left = call()
    client.insert("1", {"name": "x" * 50_000})
    os.truncate(f"{tables.path}-wal", 32)
    waiting.callback(left)
    with pytest.raises(StorageFailed, match="I/O error"):
        told[0].raiseException()
    tables.close()


def test_checkpoint_that_comes_back_after_the_close_touches_nothing(tmp_path: Path) -> None:
    tables, threads = by_hand(tmp_path)
    client = Client(tables).start()
    told = results(tables.checkpoint())
    call, waiting = threads.calls.pop(0)
    left = call()
    tables.close()
    waiting.callback(left)
    assert [place.index for place in told] == [0], "only a pass of the writer may say that something is durable"
    again = opened(tmp_path)
    assert again.applied_index == client.index
    again.close()


# Snapshots.


def test_snapshot_that_fills_the_disk_is_put_off_and_leaves_nothing(tables: SqliteTables, tmp_path: Path) -> None:
    load(Client(tables).start(), 5_000)
    fired(tables.checkpoint())
    target = tmp_path / "copy.db"
    with files_of_at_most(65_536), pytest.raises(Unavailable, match="cannot be written"):
        make_snapshot(tables.path, str(target), "1-1-1")
    assert not target.exists()
    assert make_snapshot(tables.path, str(target), "1-1-1").meta.index == tables.applied_index


def test_snapshot_of_a_page_that_rotted_is_corrupt_and_leaves_nothing(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    load(Client(tables).start(), 5_000)
    tables.close()
    data = bytearray((tmp_path / "tables.db").read_bytes())
    data[data.index(b"some text", len(data) // 2)] ^= 1
    (tmp_path / "tables.db").write_bytes(data)
    tables = opened(tmp_path)
    with pytest.raises(Corrupt, match="the tables are damaged"):
        fired(tables.snapshot())
    assert [path.name for path in tmp_path.glob("*.db")] == ["tables.db"]
    tables.close()


# What the tables say of themselves.


def with_progress(path: Path, data: bytes) -> None:
    tables = opened(path)
    Client(tables).start()
    tables.close()
    connection = connect(str(path / "tables.db"))
    connection.execute("UPDATE _progress SET data = ?", (data,))
    connection.close()


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90"])
def test_progress_that_cannot_be_read_is_corrupt(tmp_path: Path, data: bytes) -> None:
    with_progress(tmp_path, data)
    with pytest.raises(Corrupt, match="progress cannot be read"):
        opened(tmp_path)


def test_tables_of_a_newer_format_ask_for_a_newer_version(tmp_path: Path) -> None:
    with_progress(tmp_path, msgspec.msgpack.encode(Progress(FORMAT + 1, 3, 1, 1_000, b"", b"h" * 16, 1)))
    with pytest.raises(Corrupt, match="format 2, this node reads up to 1; start a newer version"):
        opened(tmp_path)


def test_pages_without_checksums_are_corrupt(tmp_path: Path) -> None:
    plain = apsw.Connection(str(tmp_path / "tables.db"))
    plain.execute("CREATE TABLE anything (x)")
    plain.close()
    with pytest.raises(Corrupt, match="no checksums"):
        SqliteTables(str(tmp_path / "tables.db"), str(tmp_path), SMALL, Time())


@pytest.mark.parametrize("bit", range(8))
def test_flipped_bit_that_would_switch_the_checksums_off_is_detected(tmp_path: Path, bit: int) -> None:
    """Byte 20 of the header says how many bytes of a page are reserved; with another number than 8 no checksum is looked at."""
    tables = opened(tmp_path)
    load(Client(tables).start(), 5_000)
    tables.close()
    data = bytearray((tmp_path / "tables.db").read_bytes())
    data[20] ^= 1 << bit
    (tmp_path / "tables.db").write_bytes(data)
    with pytest.raises(Corrupt):
        opened(tmp_path)
