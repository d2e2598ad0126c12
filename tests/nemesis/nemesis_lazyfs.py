"""A file system that keeps what was not synced apart from what was, as a process of its own.

    python nemesis_lazyfs.py BACKING_FOLDER MOUNT_POINT

The backing folder is the platter, what was written since is the page cache: it is seen by every read, and a crash takes it. What `fsync`
was answered for is on the platter. Truncation, allocation and the folders themselves are on the platter at once, so a lost rename is not
among the faults here (the simulator has it).

Commands are lines of JSON on standard input, each answered by a line:

    {"crash": "lose"}       everything unsynced is gone; "tear": each sector of it is kept or lost by the dice of {"seed": ...}
    {"eio": 1}              so many fsyncs fail with EIO from now on, -1: all; their data is never written, as Linux does it. With
                            "eio_pages": 8 only those that have so many pages to write
    {"free_bytes": 0}       what the disk has left; null: as much as the machine has
    {"slow_seconds": 0.5}   each fsync takes so long
    {"lie": true}           fsync answers and writes nothing: a disk that is broken beyond what any database can bear
"""

from __future__ import annotations

import errno
import json
import os
import random
import stat
import subprocess
import sys
import threading
from typing import Any

import mfusepy  # type: ignore[import-not-found,import-untyped,unused-ignore]

PAGE = 4096
SECTOR = 512
OPEN_FLAGS = os.O_RDWR | os.O_CLOEXEC

Pages = dict[int, bytearray]


class Cached:
    """One file: the platter, and over it the pages that are newer."""

    def __init__(self, path: str, flags: int = 0, mode: int = 0o600) -> None:
        self.fd = os.open(path, OPEN_FLAGS | flags, mode)
        self.size = os.fstat(self.fd).st_size
        self.opened = 0
        self.dirty: Pages = {}
        self.doomed: Pages = {}  # an fsync of these failed: they are seen, and never written

    def _page(self, number: int) -> bytes | bytearray:
        page = self.dirty.get(number) or self.doomed.get(number)
        if page is not None:
            return page
        return os.pread(self.fd, PAGE, number * PAGE).ljust(PAGE, b"\0")

    def read(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self.size)
        if end <= offset:
            return b""
        first, last = offset // PAGE, (end - 1) // PAGE
        if not self.dirty and not self.doomed:
            return os.pread(self.fd, end - offset, offset).ljust(end - offset, b"\0")
        data = b"".join(bytes(self._page(number)) for number in range(first, last + 1))
        return data[offset - first * PAGE : end - first * PAGE]

    def write(self, offset: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            number, start = divmod(offset + at, PAGE)
            piece = data[at : at + PAGE - start]
            page = bytearray(self._page(number))
            page[start : start + len(piece)] = piece
            self.dirty[number] = page
            self.doomed.pop(number, None)
            at += len(piece)
        self.size = max(self.size, offset + len(data))

    def truncate(self, size: int) -> None:
        os.ftruncate(self.fd, size)
        for pages in (self.dirty, self.doomed):
            for number in [number for number in pages if number * PAGE >= size]:
                del pages[number]
            if size % PAGE and size // PAGE in pages:
                pages[size // PAGE][size % PAGE :] = bytes(PAGE - size % PAGE)
        self.size = size

    def sync(self) -> None:
        for number, page in sorted(self.dirty.items()):
            os.pwrite(self.fd, page[: max(0, self.size - number * PAGE)], number * PAGE)
        self.dirty.clear()
        if not self.doomed and os.fstat(self.fd).st_size < self.size:
            os.ftruncate(self.fd, self.size)

    def fail_sync(self) -> None:
        self.doomed.update(self.dirty)
        self.dirty.clear()

    def crash(self, dice: random.Random | None) -> int:
        """Returns how many pages were not on the platter. With dice, each of their sectors may be there all the same."""
        lost = len(self.dirty) + len(self.doomed)
        if dice is not None:
            for number, page in sorted(self.dirty.items()):
                for sector in range(0, PAGE, SECTOR):
                    inside = page[sector : min(sector + SECTOR, max(sector, self.size - number * PAGE))]
                    if inside and dice.random() < 0.5:
                        os.pwrite(self.fd, inside, number * PAGE + sector)
        self.dirty.clear()
        self.doomed.clear()
        self.size = os.fstat(self.fd).st_size
        return lost


class LazyFiles(mfusepy.Operations):  # type: ignore[misc,unused-ignore]
    use_ns = True

    def __init__(self, root: str) -> None:
        self._root = root
        self._lock = threading.RLock()
        self._files: dict[int, Cached] = {}  # by inode
        self._handles: dict[int, tuple[int, Cached]] = {}
        self._handle = 0
        self._dice = random.Random(0)
        self._eio = 0
        self._eio_pages = 0
        self._failed = 0
        self._free_bytes: int | None = None
        self._slow_seconds = 0.0
        self._lie = False
        self._pause = threading.Event()

    # What the test says.

    def command(self, words: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if "seed" in words:
                self._dice = random.Random(words["seed"])
            if "crash" in words:
                self._eio, self._lie = 0, False
                dice = self._dice if words["crash"] == "tear" else None
                lost = sum(file.crash(dice) for _, file in sorted(self._files.items()))
                return {"lost_pages": lost}
            self._eio = words.get("eio", self._eio)
            self._eio_pages = words.get("eio_pages", 0)
            self._free_bytes = words.get("free_bytes", self._free_bytes)
            self._slow_seconds = words.get("slow_seconds", self._slow_seconds)
            self._lie = words.get("lie", self._lie)
            return {"failed_syncs": self._failed}

    # Space.

    def _take(self, size: int) -> None:
        if self._free_bytes is not None and size > 0:
            if size > self._free_bytes:
                raise mfusepy.FuseOSError(errno.ENOSPC)
            self._free_bytes -= size

    def _give(self, size: int) -> None:
        if self._free_bytes is not None:
            self._free_bytes += size

    def statfs(self, path: str) -> dict[str, int]:
        real = os.statvfs(self._root)
        names = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_flag", "f_frsize", "f_namemax")
        found = {name: int(getattr(real, name)) for name in names}
        if self._free_bytes is not None:
            found["f_bavail"] = found["f_bfree"] = max(0, self._free_bytes) // found["f_frsize"]
        return found

    # Names.

    def _at(self, path: str) -> str:
        return self._root + path

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        with self._lock:
            found = os.fstat(self._handles[fh][1].fd) if fh in self._handles else os.lstat(self._at(path))
            values: dict[str, Any] = {name: getattr(found, name) for name in ("st_mode", "st_nlink", "st_uid", "st_gid", "st_ino")}
            values |= {"st_atime": found.st_atime_ns, "st_mtime": found.st_mtime_ns, "st_ctime": found.st_ctime_ns}
            file = self._files.get(found.st_ino) if stat.S_ISREG(found.st_mode) else None
            values["st_size"] = found.st_size if file is None else file.size
            values["st_blocks"] = (values["st_size"] + 511) // 512
            return values

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._at(path))]

    def mkdir(self, path: str, mode: int) -> int:
        with self._lock:
            self._take(PAGE)
            os.mkdir(self._at(path), mode)
            return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._at(path))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._at(path), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.chown(self._at(path), uid, gid)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._at(path), ns=times) if times is not None else os.utime(self._at(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        with self._lock:
            self._forget_name(new)
            os.rename(self._at(old), self._at(new))
            return 0

    def unlink(self, path: str) -> int:
        with self._lock:
            self._forget_name(path)
            os.unlink(self._at(path))
            return 0

    def _forget_name(self, path: str) -> None:
        try:
            found = os.lstat(self._at(path))
        except FileNotFoundError:
            return
        file = self._files.get(found.st_ino)
        self._give(found.st_size if file is None else file.size)
        if file is not None and not file.opened:
            del self._files[found.st_ino]
            os.close(file.fd)

    # Files.

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        with self._lock:
            self._take(PAGE)
            return self._open(path, os.O_CREAT, mode)

    def open(self, path: str, flags: int) -> int:
        with self._lock:
            handle = self._open(path)
            if flags & os.O_TRUNC:
                self._handles[handle][1].truncate(0)
            return handle

    def _open(self, path: str, flags: int = 0, mode: int = 0o600) -> int:
        fresh = Cached(self._at(path), flags, mode)
        inode = os.fstat(fresh.fd).st_ino
        file = self._files.setdefault(inode, fresh)
        if file is not fresh:
            os.close(fresh.fd)
        file.opened += 1
        self._handle += 1
        self._handles[self._handle] = (inode, file)
        return self._handle

    def release(self, path: str, fh: int) -> int:
        with self._lock:
            inode, file = self._handles.pop(fh)
            file.opened -= 1
            if not file.opened and not os.fstat(file.fd).st_nlink:
                del self._files[inode]
                os.close(file.fd)
            return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        with self._lock:
            return self._handles[fh][1].read(offset, size)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        with self._lock:
            file = self._handles[fh][1]
            self._take(offset + len(data) - file.size)
            file.write(offset, data)
            return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        with self._lock:
            handle = fh if fh in self._handles else self._open(path)
            file = self._handles[handle][1]
            self._take(length - file.size)
            self._give(max(0, file.size - length))
            file.truncate(length)
            if handle != fh:
                self.release(path, handle)
            return 0

    def fallocate(self, path: str, mode: int, offset: int, size: int, fh: int) -> int:
        with self._lock:
            if mode != 0:
                raise mfusepy.FuseOSError(errno.EOPNOTSUPP)
            file = self._handles[fh][1]
            self._take(offset + size - file.size)
            if offset + size > file.size:
                os.posix_fallocate(file.fd, 0, offset + size)
                file.size = offset + size
            return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        if self._slow_seconds:
            self._pause.wait(self._slow_seconds)
        with self._lock:
            file = self._handles[fh][1]
            if self._eio and len(file.dirty) >= self._eio_pages:
                self._eio -= self._eio > 0
                self._failed += 1
                file.fail_sync()
                raise mfusepy.FuseOSError(errno.EIO)
            if not self._lie:
                file.sync()
            return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        return 0

    def flush(self, path: str, fh: int) -> int:
        return 0


def _listen(files: LazyFiles, mount_point: str) -> None:
    """Until whoever started us is gone; then nothing of the mount is left."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(files.command(json.loads(line))) + "\n")
        sys.stdout.flush()
    subprocess.run(["fusermount3", "-u", "-z", mount_point], check=False)


def main() -> None:
    backing, mount_point = sys.argv[1:]
    files = LazyFiles(backing)
    threading.Thread(target=_listen, args=(files, mount_point), daemon=True).start()
    mfusepy.FUSE(files, mount_point, foreground=True, attr_timeout=0, entry_timeout=0, fsname="ddbd-nemesis")


if __name__ == "__main__":
    main()
