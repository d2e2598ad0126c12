"""A node proposes only what all members understand: an entry that one of them cannot read would stop it for good."""

from __future__ import annotations

from replica_kit import Cluster, Outcome

from ddbd.commands import Proposal, Register, StageDatabase, encode_proposal
from ddbd.errors import NotReady


def with_an_older_node() -> Cluster:
    """For the moment until node 3 sees the strange registration, and registers anew."""
    cluster = Cluster()
    cluster.settle()
    leader = cluster.nodes["1"]
    old = encode_proposal(Proposal("3", 0, 0, 0, Register("3", 99, formats=1)))
    leader.replica._driver.core.propose([old], 0)
    leader.replica._driver.wake()
    cluster.until(lambda: leader.store.tables.format_of("3") == 1)
    return cluster


def test_a_command_of_a_later_format_waits_until_every_member_reads_it() -> None:
    cluster = with_an_older_node()
    leader = cluster.nodes["1"]
    refused = Outcome(leader.replica.propose(StageDatabase("s"), 1.0), cluster.clock)
    assert isinstance(refused.error, NotReady)
    assert "node 3 runs an older version" in refused.error.detail
    cluster.until(lambda: leader.store.tables.format_of("3") == 2)
    done = Outcome(leader.replica.propose(StageDatabase("s"), 1.0), cluster.clock)
    cluster.until(lambda: done.is_done)
    assert done.is_ok


def test_leadership_is_not_handed_over_by_wish_while_a_member_does_not_know_how() -> None:
    cluster = with_an_older_node()
    leader = cluster.nodes["1"]
    refused = Outcome(leader.replica.hand_over("2", 1.0), cluster.clock)
    assert isinstance(refused.error, NotReady)
    assert "node 3 runs an older version" in refused.error.detail
    cluster.until(lambda: leader.store.tables.format_of("3") == 2)
    done = Outcome(leader.replica.hand_over("2", 1.0), cluster.clock)
    cluster.until(lambda: done.is_done)
    assert done.is_ok
