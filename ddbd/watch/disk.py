"""How much room the node's disk has, and what the node takes of it.

A disk that hangs keeps whoever asks it, so a thread asks, one at a time: while it waits the last answer serves, and after a while none.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

LOOK_SECONDS = 5.0  # between two looks, while somebody wants to know
STALE_SECONDS = 30.0  # an answer that is older is none


class Room(NamedTuple):
    """Bytes on the disk that holds the data directory."""

    free_bytes: int
    size_bytes: int
    log_bytes: int
    tables_bytes: int  # all generations, their WAL included
    used_bytes: int  # the whole data directory, as allocated


class Disk:
    """`blocking(call)` runs a call in a thread, and fires with what it gives."""

    def __init__(self, path: Path, clock: IReactorTime, blocking: Callable[[Callable[[], Room]], Deferred[Room]]) -> None:
        self._path = path
        self._clock = clock
        self._blocking = blocking
        self._told: Room | None = None
        self._told_at = 0.0
        self._asked_at: float | None = None
        self._is_asking = False

    def room(self) -> Room | None:
        """The last answer, at once; asks for another one where that is due."""
        now = self._clock.seconds()
        if not self._is_asking and (self._asked_at is None or now - self._asked_at >= LOOK_SECONDS):
            self._asked_at, self._is_asking = now, True
            self._blocking(lambda: look(self._path)).addCallbacks(self._answered, self._failed)
        return self._told if now - self._told_at <= STALE_SECONDS else None

    def _answered(self, room: Room) -> None:
        self._is_asking, self._told, self._told_at = False, room, self._clock.seconds()

    def _failed(self, failure: Failure) -> None:
        """Not to be known is an answer: the rest of the node will meet the same disk, and say more of it."""
        self._is_asking, self._told = False, None
        failure.trap(OSError)


def look(path: Path) -> Room:
    """Raises OSError."""
    stat = os.statvfs(path)
    sizes = {entry.name: _allocated(entry) for entry in os.scandir(path)}
    tables = sum(size for name, size in sizes.items() if name.startswith("tables-"))
    free, size = stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize
    return Room(free, size, sizes.get("log", 0), tables, sum(sizes.values()))


def _allocated(entry: os.DirEntry[Any]) -> int:
    """A file may go while it is looked at: then it takes nothing."""
    try:
        if entry.is_dir(follow_symlinks=False):
            return sum(_allocated(each) for each in os.scandir(entry.path))
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:
        return 0
