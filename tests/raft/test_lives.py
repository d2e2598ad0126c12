"""Nodes that lost their disk, and changes of membership that meet a crash. Each test of the second half was a bug of this core."""

from __future__ import annotations

import pytest
from raft_cluster import Cluster

from ddbd.raft.leader import REFUSALS_MAX
from ddbd.raft.messages import AppendEntries, AppendResponse, HeartbeatResponse, InstallSnapshot, RequestVote, VoteResponse
from ddbd.raft.progress import Pace
from ddbd.raft.types import HardState, Membership, Role, SnapshotMeta

# Lives: a node that lost its disk.


def test_a_wiped_node_never_votes_until_it_is_promoted() -> None:
    """Catalogue 18 (openraft FAQ): it forgot its votes and its acknowledgements."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.wipe("3", "new")
    cluster.network.clear()
    cluster.hand(RequestVote("3", "2", 9, 99, 9, True, False))
    cluster.hand(RequestVote("3", "2", 9, 99, 9, False, False))
    assert [message.granted for message in cluster.network if isinstance(message, VoteResponse)] == [False, False]
    cluster.tick("3", count=50)
    assert cluster["3"].role is Role.FOLLOWER


def test_a_wiped_node_is_demoted_catches_up_and_is_promoted_under_its_new_life() -> None:
    """The design: a committed entry first demotes it to learner; it votes under the life that it was promoted with."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.propose("1", b"x")
    cluster.settle()
    cluster.wipe("3", "new")
    cluster["1"].forget_peer("3")
    cluster.change("1", ["1", "2"], ["3"])
    cluster.beat(3)
    assert cluster["3"].applied_index == cluster["1"].applied_index
    cluster.change("1", ["1", "2", "3"], n3="new")
    cluster.beat(3)
    assert cluster["3"].membership == Membership(("1", "2", "3"), lives=(("3", "new"),))
    cluster.crash("1")
    cluster.elect("3")
    assert cluster["3"].is_leader


def test_a_late_answer_of_an_earlier_life_keeps_no_wiped_node_empty() -> None:
    """It comes once the node was forgotten, so the leader takes it for what the new disk holds (simulator: seed 12)."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.propose("1", b"x")
    cluster.settle()
    late = AppendResponse("1", "3", cluster["1"].term, 2, False, 0, 0)
    cluster.wipe("3", "new")
    cluster["1"].forget_peer("3")
    cluster.change("1", ["1", "2"], ["3"])
    cluster.hand(late)
    cluster.beat(REFUSALS_MAX + 3)
    assert cluster["3"].applied_index == cluster["1"].applied_index


def test_a_frozen_node_votes_and_acknowledges_but_neither_leads_nor_applies() -> None:
    """The design: its tables are wrong, its log is not; a snapshot heals it."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster["1"].freeze()
    cluster.turn("1")
    assert not cluster["1"].is_leader
    cluster.elect("2")
    cluster.crash("3")
    cluster.propose("2", b"x")
    cluster.beat(2)
    assert (cluster["2"].applied_index, cluster["1"].applied_index) == (3, 1)
    cluster.offer("2", "1")
    cluster.settle()
    cluster.install("1")
    assert (cluster["1"].is_frozen, cluster["1"].applied_index) == (False, 3)
    cluster.settle()
    cluster.propose("2", b"y")
    cluster.beat()
    assert cluster["1"].applied_index == 4


def test_an_acknowledgement_of_what_was_never_sent_is_not_believed() -> None:
    """A leader's log is the measure (5.3)."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.hand(AppendResponse("1", "2", 1, 99, False, 0, 0))
    cluster.hand(AppendResponse("1", "9", 1, 1, False, 0, 0))
    assert cluster["1"].commit_index == 1


# What was wrong once.


def test_what_a_wiped_voter_acknowledges_commits_nothing() -> None:
    """It may have voted for a newer leader and forgot: until it is demoted, its acknowledgements must not make a quorum."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.wipe("3", "new")
    cluster["1"].forget_peer("3")
    cluster.cut("2")
    cluster.propose("1", b"x")
    cluster.beat(3)
    assert cluster["3"].log.last_index == 2
    assert cluster["1"].commit_index == 1


def test_what_a_wiped_voter_hears_confirms_no_read() -> None:
    """The newer leader that it voted for may have committed more."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.wipe("3", "new")
    cluster.cut("2")
    cluster.read("1")
    cluster.settle()
    assert cluster.nodes["1"].reads == []
    cluster.hand(HeartbeatResponse("1", "3", 1, 0, 0))
    assert cluster.nodes["1"].reads == []


def test_an_acknowledgement_counts_from_the_promotion_on() -> None:
    """The one of the promotion's own entry counts for all before it."""
    cluster = Cluster.of(2)
    leading = cluster.elect("1").leading
    assert leading is not None
    cluster.hand(AppendResponse("1", "2", 1, 1, False, 0, 0, False))
    assert leading.progress["2"].counted_index == 1
    cluster.propose("1", b"x")
    cluster.network.clear()
    cluster.hand(AppendResponse("1", "2", 1, 2, False, 0, 0, False))
    assert (leading.progress["2"].match_index, cluster["1"].commit_index) == (2, 1)
    cluster.hand(AppendResponse("1", "2", 1, 2, False, 0, 0, True))
    assert cluster["1"].commit_index == 2


def test_a_voter_does_not_change_its_life() -> None:
    """First demoted, then promoted: else its former acknowledgements would count for the new disk."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    with pytest.raises(AssertionError, match="voter 3 changes its life"):
        cluster["1"].propose_membership(["1", "2", "3"], [], {"3": "new"})
    with pytest.raises(AssertionError, match="without voters"):
        cluster["1"].propose_membership([], ["1"], {})


def joint_without_its_leader() -> Cluster:
    """Node 4 joins. The joint entry is on every disk, nobody but the leader knows that it is committed, and the leader dies."""
    cluster = Cluster.of(4, voters=3)
    cluster.elect("1")
    cluster.change("1", ["1", "2", "3", "4"])
    cluster.deliver()
    cluster.drop()
    cluster.crash("1")
    return cluster


def test_a_joining_node_votes_before_it_knows_that_it_was_committed() -> None:
    """Thesis 4.2.2: else three of the four that are needed would wait for the dead leader for ever."""
    cluster = joint_without_its_leader()
    cluster.elect("2")
    assert cluster["2"].is_leader


def test_a_node_votes_whatever_its_own_log_says_of_it() -> None:
    """Thesis 4.2.2: a server grants its vote although the candidate's configuration is not in its log yet."""
    cluster = Cluster.of(4, voters=3)
    cluster.elect("1")
    cluster.cut("4")
    cluster.change("1", ["1", "2", "3", "4"])
    cluster.settle()
    cluster.heal()
    cluster.crash("1")
    cluster.drop()
    cluster.elect("2")
    assert cluster["4"].log.last_index == cluster["2"].log.last_index
    assert cluster["2"].is_leader


def test_a_promoted_node_votes_for_a_log_that_has_its_promotion() -> None:
    """Its own log need not have it: what the candidate's log knows is proof enough."""
    cluster = Cluster.of(3)
    cluster.wipe("3", "new")
    for life, granted in (("", False), ("old", False), ("new", True)):
        cluster.network.clear()
        cluster.hand(RequestVote("3", "2", 1, 5, 1, False, False, life))
        assert [message.granted for message in cluster.network if isinstance(message, VoteResponse)] == [granted]


def test_a_node_whose_removal_is_not_committed_still_campaigns() -> None:
    """Thesis 4.2.2: it alone may have the longest log. Here 1 handed everything to 2, and crashed before 2 had the last entry."""
    cluster = Cluster.of(2, voters=1)
    cluster.elect("1")
    cluster.change("1", ["2"], ["1"])
    cluster.deliver()
    cluster.deliver()
    assert cluster["1"].membership == Membership(("2",), (), ("1",))
    cluster.drop()
    cluster.crash("1")
    cluster.restart("1")
    for _ in range(60):
        cluster.tick()
        cluster.settle()
    assert cluster["2"].is_leader
    assert cluster["1"].leader_id == "2"


def test_a_follower_that_refuses_what_it_had_is_asked_once_a_heartbeat() -> None:
    """A lost disk that nobody reported yet: the probe and its refusal went round as fast as the network could carry them."""
    cluster = Cluster.of(3)
    leading = cluster.elect("1").leading
    cluster.propose("1", b"x")
    cluster.settle()
    cluster.wipe("3", "new")
    cluster.propose("1", b"y")
    cluster.settle()
    said: list[str] = []
    cluster.say = said.append
    cluster.beat()
    assert sum("1@1 -> 3 AppendEntries" in line for line in said) <= 2
    assert leading is not None
    assert leading.progress["3"].pace is Pace.PROBE
    cluster["1"].forget_peer("3")
    cluster.beat(2)
    assert cluster["3"].log.last_index == 3


def test_a_snapshot_over_entries_that_left_the_memory_asks_the_disk_for_none_of_them() -> None:
    """A quarantined node got one at an index whose entry the disk had just dropped, and died of reading it."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.propose("1", *[b"%d" % number for number in range(5)])
    cluster.beat()
    cluster.nodes["2"].disk.tables_index = 4
    cluster.nodes["2"].disk.hard_state = HardState(1, "1", 4)
    cluster.crash("2")
    cluster.nodes["2"].start()
    cluster["2"].freeze()
    cluster.turn("2")
    cluster.propose("1", b"more")
    cluster.settle()
    cluster.offer("1", "2")
    cluster.settle()
    cluster.install("2")
    cluster.beat(2)
    assert cluster["2"].applied_index == 7


def test_a_snapshot_over_a_stale_tail_that_left_the_memory_drops_it() -> None:
    """The tail was compared when the snapshot was offered, and did not match."""
    cluster = Cluster.with_logs([1], [1, 2, 2, 2, 2], [1])
    cluster.checks.committed_index = 3
    cluster.hand(InstallSnapshot("2", "1", 5, SnapshotMeta(3, 3, 0, cluster.membership), "t"))
    cluster.install("2")
    assert (cluster["2"].log.base.index, cluster["2"].log.last_index) == (3, 3)


def test_a_snapshot_that_can_no_longer_be_had_is_asked_for_anew() -> None:
    """Its file was removed while the follower was away; the offer went on, and every fetch of it failed."""
    cluster = Cluster.of(3)
    leading = cluster.elect("1").leading
    assert leading is not None
    cluster.crash("3")
    cluster.propose("1", b"x", b"y")
    cluster.settle()
    cluster.compact("1", 3)
    cluster["1"].forget_peer("3")
    cluster["1"].leading.progress["3"].next_index = 1  # type: ignore[union-attr]
    cluster.turn("1")
    token = cluster.offer("1", "3")
    cluster["1"].withdraw_snapshot("another")
    assert leading.offers.keys() == {"3"}
    cluster["1"].withdraw_snapshot(token)
    cluster.turn("1")
    assert (leading.offers, cluster.nodes["1"].wanted) == ({}, {"3"})
    cluster["2"].withdraw_snapshot(token)


def test_a_removed_node_is_offered_no_snapshot() -> None:
    """The offer outlived its membership, and was repeated for ever."""
    cluster = Cluster.of(4, voters=3)
    leading = cluster.elect("1").leading
    assert leading is not None
    cluster.crash("4")
    cluster.offer("1", "4")
    cluster.change("1", ["1", "2", "3"])
    cluster.settle()
    assert (leading.offers, "4" in leading.progress) == ({}, False)
    cluster.offer("1", "4")
    assert leading.offers == {}


def test_pre_votes_that_come_on_different_ticks_count_together() -> None:
    """Asking again each tick threw away what had been granted before: with answers slower than a tick nobody was elected."""
    cluster = Cluster.of(5)
    cluster.campaign("1")
    cluster.hand(VoteResponse("1", "2", 1, True, True))
    cluster.tick("1")
    cluster.hand(VoteResponse("1", "3", 1, True, True))
    assert cluster["1"].role is Role.CANDIDATE


def test_messages_to_a_node_in_an_older_life_are_harmless() -> None:
    """An append behind what the wiped node has is refused, not believed."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.wipe("3", "new")
    cluster.network.clear()
    cluster.hand(AppendEntries("3", "1", 1, 1, 1, (), 1))
    assert [message.rejected for message in cluster.network if isinstance(message, AppendResponse)] == [True]
