"""One seed, one run: the real `Replica` on every node, everything around it simulated.

First some seconds of faults, then everything is healed and the cluster has to come to rest: one leader, all calls answered, all nodes at
the same index with the same state. `run` raises `Violated` with the seed, its options and the end of what happened.
"""

from __future__ import annotations

import random
import traceback
from collections import Counter, deque
from hashlib import blake2b
from typing import Any

from sim_bounds import rest_problem
from sim_checks import Checks
from sim_clients import Client, check_history
from sim_clock import Timers
from sim_faults import Faults
from sim_history import check_linearizable
from sim_net import Network
from sim_node import Node, Process
from sim_options import Options, config_of, draw

from ddbd.raft.messages import Message
from ddbd.raft.types import Membership, NodeId

REST_SECONDS = 60.0  # after the healing
TRANSCRIPT_LINES = 120


class Violated(AssertionError):
    pass


class World:
    def __init__(self, seed: int, options: Options | None = None) -> None:
        self.seed = seed
        self.options = options or draw(seed)
        self.config = config_of(self.options)
        self.founders = Membership.of(self.config.node_ids)
        self.timers = Timers()
        self.sometimes: Counter[str] = Counter()
        self.problem: str | None = None
        self._transcript: deque[tuple[float, Any]] = deque(maxlen=TRANSCRIPT_LINES)
        self._hash = blake2b(digest_size=16)
        self._dice = random.Random(f"world {seed}")
        self.network = Network(self, random.Random(f"network {seed}"))
        self.checks = Checks(self)
        self.seen_index = 0  # the newest place in the log that any client has seen
        self.nodes: dict[NodeId, Node] = {node_id: Node(self, node_id, self.founders) for node_id in self.config.node_ids}
        self.clients: list[Client] = []

    # The run.

    def run(self) -> None:
        self._begin()
        faults = Faults(self)
        self.pass_time(self.options.fault_seconds)
        faults.end()
        self._heal()
        self.come_to_rest()
        check_history(self)
        check_linearizable(self)
        self._raise()

    def run_quietly(self, seconds: float) -> None:
        """Without faults, and without an end."""
        self._begin()
        self.pass_time(seconds)

    def _begin(self) -> None:
        for node in self.nodes.values():
            self.timers.later(0.3 * self._dice.random(), node.start)
        self.clients = [Client(self, number) for number in range(self.options.clients)]

    def come_to_rest(self) -> None:
        for client in self.clients:
            client.is_stopping = True
        self._rest()
        self._look_at_rest()

    def pass_time(self, seconds: float) -> None:
        until = self.timers.now + seconds
        while self.timers.now < until:
            self.timers.step()
            if self.problem is not None:
                self._raise()

    def _heal(self) -> None:
        self.note("everything is healed")
        self.network.is_healed = True
        self.network.cuts = set()
        for node in self.nodes.values():
            node.disk.restarted()
            node.is_full = False
            if node.process is not None:
                node.process.store.tables.goes_astray = False
            if node.process is None:
                self.restart_later(node)
            else:
                node.process.syncer.slow_share = 0.0
                node.process.clock.run_at(node.process.fair_rate)
                node.process.resume()
        self.reconnect()

    def _rest(self) -> None:
        until = self.timers.now + REST_SECONDS
        while (unrest := self._unrest()) is not None:
            if self.timers.now > until:
                self.violate(f"no rest after {REST_SECONDS} seconds: {unrest}")
                self._raise()
            self.pass_time(0.2)

    def _look_at_rest(self) -> None:
        for node in self.nodes.values():
            assert node.process is not None, "at rest all run"
            problem = rest_problem(node.process, self.checks.model)
            if problem is not None:
                self.violate(f"n{node.id}: {problem}")

    def _unrest(self) -> str | None:
        busy = [client.name for client in self.clients if not client.is_idle]
        if busy:
            return f"clients {busy} wait"
        for node in self.nodes.values():
            process = node.process
            if process is None:
                return f"node {node.id} is down"
            if node.is_rotten and not process.store.tables.goes_astray:
                return f"node {node.id} has another state than the others"
            reason = process.replica.unready_reason()
            if reason is not None:
                return f"node {node.id}: {reason}"
            if process.core.membership.is_joint or process.core.membership.voters != self.founders.voters:
                return f"node {node.id}: {process.core.membership}"
            if process.core.applied_index != len(self.checks.committed):
                return f"node {node.id} has applied {process.core.applied_index} of {len(self.checks.committed)}"
            if process.core.leader_id != self.config.preferred_id:
                return f"node {node.id} has leader {process.core.leader_id}, preferred is {self.config.preferred_id}"
        return None

    # What the parts tell.

    def note(self, line: str) -> None:
        self._transcript.append((self.timers.now, line))
        self._hash.update(f"{self.timers.now:.9f} {line}".encode())

    @property
    def trace(self) -> str:
        """The same for the same seed, in every process."""
        log = blake2b(repr(self.checks.committed).encode(), digest_size=16).hexdigest()
        return f"{self._hash.hexdigest()} {self.timers.count} {self.network.sent} {log}"

    def violate(self, what: str, error: BaseException | None = None) -> None:
        if self.problem is None:
            self.note(f"VIOLATED: {what}")
            self.problem = what if error is None else f"{what}\n{''.join(traceback.format_exception(error))}"

    def _raise(self) -> None:
        if self.problem is not None:
            lines = [f"{at:10.4f} {what}" for at, what in self._transcript]
            raise Violated("\n".join([f"seed={self.seed}", str(self.options), *lines, f"seed={self.seed}: {self.problem}"]))

    def saw(self, index: int) -> None:
        self.seen_index = max(self.seen_index, index)

    def leader(self) -> Process | None:
        leaders = [node.process for node in self.nodes.values() if node.process is not None and node.process.core.is_leader]
        return max(leaders, key=lambda process: process.core.term, default=None)

    # Between the nodes.

    def deliver(self, message: Message) -> None:
        process = self.nodes[message.to].process
        if process is not None and self.network.passes(message.sender, message.to):
            self._transcript.append((self.timers.now, message))
            self._hash.update(f"{self.timers.now:.9f} {message.sender}{message.to}{type(message).__name__}{message[2:4]!r}".encode())
            process.run(process.replica.receive, message)

    def restart_later(self, node: Node) -> None:
        if not node.is_returning:
            node.is_returning = True
            self.timers.later(self._dice.choice([0.1, 0.5, 2.0]) * self._dice.random(), node.start)

    def started(self, node: Node) -> None:
        """The streams to and from it are new; and it finds out who is not there."""
        for other in self.nodes.values():
            if other is not node:
                self.timers.later(self.network.latency(), self._connect, other, node)
                self.timers.later(self.network.latency(), self._connect, node, other)

    def reconnect(self) -> None:
        for node in self.nodes.values():
            for other in self.nodes.values():
                if node is not other:
                    self.timers.later(0.1 * self._dice.random(), self._connect, node, other)

    def _connect(self, node: Node, peer: Node) -> None:
        if node.process is None or not self.network.passes(node.id, peer.id) or not self.network.passes(peer.id, node.id):
            return
        if peer.process is None:
            self._hint(node, peer, False)
        else:
            node.process.run(node.process.replica.peer_connected, peer.id)

    def stopped(self, node: Node, process: Process) -> None:
        """Its streams break; the others dial again, and most are refused within milliseconds."""
        for client in self.clients:
            if client.is_waiting_for(process):
                self.timers.later(0.003, client.lost, client.attempt)
        for other in self.nodes.values():
            if other is not node and self._dice.random() < self.options.hints:
                is_late = self._dice.random() < 0.1
                self.timers.later(
                    0.003 + (self._dice.random() if is_late else 0.003 * self._dice.random()), self._hint, other, node, is_late
                )

    def _hint(self, node: Node, gone: Node, is_late: bool) -> None:
        """A late one may come when the process is back already."""
        if node.process is None or not self.network.passes(node.id, gone.id) or not self.network.passes(gone.id, node.id):
            return
        if gone.process is None or is_late:
            self.sometimes["a peer learned that a process is gone"] += 1
            node.process.run(node.process.replica.peer_refused, gone.id)


def play(seed: int, options: Options | None = None) -> World:
    world = World(seed, options)
    world.run()
    return world
