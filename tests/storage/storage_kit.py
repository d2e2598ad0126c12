"""What the storage tests share: commands as entries, small limits, and a disk whose every operation can be cut off.

`CrashDisk` keeps what was written (page cache) apart from what was synced (platter). `crash` gives the disk that a power cut leaves: of
what was not synced, the caller's choice says what got through.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from ddbd.commands import Answer, AnyCommand, Column, CreateTable, InitDatabase, Insert, Proposal, Register, Row, encode_proposal
from ddbd.config import Limits
from ddbd.errors import StorageFailed
from ddbd.raft.types import Entry, EntryKind, Membership
from ddbd.storage import records

SMALL = Limits(segment_bytes=4096, idempotency_keys_max=5)
FOUNDERS = Membership.of(["1", "2", "3"])
HOUR_MS = 3_600_000


def entry(index: int, term: int = 1, data: bytes = b"x", kind: EntryKind = EntryKind.COMMAND) -> Entry:
    return Entry(index, term, 1_000 + index, kind, data)


def entries(low: int, high: int, term: int = 1, data: bytes = b"x") -> list[Entry]:
    return [entry(index, term, data + b"%d" % index) for index in range(low, high)]


def payload_of(entry: Entry) -> bytes:
    """What an entry's record in the log holds."""
    return records.encode_entries([entry], 0, 0, 0)[0][0][records.HEAD_BYTES :]


def results(deferred: Any) -> list[Any]:
    """What a Deferred fired with: [] while it is open."""
    got: list[Any] = []
    deferred.addBoth(got.append)
    return got


def fired(deferred: Any) -> Any:
    """The value of a Deferred that has fired; raises what it failed with."""
    got = results(deferred)
    assert got, "the Deferred has not fired"
    if hasattr(got[0], "raiseException"):
        got[0].raiseException()
    return got[0]


class Client:
    """Applies commands to tables as one origin, each as an entry of its own, and gives the answers."""

    def __init__(self, *tables: Any, origin: str = "1") -> None:
        self.tables = tables
        self.origin = origin
        self.index = tables[0].applied_index
        self.stamp = 1_000
        self.seq = 0
        self.boot = 0
        self.floor = 0
        self.log: list[Entry] = []

    def start(self) -> Client:
        """Registers, and makes database d with table t (name, grade; grade is indexed)."""
        self.register(7)
        self.do(InitDatabase("d"))
        self.do(CreateTable(None, "t", (Column("name"), Column("grade", index=True))))
        return self

    def register(self, nonce: int) -> None:
        self.boot = 0
        self.do(Register(self.origin, nonce))
        registered = self.tables[0].registered(self.origin)
        assert registered is not None
        self.boot = registered[0]

    def proposal(self, command: AnyCommand, key: str = "", fingerprint: bytes = b"", seq: int | None = None) -> Proposal:
        if seq is None:
            self.seq += 1
            seq = self.seq
        return Proposal(self.origin, self.boot, seq, self.floor, command, key, fingerprint)

    def apply(self, data: bytes, kind: EntryKind = EntryKind.COMMAND) -> Answer | None:
        self.index += 1
        made = Entry(self.index, 1, self.stamp, kind, data)
        self.log.append(made)
        outcomes = [tables.apply([made]) for tables in self.tables]
        for tables in self.tables:
            tables.settle()
        assert all(outcome == outcomes[0] for outcome in outcomes), outcomes
        hashes = {tables.state_hash(self.index) for tables in self.tables}
        assert len(hashes) == 1, "the state hashes differ"
        return outcomes[0][0].answer if outcomes[0] else None

    def do(self, command: AnyCommand, key: str = "", fingerprint: bytes = b"f") -> Answer:
        answer = self.apply(encode_proposal(self.proposal(command, key, fingerprint)))
        assert answer is not None, "the proposal window refused it"
        return answer

    def insert(self, row_id: str, data: Row, **more: Any) -> Answer:
        return self.do(Insert(None, "t", ((row_id, data),), **more))


def rows(scan: Iterable[list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    return [row for piece in scan for row in piece]


# A disk that can be cut off.

SECTOR = 512


class CrashFile:
    def __init__(self, disk: CrashDisk) -> None:
        self._disk = disk
        self.data = bytearray()  # page cache
        self.platter = bytearray()
        self.allocated = 0

    def read(self, offset: int, size: int) -> bytes:
        self._disk.may_fail("read")
        return bytes(self.data[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        self._disk.step("write")
        if len(self.data) < offset + len(data):
            self.data.extend(bytes(offset + len(data) - len(self.data)))
        self.data[offset : offset + len(data)] = data

    def allocate(self, size: int) -> None:
        self._disk.step("allocate")
        self.data.extend(bytes(max(0, size - len(self.data))))

    def size(self) -> int:
        return len(self.data)

    def sync(self) -> None:
        self._disk.step("sync")
        self.platter = bytearray(self.data)

    def close(self) -> None:
        pass

    def left(self, keep: Callable[[], bool]) -> bytearray:
        """The platter, and of each sector that was not synced the new content where `keep` says so."""
        left = bytearray(self.platter)
        if len(self.data) > len(left) and (self.platter or keep()):
            left.extend(bytes(len(self.data) - len(left)))
        for start in range(0, len(left), SECTOR):
            if left[start : start + SECTOR] != self.data[start : start + SECTOR] and keep():
                left[start : start + SECTOR] = self.data[start : start + SECTOR]
        return left


class PowerCut(Exception):
    """The disk is gone: whatever runs has to stop here."""


class CrashDisk:
    """`disk.Disk`. After `steps_left` operations each one raises PowerCut; `fail_next` makes the next one of a kind an OSError."""

    def __init__(self) -> None:
        self.names: dict[str, CrashFile] = {}
        self.synced_names: dict[str, CrashFile] = {}
        self.steps = 0
        self.steps_left: int | None = None
        self.fail_next: str | None = None

    def may_fail(self, kind: str) -> None:
        if self.fail_next == kind:
            self.fail_next = None
            raise OSError(5, "Input/output error")

    def step(self, kind: str) -> None:
        self.may_fail(kind)
        if self.steps_left is not None:
            if self.steps_left == 0:
                raise PowerCut
            self.steps_left -= 1
        self.steps += 1

    def make_dir(self, path: str) -> None:
        pass

    def create(self, path: str) -> CrashFile:
        self.step("create")
        self.names[path] = CrashFile(self)
        return self.names[path]

    def open(self, path: str) -> CrashFile:
        return self.names[path]

    def rename(self, old: str, new: str) -> None:
        self.step("rename")
        self.names[new] = self.names.pop(old)

    def unlink(self, path: str) -> None:
        self.step("unlink")
        del self.names[path]

    def listdir(self, path: str) -> list[str]:
        return sorted(name.removeprefix(path + "/") for name in self.names)

    def sync_dir(self, path: str) -> None:
        self.step("sync_dir")
        self.synced_names = dict(self.names)

    def crash(self, dice: random.Random | None = None) -> CrashDisk:
        """What a power cut leaves: without dice nothing that was not synced, else any part of it."""

        def keep() -> bool:
            return dice is not None and dice.random() < 0.5

        disk = CrashDisk()
        # The journal of a file system keeps the order of names: either the old folder, or the new one.
        names = self.names if keep() else self.synced_names
        for name, file in names.items():
            copy = disk.names[name] = CrashFile(disk)
            copy.data = file.left(keep)
            copy.platter = bytearray(copy.data)
        disk.synced_names = dict(disk.names)
        return disk

    def copy(self) -> CrashDisk:
        """The disk as it is, all of it synced."""
        disk = CrashDisk()
        for name, file in self.names.items():
            other = disk.names[name] = CrashFile(disk)
            other.data, other.platter = bytearray(file.data), bytearray(file.data)
        disk.synced_names = dict(disk.names)
        return disk


__all__ = [
    "FOUNDERS",
    "HOUR_MS",
    "SMALL",
    "Client",
    "CrashDisk",
    "PowerCut",
    "StorageFailed",
    "entries",
    "entry",
    "fired",
    "results",
    "rows",
]
