"""What the web room sees of a node: propose, read, wait, and how it is."""

from __future__ import annotations

from functools import partial
from typing import Literal

from twisted.internet.defer import Deferred, fail, succeed

from ddbd.answers import Address, ClusterStatus, Handed, NodeStatus, TableStatus
from ddbd.commands import Answer, AnyCommand, Tell, format_of
from ddbd.config import Config
from ddbd.errors import DdbError, Fatal, NoLeader, NotReady, OutcomeUnknown
from ddbd.raft.messages import Message
from ddbd.raft.types import NodeId, Role
from ddbd.replica.driver import Driver
from ddbd.replica.handover import HANDOVER_FORMAT
from ddbd.replica.promises import World
from ddbd.replica.reads import Waiter
from ddbd.replica.saves import Saves
from ddbd.replica.tuning import raft_config
from ddbd.storage import Store, TableInfo, Tables

DRAIN_SECONDS = 5.0  # how long a stopping node waits for its clients' writes


class Replica:
    """Implements the web room's `Backend`."""

    def __init__(self, config: Config, node_id: NodeId, store: Store, world: World) -> None:
        self.config = config
        self.node_id = node_id
        self._store = store
        self._world = world
        self._driver = Driver(config, node_id, store, world)
        self._driver.on_leader = self._leader_changed
        self._leader_waiters: list[Waiter] = []
        self._drained: Deferred[None] | None = None
        self._drain_until = 0.0
        self._heartbeat_seconds = config.timing.heartbeat_ms / 1000

    def reconfigure(self, config: Config) -> None:
        """Addresses, the preferred master, and limits of queues; see `host.reload` for what never comes here."""
        driver = self._driver
        self.config = driver.config = config
        driver.core.config = raft_config(config, self.node_id, driver.core.config.life)
        driver.proposals.open_max = config.limits.proposals_open_max
        driver.proposals.open_bytes_max = config.limits.proposals_open_bytes_max
        driver.reads.open_max = config.limits.reads_open_max

    # What comes from the streams and the heartbeat.

    def receive(self, message: Message) -> None:
        self._driver.receive(message)

    def peer_refused(self, peer: NodeId) -> None:
        self._driver.peer_refused(peer)

    def peer_connected(self, peer: NodeId) -> None:
        self._driver.peer_connected(peer)

    def tick(self) -> None:
        self._driver.tick()
        self._leader_changed()  # it may have been lost and found again within one turn
        now = self._world.clock.seconds()
        if self._leader_waiters:
            late = [waiter for waiter in self._leader_waiters if waiter.deadline <= now]
            self._leader_waiters = [waiter for waiter in self._leader_waiters if waiter.deadline > now and not waiter.is_done]
            for waiter in late:
                waiter.finish(NoLeader("no leader was elected before the timeout"))
        if self._drained is not None:
            self._check_drained()

    # What the web room asks.

    @property
    def cluster_id(self) -> str:
        return self._store.cluster_id()

    @property
    def tables(self) -> Tables:
        """Raises NotReady where these tables must not be read."""
        self.assert_readable()
        return self._store.tables

    @property
    def leader_id(self) -> NodeId | None:
        return self._driver.core.leader_id

    @property
    def term(self) -> int:
        return self._driver.core.term

    @property
    def applied_index(self) -> int:
        return self._driver.core.applied_index

    @property
    def lag_entries(self) -> int:
        """In this node's log and not in its tables."""
        return self._driver.core.log.last_index - self._driver.core.applied_index

    @property
    def saves(self) -> Saves:
        return self._driver.saves

    @property
    def checkpoints(self) -> tuple[int, float]:
        """How many were done, and how many seconds they took."""
        return self._driver.compaction.count, self._driver.compaction.seconds

    @property
    def writes_refused(self) -> int:
        return self._driver.proposals.refused

    def submit(self, command: AnyCommand, timeout_seconds: float, key: str, fingerprint: bytes, tell: Tell) -> None:
        """See `web.backend`."""
        driver = self._driver
        self._assert_running()
        driver.accepts(command)
        self._assert_known_to_all(format_of(command))
        driver.proposals.add(command, key, fingerprint, self._deadline(timeout_seconds), tell)
        driver.wake()

    def propose(self, command: AnyCommand, timeout_seconds: float, key: str = "", fingerprint: bytes = b"") -> Deferred[Answer]:
        """See `web.backend`."""
        answer: Deferred[Answer] = Deferred()
        try:
            self.submit(command, timeout_seconds, key, fingerprint, partial(_settle, answer))
        except DdbError as error:
            answer.errback(error)
        return answer

    def _assert_known_to_all(self, needed: int, lowest: int = 0) -> None:
        """An entry that a member cannot read stops its replica, and a message that it does not know cuts its stream. Raises NotReady.

        A member that never registered is of format 0; with `lowest` 1 it does not matter, for no message goes there.
        """
        for node_id in self._driver.core.membership.nodes if needed > 1 else ():
            if lowest <= self._store.tables.format_of(node_id) < needed:
                raise NotReady(f"node {node_id} runs an older version, or has not registered yet; try again when all nodes run this one")

    def read_barrier(self, timeout_seconds: float) -> Deferred[None]:
        """See `web.backend`."""
        try:
            self.assert_readable()
            done = self._driver.reads.add(self._deadline(timeout_seconds))
        except DdbError as error:
            return fail(error)
        self._driver.wake()
        return done

    def wait_applied(self, index: int, timeout_seconds: float) -> Deferred[None]:
        """See `web.backend`."""
        try:
            self.assert_readable()
            done = self._driver.reads.add_index(index, self.applied_index, self._deadline(timeout_seconds))
        except DdbError as error:
            return fail(error)
        if not done.called:
            self._driver.reads.probe()  # its answer brings the commit index along
            self._driver.wake()
        return done

    def wait_leader(self, timeout_seconds: float) -> Deferred[NodeId]:
        """See `web.backend`."""
        try:
            self._assert_running()
        except DdbError as error:
            return fail(error)
        if self.leader_id is not None:
            return succeed(self.leader_id)
        waiter = Waiter(self._deadline(timeout_seconds))
        self._leader_waiters.append(waiter)
        return waiter.done.addCallback(lambda _: self._known_leader())

    def hand_over(self, target: NodeId | None, timeout_seconds: float) -> Deferred[Handed]:
        """See `web.backend`."""
        try:
            self._assert_running()
            self._assert_known_to_all(HANDOVER_FORMAT, lowest=1)
            return self._driver.handover.ask(target, self._deadline(timeout_seconds))
        except DdbError as error:
            return fail(error)

    def assert_readable(self) -> None:
        """Raises NotReady where these tables must not be read."""
        self._assert_running()
        if self._driver.core.is_frozen:
            raise NotReady("this node's state differs from the majority's; it serves no reads until it is seeded anew")

    def fatal(self, error: Fatal) -> None:
        """See `web.backend`."""
        self._driver.fail(error)

    def staleness_ms(self) -> int | None:
        """See `web.backend`. Rounded up: it is a bound."""
        since = self._driver.reads.fresh_since
        return None if since is None else int((self._world.clock.seconds() - since) * 1000) + 1

    def _known_leader(self) -> NodeId:
        assert self.leader_id is not None, "the wait for a leader ended without one"
        return self.leader_id

    def _leader_changed(self) -> None:
        if self.leader_id is not None:
            waiters, self._leader_waiters = self._leader_waiters, []
            for waiter in waiters:
                waiter.finish()

    def _deadline(self, timeout_seconds: float) -> float:
        return self._world.clock.seconds() + timeout_seconds

    def _assert_running(self) -> None:
        if self._driver.is_stopped:
            raise NotReady("this node is stopping; send the call to another one")

    # How it is.

    def unready_reason(self) -> str | None:
        """See `web.backend`."""
        core = self._driver.core
        if self._driver.is_stopped or self._driver.proposals.is_stopping:
            return "this node is stopping"
        if core.is_frozen:
            return "this node's state differs from the majority's; it is being seeded anew"
        if core.leader_id is None:
            return "no leader is known"
        if not self._driver.proposals.is_registered:
            return "this node has not registered with the cluster yet"
        since = self._driver.reads.fresh_since
        if since is None or self._world.clock.seconds() - since > 2 * self.config.timing.election_timeout_ms / 1000:
            return "this node has not caught up with the leader"
        return None

    def outsiders(self) -> list[NodeId]:
        """Nodes of the config that the cluster was formed without: they get no entries and no vote."""
        members = self._driver.core.membership.nodes
        return [node_id for node_id in self.config.node_ids if node_id not in members]

    def unhealthy_reason(self) -> str | None:
        """See `web.backend`."""
        if self._driver.core.is_frozen:
            return "this node's state differs from the majority's; it is quarantined"
        if self._driver.audit.is_split:
            return "the nodes' states differ, and no majority agrees"
        if self._store.disk_low():
            return "the disk is nearly full"
        return None

    def status(self) -> ClusterStatus:
        """See `web.backend`."""
        core, tables, driver = self._driver.core, self._store.tables, self._driver
        node = self.config.node(self.node_id)
        state_hash = tables.state_hash(tables.applied_index)
        return {
            "node": {
                "id": self.node_id,
                "address": node.address,
                "role": self.role,
                "is_master": core.is_leader,
                "reactor": self._world.turns(),
            },
            "master": None if core.leader_id is None else self._address(core.leader_id),
            "term": core.term,
            "last_index": core.log.last_index,
            "commit_index": core.commit_index,
            "applied_index": core.applied_index,
            "default_database": tables.default_database,
            "databases": [
                {"name": name, "tables": [_table_status(info) for info in table_infos]} for name, table_infos in tables.databases()
            ],
            "nodes": [self._node_status(each) for each in self.config.node_ids],
            "ready": self.unready_reason() is None,
            "healthy": self.unhealthy_reason() is None,
            "quarantined": core.is_frozen,
            "state": {
                "index": tables.applied_index,
                "hash": None if state_hash is None else state_hash.hex(),
                "compared_index": driver.audit.checked_index if core.is_leader else None,
            },
            "membership": {
                "voters": list(core.membership.voters),
                "outgoing": list(core.membership.outgoing),
                "learners": list(core.membership.learners),
            },
            "staleness_ms": self.staleness_ms(),
            "log": {"first_index": core.log.base.index + 1, "saved_index": core.log.saved_index},
            "writes_open": driver.proposals.open_count,
            "writes_open_max": self.config.limits.proposals_open_max,
            "disk_full": driver.is_disk_full,
            "seeding": driver.seeding.is_fetching,
            **tables.counters(),
        }

    @property
    def role(self) -> Literal["leader", "follower", "candidate", "learner"]:
        """The contract's word."""
        core = self._driver.core
        if core.role in (Role.PRE_CANDIDATE, Role.CANDIDATE):
            return "candidate"
        if core.role is Role.LEADER:
            return "leader"
        return "learner" if core.is_learner or not core.may_vote else "follower"

    def _address(self, node_id: NodeId) -> Address:
        known = [node.address for node in self.config.nodes if node.id == node_id]
        return {"id": node_id, "address": known[0] if known else None}

    def _node_status(self, node_id: NodeId) -> NodeStatus:
        """match_index and lag_entries as the leader last told."""
        core, told = self._driver.core, self._driver.comparing.told
        is_self = node_id == self.node_id
        match_index: int | None = None
        if told is not None and told.sender == core.leader_id:
            match_index = dict(told.match_indexes).get(node_id)
        return {
            **self._address(node_id),
            "is_master": node_id == core.leader_id,
            "reachable": is_self or self._world.peers.is_reachable(node_id),
            "match_index": match_index,
            "lag_entries": None if match_index is None or told is None else told.last_index - match_index,
        }

    # The end.

    def drain(self) -> Deferred[None]:
        """Takes no new calls, hands leadership over, and waits a little for the writes that are under way."""
        self._driver.proposals.is_stopping = True
        self._driver.seeding.is_stopping = True
        self._drain_until = self._deadline(DRAIN_SECONDS)
        self._drained = Deferred()
        drained = self._drained
        self._check_drained()
        return drained

    def _check_drained(self) -> None:
        core = self._driver.core
        assert self._drained is not None, "nobody waits for the drain"
        if core.leading is not None and core.leading.transfer_to is None:
            self._driver.handover.begin()
        is_handed_over = not core.is_leader or len(core.membership.voters) == 1
        is_done = is_handed_over and self._driver.proposals.open_count == 0
        if is_done or self._driver.is_stopped or self._world.clock.seconds() >= self._drain_until:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def halt(self) -> None:
        """The end: whoever still waits is told."""
        self._driver.halt()
        unknown = "this node stopped before it knew what became of the write: repeat it with the same Idempotency-Key on another node"
        self._driver.proposals.fail_all(lambda: OutcomeUnknown(unknown))
        self._driver.reads.fail_all(NotReady("this node stopped; send the call to another one"))
        self._driver.handover.fail_all(OutcomeUnknown("this node stopped before it knew who leads; see /status of another one"))
        waiters, self._leader_waiters = self._leader_waiters, []
        for waiter in waiters:
            waiter.finish(NotReady("this node stopped; send the call to another one"))


def _settle(answer: Deferred[Answer], outcome: Answer | DdbError) -> None:
    if isinstance(outcome, Answer):
        answer.callback(outcome)
    else:
        answer.errback(outcome)


def _table_status(info: TableInfo) -> TableStatus:
    return {
        "name": info.name,
        "columns": [column.name for column in info.columns],
        "types": [column.type for column in info.columns],
        "indexed": [column.name for column in info.columns if column.index],
        "row_count": info.row_count,
    }
