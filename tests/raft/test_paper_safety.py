"""The Raft paper, continued: safety (5.4), membership (6), compaction (7), clients (8)."""

from __future__ import annotations

import pytest
from raft_cluster import Cluster

from ddbd.raft.core import ProposalDropped
from ddbd.raft.messages import AppendEntries, AppendResponse, Heartbeat, HeartbeatResponse, InstallSnapshot, RequestVote, VoteResponse
from ddbd.raft.types import EntryKind, Membership, Role, SnapshotMeta

# 5.4 Safety.


@pytest.mark.parametrize(
    ("voter", "last_index", "last_term", "granted"),
    [
        ([1], 1, 1, True),
        ([1], 1, 2, True),
        ([1, 1], 1, 2, True),
        ([1], 2, 1, True),
        ([2], 1, 1, False),
        ([2], 2, 1, False),
        ([1, 1], 1, 1, False),
    ],
)
def test_a_vote_goes_to_a_log_that_is_up_to_date(voter: list[int], last_index: int, last_term: int, granted: bool) -> None:
    """5.4.1: the voter denies its vote if its own log is more up-to-date: by the last term first, then by the length."""
    for pre in (True, False):
        cluster = Cluster.with_logs([1], voter, [1])
        cluster.hand(RequestVote("2", "1", 3, last_index, last_term, pre, False))
        assert [message.granted for message in cluster.network if isinstance(message, VoteResponse)] == [granted]


def test_the_order_of_ids_never_beats_a_longer_log() -> None:
    """5.4.1, and the design: the order decides only among equally fit candidates."""
    cluster = Cluster.with_logs([1], [1, 1], [1, 1])
    for _ in range(40):
        cluster.tick()
        cluster.settle()
    assert cluster.leader is cluster["2"]


def test_an_entry_of_an_older_term_is_not_committed_by_counting() -> None:
    """5.4.2, figure 8 (catalogue 3, PySyncObj#169): only entries of the leader's current term are committed by counting replicas."""
    cluster = Cluster.with_logs([1, 2], [1, 2], [1], [1], [1, 3])
    for node in cluster.up:
        node.core.leader_is_gone = True
    cluster.campaign("1")
    while not cluster["1"].is_leader:
        cluster.deliver()
    leader = cluster["1"]
    assert leader.leading is not None
    cluster.drop()
    cluster.hand(AppendResponse("1", "2", leader.term, 2, False, 0, 0))
    cluster.hand(AppendResponse("1", "3", leader.term, 2, False, 0, 0))
    assert leader.commit_index == 0
    cluster.hand(AppendResponse("1", "3", leader.term, 3, False, 0, 0))
    cluster.hand(AppendResponse("1", "2", leader.term, 3, False, 0, 0))
    assert leader.commit_index == 3


def test_a_leader_counts_itself_only_for_what_is_on_its_disk() -> None:
    """Thesis 10.2.1 (catalogue 21): the leader may send before its own disk is done, and commits when a majority's disks are."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.hold("1")
    cluster.propose("1", b"x")
    assert [message.to for message in cluster.network if isinstance(message, AppendEntries)] == ["2", "3"]
    cluster.drop(lambda message: message.to == "3")
    cluster.settle()
    assert cluster["1"].commit_index == 1
    cluster.release("1")
    assert cluster["1"].commit_index == 2


def test_followers_may_commit_what_is_not_on_the_leaders_disk_yet() -> None:
    """Thesis 10.2.1: the leader may even commit an entry before it has been written to its own disk, and applies it afterwards."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.hold("1")
    cluster.propose("1", b"x")
    cluster.settle()
    assert (cluster["1"].commit_index, cluster["1"].applied_index) == (2, 1)
    assert cluster["2"].applied_index == 2
    cluster.release("1")
    assert cluster["1"].applied_index == 2


def test_a_leader_whose_save_was_lost_with_it_finds_its_entry_again() -> None:
    """10.2.1 with a crash: what the followers committed comes back to the node that never had it on disk."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.hold("1")
    cluster.propose("1", b"x")
    cluster.settle()
    cluster.crash("1")
    assert cluster.nodes["1"].disk.last_index == 1
    cluster.elect("2")
    cluster.restart("1")
    cluster.beat(2)
    assert cluster["1"].applied_index == 3


def test_an_acknowledgement_waits_for_the_disk() -> None:
    """Figure 2 (catalogue 21, NATS 2.12.1): updated on stable storage before responding to RPCs; heartbeats are answered meanwhile."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.hold("2")
    cluster.propose("1", b"x")
    cluster.deliver()
    cluster.tick("1", count=2)
    cluster.deliver(lambda message: isinstance(message, Heartbeat))
    answers = [type(message) for message in cluster.network if message.sender == "2"]
    assert answers == [HeartbeatResponse]
    cluster.release("2")
    assert AppendResponse in {type(message) for message in cluster.network if message.sender == "2"}


def test_an_acknowledgement_of_an_older_term_dies_with_it() -> None:
    """What it vouched for may be replaced before it is saved."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.hold("2")
    cluster.propose("1", b"x")
    cluster.deliver()
    cluster.propose("1", b"y")
    cluster.deliver()
    cluster.drop()
    cluster.hand(AppendEntries("2", "3", 5, 1, 1, (), 1))
    cluster.release("2")
    acknowledged = [(message.to, message.index) for message in cluster.network if isinstance(message, AppendResponse)]
    assert ("1", 3) not in acknowledged
    assert ("3", 1) in acknowledged


def test_a_node_applies_no_more_than_its_own_disk_has() -> None:
    """The design: up to min(commit_index, its own saved index), so that a power cut never leaves the tables ahead of the log."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.hold("2")
    cluster.propose("1", b"x")
    cluster.settle()
    cluster.beat()
    assert (cluster["2"].commit_index, cluster["2"].applied_index) == (2, 1)


def test_a_crashed_node_catches_up() -> None:
    """5.5: if followers crash, the leader retries indefinitely until all followers eventually store all log entries."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.crash("3")
    for number in range(50):
        cluster.propose("1", b"%d" % number)
        cluster.settle()
    cluster.restart("3")
    cluster.beat(3)
    assert cluster["3"].applied_index == 51


# 6 Membership.


def test_a_membership_is_in_force_as_soon_as_it_is_in_the_log() -> None:
    """6: a server always uses the latest configuration in its log, regardless of whether the entry is committed."""
    cluster = Cluster.of(4, voters=3)
    cluster.elect("1")
    cluster.change("1", ["1", "2", "4"], ["3"])
    assert cluster["1"].membership == Membership(("1", "2", "4"), ("1", "2", "3"), ("3",))
    cluster.settle()
    assert {node.core.membership for node in cluster.up} == {Membership(("1", "2", "4"), (), ("3",))}


def test_a_joint_change_needs_both_majorities() -> None:
    """6: agreement (for elections and entry commitment) requires separate majorities from both configurations."""
    for dead, commits in ((("2", "3"), False), (("4", "5"), False), (("2", "4"), True)):
        cluster = Cluster.of(5, voters=3)
        cluster.elect("1")
        for node in dead:
            cluster.crash(node)
        index = cluster.change("1", ["1", "4", "5"])
        cluster.settle()
        cluster.beat(2)
        assert (cluster["1"].commit_index >= index) is commits, dead


def test_one_change_at_a_time() -> None:
    """6 (catalogue 17): another change begins only when the one before is committed and left."""
    cluster = Cluster.of(4, voters=3)
    cluster.elect("1")
    cluster.change("1", ["1", "2", "4"], ["3"])
    with pytest.raises(ProposalDropped):
        cluster.change("1", ["1", "2", "3"], ["4"])
    cluster.settle()
    cluster.change("1", ["1", "2", "3"], ["4"])


def test_no_change_before_an_entry_of_the_own_term_is_committed() -> None:
    """Ongaro 2015 (catalogue 16): else two leaders could each commit a change by a majority of their own."""
    cluster = Cluster.of(3)
    cluster.campaign("1")
    while not cluster["1"].is_leader:
        cluster.deliver()
    with pytest.raises(ProposalDropped):
        cluster.change("1", ["1", "2"])


def test_a_learner_gets_entries_and_does_not_count() -> None:
    """6; thesis 4.2.1: new servers join as non-voting members."""
    cluster = Cluster.of(4, voters=3)
    cluster.elect("1")
    cluster.cut("1", "4")
    cluster.propose("1", b"x")
    cluster.settle()
    assert cluster["4"].log.last_index == 2
    assert cluster["1"].commit_index == 1
    cluster.tick("4", count=50)
    assert cluster["4"].role is Role.FOLLOWER


def test_a_leader_that_is_not_in_the_new_membership_leads_until_it_is_committed() -> None:
    """6: the leader steps down once it has committed the C_new log entry, and does not count itself in majorities."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.change("1", ["2", "3"])
    cluster.settle()
    assert not cluster["1"].is_leader
    assert cluster["1"].membership == Membership.of(["2", "3"])
    cluster.elect("2")
    cluster.beat()
    assert cluster["3"].commit_index == cluster["2"].log.last_index


def test_a_removed_node_does_not_disturb_the_others() -> None:
    """6 (catalogue 17): servers disregard RequestVote RPCs when they believe a current leader exists."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.cut("3")
    cluster.change("1", ["1", "2"])
    cluster.settle()
    cluster.heal()
    for _ in range(60):
        cluster.tick()
        cluster.settle()
    assert cluster["1"].is_leader
    assert cluster["1"].term == 1


def test_a_new_leader_finishes_a_change_that_it_found() -> None:
    """6: whoever leads next has C_old,new in its log, and goes on from there."""
    cluster = Cluster.of(4, voters=3)
    cluster.elect("1")
    cluster.change("1", ["1", "2", "4"], ["3"])
    cluster.deliver()
    cluster.crash("1")
    cluster.drop()
    cluster.elect("2")
    cluster.beat(2)
    assert cluster["2"].membership == Membership(("1", "2", "4"), (), ("3",))


# 7 Log compaction.


def lagging() -> Cluster:
    """Node 3 was away; what it needs is compacted."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.crash("3")
    cluster.propose("1", *[b"%d" % number for number in range(10)])
    cluster.settle()
    for node_id in ("1", "2"):
        cluster.compact(node_id, 8)
    cluster.restart("3")
    return cluster


def test_a_follower_that_needs_compacted_entries_gets_a_snapshot_and_goes_on_behind_it() -> None:
    """7: the leader must occasionally send snapshots to followers that lag behind."""
    cluster = lagging()
    cluster.beat(2)
    assert cluster.nodes["1"].wanted == {"3"}
    cluster.propose("1", b"more")
    cluster.offer("1", "3")
    cluster.settle()
    assert cluster["3"].pending_snapshot is not None
    cluster.install("3")
    cluster.propose("1", b"and more")
    cluster.settle()
    assert cluster["3"].applied_index == cluster["1"].applied_index == 13


def test_an_offer_that_was_lost_or_declined_is_made_again() -> None:
    """7: until the follower has a snapshot; a fetch may fail as often as it likes."""
    cluster = lagging()
    cluster.beat(2)
    token = cluster.offer("1", "3")
    cluster.drop(lambda message: isinstance(message, InstallSnapshot))
    cluster.beat()
    cluster["3"].declined("another")
    assert cluster["3"].pending_snapshot is not None
    cluster["3"].declined(token)
    assert cluster["3"].pending_snapshot is None
    cluster.beat()
    cluster.install("3")
    cluster.settle()
    assert cluster["3"].applied_index == cluster["1"].applied_index


def test_an_older_snapshot_is_not_installed() -> None:
    """Figure 13 (catalogue 11): what the node has already it does not need."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.propose("1", b"x")
    cluster.settle()
    cluster.hand(InstallSnapshot("2", "1", 1, SnapshotMeta(1, 1, 0, cluster.membership), "t"))
    assert cluster["2"].pending_snapshot is None
    assert [message.index for message in cluster.network if isinstance(message, AppendResponse)] == [2]


def test_a_snapshot_of_what_the_log_holds_only_commits_it() -> None:
    """Figure 13, 6: the same index and term mean the same log up to there."""
    cluster = Cluster.with_logs([1, 1, 1], [1, 1, 1], [1])
    cluster.hand(InstallSnapshot("2", "1", 2, SnapshotMeta(2, 1, 0, cluster.membership), "t"))
    assert (cluster["2"].commit_index, cluster["2"].pending_snapshot) == (2, None)


def test_the_term_does_not_go_back_with_a_snapshot() -> None:
    """Figure 13 (catalogue 9, WRaft#118.4): a snapshot's term is its last entry's, not the node's."""
    cluster = lagging()
    cluster["3"].step(Heartbeat("3", "1", 1, 0))
    cluster.beat(2)
    cluster.offer("1", "3")
    cluster.settle()
    cluster.hand(AppendEntries("3", "2", 9, 0, 0, (), 0))
    cluster.install("3")
    assert (cluster["3"].term, cluster["3"].log.base.term) == (9, 1)


def test_entries_behind_a_snapshot_are_kept_where_it_matches_and_dropped_where_not() -> None:
    """Figure 13, 6 and 7: retain log entries following it, or discard the entire log."""
    for term, expected in ((1, 4), (2, 3)):
        cluster = Cluster.with_logs([1], [1, 1, 1, 1], [1])
        core = cluster["2"]
        core.freeze()
        meta = SnapshotMeta(3, term, 0, cluster.membership)
        cluster.checks.committed_index = 3
        cluster.hand(InstallSnapshot("2", "1", 3, meta, "t"))
        cluster.install("2")
        assert (core.log.last_index, core.log.base.index) == (expected, 3)


# 8 Clients.


def test_a_new_leader_begins_with_an_empty_entry() -> None:
    """8: each leader commits a blank no-op entry into the log at the start of its term."""
    cluster = Cluster.with_logs([1], [1], [1])
    cluster.elect("1")
    assert cluster["1"].log.entries(2, 3, 1)[0].kind is EntryKind.EMPTY
    assert cluster["1"].commit_index == 2
