"""The Raft log, on disk and in memory: one contract for both, then what only a disk can do."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import pytest
from storage_kit import FOUNDERS, SMALL, CrashDisk, entries, entry, fired, results
from twisted.internet.defer import Deferred, execute

from ddbd.config import Limits
from ddbd.errors import Corrupt, StorageFailed
from ddbd.raft.types import EntryKind, HardState, Membership, SnapshotMeta
from ddbd.storage.disk import RealDisk, RealFile
from ddbd.storage.log import ZEROS_BYTES, DiskLog
from ddbd.storage.memory import MemoryLog
from ddbd.storage.recovery import segment_name
from ddbd.storage.syncing import Syncer


class World:
    """Makes a log and reopens it."""

    def __init__(self, kind: str, folder: str) -> None:
        self.kind = kind
        self.folder = folder
        self.disk: Any = RealDisk() if kind == "disk" else CrashDisk()
        self.log = self.open()

    def open(self) -> Any:
        if self.kind == "memory":
            return MemoryLog(FOUNDERS)
        return DiskLog(self.disk, self.folder, SMALL, founders=FOUNDERS)

    def reopen(self) -> Any:
        if self.kind == "memory":
            self.log = self.log.crash()
        else:
            self.log.close()
            self.log = self.open()
        return self.log


@pytest.fixture(params=["disk", "crashdisk", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Any) -> World:
    return World(request.param, str(tmp_path / "log"))


def read_all(log: Any) -> list[Any]:
    return log.read(log.base.index + 1, log.last_index + 1, 1 << 30)


def meta(index: int, term: int = 1) -> SnapshotMeta:
    return SnapshotMeta(index, term, 1_000 + index, FOUNDERS)


def test_young_log_is_empty_and_knows_its_founders(world: World) -> None:
    assert world.log.recovered == (HardState(), SnapshotMeta(0, 0, 0, FOUNDERS), 0, (), 0)


def test_saved_entries_and_hard_state_are_there_after_a_restart(world: World) -> None:
    fired(world.log.save(HardState(3, "2", 0), entries(1, 6, 3)))
    fired(world.log.save(HardState(3, "2", 4), []))
    fired(world.log.save(None, entries(6, 8, 3)))
    log = world.reopen()
    assert log.recovered[0] == HardState(3, "2", 4)
    assert read_all(log) == entries(1, 8, 3)


def test_an_entry_at_or_below_the_last_index_replaces_that_one_and_all_behind(world: World) -> None:
    fired(world.log.save(None, entries(1, 10, 1)))
    fired(world.log.save(None, entries(4, 6, 2)))
    assert read_all(world.log) == entries(1, 4, 1) + entries(4, 6, 2)
    assert read_all(world.reopen()) == entries(1, 4, 1) + entries(4, 6, 2)


def test_replacing_entries_of_earlier_segments_survives_a_restart_and_compaction(world: World) -> None:
    for low in range(1, 101, 10):
        fired(world.log.save(None, entries(low, low + 10, 1, b"y" * 100)))
    fired(world.log.save(None, entries(15, 20, 2)))
    assert read_all(world.reopen()) == entries(1, 15, 1, b"y" * 100) + entries(15, 20, 2)
    base = world.log.compact(16)
    log = world.reopen()
    assert base <= 16
    assert log.base.index == base
    assert log.last_index == 19
    for low in range(20, 200, 10):
        fired(log.save(None, entries(low, low + 10, 2, b"y" * 100)))
    assert log.compact(190) > 100


@pytest.mark.parametrize("first", range(8, 32))
def test_where_a_compacted_log_begins_it_has_the_term_of_the_entry_that_stood_there_last(world: World, first: int) -> None:
    """Wherever entries are replaced, also right where a segment begins: its header tells what was there before."""
    for low in range(1, 41, 3):
        fired(world.log.save(None, entries(low, low + 3, 1, b"y" * 100)))
    for low in range(first, first + 30, 3):
        fired(world.log.save(None, entries(low, low + 3, 2, b"y" * 100)))
    for index in range(first - 1, first + 29):
        world.log.compact(index)
        base = world.reopen().base
        assert base.index <= index
        assert base.term == (1 if base.index < first else 2) * (base.index > 0)


def test_read_gives_at_least_one_entry_and_stops_at_the_bytes(world: World) -> None:
    fired(world.log.save(None, [entry(index, data=b"a" * 100) for index in range(1, 30)]))
    assert [e.index for e in world.log.read(3, 20, 0)] == [3]
    assert [e.index for e in world.log.read(3, 20, 350)] == [3, 4, 5]
    assert world.log.read(5, 5, 100) == []


@pytest.mark.parametrize(("low", "high"), [(0, 1), (2, 7), (7, 7), (4, 3)])
def test_read_of_what_the_log_does_not_hold_is_a_mistake_of_the_caller(world: World, low: int, high: int) -> None:
    fired(world.log.save(None, entries(1, 6)))
    with pytest.raises(AssertionError, match="read of"):
        world.log.read(low, high, 1 << 20)


def test_memberships_are_recovered_and_go_with_replaced_entries(world: World) -> None:
    new = Membership.of(["1", "2"])
    fired(world.log.save(None, [entry(1), entry(2, 1, new.to_bytes(), EntryKind.MEMBERSHIP), entry(3)]))
    assert world.reopen().recovered.memberships == ((2, new),)
    fired(world.log.save(None, [entry(2, 2)]))
    assert world.reopen().recovered.memberships == ()


def test_compaction_keeps_what_is_behind_and_the_base_knows_its_membership(world: World) -> None:
    new = Membership.of(["1", "2"])
    fired(world.log.save(None, [entry(1, 1, new.to_bytes(), EntryKind.MEMBERSHIP)]))
    for low in range(2, 200, 10):
        fired(world.log.save(None, entries(low, low + 10, 1, b"y" * 50)))
    base = world.log.compact(150)
    assert 50 < base <= 150
    log = world.reopen()
    assert log.base == SnapshotMeta(base, 1, 1_000 + base, new)
    assert log.recovered.memberships == ()
    assert read_all(log) == entries(base + 1, 202, 1, b"y" * 50)


def test_compaction_twice_to_the_same_place_changes_nothing(world: World) -> None:
    for low in range(1, 200, 10):
        fired(world.log.save(None, entries(low, low + 10, 1, b"y" * 50)))
    assert world.log.compact(150) == world.log.compact(150) == world.log.compact(1)


def test_installed_snapshot_is_the_base_and_names_the_generation(world: World) -> None:
    fired(world.log.save(HardState(2, None, 3), entries(1, 6, 1)))
    world.log.install(meta(50, 2), 4)
    log = world.reopen()
    assert log.recovered == (HardState(2, None, 3), meta(50, 2), 50, (), 4)
    fired(log.save(None, entries(51, 53, 2)))
    assert read_all(world.reopen()) == entries(51, 53, 2)


def test_install_keeps_entries_behind_a_place_that_the_log_holds(world: World) -> None:
    fired(world.log.save(None, entries(1, 100, 1)))
    world.log.install(meta(40, 1), 1)
    assert read_all(world.reopen()) == entries(41, 100, 1)
    fired(world.log.save(None, entries(100, 200, 1, b"y" * 100)))
    assert read_all(world.reopen()) == entries(41, 100, 1) + entries(100, 200, 1, b"y" * 100)


def test_install_drops_entries_behind_a_place_of_another_term(world: World) -> None:
    fired(world.log.save(None, entries(1, 100, 1)))
    world.log.install(meta(40, 3), 1)
    assert world.reopen().last_index == 40


def test_compaction_after_an_install_that_kept_entries_leaves_a_whole_log(world: World) -> None:
    for low in range(1, 200, 10):
        fired(world.log.save(None, entries(low, low + 10, 1, b"y" * 50)))
    world.log.install(meta(60, 1), 1)
    assert world.log.compact(150) >= 60
    log = world.reopen()
    assert read_all(log) == entries(log.base.index + 1, 201, 1, b"y" * 50)
    for low in range(201, 400, 10):
        fired(log.save(None, entries(low, low + 10, 1, b"y" * 50)))
    base = log.compact(390)
    assert base > 200
    assert world.reopen().base.index == base


def test_entry_larger_than_a_segment_is_kept(world: World) -> None:
    big = entry(2, data=b"z" * 50_000)
    fired(world.log.save(None, [entry(1), big, entry(3)]))
    fired(world.log.save(None, [entry(4)]))
    assert world.reopen().read(2, 5, 1 << 20) == [big, entry(3), entry(4)]


# Only on a disk.


class HandThreads:
    """A thread that works when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Deferred[Any]]] = []

    def defer(self, call: Any) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        self.calls.append((call, waiting))
        return waiting

    def work(self) -> None:
        call, waiting = self.calls.pop(0)
        execute(call).chainDeferred(waiting)

    def close(self) -> None:
        pass


class SlowClock:
    """Each look at it is `step` later."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_sync_goes_to_a_thread_once_the_disk_is_slow_and_comes_back(tmp_path: Any) -> None:
    clock, threads = SlowClock(), HandThreads()
    log = DiskLog(RealDisk(), str(tmp_path), SMALL, syncer=Syncer(threads, clock))
    assert results(log.save(None, [entry(1)])) == [None]
    clock.step = 0.100
    assert results(log.save(None, [entry(2)])) == [None]  # the first stall is inline
    clock.step = 0.001
    for index in range(3, 11):
        saved = results(log.save(None, [entry(index)]))
        assert saved == []
        threads.work()
        assert saved == [None]
    assert results(log.save(None, [entry(11)])) == [None]


class TellingFile(RealFile):
    """Notes where each write begins and ends."""

    def __init__(self, path: str, flags: int, told: list[tuple[int, int]]) -> None:
        super().__init__(path, flags)
        self._told = told

    def write(self, offset: int, data: bytes) -> None:
        self._told.append((offset, offset + len(data)))
        super().write(offset, data)


class TellingDisk(RealDisk):
    def __init__(self) -> None:
        self.writes: list[tuple[int, int]] = []

    def create(self, path: str) -> RealFile:
        return TellingFile(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, self.writes)


def test_one_write_in_many_takes_zeros_along_up_to_the_end_of_the_segment(tmp_path: Any) -> None:
    disk, size = TellingDisk(), 3 * ZEROS_BYTES
    log = DiskLog(disk, str(tmp_path), Limits(segment_bytes=size))
    disk.writes.clear()
    for index in range(1, 121):
        fired(log.save(None, [entry(index, data=b"x" * 5_000)]))
    long = [(start, end) for start, end in disk.writes if end - start > 6_000]
    assert len(long) == 3, "each mark is crossed once"
    assert long[-1][1] == size
    assert all(one[1] - two[0] < 6_000 for one, two in pairwise(long)), "no zeros where the last ones still lie ahead"
    assert os.path.getsize(tmp_path / segment_name(1)) == size
    log.close()
    again = DiskLog(RealDisk(), str(tmp_path), Limits(segment_bytes=size))
    assert again.read(1, 121, 1 << 30) == [entry(index, data=b"x" * 5_000) for index in range(1, 121)]


def test_commit_alone_is_not_synced_and_rides_on_the_next_batch() -> None:
    disk = CrashDisk()
    log = DiskLog(disk, "log", SMALL)
    fired(log.save(HardState(1, "1", 0), entries(1, 3)))
    before = disk.steps
    fired(log.save(HardState(1, "1", 1), []))
    fired(log.save(HardState(1, "1", 2), []))
    assert disk.steps == before + 2, "a write each, and no sync"
    fired(log.save(None, entries(3, 5)))
    again = DiskLog(disk.crash(), "log", SMALL)
    assert again.recovered.hard_state == HardState(1, "1", 2)
    assert again.last_index == 4


def test_commits_alone_roll_over_into_the_next_segment() -> None:
    disk = CrashDisk()
    log = DiskLog(disk, "log", SMALL)
    for commit in range(500):
        fired(log.save(HardState(1, "1", commit), []))
    fired(log.save(None, [entry(1)]))
    assert DiskLog(disk.crash(), "log", SMALL).recovered[0] == HardState(1, "1", 499)


@pytest.mark.parametrize("kind", ["write", "sync"])
def test_failed_write_or_sync_fails_the_save_and_every_later_one(kind: str) -> None:
    disk = CrashDisk()
    log = DiskLog(disk, "log", SMALL)
    disk.fail_next = kind
    with pytest.raises(StorageFailed):
        fired(log.save(None, [entry(1)]))
    with pytest.raises(StorageFailed, match="unknown until the log is read again"):
        fired(log.save(None, [entry(1)]))
    with pytest.raises(StorageFailed):
        log.compact(0)


@pytest.mark.parametrize("kind", ["create", "rename", "sync_dir"])
def test_failed_roll_over_fails_the_log(kind: str) -> None:
    disk = CrashDisk()
    log = DiskLog(disk, "log", SMALL)
    disk.fail_next = kind
    with pytest.raises(StorageFailed):
        fired(log.save(None, [entry(1, data=b"z" * 8000)]))
    with pytest.raises(StorageFailed):
        fired(log.save(None, [entry(1)]))


def test_failed_sync_of_the_young_log_is_storage_failed() -> None:
    disk = CrashDisk()
    disk.fail_next = "sync"
    with pytest.raises(StorageFailed):
        DiskLog(disk, "log", SMALL)


def test_segment_without_room_on_the_disk_is_smaller() -> None:
    class Tight(CrashDisk):
        pass

    disk = Tight()
    log = DiskLog(disk, "log", Limits(segment_bytes=1 << 20))
    disk.fail_next = "allocate"
    fired(log.save(None, [entry(1, data=b"z" * (1 << 20))]))
    assert log.read(1, 2, 0)[0].data == b"z" * (1 << 20)


def test_flipped_byte_under_a_running_log_is_corrupt_when_read() -> None:
    disk = CrashDisk()
    log = DiskLog(disk, "log", SMALL)
    fired(log.save(None, entries(1, 10)))
    file = next(iter(disk.names.values()))
    file.data[file.data.index(b"x5")] ^= 1
    with pytest.raises(Corrupt, match="entry 5"):
        log.read(3, 9, 1 << 20)


def test_tail_of_so_many_bytes_is_what_is_left_when_the_rest_is_dropped(world: World) -> None:
    for low in range(1, 201, 10):
        fired(world.log.save(None, entries(low, low + 10, data=b"d" * 100)))
    assert world.log.tail_from(0) == 200
    assert world.log.tail_from(1 << 30) == 0
    index = world.log.tail_from(10_000)
    assert 80 <= index < 200
    assert world.log.compact(index) == index
    assert world.log.tail_from(10_000) == index
    assert world.log.counters().get("segment_bytes", 0) <= 10_000
