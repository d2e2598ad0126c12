"""What a turn of the reactor that has lasted long leaves to another one: entries that take their time to be applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from replica_lonely import FOUNDERS, Lonely, command, lead, outcome

from ddbd.commands import Answer, Column, CreateTable, InitDatabase, Insert, Proposal, Register, encode_proposal
from ddbd.config import Limits
from ddbd.errors import StorageFailed
from ddbd.raft.messages import AppendResponse
from ddbd.raft.types import Entry
from ddbd.replica.tuning import APPLY_BYTES_MAX, LARGE_BYTES, LONG_TURN_SECONDS, LONG_TURN_SECONDS_MAX
from ddbd.storage.memory_tables import MemoryTables


class Hurried(Lonely):
    """The test says how long the reactor's turn has lasted before the driver's part, and when there is another one."""

    def __init__(self, **world: Any) -> None:
        self.lasted = 0.0
        self.asked: list[Callable[[], None]] = []
        super().__init__(turn_seconds=lambda: self.lasted, soon=self.asked.append, **world)
        self.follow()
        commands = (InitDatabase("d"), CreateTable("d", "t", (Column("v"),)))
        self.append(command(2, encode_proposal(Proposal("2", 0, 0, 0, Register("2", 5)))), commit=2)
        self.append(*(self.entry(3 + seq, seq, each) for seq, each in enumerate(commands)), commit=4)

    def turn(self) -> None:
        asked = self.asked[:]
        self.asked.clear()
        for call in asked:
            call()

    def entry(self, index: int, seq: int, asked: object) -> Entry:
        return command(index, encode_proposal(Proposal("2", 2, seq + 1, seq + 1, asked)))

    def rows(self, count: int, each_bytes: int) -> list[Entry]:
        first = self.core.log.last_index + 1
        return [
            self.entry(index, index, Insert("d", "t", ((f"{index}", {"v": "x" * each_bytes}),))) for index in range(first, first + count)
        ]

    @property
    def applied(self) -> int:
        assert self.fatal == []
        tables: MemoryTables = self.store.tables
        return tables.applied_index


@pytest.fixture
def node() -> Hurried:
    return Hurried()


def test_many_bytes_wait_for_the_next_turn(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS
    node.append(*node.rows(1, LARGE_BYTES), commit=5)
    assert (node.applied, len(node.asked)) == (4, 1)
    node.turn()
    assert (node.applied, len(node.asked)) == (5, 0), "never twice, however long that one has lasted"


def test_few_bytes_do_not_wait(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS
    node.append(*node.rows(20, 10), commit=24)
    assert (node.applied, len(node.asked)) == (24, 0)


def test_in_a_turn_that_has_lasted_very_long_everything_waits(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS_MAX
    node.append(*node.rows(20, 10), commit=24)
    assert (node.applied, len(node.asked)) == (4, 1)
    node.turn()
    assert node.applied == 24


def test_many_bytes_do_not_wait_in_a_turn_that_has_time(node: Hurried) -> None:
    node.append(*node.rows(1, LARGE_BYTES), commit=5)
    assert (node.applied, len(node.asked)) == (5, 0)


def test_what_is_saved_and_acknowledged_does_not_wait(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS_MAX
    node.peers.sent.clear()
    node.append(*node.rows(1, LARGE_BYTES), commit=5)
    assert [each.index for each in node.peers.of(AppendResponse)] == [5]
    assert node.applied == 4


def test_one_batch_has_waited_and_the_next_one_waits_anew(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS
    node.append(*node.rows(3, APPLY_BYTES_MAX), commit=7)
    for applied in (5, 6, 7):
        node.turn()
        assert node.applied == applied
    assert node.asked == []


def test_an_acknowledgement_that_commits_something_counts_behind_a_turn_that_has_lasted_long(node: Hurried) -> None:
    """Else a committed write would wait for the next tick, and its client with it."""
    lead(node)
    node.turn()
    node.receive(AppendResponse("1", "3", 2, node.core.log.last_index, False, 0, 0))
    node.lasted = LONG_TURN_SECONDS_MAX
    got = outcome(node.replica.propose(InitDatabase("e"), 5.0))
    node.turn()
    assert node.asked == [], "nothing is committed that could have been put off"
    node.lasted = 0.0
    node.receive(AppendResponse("1", "3", 2, node.core.log.last_index, False, 0, 0))
    node.turn()
    assert isinstance(got[0], Answer)


def test_a_node_that_has_ended_takes_no_turn_that_it_asked_for(node: Hurried) -> None:
    node.lasted = LONG_TURN_SECONDS
    node.append(*node.rows(1, LARGE_BYTES), commit=5)
    node.replica.halt()
    node.turn()
    assert node.applied == 4


class Leading(Hurried):
    """This node leads, and node 3 follows it."""

    def __init__(self) -> None:
        super().__init__()
        lead(self)
        self.turn()
        self.acknowledge()
        self.turn()

    def acknowledge(self) -> None:
        """Without a turn behind it."""
        self.replica.receive(AppendResponse("1", "3", 2, self.core.log.last_index, False, 0, 0))

    def insert(self, text: str) -> list[object]:
        """Sent and saved here, and acknowledged by nobody."""
        got = outcome(self.replica.propose(Insert("d", "t", ((text[:1], {"v": text}),)), 5.0))
        self.turn()
        assert got == []
        return got


def test_a_lone_write_is_answered_with_the_acknowledgement_that_commits_it() -> None:
    node = Leading()
    got = node.insert("x")
    node.acknowledge()
    assert isinstance(got[0], Answer)


def test_a_large_batch_is_not_applied_among_the_events_where_nobody_could_put_it_off() -> None:
    node = Leading()
    got = node.insert("x" * LARGE_BYTES)
    node.lasted = LONG_TURN_SECONDS
    node.acknowledge()
    node.turn()
    assert (got, len(node.asked)) == ([], 1)
    node.turn()
    assert isinstance(got[0], Answer)


class FullTables(MemoryTables):
    """Say that they are full until they are settled; may fail at it."""

    is_full = True
    fails = False
    settled = 0

    def settle(self) -> None:
        self.settled += 1
        self.is_full = False
        if self.fails:
            raise StorageFailed("a disk that is gone")


class Filled(Hurried):
    """Its transaction is full; the test says when the reactor has time for its commit."""

    def __init__(self) -> None:
        self.waits: list[Callable[[], None]] = []
        super().__init__(when_free=self.waits.append)

    def make_tables(self, limits: Limits) -> MemoryTables:
        return FullTables(limits, self.clock.seconds, None, FOUNDERS)


def test_a_full_transaction_is_committed_in_a_turn_that_has_time_and_asked_for_once() -> None:
    node = Filled()
    node.append(*node.rows(3, 10), commit=7)
    assert (node.store.tables.settled, len(node.waits)) == (0, 1)
    node.waits.pop()()
    assert node.store.tables.settled == 1
    node.append(*node.rows(1, 10), commit=8)
    assert node.waits == [], "it is not full any more"
    node.store.tables.is_full = True
    node.append(*node.rows(1, 10), commit=9)
    assert len(node.waits) == 1, "and it is asked for anew"


def test_a_commit_that_fails_there_ends_the_node() -> None:
    node = Filled()
    node.store.tables.fails = True
    node.waits.pop()()
    assert [type(error) for error in node.fatal] == [StorageFailed]


def test_a_node_that_has_ended_commits_nothing_more() -> None:
    node = Filled()
    node.replica.halt()
    node.waits.pop()()
    assert node.store.tables.settled == 0
