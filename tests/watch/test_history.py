"""Rows of the last quarter of an hour and of the last day, and how they are sampled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ddbd.meter import Meter
from ddbd.watch.disk import LOOK_SECONDS, STALE_SECONDS, Disk, Room, look
from ddbd.watch.history import BLOCK_ROWS, FIELDS, History
from ddbd.watch.sampler import COARSE_ROWS, FINE_ROWS, Sampler, Sources

ROOM = Room(free_bytes=900, size_bytes=1_000, log_bytes=30, tables_bytes=60, used_bytes=100)


class Watched:
    """A sampler over a meter that the test feeds."""

    def __init__(self) -> None:
        self.clock, self.meter = Clock(), Meter()
        self.meter.know([b"/insert", b"/select", b"/ping"])
        self.lag, self.turn, self.room = 0, 0.002, ROOM
        self.rows: list[Any] = []
        sources = Sources(lambda: self.lag, lambda: self.turn, lambda: self.room)
        self.sampler = Sampler(self.clock, lambda: 1_000.0 + self.clock.seconds(), self.meter, sources)
        self.sampler.on_row = lambda row: self.rows.append(dict(zip(FIELDS, row, strict=True)))
        self.sampler.start()

    def calls(self, path: bytes, count: int, seconds: float = 0.001, status: int = 200) -> None:
        for _ in range(count):
            self.meter.answered(b"POST", path, status, seconds)

    def run(self, seconds: int) -> None:
        self.clock.pump([1.0] * seconds)

    def told(self, history: History) -> Any:
        return json.loads(history.columns())


def test_a_row_tells_what_happened_in_its_second() -> None:
    watched = Watched()
    watched.calls(b"/insert", 30, 0.004)
    watched.calls(b"/select", 10, 0.001)
    watched.calls(b"/ping", 5, status=503)
    watched.lag = 7
    watched.run(2)
    first, second = watched.rows
    assert (first["t"], first["writes"], first["reads"], first["errors"]) == (1_001.0, 30.0, 10.0, 5.0)
    assert first["write_p50_ms"] == pytest.approx(4, rel=0.1)
    assert first["read_p99_ms"] == pytest.approx(1, rel=0.1)
    assert (first["commit_lag"], first["reactor_ms"]) == (7, 2.0)
    assert (first["disk_bytes"], first["disk_free_bytes"]) == (100, 900)
    assert (second["writes"], second["write_p50_ms"], second["read_p99_ms"]) == (0.0, None, None)


def test_a_sampler_that_was_late_divides_by_the_time_that_passed() -> None:
    watched = Watched()
    watched.calls(b"/insert", 30)
    watched.clock.advance(3.0)
    assert watched.rows[0]["writes"] == 10.0


def test_a_coarse_row_is_of_ten_seconds_and_keeps_the_longest_turn() -> None:
    watched = Watched()
    for second in range(10):
        watched.turn, watched.lag = (0.080, 99) if second == 4 else (0.001, 0)
        watched.calls(b"/insert", second)
        watched.run(1)
    told = watched.told(watched.sampler.coarse)
    assert (told["t"], told["writes"], told["reactor_ms"], told["commit_lag"]) == ([1_010.0], [4.5], [80.0], [99])


def test_what_is_not_known_is_null() -> None:
    clock = Clock()
    sampler = Sampler(clock, clock.seconds, Meter(), Sources(lambda: None, lambda: None, lambda: None))
    sampler.start()
    assert json.loads(sampler.fine.columns()) == {name: [] for name in FIELDS}
    clock.advance(1)
    told = json.loads(sampler.fine.columns())
    assert [name for name in FIELDS if told[name] == [None]] == [
        *("write_p50_ms", "write_p99_ms", "read_p50_ms", "read_p99_ms"),
        *("commit_lag", "reactor_ms", "disk_bytes", "disk_free_bytes"),
    ]


def test_history_keeps_its_rows_in_order_and_lets_the_oldest_go() -> None:
    history = History(2 * BLOCK_ROWS)
    for number in range(5 * BLOCK_ROWS + 7):
        history.add((float(number), *[0.0] * (len(FIELDS) - 1)))
        kept = json.loads(history.columns())["t"]
        assert kept == [float(each) for each in range(number - len(kept) + 1, number + 1)]
        assert len(kept) == number + 1 or 2 * BLOCK_ROWS <= len(kept) < 3 * BLOCK_ROWS


def test_a_quarter_of_an_hour_and_a_day_are_kept() -> None:
    assert (FINE_ROWS, COARSE_ROWS * 10) == (15 * 60, 24 * 60 * 60)
    watched = Watched()
    watched.run(FINE_ROWS + 2 * BLOCK_ROWS)
    assert FINE_ROWS <= len(watched.told(watched.sampler.fine)["t"]) < FINE_ROWS + BLOCK_ROWS


def test_a_day_is_told_in_less_than_a_megabyte() -> None:
    history = History(COARSE_ROWS)
    row = (
        1_790_000_000.123,
        12_345.6,
        12_345.6,
        123.456,
        123.456,
        123.456,
        123.456,
        12_345,
        123.456,
        123_456_789_012,
        123_456_789_012,
        123.4,
    )
    for _ in range(COARSE_ROWS):
        history.add(row)
    assert len(history.columns()) < 1_000_000


def test_rates_are_those_of_the_last_second() -> None:
    watched = Watched()
    assert watched.sampler.rates() == {"writes": 0.0, "reads": 0.0}
    watched.calls(b"/select", 3)
    watched.run(1)
    assert watched.sampler.rates() == {"writes": 0.0, "reads": 3.0}
    watched.sampler.stop()
    watched.sampler.stop()


# The disk.


class Thread:
    """Where the disk is asked; it answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Room]] = []

    def __call__(self, call: Any) -> Deferred[Room]:
        self.asked.append(Deferred())
        return self.asked[-1]


def test_a_disk_is_asked_in_a_thread_and_the_last_answer_serves() -> None:
    clock, thread = Clock(), Thread()
    disk = Disk(Path("/data"), clock, thread)
    assert disk.room() is None
    thread.asked[0].callback(ROOM)
    assert disk.room() == ROOM
    assert len(thread.asked) == 1
    clock.advance(LOOK_SECONDS)
    disk.room()
    assert len(thread.asked) == 2


def test_a_disk_that_hangs_is_asked_once_and_soon_unknown() -> None:
    clock, thread = Clock(), Thread()
    disk = Disk(Path("/data"), clock, thread)
    disk.room()
    thread.asked[0].callback(ROOM)
    for _ in range(10):
        clock.advance(LOOK_SECONDS)
        disk.room()
    assert len(thread.asked) == 2, "the second one still waits"
    assert clock.seconds() > STALE_SECONDS
    assert disk.room() is None


def test_a_disk_that_fails_is_unknown_and_asked_again() -> None:
    clock, thread = Clock(), Thread()
    disk = Disk(Path("/data"), clock, thread)
    disk.room()
    thread.asked[0].errback(OSError(5, "broken"))
    assert disk.room() is None
    clock.advance(LOOK_SECONDS)
    disk.room()
    assert len(thread.asked) == 2


def test_what_the_node_takes_is_told_by_its_parts(tmp_path: Path) -> None:
    for name, size in (("log/1.seg", 8_192), ("tables-1/tables.db", 16_384), ("tables-1/tables.db-wal", 4_096), ("ballast", 4_096)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * size)
    room = look(tmp_path)
    assert (room.log_bytes, room.tables_bytes, room.used_bytes) == (8_192, 20_480, 32_768)
    assert 0 < room.free_bytes <= room.size_bytes


def test_a_data_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        look(tmp_path / "none")
