"""Leadership that is handed over (thesis 3.10), and how the preferred master gets it back."""

from __future__ import annotations

import pytest
from raft_cluster import Cluster

from ddbd.raft.core import ProposalDropped
from ddbd.raft.messages import TakeOver, TimeoutNow
from ddbd.raft.types import Role


def test_transfer_waits_until_the_target_has_the_whole_log() -> None:
    """3.10: the prior leader fully updates the target server's log, then sends it a TimeoutNow request."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.propose("1", b"x")
    assert cluster.transfer("1", "2")
    assert not any(isinstance(message, TimeoutNow) for message in cluster.network)
    cluster.settle()
    assert cluster["2"].is_leader
    assert cluster["1"].role is Role.FOLLOWER


def test_no_proposals_during_a_transfer() -> None:
    """3.10: the prior leader stops accepting new client requests."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.transfer("1", "2")
    with pytest.raises(ProposalDropped):
        cluster.propose("1", b"x")
    with pytest.raises(ProposalDropped):
        cluster.change("1", ["1", "2"])
    assert not cluster.transfer("1", "3")


def test_a_transfer_that_does_not_come_to_pass_is_given_up() -> None:
    """3.10: if it does not complete after about an election timeout, the prior leader resumes accepting client requests."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.crash("2")
    cluster.transfer("1", "2")
    cluster.beat(6)
    cluster.propose("1", b"x")
    cluster.settle()
    assert cluster["1"].commit_index == 2


def test_a_transfer_is_waited_for_as_long_as_an_election_timeout() -> None:
    """3.10: about an election timeout, no less: the target may be about to win."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.crash("2")
    cluster.transfer("1", "2")
    for _ in range(9):
        cluster.tick("1")
        cluster.settle()
        with pytest.raises(ProposalDropped):
            cluster.propose("1", b"x")
    cluster.tick("1")
    cluster.propose("1", b"x")


@pytest.mark.parametrize("target", ["1", "4", "5"])
def test_leadership_goes_only_to_another_voter(target: str) -> None:
    """3.10, and the design: not to itself, a learner, or somebody unknown."""
    cluster = Cluster.of(4, voters=3)
    cluster.elect("1")
    assert not cluster.transfer("1", target)
    cluster["1"].unfit = frozenset({"2"})
    assert not cluster.transfer("1", "2")
    assert not cluster.transfer("2", "3")


def test_an_order_to_campaign_counts_only_from_the_leader() -> None:
    """3.10: it comes from the prior leader; a late one, or one of somebody else, is nothing."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.hand(TimeoutNow("2", "3", 1))
    cluster.hand(TimeoutNow("2", "1", 0))
    cluster.hand(TimeoutNow("1", "2", 1))
    assert {node.core.term for node in cluster.up} == {1}


def test_the_preferred_master_gets_leadership_back() -> None:
    """3.10, and the design: after a quiet while, without a failed write; each loss doubles the wait."""
    cluster = Cluster.of(3, preferred_id="1", failback_ticks=10)
    cluster.elect("2")
    cluster.beat(4)
    assert cluster["2"].is_leader
    cluster.beat(3)
    assert cluster["1"].is_leader
    assert cluster["2"].failback_wait_ticks == 20


def test_the_wait_of_a_loss_long_ago_is_forgotten() -> None:
    """The design: the wait doubles only while losses follow each other."""
    cluster = Cluster.of(3, preferred_id="1", failback_ticks=10, failback_ticks_max=40)
    cluster.elect("2")
    cluster.beat(30)
    cluster.elect("2")
    assert cluster["2"].failback_wait_ticks == 10


def test_the_wait_of_a_loss_just_now_stays_doubled_however_long_the_node_runs() -> None:
    """The design: what counts is when leadership was last given back."""
    cluster = Cluster.of(3, preferred_id="1", failback_ticks=10, failback_ticks_max=40)
    cluster.elect("2")
    cluster.cut("1")
    cluster.beat(40)
    cluster.heal()
    cluster.beat(12)
    assert cluster["1"].is_leader
    cluster.elect("2")
    assert cluster["2"].failback_wait_ticks == 20


def test_a_preferred_master_that_is_silent_for_two_heartbeats_is_waited_for_anew() -> None:
    """The design: it gets leadership only while it is known to be there."""
    cluster = Cluster.of(3, preferred_id="1", failback_ticks=30)
    cluster.elect("2")
    cluster.beat(4)
    leading = cluster["2"].leading
    assert leading is not None
    assert leading.ticks == leading.progress["1"].acked_tick == 8
    quiet = leading.quiet_ticks
    cluster.cut("1")
    cluster.tick("2", count=4)
    assert leading.quiet_ticks == quiet + 4
    cluster.tick("2")
    assert leading.quiet_ticks == 0


def held(cluster: Cluster, leader: str, target: str) -> None:
    """As an operator asks for it."""
    assert cluster[leader].transfer(target, holds=True)
    cluster.turn(leader)
    cluster.settle()
    assert cluster[target].is_leader


def test_an_operators_transfer_is_not_undone_by_the_failback() -> None:
    """The design: the preferred master does not take back at once what an operator took from it."""
    cluster = Cluster.of(3, preferred_id="1", failback_ticks=10, hold_ticks=200)
    cluster.elect("1")
    held(cluster, "1", "2")
    cluster.beat(60)
    assert cluster["2"].is_leader


def test_an_operators_transfer_holds_for_so_long_and_no_longer() -> None:
    """The design: in the end the config says who leads."""
    cluster = Cluster.of(3, preferred_id="1", failback_ticks=10, hold_ticks=60)
    cluster.elect("1")
    held(cluster, "1", "2")
    cluster.beat(25)
    assert cluster["2"].is_leader
    cluster.beat(10)
    assert cluster["1"].is_leader


def test_an_operators_transfer_holds_no_longer_than_the_leadership_that_it_gave() -> None:
    """The design: a loss of leadership ends it, also where the same node is elected again."""
    cluster = Cluster.of(3, preferred_id="1", failback_ticks=10, hold_ticks=200)
    cluster.elect("1")
    held(cluster, "1", "2")
    cluster["2"].step_down()
    cluster.elect("2")
    cluster.beat(7)
    assert cluster["1"].is_leader


def test_any_other_transfer_holds_nothing() -> None:
    """The design: a node that ends, or whose disk is full, hands over for a while only."""
    cluster = Cluster.of(3, preferred_id="1", failback_ticks=10, hold_ticks=200)
    cluster.elect("1")
    cluster.transfer("1", "2")
    cluster.settle()
    assert cluster["2"].is_leader
    cluster.beat(7)
    assert cluster["1"].is_leader


def test_an_order_to_take_over_counts_only_from_the_leader() -> None:
    """3.10, as for TimeoutNow."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.hand(TakeOver("2", "3", 1))
    cluster.hand(TakeOver("2", "1", 0))
    cluster.hand(TakeOver("1", "2", 1))
    assert {node.core.term for node in cluster.up} == {1}
