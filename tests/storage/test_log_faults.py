"""A disk that fails under a running log, and records that are good each by itself and cannot stand where they do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from storage_kit import FOUNDERS, SMALL, CrashDisk, entries, entry, fired, payload_of, results
from test_log import HandThreads, SlowClock, meta, read_all

from ddbd.errors import Corrupt, StorageFailed
from ddbd.raft.types import HardState, SnapshotMeta
from ddbd.storage import records, recovery
from ddbd.storage.disk import DiskFile
from ddbd.storage.log import DiskLog
from ddbd.storage.memory import MemoryLog
from ddbd.storage.syncing import Syncer

SALT = 0x5A5A5A5A
YOUNG = SnapshotMeta(0, 0, 0, FOUNDERS)


def open_log(disk: CrashDisk, **more: Any) -> DiskLog:
    return DiskLog(disk, "log", SMALL, founders=FOUNDERS, **more)


def fill(log: DiskLog, high: int = 201) -> None:
    for low in range(1, high, 10):
        fired(log.save(None, entries(low, low + 10, data=b"y" * 50)))


def log_to_be_dropped_in_halves(disk: CrashDisk, **more: Any) -> DiskLog:
    """An install in the middle kept what was behind it, so compaction has to say first what is to go."""
    log = open_log(disk, **more)
    fill(log)
    log.install(meta(60), 1)
    return log


def assert_finished(log: DiskLog) -> None:
    with pytest.raises(StorageFailed, match="unknown until the log is read again"):
        fired(log.save(None, [entry(log.last_index + 1)]))


# The disk fails.


def test_failed_read_fails_the_log() -> None:
    disk = CrashDisk()
    log = open_log(disk)
    fired(log.save(None, entries(1, 5)))
    disk.fail_next = "read"
    with pytest.raises(StorageFailed, match="read failed"):
        read_all(log)
    assert_finished(log)


@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename", "sync_dir"])
def test_failed_install_fails_the_log_and_the_base_stays(kind: str) -> None:
    disk = CrashDisk()
    log = open_log(disk)
    fill(log, 21)
    disk.fail_next = kind
    with pytest.raises(StorageFailed, match="write failed"):
        log.install(meta(100), 1)
    assert log.base == YOUNG
    assert_finished(log)
    assert open_log(disk.crash()).base == YOUNG


def test_failed_unlink_fails_the_log_and_nothing_behind_the_base_is_lost() -> None:
    disk = CrashDisk()
    log = open_log(disk)
    fill(log)
    disk.fail_next = "unlink"
    with pytest.raises(StorageFailed, match="unlink failed"):
        log.compact(150)
    assert_finished(log)
    again = open_log(disk.crash())
    assert read_all(again) == entries(again.base.index + 1, 201, data=b"y" * 50)


@pytest.mark.parametrize("kind", ["create", "write", "rename"])
def test_failed_header_before_a_drop_fails_the_log_and_drops_nothing(kind: str) -> None:
    disk = CrashDisk()
    log = log_to_be_dropped_in_halves(disk)
    before = len(disk.names)
    disk.fail_next = kind
    with pytest.raises(StorageFailed, match="write failed"):
        log.compact(150)
    assert_finished(log)
    assert len(disk.names) >= before
    again = open_log(disk.crash())
    assert (again.base.index, again.last_index) == (60, 200)


def test_drop_that_needs_a_header_waits_for_the_save_that_is_under_way() -> None:
    clock, threads = SlowClock(), HandThreads()
    clock.step = 1.0
    log = open_log(CrashDisk(), syncer=Syncer(threads, clock))
    fired(log.save(None, [entry(1, data=b"y" * 50)]))  # so slow that the next ones go to the thread
    for index in range(2, 201):
        log.save(None, [entry(index, data=b"y" * 50)])
        threads.work()
    log.install(meta(60), 1)
    saved = results(log.save(None, [entry(201)]))
    assert log.compact(150) == 60
    threads.work()
    assert saved == [None]
    assert log.compact(150) > 60


class NoRoom(CrashDisk):
    full = True

    def step(self, kind: str) -> None:
        if kind == "allocate" and self.full:
            raise OSError(28, "No space left on device")
        super().step(kind)


def test_disk_without_room_for_even_a_header_is_storage_failed() -> None:
    with pytest.raises(StorageFailed, match="No space left"):
        open_log(NoRoom())


def test_disk_that_is_full_at_a_roll_over_fails_the_save_and_keeps_what_was_saved() -> None:
    disk = NoRoom()
    disk.full = False
    log = open_log(disk)
    fired(log.save(None, entries(1, 5)))
    disk.full = True
    with pytest.raises(StorageFailed, match="No space left"):
        fired(log.save(None, [entry(5, data=b"z" * 8000)]))
    assert open_log(disk.crash()).last_index == 4


@pytest.mark.parametrize(("spare", "ahead"), [(1 << 40, 8 << 20), (6 << 20, 6 << 20), (0, 4 << 20), (-(1 << 30), 4 << 20)])
def test_segment_is_allocated_from_what_is_to_spare_but_long_enough_for_many_batches(spare: int, ahead: int) -> None:
    disk = CrashDisk()
    log = DiskLog(disk, "log", replace(SMALL, segment_bytes=8 << 20), founders=FOUNDERS, spare=lambda: spare)
    assert log.counters()["segment_bytes"] == ahead
    fired(log.save(None, [entry(1, data=b"z" * (9 << 20))]))
    assert log.counters()["segment_bytes"] > ahead + (9 << 20), "a batch that is longer has its room all the same"
    assert open_log(disk.crash()).last_index == 1


def test_saving_nothing_touches_no_disk() -> None:
    disk = CrashDisk()
    log = open_log(disk)
    before = disk.steps
    assert results(log.save(None, [])) == [None]
    assert disk.steps == before


def test_record_that_moved_to_the_place_of_another_is_corrupt_when_read() -> None:
    disk = CrashDisk()
    log = open_log(disk)
    fired(log.save(None, entries(1, 10)))
    data = next(iter(disk.names.values())).data
    five, six = (data.index(text) - records.ENTRY_BYTES for text in (b"x5", b"x6"))
    data[six : six + (six - five)] = data[five:six]
    with pytest.raises(Corrupt, match="entry 5 stands where 6 was written"):
        log.read(6, 7, 0)


@pytest.mark.parametrize("end", ["crash", "fail"])
def test_twin_in_memory_forgets_a_save_that_had_not_fired(end: str) -> None:
    log = MemoryLog(FOUNDERS, by_hand=True)
    log.save(HardState(1, "1", 0), entries(1, 4))
    log.fire()
    saved = results(log.save(HardState(2, None, 0), entries(2, 6, 2)))
    if end == "fail":
        log.fail()
        assert saved[0].check(StorageFailed)
    left = log.crash()
    assert left.recovered == (HardState(1, "1", 0), YOUNG, 3, (), 0)
    assert left.read(1, 4, 1 << 20) == entries(1, 4)


# Records that cannot be: what no fault of a disk makes, but a mistake in a program would.


class Crafted:
    """Segments, written record by record, each with a good checksum."""

    def __init__(self) -> None:
        self.disk = CrashDisk()
        self.crc = self.batch = self.offset = 0
        self.file: DiskFile | None = None

    def segment(self, number: int, place: SnapshotMeta = YOUNG, **changed: Any) -> Crafted:
        header = msgspec.structs.replace(records.make_header(number, 1, SALT, place, 0, HardState()), **changed)
        made, tail = recovery.create_segment(self.disk, "log", 4096, header, self.crc, self.batch + 1)
        self.file, self.offset, self.crc, self.batch = made.file, tail.offset, tail.crc, tail.batch
        return self

    def record(self, kind: int, payload: bytes) -> Crafted:
        assert self.file is not None
        self.batch += 1
        data, self.crc = records.encode(kind, True, payload, self.crc, self.batch, SALT)
        self.file.write(self.offset, data)
        self.offset += len(data)
        return self

    def entry(self, index: int, term: int = 1) -> Crafted:
        return self.record(records.ENTRY, payload_of(entry(index, term)))


def young() -> Crafted:
    return Crafted().segment(1)


def assert_corrupt(made: Crafted, why: str) -> None:
    with pytest.raises(Corrupt, match=why):
        open_log(made.disk)


def test_log_that_was_crafted_right_is_read() -> None:
    made = young().entry(1).entry(2).segment(2, meta(2)).entry(3)
    assert read_all(open_log(made.disk)) == [entry(1), entry(2), entry(3)]


def test_gap_between_entries_is_corrupt() -> None:
    assert_corrupt(young().entry(1).entry(3), "has entry 3 where 1 to 2 can follow")
    assert_corrupt(young().entry(0), "has entry 0 where 1 to 1 can follow")


def test_term_that_goes_back_is_corrupt() -> None:
    assert_corrupt(young().entry(1, 2).entry(2, 1), "term goes back from 2 to 1 at entry 2")


def test_record_of_an_unknown_kind_is_corrupt() -> None:
    assert_corrupt(young().entry(1).record(9, b""), "unknown kind 9")


def test_record_that_names_another_one_before_it_is_corrupt() -> None:
    made = young().entry(1)
    made.crc ^= 1
    assert_corrupt(made.entry(2), "does not follow the one before it")


def test_batch_that_is_missing_is_corrupt() -> None:
    made = young().entry(1)
    made.batch += 1
    assert_corrupt(made.entry(2), "does not follow the one before it")


def test_segment_under_the_name_of_another_is_corrupt() -> None:
    made = young()
    made.disk.rename(f"log/{recovery.segment_name(1)}", f"log/{recovery.segment_name(7)}")
    assert_corrupt(made, "the header says segment 1")


def test_segment_of_a_newer_format_asks_for_a_newer_version() -> None:
    assert_corrupt(Crafted().segment(1, format=records.FORMAT + 1), "format 2, this node reads up to 1; start a newer version")


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x05", b"\x90", b"\x80", b"\x91\xa1x", b"\x91\x01"])
def test_header_that_cannot_be_one_is_corrupt(payload: bytes) -> None:
    made = Crafted()
    data, _ = records.encode(records.SEGMENT, True, payload, 0, 1, 0)
    made.disk.create(f"log/{recovery.segment_name(1)}").write(0, data)
    assert_corrupt(made, "impossible header")


@pytest.mark.parametrize("what", ["crc", "batch"])
def test_segment_that_does_not_continue_the_records_before_it_is_corrupt(what: str) -> None:
    made = young().entry(1)
    setattr(made, what, getattr(made, what) + 1)
    assert_corrupt(made.segment(2, meta(1)), "lacks its last records")


@pytest.mark.parametrize("place", [meta(2), meta(1, 2)])
def test_segment_that_follows_an_entry_that_is_not_there_is_corrupt(place: SnapshotMeta) -> None:
    assert_corrupt(young().entry(1).segment(2, place), f"follows entry {place.index} of term {place.term}, which the log does not hold")
