"""What the web room sees of a node: how it is, and how it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from replica_kit import Cluster, MemoryNode, Outcome, fill, insert

from ddbd.errors import NoLeader, NotReady, OutcomeUnknown
from ddbd.raft.messages import Heartbeat
from ddbd.replica.replica import DRAIN_SECONDS
from ddbd.replica.standby import Standby

CONTRACT_KEYS = {
    *("node", "master", "term", "last_index", "commit_index", "applied_index"),
    *("default_database", "databases", "nodes"),
}


@pytest.fixture
def trio() -> Cluster:
    return Cluster().set_up()


def waiting(cluster: Cluster, deferred: Any) -> Outcome:
    return Outcome(deferred, cluster.clock)


def without_leader(trio: Cluster) -> MemoryNode:
    """Node 3 alone, after it has noticed."""
    for node_id in ("1", "2"):
        trio.nodes[node_id].crash()
    trio.until(lambda: trio.nodes["3"].replica.leader_id is None)
    return trio.nodes["3"]


# Status.


def test_status_of_the_leader_has_the_shape_of_the_contract(trio: Cluster) -> None:
    fill(trio, trio.nodes["1"], 2)
    trio.run(0.5)
    status = trio.nodes["1"].replica.status()
    assert set(status) >= CONTRACT_KEYS
    assert status["node"] == {"id": "1", "address": "localhost:8080", "role": "leader", "is_master": True, "reactor": None}
    assert status["master"] == {"id": "1", "address": "localhost:8080"}
    assert status["default_database"] == "d"
    table = {"name": "t", "columns": ["v"], "types": ["any"], "indexed": [], "row_count": 2}
    assert status["databases"] == [{"name": "d", "tables": [table]}]
    last = status["last_index"]
    assert status["commit_index"] == status["applied_index"] == last
    for place, each in enumerate(status["nodes"], 1):
        assert each == {
            "id": str(place),
            "address": f"localhost:{8079 + place}",
            "is_master": place == 1,
            "reachable": True,
            "match_index": last,
            "lag_entries": 0,
        }
    json.dumps(status)


def test_status_of_a_follower_tells_of_the_others_what_the_leader_last_told(trio: Cluster) -> None:
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["1"], 5)
    trio.run(0.5)
    status = trio.nodes["2"].replica.status()
    assert status["node"]["role"] == "follower"
    assert not status["node"]["is_master"]
    one, two, three = status["nodes"]
    assert (one["lag_entries"], two["lag_entries"], three["lag_entries"]) == (0, 0, 5)
    assert one["is_master"]
    assert not three["reachable"]


def test_status_without_a_leader_names_no_master_and_guesses_nothing(trio: Cluster) -> None:
    status = without_leader(trio).replica.status()
    assert status["master"] is None
    assert status["node"]["role"] == "candidate"
    assert [(each["match_index"], each["lag_entries"], each["is_master"]) for each in status["nodes"]] == [(None, None, False)] * 3
    assert not status["ready"]


def test_status_of_a_leader_that_lost_its_majority_names_no_master(trio: Cluster) -> None:
    trio.cut_off("1")
    trio.run(1.0)
    assert trio.nodes["1"].replica.status()["master"] is None


def test_standby_has_the_same_shape_and_serves_nothing() -> None:
    standby = Standby(Cluster().config, "2")
    status = standby.status()
    assert set(status) >= CONTRACT_KEYS
    assert status["node"] == {"id": "2", "address": "localhost:8081", "role": "learner", "is_master": False}
    assert status["master"] is None
    assert set(status["nodes"][0]) == {"id", "address", "is_master", "reachable", "match_index", "lag_entries"}
    for answer in (standby.propose(insert("a"), 1.0), standby.read_barrier(1.0), standby.wait_applied(1, 1.0), standby.wait_leader(1.0)):
        answer.addCallbacks(lambda _: pytest.fail("it has no data"), lambda failure: failure.trap(NotReady))
    with pytest.raises(NotReady):
        standby.submit(insert("a"), 1.0, "", b"", lambda _: pytest.fail("it has no data"))
    with pytest.raises(NotReady):
        _ = standby.tables
    assert standby.unready_reason()
    assert standby.unhealthy_reason() is None


# Writes.


def test_who_gives_up_its_wait_for_a_write_disturbs_nobody(trio: Cluster) -> None:
    """Cancelling ends the wait, not the write."""
    failures: list[Any] = []
    waiting = trio.nodes["1"].replica.propose(insert("a", 1), 5.0).addErrback(failures.append)
    waiting.cancel()
    assert len(failures) == 1
    trio.until(lambda: all(node.local("a") for node in trio.running))
    assert trio.nodes["1"].driver.proposals.open_count == 0
    assert trio.nodes["1"].fatal == []


# Readiness.


def test_a_node_is_ready_once_it_follows_a_leader_and_is_caught_up() -> None:
    trio = Cluster()
    reasons = {node.replica.unready_reason() for node in trio.running}
    assert reasons == {"no leader is known"}
    trio.settle()
    assert all(node.replica.staleness_ms() < 200 for node in trio.running)


def test_a_node_that_is_cut_off_is_not_ready_before_it_has_lost_its_leader_for_long(trio: Cluster) -> None:
    trio.cut_off("3")
    took = trio.until(lambda: trio.nodes["3"].replica.unready_reason() is not None)
    assert took < 1.2
    assert trio.nodes["1"].replica.unready_reason() is None


def test_the_age_of_a_cut_off_nodes_tables_only_grows(trio: Cluster) -> None:
    trio.run(1.0)
    node = trio.nodes["3"].replica
    young = node.staleness_ms()
    assert young is not None
    assert young < 120
    trio.cut_off("3")
    trio.run(2.0)
    old = node.staleness_ms()
    assert old is not None
    assert 2_000 <= old <= 2_121
    assert trio.nodes["3"].local("nothing") is None, "it still serves local reads"


def test_a_stopping_node_is_not_ready(trio: Cluster) -> None:
    waiting(trio, trio.nodes["3"].replica.drain())
    assert trio.nodes["3"].replica.unready_reason() == "this node is stopping"


def test_a_full_disk_is_a_matter_for_an_operator_and_no_reason_not_to_serve(trio: Cluster) -> None:
    trio.nodes["3"].store.full = True
    assert trio.nodes["3"].replica.unhealthy_reason() == "the disk is nearly full"
    assert trio.nodes["3"].replica.unready_reason() is None


# Waiting for a leader.


def test_a_known_leader_is_told_at_once(trio: Cluster) -> None:
    assert waiting(trio, trio.nodes["3"].replica.wait_leader(1.0)).value == "1"


def test_a_wait_for_a_leader_ends_when_there_is_one(trio: Cluster) -> None:
    trio.nodes["1"].crash()
    trio.until(lambda: trio.nodes["3"].replica.leader_id is None)
    found = waiting(trio, trio.nodes["3"].replica.wait_leader(5.0))
    trio.done(found)
    assert found.value == "2"
    assert found.seconds < 0.3


def test_a_wait_for_a_leader_ends_at_its_deadline(trio: Cluster) -> None:
    found = waiting(trio, without_leader(trio).replica.wait_leader(1.0))
    trio.done(found)
    assert isinstance(found.error, NoLeader)
    assert 1.0 <= found.seconds <= 1.06


def test_a_client_that_gives_up_its_wait_for_a_leader_leaves_nothing_behind(trio: Cluster) -> None:
    replica = without_leader(trio).replica
    for _ in range(10):
        waits = replica.wait_leader(300.0)
        waits.addErrback(lambda _: None)
        waits.cancel()
    trio.run(0.1)
    assert replica._leader_waiters == []


def test_a_leader_that_is_lost_and_found_within_one_turn_is_told_to_whoever_began_to_wait_in_between(trio: Cluster) -> None:
    """A process that stood still finds its timer, a request and the leader's heartbeat all at once."""
    node = trio.nodes["2"]
    trio.run(0.33)
    for _ in range(40):
        node.replica.tick()
    assert node.replica.leader_id is None
    found = waiting(trio, node.replica.wait_leader(5.0))
    node.replica.receive(Heartbeat("2", "1", node.core.term, 0))
    assert node.replica.leader_id == "1"
    trio.run(0.1)
    assert found.value == "1"


# The end.


def test_a_draining_leader_hands_over_and_answers_its_writers(trio: Cluster) -> None:
    trio.run(1.0)
    written = [trio.nodes["1"].insert(f"r{number}") for number in range(20)]
    drained = waiting(trio, trio.nodes["1"].replica.drain())
    refused = trio.nodes["1"].insert("late")
    assert isinstance(refused.error, NotReady)
    trio.done(drained, *written)
    assert all(each.is_ok for each in written)
    assert drained.seconds < 0.2
    assert not trio.nodes["1"].core.is_leader
    assert trio.nodes["2"].core.is_leader or trio.nodes["3"].core.is_leader


def test_clients_of_other_nodes_see_nothing_of_a_drain(trio: Cluster) -> None:
    drained = waiting(trio, trio.nodes["1"].replica.drain())
    written = []
    for number in range(50):
        written.append(trio.nodes["2"].insert(f"r{number}"))
        trio.run(0.01)
    trio.done(drained, *written)
    assert all(each.is_ok for each in written)
    assert max(each.seconds for each in written) < 0.3


def test_a_draining_leader_waits_for_one_that_can_take_over(trio: Cluster) -> None:
    """The follower that is there lags; the other one is gone."""
    trio.nodes["2"].crash()
    trio.run(0.2)
    drained = waiting(trio, trio.nodes["1"].replica.drain())
    trio.done(drained)
    assert trio.nodes["3"].core.is_leader


def test_a_drain_gives_up_after_a_while(trio: Cluster) -> None:
    node = without_leader(trio)
    held = node.insert("held", timeout=60.0)
    drained = waiting(trio, node.replica.drain())
    trio.done(drained)
    assert DRAIN_SECONDS <= drained.seconds <= DRAIN_SECONDS + 0.1
    assert not held.is_done
    node.replica.halt()
    assert isinstance(held.error, NotReady)


def test_a_single_node_drains_at_once() -> None:
    one = Cluster(count=1).set_up()
    drained = waiting(one, one.nodes["1"].replica.drain())
    assert drained.is_done


def test_a_halt_tells_whoever_waits_and_leaves_no_timer(trio: Cluster) -> None:
    trio.cut_off("1")
    node = trio.nodes["1"]
    sent = node.insert("sent", timeout=60.0)
    read = node.read("a", timeout=60.0)
    index = waiting(trio, node.replica.wait_applied(10**9, 60.0))
    trio.run(1.0)
    held = node.insert("held", timeout=60.0)
    leader = waiting(trio, node.replica.wait_leader(60.0))
    node.is_running = False
    node._ticking.cancel()
    node.replica.halt()
    assert isinstance(sent.error, OutcomeUnknown)
    for each in (read, index, held, leader):
        assert isinstance(each.error, NotReady)
    node.replica.halt()
    trio.clock.advance(0)  # a turn that was due already comes, and does nothing
    others = [each for each in trio.clock.getDelayedCalls() if getattr(each.func, "__self__", None) is node.driver]
    assert others == []


def test_a_turn_that_was_due_at_a_halt_does_nothing(trio: Cluster) -> None:
    node = trio.nodes["1"]
    node.insert("a")
    last_index = node.core.log.last_index
    node.driver.halt()
    trio.clock.advance(0)
    assert node.core.log.last_index == last_index


def test_a_halted_node_answers_everything_at_once_with_not_ready(trio: Cluster) -> None:
    node = without_leader(trio)
    node.replica.halt()
    asked = [
        node.insert("a"),
        node.read("a"),
        waiting(trio, node.replica.wait_applied(1, 60.0)),
        waiting(trio, node.replica.wait_leader(60.0)),
    ]
    assert [type(each.error) for each in asked] == [NotReady] * 4
    assert node.replica.unready_reason() == "this node is stopping"


def test_a_drain_of_a_node_that_broke_ends_at_once(trio: Cluster) -> None:
    node = trio.nodes["3"]
    node.driver.fail(ValueError("broken"))
    drained = waiting(trio, node.replica.drain())
    assert drained.is_done
