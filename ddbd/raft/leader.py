"""A leader: it appends, replicates, counts, confirms reads, and knows when to stop.

Rules that hold here:
- An entry is committed by counting only when it is of the leader's own term (Raft 5.4.2); older ones follow with it.
- The leader counts itself only for what is on its own disk (thesis 10.2.1).
- A read joins the next ReadIndex round, never one that is under way, and no round begins before an entry of this term is committed
  (thesis 6.4; catalogue: etcd #7331, #20418).
- A leader that has not heard a quorum for the shortest election timeout steps down (thesis 6.2).
- One membership change at a time, and none before an entry of this term is committed (Ongaro 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ddbd.raft import offers, quorum
from ddbd.raft.messages import (
    AppendEntries,
    AppendResponse,
    Context,
    Heartbeat,
    HeartbeatResponse,
    RaftMessage,
    ReadRequest,
    ReadResponse,
    TakeOver,
    TimeoutNow,
)
from ddbd.raft.progress import REPLICATE, SNAPSHOT, Progress
from ddbd.raft.types import Entry, EntryKind, Membership, NodeId, Role, SnapshotMeta

if TYPE_CHECKING:
    from ddbd.raft.core import Raft

Batches = dict[int, tuple[tuple[Entry, ...], int]]  # by the first index: entries and their bytes. Followers in step get the same ones.

REFUSALS_MAX = 10  # in a row, of an entry that the follower is known to have: then it has lost it


@dataclass(slots=True)
class Leading:
    """What only a leader knows; it ends with the leadership."""

    first_index: int  # its first entry of this term
    progress: dict[NodeId, Progress] = field(default_factory=dict)  # of every other node of the membership
    ticks: int = 0
    round: int = 0  # the newest ReadIndex round
    round_index: int = 0  # what its reads may see
    round_reads: list[tuple[NodeId, tuple[Context, ...]]] = field(default_factory=list)
    waiting_reads: list[tuple[NodeId, tuple[Context, ...]]] = field(default_factory=list)
    waiting_count: int = 0
    transfer_to: NodeId | None = None
    transfer_ticks: int = 0
    transfer_holds: bool = False  # an operator asked for it
    is_ordered: bool = False  # TimeoutNow or TakeOver is out
    quiet_ticks: int = 0  # how long the preferred master has been caught up
    commit_at_tick: int = 0
    offers: dict[NodeId, tuple[SnapshotMeta, str]] = field(default_factory=dict)


def begin(raft: Raft) -> None:
    """Elected. The empty entry lets everything before it commit (Raft 8)."""
    raft.role, raft.leader_id = Role.LEADER, raft.id
    raft.leader_is_gone = False
    raft.elapsed_ticks = 0
    if raft.ticks - raft.failback_tick > raft.config.failback_ticks_max:
        raft.failback_wait_ticks = raft.config.failback_ticks  # the last loss was long ago
    leading = Leading(first_index=raft.log.last_index + 1)
    raft.leading = leading
    for peer in raft.membership.nodes:
        if peer != raft.id:
            leading.progress[peer] = Progress(raft.log.last_index + 1, leading.ticks)
    append(raft, leading, [(EntryKind.EMPTY, b"")], raft.log.last_stamp)


def resign(raft: Raft) -> None:
    raft.leading = None


def append(raft: Raft, leading: Leading, commands: Sequence[tuple[EntryKind, bytes]], stamp: int) -> int:
    first = raft.log.last_index + 1
    stamp = max(stamp, raft.log.last_stamp)
    raft.log.append([Entry(first + place, raft.term, stamp, kind, data) for place, (kind, data) in enumerate(commands)])
    return first


def saved(raft: Raft, leading: Leading) -> None:
    _maybe_commit(raft, leading)


def flush(raft: Raft, leading: Leading) -> None:
    """Once a turn: one round for all reads that wait, and to each follower what it may get."""
    _begin_round(raft, leading)
    batches: Batches = {}
    for peer, progress in leading.progress.items():
        _replicate(raft, leading, peer, progress, batches)


# Replication.


def _replicate(raft: Raft, leading: Leading, peer: NodeId, progress: Progress, batches: Batches) -> None:
    log, config = raft.log, raft.config
    while True:
        has_entries = progress.next_index <= log.last_index
        if not has_entries and progress.pace is REPLICATE and not _must_tell(raft, progress):
            return
        if not progress.may_send(config.append_messages_max, config.inflight_bytes_max):
            return
        prev_index = progress.next_index - 1
        prev_term = log.term_at(prev_index)
        if prev_term is None:
            progress.to_snapshot()
            leading.offers.pop(peer, None)
            raft.snapshots_wanted.append(peer)
            return
        batch = batches.get(progress.next_index)
        if batch is None:
            entries = tuple(log.entries(progress.next_index, log.last_index + 1, config.append_bytes_max))
            batch = batches[progress.next_index] = entries, sum([len(entry.data) for entry in entries])
        entries, size_bytes = batch
        raft.send(AppendEntries(peer, raft.id, raft.term, prev_index, prev_term, entries, raft.commit_index))
        progress.sent_commit = max(progress.sent_commit, raft.commit_index)
        progress.sent(prev_index + len(entries), bool(entries), size_bytes)


def _must_tell(raft: Raft, progress: Progress) -> bool:
    """Whether the commit index goes to the follower without entries to ride on."""
    if progress.sent_commit >= raft.commit_index:
        return False
    return not raft.config.commit_waits or progress.wanted_index > progress.sent_commit


def has_to_send(raft: Raft, leading: Leading) -> bool:
    """Whether `flush` would send something."""
    if leading.waiting_reads and not leading.round_reads and raft.commit_index >= leading.first_index:
        return True
    config, last_index = raft.config, raft.log.last_index
    for progress in leading.progress.values():
        if progress.pace is REPLICATE and progress.next_index > last_index and not _must_tell(raft, progress):
            continue
        if progress.may_send(config.append_messages_max, config.inflight_bytes_max):
            return True
    return False


def tell_commit(leading: Leading, peer: NodeId, index: int) -> None:
    progress = leading.progress.get(peer)
    if progress is not None:
        progress.wanted_index = max(progress.wanted_index, index)


def step(raft: Raft, leading: Leading, message: RaftMessage) -> None:
    """An answer or a question of this term."""
    if isinstance(message, ReadRequest):
        _queue_reads(raft, leading, message.sender, message.contexts)
        return
    progress = leading.progress.get(message.sender)
    if progress is None:
        return  # it is no member any more
    if isinstance(message, AppendResponse):
        progress.acked_tick = leading.ticks
        _step_append_response(raft, leading, message, progress)
    elif isinstance(message, HeartbeatResponse):
        progress.acked_tick = leading.ticks
        _step_heartbeat_response(raft, leading, message, progress)


def _step_append_response(raft: Raft, leading: Leading, message: AppendResponse, progress: Progress) -> None:
    if message.rejected:
        # The same skip from this side: its last entry whose term is not above the follower's at the hint.
        hint = min(message.hint_index, raft.log.last_index)
        if progress.rejected(message.index, raft.log.last_of_term_at_most(message.hint_term, hint, raft.log.base.index)):
            progress.sent_commit = 0
        if progress.refusals >= REFUSALS_MAX:
            # A late answer, from before it lost its disk, came after it was forgotten: it would be asked for the same entry for ever.
            forget(raft, leading, message.sender)
        return
    if message.index > raft.log.last_index:
        return  # no honest follower of this term has what this leader never sent
    is_news = progress.accepted(message.index, message.counts)
    if progress.pace is SNAPSHOT and progress.match_index >= raft.log.base.index:
        progress.to_replicate()
    if progress.pace is not SNAPSHOT:
        leading.offers.pop(message.sender, None)
    if is_news and progress.counted_index > raft.commit_index:
        _maybe_commit(raft, leading)
    if message.sender == leading.transfer_to:
        _maybe_order(raft, leading)


def _step_heartbeat_response(raft: Raft, leading: Leading, message: HeartbeatResponse, progress: Progress) -> None:
    progress.round = max(progress.round, message.round)
    _maybe_end_round(raft, leading)
    progress.is_paused = False
    if progress.pace is REPLICATE and (progress.match_index < raft.log.last_index or message.commit < raft.commit_index):
        # Something may have been lost. An append of what comes next tells: it is refused where there is a gap.
        if not progress.may_send(raft.config.append_messages_max, raft.config.inflight_bytes_max):
            _ask_without_entries(raft, message.sender, progress)
        progress.sent_commit = min(progress.sent_commit, message.commit, raft.commit_index - 1)


def _ask_without_entries(raft: Raft, peer: NodeId, progress: Progress) -> None:
    """As much is in flight as may be, and perhaps only slow: more entries at each heartbeat would fill a queue that nobody empties."""
    prev_index = progress.next_index - 1
    prev_term = raft.log.term_at(prev_index)
    if prev_term is None:
        progress.let_go()  # compacted meanwhile: `_replicate` turns to a snapshot
    else:
        raft.send(AppendEntries(peer, raft.id, raft.term, prev_index, prev_term, (), raft.commit_index))


def _maybe_commit(raft: Raft, leading: Leading) -> None:
    """Raft 5.3, 5.4.2; figure 2, rules for leaders."""

    def match_index(node_id: NodeId) -> int:
        if node_id == raft.id:
            return raft.log.saved_index
        progress = leading.progress.get(node_id)
        return progress.counted_index if progress is not None else 0

    index = quorum.agreed_value(raft.membership, match_index)
    if index > raft.commit_index and raft.log.term_at(index) == raft.term:
        raft.commit_to(index)
        _after_commit(raft, leading)


# Membership (Raft 6; thesis 4).


def change_membership(raft: Raft, leading: Leading, target: Membership, lives: dict[NodeId, str]) -> int:
    from ddbd.raft.core import ProposalDropped

    current = raft.membership
    if current.is_joint or raft.log.membership_index > raft.commit_index or raft.commit_index < leading.first_index:
        raise ProposalDropped
    assert target.voters, "a membership without voters"
    for node_id, life in lives.items():
        # First demoted, then promoted: until the demotion is committed, its former votes and acknowledgements may still decide something.
        is_same = current.life_of(node_id) == life
        assert is_same or not current.is_voter(node_id), f"voter {node_id} changes its life {current.life_of(node_id)!r} -> {life!r}"
    all_lives = tuple(sorted({**dict(current.lives), **lives}.items()))
    is_joint = target.voters != current.voters
    membership = target._replace(lives=all_lives, outgoing=current.voters if is_joint else ())
    return _append_membership(raft, leading, membership)


def _append_membership(raft: Raft, leading: Leading, membership: Membership) -> int:
    """In force from here on, committed or not."""
    index = append(raft, leading, [(EntryKind.MEMBERSHIP, membership.to_bytes())], raft.log.last_stamp)
    for peer in membership.nodes:
        if peer != raft.id and peer not in leading.progress:
            leading.progress[peer] = Progress(raft.log.last_index + 1, leading.ticks)
    for peer in [peer for peer in leading.progress if peer not in membership.nodes]:
        del leading.progress[peer]
        leading.offers.pop(peer, None)
    return index


def _after_commit(raft: Raft, leading: Leading) -> None:
    membership = raft.membership
    if raft.log.membership_index > raft.commit_index:
        return
    if membership.is_joint:
        _append_membership(raft, leading, membership._replace(outgoing=()))
    elif not membership.is_voter(raft.id):
        raft.step_down()  # thesis 4.2.2: it led until the change without it was committed


def forget(raft: Raft, leading: Leading, peer: NodeId) -> None:
    if peer in leading.progress:
        leading.progress[peer] = Progress(raft.log.last_index + 1, leading.ticks)
        leading.offers.pop(peer, None)


# Reads (thesis 6.4).


def request_reads(raft: Raft, contexts: Sequence[Context]) -> None:
    if raft.leading is not None:
        _queue_reads(raft, raft.leading, raft.id, tuple(contexts))
    elif raft.leader_id is not None:
        raft.send(ReadRequest(raft.leader_id, raft.id, raft.term, tuple(contexts)))


def _queue_reads(raft: Raft, leading: Leading, sender: NodeId, contexts: tuple[Context, ...]) -> None:
    if leading.waiting_count + len(contexts) <= raft.config.reads_max:
        leading.waiting_reads.append((sender, contexts))
        leading.waiting_count += len(contexts)


def _begin_round(raft: Raft, leading: Leading) -> None:
    if not leading.waiting_reads or leading.round_reads or raft.commit_index < leading.first_index:
        return
    leading.round += 1
    leading.round_index = raft.commit_index
    leading.round_reads, leading.waiting_reads, leading.waiting_count = leading.waiting_reads, [], 0
    _send_heartbeats(raft, leading)
    _maybe_end_round(raft, leading)


def _maybe_end_round(raft: Raft, leading: Leading) -> None:
    if not leading.round_reads:
        return

    def acknowledged(node_id: NodeId) -> int:
        return leading.round if node_id == raft.id else leading.progress[node_id].round

    if quorum.agreed_value(raft.membership, acknowledged) < leading.round:
        return
    reads, leading.round_reads = leading.round_reads, []
    for sender, contexts in reads:
        if sender == raft.id:
            raft.read_confirmed(contexts, leading.round_index)
        else:
            tell_commit(leading, sender, leading.round_index)
            raft.send(ReadResponse(sender, raft.id, raft.term, contexts, leading.round_index))


def _send_heartbeats(raft: Raft, leading: Leading) -> None:
    for peer in leading.progress:
        raft.send(Heartbeat(peer, raft.id, raft.term, leading.round))


# Time.


def tick(raft: Raft, leading: Leading) -> None:
    leading.ticks += 1
    if _is_cut_off(raft, leading):
        raft.step_down()
        return
    if leading.ticks % raft.config.heartbeat_ticks == 0:
        _send_heartbeats(raft, leading)
        offers.repeat(raft, leading)
    if (leading.ticks + 1) % raft.config.heartbeat_ticks == 0:
        for peer in leading.progress:
            tell_commit(leading, peer, raft.commit_index)  # before the heartbeat: else its answer comes from one who was not told yet
    if leading.transfer_to is not None:
        leading.transfer_ticks += 1
        if leading.transfer_ticks >= raft.config.election_timeout_ticks:
            leading.transfer_to = None  # it did not come to pass: go on leading
    _maybe_fail_back(raft, leading)


def _is_cut_off(raft: Raft, leading: Leading) -> bool:
    """Check-quorum: the oldest acknowledgement of the newest possible quorum."""

    def heard(node_id: NodeId) -> int:
        return leading.ticks if node_id == raft.id else leading.progress[node_id].acked_tick

    return leading.ticks - quorum.agreed_value(raft.membership, heard) >= raft.config.election_timeout_ticks


# Handing over (thesis 3.10).


def begin_transfer(raft: Raft, leading: Leading, target: NodeId, holds: bool = False) -> bool:
    if target == raft.id or target not in raft.membership.voters or target in raft.unfit or leading.transfer_to is not None:
        return False
    leading.transfer_to, leading.transfer_ticks, leading.transfer_holds, leading.is_ordered = target, 0, holds, False
    _maybe_order(raft, leading)
    return True


def _maybe_order(raft: Raft, leading: Leading) -> None:
    target = leading.transfer_to
    if target is not None and not leading.is_ordered and leading.progress[target].match_index == raft.log.last_index:
        leading.is_ordered = True
        raft.send((TakeOver if leading.transfer_holds else TimeoutNow)(target, raft.id, raft.term))


def _maybe_fail_back(raft: Raft, leading: Leading) -> None:
    """The preferred master leads again once it has been caught up for a while. Each return doubles the wait for the next one.

    Not while an operator's transfer holds: as long as this leadership lasts, but no longer than the config says.
    """
    preferred = raft.config.preferred_id
    progress = leading.progress.get(preferred) if preferred is not None else None
    is_caught_up = (
        progress is not None
        and progress.pace is REPLICATE
        and progress.match_index >= leading.commit_at_tick
        and leading.ticks - progress.acked_tick <= 2 * raft.config.heartbeat_ticks
    )
    leading.commit_at_tick = raft.commit_index
    leading.quiet_ticks = leading.quiet_ticks + 1 if is_caught_up else 0
    is_due = leading.quiet_ticks >= raft.failback_wait_ticks and raft.ticks >= raft.held_until_tick
    if preferred is not None and is_due and begin_transfer(raft, leading, preferred):
        leading.quiet_ticks = 0
        raft.failback_tick = raft.ticks
        raft.failback_wait_ticks = min(2 * raft.failback_wait_ticks, raft.config.failback_ticks_max)
