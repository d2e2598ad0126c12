"""Leadership that an operator hands over: what whoever asked is told, and that no write sees it."""

from __future__ import annotations

import itertools

import pytest
from replica_kit import Cluster, Outcome

from ddbd.config import Timing
from ddbd.errors import Busy, NoLeader, NotHandedOver, NotReady, OutcomeUnknown
from ddbd.raft import candidate
from ddbd.raft.messages import HandOver, HandOverRefused, TakeOver
from ddbd.replica.handover import CARRIED_SECONDS, WISHES_MAX


@pytest.fixture
def trio() -> Cluster:
    return Cluster().set_up()


def hand_over(cluster: Cluster, node_id: str, target: str | None = None, timeout: float = 5.0) -> Outcome:
    return Outcome(cluster.nodes[node_id].replica.hand_over(target, timeout), cluster.clock)


@pytest.mark.parametrize("asked", ["1", "2", "3"])
@pytest.mark.parametrize("target", ["2", "3"])
def test_leadership_goes_to_the_target_whichever_node_was_asked(trio: Cluster, asked: str, target: str) -> None:
    outcome = hand_over(trio, asked, target)
    trio.done(outcome)
    assert outcome.value == {"status": "ok", "from": "1", "to": target, "term": trio.nodes[asked].replica.term}
    assert outcome.seconds < 0.05
    trio.until(lambda: trio.led_by(target), 1.0)


@pytest.mark.parametrize("asked", ["1", "2"])
def test_without_a_target_the_node_with_the_longest_log_takes_over(trio: Cluster, asked: str) -> None:
    trio.cuts |= {("1", "2")}
    written = trio.nodes["1"].insert("a")
    trio.done(written)
    trio.heal()
    outcome = hand_over(trio, asked)
    trio.done(outcome)
    assert (outcome.value["from"], outcome.value["to"]) == ("1", "3")


@pytest.mark.parametrize("asked", ["1", "2"])
def test_who_leads_already_is_told_so_at_once(trio: Cluster, asked: str) -> None:
    outcome = hand_over(trio, asked, "1")
    assert outcome.value == {"status": "ok", "from": "1", "to": "1", "term": trio.nodes["1"].replica.term}
    assert trio.led_by("1")


def test_no_write_is_refused_while_leadership_goes_round(trio: Cluster) -> None:
    """Clients with a deadline of 5 s write through every node all the time; leadership changes ten times."""
    counts = itertools.count()
    current = {node_id: node.insert(f"{node_id}-first") for node_id, node in trio.nodes.items()}
    done: list[Outcome] = []

    def run(seconds: float) -> None:
        end = trio.clock.seconds() + seconds
        while trio.clock.seconds() < end:
            trio.run(0.002)
            for node_id, outcome in current.items():
                if outcome.is_done:
                    done.append(outcome)
                    current[node_id] = trio.nodes[node_id].insert(f"{node_id}-{next(counts)}")

    handed = []
    for target in ("2", "3", "1", "3", "2", "1", "2", None, None, "1"):
        handed.append(hand_over(trio, "3", target))
        run(0.3)
    assert [each.error for each in handed if not each.is_ok] == []
    assert [each.error for each in done if not each.is_ok] == []
    assert len(done) > 500
    assert max(each.seconds for each in done) < 0.2
    trio.until(trio.agree)


def test_the_preferred_master_does_not_take_back_what_an_operator_gave_away() -> None:
    trio = Cluster(timing=Timing(transfer_hold_ms=30_000)).set_up()
    trio.done(hand_over(trio, "1", "2"))
    trio.run(29.0)
    assert trio.led_by("2")
    trio.run(4.0)
    assert trio.led_by("1"), "and takes it back when that no longer holds"


@pytest.mark.parametrize("asked", ["1", "2"])
def test_a_target_that_is_not_heard_is_refused_and_certainly_nothing_was_done(trio: Cluster, asked: str) -> None:
    trio.cut_off("3")
    trio.run(1.0)
    outcome = hand_over(trio, asked, "3")
    trio.done(outcome)
    assert isinstance(outcome.error, NotHandedOver)
    assert outcome.error.detail == "node 3 does not vote, is not heard or is not fit to lead; node 1 leads on"
    assert trio.led_by("1") or trio.leader is trio.nodes["1"]


def test_with_nobody_who_could_lead_leadership_stays(trio: Cluster) -> None:
    for node_id in ("2", "3"):
        trio.nodes["1"].core.unfit |= {node_id}
    outcome = hand_over(trio, "1")
    trio.done(outcome)
    assert isinstance(outcome.error, NotHandedOver)
    assert "no other node votes" in outcome.error.detail
    assert trio.led_by("1")


@pytest.mark.parametrize("asked", ["1", "2"])
def test_a_node_that_was_told_to_and_says_nothing_may_still_do_it(trio: Cluster, asked: str) -> None:
    trio.cuts |= {("1", "3")}
    outcome = hand_over(trio, asked, "3", timeout=20.0)
    trio.done(outcome)
    assert isinstance(outcome.error, OutcomeUnknown)
    assert outcome.error.detail.startswith("node 3 did not take over in time; node 1 leads on")
    assert 0.4 < outcome.seconds < 0.7
    assert trio.nodes["1"].core.is_leader


def test_where_the_first_one_does_not_take_over_the_next_one_is_asked(trio: Cluster) -> None:
    trio.cuts |= {("1", "2")}
    outcome = hand_over(trio, "1", timeout=20.0)
    trio.done(outcome)
    assert (outcome.error, outcome.value["to"]) == (None, "3")
    ordered = [each.to for each in trio.seen if isinstance(each, TakeOver)]
    assert ordered == ["2", "3"]
    assert 0.4 < outcome.seconds < 1.2


def test_a_wish_that_meets_another_transfer_waits_for_it(trio: Cluster) -> None:
    first, second, third = hand_over(trio, "1", "2"), hand_over(trio, "1", "3"), hand_over(trio, "1")
    trio.done(first, second, third)
    assert first.value["to"] == third.value["to"] == "2"
    assert isinstance(second.error, NotHandedOver)
    assert second.error.detail == "node 3 took no leadership over: node 2 was elected"


def test_the_old_master_that_is_elected_again_is_no_success(trio: Cluster) -> None:
    trio.cuts |= {("1", "2")}  # the order gets lost
    core = trio.nodes["1"].core
    outcome = hand_over(trio, "1")
    core.step_down()
    candidate.campaign_now(core)
    trio.done(outcome)
    assert trio.leader is trio.nodes["1"]
    assert isinstance(outcome.error, NotHandedOver)
    assert outcome.error.detail == "no other node took leadership over: node 1 was elected"


def test_a_wish_whose_carrier_hears_nothing_ends_at_its_deadline(trio: Cluster) -> None:
    trio.cuts |= {("2", "1")}
    outcome = hand_over(trio, "2", "3", timeout=1.0)
    trio.done(outcome)
    assert isinstance(outcome.error, OutcomeUnknown)
    assert 1.0 <= outcome.seconds < 1.1


def test_without_a_leader_there_is_nothing_to_hand_over(trio: Cluster) -> None:
    trio.cut_off("2")
    trio.until(lambda: trio.nodes["2"].replica.leader_id is None)
    outcome = hand_over(trio, "2", "3")
    assert isinstance(outcome.error, NoLeader)


def test_a_node_that_stops_tells_whoever_waits(trio: Cluster) -> None:
    trio.cuts |= {("2", "1")}
    outcome = hand_over(trio, "2", "3")
    trio.nodes["2"].replica.halt()
    assert isinstance(outcome.error, OutcomeUnknown)
    assert isinstance(hand_over(trio, "2", "3").error, NotReady)


def test_beyond_the_limit_a_wish_is_refused_and_a_carried_one_dropped(trio: Cluster) -> None:
    trio.cuts |= {("1", "3"), ("1", "2")}
    waiting = [hand_over(trio, "1", "2") for _ in range(WISHES_MAX)]
    assert isinstance(hand_over(trio, "1", "2").error, Busy)
    trio.nodes["1"].replica.receive(HandOver("1", "3", 1, "2", 1))
    trio.done(*waiting)
    assert not [each for each in trio.seen if isinstance(each, HandOverRefused)]


def test_a_carried_wish_is_not_looked_after_for_ever(trio: Cluster) -> None:
    for node_id in ("2", "3"):
        trio.nodes[node_id].replica.receive(HandOver(node_id, "1", 1, "", 7))  # no leader: nothing is begun
    leader = trio.nodes["1"]
    leader.replica.receive(HandOver("1", "2", leader.core.term, "1", 7))  # it leads already: node 2 sees that for itself
    leader.replica.receive(HandOverRefused("1", "2", leader.core.term, 99, False, "of a wish that is over"))
    assert leader.driver.handover._wishes == {}
    trio.cuts |= {("1", "3")}
    leader.replica.receive(HandOver("1", "2", leader.core.term, "3", 7))
    trio.run(CARRIED_SECONDS + 1.0)
    assert leader.driver.handover._wishes == {}
    assert [each.is_unknown for each in trio.seen if isinstance(each, HandOverRefused)] == [True]


def test_a_wish_of_an_older_term_is_not_obeyed_any_more(trio: Cluster) -> None:
    """It was long on its way: its client was told by then that another node had been elected."""
    leader = trio.nodes["1"]
    trio.run(1.0)
    leader.replica.receive(HandOver("1", "2", leader.core.term - 1, "3", 7))
    trio.run(1.0)
    assert trio.led_by("1")


def test_a_refusal_that_was_meant_for_a_former_life_fails_no_wish(trio: Cluster) -> None:
    trio.cuts |= {("2", "1")}
    before = hand_over(trio, "2", "3")
    [number] = trio.nodes["2"].driver.handover._wishes
    trio.nodes["2"].crash()
    trio.heal()
    trio.nodes["2"].start()
    trio.settle()
    trio.cuts |= {("2", "1")}
    after = hand_over(trio, "2", "3")
    trio.nodes["2"].replica.receive(HandOverRefused("2", "1", trio.nodes["2"].core.term, number, False, "late"))
    assert not after.is_done
    assert not before.is_ok
