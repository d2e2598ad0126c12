"""The seam between the log and the disk: every file operation that the log's safety rests on, and nothing else.

`RealDisk` is the operating system. A simulator or a test puts another `Disk` here: one that keeps page cache and platter apart, tears
writes at a crash, loses a rename that no `sync_dir` followed, or fails an fsync. What may be relied on is therefore written here:

* `write` is seen by every later `read`, and is on the platter only after `sync`. Until then any of its 512-byte sectors may be.
* `create`, `rename` and `unlink` are on the platter only after `sync_dir` of the folder; a rename is whole or not at all.
* Bytes that were allocated and never written read as zeros.
* Whatever fails raises OSError, and then nothing is known about that file.

The tables do not come through here: SQLite does its own I/O, and what it loses is replayed from the log.
"""

from __future__ import annotations

import os
from typing import Protocol


class DiskFile(Protocol):
    def read(self, offset: int, size: int) -> bytes:
        """As many bytes as there are, at most `size`."""

    def write(self, offset: int, data: bytes) -> None: ...

    def allocate(self, size: int) -> None:
        """Makes the file at least this long, with space on the disk for it."""

    def size(self) -> int: ...

    def sync(self) -> None:
        """fdatasync. May be called on another thread; nothing else is called on this file meanwhile but `read`."""

    def close(self) -> None: ...


class Disk(Protocol):
    def make_dir(self, path: str) -> None:
        """Does nothing where it is already there."""

    def create(self, path: str) -> DiskFile:
        """An empty file; what was there before is gone."""

    def open(self, path: str) -> DiskFile: ...

    def rename(self, old: str, new: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def listdir(self, path: str) -> list[str]:
        """Names, sorted."""

    def sync_dir(self, path: str) -> None: ...


class RealFile:
    def __init__(self, path: str, flags: int) -> None:
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def read(self, offset: int, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := os.pread(self._fd, size - len(data), offset + len(data))):
            data += more
        return data

    def write(self, offset: int, data: bytes) -> None:
        done = 0
        while done < len(data):  # more than once is rare: a signal, or the disk just became full
            done += os.pwrite(self._fd, data[done:], offset + done)

    def allocate(self, size: int) -> None:
        os.posix_fallocate(self._fd, 0, size)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class RealDisk:
    def make_dir(self, path: str) -> None:
        os.makedirs(path, mode=0o700, exist_ok=True)

    def create(self, path: str) -> RealFile:
        return RealFile(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def open(self, path: str) -> RealFile:
        return RealFile(path, os.O_RDWR)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def sync_dir(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_atomically(disk: Disk, folder: str, name: str, data: bytes) -> None:
    """The file holds either what it held before or all of `data`, whenever the power goes."""
    temporary = f"{folder}/{name}.tmp"
    file = disk.create(temporary)
    try:
        file.write(0, data)
        file.sync()
    finally:
        file.close()
    disk.rename(temporary, f"{folder}/{name}")
    disk.sync_dir(folder)
