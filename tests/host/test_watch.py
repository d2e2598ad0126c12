"""What a node tells of itself, by a fake clock."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from ddbd.host.watch import INDEX_SECONDS, LOOK_SECONDS, Condition, Watch

LEADER = Condition("leader", 3, 4, 12_345, None)
LOST = "no leader is known"


class Manager:
    """Takes what it is told, while it has room."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.has_room = True

    def tell(self, *fields: str) -> bool:
        if self.has_room:
            self.told += fields
        return self.has_room

    def close(self) -> None:
        self.told.append("closed")


class World:
    def __init__(self, watchdog_seconds: float | None = None) -> None:
        self.clock = Clock()
        self.manager = Manager()
        self.condition = LEADER
        self.failures: list[Any] = []
        manager: Any = self.manager
        self.watch = Watch(self.clock, manager, watchdog_seconds, lambda: self.condition, self.failures.append, self.clock.seconds)

    def told(self) -> list[str]:
        told, self.manager.told = self.manager.told, []
        return told

    def run(self, seconds: float) -> list[str]:
        for _ in range(round(seconds / 0.5)):
            self.clock.advance(0.5)
        return self.told()


@pytest.fixture
def world() -> World:
    world = World()
    world.watch.serving()
    return world


def test_ready_is_told_when_the_node_serves_and_not_when_it_has_a_leader() -> None:
    world = World()
    world.condition = Condition("learner", 3, 0, 0, LOST)
    world.watch.serving()
    assert world.told() == ["READY=1", "STATUS=not ready: no leader is known; learner of 3 nodes, term 0, index 0"]


def test_status_says_role_term_and_index(world: World) -> None:
    assert world.told() == ["READY=1", "STATUS=leader of 3 nodes, term 4, index 12345"]
    assert world.run(60) == [], "nothing changed"


def test_another_role_is_told_within_a_second(world: World) -> None:
    world.told()
    world.condition = LEADER._replace(role="follower", term=5)
    assert world.run(LOOK_SECONDS) == ["STATUS=follower of 3 nodes, term 5, index 12345"]


def test_an_index_that_grows_is_told_now_and_then(world: World) -> None:
    world.told()
    told = 0
    for index in range(100):
        world.condition = LEADER._replace(applied_index=index)
        told += len(world.run(1))
    assert told == pytest.approx(100 / INDEX_SECONDS, abs=1)


def test_signs_of_life_come_from_a_timer_and_end_with_the_node() -> None:
    world = World(watchdog_seconds=5.0)
    world.watch.serving()
    assert world.told().count("WATCHDOG=1") == 1
    assert world.run(20) == ["WATCHDOG=1"] * 4
    world.watch.stopping()
    assert world.run(5) == ["STOPPING=1", "STATUS=hands leadership over and answers who waits", "WATCHDOG=1"]
    world.watch.stop()
    assert world.run(20) == ["closed"]
    assert world.clock.getDelayedCalls() == []


def test_reading_a_long_log_asks_for_patience_once_a_second() -> None:
    world = World()
    for piece in range(1, 101):
        world.clock.advance(0.1)
        world.watch.reading(piece * 1024 * 1024)
    told = world.told()
    assert told.count("EXTEND_TIMEOUT_USEC=60000000") == pytest.approx(10, abs=1)
    assert told[-1].startswith("STATUS=reads its log: ")


def test_a_change_of_state_that_found_no_room_is_told_again() -> None:
    world = World()
    world.manager.has_room = False
    world.watch.serving()
    assert world.run(3) == []
    world.manager.has_room = True
    assert world.run(1) == ["READY=1", "STATUS=leader of 3 nodes, term 4, index 12345"]
    assert world.run(3) == []


def test_a_reload_is_told_from_beginning_to_end(world: World) -> None:
    world.told()
    world.watch.reloading()
    world.watch.reloaded()
    told = world.told()
    assert told[0] == "RELOADING=1"
    assert told[1].startswith("MONOTONIC_USEC=")
    assert told[2] == "READY=1"


def test_a_look_that_fails_is_no_silence(world: World) -> None:
    def broken() -> Condition:
        raise ValueError("broken")

    world.watch._condition = broken
    world.run(1)
    assert len(world.failures) == 1
    world.failures.clear()
