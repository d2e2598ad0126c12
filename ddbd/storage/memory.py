"""The twins of the log and the store, in memory: the same promises, and a power cut at hand.

`MemoryLog(by_hand=True)` leaves each save open until `fire` is called. `crash` gives what a restart would find: whatever was saved and
not yet fired is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, execute, succeed

from ddbd.config import Limits
from ddbd.errors import Corrupt, StorageFailed
from ddbd.raft.types import Entry, EntryKind, HardState, Membership, SnapshotMeta
from ddbd.storage import Recovered, SnapshotFile
from ddbd.storage.memory_tables import MemoryTables, image_meta

NOBODY = Membership(())


class MemoryLog:
    """`storage.Log`."""

    def __init__(self, founders: Membership = NOBODY, by_hand: bool = False) -> None:
        self._base = SnapshotMeta(0, 0, 0, founders)
        self._entries: list[Entry] = []
        self._hard_state = HardState()
        self._generation = 0
        self._by_hand = by_hand
        self._open: Deferred[None] | None = None
        self._undo: tuple[HardState, int, list[Entry]] | None = None  # (hard state, index, entries from there on) before the open save
        self._failed = False
        self.recovered = self._recovered()

    def _recovered(self) -> Recovered:
        memberships = [(e.index, Membership.from_bytes(e.data)) for e in self._entries if e.kind is EntryKind.MEMBERSHIP]
        return Recovered(self._hard_state, self._base, self.last_index, tuple(memberships), self._generation)

    @property
    def last_index(self) -> int:
        return self._base.index + len(self._entries)

    @property
    def base(self) -> SnapshotMeta:
        return self._base

    def term(self, index: int) -> int:
        return self._base.term if index == self._base.index else self._entries[index - self._base.index - 1].term

    def read(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        assert self._base.index < low <= high <= self.last_index + 1, f"read of {low}..{high - 1}"
        found: list[Entry] = []
        size = 0
        for entry in self._entries[low - self._base.index - 1 : high - self._base.index - 1]:
            size += len(entry.data)
            if found and size > bytes_max:
                break
            found.append(entry)
        return found

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]:
        assert self._open is None, "a save while another one is under way"
        if self._failed:
            raise StorageFailed("the log failed before")
        first = entries[0].index if entries else self.last_index + 1
        assert self._base.index < first <= self.last_index + 1, f"entry {first} behind {self.last_index}"
        self._undo = (self._hard_state, first, self._entries[first - self._base.index - 1 :])
        if hard_state is not None:
            self._hard_state = hard_state
        self._entries[first - self._base.index - 1 :] = entries
        if not self._by_hand:
            return succeed(None)
        self._open = Deferred()
        return self._open

    @property
    def saving(self) -> bool:
        return self._open is not None

    def fire(self) -> None:
        """The platter has it."""
        waiting, self._open = self._open, None
        assert waiting is not None, "no save is open"
        waiting.callback(None)

    def fail(self) -> None:
        """The fsync failed."""
        waiting, self._open = self._open, None
        assert waiting is not None, "no save is open"
        self._failed = True
        waiting.errback(StorageFailed("fsync failed"))

    def tail_from(self, bytes_max: int) -> int:
        index, left = self.last_index, bytes_max
        for entry in reversed(self._entries):
            left -= len(entry.data)
            if left < 0:
                break
            index = entry.index - 1
        return index

    def compact(self, index: int) -> int:
        if index > self._base.index:
            entry = self._entries[index - self._base.index - 1]
            kept = next((m for i, m in reversed(self._recovered().memberships) if i <= index), self._base.membership)
            del self._entries[: index - self._base.index]
            self._base = SnapshotMeta(index, entry.term, entry.stamp, kept)
        return self._base.index

    def install(self, meta: SnapshotMeta, generation: int) -> None:
        assert self._open is None, "an install while a save is under way"
        assert meta.index >= self._base.index, f"a snapshot of {meta.index} before the log's base {self._base.index}"
        kept = meta.index <= self.last_index and self.term(meta.index) == meta.term
        self._entries = self._entries[meta.index - self._base.index :] if kept else []
        self._base = meta
        self._generation = generation

    def crash(self) -> MemoryLog:
        """The log as a restart finds it."""
        log = MemoryLog(self._base.membership, self._by_hand)
        log._base, log._generation = self._base, self._generation
        log._entries, log._hard_state = list(self._entries), self._hard_state
        if self._undo is not None and (self._open is not None or self._failed):
            log._hard_state, first, entries = self._undo
            log._entries[first - log._base.index - 1 :] = entries
        log.recovered = log._recovered()
        return log

    def counters(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


class MemoryStore:
    """`storage.Store`. `files` stands for the data directory's files; a simulator puts an incoming snapshot's bytes there."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float],
        founders: Membership = NOBODY,
        log: Any = None,
        life: str = "",
        generations: dict[int, MemoryTables] | None = None,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._founders = founders
        self._life = life
        self.files: dict[str, bytes] = {}
        self.full = False
        self.log: Any = MemoryLog(founders) if log is None else log
        self._generations = generations if generations is not None else {0: self._make_tables(b"")}
        self.tables = self._generations[self.log.recovered.generation]
        check_together(self.log.recovered, self.tables.applied_index)

    def _make_tables(self, image: bytes) -> MemoryTables:
        return MemoryTables(self._limits, self._clock, self.files, self._founders if self._founders.nodes else None, image)

    def incoming(self) -> str:
        self.files.pop("incoming.db", None)
        return "incoming.db"

    def check_incoming(self, meta: SnapshotMeta, path: str) -> Deferred[None]:
        return execute(self._check, meta, path)

    def _check(self, meta: SnapshotMeta, path: str) -> None:
        if image_meta(self.files.get(path, b"")) != meta:
            raise Corrupt(f"{path}: the snapshot is not of entry {meta.index}")

    def install(self, meta: SnapshotMeta, path: str) -> None:
        self._check(meta, path)
        image = self.files.pop(path)
        generation = max(self._generations) + 1
        self._generations[generation] = self._make_tables(image)
        self.log.install(meta, generation)
        self.tables = self._generations[generation]

    def remove_snapshot(self, snapshot: SnapshotFile) -> None:
        self.files.pop(snapshot.path, None)

    def mark_suspect(self) -> None:
        self.tables.is_suspect = True

    def is_suspect(self) -> bool:
        return self.tables.is_suspect

    def disk_low(self) -> bool:
        return self.full

    def life(self) -> str:
        return self._life

    def cluster_id(self) -> str:
        return "memory"

    def crash(self, log: Any = None) -> MemoryStore:
        """The store as a restart finds it; `log` where the caller's log is not a `MemoryLog`."""
        left = log if log is not None else self.log.crash()
        tables = self._generations[left.recovered.generation].crash()
        return MemoryStore(self._limits, self._clock, self._founders, left, self._life, {left.recovered.generation: tables})

    def close(self) -> None:
        self.tables.close()
        self.log.close()


def check_together(recovered: Recovered, applied_index: int) -> None:
    """The log must go on where the tables end. Raises Corrupt."""
    if not recovered.base.index <= applied_index <= recovered.last_index:
        raise Corrupt(
            f"the tables hold entry {applied_index}, the log {recovered.base.index} to {recovered.last_index}; "
            "they do not belong together, restore this node from its peers"
        )


def memory_store(
    limits: Limits | None = None, clock: Callable[[], float] = time.monotonic, founders: Membership = NOBODY, **more: Any
) -> MemoryStore:
    return MemoryStore(limits or Limits(), clock, founders, **more)
