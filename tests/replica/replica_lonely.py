"""One node of three by itself: the test is the other two."""

from __future__ import annotations

import random
from typing import Any

from replica_kit import Opened, make_config
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ddbd.config import Limits
from ddbd.raft.messages import AppendEntries, Forward, Heartbeat, Message, VoteResponse
from ddbd.raft.types import Entry, EntryKind, Membership
from ddbd.replica import Replica, World
from ddbd.storage.memory import MemoryLog, MemoryStore
from ddbd.storage.memory_tables import MemoryTables

FOUNDERS = Membership.of(["1", "2", "3"])


class Peers:
    """Remembers what is sent; may break on the way."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.breaks_on: type | None = None

    def send(self, message: Message) -> None:
        if self.breaks_on is not None and isinstance(message, self.breaks_on):
            raise ValueError(f"a bug: {type(message).__name__} cannot be sent")
        self.sent.append(message)

    def flush(self) -> None:
        pass

    def is_reachable(self, peer: str) -> bool:
        return True

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.sent if isinstance(message, kind)]


class Dice(random.Random):
    """Refuses to roll once it is loaded."""

    loaded = False

    def randrange(self, *args: Any, **kwargs: Any) -> int:
        if self.loaded:
            raise ValueError("a bug: no dice")
        return super().randrange(*args, **kwargs)


class Lonely(Opened):
    """Node 1 of three; the test is the other two."""

    def __init__(self, by_hand: bool = False, **world: Any) -> None:
        self.clock = Clock()
        self.log = MemoryLog(FOUNDERS, by_hand)
        config = make_config()
        self.store = MemoryStore(config.limits, self.clock.seconds, FOUNDERS, self.log, generations={0: self.make_tables(config.limits)})
        self.peers = Peers()
        self.dice = Dice(1)
        self.events: list[str] = []
        self.fatal: list[BaseException] = []
        carrier: Any = None
        world = World(self.peers, carrier, self.clock, self.dice, self.fatal.append, self.events.append, **world)
        self.replica = Replica(config, "1", self.store, world)

    def make_tables(self, limits: Limits) -> MemoryTables:
        return MemoryTables(limits, self.clock.seconds, None, FOUNDERS)

    def turn(self) -> None:
        self.clock.advance(0)

    def receive(self, message: Message) -> None:
        self.replica.receive(message)
        self.turn()

    def append(self, *entries: Entry, commit: int, prev_term: int = 1) -> None:
        """Node 2, the leader of term 1, sends entries that follow on what is there."""
        prev_index = self.core.log.last_index
        self.receive(AppendEntries("1", "2", 1, prev_index, prev_term if prev_index else 0, entries, commit))

    def follow(self) -> None:
        """Node 2 leads, this node is registered."""
        self.receive(Heartbeat("1", "2", 1, 1))
        (forward,) = self.peers.of(Forward)
        self.append(Entry(1, 1, 1, EntryKind.COMMAND, forward.proposals[0]), commit=1)
        assert self.driver.proposals.is_registered
        self.peers.sent.clear()


def outcome(deferred: Deferred[Any]) -> list[Any]:
    got: list[Any] = []
    deferred.addCallbacks(got.append, lambda failure: got.append(failure.value))
    return got


def command(index: int, data: bytes) -> Entry:
    return Entry(index, 1, index, EntryKind.COMMAND, data)


def lead(node: Lonely) -> None:
    """Node 2 is gone; node 3 votes for this one. The turn in which it notices has not been."""
    node.replica.peer_refused("2")
    node.turn()
    node.receive(VoteResponse("1", "3", 2, True, True))
    node.replica.receive(VoteResponse("1", "3", 2, False, True))
    assert node.core.is_leader
