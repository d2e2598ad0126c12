"""The contract with the driver: what `ready` hands out and when, and calls that mean nothing in a role."""

from __future__ import annotations

import random

import pytest
from raft_cluster import Cluster, Disk, Node

from ddbd.raft.core import Raft, RaftConfig
from ddbd.raft.log import CacheLimits, RaftLog
from ddbd.raft.messages import AppendEntries, AppendResponse, HeartbeatResponse, InstallSnapshot, RequestVote, TimeoutNow, VoteResponse
from ddbd.raft.progress import Pace
from ddbd.raft.types import Entry, EntryKind, HardState, Membership, Role, SnapshotMeta


def entries(first: int, *terms: int) -> tuple[Entry, ...]:
    return tuple(Entry(first + place, term, 0, EntryKind.COMMAND, b"x") for place, term in enumerate(terms))


def test_a_node_starts_from_its_disk() -> None:
    disk = Disk(Membership.of(["1"]))
    disk.save(HardState(3, "1", 2), entries(1, 1, 2, 3))
    node = Node(RaftConfig("1"), disk, random.Random(0), CacheLimits())
    assert (node.core.term, node.core.vote, node.core.commit_index, node.core.applied_index) == (3, "1", 2, 0)
    disk.hard_state = HardState(3, "1", 9)
    node.start()
    assert node.core.commit_index == 3


def test_tables_that_are_not_within_the_log_are_refused() -> None:
    disk = Disk(Membership.of(["1"]))
    log = RaftLog(disk, disk.base, 0)
    with pytest.raises(AssertionError, match="applied 5"):
        Raft(RaftConfig("1"), log, HardState(), 5, random.Random(0))


def test_one_save_is_under_way_at_a_time() -> None:
    cluster = Cluster.of(3)
    core = cluster.elect("1")
    cluster.hold("1")
    cluster.propose("1", b"x")
    cluster.propose("1", b"y")
    assert core.is_saving
    assert not core.ready().must_save
    cluster.release("1")
    assert core.log.saved_index == 3
    with pytest.raises(AssertionError, match="without a save"):
        core.saved()


def test_a_late_save_does_not_vouch_for_what_took_its_place() -> None:
    """The disk finishes old entries after a newer leader replaced them in memory."""
    cluster = Cluster.of(3)
    cluster.hold("1")
    cluster.hand(AppendEntries("1", "2", 1, 0, 0, entries(1, 1, 1), 0))
    cluster.hand(AppendEntries("1", "3", 2, 0, 0, entries(1, 2), 1))
    assert cluster["1"].applied_index == 0
    cluster.release("1")
    assert [entry.term for entry in cluster.nodes["1"].disk.entries] == [2]
    assert cluster["1"].applied_index == 1


def test_a_vote_for_oneself_that_came_too_late_does_not_count() -> None:
    """The save of an older candidacy ends in a newer one."""
    cluster = Cluster.of(1)
    core = cluster["1"]
    cluster.hold("1")
    cluster.campaign("1")
    assert (core.role, core.term) == (Role.CANDIDATE, 1)
    cluster.campaign("1")
    assert (core.role, core.term) == (Role.CANDIDATE, 2)
    cluster._save(cluster.nodes["1"])
    assert core.role is Role.CANDIDATE
    cluster.turn("1")
    cluster.release("1")
    assert core.is_leader


def test_what_is_handed_out_at_once_is_bounded() -> None:
    cluster = Cluster.of(1, apply_entries_max=2, apply_bytes_max=3)
    core = cluster.elect("1")
    core.propose([b"12", b"34", b"5", b"6", b"7"], 0)
    save = core.ready()
    cluster.nodes["1"].disk.save(save.hard_state, save.entries)
    core.saved()
    found = [(core.next_bytes(), [entry.index for entry in core.ready().committed]) for _ in range(4)]
    assert found == [(2, [2]), (3, [3, 4]), (2, [5, 6]), (0, [])]


def settle(cluster: Cluster) -> None:
    cluster.turn("1")
    cluster.settle()


def test_a_core_is_idle_exactly_when_a_ready_would_be_empty() -> None:
    cluster = Cluster.of(3, commit_waits=True)
    core = cluster.elect("1")
    cluster.settle()
    assert core.is_idle()
    cluster.checks.read_asked((1, 1))
    core.request_reads([(1, 1)])
    assert not core.is_idle(), "a read waits for its round"
    settle(cluster)
    assert core.is_idle()
    core.propose([b"x"], 0)
    assert not core.is_idle(), "an entry is neither saved nor sent"
    settle(cluster)
    assert core.is_idle(), "the commit has nobody who waits for it"
    assert core.leading is not None
    assert core.leading.progress["2"].sent_commit < core.commit_index
    core.tell_commit("2")
    assert not core.is_idle()
    settle(cluster)
    assert (cluster["2"].commit_index, cluster["3"].commit_index) == (2, 1)
    cluster["2"].tell_commit("1")
    assert cluster["2"].is_idle(), "only a leader tells"
    core.tell_commit("9")
    assert core.is_idle(), "a stranger is told nothing"


def test_a_tick_forgets_nobody_who_waits_for_a_commit_that_is_still_to_come() -> None:
    """A slow disk, or a slow network: heartbeats pass before the entry is committed."""
    cluster = Cluster.of(3, commit_waits=True)
    core = cluster.elect("1")
    cluster.settle()
    cluster.hold("2")
    cluster.hold("3")
    core.propose([b"x"], 0)
    core.tell_commit("2")
    settle(cluster)
    for _ in range(core.config.heartbeat_ticks):
        core.tick()
        settle(cluster)
    assert core.commit_index == 1
    cluster.release("3")
    cluster.settle()
    assert core.commit_index == 2
    assert (cluster["2"].commit_index, cluster["3"].commit_index) == (2, 1), "who waits is told at once, who does not is not"


def test_a_follower_with_a_snapshot_on_offer_is_not_idle() -> None:
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.settle()
    cluster.hand(InstallSnapshot("2", "1", 1, SnapshotMeta(9, 1, 0, cluster["1"].membership), "token"))
    assert cluster["2"].pending_snapshot is not None
    assert not cluster["2"].is_idle()


def test_who_does_not_lead_ignores_what_is_for_leaders() -> None:
    cluster = Cluster.of(3)
    core = cluster["2"]
    core.forget_peer("1")
    core.offer_snapshot("1", SnapshotMeta(0, 0, 0, cluster.membership), "t")
    core.step_down()
    for message in (AppendResponse("2", "1", 0, 1, False, 0, 0), HeartbeatResponse("2", "1", 0, 1, 1)):
        cluster.hand(message)
    assert cluster.network == []


def test_a_leader_ignores_strangers_and_late_votes() -> None:
    cluster = Cluster.of(3)
    core = cluster.elect("1")
    core.forget_peer("9")
    core.offer_snapshot("9", SnapshotMeta(0, 0, 0, cluster.membership), "t")
    for message in (VoteResponse("1", "2", 1, False, True), VoteResponse("1", "2", 1, True, False), HeartbeatResponse("1", "9", 1, 7, 7)):
        cluster.hand(message)
    assert core.is_leader
    assert cluster.network == []


def test_a_message_for_somebody_else_is_a_broken_invariant() -> None:
    with pytest.raises(AssertionError, match="came to 1"):
        Cluster.of(3)["1"].step(TimeoutNow("2", "3", 1))


def test_two_leaders_in_a_term_are_a_broken_invariant() -> None:
    cluster = Cluster.of(3)
    cluster.elect("1")
    for receiver in ("1", "2"):
        with pytest.raises(AssertionError, match="two leaders"):
            cluster.hand(AppendEntries(receiver, "3", 1, 0, 0, (), 0))


def test_a_committed_entry_that_would_be_replaced_stays() -> None:
    """What is committed matches by Leader Completeness, so it is not even looked at."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.hand(AppendEntries("2", "3", 5, 0, 0, entries(1, 5), 1))
    assert cluster["2"].log.term_at(1) == 1


def test_a_learner_says_so_and_refuses_no_leader_hint() -> None:
    cluster = Cluster.of(3, voters=2)
    assert [node.core.is_learner for node in cluster.up] == [False, False, True]
    cluster.elect("1")
    cluster.refuse("3", "1")
    assert cluster["3"].role is Role.FOLLOWER
    cluster.hand(TimeoutNow("3", "1", 1))
    assert cluster["3"].role is Role.FOLLOWER


def test_an_answer_while_a_snapshot_is_awaited_keeps_the_offer() -> None:
    cluster = Cluster.of(3)
    leading = cluster.elect("1").leading
    assert leading is not None
    cluster.propose("1", b"x", b"y")
    cluster.settle()
    cluster.compact("1", 3)
    cluster["1"].forget_peer("2")
    cluster.offer("1", "2")
    cluster.hand(AppendResponse("1", "2", 1, 1, False, 0, 0))
    assert "2" in leading.offers
    cluster.hand(AppendResponse("1", "2", 1, 3, False, 0, 0))
    assert "2" not in leading.offers


def test_a_full_pipeline_that_was_lost_starts_again_at_a_heartbeat() -> None:
    cluster = Cluster.of(3, append_messages_max=2, append_bytes_max=1)
    cluster.elect("1")
    cluster.propose("1", b"a", b"b", b"c", b"d")
    cluster.drop()
    cluster.beat(3)
    assert {node.core.applied_index for node in cluster.up} == {5}


def test_a_far_follower_gets_no_more_at_once_than_may_be_in_flight() -> None:
    """Else one turn would read, encode and queue a whole tail of the log, and the leader's heartbeats would come too late."""
    cluster = Cluster.of(2, voters=1, append_bytes_max=10, inflight_bytes_max=30)
    leader = cluster.elect("1")
    cluster.cut("2")
    for _ in range(50):
        cluster.propose("1", b"x" * 10)
    cluster.heal()
    leader.forget_peer("2")
    cluster.tick("1", count=2)
    in_flight = 0
    while cluster["2"].log.last_index < leader.log.last_index:
        cluster.deliver()
        appends = [message for message in cluster.network if isinstance(message, AppendEntries)]
        in_flight = max(in_flight, sum(len(entry.data) for message in appends for entry in message.entries))
    assert in_flight == 30


def test_a_slow_follower_with_a_full_pipeline_gets_no_entries_for_its_heartbeats() -> None:
    """It hears, and its answers take long: each heartbeat would put more into a queue that is not emptied."""
    cluster = Cluster.of(2, voters=1, append_bytes_max=1, append_messages_max=2)
    cluster.elect("1")
    cluster.propose("1", b"a", b"b", b"c", b"d", b"e")
    for _ in range(5):
        cluster.tick("1", count=2)
        for _there_and_back in range(2):
            cluster.deliver(lambda message: not isinstance(message, AppendEntries))
    assert len([message for message in cluster.network if isinstance(message, AppendEntries) and message.entries]) == 2
    cluster.settle()
    assert cluster["2"].log.last_index == cluster["1"].log.last_index


def test_a_full_pipeline_whose_entries_are_compacted_ends_in_a_snapshot() -> None:
    cluster = Cluster.of(2, voters=1, append_bytes_max=1, append_messages_max=1)
    cluster.elect("1")
    cluster.propose("1", b"a", b"b", b"c")
    cluster.drop()
    cluster.compact("1", 4)
    cluster.beat(2)
    assert cluster.nodes["1"].wanted == {"2"}


def test_a_follower_that_waits_for_other_tables_still_gets_the_log_and_acknowledges_it() -> None:
    """Its log is good, and its fetch may take minutes: until then it may be the one that a majority needs."""
    cluster = Cluster.of(3)
    leader = cluster.elect("1")
    cluster["3"].freeze()
    cluster.offer("1", "3")
    cluster.settle()
    assert cluster["3"].pending_snapshot is not None
    cluster.crash("2")
    index = cluster.propose("1", b"x")
    cluster.beat()
    assert leader.commit_index == index
    cluster.install("3")
    cluster.beat()
    assert cluster["3"].applied_index == index


def test_who_cannot_campaign_forgets_a_leader_that_is_silent() -> None:
    """Its clients would be sent to a node that is gone, and their writes would not be held."""
    cluster = Cluster.of(3, voters=2)
    cluster.elect("1")
    cluster["2"].freeze()
    assert (cluster["2"].leader_id, cluster["3"].leader_id) == ("1", "1")
    cluster.crash("1")
    cluster.tick("2", "3", count=30)
    assert (cluster["2"].leader_id, cluster["3"].leader_id) == (None, None)
    assert (cluster["2"].term, cluster["3"].term) == (1, 1)


def test_what_is_compacted_was_applied() -> None:
    cluster = Cluster.of(1)
    core = cluster.elect("1")
    with pytest.raises(AssertionError, match="compacted to 5"):
        core.compact(SnapshotMeta(5, 1, 0, cluster.membership))


def test_a_snapshot_is_not_installed_during_a_save_or_behind_what_is_applied() -> None:
    cluster = Cluster.of(1)
    core = cluster.elect("1")
    with pytest.raises(AssertionError, match="already applied"):
        core.installed(SnapshotMeta(0, 0, 0, cluster.membership))
    cluster.hold("1")
    cluster.propose("1", b"x")
    with pytest.raises(AssertionError, match="during a save"):
        core.installed(SnapshotMeta(2, 1, 0, cluster.membership))


def test_a_snapshot_installed_without_a_leader_is_acknowledged_to_nobody() -> None:
    cluster = Cluster.of(3)
    cluster["1"].installed(SnapshotMeta(4, 1, 0, cluster.membership))
    assert (cluster["1"].applied_index, cluster["1"].ready().after_save) == (4, ())


def test_an_old_vote_request_is_not_answered() -> None:
    """5.1: its sender campaigns again, and then learns of the newer term."""
    cluster = Cluster.with_logs([3], [3], [3])
    cluster.hand(RequestVote("1", "2", 2, 9, 9, False, False))
    assert cluster.network == []


def test_a_proposal_is_stamped_no_earlier_than_the_one_before() -> None:
    cluster = Cluster.of(1)
    core = cluster.elect("1")
    for stamp in (7, 5):
        core.propose([b"x"], stamp)
    assert core.log.last_stamp == 7


def test_a_turn_goes_on_until_everything_was_handed_out() -> None:
    """Messages, reads and snapshots that are wanted count as well as entries to apply."""
    cluster = Cluster.of(3)
    core = cluster.elect("1")
    assert not core.has_more()
    core.tick()
    core.tick()
    assert core.has_more()
    core.ready()
    assert not core.has_more()


def test_a_node_that_nobody_knew_gets_the_log_as_soon_as_it_is_in_the_membership() -> None:
    cluster = Cluster.of(3)
    cluster.nodes["4"] = Node(RaftConfig("4"), Disk(Membership(())), random.Random(0), CacheLimits())
    cluster.elect("1")
    cluster.change("1", ["1", "2", "3"], ["4"])
    cluster.settle()
    assert cluster["4"].applied_index == 2
    assert cluster["4"].membership == Membership.of(["1", "2", "3"], ["4"])


def test_a_second_offer_waits_until_the_first_is_done() -> None:
    """Catalogue 11 (etcd #18055): two snapshots close together."""
    cluster = Cluster.of(3)
    for index in (5, 7):
        cluster.hand(InstallSnapshot("2", "1", 1, SnapshotMeta(index, 1, 0, cluster.membership), f"t{index}"))
    assert cluster["2"].pending_snapshot is not None
    assert cluster["2"].pending_snapshot.token == "t5"


def test_a_follower_that_caught_up_otherwise_needs_no_snapshot() -> None:
    """None was made yet, and an answer shows that the log still has what comes next."""
    cluster = Cluster.of(3)
    leading = cluster.elect("1").leading
    assert leading is not None
    leading.progress["2"].to_snapshot()
    cluster.hand(AppendResponse("1", "2", 1, 1, False, 0, 0))
    assert leading.progress["2"].pace is Pace.REPLICATE


def test_an_acknowledgement_of_what_was_never_sent_moves_nothing() -> None:
    cluster = Cluster.of(3)
    leading = cluster.elect("1").leading
    assert leading is not None
    cluster.hand(AppendResponse("1", "2", 1, 99, False, 0, 0))
    assert (leading.progress["2"].match_index, cluster.nodes["1"].wanted) == (1, set())


def test_who_knows_the_leader_of_a_term_votes_for_nobody_else_in_it() -> None:
    cluster = Cluster.of(3)
    cluster.hand(AppendEntries("2", "1", 1, 0, 0, (), 0))
    cluster.network.clear()
    cluster.hand(RequestVote("2", "3", 1, 9, 1, False, False))
    assert cluster.network == [VoteResponse("3", "2", 1, False, False)]


def test_a_pre_vote_for_the_own_term_is_refused() -> None:
    """Nobody can campaign in a term that has begun."""
    cluster = Cluster.with_logs([3], [3], [3])
    cluster.hand(RequestVote("2", "3", 3, 9, 3, True, False))
    assert cluster.network == [VoteResponse("3", "2", 3, True, False)]
