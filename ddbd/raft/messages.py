"""What nodes say to each other. All messages are one-way: an answer is a message of its own.

The first part is Raft's own and goes through `Raft.step`. The second part belongs to the driver (`replica`), which shares the same
streams; the core never sees it. A message names its two ends and the sender's term.
"""

from __future__ import annotations

from typing import NamedTuple

from ddbd.raft.types import Entry, NodeId, SnapshotMeta

Context = tuple[int, int]  # (boot of the asking node, its count): never used twice


class RequestVote(NamedTuple):
    """Raft 5.2; with `pre` the question of thesis 9.6, for which nobody changes term or vote."""

    to: NodeId
    sender: NodeId
    term: int  # a pre-vote names the term that the sender would campaign in
    last_index: int
    last_term: int
    pre: bool
    transfer: bool  # the leader asked for this election: stickiness does not hold (thesis 4.2.3)
    life: str = ""  # the receiver's, as the sender's log knows it


class VoteResponse(NamedTuple):
    to: NodeId
    sender: NodeId
    term: int  # a granted pre-vote repeats the term that was asked for
    pre: bool
    granted: bool


class AppendEntries(NamedTuple):
    """Raft 5.3."""

    to: NodeId
    sender: NodeId
    term: int
    prev_index: int
    prev_term: int
    entries: tuple[Entry, ...]
    commit: int


class AppendResponse(NamedTuple):
    """`index` is the last entry known to match; on a rejection the prev_index that was refused."""

    to: NodeId
    sender: NodeId
    term: int
    index: int  # type: ignore[assignment]
    rejected: bool
    hint_index: int  # on a rejection: where the follower's log may agree (Raft 5.3, faster backing up)
    hint_term: int
    counts: bool = True  # towards a commit; not from a node that lost its disk and does not vote yet


class Heartbeat(NamedTuple):
    """Carries no commit index: only an AppendEntries proves that the receiver's log matches up to one."""

    to: NodeId
    sender: NodeId
    term: int
    round: int  # the newest ReadIndex round


class HeartbeatResponse(NamedTuple):
    to: NodeId
    sender: NodeId
    term: int
    round: int
    commit: int  # the sender's commit_index: a leader that knows better sends an AppendEntries


class InstallSnapshot(NamedTuple):
    """An offer: the receiver fetches the bytes by `token` over a request of its own."""

    to: NodeId
    sender: NodeId
    term: int
    snapshot: SnapshotMeta
    token: str


class TimeoutNow(NamedTuple):
    """Campaign at once (thesis 3.10)."""

    to: NodeId
    sender: NodeId
    term: int


class TakeOver(NamedTuple):
    """The same where an operator asked for it: who wins by this keeps leadership for a while, also from the preferred master."""

    to: NodeId
    sender: NodeId
    term: int


class ReadRequest(NamedTuple):
    """A follower asks the leader for a read index (thesis 6.4)."""

    to: NodeId
    sender: NodeId
    term: int
    contexts: tuple[Context, ...]


class ReadResponse(NamedTuple):
    to: NodeId
    sender: NodeId
    term: int
    contexts: tuple[Context, ...]
    index: int  # type: ignore[assignment]


RaftMessage = (
    RequestVote
    | VoteResponse
    | AppendEntries
    | AppendResponse
    | Heartbeat
    | HeartbeatResponse
    | InstallSnapshot
    | TimeoutNow
    | TakeOver
    | ReadRequest
    | ReadResponse
)


# The driver's own.


class Forward(NamedTuple):
    """Encoded proposals that a node carries to the leader. They are not carried any further."""

    to: NodeId
    sender: NodeId
    term: int
    proposals: tuple[bytes, ...]


class StateCheck(NamedTuple):
    """The leader asks: what is your chained state hash at this index?"""

    to: NodeId
    sender: NodeId
    term: int
    index: int  # type: ignore[assignment]
    disk_full: bool  # the cluster takes no writes that need space
    last_index: int
    match_indexes: tuple[tuple[NodeId, int], ...]  # what the leader knows of everyone, for whoever asks a follower


class StateReport(NamedTuple):
    """The answer, sent once the index is applied. It also says how the sender is."""

    to: NodeId
    sender: NodeId
    term: int
    index: int  # type: ignore[assignment]  # 0 when the hash is not known
    state_hash: bytes
    life: str  # the life that the sender has on disk; a voter under another life must be seeded anew
    disk_low: bool
    is_suspect: bool  # its tables are known to differ: it needs a snapshot
    applied_index: int
    spoilt: str  # the token of a snapshot that arrived whole and is not what was promised: another one is needed; or nothing


class Quarantine(NamedTuple):
    """The leader tells a node that its state differs from the majority's: serve no reads, fetch a snapshot."""

    to: NodeId
    sender: NodeId
    term: int
    index: int  # type: ignore[assignment]
    state_hash: bytes  # the wrong one, as the node reported it; one that has been seeded anew since then has another


class HandOver(NamedTuple):
    """An operator asked the sender for it: the leader is to hand leadership to the target, or to the fittest where none is named.

    What comes of it the sender sees for itself, as everyone does; only a refusal is told.
    """

    to: NodeId
    sender: NodeId
    term: int
    target: NodeId  # or nothing
    number: int  # of the sender's wishes


class HandOverRefused(NamedTuple):
    to: NodeId
    sender: NodeId
    term: int
    number: int
    is_unknown: bool  # it may still come to pass
    reason: str  # one sentence


NodeMessage = Forward | StateCheck | StateReport | Quarantine | HandOver | HandOverRefused
Message = RaftMessage | NodeMessage
