"""What a turn of the reactor that has lasted long leaves to another one: entries that take their time to be applied."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from replica_lonely import Lonely, command

from ddbd.commands import Column, CreateTable, InitDatabase, Insert, Proposal, Register, encode_proposal
from ddbd.raft.types import Entry
from ddbd.replica.tuning import APPLY_BYTES_MAX, LARGE_BYTES, LONG_TURN_SECONDS, LONG_TURN_SECONDS_MAX
from ddbd.storage.memory_tables import MemoryTables


class Hurried(Lonely):
    """The test says how long the turn has lasted, and when one has time."""

    def __init__(self) -> None:
        self.lasted = 0.0
        self.asked: list[Callable[[], None]] = []
        super().__init__(turn_seconds=lambda: self.lasted, when_free=self.asked.append)
        self.follow()
        commands = (InitDatabase("d"), CreateTable("d", "t", (Column("v"),)))
        self.append(command(2, encode_proposal(Proposal("2", 0, 0, 0, Register("2", 5)))), commit=2)
        self.append(*(self.entry(3 + seq, seq, each) for seq, each in enumerate(commands)), commit=4)

    def entry(self, index: int, seq: int, asked: object) -> Entry:
        return command(index, encode_proposal(Proposal("2", 2, seq + 1, seq + 1, asked)))

    def rows(self, count: int, each_bytes: int) -> list[Entry]:
        first = self.core.log.last_index + 1
        return [
            self.entry(index, index, Insert("d", "t", ((f"{index}", {"v": "x" * each_bytes}),))) for index in range(first, first + count)
        ]

    def free(self) -> None:
        """One turn that has time for whoever asked first."""
        self.lasted = 0.0
        self.asked.pop(0)()

    @property
    def applied(self) -> int:
        assert self.fatal == []
        tables: MemoryTables = self.store.tables
        return tables.applied_index


@pytest.fixture
def node() -> Hurried:
    return Hurried()


def test_many_bytes_wait_for_a_turn_with_time(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS
    node.append(*node.rows(1, LARGE_BYTES), commit=5)
    assert (node.applied, len(node.asked)) == (4, 1)
    node.free()
    assert (node.applied, len(node.asked)) == (5, 0)


def test_few_bytes_do_not_wait(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS
    node.append(*node.rows(20, 10), commit=24)
    assert (node.applied, len(node.asked)) == (24, 0)


def test_in_a_turn_that_has_lasted_very_long_everything_waits(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS_MAX
    node.append(*node.rows(20, 10), commit=24)
    assert (node.applied, len(node.asked)) == (4, 1)
    node.free()
    assert node.applied == 24


def test_many_bytes_do_not_wait_in_a_turn_that_has_time(node: Hurried) -> None:
    node.append(*node.rows(1, LARGE_BYTES), commit=5)
    assert (node.applied, len(node.asked)) == (5, 0)


def test_one_turn_is_asked_for_however_often_there_was_no_time(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS
    for index in (5, 6, 7):
        node.append(*node.rows(1, LARGE_BYTES), commit=index)
    assert (node.applied, len(node.asked)) == (4, 1)


def test_what_waits_is_applied_in_any_turn_that_has_time(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS
    node.append(*node.rows(1, LARGE_BYTES), commit=5)
    node.lasted = 0.0
    node.replica.tick()
    node.turn()
    assert (node.applied, len(node.asked)) == (5, 1)
    node.free()
    assert (node.applied, len(node.asked)) == (5, 0)


def test_a_turn_with_time_applies_one_batch_where_that_takes_it_all(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS  # and stays so: what was applied first has used it up
    node.append(*node.rows(3, APPLY_BYTES_MAX), commit=7)
    for applied in (5, 6, 7):
        node.asked.pop()()
        assert node.applied == applied
    assert node.asked == []


def test_a_node_that_has_ended_takes_no_turn_that_it_asked_for(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS
    node.append(*node.rows(1, LARGE_BYTES), commit=5)
    node.replica.halt()
    node.free()
    assert node.applied == 4
