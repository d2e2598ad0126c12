"""One test for each rule of the Raft paper: elections, replication, safety. The thesis has its own file."""

from __future__ import annotations

import pytest
from raft_cluster import Cluster

from ddbd.raft.core import ProposalDropped, Raft
from ddbd.raft.messages import AppendEntries, AppendResponse, Heartbeat, RaftMessage, RequestVote, VoteResponse
from ddbd.raft.types import Entry, EntryKind, Role


def entry(index: int, term: int, data: bytes = b"x") -> Entry:
    return Entry(index, term, 0, EntryKind.COMMAND, data)


def terms(core: Raft) -> list[int]:
    return [core.log.term_at(index) or 0 for index in range(1, core.log.last_index + 1)]


def sent(cluster: Cluster, kind: type, sender: str) -> list[RaftMessage]:
    return [message for message in cluster.network if isinstance(message, kind) and message.sender == sender]


# 5.1 Terms.


def test_a_node_that_hears_of_a_newer_term_takes_it() -> None:
    """5.1: if one server's current term is smaller than the other's, then it updates its current term to the larger value."""
    cluster = Cluster.of(3)
    cluster.hand(AppendEntries("1", "2", 7, 0, 0, (), 0))
    assert cluster["1"].term == 7
    assert cluster.nodes["1"].disk.hard_state.term == 7


@pytest.mark.parametrize("role", [Role.CANDIDATE, Role.LEADER])
def test_a_candidate_or_leader_of_an_old_term_becomes_a_follower(role: Role) -> None:
    """5.1: if a candidate or leader discovers that its term is out of date, it immediately reverts to follower state."""
    cluster = Cluster.of(3)
    cluster.campaign("1")
    cluster.settle() if role is Role.LEADER else cluster.deliver(lambda m: isinstance(m, RequestVote) and m.pre)
    cluster.deliver(lambda m: isinstance(m, VoteResponse) and m.pre)
    assert cluster["1"].role is role
    cluster.hand(AppendResponse("1", "2", 5, 0, True, 0, 0))
    assert (cluster["1"].role, cluster["1"].term) == (Role.FOLLOWER, 5)


def test_a_message_of_an_old_term_is_refused() -> None:
    """5.1: if a server receives a request with a stale term number, it rejects the request."""
    cluster = Cluster.with_logs([3], [3], [3])
    cluster.hand(AppendEntries("1", "2", 2, 0, 0, (entry(1, 2),), 0))
    assert terms(cluster["1"]) == [3]
    assert sent(cluster, AppendResponse, "1") == [AppendResponse("2", "1", 3, 0, True, 0, 0)]


def test_a_stale_candidate_learns_of_the_newer_term_by_its_pre_vote() -> None:
    """5.1: current terms are exchanged whenever servers communicate."""
    cluster = Cluster.with_logs([1], [5], [5])
    cluster.campaign("1")
    cluster.settle()
    assert (cluster["1"].term, cluster["1"].role) == (5, Role.FOLLOWER)


def test_the_term_survives_a_crash() -> None:
    """5.1, figure 2: currentTerm is persistent."""
    cluster = Cluster.of(3)
    cluster.hand(AppendEntries("1", "2", 7, 0, 0, (), 0))
    cluster.crash("1")
    cluster.restart("1")
    assert cluster["1"].term == 7


# 5.2 Leader election.


def test_nodes_start_as_followers() -> None:
    """5.2: when servers start up, they begin as followers."""
    assert {node.core.role for node in Cluster.of(3).up} == {Role.FOLLOWER}


def test_a_follower_that_hears_its_leader_stays_one() -> None:
    """5.2: a server remains in follower state as long as it receives valid RPCs from a leader."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.beat(100)
    assert [node.core.role for node in cluster.up] == [Role.LEADER, Role.FOLLOWER, Role.FOLLOWER]
    assert {node.core.term for node in cluster.up} == {1}


def test_a_follower_that_hears_nobody_begins_an_election() -> None:
    """5.2: if a follower receives no communication over the election timeout, it begins an election."""
    cluster = Cluster.of(3)
    cluster.tick("1", count=9)
    assert cluster["1"].role is Role.FOLLOWER
    cluster.tick("1")
    assert cluster["1"].role is Role.PRE_CANDIDATE


def test_a_candidate_raises_its_term_votes_for_itself_and_asks_all_others() -> None:
    """5.2: a follower increments its current term, votes for itself and issues RequestVote in parallel to each of the others."""
    cluster = Cluster.with_logs([1, 1], [1], [1])
    cluster.campaign("1")
    cluster.deliver()
    cluster.deliver()
    assert (cluster["1"].term, cluster["1"].vote) == (2, "1")
    assert sent(cluster, RequestVote, "1") == [RequestVote(peer, "1", 2, 2, 1, False, False) for peer in ("2", "3")]


def test_votes_of_a_majority_make_a_leader() -> None:
    """5.2: a candidate wins an election if it receives votes from a majority of the servers."""
    cluster = Cluster.of(5)
    cluster.cut("4", "5")
    cluster.campaign("1")
    cluster.settle()
    assert cluster["1"].role is Role.LEADER


def test_votes_of_a_minority_make_no_leader() -> None:
    """5.2: the majority rule ensures that at most one candidate can win the election for a particular term."""
    cluster = Cluster.of(5)
    cluster.cut("1", "2")
    cluster.campaign("1")
    cluster.settle()
    assert cluster["1"].role is Role.PRE_CANDIDATE
    assert cluster["1"].term == 0


def test_a_node_votes_for_one_candidate_a_term_first_come_first_served() -> None:
    """5.2: each server will vote for at most one candidate in a given term."""
    cluster = Cluster.of(3)
    cluster.hand(RequestVote("3", "1", 1, 0, 0, False, False))
    cluster.hand(RequestVote("3", "2", 1, 0, 0, False, False))
    assert sent(cluster, VoteResponse, "3") == [VoteResponse("1", "3", 1, False, True), VoteResponse("2", "3", 1, False, False)]


def test_the_vote_survives_a_crash_and_is_repeated_to_the_same_candidate() -> None:
    """5.2, figure 2: votedFor is persistent; a repeated request gets the same answer."""
    cluster = Cluster.of(3)
    cluster.hand(RequestVote("3", "1", 1, 0, 0, False, False))
    cluster.crash("3")
    cluster.restart("3")
    cluster.network.clear()
    cluster.hand(RequestVote("3", "2", 1, 0, 0, False, False))
    cluster.hand(RequestVote("3", "1", 1, 0, 0, False, False))
    assert [message.granted for message in sent(cluster, VoteResponse, "3")] == [False, True]  # type: ignore[union-attr]


def test_a_vote_does_not_leave_before_the_disk_has_it() -> None:
    """Figure 2: persistent state is updated on stable storage before responding to RPCs (catalogue 1)."""
    cluster = Cluster.of(3)
    cluster.hold("3")
    cluster.hand(RequestVote("3", "1", 1, 0, 0, False, False))
    assert cluster.network == []
    cluster.release("3")
    assert sent(cluster, VoteResponse, "3") == [VoteResponse("1", "3", 1, False, True)]


def test_a_candidate_counts_its_own_vote_once_it_is_on_disk() -> None:
    """Figure 2, on the candidate's own side: one other vote is no majority of three while the own one may be forgotten."""
    cluster = Cluster.of(3)
    cluster.campaign("1")
    cluster.deliver()
    cluster.hold("1")
    cluster.deliver()
    cluster.hand(VoteResponse("1", "2", 1, False, True))
    assert cluster["1"].role is Role.CANDIDATE
    cluster.release("1")
    assert cluster["1"].role is Role.LEADER


def test_votes_of_an_older_term_do_not_count() -> None:
    """5.2 (catalogue 2, Xraft#33): a candidate counts the votes of its own term."""
    cluster = Cluster.of(3)
    cluster.campaign("1")
    cluster.deliver()
    cluster.deliver()
    late = [VoteResponse("1", peer, 1, False, True) for peer in ("2", "3")]
    cluster.network.clear()
    cluster.hand(AppendResponse("1", "2", 4, 0, True, 0, 0))
    cluster["1"].leader_is_gone = True
    cluster.campaign("1")
    cluster.hand(VoteResponse("1", "2", 5, True, True))
    assert (cluster["1"].role, cluster["1"].term) == (Role.CANDIDATE, 5)
    for message in late:
        cluster.hand(message)
    assert cluster["1"].role is Role.CANDIDATE


def test_a_pre_vote_is_no_vote() -> None:
    """Thesis 9.6 (catalogue 2): an answer to the question does not count in the election."""
    cluster = Cluster.of(3)
    cluster.campaign("1")
    cluster.hand(VoteResponse("1", "2", 1, True, True))
    assert cluster["1"].role is Role.CANDIDATE
    cluster.hand(VoteResponse("1", "3", 2, True, True))
    assert cluster["1"].role is Role.CANDIDATE


@pytest.mark.parametrize("kind", ["append", "heartbeat"])
def test_a_candidate_gives_way_to_a_leader_of_its_term(kind: str) -> None:
    """5.2: if the leader's term is at least as large as the candidate's, the candidate returns to follower state."""
    cluster = Cluster.of(3)
    cluster.campaign("1")
    cluster.hand(VoteResponse("1", "2", 1, True, True))
    cluster.hand(AppendEntries("1", "3", 1, 0, 0, (), 0) if kind == "append" else Heartbeat("1", "3", 1, 0))
    assert (cluster["1"].role, cluster["1"].leader_id) == (Role.FOLLOWER, "3")


def test_a_split_vote_ends_after_random_timeouts() -> None:
    """5.2: randomized election timeouts ensure that split votes are rare and that they are resolved quickly."""
    for seed in range(20):
        cluster = Cluster.of(4, seed=seed)
        for node in ("1", "2"):
            cluster[node].leader_is_gone = True
            cluster.campaign(node)
        for one, other in (("1", "3"), ("2", "4")):
            cluster.hand(VoteResponse(one, other, 1, True, True))
            cluster.hand(VoteResponse(one, "3" if other == "4" else "4", 1, True, True))
        cluster.deliver(lambda m: (m.sender, m.to) in {("1", "3"), ("2", "4")})
        cluster.settle()
        ticks = 0
        while cluster.leader is None:
            cluster.tick()
            cluster.deliver()
            ticks += 1
            assert ticks < 60, f"seed {seed}"


# 5.3 Log replication.


def test_the_leader_appends_and_sends_to_all_in_parallel() -> None:
    """5.3: the leader appends the command to its log as a new entry, then issues AppendEntries to each of the other servers."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.propose("1", b"x")
    assert sent(cluster, AppendEntries, "1") == [AppendEntries(peer, "1", 1, 1, 1, (entry(2, 1),), 1) for peer in ("2", "3")]


def test_an_entry_on_a_majority_is_committed_and_applied_everywhere() -> None:
    """5.3: once a follower learns that a log entry is committed, it applies the entry to its local state machine in log order."""
    cluster = Cluster.of(5)
    cluster.elect("1")
    cluster.crash("4")
    cluster.crash("5")
    cluster.propose("1", b"x")
    cluster.settle()
    assert [node.core.applied_index for node in cluster.up] == [2, 2, 2]


def test_an_entry_on_a_minority_is_not_committed() -> None:
    """5.3: a log entry is committed once the leader that created it has replicated it on a majority of the servers."""
    cluster = Cluster.of(5)
    cluster.elect("1")
    cluster.cut("1", "2")
    cluster.propose("1", b"x")
    cluster.settle()
    assert cluster["1"].commit_index == 1


def test_who_does_not_lead_takes_no_proposals() -> None:
    """5.1: followers simply respond; a command goes to the leader."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    with pytest.raises(ProposalDropped):
        cluster.propose("2", b"x")


@pytest.mark.parametrize(("prev_index", "prev_term", "rejected"), [(0, 0, False), (1, 1, False), (2, 2, False), (1, 2, True), (3, 3, True)])
def test_a_follower_refuses_entries_whose_predecessor_it_lacks(prev_index: int, prev_term: int, rejected: bool) -> None:
    """5.3: if the follower does not find an entry in its log with the same index and term, then it refuses the new entries."""
    cluster = Cluster.with_logs([1, 2], [1, 2], [1, 2])
    cluster.hand(AppendEntries("2", "1", 3, prev_index, prev_term, (), 0))
    assert [message.rejected for message in sent(cluster, AppendResponse, "2")] == [rejected]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("prev_index", "prev_term", "new", "expected"),
    [
        (2, 2, [entry(3, 3)], [1, 2, 3]),
        (1, 1, [entry(2, 3), entry(3, 4)], [1, 3, 4]),
        (0, 0, [entry(1, 1)], [1, 2]),
        (0, 0, [entry(1, 3)], [3]),
    ],
)
def test_conflicting_entries_are_replaced_and_matching_ones_are_kept(
    prev_index: int, prev_term: int, new: list[Entry], expected: list[int]
) -> None:
    """Figure 2, AppendEntries 3 and 4 (catalogue 6, RaftOS#26): only an entry that conflicts is deleted, and all that follow it."""
    cluster = Cluster.with_logs([1, 2], [1, 2], [1, 2])
    cluster.hand(AppendEntries("2", "1", 4, prev_index, prev_term, tuple(new), 0))
    assert terms(cluster["2"]) == expected
    assert [each.term for each in cluster.nodes["2"].disk.entries] == expected


@pytest.mark.parametrize(("leader_commit", "new", "expected"), [(1, 1, 1), (3, 1, 3), (5, 1, 3), (5, 0, 2), (9, 0, 2)])
def test_commit_follows_the_leader_up_to_the_last_new_entry(leader_commit: int, new: int, expected: int) -> None:
    """Figure 2, AppendEntries 5 (catalogue 7, scylladb #10578): min(leaderCommit, index of last new entry)."""
    cluster = Cluster.with_logs([1, 1], [1, 1, 1, 1, 1], [1])
    cluster.hand(AppendEntries("2", "1", 2, 2, 1, tuple(entry(3, 2) for _ in range(new)), leader_commit))
    assert cluster["2"].commit_index == expected


def test_commit_never_goes_back() -> None:
    """Figure 2: commitIndex increases monotonically (catalogue 4, PySyncObj#166)."""
    cluster = Cluster.with_logs([1], [1, 1, 1], [1])
    cluster.hand(AppendEntries("2", "1", 2, 3, 1, (), 3))
    cluster.hand(AppendEntries("2", "1", 2, 1, 1, (), 1))
    cluster.hand(AppendEntries("2", "1", 2, 0, 0, (entry(1, 1),), 0))
    assert cluster["2"].commit_index == 3


def test_late_answers_do_not_move_a_followers_progress_back() -> None:
    """Figure 2: matchIndex increases monotonically (catalogue 5, PySyncObj#167)."""
    cluster = Cluster.of(3)
    leading = cluster.elect("1").leading
    cluster.propose("1", b"x", b"y")
    cluster.settle()
    cluster.hand(AppendResponse("1", "2", 1, 1, False, 0, 0))
    cluster.hand(AppendResponse("1", "2", 1, 2, True, 1, 1))
    assert leading is not None
    assert (leading.progress["2"].match_index, leading.progress["2"].next_index) == (3, 4)


FIGURE_7 = {
    "a": [1, 1, 1, 4, 4, 5, 5, 6, 6],
    "b": [1, 1, 1, 4],
    "c": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    "d": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    "e": [1, 1, 1, 4, 4, 4, 4],
    "f": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
}


@pytest.mark.parametrize("follower", FIGURE_7.values(), ids=FIGURE_7)
def test_the_leader_brings_every_log_of_figure_7_into_agreement(follower: list[int]) -> None:
    """5.3: the leader finds the latest entry where the two logs agree, deletes what is behind it, and sends its own."""
    log = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
    cluster = Cluster.with_logs(log, follower, log)
    for node in cluster.up:
        node.core.term = 7
    cluster.crash("2")
    cluster.elect("1")
    cluster.restart("2")
    cluster.beat(5)
    assert terms(cluster["2"]) == [*log, 8]
    assert cluster["2"].applied_index == 11


def test_backing_up_skips_whole_terms() -> None:
    """5.3: one rejected AppendEntries for each term with conflicting entries, rather than one for each entry."""
    cluster = Cluster.with_logs([1] * 3 + [4] * 200, [1] * 3 + [2] * 100 + [3] * 100, [1] * 3 + [4] * 200)
    cluster.crash("2")
    cluster.elect("1")
    cluster.restart("2")
    said: list[str] = []
    cluster.say = said.append
    cluster.beat(3)
    assert terms(cluster["2"]) == terms(cluster["1"])
    assert sum("rejected" in line for line in said) <= 2


def test_a_repeated_append_changes_nothing() -> None:
    """5.5: Raft RPCs are idempotent (catalogue 8: nothing is there twice)."""
    cluster = Cluster.with_logs([1], [1], [1])
    message = AppendEntries("2", "1", 2, 0, 0, (entry(1, 1, b"1"), entry(2, 2)), 2)
    for _ in range(3):
        cluster.hand(message)
    assert terms(cluster["2"]) == [1, 2]
    assert cluster["2"].applied_index == 2


def test_a_repeated_append_is_not_saved_again() -> None:
    """5.5 (catalogue 6): what matches is left alone, the last entry too."""
    cluster = Cluster.with_logs([1], [1, 2], [1])
    cluster.hold("2")
    cluster.hand(AppendEntries("2", "1", 2, 1, 1, (Entry(2, 2, 0, EntryKind.COMMAND, b"2"),), 0))
    assert not cluster["2"].is_saving
