"""What a turn does at once, what it puts off, and what it saves itself: the latency of writes and of what follows on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from replica_kit import LATENCY_SECONDS, Cluster, Outcome

from ddbd.commands import Applied
from ddbd.raft.messages import AppendEntries, AppendResponse, Message
from ddbd.raft.types import Entry
from ddbd.replica.tuning import FEW_ENTRIES
from ddbd.storage import Tell, nobody
from ddbd.storage.memory import MemoryStore
from ddbd.storage.memory_tables import MemoryTables

ROUND_TRIP = 2 * LATENCY_SECONDS


@pytest.fixture
def trio() -> Cluster:
    return Cluster().set_up()


def after_a_heartbeat(trio: Cluster) -> None:
    """Everybody knows everything, and the next heartbeat is as far away as can be."""
    trio.run(1.0)
    trio.until(lambda: trio.nodes["1"].driver._ticks % trio.nodes["1"].core.config.heartbeat_ticks == 0)


def notices(trio: Cluster) -> list[AppendEntries]:
    return [message for message in trio.seen if isinstance(message, AppendEntries) and not message.entries]


def test_a_write_at_the_leader_takes_one_round_trip_and_one_message_to_each_follower(trio: Cluster) -> None:
    after_a_heartbeat(trio)
    trio.seen.clear()
    outcome = trio.nodes["1"].insert("a")
    trio.done(outcome)
    assert outcome.seconds == pytest.approx(ROUND_TRIP)
    trio.run(5 * LATENCY_SECONDS)
    assert [type(message) for message in trio.seen] == 2 * [AppendEntries] + 2 * [AppendResponse]


def test_a_write_at_a_follower_does_not_wait_for_a_heartbeat(trio: Cluster) -> None:
    after_a_heartbeat(trio)
    trio.seen.clear()
    outcome = trio.nodes["2"].insert("a")
    trio.done(outcome)
    assert outcome.seconds == pytest.approx(2 * ROUND_TRIP)
    assert {message.to for message in notices(trio)} == {"2"}, "who has no client that waits is not told yet"


def test_a_read_at_a_follower_does_not_wait_for_a_heartbeat(trio: Cluster) -> None:
    after_a_heartbeat(trio)
    written = trio.nodes["1"].insert("a")
    trio.done(written)
    read = trio.nodes["3"].read("a")
    trio.done(read)
    assert read.value[0] == "a"
    assert read.seconds == pytest.approx(2 * ROUND_TRIP)


def test_a_wait_for_an_index_does_not_wait_for_a_heartbeat(trio: Cluster) -> None:
    after_a_heartbeat(trio)
    written = trio.nodes["1"].insert("a")
    trio.done(written)
    waited = Outcome(trio.nodes["2"].replica.wait_applied(written.value.body["index"], 5.0), trio.clock)
    trio.done(waited)
    assert waited.is_ok
    assert waited.seconds == pytest.approx(2 * ROUND_TRIP)


def test_followers_without_clients_know_a_commit_before_the_next_heartbeat_is_over(trio: Cluster) -> None:
    after_a_heartbeat(trio)
    written = trio.nodes["1"].insert("a")
    trio.done(written)
    took = trio.until(lambda: all(node.local("a") is not None for node in trio.running))
    assert took <= trio.config.timing.heartbeat_ms / 1000


class WatchedTables(MemoryTables):
    """Knows how much had left its node when it was told to apply something."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sent: list[Message] = []  # of all nodes
        self.applied_after: list[int] = []
        self.look: Callable[[], bool] = lambda: False  # asked when the answers were told, and the transaction is still open
        self.saw: list[bool] = []

    def apply(self, entries: Sequence[Entry], tell: Tell = nobody) -> list[Applied]:
        self.applied_after.append(sum(isinstance(message, AppendResponse) and message.sender == "2" for message in self.sent))

        def told(results: list[Applied]) -> None:
            tell(results)
            self.saw.append(self.look())

        return super().apply(entries, told)


class WatchedStore(MemoryStore):
    tables: WatchedTables

    def _make_tables(self, image: bytes) -> MemoryTables:
        return WatchedTables(self._limits, self._clock, self.files, self._founders, image)


def test_an_acknowledgement_leaves_before_this_node_applies_what_came_with_it() -> None:
    trio = Cluster(store_class=WatchedStore).set_up()
    leader, tables = trio.nodes["1"], trio.nodes["2"].store.tables
    assert isinstance(tables, WatchedTables)
    after_a_heartbeat(trio)
    trio.seen.clear()
    tables.sent, tables.applied_after = trio.seen, []
    trio.done(leader.insert("a"))
    trio.done(leader.insert("b"))
    assert tables.applied_after == [2], "the first write is applied with the second one, and that was acknowledged before"


def test_a_follower_gives_way_as_soon_as_its_acknowledgement_is_out_and_a_leader_never_does(trio: Cluster) -> None:
    after_a_heartbeat(trio)
    trio.seen.clear()
    for node in trio.running:
        node.gave_way_after.clear()
    trio.done(trio.nodes["1"].insert("a"))
    acknowledged = [place for place, message in enumerate(trio.seen, 1) if isinstance(message, AppendResponse)]
    assert sorted(trio.nodes["2"].gave_way_after + trio.nodes["3"].gave_way_after) == acknowledged
    assert trio.nodes["1"].gave_way_after == []


@pytest.mark.parametrize(("writes", "answered"), [(1, True), (FEW_ENTRIES, True), (FEW_ENTRIES + 1, False)])
def test_a_few_writes_are_answered_with_the_acknowledgement_that_commits_them_and_more_with_all_that_came(
    trio: Cluster, writes: int, answered: bool
) -> None:
    after_a_heartbeat(trio)
    leader = trio.nodes["1"]
    outcomes = [leader.insert(f"r{number}") for number in range(writes)]
    trio.clock.advance(0)
    assert leader.core.log.saved_index == leader.core.log.last_index == leader.core.commit_index + writes
    leader.replica.receive(AppendResponse("1", "2", leader.core.term, leader.core.log.last_index, False, 0, 0))
    assert [outcome.is_ok for outcome in outcomes] == writes * [answered]
    trio.clock.advance(0)
    assert all(outcome.is_ok for outcome in outcomes)


def test_an_acknowledgement_joins_a_turn_that_comes_anyway(trio: Cluster) -> None:
    after_a_heartbeat(trio)
    leader = trio.nodes["1"]
    first = leader.insert("a")
    trio.clock.advance(0)
    second = leader.insert("b")
    leader.replica.receive(AppendResponse("1", "2", leader.core.term, leader.core.log.last_index, False, 0, 0))
    assert not first.is_ok
    trio.clock.advance(0)
    assert first.is_ok
    assert not second.is_ok


def test_a_client_is_answered_before_the_commit_of_the_tables() -> None:
    trio = Cluster(store_class=WatchedStore).set_up()
    leader, tables = trio.nodes["1"], trio.nodes["1"].store.tables
    assert isinstance(tables, WatchedTables)
    tables.saw.clear()
    outcome = leader.insert("a")
    tables.look = lambda: outcome.is_ok
    trio.done(outcome)
    assert tables.saw == [True]
