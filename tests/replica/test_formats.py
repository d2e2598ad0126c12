"""A node proposes only what all members understand: an entry that one of them cannot read would stop it for good."""

from __future__ import annotations

from replica_kit import Cluster, Outcome

from ddbd.commands import Proposal, Register, StageDatabase, encode_proposal
from ddbd.errors import NotReady


def test_a_command_of_a_later_format_waits_until_every_member_reads_it() -> None:
    cluster = Cluster()
    cluster.settle()
    leader = cluster.nodes["1"]
    old = encode_proposal(Proposal("3", 0, 0, 0, Register("3", 99, formats=1)))
    leader.replica._driver.core.propose([old], 0)
    leader.replica._driver.wake()
    cluster.until(lambda: leader.store.tables.format_of("3") == 1)
    refused = Outcome(leader.replica.propose(StageDatabase("s"), 1.0), cluster.clock)
    assert isinstance(refused.error, NotReady)
    assert "node 3 runs an older version" in refused.error.detail
    cluster.until(lambda: leader.store.tables.format_of("3") == 2)  # node 3 sees the strange registration and registers anew
    done = Outcome(leader.replica.propose(StageDatabase("s"), 1.0), cluster.clock)
    cluster.until(lambda: done.is_done)
    assert done.is_ok
