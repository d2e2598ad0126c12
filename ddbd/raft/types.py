"""The nouns of Raft as plain values.

Everything here is immutable and knows no bytes but a membership's own, which is the one command that the core itself reads.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from typing import NamedTuple

NodeId = str


def in_order(node_ids: Iterable[NodeId]) -> list[NodeId]:
    """Node ids as numbers where all are numbers, else as text. The order breaks ties among equally fit candidates."""
    given = list(node_ids)
    if all(node_id.isdecimal() and node_id.isascii() for node_id in given):
        return sorted(given, key=int)
    return sorted(given)


class Role(enum.Enum):
    """What a node is in its term. A learner is a follower that is no voter."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


# In Python 3.11 a member that is looked up by its class takes eight times as long as a global, and these are looked up for each entry.
FOLLOWER, PRE_CANDIDATE, CANDIDATE, LEADER = Role


class EntryKind(enum.IntEnum):
    """What an entry's data is. The numbers are on disk and on the wire: never change one."""

    COMMAND = 0
    MEMBERSHIP = 1
    EMPTY = 2  # a new leader's first entry of its term (Raft 8)


COMMAND, MEMBERSHIP, EMPTY = EntryKind


class Entry(NamedTuple):
    """One place in the log. (`index` hides tuple.index, here and in the messages: nobody looks a field up by its value.)"""

    index: int  # type: ignore[assignment]  # from 1, without gaps
    term: int  # never less than the previous entry's
    stamp: int  # log time in milliseconds; never less than the previous entry's
    kind: EntryKind
    data: bytes


class HardState(NamedTuple):
    """What must be on disk before a message that depends on it leaves (Raft 5.1, figure 2)."""

    term: int = 0
    vote: NodeId | None = None
    commit: int = 0  # a hint that speeds up recovery: losing it is safe


class SoftState(NamedTuple):
    """What may be lost."""

    role: Role
    leader_id: NodeId | None


class Membership(NamedTuple):
    """Who votes and who only listens (Raft 6; thesis 4.3).

    While `outgoing` is not empty the change is joint: a majority of both lists decides. `lives` names the life of each node
    that lost its disk and was seeded anew; a node votes only under the life that it was promoted with.
    """

    voters: tuple[NodeId, ...]
    outgoing: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()
    lives: tuple[tuple[NodeId, str], ...] = ()

    @classmethod
    def of(cls, voters: Iterable[NodeId], learners: Iterable[NodeId] = ()) -> Membership:
        """A settled membership with its ids in order."""
        return cls(tuple(in_order(voters)), (), tuple(in_order(learners)))

    @property
    def is_joint(self) -> bool:
        return bool(self.outgoing)

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Everyone that gets entries, in order of ids."""
        return tuple(in_order({*self.voters, *self.outgoing, *self.learners}))

    def is_voter(self, node_id: NodeId) -> bool:
        return node_id in self.voters or node_id in self.outgoing

    def life_of(self, node_id: NodeId) -> str:
        """The life under which the node was last seeded; empty for a founder."""
        return dict(self.lives).get(node_id, "")

    def to_bytes(self) -> bytes:
        return json.dumps([self.voters, self.outgoing, self.learners, self.lives]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Membership:
        """Raises ValueError when the bytes are no membership."""
        try:
            voters, outgoing, learners, lives = json.loads(data)
            membership = cls(tuple(voters), tuple(outgoing), tuple(learners), tuple((node, life) for node, life in lives))
        except (TypeError, RecursionError) as error:
            raise ValueError(f"it has another shape: {error}") from error
        names = (*membership.voters, *membership.outgoing, *membership.learners, *(name for pair in membership.lives for name in pair))
        if any(isinstance(ids, str) for ids in (voters, outgoing, learners)) or not all(isinstance(name, str) for name in names):
            raise ValueError("it names something else than nodes")
        return membership


class SnapshotMeta(NamedTuple):
    """The place in the log that a snapshot (or the start of a compacted log) stands for."""

    index: int  # type: ignore[assignment]
    term: int
    stamp: int
    membership: Membership


class ReadState(NamedTuple):
    """A read that was confirmed: serve it once applied_index >= index (Raft thesis 6.4)."""

    context: tuple[int, int]
    index: int  # type: ignore[assignment]
