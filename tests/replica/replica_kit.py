"""Real Replicas over stores in memory, one fake clock, and a network of plain function calls: no sockets, no threads, no waiting.

A message takes LATENCY_SECONDS and never overtakes another one. A cut link loses what is sent; a process that ends is noticed as the
streams would notice it: its address refuses connections. `Cluster.run` goes from one timer to the next, so a second costs little.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ddbd.commands import Answer, AnyCommand, Column, CreateTable, InitDatabase, Insert, Update
from ddbd.config import Config, Limits, Node, Timing
from ddbd.errors import Unavailable
from ddbd.raft.messages import Message
from ddbd.raft.types import Membership, NodeId
from ddbd.replica import Replica, World
from ddbd.storage import SnapshotFile
from ddbd.storage.memory import MemoryStore

LATENCY_SECONDS = 0.001
FETCH_SECONDS = 0.02
CLIENT_SECONDS = 5.0  # the deadline of a client that may see no error

# Little is kept, so that a short absence is a long one.
SMALL = Limits(log_tail_entries=10, checkpoint_entries=20, cache_entries_max=30)


def make_config(count: int = 3, limits: Limits | None = None, **more: Any) -> Config:
    nodes = tuple(
        Node(str(number), f"localhost:{8079 + number}", number == 1, "localhost", 8079 + number, "localhost")
        for number in range(1, count + 1)
    )
    return Config(nodes=nodes, path=Path("config.json"), limits=limits or Limits(), timing=more.pop("timing", Timing()), **more)


class Outcome:
    """What a Deferred came to, and when."""

    def __init__(self, deferred: Deferred[Any], clock: Clock) -> None:
        self.value: Any = None
        self.error: Any = None
        self.is_done = False
        self.began = clock.seconds()
        self.seconds = 0.0
        self._clock = clock
        deferred.addCallbacks(self._done, self._failed)

    def _done(self, value: Any) -> None:
        assert not self.is_done, "answered twice"
        self.value, self.is_done, self.seconds = value, True, self._clock.seconds() - self.began

    def _failed(self, failure: Failure) -> None:
        assert not self.is_done, "answered twice"
        self.error, self.is_done, self.seconds = failure.value, True, self._clock.seconds() - self.began

    @property
    def is_ok(self) -> bool:
        return self.is_done and self.error is None and (not isinstance(self.value, Answer) or not self.value.code)


class MemoryPeers:
    """`replica.promises.Peers`: what was sent leaves with the flush."""

    def __init__(self, node: MemoryNode) -> None:
        self._node = node
        self._queue: list[Message] = []

    def send(self, message: Message) -> None:
        self._queue.append(message)

    def flush(self) -> None:
        queue, self._queue = self._queue, []
        for message in queue:
            self._node.cluster.carry(message)

    def is_reachable(self, peer: NodeId) -> bool:
        return self._node.cluster.passes(peer, self._node.id) and self._node.cluster.nodes[peer].is_running


class MemoryCarrier:
    """`replica.promises.Carrier`: the bytes arrive at once, after a while. A sender that is gone is asked until the fetch is cancelled."""

    def __init__(self, node: MemoryNode) -> None:
        self._node = node
        self.published: dict[str, bytes] = {}
        self.fails = 0  # so many of the next fetches
        self.fetch_seconds = FETCH_SECONDS
        self.fetched_at: float | None = None  # by somebody, of this node's

    def publish(self, snapshot: SnapshotFile) -> None:
        self.published[snapshot.token] = self._node.store.files[snapshot.path]

    def withdraw(self, token: str) -> None:
        del self.published[token]

    def last_fetched(self, token: str) -> float | None:
        return self.fetched_at

    def fetch(self, peer: NodeId, token: str, path: str) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._node.cluster.clock.callLater(self.fetch_seconds, self._arrive, peer, token, path, done)
        return done

    def _arrive(self, peer: NodeId, token: str, path: str, done: Deferred[None]) -> None:
        if done.called:
            return
        source, cluster = self._node.cluster.nodes[peer], self._node.cluster
        if not source.is_running or not cluster.passes(peer, self._node.id):
            cluster.clock.callLater(self.fetch_seconds, self._arrive, peer, token, path, done)
            return
        content = source.carrier.published.get(token)
        if content is None or self.fails:
            self.fails = max(0, self.fails - 1)
            done.errback(Unavailable(f"node {peer} did not send {token}"))
            return
        self._node.store.files[path] = content
        done.callback(None)


class Opened:
    """A replica whose inside a test looks at."""

    replica: Replica

    @property
    def driver(self) -> Any:
        return self.replica._driver

    @property
    def core(self) -> Any:
        return self.driver.core


class MemoryNode(Opened):
    """A disk that lasts, and one process after another on it."""

    peers: MemoryPeers
    carrier: MemoryCarrier

    def __init__(self, cluster: Cluster, node_id: NodeId) -> None:
        self.cluster = cluster
        self.id = node_id
        self.store = self._fresh_store("")
        self.is_running = False
        self.events: list[str] = []
        self.happened: list[tuple[str, NodeId | None, str, dict[str, Any]]] = []  # over all of its lives
        self.fatal: list[BaseException] = []
        self._lives = 0
        self._ticking: Any = None

    def _fresh_store(self, life: str) -> MemoryStore:
        cluster = self.cluster
        return cluster.store_class(cluster.config.limits, cluster.clock.seconds, cluster.founders, life=life)

    def start(self) -> None:
        cluster = self.cluster
        self._lives += 1
        self.peers, self.carrier = MemoryPeers(self), MemoryCarrier(self)
        dice = random.Random(f"{cluster.seed} {self.id} {self._lives}")
        self.heard: dict[NodeId, float] = {}
        self.gave_way_after: list[int] = []  # how many messages of all nodes had left then
        told = {"happened": self._happened, "last_heard": self.heard.get, "give_way": self._give_way}
        world = World(self.peers, self.carrier, cluster.clock, dice, self.fatal.append, self.events.append, **told)
        self.replica = Replica(cluster.config, self.id, self.store, world)
        self.is_running = True
        self._tick()
        cluster.connected(self)

    def _give_way(self) -> None:
        self.gave_way_after.append(len(self.cluster.seen))

    def _happened(self, kind: str, node_id: NodeId | None, text: str, **details: Any) -> None:
        self.happened.append((kind, node_id, text, details))

    def _tick(self) -> None:
        self._ticking = self.cluster.clock.callLater(self.cluster.config.timing.tick_ms / 1000, self._tick)
        self.replica.tick()

    def crash(self) -> None:
        """kill -9: what the disk holds stays, whoever waits hears no more."""
        self.is_running = False
        self._ticking.cancel()
        files = self.store.files
        left = self.store.crash()
        self.replica.halt()
        self.store = left
        self.store.files = files
        self.cluster.refused(self)

    def wipe(self) -> None:
        """The disk of a node that is down is lost; a new life begins on an empty one."""
        assert not self.is_running, f"node {self.id} runs"
        self.store = self._fresh_store(f"life-{self._lives + 1}")

    # What a client asks of it.

    def write(self, command: AnyCommand, timeout: float = CLIENT_SECONDS, key: str = "", fingerprint: bytes = b"f") -> Outcome:
        return Outcome(self.replica.propose(command, timeout, key, fingerprint if key else b""), self.cluster.clock)

    def insert(self, row_id: str, value: Any = None, timeout: float = CLIENT_SECONDS, key: str = "") -> Outcome:
        return self.write(insert(row_id, value), timeout, key, row_id.encode())

    def read(self, row_id: str, timeout: float = CLIENT_SECONDS) -> Outcome:
        """Linearizable: the row as (row_id, value, version), or None."""
        barrier = self.replica.read_barrier(timeout)
        return Outcome(barrier.addCallback(lambda _: self.replica.tables.row(None, "t", row_id)), self.cluster.clock)

    def local(self, row_id: str) -> Any:
        return self.replica.tables.row(None, "t", row_id)


class Cluster:
    def __init__(
        self, count: int = 3, limits: Limits | None = None, seed: int = 0, store_class: type[MemoryStore] = MemoryStore, **more: Any
    ) -> None:
        self.config = make_config(count, limits, **more)
        self.store_class = store_class
        self.seed = seed
        self.clock = Clock()
        self.founders = Membership.of(self.config.node_ids)
        self.cuts: set[tuple[NodeId, NodeId]] = set()  # (from, to)
        self.seen: list[Message] = []
        self.nodes = {node_id: MemoryNode(self, node_id) for node_id in self.config.node_ids}
        for node in self.nodes.values():
            node.start()

    # The network.

    def passes(self, sender: NodeId, to: NodeId) -> bool:
        return (sender, to) not in self.cuts

    def cut_off(self, node_id: NodeId) -> None:
        others = [other for other in self.nodes if other != node_id]
        self.cuts |= {(node_id, other) for other in others} | {(other, node_id) for other in others}

    def heal(self) -> None:
        self.cuts.clear()

    def carry(self, message: Message) -> None:
        self.seen.append(message)
        sender, to = self.nodes[message.sender], self.nodes[message.to]
        if self.passes(sender.id, to.id):
            self.clock.callLater(LATENCY_SECONDS, self._arrive, message, (sender.replica, getattr(to, "replica", None)))

    def _arrive(self, message: Message, stream: tuple[Any, Any]) -> None:
        """A stream ends with either of its processes."""
        to = self.nodes[message.to]
        if to.is_running and self.passes(message.sender, message.to) and stream[1] is to.replica:
            to.heard[message.sender] = self.clock.seconds()
            to.replica.receive(message)

    def connected(self, node: MemoryNode) -> None:
        for other in self.nodes.values():
            if other is not node and other.is_running:
                other.replica.peer_connected(node.id)
                node.replica.peer_connected(other.id)

    def refused(self, node: MemoryNode) -> None:
        for other in self.nodes.values():
            if other is not node and other.is_running and self.passes(other.id, node.id):
                self.clock.callLater(LATENCY_SECONDS, other.replica.peer_refused, node.id)

    # Time.

    def run(self, seconds: float) -> None:
        self.until(lambda: False, seconds, must=False)

    def until(self, check: Callable[[], Any], seconds: float = 10.0, must: bool = True) -> float:
        """From timer to timer until the check holds; returns how long it took."""
        began = self.clock.seconds()
        while not check():
            at = min(call.getTime() for call in self.clock.getDelayedCalls())
            if at > began + seconds:
                assert not must, f"not within {seconds:g} s"
                self.clock.advance(max(0.0, began + seconds - self.clock.seconds()))
                break
            self.clock.advance(max(0.0, at - self.clock.seconds()))
        return self.clock.seconds() - began

    def done(self, *outcomes: Outcome, seconds: float = 10.0) -> None:
        self.until(lambda: all(outcome.is_done for outcome in outcomes), seconds)

    # Who is what.

    @property
    def running(self) -> list[MemoryNode]:
        return [node for node in self.nodes.values() if node.is_running]

    @property
    def leader(self) -> MemoryNode | None:
        """The one of the newest term."""
        leaders = [node for node in self.running if node.core.is_leader]
        return max(leaders, key=lambda node: node.core.term, default=None)

    def led_by(self, node_id: NodeId) -> bool:
        return self.leader is self.nodes[node_id] and all(node.replica.leader_id == node_id for node in self.running)

    def ready(self) -> bool:
        return all(node.replica.unready_reason() is None for node in self.running)

    def settle(self, seconds: float = 20.0) -> None:
        self.until(self.ready, seconds)

    def agree(self) -> bool:
        """Everyone applied the same, and the hashes say so."""
        places = {(node.store.tables.applied_index, node.store.tables.state_hash(node.store.tables.applied_index)) for node in self.running}
        return len(places) == 1

    def set_up(self) -> Cluster:
        """Ready, node 1 leads, and there is a table t with one column v."""
        self.settle()
        self.until(lambda: self.led_by("1"))
        made = [self.nodes["1"].write(command) for command in (InitDatabase("d"), CreateTable(None, "t", (Column("v"),)))]
        self.done(*made)
        assert all(each.is_ok for each in made)
        return self


def insert(row_id: str, value: Any = None) -> Insert:
    return Insert(None, "t", ((row_id, {"v": value}),))


def update(row_id: str, value: Any) -> Update:
    return Update(None, "t", row_id, {"v": value})


def fill(cluster: Cluster, node: MemoryNode, count: int, prefix: str = "fill") -> None:
    """So many entries, one after the other."""
    for number in range(count):
        outcome = node.insert(f"{prefix}-{number}")
        cluster.done(outcome)
        assert outcome.is_ok, outcome.error


def lines(events: Iterable[str], word: str) -> list[str]:
    return [event for event in events if word in event]


def flip(node: MemoryNode, row_id: str) -> None:
    """The row is gone from this node's tables, and nobody noticed."""
    backend: Any = node.store.tables._backend
    found = [rows for rows in backend.rows.values() if row_id in rows]
    assert found, f"node {node.id} has no row {row_id}"
    del found[0][row_id]
