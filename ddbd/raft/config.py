"""What a core is given when it is made: its timing in ticks, its limits, its dice."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ddbd.raft.types import NodeId


class Dice(Protocol):
    """Where random timeouts come from: random.Random, handed in."""

    def randrange(self, start: int, stop: int) -> int: ...


class RaftConfig(NamedTuple):
    node_id: NodeId
    life: str = ""  # of this node's disk: it votes only where the membership names the same
    preferred_id: NodeId | None = None  # who gets leadership back; None: nobody
    heartbeat_ticks: int = 2
    election_timeout_ticks: int = 10  # the shortest, of the first in order; see follower.reset_timeout and candidate
    stagger_ticks: int = 2  # between equally fit candidates, by order of ids: more than a round trip
    failback_ticks: int = 40
    failback_ticks_max: int = 12_000
    hold_ticks: int = 72_000  # how long nothing is given back after an operator's transfer
    append_bytes_max: int = 1024 * 1024
    append_messages_max: int = 256  # in flight to one follower
    commit_waits: bool = False  # news of a commit goes with entries, to whom it was asked for, or before the next heartbeat; else at once
    inflight_bytes_max: int = 8 * 1024 * 1024  # of entries, likewise: one turn must not make and encode a whole tail at once
    apply_entries_max: int = 1_000  # handed out at once, so that the driver's turn stays short
    apply_bytes_max: int = 1024 * 1024
    reads_max: int = 10_000  # waiting at the leader; further ones are dropped, and asked again by their nodes
