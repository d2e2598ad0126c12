"""The simulated network: messages one by one, late, lost, doubled, out of order; links cut in either direction; snapshots as one fetch."""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import TYPE_CHECKING

from sim_disk import flip
from twisted.internet.defer import Deferred

from ddbd.cluster.wire import decode, encode
from ddbd.errors import Corrupt, Unavailable
from ddbd.raft.messages import Message
from ddbd.raft.types import NodeId
from ddbd.storage import SnapshotFile
from ddbd.storage.maintenance import DIGEST_BYTES

if TYPE_CHECKING:
    from sim_node import Process
    from sim_world import World


class Network:
    def __init__(self, world: World, dice: random.Random) -> None:
        self._world = world
        self._dice = dice
        self.is_healed = False
        self.cuts: set[tuple[NodeId, NodeId]] = set()  # (from, to); only ever asked, never iterated
        self._last: dict[tuple[NodeId, NodeId], float] = {}
        self._clogged: dict[tuple[NodeId, NodeId], float] = {}  # until when
        self.sent = 0

    def reset(self) -> None:
        self.cuts = set()

    def clog(self, sender: NodeId, to: NodeId, seconds: float) -> None:
        self._clogged[sender, to] = self._world.timers.now + seconds

    @property
    def is_calm(self) -> bool:
        return not self.cuts and all(until <= self._world.timers.now for until in self._clogged.values())

    def passes(self, sender: NodeId, to: NodeId) -> bool:
        return (sender, to) not in self.cuts

    def latency(self) -> float:
        options = self._world.options
        return options.delay * (0.5 + self._dice.random()) + options.jitter * self._dice.random() ** 3

    def transmit(self, message: Message) -> None:
        options, dice = self._world.options, self._dice
        self.sent += 1
        if not self.passes(message.sender, message.to):
            return
        if not self.is_healed and dice.random() < options.loss:
            self._world.sometimes["a message was lost"] += 1
            return
        if self.sent % 16 == 0:
            self._check_wire(message)
        self._carry(message, self.latency())
        if not self.is_healed and dice.random() < options.duplication:
            self._world.sometimes["a message was doubled"] += 1
            self._carry(message, self.latency() + dice.random() * dice.choice([0.01, 0.3, 2.0]))

    def _carry(self, message: Message, delay: float) -> None:
        if self._clogged and not self.is_healed:
            until = self._clogged.get((message.sender, message.to), 0.0)
            self._world.sometimes["a link was clogged"] += until - self._world.timers.now > delay
            delay = max(delay, until - self._world.timers.now)
        if self._world.options.in_order:
            link = (message.sender, message.to)
            at = max(self._world.timers.now + delay, self._last.get(link, 0.0))
            self._last[link] = at
            delay = at - self._world.timers.now
        self._world.timers.later(delay, self._arrive, message, self._stream(message))

    def _stream(self, message: Message) -> tuple[int, int]:
        nodes = self._world.nodes
        return nodes[message.sender].boots, nodes[message.to].boots

    def _arrive(self, message: Message, stream: tuple[int, int]) -> None:
        """A stream ends with either of its processes; without streams a message may come out of an earlier life."""
        if not self._world.options.in_order or stream == self._stream(message):
            self._world.deliver(message)

    def _check_wire(self, message: Message) -> None:
        kind, body = encode(message)
        if decode(kind, body) != message:
            self._world.violate(f"the wire changed {message} to {decode(kind, body)}")


class SimPeers:
    """`replica.promises.Peers` of one process: a turn's messages leave together, after the checkers have seen them."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._queue: list[Message] = []

    def send(self, message: Message) -> None:
        self._queue.append(message)

    def flush(self) -> None:
        queue, self._queue = self._queue, []
        world = self._process.node.world
        for message in queue:
            world.checks.sent(self._process, message)
            world.network.transmit(message)

    def is_reachable(self, peer: NodeId) -> bool:
        return True


class SimCarrier:
    """`replica.promises.Carrier` of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.published: dict[str, tuple[bytes, bytes]] = {}  # content and checksum
        self.was_used = False

    def publish(self, snapshot: SnapshotFile) -> None:
        self.was_used = True
        self.published[snapshot.token] = (self._process.store.files[snapshot.path], snapshot.digest)

    def withdraw(self, token: str) -> None:
        self.published.pop(token, None)

    def last_fetched(self, token: str) -> float | None:
        return None  # a fetch is one moment here

    def fetch(self, peer: NodeId, token: str, path: str) -> Deferred[None]:
        world, process = self._process.node.world, self._process
        self.was_used = True
        done: Deferred[None] = Deferred()
        seconds = world.options.snapshot_seconds * process.dice.random() + 2 * world.network.latency()
        process.clock.callLater(seconds, self._arrive, peer, token, path, done)
        return done

    def _arrive(self, peer: NodeId, token: str, path: str, done: Deferred[None]) -> None:
        if done.called:
            return
        world, process = self._process.node.world, self._process
        source = world.nodes[peer].process
        passes = world.network.passes(peer, process.node.id) and world.network.passes(process.node.id, peer)
        content, digest = (
            (None, b"") if source is None or source.is_paused or not passes else source.carrier.published.get(token, (None, b""))
        )
        fails = not world.network.is_healed and process.dice.random() < world.options.snapshot_fails
        if content is None or fails:
            world.sometimes["a snapshot's transfer failed"] += 1
            done.errback(Unavailable(f"node {peer} did not send snapshot {token}"))
            return
        if not world.network.is_healed and process.dice.random() < world.options.snapshot_flips:
            content = flip(content, process.dice)
        if blake2b(content, digest_size=DIGEST_BYTES).digest() != digest:
            world.sometimes["a snapshot was damaged on its way"] += 1
            done.errback(Corrupt(f"snapshot {token} from node {peer} does not match its checksum"))
            return
        process.store.files[path] = content
        done.callback(None)
