"""The state machine of one node: messages, ticks and proposals in; a `Ready` out.

The driver's loop, whose order carries the safety:

    core.step(message) / tick() / propose(...)        any number of times
    ready = core.ready()
    send ready.messages                               these depend on nothing that is not on disk yet
    apply ready.committed, then core.applied(index)
    save ready.hard_state and ready.entries; once they are on disk: core.saved(), then send ready.after_save

One save is under way at a time. Until `saved()`, further `ready()` calls still hand out messages, commits and reads, so that heartbeats
never queue behind a slow disk. Only a leader's messages in a term that is on disk may overtake its own save (thesis 10.2.1).

This file holds what is common to the roles: the term gate, the timers, the two directions of the driver. What a role does stands in
`follower`, `candidate` and `leader`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ddbd.raft import candidate, follower, leader, offers
from ddbd.raft.config import Dice, RaftConfig
from ddbd.raft.log import RaftLog
from ddbd.raft.messages import (
    AppendEntries,
    AppendResponse,
    Context,
    Heartbeat,
    InstallSnapshot,
    RaftMessage,
    RequestVote,
    VoteResponse,
)
from ddbd.raft.types import COMMAND, FOLLOWER, LEADER, Entry, HardState, Membership, NodeId, ReadState, Role, SnapshotMeta


class ProposalDropped(Exception):
    """Not the leader, or leadership is being handed over: nothing was appended."""


class SnapshotOffer(NamedTuple):
    """A leader's snapshot that this node should fetch, install, and then report by `installed`."""

    sender: NodeId
    meta: SnapshotMeta
    token: str


class Ready(NamedTuple):
    """What the driver has to do."""

    messages: tuple[RaftMessage, ...]
    hard_state: HardState | None
    entries: tuple[Entry, ...]
    after_save: tuple[RaftMessage, ...]
    committed: tuple[Entry, ...]
    reads: tuple[ReadState, ...]
    snapshot: SnapshotOffer | None
    snapshots_wanted: tuple[NodeId, ...]  # followers that need a snapshot: make one, then `offer_snapshot`

    @property
    def must_save(self) -> bool:
        return self.hard_state is not None or bool(self.entries)


_FROM_LEADER = (AppendEntries, Heartbeat, InstallSnapshot)
_WAIT_FOR_SAVE = (RequestVote, VoteResponse, AppendResponse)


class Raft:
    """One node of a cluster."""

    def __init__(self, config: RaftConfig, log: RaftLog, hard_state: HardState, applied_index: int, dice: Dice) -> None:
        assert log.base.index <= applied_index <= log.last_index, f"applied {applied_index}: {log.base.index}..{log.last_index}"
        self.config = config
        self.id: NodeId = config.node_id
        self.log = log
        self.dice = dice
        self.term = hard_state.term  # never goes back
        self.vote = hard_state.vote  # in this term
        self.commit_index = max(applied_index, min(hard_state.commit, log.last_index))  # <= last_index; never goes back
        self.applied_index = applied_index  # <= commit_index; what the driver has applied
        self.handed_index = applied_index  # applied_index <= handed_index <= min(commit_index, saved_index)
        self.is_held = False  # set by the driver: nothing is handed out to be applied for now
        self.role = Role.FOLLOWER
        self.leader_id: NodeId | None = None
        self.lost_leader_id: NodeId | None = None  # the last one; it does not count in the order of candidates
        self.leader_is_gone = False  # its address refuses connections: no stickiness
        self.is_frozen = False  # its tables differ from the majority's: applies nothing, never leads
        self.unfit: frozenset[NodeId] = frozenset()  # nodes that must not be given leadership
        self.elapsed_ticks = 0  # since the leader was heard, or the campaign began
        self.timeout_ticks = 0
        self.votes: dict[NodeId, bool] = {}
        self.leading: leader.Leading | None = None  # set exactly while role is LEADER
        self.ticks = 0
        self.failback_wait_ticks = config.failback_ticks
        self.failback_tick = 0  # when leadership was last given back
        self.held_until_tick = 0  # no failback before; of a leadership that an operator gave to this node
        self.pending_snapshot: SnapshotOffer | None = None
        self._messages: list[RaftMessage] = []
        self._after_save: list[RaftMessage] = []
        self._reads: list[ReadState] = []
        self.snapshots_wanted: list[NodeId] = []
        self._saved_hard_state = HardState(hard_state.term, hard_state.vote, hard_state.commit)
        self._saving: Ready | None = None
        follower.reset_timeout(self)

    # What the driver asks.

    @property
    def membership(self) -> Membership:
        return self.log.membership

    @property
    def is_leader(self) -> bool:
        return self.role is LEADER

    @property
    def is_learner(self) -> bool:
        return not self.membership.is_voter(self.id)

    @property
    def may_vote(self) -> bool:
        """Whether this log knows the life of this disk: a node that lost its disk waits for its promotion (see `candidate.answer_vote`)."""
        return self.membership.life_of(self.id) == self.config.life

    @property
    def may_campaign(self) -> bool:
        """A node whose removal is not committed still does: nobody else may have a log that long (thesis 4.2.2)."""
        is_voter = self.membership.is_voter(self.id) or self.log.membership_at(self.commit_index).is_voter(self.id)
        return self.may_vote and is_voter and not self.is_frozen and self.pending_snapshot is None

    @property
    def is_saving(self) -> bool:
        return self._saving is not None

    # What the driver tells.

    def tick(self) -> None:
        """The only clock."""
        self.ticks += 1
        self.elapsed_ticks += 1
        if self.leading is not None:
            leader.tick(self, self.leading)
        elif self.role is Role.PRE_CANDIDATE and self.elapsed_ticks < self.timeout_ticks:
            candidate.ask_again(self)
        elif self.elapsed_ticks >= self.timeout_ticks:
            if self.may_campaign:
                candidate.campaign(self)
            elif self.leader_id is not None:
                self.become_follower(self.term, None)  # it cannot help to elect itself; but nobody should be sent to a leader that is gone

    def propose(self, commands: Sequence[bytes], stamp: int) -> int:
        """Appends the commands as entries of this term; returns the first one's index. Raises ProposalDropped."""
        if self.leading is None or self.leading.transfer_to is not None:
            raise ProposalDropped
        return leader.append(self, self.leading, [(COMMAND, command) for command in commands], stamp)

    def propose_membership(self, voters: Iterable[NodeId], learners: Iterable[NodeId], lives: dict[NodeId, str]) -> int:
        """Starts a change to that membership; a joint one is left by itself (thesis 4.3). Raises ProposalDropped when one is under way."""
        if self.leading is None or self.leading.transfer_to is not None:
            raise ProposalDropped
        return leader.change_membership(self, self.leading, Membership.of(voters, learners), lives)

    def tell_commit(self, peer: NodeId) -> None:
        """The peer's clients wait for what is in the log now: it is told as soon as that is committed."""
        if self.leading is not None:
            leader.tell_commit(self.leading, peer, self.log.last_index)

    def request_reads(self, contexts: Sequence[Context]) -> None:
        """Asks for a read index. It comes as a ReadState, or never (no leader, a lost message): ask again with new contexts."""
        leader.request_reads(self, contexts)

    def transfer(self, target: NodeId, holds: bool = False) -> bool:
        """Hands leadership to a voter, once its log is as long as this one's; with `holds` to keep. Returns whether that was begun."""
        return self.leading is not None and leader.begin_transfer(self, self.leading, target, holds)

    def step_down(self) -> None:
        """Gives up leadership, or the campaign, in this term."""
        if self.role is not FOLLOWER:
            self.become_follower(self.term, None)

    def leader_refused(self, peer: NodeId) -> None:
        """The peer's address refuses connections: its process is gone. No stickiness for a leader that is not there."""
        if self.role is FOLLOWER and peer == self.leader_id:
            self.leader_is_gone = True
            candidate.hurry(self)

    def freeze(self) -> None:
        """These tables are wrong: apply nothing until a snapshot is installed, lead nobody. Votes are still good: the log is."""
        self.is_frozen = True
        self.step_down()

    def forget_peer(self, peer: NodeId) -> None:
        """What a follower acknowledged may be gone, with its disk or with a message: it is asked anew."""
        if self.leading is not None:
            leader.forget(self, self.leading, peer)

    def offer_snapshot(self, peer: NodeId, meta: SnapshotMeta, token: str) -> None:
        """A snapshot is ready for the follower; it is offered until the follower has it."""
        if self.leading is not None:
            offers.offer(self, self.leading, peer, meta, token)

    def withdraw_snapshot(self, token: str) -> None:
        """It can no longer be had: whom it was offered to wants another one."""
        if self.leading is not None:
            offers.withdraw(self, self.leading, token)

    def installed(self, meta: SnapshotMeta) -> None:
        """The snapshot is this node's state now, and the base of its log. No save is under way."""
        assert self._saving is None, "a snapshot was installed during a save"
        follower.installed(self, meta)

    def declined(self, token: str) -> None:
        """The snapshot on offer could not be had; the leader will offer again."""
        if self.pending_snapshot is not None and self.pending_snapshot.token == token:
            self.pending_snapshot = None

    def compact(self, base: SnapshotMeta) -> None:
        """The disk dropped entries up to base.index."""
        assert base.index <= self.applied_index, f"compacted to {base.index}, applied {self.applied_index}"
        self.log.compact(base)

    def step(self, message: RaftMessage) -> None:
        """One message from a peer."""
        assert message.to == self.id, f"a message to {message.to} came to {self.id}"
        if message.term > self.term and not self._raise_term(message):
            return
        if message.term < self.term and not (isinstance(message, VoteResponse) and message.pre):
            self._answer_stale(message)
            return
        if isinstance(message, RequestVote):
            candidate.answer_vote(self, message)
        elif isinstance(message, _FROM_LEADER):
            assert self.leading is None, f"two leaders in term {self.term}: {self.id} and {message.sender}"
            follower.step(self, message)
        elif self.leading is not None:
            leader.step(self, self.leading, message)
        elif isinstance(message, VoteResponse):
            candidate.count_vote(self, message)
        else:
            follower.step_other(self, message)

    def _raise_term(self, message: RaftMessage) -> bool:
        """The term gate (Raft 5.1). Returns whether the message goes on."""
        if isinstance(message, RequestVote):
            if not message.transfer and self.hears_leader:
                return False  # Raft 6: disruptive servers are ignored while the leader is heard
            if message.pre:
                return True  # nobody changes term for a question
        elif isinstance(message, VoteResponse) and message.pre and message.granted:
            return True  # it repeats the term that we asked about
        self.become_follower(message.term, None)
        return True

    @property
    def hears_leader(self) -> bool:
        """Stickiness (thesis 4.2.3, 9.6). A leader hears itself: its check-quorum tells it otherwise in time."""
        if self.is_leader:
            return True
        return self.leader_id is not None and not self.leader_is_gone and self.elapsed_ticks < self.config.election_timeout_ticks

    def _answer_stale(self, message: RaftMessage) -> None:
        """From an older term. Its leader must learn that there is a newer one, or a node that was cut off could never come back."""
        if isinstance(message, _FROM_LEADER):
            self.send(AppendResponse(message.sender, self.id, self.term, 0, True, 0, 0))
        elif isinstance(message, RequestVote) and message.pre:
            self.send(VoteResponse(message.sender, self.id, self.term, True, False))

    # The way out.

    def send(self, message: RaftMessage) -> None:
        """To `messages` where nothing unsaved stands behind it, else to `after_save`."""
        waits = isinstance(message, _WAIT_FOR_SAVE) or self.term != self._saved_hard_state.term
        (self._after_save if waits else self._messages).append(message)

    def read_confirmed(self, contexts: Iterable[Context], index: int) -> None:
        self._reads.extend(ReadState(context, index) for context in contexts)

    def ready(self) -> Ready:
        """Takes what there is to do. What is to be saved is handed out once, and only while no save is under way."""
        if self.leading is not None:
            leader.flush(self, self.leading)
        hard_state, entries, after_save = self._take_save()
        ready = Ready(
            tuple(self._messages),
            hard_state,
            entries,
            after_save,
            self._take_committed(),
            tuple(self._reads),
            self.pending_snapshot,
            tuple(self.snapshots_wanted),
        )
        self._messages, self._reads, self.snapshots_wanted = [], [], []
        if ready.must_save:
            self._saving = ready
        return ready

    def _take_save(self) -> tuple[HardState | None, tuple[Entry, ...], tuple[RaftMessage, ...]]:
        if self._saving is not None:
            return None, (), ()
        entries = self.log.unsaved()
        saved = self._saved_hard_state
        is_changed = (self.term, self.vote) != (saved.term, saved.vote)
        # The commit index is a hint: it rides along, and is no reason for an fsync of its own.
        rides = bool(entries) and self.commit_index != saved.commit
        hard_state = HardState(self.term, self.vote, self.commit_index) if is_changed or rides else None
        after_save, self._after_save = tuple(self._after_save), []
        return hard_state, entries, after_save

    def _take_committed(self) -> tuple[Entry, ...]:
        """Up to min(commit_index, saved_index), so that a power cut never leaves the tables ahead of the log."""
        if not self._has_committed():
            return ()
        entries = self._next_committed()
        self.handed_index = entries[-1].index
        return tuple(entries)

    def _next_committed(self) -> list[Entry]:
        last = min(self.commit_index, self.log.saved_index, self.handed_index + self.config.apply_entries_max)
        return self.log.entries(self.handed_index + 1, last + 1, self.config.apply_bytes_max)

    def next_bytes(self) -> int:
        """Of data, in what the next `ready` would hand out to be applied if nothing were held."""
        return sum([len(entry.data) for entry in self._next_committed()]) if self._may_apply() else 0

    def _has_committed(self) -> bool:
        return not self.is_held and self._may_apply()

    def _may_apply(self) -> bool:
        if self.is_frozen or self.pending_snapshot is not None:
            return False
        return min(self.commit_index, self.log.saved_index) > self.handed_index

    def saved(self) -> None:
        """The save of the last ready that must_save is on disk."""
        ready, self._saving = self._saving, None
        assert ready is not None, "saved() without a save"
        if ready.hard_state is not None:
            self._saved_hard_state = ready.hard_state
        self.log.saved(ready.entries, self.commit_index)
        if self.leading is not None:
            leader.saved(self, self.leading)
        elif self.role is Role.CANDIDATE and (self._saved_hard_state.term, self._saved_hard_state.vote) == (self.term, self.id):
            candidate.count_own_vote(self)  # only now: a vote for oneself must outlive a crash too

    def applied(self, index: int) -> None:
        """The driver applied entries up to index."""
        assert self.applied_index <= index <= self.handed_index, f"applied {index}: {self.applied_index}..{self.handed_index}"
        self.applied_index = index

    def has_more(self) -> bool:
        """Whether another `ready` would hand out something without further input."""
        if self._messages or self._reads or self.snapshots_wanted:
            return True
        if self._has_committed():
            return True
        if self._saving is not None:
            return False
        saved = self._saved_hard_state
        return bool(self._after_save) or (self.term, self.vote) != (saved.term, saved.vote) or self.log.saved_index < self.log.last_index

    def is_idle(self) -> bool:
        """Whether a `ready` would hand out nothing at all."""
        if self.pending_snapshot is not None or self.has_more():
            return False
        return self.leading is None or not leader.has_to_send(self, self.leading)

    # Between the roles.

    def become_follower(self, term: int, leader_id: NodeId | None) -> None:
        assert term >= self.term, f"term went back {self.term} -> {term}"
        if self.leading is not None:
            leader.resign(self)
        if self.leader_id is not None:
            self.lost_leader_id = self.leader_id
        if term > self.term:
            self.raise_term(term, None)
        self.role, self.leader_id = Role.FOLLOWER, leader_id
        self.leader_is_gone = False
        self.votes = {}
        follower.reset_timeout(self)

    def raise_term(self, term: int, vote: NodeId | None) -> None:
        self.term, self.vote = term, vote
        self._after_save = []  # answers of an older term: what they vouch for may be truncated before it is saved

    def commit_to(self, index: int) -> None:
        """Never back (catalogue: PySyncObj#166), never beyond the log."""
        if index > self.commit_index:
            assert index <= self.log.last_index, f"commit {index} beyond the log's end {self.log.last_index}"
            self.commit_index = index
