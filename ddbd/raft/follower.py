"""A follower (and a learner): it believes its leader, checks that the logs agree, and acknowledges what is on its disk.

Raft 5.3, figure 2 "Receiver implementation". Two rules keep old or broken messages harmless:
- Entries up to commit_index are never touched: they match by Leader Completeness.
- A commit index counts only up to what this message proved to match (the last new entry, not the last entry).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbd.raft.messages import (
    AppendEntries,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    RaftMessage,
    ReadResponse,
    TakeOver,
    TimeoutNow,
)
from ddbd.raft.types import FOLLOWER, NodeId, SnapshotMeta

if TYPE_CHECKING:
    from ddbd.raft.core import Raft


def rank(raft: Raft) -> int:
    """This node's place among the voters that may succeed the leader."""
    gone = raft.leader_id or raft.lost_leader_id
    voters = [node_id for node_id in raft.membership.nodes if raft.membership.is_voter(node_id) and node_id != gone]
    return voters.index(raft.id) if raft.id in voters else len(voters)


def reset_timeout(raft: Raft) -> None:
    """The first round goes by rank, so that equally fit nodes do not split the vote; later rounds are random (see `candidate`)."""
    raft.elapsed_ticks = 0
    raft.timeout_ticks = raft.config.election_timeout_ticks + rank(raft) * raft.config.stagger_ticks


def step(raft: Raft, message: AppendEntries | Heartbeat | InstallSnapshot) -> None:
    """A message of this term's leader."""
    if raft.role is not FOLLOWER:
        raft.become_follower(raft.term, message.sender)
    assert raft.leader_id in (None, message.sender), f"two leaders in term {raft.term}: {raft.leader_id} and {message.sender}"
    if raft.leader_id is None or raft.leader_is_gone:
        raft.leader_id = message.sender
        raft.leader_is_gone = False
        reset_timeout(raft)
    raft.elapsed_ticks = 0
    if isinstance(message, AppendEntries):
        _append(raft, message)
    elif isinstance(message, Heartbeat):
        # A read is confirmed by nodes that would know of a newer leader: not by one that forgot its votes.
        confirmed = message.round if raft.may_vote else 0
        raft.send(HeartbeatResponse(message.sender, raft.id, raft.term, confirmed, raft.commit_index))
    else:
        _consider_snapshot(raft, message)


def _append(raft: Raft, message: AppendEntries) -> None:
    log = raft.log
    if message.prev_index < raft.commit_index:
        # Late or repeated. All up to commit_index matches already; only what is behind it counts.
        entries = message.entries[raft.commit_index - message.prev_index :]
        if not entries:
            _accept(raft, message, raft.commit_index)
            return
        prev_term = message.entries[raft.commit_index - message.prev_index - 1].term
        message = message._replace(prev_index=raft.commit_index, prev_term=prev_term, entries=entries)
    if log.term_at(message.prev_index) != message.prev_term:
        _reject(raft, message)
        return
    last_new = message.prev_index + len(message.entries)
    for place, entry in enumerate(message.entries):
        term = log.term_at(entry.index)
        if term == entry.term:
            continue
        if term is not None:
            # Only a real conflict truncates: a late, shorter message must not (catalogue: RaftOS#26).
            assert entry.index > raft.commit_index, f"committed entry {entry.index} would be replaced (commit {raft.commit_index})"
            log.truncate(entry.index)
        log.append(message.entries[place:])
        break
    _accept(raft, message, last_new)


def _accept(raft: Raft, message: AppendEntries, index: int) -> None:
    raft.commit_to(min(message.commit, index))
    acknowledge(raft, message.sender, index)


def acknowledge(raft: Raft, leader_id: NodeId, index: int) -> None:
    """Of a node that lost its disk it does not count: it may have voted for a newer leader, and forgot."""
    raft.send(AppendResponse(leader_id, raft.id, raft.term, index, False, 0, 0, raft.may_vote))


def _reject(raft: Raft, message: AppendEntries) -> None:
    """The hint is the last entry here whose term is not above prev_term: whole terms are skipped at once (Raft 5.3)."""
    log = raft.log
    hint = log.last_of_term_at_most(message.prev_term, min(message.prev_index - 1, log.last_index), raft.commit_index)
    raft.send(AppendResponse(message.sender, raft.id, raft.term, message.prev_index, True, hint, log.term_at(hint) or 0))


def _consider_snapshot(raft: Raft, message: InstallSnapshot) -> None:
    """Raft figure 13, with the bytes fetched apart. A node whose log reaches that far only needs it when its tables are wrong."""
    from ddbd.raft.core import SnapshotOffer

    meta = message.snapshot
    if meta.index > raft.commit_index and raft.log.term_at(meta.index) == meta.term:
        raft.commit_to(meta.index)  # a snapshot holds only what is committed
    if meta.index >= raft.applied_index if raft.is_frozen else meta.index > raft.commit_index:
        if raft.pending_snapshot is None:
            raft.pending_snapshot = SnapshotOffer(message.sender, meta, message.token)
    else:
        acknowledge(raft, message.sender, raft.commit_index)


def installed(raft: Raft, meta: SnapshotMeta) -> None:
    assert meta.index >= raft.applied_index, f"installed {meta.index}, already applied {raft.applied_index}"
    raft.log.install(meta, raft.commit_index)
    raft.commit_index = max(raft.commit_index, meta.index)
    raft.applied_index = raft.handed_index = meta.index
    raft.is_frozen = False
    raft.pending_snapshot = None
    if raft.leader_id is not None and raft.role is FOLLOWER:
        acknowledge(raft, raft.leader_id, meta.index)


def step_other(raft: Raft, message: RaftMessage) -> None:
    """What is not from a leader's log: an order to campaign, a confirmed read. Anything else came too late to matter."""
    if isinstance(message, TimeoutNow | TakeOver):
        from ddbd.raft import candidate

        if raft.may_campaign and message.sender == raft.leader_id:
            candidate.campaign_now(raft, holds=isinstance(message, TakeOver))
    elif isinstance(message, ReadResponse):
        raft.read_confirmed(message.contexts, message.index)
