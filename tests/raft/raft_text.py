"""Messages and memberships as one line of a transcript."""

from __future__ import annotations

from collections.abc import Sequence

from ddbd.raft.messages import RaftMessage
from ddbd.raft.types import Entry, EntryKind, Membership, NodeId, SnapshotMeta


def text(message: RaftMessage) -> str:
    """One line: who, in which term, to whom, what."""
    words = [f"{name}={_short(value)}" for name, value in message._asdict().items() if not _is_dull(name, value)]
    return " ".join([f"{message.sender}@{message.term} -> {message.to} {type(message).__name__}", *words])


def _is_dull(name: str, value: object) -> bool:
    is_known = name in ("to", "sender", "term") or (name in ("hint_index", "hint_term") and value == 0)
    return is_known or value is False or value == "" or (name == "counts" and value is True)


def _short(value: object) -> str:
    if isinstance(value, SnapshotMeta):
        return f"{value.index}@{value.term}"
    if isinstance(value, tuple) and all(isinstance(each, Entry) for each in value):
        return "[" + " ".join(short_entry(each) for each in value) + "]"
    return "yes" if value is True else "no" if value is False else str(value)


def short_entry(entry: Entry) -> str:
    if entry.kind is EntryKind.MEMBERSHIP:
        return f"{entry.index}@{entry.term}:{short_membership(Membership.from_bytes(entry.data))}"
    return f"{entry.index}@{entry.term}:{entry.data.decode() or '-'}"


def short_membership(membership: Membership) -> str:
    """voters[<-outgoing][+learners], each life behind its node."""

    def names(nodes: Sequence[NodeId]) -> str:
        return ",".join(node + (f"/{membership.life_of(node)}" if membership.life_of(node) else "") for node in nodes)

    outgoing = f"<-{names(membership.outgoing)}" if membership.outgoing else ""
    return names(membership.voters) + outgoing + (f"+{names(membership.learners)}" if membership.learners else "")
