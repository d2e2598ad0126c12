"""Three replicas: nodes that hold something else than the others."""

from __future__ import annotations

import pytest
from replica_kit import SMALL, Cluster, MemoryNode, fill, flip, lines, update

from ddbd.errors import NotReady
from ddbd.raft.messages import Quarantine


@pytest.fixture
def trio() -> Cluster:
    """Keeps little of its log."""
    return Cluster(limits=SMALL).set_up()


def flipped(trio: Cluster, node: MemoryNode) -> None:
    """One node lost a row; a write to that row lets the hashes part."""
    written = trio.nodes["1"].insert("a", 1)
    trio.done(written)
    trio.until(trio.agree)
    flip(node, "a")
    other = next(each for each in trio.running if each is not node)
    changed = other.write(update("a", 2))
    trio.done(changed)
    assert changed.is_ok


def test_a_follower_that_differs_is_quarantined_and_seeded_anew_and_serves_again(trio: Cluster) -> None:
    wrong = trio.nodes["3"]
    wrong.carrier.fetch_seconds = 1.0
    flipped(trio, wrong)
    trio.until(lambda: lines(wrong.events, "QUARANTINED"))
    with pytest.raises(NotReady):
        wrong.local("a")
    read = wrong.read("a")
    waits = wrong.replica.wait_applied(1, 1.0)
    assert isinstance(read.error, NotReady)
    waits.addErrback(lambda failure: failure.trap(NotReady))
    assert wrong.replica.unready_reason() is not None
    assert wrong.replica.unhealthy_reason() is not None
    assert wrong.replica.status()["quarantined"]
    trio.until(lambda: not wrong.core.is_frozen)
    trio.settle()
    assert wrong.local("a")[1] == 2
    trio.until(trio.agree)
    assert wrong.replica.status()["healthy"]


def test_a_write_on_a_quarantined_node_is_held_and_answered_once_it_is_seeded(trio: Cluster) -> None:
    """Sent at once, it would be done by the others, and its answer would be in the snapshot: nobody could tell."""
    wrong = trio.nodes["3"]
    wrong.carrier.fetch_seconds = 0.5
    flipped(trio, wrong)
    trio.until(lambda: wrong.core.is_frozen)
    written = wrong.insert("b", 1)
    trio.done(written)
    assert written.is_ok
    assert not wrong.core.is_frozen


def test_the_news_of_a_quarantine_is_told_once(trio: Cluster) -> None:
    """Also when nothing is written meanwhile: the wrong node's hash is compared at each heartbeat."""
    wrong = trio.nodes["3"]
    wrong.carrier.fetch_seconds = 3.0
    flipped(trio, wrong)
    trio.run(2.5)
    assert wrong.core.is_frozen
    assert len(lines(trio.nodes["1"].events, "differs")) == 1
    assert len([each for each in trio.seen if isinstance(each, Quarantine)]) == 1


def test_news_of_a_quarantine_that_come_after_the_seeding_are_about_tables_that_are_no_more(trio: Cluster) -> None:
    wrong = trio.nodes["3"]
    flipped(trio, wrong)
    trio.until(lambda: wrong.core.is_frozen)
    (told,) = [each for each in trio.seen if isinstance(each, Quarantine)]
    trio.until(lambda: not wrong.core.is_frozen)
    assert (told.sender, told.term) == (wrong.core.leader_id, wrong.core.term)
    wrong.replica.receive(told)
    assert not wrong.core.is_frozen


def test_a_leader_that_differs_quarantines_itself_and_steps_down(trio: Cluster) -> None:
    wrong = trio.nodes["1"]
    flipped(trio, wrong)
    trio.until(lambda: lines(wrong.events, "QUARANTINED"))
    assert not wrong.core.is_leader
    trio.until(lambda: trio.leader is not None)
    assert trio.leader is not wrong
    trio.settle()
    assert wrong.local("a")[1] == 2
    trio.until(trio.agree)
    trio.until(lambda: trio.led_by("1"), 20.0)


def test_a_quarantine_outlives_a_restart(trio: Cluster) -> None:
    wrong = trio.nodes["3"]
    wrong.carrier.fails = 1_000
    flipped(trio, wrong)
    trio.until(lambda: wrong.core.is_frozen)
    wrong.crash()
    wrong.start()
    assert wrong.core.is_frozen
    trio.settle()
    assert wrong.local("a")[1] == 2


def test_a_quarantined_node_still_gives_the_vote_and_the_disk_that_a_majority_needs(trio: Cluster) -> None:
    wrong = trio.nodes["3"]
    wrong.carrier.fails = 1_000
    flipped(trio, wrong)
    trio.until(lambda: wrong.core.is_frozen)
    trio.nodes["1"].crash()
    written = trio.nodes["2"].insert("b", 1)
    trio.done(written)
    assert written.is_ok
    assert trio.leader is trio.nodes["2"]


def test_two_nodes_that_differ_raise_an_alarm_and_nothing_is_touched() -> None:
    duo = Cluster(count=2, limits=SMALL).set_up()
    flipped(duo, duo.nodes["2"])
    duo.until(lambda: lines(duo.nodes["1"].events, "ALARM"))
    duo.run(5.0)
    assert len(lines(duo.nodes["1"].events, "ALARM")) == 1
    assert duo.nodes["1"].replica.unhealthy_reason() is not None
    assert not any(node.core.is_frozen for node in duo.running)
    assert lines(duo.nodes["2"].events, "snapshot") == []


def test_an_audit_of_equal_nodes_goes_on_all_the_time(trio: Cluster) -> None:
    fill(trio, trio.nodes["2"], 5)
    trio.run(0.5)
    state = trio.nodes["1"].replica.status()["state"]
    assert state["compared_index"] == state["index"]
