"""A node's data directory with random damage in one file, opened again.

Two answers are allowed: the store opens, and what it gives was given before (a prefix of the log, tables of that log); or it is refused
with one sentence, as Corrupt, StorageFailed or ConfigError. `tests/power` says which cut must lose what; here it is damage of any kind, at
volume: lengths of 4 GB, swapped blocks, files cut short.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import fuzz_bytes
from fuzz_tally import Tally
from storage_kit import FOUNDERS, Client, fired

from ddbd.commands import Insert
from ddbd.config import Limits
from ddbd.errors import ConfigError, Corrupt, StorageFailed
from ddbd.raft.types import Entry, HardState, SnapshotMeta
from ddbd.storage.directory import DiskStore, Identity, open_store
from ddbd.storage.memory_tables import MemoryTables

LIMITS = Limits(segment_bytes=8 * 1024, disk_reserve_bytes=0)
ME = Identity(1, "cluster", "1", "", True)
ROWS = 160
CHECKPOINT_AT = 120  # entries; a multiple of BATCH
BATCH = 4
UNAPPLIED = 3 * BATCH  # only what is not applied may be lost with a torn tail
REFUSALS = (Corrupt, StorageFailed, ConfigError)


class Truth(NamedTuple):
    entries: tuple[Entry, ...]
    hashes: tuple[bytes | None, ...]  # of the tables, by applied index
    snapshot: SnapshotMeta
    snapshot_path: Path


def make_entries() -> list[Entry]:
    client = Client(MemoryTables(LIMITS, lambda: 0.0)).start()
    for number in range(ROWS):
        client.do(Insert(None, "t", ((f"row-{number}", {"name": "x" * (number * 37 % 700), "grade": number}),)))
    return client.log


def make_template(folder: Path) -> Truth:
    """A life of some segments, with a checkpoint, a WAL behind it and a snapshot apart."""
    entries, hashes = make_entries(), list[bytes | None]()
    model = MemoryTables(LIMITS, lambda: 0.0, FOUNDERS)
    hashes.append(model.state_hash(0))
    for entry in entries:
        model.apply([entry])
        hashes.append(model.state_hash(entry.index))
    live = folder / "live"
    store = open_store(live, ME, LIMITS, founders=FOUNDERS)
    for at in range(0, len(entries), BATCH):
        batch = entries[at : at + BATCH]
        fired(store.log.save(HardState(1, "1", max(0, at)), batch))
        if at < len(entries) - UNAPPLIED:
            store.tables.apply(batch)
        if at == CHECKPOINT_AT:
            fired(store.tables.checkpoint())
    snapshot = fired(store.tables.snapshot())
    copy = folder / "snapshot.db"
    shutil.copy(snapshot.path, copy)
    # As kill -9 leaves it: a clean close would fold the WAL into the file.
    shutil.copytree(live, folder / "template", ignore=shutil.ignore_patterns("lock", "outgoing"))
    store.close()
    return Truth(tuple(entries), tuple(hashes), snapshot.meta, copy)


def kind_of(path: Path, newest: Path) -> str:
    if path.suffix == ".seg":
        return "newest segment" if path.name == newest.name else "older segment"
    return path.name


class Files:
    def __init__(self, folder: Path, tally: Tally) -> None:
        self.truth = make_template(folder)
        self.template = folder / "template"
        self.work = folder / "work"
        self.tally = tally
        self.paths = sorted(
            path.relative_to(self.template)
            for path in self.template.rglob("*")
            if path.is_file() and path.name not in ("ballast", "tables.db-shm") and path.stat().st_size
        )
        self.newest = max(path for path in self.paths if path.suffix == ".seg")

    def play(self, seed: int, number: int) -> None:
        """Raises AssertionError, or whatever error nobody foresaw."""
        rng = random.Random(f"file {seed} {number}")
        if rng.random() < 0.15:
            self._play_snapshot(rng)
            return
        shutil.copytree(self.template, self.work)
        try:
            path = self.work / rng.choice((self.newest, *self.paths))
            kind = kind_of(path, self.newest)
            path.write_bytes(self._damage(rng, path.read_bytes()))
            self.tally.kinds[kind] += 1
            self.tally.outcomes[f"{kind}: {self._open()}"] += 1
        finally:
            shutil.rmtree(self.work)

    def reopen(self) -> None:
        """The template as it is now, counted under `template`."""
        shutil.copytree(self.template, self.work)
        try:
            self.tally.outcomes[f"template: {self._open()}"] += 1
        finally:
            shutil.rmtree(self.work)

    def _damage(self, rng: random.Random, data: bytes) -> bytes:
        how = rng.random()
        if how < 0.05:
            return b""
        if how < 0.1:
            return rng.randbytes(len(data))
        # Most of it where something is written: a segment ends in zeros.
        end = len(data.rstrip(b"\0"))
        if how < 0.3:
            tail = min(end, 600)
            return data[: end - tail] + fuzz_bytes.mutate(rng, data[end - tail : end]) + data[end:]
        return fuzz_bytes.mutate(rng, data[:end]) + data[end:]

    def _open(self) -> str:
        try:
            store = open_store(self.work, ME, LIMITS, founders=FOUNDERS)
        except REFUSALS as error:
            check_sentence(error)
            return type(error).__name__
        try:
            return self._compare(store)
        except REFUSALS as error:
            check_sentence(error)
            return f"{type(error).__name__} at a read"
        finally:
            store.close()

    def _compare(self, store: DiskStore) -> str:
        """What opens is what was."""
        truth, recovered, tables = self.truth, store.log.recovered, store.tables
        entries: Sequence[Entry] = store.log.read(recovered.base.index + 1, recovered.last_index + 1, 10**9) if recovered.last_index else ()
        assert tuple(entries) == truth.entries[recovered.base.index : recovered.last_index], "the log holds what was never logged"
        assert recovered.hard_state.term <= 1, recovered
        assert recovered.hard_state.commit <= len(truth.entries), recovered
        assert tables.state_hash(tables.applied_index) == truth.hashes[tables.applied_index], f"other tables at {tables.applied_index}"
        rows = [tables.row(None, "t", f"row-{number}") for number in range(ROWS)] if tables.databases() else []
        for row in rows:
            assert row is None or row[2] == int(row[0].removeprefix("row-")), row
        tables.apply(truth.entries[tables.applied_index : recovered.last_index])
        assert tables.state_hash(recovered.last_index) == truth.hashes[recovered.last_index]
        return "opens whole" if recovered.last_index == len(truth.entries) else "opens with a torn tail"

    def _play_snapshot(self, rng: random.Random) -> None:
        """A copy of the tables that arrives with damage is not installed, and nothing changes."""
        damaged = self._damage(rng, self.truth.snapshot_path.read_bytes())
        store = open_store(self.work, ME, LIMITS, founders=FOUNDERS)
        try:
            path = store.incoming()
            Path(path).write_bytes(damaged)
            meta = self.truth.snapshot
            try:
                fired(store.check_incoming(meta, path))
                store.install(meta, path)
                outcome = "installed"
                assert store.tables.state_hash(meta.index) == self.truth.hashes[meta.index], "another state was installed"
            except REFUSALS as error:
                check_sentence(error)
                outcome = type(error).__name__
                assert store.tables.applied_index == 0
        finally:
            store.close()
            shutil.rmtree(self.work)
        self.tally.kinds["snapshot"] += 1
        self.tally.outcomes[f"snapshot: {outcome}"] += 1


def check_sentence(error: Exception) -> None:
    """For an operator: one line, and not a long one."""
    text = str(error)
    assert text, f"a {type(error).__name__} without a word"
    assert "\n" not in text, text
    assert len(text) < 600, text
