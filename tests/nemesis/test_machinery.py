"""The nemesis can do what it says, and the judge sees what is wrong: each is shown with something that is broken on purpose."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import linear_history
import nemesis_clock
import nemesis_disk
import pytest
from nemesis_disk import LazyDisk
from nemesis_history import NOT_DONE, OK, REFUSED, UNKNOWN, Operation, load, save
from nemesis_judge import Dump, judge
from nemesis_linear import HISTORY, linearizable
from nemesis_node import LogSink, waits_for_a_pipe
from nemesis_plan import SLOTS, kinds, plan
from nemesis_router import FIELDS, Rules

from ddbd.cli.local import eventually
from ddbd.config import Limits
from ddbd.raft.types import Entry, EntryKind, HardState, Membership
from ddbd.storage.disk import RealDisk
from ddbd.storage.log import DiskLog

# The plan.


def test_any_nine_seeds_in_a_row_meet_every_kind() -> None:
    assert len(kinds()) == 9 * SLOTS
    for first in (0, 5, 1000):
        met = {step.fault.name for seed in range(first, first + 9) for step in plan(seed, 25)}
        assert met == {fault.name for fault in kinds()}


def test_a_seed_gives_the_same_plan_again() -> None:
    assert [str(step) for step in plan(7, 25)] == [str(step) for step in plan(7, 25)]
    assert [str(step) for step in plan(7, 25)] != [str(step) for step in plan(16, 25)]


# The router.


def fates(**rule: float) -> tuple[Rules, list[list[float]]]:
    rules = Rules("seed")
    rules.replace([(1, 2, rule)])
    return rules, [rules.fates((1, 2), float(now)) for now in range(1000)]


def test_a_direction_without_a_rule_is_perfect() -> None:
    assert Rules("seed").fates((1, 2), 5.0) == [5.0]


def test_a_cut_has_one_direction() -> None:
    rules, found = fates(cut=True)
    assert found == [[]] * 1000
    assert rules.fates((2, 1), 5.0) == [5.0]


def test_loss_loses_its_share() -> None:
    assert 250 < sum(not dues for dues in fates(loss=0.3)[1]) < 350


def test_duplication_delivers_twice() -> None:
    assert 250 < sum(len(dues) == 2 for dues in fates(duplicate=0.3)[1]) < 350


def test_delay_and_jitter_keep_the_order() -> None:
    rules = Rules("seed")
    rules.replace([(1, 2, {"delay_ms": 20, "jitter_ms": 30})])
    dues = [rules.fates((1, 2), now / 1000)[0] for now in range(1000)]
    assert dues == sorted(dues)
    assert all(due >= now / 1000 + 0.02 for now, due in enumerate(dues))


def test_reordering_lets_later_packets_overtake() -> None:
    rules = Rules("seed")
    rules.replace([(1, 2, {"reorder": 0.3})])
    dues = [rules.fates((1, 2), now / 1000)[0] for now in range(1000)]
    assert dues != sorted(dues)


def test_a_rule_that_nobody_knows_is_refused() -> None:
    assert "lose" not in FIELDS
    with pytest.raises(ValueError, match="a rule has no lose"):
        Rules("seed").replace([(1, 2, {"lose": 1.0})])


# The disk.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LazyDisk]:
    reason = nemesis_disk.unavailable()
    if reason is not None:
        pytest.skip(reason)
    made = LazyDisk(tmp_path)
    yield made
    made.close()


def written(disk: LazyDisk, data: bytes, sync: bool) -> Path:
    path = disk.path / "file"
    with path.open("ab", buffering=0) as file:
        file.write(data)
        if sync:
            os.fsync(file.fileno())
    return path


def test_a_crash_takes_what_was_not_synced_and_nothing_else(disk: LazyDisk) -> None:
    path = written(disk, b"kept" * 2000, sync=True)
    written(disk, b"lost" * 2000, sync=False)
    assert path.read_bytes() == b"kept" * 2000 + b"lost" * 2000
    assert disk.command(crash="lose")["lost_pages"] > 0
    assert path.read_bytes() == b"kept" * 2000


def test_a_torn_write_keeps_some_of_its_sectors(disk: LazyDisk) -> None:
    with (disk.path / "file").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 65536)
        file.write(b"x" * 65536)
    disk.command(crash="tear", seed=1)
    data = (disk.path / "file").read_bytes()
    sectors = [data[place : place + 512] for place in range(0, 65536, 512)]
    assert {bytes(512), b"x" * 512} == set(sectors)


def test_a_failed_fsync_fails_once_and_its_data_never_comes_to_the_platter(disk: LazyDisk) -> None:
    disk.command(eio=1)
    with pytest.raises(OSError, match="Input/output error"):
        written(disk, b"doomed", sync=True)
    path = disk.path / "file"
    with path.open("rb") as file:
        os.fsync(file.fileno())
    assert path.read_bytes() == b"doomed"
    disk.command(crash="lose")
    assert path.read_bytes() == b""


def test_a_log_that_was_read_from_the_cache_after_a_failed_fsync_survives_a_power_cut(disk: LazyDisk) -> None:
    """The daemon's log, on the one disk here that does what Linux does: the second fsync of those pages succeeds and writes nothing."""

    def opened() -> DiskLog:
        return DiskLog(RealDisk(), str(disk.path / "log"), Limits(segment_bytes=1024 * 1024), founders=Membership.of(("1", "2", "3")))

    def saved(log: DiskLog, index: int) -> bool:
        outcome: list[object] = []
        entry = Entry(index, 1, index, EntryKind.COMMAND, bytes([index]) * 20_000)  # several whole pages
        log.save(HardState(1, "1", 0), [entry]).addBoth(outcome.append)
        return outcome == [None]

    log = opened()
    assert saved(log, 1)
    disk.command(eio=1)
    assert not saved(log, 2)
    log.close()
    log = opened()
    assert log.last_index == 2
    assert saved(log, 3)
    log.close()
    disk.command(crash="lose")
    log = opened()
    assert [entry.data[0] for entry in log.read(1, 4, 1 << 20)] == [1, 2, 3]
    log.close()


def test_only_a_long_fsync_fails_where_that_is_asked_for(disk: LazyDisk) -> None:
    disk.command(eio=1, eio_pages=8)
    written(disk, b"x" * 4096, sync=True)
    with pytest.raises(OSError, match="Input/output error"):
        written(disk, b"x" * 8 * 4096, sync=True)


def test_a_full_disk_refuses_what_would_grow(disk: LazyDisk) -> None:
    path = written(disk, b"x" * 4096, sync=True)
    disk.command(free_bytes=0)
    with pytest.raises(OSError, match="No space left"):
        written(disk, b"y", sync=True)
    with path.open("r+b", buffering=0) as file:
        assert file.write(b"z" * 4096) == 4096
    assert os.statvfs(disk.path).f_bavail == 0


# The clocks.


def test_the_wall_clock_of_a_process_jumps_and_its_monotonic_one_does_not(tmp_path: Path) -> None:
    if (reason := nemesis_clock.unavailable()) is not None:
        pytest.skip(reason)
    clock = nemesis_clock.FakeClock(tmp_path / "clock")
    told = "import time\nwhile input() != 'end': print(time.time(), time.monotonic(), flush=True)"
    command = [sys.executable, "-S", "-c", told]
    with subprocess.Popen(
        command, env={**os.environ, **clock.environment()}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def off() -> tuple[float, float]:
            """By so much both clocks differ from this process's."""
            print("now", file=process.stdin, flush=True)
            wall, monotonic = map(float, process.stdout.readline().split())  # type: ignore[union-attr]
            return wall - time.time(), monotonic - time.monotonic()

        assert abs(off()[0]) < 60
        for offset in ("+864000", "-3600"):
            clock.set(offset)
            eventually(lambda: abs(off()[0] - float(offset)) < 60, f"a clock that is off by {offset} s")  # noqa: B023 - called at once
            assert abs(off()[1]) < 60
        print("end", file=process.stdin, flush=True)


# The log's sink.


def test_who_writes_to_a_blocked_sink_waits_and_is_seen_to_wait(tmp_path: Path) -> None:
    sink = LogSink(tmp_path / "log")
    sink.block()
    with subprocess.Popen([sys.executable, "-S", "-c", "print('word', flush=True)"], stdout=sink.write_fd) as process:
        eventually(lambda: waits_for_a_pipe(process.pid), "a full pipe")
        sink.unblock()
        assert process.wait(10) == 0
    sink.close()
    assert (tmp_path / "log").read_text().strip() == "word"


# The judge. A good history, and what each corruption of it is called.

TAG = Operation(1, "tag", "insert", "tags", "t1", "t1", key="k1", called=1.0, returned=2.0, outcome=OK, version=10)
NO_TAG = Operation(2, "tag", "insert", "tags", "t2", "t2", called=1.0, returned=2.0, outcome=NOT_DONE)
SCAN = Operation(3, "tag", "scan", "tags", "", [["t1", "t1", 10]], called=3.0, returned=3.5, outcome=OK, index=11)
OLD = Operation(4, "a", "insert", "registers", "r1", "old", called=3.0, returned=4.0, outcome=OK, version=11)
NEW = Operation(5, "b", "update", "registers", "r1", "new", called=5.0, returned=6.0, outcome=OK, version=12)
READ = Operation(6, "c", "read", "registers", "r1", "new", called=7.0, returned=8.0, outcome=OK, version=12)
COUNT = Operation(7, "d", "update", "counters", "c0", 1, 3, "k2", called=1.0, returned=math.inf, outcome=UNKNOWN)
GOOD = (TAG, NO_TAG, SCAN, OLD, NEW, READ, COUNT)
DUMP: Dump = {"tags": [("t1", "t1", 10)], "registers": [("r1", "new", 12)], "counters": [("c0", 1, 13)]}


def changed(operation: Operation, **fields: object) -> tuple[Operation, ...]:
    return tuple(dataclasses.replace(each, **fields) if each is operation else each for each in GOOD)  # type: ignore[arg-type]


def test_a_good_history_is_not_reproached() -> None:
    assert judge(GOOD, {1: DUMP, 2: DUMP}) == []


def test_a_history_reads_back_as_it_was_saved(tmp_path: Path) -> None:
    save(GOOD, tmp_path / "history.jsonl")
    assert tuple(load(tmp_path / "history.jsonl")) == GOOD


@pytest.mark.parametrize(
    ("operations", "dump", "words"),
    [
        (GOOD, {**DUMP, "tags": []}, "LOST: 't1'"),
        (GOOD, {**DUMP, "tags": [("t1", "t1", 10), ("x", "t1", 14)]}, "is there 2 times"),
        (GOOD, {**DUMP, "tags": [("t1", "t1", 10), ("t2", "t2", 14)]}, "was refused"),
        (GOOD, {**DUMP, "tags": [("t1", "t1", 10), ("t3", "t3", 14)]}, "written by nobody"),
        (GOOD, {**DUMP, "registers": [("r1", "old", 11)]}, "LOST: r1"),
        (GOOD, {**DUMP, "registers": []}, "LOST: r1"),
        (GOOD, {**DUMP, "registers": [("r1", "other", 15)]}, "which no write made"),
        (GOOD, {**DUMP, "counters": [("c0", 2, 13)]}, "counter c0 is 2"),
        (changed(COUNT, outcome=OK, version=13), {**DUMP, "counters": [("c0", 0, 13)]}, "counter c0 is 0"),
        (changed(READ, value="old", version=11), DUMP, "stale: read 6"),
        (changed(READ, value=None, version=0), DUMP, "lost: read 6"),
        (changed(READ, value="else", version=13), DUMP, "made up: read 6"),
        (changed(READ, version=13), DUMP, "'new' was applied twice"),
        (changed(SCAN, value=[]), DUMP, "stale: select 3"),
        (changed(SCAN, value=[["t1", "t1", 10], ["t9", "t9", 10]]), DUMP, "has too early ['t9']"),
        (changed(NEW, version=9), DUMP, "operation 5 has place 9"),
        (changed(NEW, version=11), DUMP, "both have place 11"),
        (changed(TAG, outcome=REFUSED, code="row_exists"), DUMP, "was refused (row_exists) and is there"),
    ],
)
def test_what_is_wrong_is_found(operations: tuple[Operation, ...], dump: Dump, words: str) -> None:
    assert any(words in finding for finding in judge(operations, {1: dump})), judge(operations, {1: dump})


def test_without_the_nodes_copies_the_clients_are_judged_alone() -> None:
    assert judge(GOOD, {}) == []
    assert len(judge(changed(READ, value="old", version=11), {})) == 1


def test_nodes_that_differ_are_found() -> None:
    found = judge(GOOD, {1: DUMP, 2: {**DUMP, "counters": [("c0", 1, 14)]}})
    assert found == ["nodes 1 and 2 differ in counters: [('c0', 1, 13), ('c0', 1, 14)]"]


def test_a_history_that_has_an_order_is_linearizable(tmp_path: Path) -> None:
    assert linearizable(GOOD, tmp_path) == []
    assert len(linear_history.load(tmp_path / HISTORY)) == len(GOOD) - 1  # without what was not done


@pytest.mark.parametrize(
    "operations",
    [
        changed(READ, value="old", version=11),
        changed(READ, value=None, version=0),
        changed(NEW, outcome=REFUSED, code="row_not_found", version=0),
        changed(NEW, if_version=9),
    ],
)
def test_a_history_without_an_order_is_not_linearizable(operations: tuple[Operation, ...], tmp_path: Path) -> None:
    assert linearizable(operations, tmp_path)[0].startswith("linearizable: no: row registers/r1: no order explains the answers")


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        (changed(SCAN, called=1.5, value=[]), "no row tags/t1 in #3"),  # the row was not acknowledged yet, and is at that place in the log
        (changed(SCAN, index=9), "has version 10, which is after the index of its read"),
        (changed(READ, index=11), "which is after the index of its read"),
        (changed(SCAN, called=9.0, returned=9.5, index=11), "its place 11 is not after 12"),
    ],
)
def test_what_only_the_places_in_the_log_tell_is_found(operations: tuple[Operation, ...], words: str, tmp_path: Path) -> None:
    assert judge(operations, {}) == []
    found = linearizable(operations, tmp_path)
    assert found
    assert all(finding.startswith("places in the log: ") for finding in found)
    assert any(words in finding for finding in found), found
