"""Reading a data directory without changing a byte of it, not even the small files that SQLite makes beside a database.

The tables' file alone is opened as immutable. Beside a `-wal` that does not do: what is in it would be missed. Then SQLite keeps the
index of the WAL in memory (exclusive locking mode), and a VFS of ours opens every file read-only and takes no locks: the directory's own
lock is held, so nobody else is there.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from ddbd.errors import ConfigError
from ddbd.storage.disk import RealFile
from ddbd.storage.sqlite import VFS, fatal, register_vfs

NAME = "frozen"


class Held:
    """The directory's lock, without making the file: a node cannot start meanwhile. Raises ConfigError where one runs."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise ConfigError(f"{path}: there is no such directory")
        try:
            self._fd = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = -1  # no node was ever started on it
            return
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise ConfigError(f"{path}: a node is running on this directory; stop it first") from None

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class FrozenFile(RealFile):
    def __init__(self, path: str) -> None:
        super().__init__(path, os.O_RDONLY)

    def write(self, offset: int, data: bytes) -> None:
        raise AssertionError("a frozen file is not written")


class FrozenDisk:
    """`storage.disk.Disk` that reads. What a start would remove stays, and is remembered in `left`."""

    def __init__(self) -> None:
        self.left: list[str] = []

    def make_dir(self, path: str) -> None:
        raise AssertionError("a frozen disk makes nothing")

    def create(self, path: str) -> FrozenFile:
        raise AssertionError("a frozen disk makes nothing")

    def open(self, path: str) -> FrozenFile:
        return FrozenFile(path)

    def rename(self, old: str, new: str) -> None:
        raise AssertionError("a frozen disk renames nothing")

    def unlink(self, path: str) -> None:
        self.left.append(path)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def sync_dir(self, path: str) -> None:
        """There is nothing to sync."""


class _File(apsw.VFSFile):
    """Nobody else is there, so nothing is locked."""

    def xLock(self, level: int) -> None:
        pass

    def xUnlock(self, level: int) -> None:
        pass

    def xCheckReservedLock(self) -> bool:
        return False


class _Vfs(apsw.VFS):
    """Page checksums for the database (cksumvfs), none for its WAL, which has its own."""

    def __init__(self) -> None:
        super().__init__(NAME, VFS)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        flags[0] = (flags[0] & ~(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)) | apsw.SQLITE_OPEN_READONLY
        return _File(VFS if flags[0] & apsw.SQLITE_OPEN_MAIN_DB else "unix", name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        raise apsw.ReadOnlyError(f"{filename} is only read")


_registered: list[_Vfs] = []


def frozen_tables(path: Path) -> apsw.Connection:
    """Raises Corrupt, StorageFailed. Close it."""
    register_vfs()
    with fatal(str(path)):
        if not Path(f"{path}-wal").exists():
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
            return apsw.Connection(f"file:{quote(str(path.absolute()))}?immutable=1", flags=flags, vfs=VFS)
        if not _registered:
            _registered.append(_Vfs())
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=NAME)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        return connection
