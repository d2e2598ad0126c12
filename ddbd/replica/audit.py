"""Do all replicas hold the same? Every applied entry extends a chained hash; the leader compares them at equal index, all the time.

The leader picks its applied index as the place of a check and asks; each node answers once it has applied that far. When every voter has
answered, or a majority agrees, the majority is right: a differing follower is quarantined and seeded anew, a differing leader quarantines
itself and steps down. Without a majority for any hash there is an alarm and nothing is touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from ddbd.raft.messages import StateReport
from ddbd.raft.quorum import majority
from ddbd.raft.types import NodeId


@dataclass(slots=True)
class Verdict:
    """What a check came to."""

    differing: dict[NodeId, bytes] = field(default_factory=dict)  # with what they hold
    is_split: bool = False  # no majority for any hash


@dataclass(slots=True)
class Check:
    """One comparison under way, at the leader."""

    index: int
    own_hash: bytes
    hashes: dict[NodeId, bytes]  # the leader's own among them
    condemned: set[NodeId] = field(default_factory=set)
    age: int = 0


class Audit:
    """The leader's side. Cleared when leadership ends."""

    AGE_MAX = 20  # heartbeats; then a new check begins without those that did not answer

    def __init__(self) -> None:
        self.check: Check | None = None
        self.checked_index = 0  # the newest index at which a majority was seen to agree
        self.agreed_index: dict[NodeId, int] = {}  # the newest index at which a peer held what this leader holds
        self.reports: dict[NodeId, StateReport] = {}  # the newest one of each peer
        self.is_split = False

    def clear(self) -> None:
        self.check = None
        self.is_split = False
        self.agreed_index.clear()
        self.reports.clear()

    def begin(self, node_id: NodeId, applied_index: int, state_hash: bytes | None) -> int:
        """Called at each heartbeat; returns the index to ask for."""
        if self.check is not None:
            self.check.age += 1
        if self.check is None or self.check.age > self.AGE_MAX:
            if state_hash is None:
                return 0
            self.check = Check(applied_index, state_hash, {node_id: state_hash})
        return self.check.index

    def reported(self, report: StateReport, voters: Collection[NodeId]) -> Verdict:
        """One answer. Who is condemned in a check is named once."""
        self.reports[report.sender] = report
        check = self.check
        if check is None or report.index != check.index or not report.state_hash:
            return Verdict()
        check.hashes[report.sender] = report.state_hash
        if report.state_hash == check.own_hash:
            self.agreed_index[report.sender] = max(check.index, self.agreed_index.get(report.sender, 0))
        return self._judge(check, voters)

    def _judge(self, check: Check, voters: Collection[NodeId]) -> Verdict:
        counts = Counter(state_hash for node_id, state_hash in check.hashes.items() if node_id in voters)
        is_complete = all(node_id in check.hashes for node_id in voters)
        right, count = counts.most_common(1)[0] if counts else (b"", 0)
        if count < majority(len(voters)):
            self.is_split = self.is_split or is_complete
            return Verdict(is_split=is_complete)
        self.is_split = False
        self.checked_index = max(self.checked_index, check.index)
        differing = {node_id: wrong for node_id, wrong in check.hashes.items() if wrong != right and node_id not in check.condemned}
        check.condemned.update(differing)
        if is_complete:
            self.check = None
        return Verdict(differing)
