"""What the thesis adds, and the design: pre-vote, check-quorum, reads, the order of candidates. (Transfer: `test_transfer`.)"""

from __future__ import annotations

from raft_cluster import Cluster

from ddbd.raft.messages import (
    Heartbeat,
    HeartbeatResponse,
    ReadRequest,
    ReadResponse,
    RequestVote,
    VoteResponse,
)
from ddbd.raft.types import Role

# 9.6 Pre-vote, 6.2 check-quorum, 4.2.3 disruptive servers.


def test_a_pre_vote_changes_nobodys_term_or_vote() -> None:
    """9.6: a candidate only increments its term if it first learns from a majority that they would be willing to grant their votes."""
    cluster = Cluster.of(3)
    cluster.campaign("1")
    cluster.deliver()
    assert {(node.core.term, node.core.vote) for node in cluster.up} == {(0, None)}


def test_a_node_that_was_cut_off_comes_back_without_disturbing_the_others() -> None:
    """9.6 (catalogue 19): its term did not rise, and its log is behind."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.cut("3")
    cluster.tick("3", count=100)
    cluster.propose("1", b"x")
    cluster.settle()
    cluster.heal()
    cluster.tick("3", count=30)
    cluster.beat(3)
    assert (cluster["1"].is_leader, cluster["1"].term, cluster["3"].applied_index) == (True, 1, 2)


def test_a_follower_that_hears_its_leader_refuses_pre_votes_and_ignores_votes() -> None:
    """4.2.3: if a server receives a RequestVote within the minimum election timeout of hearing from a leader, it does nothing."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.hand(RequestVote("2", "3", 5, 9, 9, True, False))
    cluster.hand(RequestVote("2", "3", 5, 9, 9, False, False))
    cluster.hand(RequestVote("1", "3", 5, 9, 9, False, False))
    assert cluster.network == []
    assert {node.core.term for node in cluster.up} == {1}


def test_a_follower_listens_to_candidates_again_after_an_election_timeout() -> None:
    """4.2.3: only within the minimum election timeout."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster["2"].elapsed_ticks = 10
    cluster.hand(RequestVote("2", "3", 5, 9, 9, False, False))
    assert cluster["2"].vote == "3"


def test_a_leader_that_hears_no_quorum_steps_down() -> None:
    """6.2: a leader steps down if an election timeout elapses without a successful round of heartbeats to a majority."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.cut("1")
    cluster.tick("1", count=9)
    assert cluster["1"].is_leader
    cluster.tick("1")
    assert cluster["1"].role is Role.FOLLOWER


def test_a_leader_that_hears_one_of_two_followers_goes_on() -> None:
    """6.2: a majority is enough."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.cut("3")
    cluster.beat(30)
    assert cluster["1"].is_leader


def test_a_follower_that_acknowledges_entries_is_heard_also_without_heartbeats() -> None:
    """6.2: any answer of this term shows that it is there."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    for _ in range(15):
        cluster.tick("1")
        cluster.propose("1", b"x")
        cluster.drop(lambda message: isinstance(message, Heartbeat))
        cluster.settle()
    assert (cluster["1"].is_leader, cluster["1"].commit_index) == (True, 16)


def test_an_older_pre_vote_is_refused_as_a_pre_vote_with_the_newer_term() -> None:
    """9.6: who was cut off learns the term, and nobody takes the refusal for a vote."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.elect("3")
    cluster.hand(RequestVote("2", "1", 1, 0, 0, True, False))
    assert cluster.drop() == [VoteResponse("1", "2", 2, True, False)]


def test_a_partial_partition_leaves_a_stable_leader() -> None:
    """Catalogue 19 (Cloudflare 2020-11-02): 1 and 2 do not hear each other, 3 hears both."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.cuts = {("1", "2"), ("2", "1")}
    cluster.beat(100)
    assert (cluster["1"].is_leader, cluster["1"].term) == (True, 1)


def test_a_leader_with_an_older_term_than_a_follower_gives_way_and_the_follower_comes_back() -> None:
    """9.6: a server whose term is ahead must not be locked out for ever."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster["3"].raise_term(5, None)
    cluster.turn("3")
    for _ in range(40):
        cluster.tick()
        cluster.settle()
    assert cluster.leader is not None
    assert {node.core.leader_id for node in cluster.up} == {cluster.leader.id}


def test_a_refused_pre_vote_is_asked_again_each_tick() -> None:
    """The design: a refusal may be a matter of milliseconds."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.crash("1")
    cluster.refuse("2", "1")
    cluster.settle()
    assert cluster["2"].role is Role.PRE_CANDIDATE
    cluster["3"].leader_refused("1")
    cluster.tick("2")
    cluster.settle()
    assert cluster["2"].is_leader


def test_a_refused_connection_to_the_leader_is_a_crash_noticed_at_once() -> None:
    """The design: no timeout needs to pass, and votes drop the stickiness too."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.crash("1")
    cluster["3"].leader_refused("1")
    cluster.refuse("2", "1")
    cluster.settle()
    assert cluster["2"].is_leader


def test_a_refused_connection_to_anybody_else_means_nothing() -> None:
    """The design: only the leader's own address counts."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.refuse("2", "3")
    assert not cluster["2"].leader_is_gone
    assert cluster["2"].role is Role.FOLLOWER


def test_a_leader_that_is_heard_again_is_not_gone() -> None:
    """The design: its address refused while it was restarted, or before it listened."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster["3"].leader_refused("1")
    cluster.beat()
    assert not cluster["3"].leader_is_gone
    cluster.hand(RequestVote("3", "2", 2, 9, 9, True, False))
    assert cluster.network == []


def test_the_lowest_id_among_equally_fit_nodes_goes_first() -> None:
    """The design: by number where all are numbers; the next ones stagger."""
    cluster = Cluster.of(12)
    for _ in range(12):
        cluster.tick()
        cluster.settle()
    assert cluster["1"].is_leader
    cluster.crash("1")
    for node in cluster.up:
        node.core.leader_refused("1")
    cluster.turn("2")
    cluster.settle()
    assert cluster["2"].is_leader


def test_a_leader_that_was_lost_has_no_place_in_the_order_of_candidates() -> None:
    """The design: also where a newer term, and not silence, told that it leads no longer."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.cut("1", "2")
    cluster.hand(RequestVote("3", "2", 2, 0, 0, False, True))  # refused for its short log
    assert (cluster["3"].term, cluster["3"].vote, cluster["3"].leader_id) == (2, None, None)
    cluster.tick("3", count=11)
    assert cluster["3"].role is Role.FOLLOWER
    cluster.tick("3")
    assert cluster["3"].role is Role.PRE_CANDIDATE, "10 ticks, and 2 for the one place behind node 2"


def test_a_node_about_to_win_refuses_the_pre_vote_of_a_higher_id_for_a_moment() -> None:
    """The design: two that ask at once do not split the vote."""
    cluster = Cluster.of(3)
    cluster.campaign("1")
    cluster.hand(RequestVote("1", "2", 1, 0, 0, True, False))
    cluster.tick("1", count=2)
    cluster.hand(RequestVote("1", "2", 1, 0, 0, True, False))
    answers = [message.granted for message in cluster.network if isinstance(message, VoteResponse)]
    assert answers == [False, True]


# 6.4 Reads.


def test_a_read_is_confirmed_by_a_round_of_heartbeats() -> None:
    """6.4: the leader exchanges heartbeats with a majority before it answers with the commit index that it saved."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    context = cluster.read("1")
    assert cluster.nodes["1"].reads == []
    cluster.hand(HeartbeatResponse("1", "2", 1, 0, 1))
    assert cluster.nodes["1"].reads == []
    cluster.settle()
    assert cluster.nodes["1"].reads == [(context, 1)]


def test_no_read_before_an_entry_of_the_own_term_is_committed() -> None:
    """6.4 (catalogue 12, etcd #7331): a leader may not know which entries are committed at the start of its term."""
    cluster = Cluster.with_logs([1], [1], [1])
    for node in cluster.up:
        node.core.leader_is_gone = True
    cluster.campaign("1")
    while not cluster["1"].is_leader:
        cluster.deliver()
    cluster.read("1")
    assert not any(isinstance(message, Heartbeat) for message in cluster.network)
    cluster.settle()
    assert [read.index for read in cluster.nodes["1"].reads] == [2]


def test_a_read_joins_the_next_round_never_one_under_way() -> None:
    """6.4 (catalogue 13, etcd #20418): answers to an earlier round say nothing about now."""
    cluster = Cluster.of(3)
    leading = cluster.elect("1").leading
    assert leading is not None
    first = cluster.read("1")
    second = cluster.read("1")
    assert leading.round == 1
    cluster.deliver()
    cluster.hand(next(message for message in cluster.drop() if isinstance(message, HeartbeatResponse)))
    assert [read.context for read in cluster.nodes["1"].reads] == [first]
    assert leading.round == 2
    cluster.settle()
    assert [read.context for read in cluster.nodes["1"].reads] == [first, second]


def test_a_cut_off_leader_confirms_no_read() -> None:
    """6.4 (catalogue 15): there is no lease, so no clock and no pause can make a read stale."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    cluster.cut("1")
    cluster.read("1")
    cluster.elect("2")
    cluster.propose("2", b"x")
    cluster.settle()
    assert cluster.nodes["1"].reads == []
    cluster.heal()
    cluster.beat(3)
    assert cluster.nodes["1"].reads == []


def test_a_follower_asks_the_leader_for_its_reads() -> None:
    """6.4: followers can handle read-only requests too, by asking the leader for a current readIndex."""
    cluster = Cluster.of(3)
    cluster.elect("1")
    context = cluster.read("3")
    assert cluster.network == [ReadRequest("1", "3", 1, (context,))]
    cluster.settle()
    assert cluster.nodes["3"].reads == [(context, 1)]
    cluster.hand(ReadResponse("1", "2", 1, (context,), 1))
    assert cluster.nodes["1"].reads == []


def test_a_read_without_a_leader_or_beyond_the_limit_is_dropped() -> None:
    """The design: everything has a limit; the nodes ask again, with new contexts."""
    cluster = Cluster.of(3, reads_max=1)
    cluster.read("1")
    cluster.elect("1")
    for _ in range(3):
        cluster.read("1")
    cluster.settle()
    assert len(cluster.nodes["1"].reads) == 2


def test_a_single_node_reads_writes_and_elects_alone() -> None:
    """6.4 with a majority of one (catalogue 14)."""
    cluster = Cluster.of(1)
    cluster.tick(count=11)
    cluster.propose("1", b"x")
    cluster.read("1")
    assert [read.index for read in cluster.nodes["1"].reads] == [2]
    cluster.crash("1")
    cluster.restart("1")
    cluster.tick(count=11)
    cluster.read("1")
    assert [read.index for read in cluster.nodes["1"].reads] == [3]
