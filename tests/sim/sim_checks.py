"""The checkers. They stand outside of the nodes, look after everything that happens to one, and remember what must never change.

Election safety, leader append-only, leader completeness, log matching, state-machine safety (Raft figure 3); terms, votes, commits and
applied indexes that never go back; equal state at equal index; nothing is vouched for that is not on the platter; quorums that meet and
memory that is bounded (`sim_bounds`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sim_bounds import FEW, MANY, bounds_problem, configuration_problem, decides, membership_problem
from sim_model import Model

from ddbd.raft.messages import (
    AppendEntries,
    AppendResponse,
    Heartbeat,
    InstallSnapshot,
    Message,
    RequestVote,
    TakeOver,
    TimeoutNow,
    VoteResponse,
)
from ddbd.raft.types import Entry, HardState, NodeId

if TYPE_CHECKING:
    from sim_node import Process
    from sim_world import World


class Platter:
    """What a node has said to be on its disk."""

    def __init__(self) -> None:
        self.term = 0
        self.vote: NodeId | None = None
        self.base = 0
        self.terms: dict[int, int] = {}  # of the entries above base
        self.replacing: int | None = None  # the first index of the save under way

    @property
    def last_index(self) -> int:
        return self.base + len(self.terms)

    def holds(self, index: int, term: int) -> bool:
        return index <= self.base or self.terms.get(index) == term

    def read(self, log: Any) -> None:
        self.base, self.replacing = log.base.index, None
        self.terms = {index: log.term(index) for index in range(self.base + 1, log.last_index + 1)}

    def save(self, entries: Sequence[Entry]) -> None:
        self.replacing = None
        for index in range(entries[0].index if entries else self.last_index + 1, self.last_index + 1):
            del self.terms[index]
        for entry in entries:
            self.terms[entry.index] = entry.term


class Checks:
    def __init__(self, world: World) -> None:
        self._world = world
        self.model = Model(world.config.limits, world.founders, world.sometimes)
        self.committed: list[Entry] = []  # written once
        self._committed_in: list[int] = []  # the term in which each was seen to be committed; never decreases
        self._leaders: dict[int, tuple[NodeId, int]] = {}
        self._entries: dict[tuple[int, int], tuple[int, bytes]] = {}  # (index, term) -> (term of the one before, data)
        self._platters = {node_id: Platter() for node_id in world.config.node_ids}
        self._any_wiped = False
        self._transfers: set[tuple[NodeId, int]] = set()

    def _violate(self, process: Process, what: str) -> None:
        self._world.violate(f"n{process.node.id}: {what}")

    def _report(self, process: Process, problem: str | None) -> None:
        if problem is not None:
            self._violate(process, problem)

    # A process begins, and what happens to it.

    def started(self, process: Process) -> None:
        log, platter = process.store.log, self._platters[process.node.id]
        hard_state = log.recovered.hard_state
        if hard_state.term < platter.term or (hard_state.term == platter.term and platter.vote not in (None, hard_state.vote)):
            self._violate(process, f"its disk forgot term {platter.term}, vote {platter.vote}: {hard_state}")
        must = platter.last_index if platter.replacing is None else min(platter.last_index, platter.replacing - 1)
        if log.last_index < must:
            self._violate(process, f"its disk forgot entries: it ends at {log.last_index}, {must} were saved")
        platter.read(log)
        platter.term, platter.vote = hard_state.term, hard_state.vote
        self.after(process)

    def wiped(self, node_id: NodeId) -> None:
        self._platters[node_id] = Platter()
        self._any_wiped = True

    def event(self, process: Process, line: str) -> None:
        if line.startswith("installed"):
            self._world.sometimes["a snapshot was installed"] += 1
            self._platters[process.node.id].read(process.store.log)
            process.node.is_rotten = False
            self._report(process, membership_problem(process, self.model, is_installed=True))
        elif line.startswith("QUARANTINED") and process.node.is_rotten:
            self._world.sometimes["a node whose state went astray was quarantined"] += 1
        elif line.startswith(("QUARANTINED", "ALARM")) or "cannot be read" in line or "is not what it should be" in line:
            self._violate(process, line)

    def saving(self, process: Process, entries: Sequence[Entry], last_index: int) -> None:
        log = process.store.log
        if not entries:
            return
        self._platters[process.node.id].replacing = entries[0].index
        if entries[0].index <= last_index:
            self._world.sometimes["an uncommitted tail was replaced"] += 1
        before = log.term(entries[0].index - 1)
        for entry in entries:
            known = self._entries.setdefault((entry.index, entry.term), (before, entry.data))
            if known != (before, entry.data):
                self._violate(process, f"log matching: entry {entry.index} of term {entry.term} is {entry} here, {known} elsewhere")
            before = entry.term

    def saved(self, process: Process, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        platter = self._platters[process.node.id]
        platter.save(entries)
        if hard_state is not None:
            if hard_state.term < platter.term:
                self._violate(process, f"term went back {platter.term} -> {hard_state.term} on the disk")
            elif hard_state.term == platter.term and platter.vote not in (None, hard_state.vote):
                self._violate(process, f"it votes twice: in term {platter.term} for {platter.vote}, and for {hard_state.vote}")
            platter.term, platter.vote = hard_state.term, hard_state.vote

    def after(self, process: Process) -> None:
        core = process.core
        if core.term < process.seen_term:
            self._violate(process, f"term went back {process.seen_term} -> {core.term}")
        process.seen_term = core.term
        if core.is_leader and process.led_term != core.term:
            process.led_term = core.term
            self._leads(process)
        if core.commit_index != process.seen_commit:
            self._commits(process)
        if core.applied_index != process.seen_applied:
            self._applies(process)
        if core.leading is not None:
            self._matches(process)
        process.events += 1
        if process.events % FEW == 0:
            self._now_and_then(process)
        if core.commit_index < len(self.committed) and core.is_leader:
            self._world.sometimes["a leader knew less than was committed"] += 1

    def _now_and_then(self, process: Process) -> None:
        """What stays wrong once it is."""
        core = process.core
        if core.leading is not None:
            self._report(process, process.seen_leading.problem(process))
        if core.membership is not process.seen_membership:
            process.seen_membership = core.membership
            self._report(process, configuration_problem(process, len(self.committed)))
            self._report(process, membership_problem(process, self.model))
        if process.events % MANY == 0:
            self._report(process, bounds_problem(process))

    def _matches(self, process: Process) -> None:
        """No match index of a leader goes back, but where it begins to ask anew."""
        for peer, progress in process.core.leading.progress.items():
            known, index = process.seen_match.get(peer, (None, 0))
            if known is progress and progress.match_index < index:
                self._violate(process, f"match index of node {peer} went back {index} -> {progress.match_index}")
            process.seen_match[peer] = (progress, progress.match_index)

    # Elections.

    def _leads(self, process: Process) -> None:
        core, me = process.core, (process.node.id, process.boot)
        if self._leaders.setdefault(core.term, me) != me:
            self._violate(process, f"election safety: it leads term {core.term}, as did {self._leaders[core.term]}")
        if (process.node.id, core.term) in self._transfers:
            self._world.sometimes["leadership was handed over"] += 1
        # Leader completeness: what was committed in earlier terms. By log matching its last entry speaks for all.
        count = bisect_left(self._committed_in, core.term)
        if count and count > core.log.base.index and core.log.term_at(count) != self.committed[count - 1].term:
            self._violate(process, f"leader completeness: the leader of term {core.term} lacks committed entry {count}")

    # Commits.

    def _commits(self, process: Process) -> None:
        core = process.core
        if core.commit_index < process.seen_commit:
            self._violate(process, f"commit went back {process.seen_commit} -> {core.commit_index}")
        low = max(process.seen_commit, core.log.base.index) + 1
        while low <= core.commit_index:
            for entry in core.log.entries(low, core.commit_index + 1, 1 << 40):
                self._committed_entry(process, entry)
                low = entry.index + 1
        process.seen_commit = core.commit_index

    def _committed_entry(self, process: Process, entry: Entry) -> None:
        if entry.index <= len(self.committed):
            if self.committed[entry.index - 1] != entry:
                self._violate(process, f"state-machine safety: {entry} is committed, and so is {self.committed[entry.index - 1]}")
            return
        if entry.index != len(self.committed) + 1:
            self._violate(process, f"entry {entry.index} is committed, {len(self.committed)} were before")
            return
        self.committed.append(entry)
        self._committed_in.append(max(process.core.term, self._committed_in[-1] if self._committed_in else 0))
        self._check_quorum(process, entry)
        problem = self.model.apply(entry)
        if problem is not None:
            self._violate(process, problem)

    def _check_quorum(self, process: Process, entry: Entry) -> None:
        """On the platters of a majority. (A node that was wiped since had it, too.)"""
        if self._any_wiped:
            return
        having = [node_id for node_id, platter in self._platters.items() if platter.holds(entry.index, entry.term)]
        if not decides(process.core.membership, having):
            self._violate(process, f"entry {entry.index} of term {entry.term} is committed and on the disks of {having} only")

    # State.

    def _applies(self, process: Process) -> None:
        core, tables = process.core, process.store.tables
        index = core.applied_index
        if index < process.seen_applied:
            self._violate(process, f"applied went back {process.seen_applied} -> {index}")
        process.seen_applied = index
        if index > len(self.committed):
            self._violate(process, f"it applied {index}, committed are {len(self.committed)}")
            return
        is_right = tables.applied_index == index and tables.state_hash(index) == self.model.tables.state_hash(index)
        if process.node.is_rotten:  # until it is found out and seeded anew, or a crash takes it back
            process.node.is_rotten = tables.goes_astray or not is_right
        elif not is_right:
            self._violate(process, f"its state after entry {index} is not that of the others")

    # Messages.

    def sent(self, process: Process, message: Message) -> None:
        platter = self._platters[process.node.id]
        if isinstance(message, AppendResponse):
            vouches = not message.rejected and message.counts
            if vouches and (message.index > platter.last_index or message.term > platter.term):
                self._violate(process, f"{message} left, saved are {platter.last_index} and term {platter.term}")
        elif isinstance(message, VoteResponse):
            if not message.granted:
                self._world.sometimes["a pre-vote was refused" if message.pre else "a vote was refused"] += 1
            elif not message.pre and (platter.term, platter.vote) != (message.term, message.to):
                self._violate(process, f"{message} left, saved are term {platter.term} and vote {platter.vote}")
        elif isinstance(message, RequestVote) and not message.pre:
            if message.transfer:
                self._transfers.add((message.sender, message.term))
            if (platter.term, platter.vote) != (message.term, process.node.id):
                self._violate(process, f"{message} left, saved are term {platter.term} and vote {platter.vote}")
        elif isinstance(message, AppendEntries | Heartbeat | InstallSnapshot | TimeoutNow | TakeOver) and message.term > platter.term:
            # A leader's messages may overtake their own save, but not that of their term (thesis 10.2.1).
            self._violate(process, f"{message} left, saved is term {platter.term}")
