"""Three replicas: what clients see while leaders come and go."""

from __future__ import annotations

import itertools

import pytest
from replica_kit import CLIENT_SECONDS, Cluster, Outcome, insert, update

from ddbd.config import Limits
from ddbd.errors import NoLeader, OutcomeUnknown
from ddbd.raft.messages import AppendEntries, ReadRequest

ELECTION_SECONDS = 0.5


@pytest.fixture
def trio() -> Cluster:
    return Cluster().set_up()


def test_a_write_on_a_follower_is_answered_by_that_follower(trio: Cluster) -> None:
    written = trio.nodes["3"].insert("a", "seven")
    trio.done(written)
    assert written.is_ok
    assert written.value.body["row_id"] == "a"
    assert trio.nodes["3"].local("a") == ("a", "seven", written.value.body["version"])
    assert written.seconds < 0.02


def test_a_read_on_a_follower_sees_what_was_answered_before_it_began(trio: Cluster) -> None:
    written = trio.nodes["1"].insert("a", "seven")
    trio.done(written)
    read = trio.nodes["2"].read("a")
    trio.done(read)
    assert read.value[1] == "seven"
    assert read.seconds < 0.02


def test_many_writes_of_one_turn_are_one_append(trio: Cluster) -> None:
    trio.run(1.0)
    trio.seen.clear()
    written = [trio.nodes["1"].insert(f"r{number}") for number in range(50)]
    trio.done(*written)
    appends = [each for each in trio.seen if isinstance(each, AppendEntries) and each.to == "2" and each.entries]
    assert [len(each.entries) for each in appends] == [50]


def test_writes_meet_a_crash_of_the_leader_and_go_on_without_an_error(trio: Cluster) -> None:
    """A client with a deadline of 5 s writes through each follower all the time."""
    done: list[Outcome] = []
    current = {node_id: trio.nodes[node_id].insert(f"{node_id}-0") for node_id in ("2", "3")}
    counts = {node_id: itertools.count(1) for node_id in current}

    def write_on() -> None:
        for node_id, outcome in current.items():
            if outcome.is_done:
                done.append(outcome)
                current[node_id] = trio.nodes[node_id].insert(f"{node_id}-{next(counts[node_id])}")

    def run(seconds: float) -> None:
        end = trio.clock.seconds() + seconds
        while trio.clock.seconds() < end:
            trio.run(0.01)
            write_on()

    run(0.5)
    trio.nodes["1"].crash()
    run(2.0)
    assert trio.leader is not trio.nodes["1"]
    trio.nodes["1"].start()
    run(20.0)
    assert trio.led_by("1"), "the preferred master leads again within 20 s after its first loss"
    assert [each.error for each in done if not each.is_ok] == []
    assert max(each.seconds for each in done) < 1.0
    trio.until(trio.agree)


def test_a_write_that_is_held_during_an_election_goes_on_at_once_when_there_is_a_leader(trio: Cluster) -> None:
    trio.nodes["1"].crash()
    trio.until(lambda: trio.nodes["3"].replica.leader_id is None)
    written = trio.nodes["3"].insert("held")
    trio.done(written)
    assert written.is_ok
    assert written.seconds < 0.3, "a refused connection needs no timeout"


def test_a_write_without_a_quorum_was_certainly_not_done_when_it_never_left(trio: Cluster) -> None:
    for node_id in ("1", "2"):
        trio.nodes[node_id].crash()
    trio.until(lambda: trio.nodes["3"].replica.leader_id is None)
    written = trio.nodes["3"].insert("lonely", timeout=1.0)
    trio.done(written)
    assert isinstance(written.error, NoLeader)
    assert 1.0 <= written.seconds <= 1.06
    for node_id in ("1", "2"):
        trio.nodes[node_id].start()
    trio.settle()
    assert trio.nodes["3"].local("lonely") is None


def test_a_leader_that_is_cut_off_confirms_nothing_and_steps_down_within_one_election_timeout(trio: Cluster) -> None:
    old, other = trio.nodes["1"], trio.nodes["2"]
    trio.cut_off("1")
    written, read = old.insert("a", "old", timeout=3.0), old.read("a", timeout=3.0)
    took = trio.until(lambda: not old.core.is_leader, seconds=2.0)
    assert took <= ELECTION_SECONDS + 0.1
    assert old.replica.leader_id is None
    assert not written.is_done
    assert not read.is_done
    newer = other.insert("a", "new")
    trio.done(newer)
    assert newer.is_ok
    trio.done(written, read)
    assert isinstance(written.error, OutcomeUnknown)
    assert isinstance(read.error, NoLeader)


def test_a_leader_that_comes_back_from_a_cut_drops_what_it_could_not_commit(trio: Cluster) -> None:
    old, other = trio.nodes["1"], trio.nodes["2"]
    trio.cut_off("1")
    lost = old.insert("a", "old", timeout=1.0)
    trio.done(lost)
    trio.until(lambda: other.replica.leader_id in ("2", "3"))
    newer = other.insert("a", "new")
    trio.done(newer)
    trio.heal()
    read = old.read("a")
    trio.done(read)
    assert read.value[1] == "new"
    trio.until(trio.agree)


def test_a_write_on_a_leader_that_is_cut_off_is_done_by_the_next_one_when_its_deadline_allows(trio: Cluster) -> None:
    """It was appended under the old leader, then refused by the new log, and repeated: done once."""
    trio.cut_off("1")
    written = trio.nodes["1"].insert("a", "patient", timeout=CLIENT_SECONDS)
    trio.run(2.0)
    assert not written.is_done
    trio.heal()
    trio.done(written)
    assert written.is_ok
    trio.until(trio.agree)


def test_leadership_goes_back_to_the_preferred_master_without_a_failed_write(trio: Cluster) -> None:
    trio.nodes["1"].crash()
    trio.until(lambda: trio.leader is not None and trio.led_by(trio.leader.id))
    trio.nodes["1"].start()
    began = trio.clock.seconds()
    outcomes = []
    while not trio.led_by("1"):
        assert trio.clock.seconds() - began < 20.0
        outcomes += [node.insert(f"{node.id}-{len(outcomes)}") for node in trio.running]
        trio.run(0.01)
    trio.done(*outcomes)
    assert [each.error for each in outcomes if not each.is_ok] == []
    assert max(each.seconds for each in outcomes) < 0.3


def test_failback_can_be_turned_off() -> None:
    trio = Cluster(failback=False).set_up()
    trio.nodes["1"].crash()
    trio.until(lambda: trio.leader is not None)
    trio.nodes["1"].start()
    trio.run(30.0)
    assert not trio.led_by("1")


def test_a_key_that_is_repeated_on_another_node_after_a_failover_gets_the_same_answer(trio: Cluster) -> None:
    first = trio.nodes["2"].write(insert("a", 1), key="k")
    trio.done(first)
    trio.nodes["1"].crash()
    again = trio.nodes["3"].write(insert("a", 1), key="k")
    trio.done(again)
    assert again.value == first.value


def test_a_refusal_that_is_repeated_after_a_restart_of_all_gets_the_same_answer(trio: Cluster) -> None:
    """Meanwhile the row came to be: without its key the same call would be done."""
    refused = trio.nodes["2"].write(update("a", 1), key="k")
    trio.done(refused)
    assert refused.value.code == "row_not_found"
    trio.done(trio.nodes["1"].insert("a", 0))
    for node in trio.nodes.values():
        node.crash()
    for node in trio.nodes.values():
        node.start()
    again = trio.nodes["3"].write(update("a", 1), key="k")
    trio.done(again)
    assert again.value == refused.value
    other = trio.nodes["1"].write(update("a", 2), key="k", fingerprint=b"another")
    trio.done(other)
    assert other.value.code == "idempotency_mismatch"


def test_a_restart_of_all_three_keeps_what_was_answered(trio: Cluster) -> None:
    written = [trio.nodes[node_id].insert(f"r{node_id}", node_id) for node_id in trio.nodes]
    trio.done(*written)
    for node in trio.nodes.values():
        node.crash()
    for node in trio.nodes.values():
        node.start()
    trio.settle()
    for node in trio.nodes.values():
        assert [node.local(f"r{node_id}")[1] for node_id in trio.nodes] == list(trio.nodes)
    trio.until(trio.agree)


def test_a_node_that_comes_back_with_an_older_copy_of_its_disk_catches_up(trio: Cluster) -> None:
    """It broke its word, and nothing can make up for that; but it must not stand there for ever because the leader counts on that word."""
    node = trio.nodes["3"]
    trio.settle()
    node.crash()
    old = node.store.crash()
    node.start()
    for number in range(5):
        trio.done(trio.nodes["2"].insert(f"more-{number}"))
    trio.until(trio.agree)
    node.crash()
    trio.run(0.1)  # its last messages have arrived: a stream brings none behind those of the next one
    node.store = old
    node.start()
    trio.until(trio.agree)
    assert node.local("more-4") is not None


def test_a_message_that_is_lost_is_made_up_for_by_a_repetition(trio: Cluster) -> None:
    """The road from the follower to the leader is cut, the other direction is not: no stream is new, no leader changes."""
    trio.cuts.add(("3", "1"))
    written = trio.nodes["3"].insert("a")
    trio.run(0.3)
    trio.heal()
    trio.done(written)
    assert written.is_ok
    assert trio.led_by("1")


def test_no_context_of_a_read_is_asked_twice(trio: Cluster) -> None:
    trio.cuts.add(("3", "1"))
    read = trio.nodes["3"].read("a")
    trio.run(0.4)
    trio.heal()
    trio.done(read)
    asked = [context for each in trio.seen if isinstance(each, ReadRequest) for context in each.contexts]
    assert len(asked) == len(set(asked))


def test_a_leader_whose_disk_is_nearly_full_hands_over_and_comes_back_when_there_is_room() -> None:
    trio = Cluster(limits=Limits()).set_up()
    trio.nodes["1"].store.full = True
    trio.until(lambda: not trio.nodes["1"].core.is_leader)
    fine = [trio.nodes[node_id].insert(f"from-{node_id}") for node_id in ("1", "2", "3")]
    trio.done(*fine)
    assert all(each.is_ok for each in fine)
    trio.run(30.0)
    assert not trio.nodes["1"].core.is_leader, "its disk is still full"
    trio.nodes["1"].store.full = False
    trio.until(lambda: trio.led_by("1"), seconds=60.0)


def test_a_full_disk_of_one_follower_stops_nobody_and_that_of_two_refuses_what_needs_space() -> None:
    from ddbd.commands import Delete

    trio = Cluster(limits=Limits()).set_up()
    trio.done(trio.nodes["1"].insert("a"))
    trio.nodes["2"].store.full = True
    trio.run(0.5)
    fine, carried = trio.nodes["3"].insert("b"), trio.nodes["2"].insert("c")
    trio.done(fine, carried)
    assert fine.is_ok
    assert carried.is_ok, "the others have room for it"
    trio.nodes["3"].store.full = True
    trio.run(0.5)
    for node in trio.nodes.values():
        refused, deleted = node.insert(f"no-{node.id}"), node.write(Delete(None, "t", "a"))
        trio.done(refused, deleted)
        assert refused.error.code == "disk_full"
        assert deleted.error is None
    assert trio.nodes["1"].replica.status()["disk_full"]
    trio.nodes["3"].store.full = False
    trio.run(0.5)
    fine = trio.nodes["1"].insert("d")
    trio.done(fine)
    assert fine.is_ok
