"""Arithmetic of majorities, for one list of voters or two at once (Raft 6: joint consensus needs a majority of each)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ddbd.raft.types import Membership, NodeId


def majority(count: int) -> int:
    return count // 2 + 1


def _agreed_value(voters: Collection[NodeId], value_of: Callable[[NodeId], int]) -> int:
    values = sorted(map(value_of, voters), reverse=True)
    return values[majority(len(values)) - 1]


def agreed_value(membership: Membership, value_of: Callable[[NodeId], int]) -> int:
    """The highest value that a quorum has reached: of match indexes the commit index, of tick counts the oldest in a quorum."""
    value = _agreed_value(membership.voters, value_of)
    return min(value, _agreed_value(membership.outgoing, value_of)) if membership.outgoing else value


def is_quorum(membership: Membership, nodes: Collection[NodeId]) -> bool:
    return agreed_value(membership, lambda node_id: int(node_id in nodes)) == 1
