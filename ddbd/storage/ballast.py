"""The reserve of free space: whether it is touched, and a file that gives some of it back when it is nearly gone.

Below the reserve new rows are refused (507), while the log must still take deletes, elections and commits. A quarter of the reserve is
therefore held by a file of no content; it is unlinked when less than half of the reserve is free, and made again when there is plenty.

Space that the next checkpoint will take is not free: what waits in SQLite's WAL makes the tables' file longer. A node that counted it as
free would refuse rows too late, and end when the checkpoint meets the full disk; and it would end there after each restart.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

CHECK_SECONDS = 0.25  # between two looks at the file system
PLENTY = 4  # times the reserve: free space at which the ballast is made again


class Ballast:
    def __init__(
        self,
        path: Path,
        reserve_bytes: int,
        clock: Callable[[], float],
        free: Callable[[Path], int] | None = None,
    ) -> None:
        self._path = path
        self._file = path / "ballast"
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._free_at = free or free_bytes
        self._owed: Callable[[], int] = lambda: 0
        self._checked_at: float | None = None
        self._low = False

    def count(self, owed: Callable[[], int]) -> None:
        """From now on: so many bytes are free and spoken for."""
        self._owed = owed
        self._checked_at = None

    def low(self) -> bool:
        now = self._clock()
        if self._checked_at is None or now - self._checked_at >= CHECK_SECONDS:
            self._checked_at = now
            self._low = self._look()
        return self._low

    def spare_bytes(self) -> int:
        """What may be allocated ahead of need: the reserve is not for that. Negative where it is touched."""
        return self._free_bytes() - self._reserve_bytes

    def _free_bytes(self) -> int:
        return self._free_at(self._path) - self._owed()

    def _look(self) -> bool:
        free = self._free_bytes()
        held = self._file.exists()
        if held and free < self._reserve_bytes // 2:
            self._file.unlink()
        elif not held and free > PLENTY * self._reserve_bytes:
            self._make()
        # What the ballast gave back is for the log, not for new rows.
        usable = free if held else free - self._reserve_bytes // 4
        return usable < self._reserve_bytes

    def _make(self) -> None:
        fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, max(1, self._reserve_bytes // 4))
        except OSError:
            self._file.unlink()  # a luxury: without it the reserve is a little smaller
        finally:
            os.close(fd)


def free_bytes(path: Path) -> int:
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize
