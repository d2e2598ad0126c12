"""The tick."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ddbd.cluster.heartbeat import Heartbeat


def test_ticks_come_once_every_interval_until_stopped() -> None:
    clock, ticks = Clock(), []
    heartbeat = Heartbeat(clock, 50, lambda: ticks.append(clock.seconds()), lambda failure: None)
    heartbeat.start()
    assert ticks == []
    clock.pump([0.05] * 3)
    heartbeat.stop()
    heartbeat.stop()
    clock.pump([0.05] * 3)
    assert len(ticks) == 3
    assert not heartbeat.is_running


def test_a_stall_is_one_tick() -> None:
    clock, ticks = Clock(), []
    Heartbeat(clock, 50, lambda: ticks.append(1), lambda failure: None).start()
    clock.advance(10)
    assert ticks == [1]


def test_a_tick_that_raises_is_told_once_and_ends_the_ticking() -> None:
    clock = Clock()
    failures: list[Failure] = []
    heartbeat = Heartbeat(clock, 50, lambda: [][0], failures.append)
    heartbeat.start()
    clock.pump([0.05] * 3)
    assert [failure.type for failure in failures] == [IndexError]
    assert not heartbeat.is_running
