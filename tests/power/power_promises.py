"""What must hold after a power cut at a given place: read off the program's own marks before it.

`Promises` walks the marks. Between "saving" and "saved" a log may be left in any state on the way: first the hard state, then one entry
after another. After "saved" only the new state is allowed, unless the save was a commit alone, which needs no sync: then every state
since the last sync is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace
from power_disk import Op

from ddbd.raft.types import Entry, HardState, SnapshotMeta
from ddbd.storage.directory import Identity


class LogModel(NamedTuple):
    hard_state: HardState
    first: int  # the lowest index that `entries` knows
    entries: tuple[Entry, ...]
    generation: int
    base_low: int  # between these two the log's base may be
    base_high: int

    @property
    def last_index(self) -> int:
        return self.first + len(self.entries) - 1

    def saved(self, hard_state: HardState | None, entries: Sequence[Entry]) -> LogModel:
        kept = self.entries
        if entries:
            kept = self.entries[: entries[0].index - self.first] + tuple(entries)
        return self._replace(hard_state=hard_state or self.hard_state, entries=kept)

    def installed(self, meta: SnapshotMeta) -> LogModel:
        at = meta.index - self.first
        kept = at < len(self.entries) and self.entries[at].term == meta.term
        entries = self.entries[at + 1 :] if kept else ()
        return LogModel(self.hard_state, meta.index + 1, entries, self.generation + 1, meta.index, meta.index)

    def term(self, index: int) -> int | None:
        """None where the model does not know it."""
        at = index - self.first
        return self.entries[at].term if 0 <= at < len(self.entries) else None


YOUNG = LogModel(HardState(), 1, (), 0, 0, 0)


class Found(NamedTuple):
    """What a recovered store says of itself."""

    hard_state: HardState
    base: SnapshotMeta
    entries: tuple[Entry, ...]
    generation: int
    applied_index: int
    is_suspect: bool
    identity: Identity | None  # as it was read before the store was opened; None where there was none

    def model(self) -> LogModel:
        first = self.base.index + 1
        return LogModel(self.hard_state, first, self.entries, self.generation, self.base.index, self.base.index)


class Promises:
    def __init__(self) -> None:
        self.logs = [YOUNG]  # one of these, in the order in which they came
        self.applied_max = 0
        self.durable = {0: 0}  # by generation: the applied index that survives
        self.is_suspect = {0: False}
        self.identities: list[Identity | None] = [None]
        self._settled: list[LogModel] | None = None  # what the save under way leads to
        self._synced = True

    def hear(self, op: Op) -> None:
        if op.kind == "mark":
            getattr(self, f"_{op.mark[0]}")(*op.mark[1:])

    def _opening(self, identity: Identity) -> None:
        self.identities = [*self.identities, identity, replace(identity, logged=True)]

    def _opened(self, identity: Identity, found: Found | None = None) -> None:
        self.identities = [replace(identity, logged=True)]
        if found is not None:  # it is acted upon: from now on it is a promise
            self.logs = [found.model()]
            self.applied_max = max(self.applied_max, found.applied_index)
            self.durable.setdefault(found.generation, found.base.index)
            self.is_suspect.setdefault(found.generation, False)

    def _saving(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        newest = self.logs[-1]
        steps = [newest.saved(hard_state, entries[:count]) for count in range(len(entries) + 1)]
        self._synced = bool(entries) or hard_state is None or hard_state[:2] != newest.hard_state[:2]
        self.logs = [*self.logs, *steps]

    def _saved(self) -> None:
        if self._synced:
            self.logs = self.logs[-1:]

    def _applying(self, index: int) -> None:
        self.applied_max = max(self.applied_max, index)

    def _durable(self, index: int) -> None:
        self.durable[self.logs[-1].generation] = index

    def _compacting(self, index: int) -> None:
        self.logs = [log._replace(base_high=max(log.base_high, index)) for log in self.logs]

    def _suspect(self) -> None:
        self.is_suspect[self.logs[-1].generation] = True

    def _installing(self, meta: SnapshotMeta) -> None:
        new = self.logs[-1].installed(meta)
        self.logs.append(new)
        self.durable[new.generation] = meta.index
        self.is_suspect[new.generation] = False
        self.applied_max = max(self.applied_max, meta.index)

    def _installed(self) -> None:
        self.logs = self.logs[-1:]

    def check(self, found: Found) -> None:
        """Raises AssertionError with what was promised and what is there."""
        problems = [_differs(log, found) for log in self.logs]
        assert None in problems, f"the log is none that was promised; the nearest: {problems[-1]}"
        durable = self.durable[found.generation]
        assert found.applied_index >= durable, f"the tables are at {found.applied_index}; a checkpoint had said {durable}"
        assert found.applied_index <= self.applied_max, f"the tables are at {found.applied_index}; only {self.applied_max} was applied"
        assert found.identity in self.identities, f"the identity is {found.identity}, not one of {self.identities}"
        # A mark that was not synced yet may be there or not.
        assert found.is_suspect or not self.is_suspect[found.generation], "the mark of suspicion is lost"


def _differs(log: LogModel, found: Found) -> str | None:
    if found.generation != log.generation:
        return f"generation {found.generation}, not {log.generation}"
    if found.hard_state != log.hard_state:
        return f"{found.hard_state}, not {log.hard_state}"
    if not log.base_low <= found.base.index <= log.base_high:
        return f"base {found.base.index}, not within {log.base_low}..{log.base_high}"
    if log.term(found.base.index) not in (None, found.base.term):
        return f"base of term {found.base.term}, not {log.term(found.base.index)}"
    promised = log.entries[found.base.index + 1 - log.first :]
    if found.entries == promised:
        return None
    last = found.base.index + len(found.entries)
    wrong = next((entry.index for entry, other in zip(found.entries, promised, strict=False) if entry != other), None)
    return f"last index {last}, promised {log.last_index}" if wrong is None else f"another entry {wrong} than was promised"


def promises_at(ops: Sequence[Op], number: int) -> Promises:
    """After so many operations."""
    promises = Promises()
    for op in ops[:number]:
        promises.hear(op)
    return promises


def after(promises: Promises, ops: Sequence[Any]) -> Promises:
    for op in ops:
        promises.hear(op)
    return promises
