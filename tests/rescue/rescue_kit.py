"""A data directory with some history in it, and ways to harm it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddbd.commands import AnyCommand, Column, CreateTable, InitDatabase, Insert, Proposal, Register, encode_proposal
from ddbd.config import Limits
from ddbd.raft.types import Entry, EntryKind, HardState, Membership
from ddbd.storage.directory import Identity, open_store

SMALL = Limits(segment_bytes=64 * 1024, disk_reserve_bytes=1024)
FOUNDERS = Membership.of(["1", "2", "3"])
CLUSTER = "c" * 32


def commands(rows: int) -> list[AnyCommand]:
    table = CreateTable(None, "t", (Column("name"), Column("grade", index=True)))
    filled = [Insert(None, "t", ((f"r{n:04}", {"name": "x" * 60, "grade": n}),)) for n in range(rows)]
    return [Register("1", 7), InitDatabase("d"), table, *filled]


def entries_of(made: Sequence[AnyCommand], term: int = 2, first: int = 1) -> list[Entry]:
    boot = 1
    return [
        Entry(
            index, term, 1_000 + index, EntryKind.COMMAND,
            encode_proposal(Proposal("1", boot if seq else 0, seq, 0, command)),
        )
        for seq, (index, command) in enumerate(enumerate(made, first), first - 1)
    ]  # fmt: skip


def make(path: Path, node_id: str = "1", rows: int = 200, applied: int | None = None, **more: Any) -> list[Entry]:
    """A node that has saved that many rows and applied all of them, or up to an index; it was stopped in order. Gives its entries."""
    identity = Identity.of(more.get("cluster_id", CLUSTER), node_id, more.get("life", ""), True)
    store = open_store(path, identity, more.get("limits", SMALL), founders=more.get("founders", FOUNDERS))
    entries = entries_of(commands(rows), more.get("term", 2))
    hard = HardState(more.get("term", 2), more.get("vote", "1"), more.get("commit", len(entries) if applied is None else applied))
    for first in range(0, len(entries), 50):
        saved: list[Any] = []
        store.log.save(hard if first == 0 else None, entries[first : first + 50]).addBoth(saved.append)
        assert saved == [None]
    store.log.save(hard, [])
    store.tables.apply(entries[: len(entries) if applied is None else applied])
    if more.get("checkpoint", True):
        store.tables.checkpoint()
    if more.get("crash"):
        shutil.copytree(path, f"{path}.killed")  # as after kill -9: the WAL stays, and nothing is moved out of it
        store.close()
        shutil.rmtree(path)
        os.rename(f"{path}.killed", path)
    else:
        store.close()
    return entries


def fingerprint(path: Path) -> dict[str, tuple[str, int, int]]:
    """Of every file: content, time and size; and which there are."""
    found = {}
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            stat = file.stat()
            found[str(file.relative_to(path))] = (hashlib.blake2b(file.read_bytes()).hexdigest(), stat.st_mtime_ns, stat.st_size)
    return found


def flip(path: Path, place: int, bit: int = 3) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))
