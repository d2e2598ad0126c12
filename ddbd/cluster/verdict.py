"""What a node that is part of no cluster does next, as a function of what it has on disk and what its peers answered.

See `formation` for the protocol and for why this is safe. Nothing here asks, writes or waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from ddbd.raft.types import NodeId, in_order

Nodes = tuple[tuple[NodeId, str], ...]  # (id, address) in order of ids


class Identity(Protocol):
    """What a data directory says of its node."""

    @property
    def cluster_id(self) -> str: ...
    @property
    def node_id(self) -> NodeId: ...
    @property
    def life(self) -> str: ...
    @property
    def formed(self) -> bool: ...
    @property
    def former(self) -> tuple[str, ...]:
        """Ids that the cluster had before it was recovered from a lost quorum."""


class Hello(msgspec.Struct, frozen=True):
    """The answer of GET /raft/hello."""

    node_id: NodeId
    cluster_id: str | None  # None: an empty directory
    formed: bool
    nodes: Nodes
    format: int
    boot: str  # of the process that answers: an adoption is meant for this life of the process and no other
    former: tuple[str, ...] = ()


class Wait(NamedTuple):
    why: str


class Join(NamedTuple):
    """There is history elsewhere: be part of that cluster under a life of its own, without a vote until it is given one."""

    cluster_id: str
    former: tuple[str, ...] = ()


class Confirm(NamedTuple):
    """The cluster whose id was adopted has begun."""


class Found(NamedTuple):
    """Everybody is as empty as this node, and it has the lowest id."""


Verdict = Wait | Join | Confirm | Found


def founder_of(nodes: Nodes) -> NodeId:
    return in_order(node_id for node_id, _ in nodes)[0]


def verdict(node_id: NodeId, nodes: Nodes, identity: Identity | None, answers: Mapping[NodeId, Hello | str]) -> Verdict:
    """`answers` has every peer: what it said, or why it said nothing. `identity` is None or not formed."""
    hellos = [answer for answer in answers.values() if isinstance(answer, Hello)]
    formed = [hello for hello in hellos if hello.formed]
    if formed:
        return _with_history(node_id, nodes, identity, formed)
    for hello in hellos:
        if hello.nodes != nodes:
            return Wait(f"the cluster cannot form: {difference(node_id, nodes, hello.node_id, hello.nodes)}")
    silent = {peer: answer for peer, answer in answers.items() if isinstance(answer, str)}
    if silent:
        why = "; ".join(f"node {peer}: {answer.rstrip('.')}" for peer, answer in silent.items())  # Twisted ends its sentences
        return Wait(f"a new cluster forms when every node of the config has answered; still missing: {why}")
    if node_id != founder_of(nodes):
        return Wait(f"waiting for node {founder_of(nodes)}, which has the lowest id, to form the cluster")
    return Found()


def _with_history(node_id: NodeId, nodes: Nodes, identity: Identity | None, formed: Sequence[Hello]) -> Verdict:
    cluster_ids = {hello.node_id: hello.cluster_id for hello in formed}
    first = formed[0]
    if first.cluster_id is None or len(set(cluster_ids.values())) > 1:
        which = ", ".join(f"node {peer} of {cluster_id}" for peer, cluster_id in cluster_ids.items())
        return Wait(f"the nodes of the config belong to different clusters ({which}); correct the addresses, or wipe the wrong ones")
    for hello in formed:
        if node_id not in dict(hello.nodes):
            return Wait(f"node {hello.node_id} has a cluster whose config knows no node {node_id}; {_same_config()}")
    if identity is not None and identity.cluster_id == first.cluster_id and node_id != founder_of(nodes):
        return Confirm()
    return Join(first.cluster_id, first.former)


def superseding(identity: Identity, hellos: Iterable[Hello]) -> Hello | None:
    """Who is of the cluster that this one's was recovered as; None when nobody knows of a recovery."""
    return next((hello for hello in hellos if hello.formed and identity.cluster_id in hello.former), None)


def difference(here_id: NodeId, here: Nodes, there_id: NodeId, there: Nodes) -> str:
    """One sentence that names the first thing in which two lists of nodes differ."""
    ours, theirs = dict(here), dict(there)
    for node_id in in_order({*ours, *theirs}):
        if node_id not in theirs:
            return f"node {here_id}'s config has a node {node_id} and node {there_id}'s has none; {_same_config()}"
        if node_id not in ours:
            return f"node {there_id}'s config has a node {node_id} and node {here_id}'s has none; {_same_config()}"
        if ours[node_id] != theirs[node_id]:
            return (
                f"node {node_id} is at {ours[node_id]} in node {here_id}'s config and at {theirs[node_id]} in node {there_id}'s; "
                f"{_same_config()}"
            )
    return f"nodes {here_id} and {there_id} list the same nodes in another order; {_same_config()}"


def _same_config() -> str:
    return "give all nodes the same list"
