"""A simulated disk behind the log's seam: page cache and platter apart, sectors that tear, syncs that are slow or fail.

A killed process leaves the page cache to its successor. A power cut keeps, of what was not synced, any sectors and any first part of
the names' changes. Where `forgets` is set, a failed fsync leaves its pages in the cache as if they were clean, as Linux does: a later
fsync that succeeds says nothing about them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

SECTOR = 512


class PowerCut(BaseException):
    """The power goes in the middle of an operation."""


class SimFile:
    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk
        self.data = bytearray()  # the page cache
        self.clean = bytearray()  # what the page cache believes to be on the platter
        self.platter = bytearray()

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        if self._disk.fails_next_write:
            self._disk.fails_next_write = False
            self._disk.sometimes["a write found no space on the disk"] += 1
            raise OSError(28, "No space left on device")
        if self._disk.cut_now():
            half = self._disk.dice.randrange(len(data) + 1)
            self._disk.sometimes["a power cut tore what was not synced"] += 0 < half < len(data)
            self._write(offset, data[:half])
            raise PowerCut
        self._write(offset, data)

    def _write(self, offset: int, data: bytes) -> None:
        self.allocate(offset + len(data))
        self.data[offset : offset + len(data)] = data
        if self.clean is not self.platter:
            self._dirty(offset // SECTOR * SECTOR, -(-(offset + len(data)) // SECTOR) * SECTOR)

    def _dirty(self, low: int, high: int) -> None:
        """What is written again is written back, though its bytes are the same."""
        for image in (self.clean, self.platter):
            image.extend(bytes(max(0, len(self.data) - len(image))))
        self.clean[low:high] = self.platter[low:high]

    def allocate(self, size: int) -> None:
        if len(self.data) < size:
            self.data.extend(bytes(size - len(self.data)))

    def size(self) -> int:
        return len(self.data)

    def sync(self) -> None:
        if self._disk.cut_now():
            raise PowerCut
        if self._disk.fails_next_sync:
            self._disk.fails_next_sync = False
            if self._disk.forgets:
                self.clean = bytearray(self.data)
            raise OSError(5, "Input/output error")
        if self.clean is not self.platter:  # some earlier sync failed, and its pages are taken for clean
            self._write_back(lambda: True)
            self.clean = bytearray(self.data)
            return
        self.platter = self.clean = bytearray(self.data)

    def _write_back(self, keep: Callable[[], bool]) -> None:
        """Dirty sectors go to the platter where `keep` says so."""
        platter = bytearray(self.platter)
        platter.extend(bytes(len(self.data) - len(platter)))
        clean = self.clean + bytes(len(self.data) - len(self.clean))
        kept: Counter[bool] = Counter()
        for start in range(0, len(self.data), SECTOR):
            piece = slice(start, start + SECTOR)
            if self.data[piece] != clean[piece] and _counted(kept, keep()):
                platter[piece] = self.data[piece]
        self._disk.sometimes["a power cut tore what was not synced"] += len(kept) > 1
        self.platter = platter
        if self.platter != self.data and not self._disk.forgets:
            self.clean = self.platter

    def close(self) -> None:
        pass

    def flip_a_bit(self, low: int, high: int) -> None:
        """At rest: of what the platter holds."""
        changed = bytes(flip(self.data[low:high], self._disk.dice))
        for image in (self.data, self.platter):
            image[low:high] = changed
        self.clean = self.platter

    def lose_power(self, keep: Callable[[], bool]) -> None:
        self._write_back(keep)
        self.data, self.clean = bytearray(self.platter), self.platter


class SimDisk:
    """`storage.disk.Disk`."""

    def __init__(self, dice: random.Random, sometimes: Counter[str], forgets: bool) -> None:
        self.dice = dice
        self.forgets = forgets
        self.fails_next_sync = False
        self.fails_next_write = False
        self.steps_left: int | None = None  # until the power goes
        self.sometimes = sometimes
        self._names: dict[str, SimFile] = {}
        self._durable: dict[str, SimFile] = {}
        self._journal: list[tuple[str, str, SimFile | None]] = []  # changes of names that no sync_dir followed

    def cut_now(self) -> bool:
        if self.steps_left is None:
            return False
        self.steps_left -= 1
        return self.steps_left < 0

    def _changed(self, old: str, new: str, file: SimFile | None) -> None:
        self._journal.append((old, new, file))
        _change(self._names, old, new, file)
        if self.cut_now():
            raise PowerCut

    def make_dir(self, path: str) -> None:
        pass

    def create(self, path: str) -> SimFile:
        file = SimFile(self)
        self._changed("", path, file)
        return file

    def open(self, path: str) -> SimFile:
        return self._names[path]

    def rename(self, old: str, new: str) -> None:
        self._changed(old, new, self._names[old])

    def unlink(self, path: str) -> None:
        self._changed(path, "", None)

    def listdir(self, path: str) -> list[str]:
        return sorted(name.removeprefix(path + "/") for name in self._names)

    def sync_dir(self, path: str) -> None:
        if self.cut_now():
            raise PowerCut
        self._durable = dict(self._names)
        self._journal = []

    def lose_power(self) -> None:
        """What is left is durable."""
        for old, new, file in self._journal[: self.dice.randrange(len(self._journal) + 1)]:
            _change(self._durable, old, new, file)
        self._names = dict(self._durable)
        self._journal = []
        share = self.dice.choice([0.0, 0.3, 0.7, 1.0])
        for name in sorted(self._names):
            file = self._names[name]
            if file.data != file.platter:
                self.sometimes["a power cut met unsynced data"] += 1
            file.lose_power(lambda: self.dice.random() < share)
        self.restarted()

    def restarted(self) -> None:
        self.fails_next_sync = self.fails_next_write = False
        self.steps_left = None


def _counted(kept: Counter[bool], keeps: bool) -> bool:
    kept[keeps] += 1
    return keeps


def flip(data: bytes | bytearray, dice: random.Random) -> bytes:
    """One bit is another one."""
    changed = bytearray(data)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _change(names: dict[str, SimFile], old: str, new: str, file: SimFile | None) -> None:
    names.pop(old, None)
    if file is not None:
        names[new] = file


class SimSyncer:
    """`storage.syncing.Syncer`: some syncs are inline, others take their time as in a thread."""

    def __init__(self, clock: Any, dice: random.Random, slow_share: float, slow_seconds: float) -> None:
        self._clock = clock
        self._dice = dice
        self._slow_share = slow_share
        self._slow_seconds = slow_seconds
        self._is_inline: bool | None = None  # the next one, once it was asked for
        self.mean_seconds = 0.0

    @property
    def inline(self) -> bool:
        if self._is_inline is None:
            self._is_inline = self._dice.random() >= self._slow_share
        return self._is_inline

    def sync_here(self, call: Callable[[], None]) -> None:
        self._is_inline = None
        call()

    def sync_there(self, call: Callable[[], None]) -> Deferred[None]:
        self._is_inline = None
        done: Deferred[None] = Deferred()
        self._clock.callLater(self._slow_seconds * self._dice.random() ** 3, self._late, call, done)
        return done

    def _late(self, call: Callable[[], None], done: Deferred[None]) -> None:
        try:
            call()
        except OSError as error:
            done.errback(error)
        else:
            done.callback(None)

    def close(self) -> None:
        pass
