"""The scripted life of one node's storage: what is logged, applied, moved, dropped and installed, in which order.

`truth()` is the log that the cluster agrees on. It uses every command, keys that repeat, that fill their table and that expire, windows
with duplicates and gaps, and rows longer than a page. `live` plays a node through it as a driver does, with the real store, and says of
each promise when it was asked for and when it was given: `mark(...)`. What must hold after a cut follows from these alone
(`power_promises`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ddbd.commands import (
    AnyCommand,
    Column,
    CreateTable,
    Delete,
    DeleteTable,
    DropDatabase,
    InitDatabase,
    Insert,
    Proposal,
    Register,
    StageDatabase,
    SwitchDatabases,
    Update,
    encode_proposal,
)
from ddbd.config import Limits
from ddbd.raft.types import Entry, EntryKind, HardState, Membership, SnapshotMeta
from ddbd.storage.directory import DiskStore, Identity, open_store, write_identity
from ddbd.storage.disk import RealDisk
from ddbd.storage.tables import SqliteTables

LIMITS = Limits(segment_bytes=4096, idempotency_keys_max=4, disk_reserve_bytes=16 * 1024)
FOUNDERS = Membership.of(["1", "2", "3"])
ME = Identity(1, "cluster", "1", "", False)
FORMED = Identity(1, "cluster", "1", "", True, True)
DAY_MS = 24 * 3_600_000

Mark = Callable[..., None]


class Script:
    """Entries, one after another, as the leaders of two terms would stamp them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.term = 1
        self.stamp = 1_000
        self.boot: dict[str, int] = {}
        self.seq: dict[str, int] = {}

    def add(self, data: bytes, kind: EntryKind = EntryKind.COMMAND) -> None:
        self.stamp += 10
        self.entries.append(Entry(len(self.entries) + 1, self.term, self.stamp, kind, data))

    def register(self, origin: str, nonce: int) -> None:
        self.add(encode_proposal(Proposal(origin, 0, 0, 0, Register(origin, nonce))))
        self.boot[origin], self.seq[origin] = len(self.entries), 0

    def do(
        self, command: AnyCommand, origin: str = "1", key: str = "", seq: int | None = None, floor: int = 0, print_: bytes = b"f"
    ) -> None:
        if seq is None:
            seq = self.seq[origin] = self.seq[origin] + 1
        self.add(encode_proposal(Proposal(origin, self.boot[origin], seq, floor, command, key, print_ if key else b"")))


def insert(row_id: str, name: Any, grade: Any = None, **more: Any) -> Insert:
    return Insert(None, "t", ((row_id, {"name": name, "grade": grade}),), **more)


def truth() -> list[Entry]:
    script = Script()
    do = script.do
    script.add(b"", EntryKind.EMPTY)
    script.add(FOUNDERS.to_bytes(), EntryKind.MEMBERSHIP)
    script.register("1", 71)
    script.register("2", 72)
    do(InitDatabase("d"))
    do(CreateTable(None, "t", (Column("name"), Column("grade", index=True), Column("more", "json"))))
    do(insert("a", "Ahmed", "A"), key="k1")
    do(insert("b", "Bea", 7), "2")
    do(insert("a", "again", 1))  # refused: 409
    do(Update(None, "t", "a", {"grade": "B", "more": {"x": [1, 2]}}), "2", key="k2")
    do(insert("a", "Ahmed", "A"), key="k1")  # the stored answer again
    do(insert("c", "other", None), key="k1", print_=b"g")  # mismatch
    do(Insert(None, "t", tuple((f"r{n:02}", {"name": "n" * 30, "grade": n % 5}) for n in range(20)), single=False), "2")
    do(insert("d", "gap", 1), "2", seq=9)
    do(insert("e", "dup", 1), "2", seq=9)  # a duplicate: refused by the window
    do(Delete(None, "t", "b"), key="k3")
    do(insert("f", "x" * 3_000, 2.5))  # longer than a page
    do(Update(None, "t", "zz", {"name": "?"}), key="k4")  # 404, and the outcome is kept
    do(insert("g", "no room for its key"), key="k5")  # the table of keys is full
    script.term = 2
    script.add(b"", EntryKind.EMPTY)
    do(CreateTable(None, "u", (Column("v", "integer"),)), "2", seq=10, floor=8)
    do(Insert(None, "u", tuple((f"{n}", {"v": n}) for n in range(6)), single=False), "2", seq=12, floor=8)
    do(Update(None, "t", "f", {"name": "y" * 2_500}))
    do(DeleteTable(None, "u"))
    script.stamp += DAY_MS  # the keys are forgotten, two with each entry
    for n in range(6):
        do(insert(f"h{n}", "after a day", n), key=f"n{n}" if n < 3 else "")
    do(InitDatabase("e"))
    do(CreateTable(None, "t", (Column("name"), Column("grade"))))
    do(insert("a", "in another database"), "2", seq=13, floor=11)
    do(InitDatabase("d"))
    do(DropDatabase("e"))
    do(StageDatabase("s"))
    do(CreateTable("s", "t", (Column("name"), Column("grade"))))
    do(Insert("s", "t", tuple((f"{n}", {"name": "n" * 40}) for n in range(10)), single=False), "2", seq=14, floor=11)
    do(SwitchDatabases((("s", "d"),)))  # refused: 409
    do(SwitchDatabases((("s", "e"),)))
    do(StageDatabase("s"))
    do(SwitchDatabases((("s", "e"),), replace=True), key="r")
    do(DropDatabase("e"))
    script.register("1", 73)
    for n in range(8):
        do(insert(f"s{n}", "p" * (40 * n), n, upsert=True), key="m" if n == 5 else "")
    do(Insert(None, "t", tuple((f"r{n:02}", {"name": "over", "grade": n}) for n in range(0, 30, 2)), upsert=True, single=False))
    script.term = 4
    script.add(b"", EntryKind.EMPTY)
    for n in range(14):
        do(insert(f"w{n}", "q" * 25, "A" if n % 3 else None))
    do(Delete(None, "t", "r05", if_version=1))  # 412
    do(Delete(None, "t", "r05"))
    for n in range(4):
        do(insert(f"x{n}", "r" * 25, n))
    return script.entries


def place(entries: Sequence[Entry], index: int) -> SnapshotMeta:
    return SnapshotMeta(index, entries[index - 1].term, entries[index - 1].stamp, FOUNDERS)


def now(deferred: Any) -> Any:
    """What a Deferred has fired with; raises what it failed with."""
    got: list[Any] = []
    deferred.addBoth(got.append)
    assert got, "the Deferred has not fired"
    if hasattr(got[0], "raiseException"):
        got[0].raiseException()
    return got[0]


def opened(path: Path, identity: Identity = FORMED) -> DiskStore:
    return open_store(path, identity, LIMITS, None, lambda: 0.0, founders=FOUNDERS)


class Driver:
    """What the replica does with its store, and the marks beside it."""

    def __init__(self, path: Path, store: DiskStore, mark: Mark) -> None:
        self.path = path
        self.store = store
        self.mark = mark
        self.hard_state = store.log.recovered.hard_state

    def save(self, hard_state: HardState | None, entries: Sequence[Entry] = ()) -> None:
        self.mark("saving", hard_state, tuple(entries))
        now(self.store.log.save(hard_state, entries))
        self.mark("saved")
        self.hard_state = hard_state or self.hard_state

    def apply(self, entries: Sequence[Entry], settles: bool = True) -> None:
        """Unless it `settles`, the transaction stays open."""
        self.mark("applying", entries[-1].index)
        self.store.tables.apply(entries)
        if settles:
            self.store.tables.settle()

    def commit(self, index: int) -> None:
        """A hint that is written without a sync."""
        self.save(self.hard_state._replace(commit=index))

    def follow(self, entries: Sequence[Entry], sizes: Sequence[int] = (1,)) -> None:
        """Batches of these sizes, in turn: saved, committed, applied."""
        turn = 0
        while entries:
            batch, entries = entries[: sizes[turn % len(sizes)]], entries[sizes[turn % len(sizes)] :]
            term = max(self.hard_state.term, batch[-1].term)
            vote = self.hard_state.vote if term == self.hard_state.term else None
            changed = HardState(term, vote, self.hard_state.commit) if term > self.hard_state.term else None
            self.save(changed, batch)
            if turn % 3 != 2:
                self.commit(batch[-1].index)
            self.apply(batch, settles=turn % 4 != 1)
            turn += 1

    def checkpoint(self) -> SnapshotMeta:
        durable: SnapshotMeta = now(self.store.tables.checkpoint())
        self.mark("durable", durable.index)
        return durable

    def compact(self, index: int) -> None:
        self.mark("compacting", index)
        self.store.log.compact(index)

    def snapshot(self) -> None:
        """One is made for a follower, and removed when it was sent."""
        made = now(self.store.tables.snapshot())
        self.store.remove_snapshot(made)

    def receive(self, meta: SnapshotMeta, content: bytes) -> None:
        """A snapshot comes in pieces, is checked and installed."""
        path = self.store.incoming()
        file = RealDisk().create(path)
        for start in range(0, len(content), 20_000):
            file.write(start, content[start : start + 20_000])
        file.close()
        now(self.store.check_incoming(meta, path))
        self.mark("installing", meta)
        self.store.install(meta, path)
        self.mark("installed")


def snapshot_of(folder: Path, entries: Sequence[Entry]) -> tuple[SnapshotMeta, bytes]:
    """What a leader that applied these entries would send."""
    (folder / "out").mkdir(parents=True)
    tables = SqliteTables(str(folder / "tables.db"), str(folder / "out"), LIMITS, lambda: 0.0, founders=FOUNDERS)
    tables.apply(entries)
    made = now(tables.snapshot())
    tables.close()
    return made.meta, Path(made.path).read_bytes()


def live(path: Path, elsewhere: Path, mark: Mark) -> None:
    """The whole script on the folder `path`; snapshots are made in `elsewhere`."""
    log = truth()
    mark("opening", ME)
    driver = Driver(path, opened(path, ME), mark)
    mark("opened", ME)
    driver.save(HardState(1, "2", 0))
    mark("opening", FORMED)
    write_identity(path, FORMED)
    mark("opened", FORMED)
    driver.follow(log[:6], (1, 2))
    driver.follow(log[6:13], (1, 3))
    driver.checkpoint()
    driver.follow(log[13:17])
    driver.store.disk_low()
    # Another leader's tail, never committed, gives way to the truth, over the border of a segment.
    lost = [Entry(18 + n, 1, log[16].stamp + n, EntryKind.COMMAND, b"never committed %d" % n + b"z" * 900) for n in range(5)]
    driver.save(None, lost[:3])
    driver.save(HardState(2, "3", 17), lost[3:])
    driver.save(None, log[17:20])
    driver.apply(log[17:20])
    driver.follow(log[20:24])
    driver.compact(min(15, driver.checkpoint().index))
    driver.follow(log[24:32], (2,))
    driver.snapshot()
    driver.compact(min(30, driver.checkpoint().index))
    driver.follow(log[32:38], (1, 2))
    driver.store.mark_suspect()
    mark("suspect")
    # Far behind: the snapshot replaces everything.
    meta, content = snapshot_of(elsewhere / "far", log[:50])
    driver.save(HardState(4, None, 38))
    driver.receive(meta, content)
    driver.follow(log[50:56], (2, 1))
    driver.checkpoint()
    driver.follow(log[56:60])
    # A little behind: entries after the snapshot's place are kept.
    driver.save(None, log[60:65])
    driver.receive(*snapshot_of(elsewhere / "near", log[:62]))
    driver.apply(log[62:65])
    driver.compact(driver.checkpoint().index)
    driver.follow(log[65:70])
    driver.store.close()
    driver = Driver(path, opened(path), mark)
    mark("opened", FORMED)
    driver.follow(log[70:], (1, 2))
    driver.checkpoint()
    driver.save(HardState(5, "1", len(log)))
    driver.store.close()
    assert sorted(os.listdir(elsewhere)) == ["far", "near"]
