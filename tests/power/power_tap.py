"""Listens to every file operation below one folder: of Python by the functions of `os`, of SQLite by a VFS under its own ones.

Nothing is imitated: each call is passed on to the real system, and written down once it came back. So the program that is listened to
is the product as it stands, with its own disk and its own fsyncs: one that is forgotten there is missing here. It belongs into a process
of its own (see `power_record`), since it replaces functions of the interpreter. That it missed nothing is checked at the end: the
operations, played again, must give what the folder holds.

All randomness comes from a seed, so that operation 317 is the same one in every run.
"""

from __future__ import annotations

import os
import posixpath
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import apsw.sqlite_extra
from power_disk import Op

BORN_SYNCING_FOLDER = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
NOT_DATA = "-shm"  # the shared index of a WAL: built anew by the first connection after a start

_system: dict[str, Callable[..., Any]] = {}


class Tap:
    """One recording. `start` and `stop` choose when; `ops` is what was heard."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self._root = ""
        self._names: dict[str, int] = {}
        self._next = 1
        self._fds: dict[int, tuple[int, str]] = {}

    def start(self, root: Path, names: dict[str, int], next_file: int) -> None:
        self.ops = []
        self._root = str(root)
        self._names = dict(names)
        self._next = next_file
        self._fds = {}

    def stop(self) -> list[Op]:
        self._root = ""
        return self.ops

    def mark(self, *what: Any) -> None:
        self.ops.append(Op("mark", mark=what))

    def add(self, kind: str, path: str, **more: Any) -> None:
        self.ops.append(Op(kind, path, **more))

    def inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The path below the folder that is listened to; None for any other."""
        if not self._root or isinstance(path, int):
            return None
        text = os.fsdecode(path)
        if dir_fd is not None:
            text = posixpath.join(os.readlink(f"/proc/self/fd/{dir_fd}"), text)
        if text == self._root:
            return ""
        return text[len(self._root) + 1 :] if text.startswith(self._root + "/") and not text.endswith(NOT_DATA) else None

    def opened(self, path: str, was_there: bool, cut: bool) -> int:
        """The file's number."""
        if was_there:
            file = self._names[path]
            if cut:
                self.add("truncate", path, file=file, at=0)
            return file
        file, self._next = self._next, self._next + 1
        self._names[path] = file
        self.add("create", path, file=file)
        return file

    def unlinked(self, path: str) -> None:
        self.add("unlink", path, file=self._names.pop(path))

    # What stands for the functions of `os`.

    def _open(self, path: Any, flags: int, *more: Any, dir_fd: int | None = None, **named: Any) -> int:
        name = self.inside(path, dir_fd)
        was_there = name is not None and os.path.lexists(os.path.join(self._root, name))
        fd: int = _system["open"](path, flags, *more, dir_fd=dir_fd, **named)
        if name is not None and not os.path.isdir(f"/proc/self/fd/{fd}"):
            self._fds[fd] = (self.opened(name, was_there, bool(flags & os.O_TRUNC)), name)
        return fd

    def _close(self, fd: int) -> None:
        _system["close"](fd)
        self._fds.pop(fd, None)

    def _pwrite(self, fd: int, data: bytes, offset: int) -> int:
        done: int = _system["pwrite"](fd, data, offset)
        if fd in self._fds:
            file, path = self._fds[fd]
            self.add("write", path, file=file, at=offset, data=bytes(data[:done]))
        return done

    def _sized(self, name: str, kind: str) -> Callable[..., None]:
        def call(fd: int, *sizes: int) -> None:
            _system[name](fd, *sizes)
            if fd in self._fds:
                file, path = self._fds[fd]
                self.add(kind, path, file=file, at=sum(sizes))

        return call

    def _synced(self, name: str) -> Callable[[int], None]:
        def call(fd: int) -> None:
            _system[name](fd)
            if fd in self._fds:
                file, path = self._fds[fd]
                self.add("sync", path, file=file)
            elif (folder := self.inside(os.readlink(f"/proc/self/fd/{fd}"))) is not None:
                self.add("sync_dir", folder)

        return call

    def _renamed(self, old: Any, new: Any, **named: Any) -> None:
        _system["rename"](old, new, **named)
        there, here = self.inside(old), self.inside(new)
        assert (there is None) == (here is None), f"{old} -> {new} crosses the border of what is listened to"
        if there is not None and here is not None:
            self._names[here] = self._names.pop(there)
            self.add("rename", there, file=self._names[here], other=here)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        name = self.inside(path, dir_fd)
        _system["unlink"](path, dir_fd=dir_fd)
        if name is not None:
            self.unlinked(name)

    def _folder(self, name: str) -> Callable[..., None]:
        def call(path: Any, *more: Any, dir_fd: int | None = None) -> None:
            inside = self.inside(path, dir_fd)
            _system[name](path, *more, dir_fd=dir_fd)
            if inside:
                self.add(name, inside)

        return call

    def install(self) -> None:
        """For the life of this process."""
        calls = {
            "open": self._open,
            "close": self._close,
            "pwrite": self._pwrite,
            "rename": self._renamed,
            "replace": self._renamed,
            "fsync": self._synced("fsync"),
            "fdatasync": self._synced("fdatasync"),
            "posix_fallocate": self._sized("posix_fallocate", "allocate"),
            "ftruncate": self._sized("ftruncate", "truncate"),
            "unlink": self._unlink,
            "remove": self._unlink,
            "mkdir": self._folder("mkdir"),
            "rmdir": self._folder("rmdir"),
        }
        for name, call in calls.items():
            _system[name] = getattr(os, name)
            setattr(os, name, call)
        self.vfs = TapVFS(self)
        connection = apsw.Connection(":memory:")
        apsw.sqlite_extra.load(connection, "cksumvfs")  # takes what is the default now as the VFS below its own
        connection.close()


class TapFile(apsw.VFSFile):
    def __init__(self, tap: Tap, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._tap = tap
        full = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._path = None if full is None else tap.inside(full)
        was_there = full is not None and os.path.lexists(full)
        super().__init__("unix", name, flags)
        if self._path is not None:
            self._file = tap.opened(self._path, was_there, cut=False)
        # SQLite's unix VFS syncs the folder of a new journal with the first sync of the file.
        self._syncs_folder = bool(flags[0] & BORN_SYNCING_FOLDER and flags[0] & apsw.SQLITE_OPEN_CREATE)

    def xWrite(self, data: Any, offset: int) -> None:
        super().xWrite(data, offset)
        if self._path is not None:
            self._tap.add("write", self._path, file=self._file, at=offset, data=bytes(data))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        if self._path is not None:
            self._tap.add("truncate", self._path, file=self._file, at=newsize)

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        if self._path is not None:
            self._tap.add("sync", self._path, file=self._file)
            if self._syncs_folder:
                self._tap.add("sync_dir", posixpath.dirname(self._path))
                self._syncs_folder = False


class TapVFS(apsw.VFS):
    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._dice = random.Random(1)
        super().__init__("tap", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return TapFile(self._tap, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        path = self._tap.inside(filename)
        super().xDelete(filename, syncdir)
        if path is not None:
            self._tap.unlinked(path)
            if syncdir:
                self._tap.add("sync_dir", posixpath.dirname(path))

    def xRandomness(self, numbytes: int) -> bytes:
        return self._dice.randbytes(numbytes)
