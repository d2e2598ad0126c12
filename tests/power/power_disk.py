"""A disk as a list of operations, and what a power cut after any of them leaves.

`PowerDisk` is fed the operations in the order in which they were made, over all files of one folder. It keeps the page cache (what a
program reads back) apart from the platter (what was synced), and remembers for each file and each folder what lies between the two.
`image` is what the next start finds when, of that, exactly the caller's choice came through. The rules are those of `storage.disk`:

* data is on the platter after `sync` of the file; until then any of its 512-byte sectors may be, each in any version it had;
* names are on the platter after `sync_dir` of their folder; until then any first part of the folder's changes may be. A rename is one
  change, whole or not at all, also between two folders: a sync of either makes it last;
* nothing else syncs anything: a file whose data was synced may still be without a name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

SECTOR = 512


class Op(NamedTuple):
    """One operation. Paths are relative to the folder; `file` is an inode's number, which stays through renames."""

    kind: str  # mkdir rmdir create rename unlink write truncate allocate sync sync_dir mark lie (a sync that did nothing)
    path: str = ""
    file: int = 0
    at: int = 0  # offset of a write, size of a truncate or an allocate
    data: bytes = b""
    other: str = ""  # the new name
    mark: Any = None  # what the program said about itself here; no operation

    def __str__(self) -> str:
        if self.kind == "write":
            return f"write {self.path} {self.at}+{len(self.data)}"
        return " ".join(filter(None, [self.kind, self.path, self.other and f"-> {self.other}", str(self.at or "")]))


class Image(NamedTuple):
    folders: frozenset[str]
    files: dict[str, bytes]


class Unsynced(NamedTuple):
    """A change of a file's data that no sync followed: the sectors that it touched, as they were after it."""

    number: int  # of the operation, over all files
    file: int
    size: int  # of the file, after it
    sectors: dict[int, bytes]  # by number; the last one of a file may be short
    cuts: bool  # whether it made the file shorter


KeepName = Callable[[int], bool]  # the place among the changes of names that were not synced
KeepSector = Callable[[Unsynced, int], bool]


class PowerFile:
    def __init__(self, content: bytes = b"") -> None:
        self.cache = bytearray(content)
        self.platter = content
        self.unsynced: list[Unsynced] = []

    def left(self, keep: KeepSector) -> bytes:
        if not self.unsynced:
            return self.platter
        left = bytearray(self.platter)
        for change in self.unsynced:
            kept = [sector for sector in change.sectors if keep(change, sector)]
            if change.cuts and (kept or keep(change, -1)):
                del left[change.size :]
            for sector in kept:
                content = change.sectors[sector]
                start = sector * SECTOR
                if len(left) < start + len(content):
                    left.extend(bytes(start + len(content) - len(left)))
                left[start : start + len(content)] = content
        return bytes(left)


class PowerDisk:
    """`start` is a folder that is wholly on the platter."""

    def __init__(self, start: Image | None = None) -> None:
        start = start or Image(frozenset(), {})
        self.files: dict[int, PowerFile] = {}
        self.names: dict[str, int] = {}
        for file, path in enumerate(sorted(start.files), 1):
            self.files[file] = PowerFile(start.files[path])
            self.names[path] = file
        self.folders = set(start.folders)
        self.platter_names = dict(self.names)
        self.platter_folders = set(self.folders)
        self.unsynced_names: list[tuple[int, Op]] = []
        self.count = 0

    def feed(self, op: Op) -> None:
        self.count += 1
        if op.kind in ("write", "truncate", "allocate"):
            self._change(op)
        elif op.kind == "sync":
            file = self.files[op.file]
            file.platter = bytes(file.cache)
            file.unsynced.clear()
        elif op.kind == "sync_dir":
            self._sync_dir(op.path)
        elif op.kind not in ("mark", "lie"):
            if op.kind == "create":
                self.files[op.file] = PowerFile()
            _rename(op, self.names, self.folders)
            self.unsynced_names.append((self.count, op))

    def _change(self, op: Op) -> None:
        file = self.files[op.file]
        size = len(file.cache)
        if op.kind == "write":
            low, high = min(size, op.at), op.at + len(op.data)
            file.cache.extend(bytes(max(0, high - size)))
            file.cache[op.at : high] = op.data
        elif op.kind == "truncate":
            low, high = min(size, op.at), max(size, op.at)
            file.cache.extend(bytes(max(0, op.at - size)))
            del file.cache[op.at :]
        else:
            low, high = size, max(size, op.at)
            file.cache.extend(bytes(high - low))
        end = len(file.cache)
        touched = range(low // SECTOR, -(-min(high, end) // SECTOR))
        sectors = {sector: bytes(file.cache[sector * SECTOR : (sector + 1) * SECTOR]) for sector in touched}
        file.unsynced.append(Unsynced(self.count, op.file, end, sectors, end < size))

    def _sync_dir(self, path: str) -> None:
        later = []
        for number, op in self.unsynced_names:
            if path in folders_of(op):
                _rename(op, self.platter_names, self.platter_folders)
            else:
                later.append((number, op))
        self.unsynced_names = later

    def unsynced(self) -> list[Unsynced]:
        """Over all files that still have a name, or may have, in the order in which they were made."""
        alive = {*self.names.values(), *self.platter_names.values()}
        return sorted((change for file in alive for change in self.files[file].unsynced), key=lambda change: change.number)

    def image(self, keep_name: KeepName, keep_sector: KeepSector) -> Image:
        names, folders = dict(self.platter_names), set(self.platter_folders)
        for place, (_, op) in enumerate(self.unsynced_names):
            if keep_name(place):
                _rename(op, names, folders)
        whole = frozenset(folder for folder in folders if all(above in folders for above in _above(folder)))
        files = {
            path: self.files[file].left(keep_sector)
            for path, file in names.items()
            if (parent := posixpath.dirname(path)) == "" or parent in whole
        }
        return Image(whole, files)

    def cached(self) -> Image:
        """What a program sees that starts without a power cut."""
        return Image(frozenset(self.folders), {path: bytes(self.files[file].cache) for path, file in self.names.items()})


def folders_of(op: Op) -> set[str]:
    return {posixpath.dirname(path) for path in (op.path, op.other) if path}


def _above(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _rename(op: Op, names: dict[str, int], folders: set[str]) -> None:
    if op.kind == "mkdir":
        folders.add(op.path)
    elif op.kind == "rmdir":
        folders.discard(op.path)
    elif op.kind == "create":
        names[op.path] = op.file
    elif op.kind == "unlink":
        names.pop(op.path, None)
    else:
        assert op.kind == "rename", op
        names.pop(op.path, None)
        names[op.other] = op.file
