"""A simulated node: a disk that lasts, and one process after another on it, each with the real `Replica`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sim_bounds import Leading
from sim_clock import ProcessClock
from sim_disk import PowerCut, SimDisk, SimSyncer
from sim_net import SimCarrier, SimPeers
from twisted.internet.defer import Deferred

from ddbd.commands import Applied
from ddbd.errors import Corrupt, StorageFailed
from ddbd.raft.types import Entry, HardState, Membership, NodeId, SnapshotMeta
from ddbd.replica import Replica
from ddbd.replica import World as Promises
from ddbd.storage import SnapshotFile, Tell, nobody
from ddbd.storage.log import DiskLog
from ddbd.storage.logstate import OFFSET_BITS
from ddbd.storage.memory import MemoryStore
from ddbd.storage.memory_tables import MemoryTables

if TYPE_CHECKING:
    from sim_world import World


class WatchedLog(DiskLog):
    """The real log; the checkers learn what it was told to save and what it said is saved."""

    process: Process
    behind = 0  # up to this index there is a later batch behind each entry

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]:
        checks = self.process.node.world.checks
        checks.saving(self.process, entries, self.last_index)
        known = entries[0].index - 1 if entries else self.last_index
        done = super().save(hard_state, entries)
        done.addCallback(lambda _: checks.saved(self.process, hard_state, entries))
        if entries:
            done.addCallback(lambda _: self._note_behind(known))
        return done

    def compact(self, index: int) -> int:
        before = self.base.index
        base = super().compact(index)
        self.process.node.world.sometimes["the log was compacted"] += base > before
        return base

    def _note_behind(self, known: int) -> None:
        self.behind = known

    def flip_a_bit(self) -> bool:
        """In an entry that has a later batch behind it: a bad end of the log cannot be told from a torn one."""
        low, high = self.base.index + 1, min(self.behind, self.last_index)
        if low > high:
            return False
        index = self.process.dice.randrange(low, high + 1)
        number, offset = divmod(self._state.position(index), 1 << OFFSET_BITS)
        self._segments[number].file.flip_a_bit(offset, offset + self._state.lengths[index - low])  # type: ignore[attr-defined]
        return True


class SimTables(MemoryTables):
    """The twin, with checkpoints and snapshots that take their time."""

    process: Process
    goes_astray = False

    def image(self) -> bytes:
        return self._backend.image()

    def rot(self) -> None:
        """What comes of the next entry is not what comes of it on the other nodes."""
        self.goes_astray = True

    def apply(self, entries: Sequence[Entry], tell: Tell = nobody) -> list[Applied]:
        results = super().apply(entries, tell)
        if self.goes_astray:
            self.goes_astray = False
            machine = self._machine
            machine._hash = machine._hashes[machine.index] = bytes(byte ^ 1 for byte in machine._hash)
            self._backend.progress = machine._progress()
        return results

    def checkpoint(self, urgent: bool = False) -> Deferred[SnapshotMeta]:
        image, place = self.image(), self._machine.place()

        def end() -> SnapshotMeta:
            self.durable_image = image
            return place

        return self.process.after(self.process.node.world.options.checkpoint_seconds, end)

    def snapshot(self) -> Deferred[SnapshotFile]:
        made: list[SnapshotFile] = []
        super().snapshot().addCallback(made.append)
        return self.process.after(self.process.node.world.options.checkpoint_seconds, lambda: made[0])


class SimStore(MemoryStore):
    """The twin over the real log. `images` are the tables that the process before left, by generation, and whether they are suspect."""

    def __init__(self, process: Process, log: WatchedLog, images: dict[int, tuple[bytes, bool]]) -> None:
        self._process = process
        files: dict[str, bytes] = {}
        founders = process.node.founders
        self._limits, self._clock, self._founders, self.files = process.node.world.config.limits, process.clock.seconds, founders, files
        generations: dict[int, MemoryTables] = {}
        for number, (image, is_suspect) in (images or {0: (b"", False)}).items():
            generations[number] = self._make_tables(image)
            generations[number].is_suspect = is_suspect
        super().__init__(self._limits, process.clock.seconds, founders, log, process.node.life, generations)
        self.files = files

    def _make_tables(self, image: bytes) -> MemoryTables:
        tables = SimTables(self._limits, self._clock, self.files, self._founders if self._founders.nodes else None, image)
        tables.process = self._process
        return tables

    def disk_low(self) -> bool:
        return self._process.node.is_full

    def left(self, keeps: Callable[[], bool]) -> dict[int, tuple[bytes, bool]]:
        """What the next process finds: of each generation the state now, or the one at its last checkpoint."""
        images = {}
        for number in sorted(self._generations):
            if number < self.log.recovered.generation:
                continue  # of no use to a log that knows a newer one
            tables = self._generations[number]
            images[number] = (tables.image() if keeps() else tables.durable_image, tables.is_suspect)
        return images


class Process:
    """One life of the daemon on a node."""

    def __init__(self, node: Node, boot: int) -> None:
        world = node.world
        self.node = node
        self.boot = boot
        self.is_dead = False
        self.is_paused = False
        self.fatal: BaseException | None = None
        self._held: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.dice = random.Random(f"process {world.seed} {node.id} {boot}")
        self.fair_rate = rate = 1 + world.options.skew * (2 * self.dice.random() - 1)
        if world.options.wild_rates and not world.network.is_healed:
            world.sometimes["a clock ran at a wild rate"] += 1
            rate = 2 ** self.dice.uniform(-1, 1)
        self.clock = ProcessClock(world.timers, rate, self.dice.uniform(0, 1e5), self.run)
        self.peers = SimPeers(self)
        self.carrier = SimCarrier(self)
        # What the checkers remember of it.
        self.seen_match: dict[NodeId, tuple[Any, int]] = {}
        self.seen_leading = Leading()
        self.seen_membership: Membership | None = None
        self.events = 0
        self.seen_term = self.seen_commit = self.seen_applied = self.led_term = 0
        options = world.options
        slow = 0.0 if world.network.is_healed else options.slow_share
        self.syncer = SimSyncer(self.clock, self.dice, slow, options.slow_seconds)
        log = WatchedLog(
            node.disk,
            "log",
            world.config.limits,
            founders=node.founders,
            syncer=self.syncer,  # type: ignore[arg-type]
            entropy=self.dice.randbytes,
        )
        log.process = self
        self.store = SimStore(self, log, node.images)
        promises = Promises(self.peers, self.carrier, self.clock, self.dice, self._on_fatal, self._on_event)
        self.replica = Replica(world.config, node.id, self.store, promises)
        self.applied_at_start = self.replica.applied_index
        self.core = self.replica._driver.core
        self._tick_seconds = world.config.timing.tick_ms / 1000
        self.clock.callLater(self._tick_seconds * self.dice.random(), self._tick)

    def _tick(self) -> None:
        self.clock.callLater(self._tick_seconds, self._tick)
        self.replica.tick()

    def _on_fatal(self, error: BaseException) -> None:
        self.fatal = error

    def _on_event(self, line: str) -> None:
        self.node.world.note(f"n{self.node.id}: {line}")
        self.node.world.checks.event(self, line)

    def after(self, seconds: float, end: Callable[[], Any]) -> Deferred[Any]:
        """`end`, some time later."""
        done: Deferred[Any] = Deferred()
        self.clock.callLater(seconds * self.dice.random(), lambda: done.callback(end()))
        return done

    def run(self, func: Callable[..., Any], *args: Any) -> None:
        """One thing that happens to the process, and then the checks."""
        if self.is_dead:
            return
        if self.is_paused:
            self._held.append((func, args))
            return
        node = self.node
        try:
            func(*args)
        except PowerCut:
            node.world.note(f"n{node.id}: the power goes in the middle of an operation")
            node.crash(power=True)
            node.world.restart_later(node)
            return
        if self.fatal is not None:
            node.fatal(self.fatal)
        else:
            node.world.checks.after(self)

    def resume(self) -> None:
        self.is_paused = False
        held, self._held = self._held, []
        for func, args in held:
            self.run(func, *args)


class Node:
    def __init__(self, world: World, node_id: NodeId, founders: Membership) -> None:
        self.world = world
        self.id = node_id
        self.founders = founders
        self.life = ""
        self.boots = 0
        self.process: Process | None = None
        self.is_returning = False  # a restart is on its way
        self.is_flipped = False  # a bit of its log is not what was written
        self.is_rotten = False  # its tables went another way than the others'
        self.is_full = False
        self.images: dict[int, tuple[bytes, bool]] = {}
        self.disk = self._new_disk()

    def _new_disk(self) -> SimDisk:
        dice = random.Random(f"disk {self.world.seed} {self.id} {self.boots}")
        return SimDisk(dice, self.world.sometimes, self.world.options.forgets)

    def start(self) -> None:
        self.is_returning = False
        if self.process is not None:
            return
        self.boots += 1
        self.world.note(f"n{self.id}: starts (boot {self.boots}{', life ' + self.life if self.life else ''})")
        try:
            self.process = Process(self, self.boots)
        except Corrupt as error:
            self._refused_to_start(error)
            return
        except StorageFailed as error:
            self.world.note(f"n{self.id}: does not start: {error}")
            self.world.restart_later(self)
            return
        self.world.checks.started(self.process)
        self.world.started(self)

    def _refused_to_start(self, error: Corrupt) -> None:
        """The operator gives it an empty disk."""
        self.world.note(f"n{self.id}: does not start: {error}")
        if not self.is_flipped:
            self.world.violate(f"node {self.id} does not start: {error}", error)
            return
        self.world.sometimes["a flipped bit was found"] += 1
        self.wipe()
        self.world.restart_later(self)

    def crash(self, power: bool) -> None:
        """kill -9; or the power, which takes what was not synced."""
        process = self.process
        if process is None:
            return
        self.world.note(
            f"n{self.id}: {'power cut' if power else 'killed'} at term {process.core.term}, applied {process.core.applied_index}"
        )
        process.is_dead = True
        self.process = None
        self.images = process.store.left(lambda: not power or self.disk.dice.random() < 0.5)
        if power:
            self.disk.lose_power()
        else:
            self.disk.restarted()
        self.world.stopped(self, process)

    def fatal(self, error: BaseException) -> None:
        if isinstance(error, PowerCut):
            self.crash(power=True)
        elif isinstance(error, StorageFailed):
            self.world.sometimes["a failed fsync stopped a node"] += 1
            self.crash(power=False)
        else:
            self.world.violate(f"node {self.id} stopped: {error!r}", error)
            return
        self.world.restart_later(self)

    def flip_a_bit(self) -> None:
        """Of its log, while it is down."""
        process = self.process
        assert process is not None
        self.crash(power=False)
        self.is_flipped = process.store.log.flip_a_bit()
        self.world.note(f"n{self.id}: a bit of its log {'is flipped' if self.is_flipped else 'would flip, were there one'}")

    def rot(self) -> None:
        assert self.process is not None
        self.world.note(f"n{self.id}: its tables go astray")
        self.is_rotten = True
        self.process.store.tables.rot()

    def wipe(self) -> None:
        """The disk is replaced by an empty one, and the node comes back under a new life."""
        self.crash(power=False)
        self.is_flipped = self.is_rotten = False
        self.life = f"life{self.boots}"
        self.founders = Membership(())
        self.images = {}
        self.disk = self._new_disk()
        self.world.checks.wiped(self.id)
        self.world.sometimes["a disk was wiped"] += 1
