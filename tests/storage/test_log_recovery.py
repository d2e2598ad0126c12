"""Every way in which a log can be damaged, tried: cut at each byte, flipped at each byte, the power gone at each disk operation."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from storage_kit import FOUNDERS, SMALL, CrashDisk, PowerCut, entries, entry, fired

from ddbd.config import Limits
from ddbd.errors import Corrupt
from ddbd.raft.types import Entry, HardState, SnapshotMeta
from ddbd.storage import records
from ddbd.storage.log import DiskLog
from ddbd.storage.recovery import PIECE_BYTES, segment_name

SEED_COUNT = 300


def fixed_salt(size: int) -> bytes:
    return b"\x5a" * size


def open_log(disk: CrashDisk) -> DiskLog:
    return DiskLog(disk, "log", SMALL, founders=FOUNDERS, entropy=fixed_salt)


def read_all(log: DiskLog) -> list[Entry]:
    return log.read(log.base.index + 1, log.last_index + 1, 1 << 30)


def small_log() -> tuple[CrashDisk, list[int]]:
    """Batches of one, three and two entries, and where each batch ends in the file."""
    disk = CrashDisk()
    log = open_log(disk)
    ends = [log._offset]
    for low, high in ((1, 2), (2, 5), (5, 7)):
        fired(log.save(HardState(1, "1", low - 1), entries(low, high, 1, b"data-")))
        ends.append(log._offset)
    return disk, ends


def damaged(disk: CrashDisk, change: Callable[[bytearray], None], number: int = 1) -> CrashDisk:
    copy = disk.copy()
    file = copy.names[f"log/{segment_name(number)}"]
    change(file.data)
    file.platter = bytearray(file.data)
    return copy


def test_whoever_waits_for_a_log_is_told_how_far_it_is_read() -> None:
    """At least once a segment: a service manager counts the time since it heard last."""
    disk = CrashDisk()
    log = DiskLog(disk, "log", SMALL, founders=FOUNDERS, entropy=fixed_salt)
    for index in range(1, 40):
        fired(log.save(HardState(1, "1", 0), [entry(index, data=b"x" * 1_000)]))
    written = sum(len(file.data) for file in disk.names.values())
    told: list[int] = []
    DiskLog(disk, "log", SMALL, founders=FOUNDERS, entropy=fixed_salt, progress=told.append)
    assert len(told) >= len(disk.names) > 1
    assert told == sorted(told)
    assert 39_000 < told[-1] <= written


def test_log_cut_at_any_byte_keeps_a_prefix_and_goes_on() -> None:
    disk, ends = small_log()
    good = entries(1, 7, 1, b"data-")
    for cut in range(ends[0], ends[-1]):
        left = damaged(disk, lambda data, cut=cut: data.__delitem__(slice(cut, None)))  # type: ignore[misc]
        log = open_log(left)
        kept = read_all(log)
        assert kept == good[: len(kept)], f"cut at {cut}"
        whole_batches = sum(end <= cut for end in ends[1:])
        assert len(kept) >= (0, 1, 4, 6)[whole_batches], f"cut at {cut}"
        fired(log.save(None, entries(len(kept) + 1, len(kept) + 3, 2)))
        assert read_all(open_log(left)) == kept + entries(len(kept) + 1, len(kept) + 3, 2), f"cut at {cut}"


def test_log_zeroed_from_any_byte_keeps_a_prefix_and_goes_on() -> None:
    disk, ends = small_log()
    good = entries(1, 7, 1, b"data-")
    for cut in range(ends[0], ends[-1]):
        left = damaged(disk, lambda data, cut=cut: data.__setitem__(slice(cut, None), bytes(len(data) - cut)))  # type: ignore[misc]
        log = open_log(left)
        kept = read_all(log)
        assert kept == good[: len(kept)]
        fired(log.save(None, entries(len(kept) + 1, len(kept) + 3, 2)))
        assert len(read_all(open_log(left))) == len(kept) + 2


def test_flipped_bit_is_corrupt_anywhere_but_in_the_closing_record_where_nothing_is_lost() -> None:
    disk, ends = small_log()
    state = HardState(1, "1", 4)
    last_record = ends[-1] - records.HEAD_BYTES - len(records.encode_hard_state(state))
    for place in range(ends[-1]):
        for bit in (0, 3, 7):
            left = damaged(disk, lambda data, at=place, bit=bit: data.__setitem__(at, data[at] ^ 1 << bit))  # type: ignore[misc]
            if place < last_record:
                with pytest.raises(Corrupt):
                    open_log(left)
                continue
            log = open_log(left)
            assert (read_all(log), log.recovered.hard_state) == (entries(1, 7, 1, b"data-"), state)


def test_records_that_cross_the_pieces_in_which_a_log_is_read_are_read_torn_and_judged_as_others() -> None:
    limits = Limits(segment_bytes=8 * PIECE_BYTES)
    disk, ends = CrashDisk(), [0]
    log = DiskLog(disk, "log", limits, founders=FOUNDERS, entropy=fixed_salt)
    sizes = [10, 700_000, 700_000, 3 * PIECE_BYTES, 5, PIECE_BYTES - 100, 1]
    written = [entry(index, data=bytes([index]) * size) for index, size in enumerate(sizes, 1)]
    for each in written:
        fired(log.save(None, [each]))
        ends.append(log._offset)
    assert read_all(DiskLog(disk, "log", limits)) == written
    cut = ends[4] - PIECE_BYTES
    torn = damaged(disk, lambda data: data.__setitem__(slice(cut, None), bytes(len(data) - cut)))
    assert read_all(DiskLog(torn, "log", limits)) == written[:3]
    with pytest.raises(Corrupt, match="is bad, and a good one is behind it"):
        DiskLog(damaged(disk, lambda data: data.__setitem__(cut, data[cut] ^ 1)), "log", limits)
    mark = ends[-1] + 5 * PIECE_BYTES // 4
    far = damaged(disk, lambda data: data.__setitem__(mark, 7))
    assert read_all(DiskLog(far, "log", limits)) == written
    assert far.names[f"log/{segment_name(1)}"].data[mark] == 0, "what lay behind is cut, however far"


def test_garbage_behind_the_last_record_is_cut() -> None:
    disk, ends = small_log()
    left = damaged(disk, lambda data: data.__setitem__(slice(ends[-1] + 3, ends[-1] + 9), b"garbag"))
    assert read_all(open_log(left)) == entries(1, 7, 1, b"data-")
    assert read_all(open_log(left)) == entries(1, 7, 1, b"data-"), "and the second time nothing is there to cut"


def test_record_of_another_log_in_a_row_is_not_taken_for_one() -> None:
    """A client may store bytes that look like a record; with the last write torn before them they are no sign of damage."""
    other = CrashDisk()
    foreign = DiskLog(other, "log", SMALL, entropy=lambda size: b"\xff" * size)
    for index in range(1, 9):
        fired(foreign.save(None, [entry(index)]))
    imitation = bytes(next(iter(other.names.values())).data[100 : foreign._offset])
    disk, ends = small_log()
    log = open_log(disk)
    fired(log.save(None, [entry(7, data=imitation)]))
    end = ends[-1] + records.ENTRY_BYTES + len(imitation)  # the closing record did not come through
    torn = damaged(disk, lambda data: data.__setitem__(slice(end, None), bytes(len(data) - end)))
    left = damaged(torn, lambda data: data.__setitem__(ends[-1] + 4, data[ends[-1] + 4] ^ 1))
    assert open_log(left).last_index == 6


def test_lost_sector_of_the_last_batch_is_torn_though_later_sectors_came_through() -> None:
    disk = CrashDisk()
    log = open_log(disk)
    fired(log.save(None, entries(1, 3)))
    start = log._offset
    fired(log.save(None, [entry(index, data=b"w" * 200) for index in range(3, 13)]))
    sector = (start // 512 + 1) * 512
    left = damaged(disk, lambda data: data.__setitem__(slice(sector, sector + 512), bytes(512)))
    again = open_log(left)
    assert 2 <= again.last_index < 12
    fired(again.save(None, entries(again.last_index + 1, again.last_index + 3, 2)))
    assert open_log(left).last_index == again.last_index


def test_lost_sector_of_an_earlier_batch_is_corrupt() -> None:
    disk = CrashDisk()
    log = open_log(disk)
    start = log._offset
    fired(log.save(None, [entry(index, data=b"w" * 200) for index in range(1, 11)]))
    fired(log.save(None, [entry(11)]))
    sector = (start // 512 + 1) * 512
    with pytest.raises(Corrupt, match="later batch"):
        open_log(damaged(disk, lambda data: data.__setitem__(slice(sector, sector + 512), bytes(512))))


def long_log() -> CrashDisk:
    disk = CrashDisk()
    log = open_log(disk)
    for low in range(1, 101, 10):
        fired(log.save(None, entries(low, low + 10, 1, b"y" * 60)))
    assert len(disk.names) >= 3
    return disk


def test_flipped_byte_in_an_older_segment_is_corrupt() -> None:
    disk = long_log()
    used = len(bytes(disk.names[f"log/{segment_name(1)}"].data).rstrip(b"\0"))
    for place in range(0, used, 7):
        with pytest.raises(Corrupt):
            open_log(damaged(disk, lambda data, at=place: data.__setitem__(at, data[at] ^ 16)))  # type: ignore[misc]


def test_older_segment_that_lost_its_end_is_corrupt() -> None:
    disk = long_log()
    used = len(bytes(disk.names[f"log/{segment_name(1)}"].data).rstrip(b"\0"))
    for cut in range(0, used, 11):
        with pytest.raises(Corrupt):
            open_log(damaged(disk, lambda data, cut=cut: data.__delitem__(slice(cut, None))))  # type: ignore[misc]


def test_missing_segment_in_the_middle_is_corrupt() -> None:
    disk = long_log().copy()
    del disk.names[f"log/{segment_name(2)}"]
    with pytest.raises(Corrupt, match="missing"):
        open_log(disk)


def test_header_of_the_newest_segment_that_is_damaged_is_corrupt() -> None:
    disk = long_log()
    newest = len(disk.names)
    for place in range(40):
        with pytest.raises(Corrupt):
            open_log(damaged(disk, lambda data, at=place: data.__setitem__(at, data[at] ^ 1), newest))  # type: ignore[misc]


# The power goes at each operation.


def history(log: DiskLog, told: list[int]) -> None:
    """Saves with roll-overs, replacing, compaction and installs. `told` gets the last index of what was promised."""
    for low in range(1, 61, 10):
        fired(log.save(HardState(1, "1", low), entries(low, low + 10, 1, b"y" * 90)))
        told.append(low + 9)
    fired(log.save(HardState(2, None, 50), []))
    fired(log.save(None, entries(56, 60, 2)))
    told.append(59)
    log.compact(50)
    fired(log.save(HardState(2, None, 58), []))
    log.install(SnapshotMeta(58, 2, 1_058, FOUNDERS), 1)
    fired(log.save(None, entries(60, 64, 2, b"y" * 300)))
    told.append(63)
    log.install(SnapshotMeta(200, 2, 1_200, FOUNDERS), 2)
    told.append(200)
    fired(log.save(None, entries(201, 205, 2)))
    told.append(204)


def cut_after(steps: int) -> tuple[CrashDisk, list[int]]:
    disk = CrashDisk()
    disk.steps_left = steps
    told: list[int] = [0]
    try:
        history(open_log(disk), told)
    except PowerCut:
        return disk, told
    raise AssertionError("the history has ended before the power cut")


def history_steps() -> int:
    disk = CrashDisk()
    history(open_log(disk), [])
    return disk.steps


def test_power_cut_at_any_disk_operation_loses_nothing_that_was_promised() -> None:
    for steps in range(history_steps()):
        disk, told = cut_after(steps)
        for left in (disk.crash(), disk.copy()):
            check_left(left, told, f"after {steps} operations")


def test_power_cut_that_tears_unsynced_sectors_loses_nothing_that_was_promised() -> None:
    total = history_steps()
    for seed in range(SEED_COUNT):
        dice = random.Random(seed)
        disk, told = cut_after(dice.randrange(total))
        check_left(disk.crash(dice), told, f"seed {seed}")


def check_left(left: CrashDisk, told: list[int], where: str) -> None:
    log = open_log(left)
    promised = told[-1]
    if promised < 204 and log.last_index < promised:
        # The only way back is the batch that replaces 56 to 60 by 56 to 59: once begun, 60 may be gone.
        assert promised == 60, f"{where}: {log.last_index} left of {promised}"
        assert log.last_index >= 55, where
    read_all(log)
    assert log.recovered.generation in (0, 1, 2), where
    log.close()
    again = open_log(left)
    assert again.last_index == log.last_index, where
    fired(again.save(None, entries(again.last_index + 1, again.last_index + 2, 9)))
    assert open_log(left.crash()).last_index == again.last_index, where
