"""A node that commits at once: the promises of `web.backend` over tables in memory, and a hand on everything that can go wrong.

`held` lists the proposals, barriers and waits that were not answered, while `holding`; `errors` maps a method's name to what it errs with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from ddbd.answers import Handed
from ddbd.commands import Answer, AnyCommand, Proposal, Register, Tell, encode_proposal
from ddbd.config import Config, Limits, Node
from ddbd.errors import NoLeader
from ddbd.raft.types import Entry, EntryKind, NodeId
from ddbd.replica.standby import Standby
from ddbd.storage.memory_tables import MemoryTables


def config_of(limits: Limits | None = None, hosts: tuple[str, ...] = ()) -> Config:
    nodes = [Node(str(n), f"localhost:{8079 + n}", n == 1, "localhost", 8079 + n, "localhost") for n in (1, 2, 3)]
    return Config(tuple(nodes), Path("config.json"), hosts=hosts, limits=limits or Limits())


class Twin:
    """`web.backend.Backend`."""

    def __init__(self, config: Config, clock: Clock, node_id: NodeId = "1", leader_id: NodeId | None = "1") -> None:
        self.config = config
        self.node_id = node_id
        self.leader_id = leader_id
        self.cluster_id = "c0ffee"
        self.term = 3
        self._tables: Any = MemoryTables(config.limits, clock.seconds)
        self.commands: list[AnyCommand] = []
        self.fingerprints: list[tuple[str, bytes]] = []
        self.timeouts: list[float] = []
        self.errors: dict[str, Exception] = {}
        self.holding = False
        self.fatals: list[Exception] = []
        self.bears_no_fatal = False
        self.held: list[Deferred[Any]] = []
        self.cancelled: list[Deferred[Any]] = []
        self.staleness: int | None = 12
        self.unready: str | None = None
        self.unhealthy: str | None = None
        self.handed: list[NodeId | None] = []
        self._seq = 0
        self._apply(Proposal(node_id, 0, 0, 0, Register(node_id, 1)))

    @property
    def tables(self) -> Any:
        if "tables" in self.errors:
            raise self.errors["tables"]
        return self._tables

    @property
    def applied_index(self) -> int:
        return int(self._tables.applied_index)

    def fatal(self, error: Exception) -> None:
        self.fatals.append(error)
        if self.bears_no_fatal:
            raise error

    def _apply(self, proposal: Proposal) -> Answer:
        entry = Entry(self.applied_index + 1, self.term, 1_000, EntryKind.COMMAND, encode_proposal(proposal))
        answer = self.tables.apply([entry])[0].answer
        assert answer is not None, "the window refused a proposal"
        return answer

    def _answer(self, method: str, value: Any, seconds: float = 0.0) -> Deferred[Any]:
        self.timeouts.append(seconds)
        if method in self.errors:
            return fail(self.errors[method])
        if self.holding:
            self.held.append(Deferred(self.cancelled.append))
            return self.held[-1]
        return succeed(value)

    def submit(self, command: AnyCommand, timeout_seconds: float, key: str, fingerprint: bytes, tell: Tell) -> None:
        self.propose(command, timeout_seconds, key, fingerprint).addCallbacks(tell, lambda failure: tell(failure.value))

    def propose(self, command: AnyCommand, timeout_seconds: float, key: str = "", fingerprint: bytes = b"") -> Deferred[Answer]:
        self.commands.append(command)
        self.fingerprints.append((key, fingerprint))
        if self.holding or "propose" in self.errors:
            return self._answer("propose", None, timeout_seconds)
        self._seq += 1
        boot = self.tables.registered(self.node_id)[0]
        return self._answer("propose", self._apply(Proposal(self.node_id, boot, self._seq, 0, command, key, fingerprint)), timeout_seconds)

    def read_barrier(self, timeout_seconds: float) -> Deferred[None]:
        return self._answer("read_barrier", None, timeout_seconds)

    def wait_applied(self, index: int, timeout_seconds: float) -> Deferred[None]:
        if index > self.applied_index and "wait_applied" not in self.errors:
            return fail(NoLeader(f"this node has not applied {index} in time"))
        return self._answer("wait_applied", None, timeout_seconds)

    def wait_leader(self, timeout_seconds: float) -> Deferred[NodeId]:
        if self.leader_id is None and not self.holding:
            return fail(NoLeader("there was no leader in time"))
        return self._answer("wait_leader", self.leader_id, timeout_seconds)

    def hand_over(self, target: NodeId | None, timeout_seconds: float) -> Deferred[Handed]:
        before, after = str(self.leader_id), target or next(node.id for node in self.config.nodes if node.id != self.leader_id)
        self.handed.append(target)
        return self._answer("hand_over", {"status": "ok", "from": before, "to": after, "term": self.term + 1}, timeout_seconds)

    def staleness_ms(self) -> int | None:
        return self.staleness

    def unready_reason(self) -> str | None:
        return self.unready

    def unhealthy_reason(self) -> str | None:
        return self.unhealthy

    def status(self) -> dict[str, Any]:
        return {**Standby(self.config, self.node_id).status(), "term": self.term}
