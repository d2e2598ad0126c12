"""What must hold at every moment, whatever the network and the disks do (Raft figure 3, and what the design adds).

The checks stand outside of the nodes: they remember what they saw, over crashes and new leaders, and compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ddbd.raft.messages import AppendResponse, Context, RaftMessage, RequestVote, VoteResponse
from ddbd.raft.types import Entry, NodeId, ReadState, SnapshotMeta

if TYPE_CHECKING:
    from raft_cluster import Cluster, Node


class Checks:
    def __init__(self) -> None:
        self.leaders: dict[int, NodeId] = {}  # by term
        self.committed: dict[int, tuple[int, bytes]] = {}  # by index: term and data
        self.committed_index = 0
        self.seen: dict[tuple[int, int], tuple[Entry, int | None]] = {}  # by index and term: the entry, and the term before it
        self.logs_seen: dict[NodeId, tuple[int, int, int]] = {}  # what a node's log ended with when it was last looked at
        self.leads: dict[NodeId, tuple[int, int, int]] = {}  # a leader's term, and its last entry
        self.marks: dict[NodeId, tuple[int, int, int]] = {}  # term, commit and applied of a node that has not crashed since
        self.votes: dict[tuple[int, NodeId], NodeId] = {}  # by term and voter
        self.asked: dict[Context, int] = {}  # what was committed when the read was asked

    # After each turn.

    def after_turn(self, cluster: Cluster, node: Node) -> None:
        self._nothing_goes_back(node)
        self._one_leader_a_term(node)
        self._logs_match(node)
        self._commits_agree(node)
        self._leader_is_complete_and_append_only(node)

    def _nothing_goes_back(self, node: Node) -> None:
        core = node.core
        mark = (core.term, core.commit_index, core.applied_index)
        before = self.marks.get(node.id, (0, 0, 0))
        assert all(now >= then for now, then in zip(mark, before, strict=True)), (
            f"{node.id}: (term, commit, applied) went {before} -> {mark}"
        )
        assert core.applied_index <= core.handed_index <= core.commit_index <= core.log.last_index, f"{node.id}: out of order"
        assert core.handed_index <= node.disk.last_index, f"{node.id} applies {core.handed_index}, on disk is {node.disk.last_index}"
        self.marks[node.id] = mark

    def _one_leader_a_term(self, node: Node) -> None:
        core = node.core
        if core.is_leader:
            first = self.leaders.setdefault(core.term, node.id)
            assert first == node.id, f"term {core.term} has two leaders: {first} and {node.id}"
            assert node.disk.hard_state.term >= core.term, f"{node.id} leads a term that is not on its disk"

    def _logs_match(self, node: Node) -> None:
        """Two entries of one index and one term are one entry, and so are all before them."""
        log = node.core.log
        low = max(log.base.index + 1, log.last_index - 8)
        for entry in log.entries(low, log.last_index + 1, 1 << 30) if low <= log.last_index else []:
            before = log.term_at(entry.index - 1)
            known, known_before = self.seen.setdefault((entry.index, entry.term), (entry, before))
            assert known == entry, f"{node.id} has {entry}, elsewhere it is {known}"
            assert known_before == before, f"{node.id}: before {entry.index}@{entry.term} is term {before}, elsewhere {known_before}"

    def _commits_agree(self, node: Node) -> None:
        log = node.core.log
        at = max(log.base.index + 1, min(node.core.commit_index, log.last_index) - 16)
        while at <= node.core.commit_index:
            for entry in log.entries(at, node.core.commit_index + 1, 1 << 30):
                known = self.committed.setdefault(entry.index, (entry.term, entry.data))
                assert known == (entry.term, entry.data), f"{node.id} committed {entry}, but {known} was committed there"
                at += 1
        self.committed_index = max(self.committed_index, node.core.commit_index)

    def _leader_is_complete_and_append_only(self, node: Node) -> None:
        core = node.core
        if not core.is_leader:
            self.leads.pop(node.id, None)
            return
        if core.term == max(self.leaders):
            index = self.committed_index
            term = core.log.term_at(index)
            is_there = core.log.base.index > index or index == 0 or (index in self.committed and term == self.committed[index][0])
            assert is_there, f"{node.id} leads term {core.term} without the committed entry {index}"
        before = self.leads.get(node.id)
        if before is not None and before[0] == core.term:
            _, last_index, last_term = before
            assert core.log.last_index >= last_index, f"leader {node.id} shortened its log"
            assert core.log.base.index > last_index or core.log.term_at(last_index) == last_term, f"leader {node.id} rewrote its log"
        self.leads[node.id] = (core.term, core.log.last_index, core.log.last_term)
        open_changes = [index for index, _ in core.log.memberships if index > core.commit_index]
        assert len(open_changes) <= 1, f"leader {node.id} has membership changes at {open_changes} under way"

    # As things happen.

    def sent(self, cluster: Cluster, node: Node, message: RaftMessage) -> None:
        """Nothing leaves that a power cut could turn into a lie."""
        saved = node.disk.hard_state
        is_question = isinstance(message, RequestVote | VoteResponse) and message.pre
        assert is_question or message.term <= saved.term, f"{node.id} speaks in term {message.term}, on disk is {saved.term}"
        if isinstance(message, RequestVote) and not message.pre:
            self._vote(node, message.term, node.id)
        elif isinstance(message, VoteResponse) and not message.pre and message.granted:
            self._vote(node, message.term, message.to)
        elif isinstance(message, AppendResponse) and not message.rejected:
            self._acknowledged(cluster, node, message)

    def _vote(self, node: Node, term: int, vote: NodeId) -> None:
        saved = node.disk.hard_state
        assert (saved.term, saved.vote) == (term, vote), f"{node.id} votes for {vote} in term {term}, on disk is {saved}"
        first = self.votes.setdefault((term, node.id), vote)
        assert first == vote, f"{node.id} voted for {first} and {vote} in term {term}"

    def _acknowledged(self, cluster: Cluster, node: Node, message: AppendResponse) -> None:
        index = message.index
        assert index <= node.disk.last_index, f"{node.id} acknowledges {index}, on disk is {node.disk.last_index}"
        to = cluster.nodes.get(message.to)
        if to is not None and to.is_up and to.core.is_leader and to.core.term == message.term:
            here, there = node.disk.entry(index), to.core.log.term_at(index)
            assert here is None or there is None or here.term == there, f"{node.id} acknowledges {here}, its leader has term {there} there"

    def applied(self, node: Node, entries: Sequence[Entry]) -> None:
        for entry in entries:
            known = self.committed.setdefault(entry.index, (entry.term, entry.data))
            assert known == (entry.term, entry.data), f"{node.id} applies {entry}, elsewhere {known} was applied"

    def installed(self, node: Node, meta: SnapshotMeta) -> None:
        assert meta.index <= self.committed_index, f"{node.id} installed {meta.index}, committed is {self.committed_index}"

    def read_asked(self, context: Context) -> None:
        assert context not in self.asked, f"context {context} was used twice"
        self.asked[context] = self.committed_index

    def read(self, cluster: Cluster, node: Node, reads: Iterable[ReadState]) -> None:
        for read in reads:
            assert read.index >= self.asked[read.context], (
                f"{node.id} reads at {read.index}, {self.asked[read.context]} was committed before"
            )

    def crashed(self, node: Node) -> None:
        """Term and log come back from the disk; commit and applied may be learned anew."""
        self.marks[node.id] = (node.disk.hard_state.term, 0, 0)
        self.leads.pop(node.id, None)

    def wiped(self, node_id: NodeId) -> None:
        """Its votes are forgotten with its disk: it may be asked again, and must not answer."""
        self.marks[node_id] = (0, 0, 0)
