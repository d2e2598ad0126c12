"""Real cores in one process, joined by a network and disks that do what a test says. Nothing sleeps, nothing is patched.

    cluster = Cluster.of(3)         nodes "1".."3", all empty
    cluster.elect("1")              ticks nobody: "1" campaigns, and what follows is delivered
    cluster.propose("1", b"x")
    cluster.settle()                delivers until nothing is in flight

A message is in flight from the moment that its node's driver sent it until it is delivered or dropped. A disk writes at once unless it
is held; a crash loses what was not saved, and everything that only lived in memory. What must hold at every moment is checked by
`raft_checks.Checks`, outside of the nodes, after every turn of a node.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from raft_checks import Checks
from raft_text import text

from ddbd.raft import candidate
from ddbd.raft.core import Raft, RaftConfig, Ready
from ddbd.raft.log import CacheLimits, RaftLog
from ddbd.raft.messages import Context, RaftMessage
from ddbd.raft.types import Entry, EntryKind, HardState, Membership, NodeId, ReadState, SnapshotMeta

READIES_MAX = 1_000  # a turn that is longer never ends


class Disk:
    """What survives a crash: hard state, log, and the tables as far as they were checkpointed."""

    def __init__(self, membership: Membership, life: str = "") -> None:
        self.hard_state = HardState()
        self.base = SnapshotMeta(0, 0, 0, membership)
        self.entries: list[Entry] = []
        self.tables_index = 0  # what the tables hold durably
        self.life = life

    @property
    def last_index(self) -> int:
        return self.base.index + len(self.entries)

    def entry(self, index: int) -> Entry | None:
        return self.entries[index - self.base.index - 1] if self.base.index < index <= self.last_index else None

    def read(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        assert self.base.index < low < high <= self.last_index + 1, f"read {low}..{high - 1} of {self.base.index + 1}..{self.last_index}"
        found = self.entries[low - self.base.index - 1 : high - self.base.index - 1]
        total, count = 0, 0
        for entry in found:
            total += len(entry.data)
            if total > bytes_max and count:
                break
            count += 1
        return found[:count]

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        if entries:
            assert entries[0].index <= self.last_index + 1, f"entry {entries[0].index} saved behind {self.last_index}"
            del self.entries[entries[0].index - self.base.index - 1 :]
            self.entries.extend(entries)
        self.hard_state = hard_state or self.hard_state

    def compact(self, base: SnapshotMeta) -> None:
        del self.entries[: base.index - self.base.index]
        self.base = base

    def install(self, meta: SnapshotMeta) -> None:
        at = self.entry(meta.index)
        matches = meta.index == self.base.index or (at is not None and at.term == meta.term)
        self.entries = self.entries[meta.index - self.base.index :] if matches else []
        self.base, self.tables_index = meta, meta.index

    def memberships(self) -> list[tuple[int, Membership]]:
        return [(entry.index, Membership.from_bytes(entry.data)) for entry in self.entries if entry.kind is EntryKind.MEMBERSHIP]


class Node:
    """A driver: one core, one disk. `is_up` is false between a crash and a restart."""

    def __init__(self, config: RaftConfig, disk: Disk, dice: random.Random, limits: CacheLimits) -> None:
        self.config, self.disk, self.dice, self.limits = config, disk, dice, limits
        self.is_held = False  # the disk: a save stays under way
        self.is_up = True
        self.boot = 0
        self.reads_asked = 0
        self.reads: list[ReadState] = []
        self.wanted: set[NodeId] = set()  # followers that need a snapshot
        self.start()

    def start(self) -> None:
        disk = self.disk
        log = RaftLog(disk, disk.base, disk.last_index, disk.memberships(), self.limits)
        self.core = Raft(self.config._replace(life=disk.life), log, disk.hard_state, disk.tables_index, self.dice)
        self.saving: Ready | None = None
        self.reads, self.wanted, self.is_up = [], set(), True
        self.boot += 1

    @property
    def id(self) -> NodeId:
        return self.config.node_id

    def meta(self, index: int) -> SnapshotMeta:
        """The place of an applied entry."""
        log = self.core.log
        if index == log.base.index:
            return log.base
        entry = log.entries(index, index + 1, 1)[0]
        return SnapshotMeta(index, entry.term, entry.stamp, log.membership_at(index))


class Cluster:
    """Nodes, and the messages between them. `say` gets one line for each thing that happens."""

    def __init__(
        self,
        configs: Iterable[RaftConfig],
        membership: Membership,
        seed: int = 0,
        limits: CacheLimits = CacheLimits(),  # noqa: B008 - frozen
    ) -> None:
        self.dice = random.Random(seed)
        self.membership = membership
        self.network: list[RaftMessage] = []
        self.lost: list[RaftMessage] = []
        self.cuts: set[tuple[NodeId, NodeId]] = set()  # directed
        self.checks = Checks()
        self.say: Callable[[str], None] = lambda line: None
        self.tokens: dict[str, SnapshotMeta] = {}
        self.nodes = {config.node_id: Node(config, Disk(membership), self.dice, limits) for config in configs}

    @classmethod
    def of(cls, count: int, voters: int | None = None, seed: int = 0, limits: CacheLimits | None = None, **config: object) -> Cluster:
        """Nodes "1".."count"; the first `voters` vote (all of them by default), the others are learners."""
        ids = [str(number + 1) for number in range(count)]
        voting = ids[:voters]
        configs = [RaftConfig(node_id, **config) for node_id in ids]  # type: ignore[arg-type]
        return cls(configs, Membership.of(voting, ids[len(voting) :]), seed, limits or CacheLimits())

    @classmethod
    def with_logs(cls, *logs: Sequence[int], **config: object) -> Cluster:
        """As the paper draws them: for each node the terms of its entries. A node's own term is its last entry's."""
        cluster = cls.of(len(logs), **config)  # type: ignore[arg-type]
        for node, terms in zip(cluster.nodes.values(), logs, strict=True):
            kinds = [EntryKind.COMMAND for _ in terms]
            node.disk.entries = [Entry(place + 1, term, 0, kinds[place], b"%d" % term) for place, term in enumerate(terms)]
            node.disk.hard_state = HardState(terms[-1] if terms else 0)
            node.start()
        return cluster

    def __getitem__(self, node_id: NodeId) -> Raft:
        return self.nodes[node_id].core

    @property
    def up(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.is_up]

    @property
    def leader(self) -> Raft | None:
        """The one of the highest term."""
        return max((node.core for node in self.up if node.core.is_leader), key=lambda core: core.term, default=None)

    # What a node does.

    def turn(self, node_id: NodeId) -> None:
        """As the driver does it: ready after ready until there is no more."""
        node = self.nodes[node_id]
        if not node.is_up:
            return
        if node.core.is_idle():
            self._nothing_is_left(node)
        for _ in range(READIES_MAX):
            self._handle(node, node.core.ready())
            self.checks.after_turn(self, node)
            if not node.core.has_more():
                self._nothing_is_left(node)
                return
        raise AssertionError(f"a turn of {node_id} never ends")

    def _nothing_is_left(self, node: Node) -> None:
        """What `has_more` or `is_idle` denied must not be there."""
        rest = node.core.ready()
        left = (*rest.messages, *rest.after_save, *rest.committed, *rest.reads, *rest.snapshots_wanted, *rest.entries, rest.hard_state)
        assert left == (None,), f"{node.id} still had {left}"

    def _handle(self, node: Node, ready: Ready) -> None:
        self._send(node, ready.messages)
        node.wanted.update(ready.snapshots_wanted)
        if ready.must_save:
            node.saving = ready
            if not node.is_held:
                self._save(node)
        else:
            self._send(node, ready.after_save)
        node.reads += ready.reads
        self.checks.read(self, node, ready.reads)
        for state in ready.reads:
            self.say(f"{node.id} may read at {state.index}")
        if ready.committed:
            node.core.applied(ready.committed[-1].index)
            self.checks.applied(node, ready.committed)
            self.say(f"{node.id} applies {' '.join(str(entry.index) for entry in ready.committed)}")

    def _save(self, node: Node) -> None:
        ready, node.saving = node.saving, None
        assert ready is not None
        node.disk.save(ready.hard_state, ready.entries)
        node.core.saved()
        self._send(node, ready.after_save)

    def _send(self, node: Node, messages: Iterable[RaftMessage]) -> None:
        for message in messages:
            self.checks.sent(self, node, message)
            is_cut = (message.sender, message.to) in self.cuts or message.to not in self.nodes
            (self.lost if is_cut else self.network).append(message)
            self.say(f"{text(message)}{'  (lost)' if is_cut else ''}")

    # What happens to a node.

    def tick(self, *node_ids: NodeId, count: int = 1) -> None:
        for _ in range(count):
            for node_id in node_ids or [node.id for node in self.up]:
                if self.nodes[node_id].is_up:
                    self[node_id].tick()
                    self.turn(node_id)

    def campaign(self, node_id: NodeId) -> None:
        candidate.campaign(self[node_id])
        self.turn(node_id)

    def propose(self, node_id: NodeId, *commands: bytes) -> int:
        index = self[node_id].propose(commands, 0)
        self.turn(node_id)
        return index

    def change(self, node_id: NodeId, voters: Sequence[NodeId], learners: Sequence[NodeId] = (), **lives: str) -> int:
        index = self[node_id].propose_membership(voters, learners, {key.removeprefix("n"): life for key, life in lives.items()})
        self.turn(node_id)
        return index

    def read(self, node_id: NodeId) -> Context:
        node = self.nodes[node_id]
        node.reads_asked += 1
        context = (int(node_id) * 1_000 + node.boot, node.reads_asked)
        self.checks.read_asked(context)
        node.core.request_reads([context])
        self.turn(node_id)
        return context

    def refuse(self, node_id: NodeId, peer: NodeId) -> None:
        self[node_id].leader_refused(peer)
        self.turn(node_id)

    def transfer(self, node_id: NodeId, target: NodeId) -> bool:
        begun = self[node_id].transfer(target)
        self.turn(node_id)
        return begun

    def hold(self, node_id: NodeId) -> None:
        self.nodes[node_id].is_held = True

    def release(self, node_id: NodeId) -> None:
        """What was held back is on disk now."""
        node = self.nodes[node_id]
        node.is_held = False
        if node.saving is not None:
            self._save(node)
        self.turn(node_id)

    def crash(self, node_id: NodeId) -> None:
        """What is not on the disk is gone. Messages already sent are not."""
        node = self.nodes[node_id]
        node.is_up = node.is_held = False
        node.saving = None
        self.checks.crashed(node)

    def restart(self, node_id: NodeId) -> None:
        self.nodes[node_id].start()
        self.turn(node_id)

    def wipe(self, node_id: NodeId, life: str) -> None:
        """A new disk under an old id."""
        node = self.nodes[node_id]
        self.crash(node_id)
        node.disk = Disk(self.membership, life)
        self.checks.wiped(node_id)
        self.restart(node_id)

    def compact(self, node_id: NodeId, index: int) -> None:
        """The tables are durable up to index, and the log up to there is dropped."""
        node = self.nodes[node_id]
        if node.core.log.base.index < index <= min(node.core.applied_index, node.disk.last_index):
            meta = node.meta(index)
            node.disk.tables_index = index
            node.disk.compact(meta)
            node.core.compact(meta)

    def offer(self, node_id: NodeId, peer: NodeId) -> str:
        """A snapshot of what the node has applied, for the peer."""
        node = self.nodes[node_id]
        meta = node.meta(node.core.applied_index)
        token = f"{node_id}@{meta.index}"
        self.tokens[token] = meta
        node.wanted.discard(peer)
        node.core.offer_snapshot(peer, meta, token)
        self.turn(node_id)
        return token

    def install(self, node_id: NodeId) -> None:
        """The snapshot on offer was fetched. Waits for the save under way, as the driver does."""
        node = self.nodes[node_id]
        offer = node.core.pending_snapshot
        if offer is None or node.core.is_saving:
            return
        if not node.core.is_frozen and offer.meta.index <= node.core.commit_index:
            node.core.declined(offer.token)
        else:
            node.disk.install(offer.meta)
            node.core.installed(offer.meta)
            self.checks.installed(node, offer.meta)
        self.turn(node_id)

    # What happens to messages.

    def cut(self, *node_ids: NodeId) -> None:
        """No message passes between these nodes and the others. What is in flight there is lost."""
        for one in node_ids:
            for other in self.nodes:
                if other not in node_ids:
                    self.cuts |= {(one, other), (other, one)}
        self.drop(lambda message: (message.sender, message.to) in self.cuts)

    def heal(self) -> None:
        self.cuts.clear()

    def drop(self, which: Callable[[RaftMessage], bool] = lambda message: True) -> list[RaftMessage]:
        dropped = [message for message in self.network if which(message)]
        self.network = [message for message in self.network if not which(message)]
        return dropped

    def deliver(self, which: Callable[[RaftMessage], bool] = lambda message: True) -> None:
        """What is in flight now, in order; not the answers."""
        for message in self.drop(which):
            self.hand(message)

    def hand(self, message: RaftMessage) -> None:
        node = self.nodes[message.to]
        if node.is_up:
            node.core.step(message)
            self.turn(node.id)

    def settle(self) -> None:
        for _ in range(1_000):
            if not self.network:
                return
            self.deliver()
        raise AssertionError("the cluster never comes to rest")

    def elect(self, node_id: NodeId) -> Raft:
        """Nobody else hears a leader; the node campaigns, and everybody hears of it."""
        for node in self.up:
            node.core.leader_is_gone = True
        self.campaign(node_id)
        self.settle()
        return self[node_id]

    def beat(self, count: int = 1) -> None:
        """Heartbeats, and all that comes of them."""
        for _ in range(count):
            self.tick(count=2)
            self.settle()
