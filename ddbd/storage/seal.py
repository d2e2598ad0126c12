"""A seal on the WAL: what a checkpoint may have copied into the tables' file must still be in the WAL, or the two are no state at all.

SQLite believes a WAL up to its first bad frame and drops the rest without a word. That is harmless while the rest was never copied: the
Raft log replays it. But once a checkpoint has copied later frames, the file holds their pages beside older ones, and older frames that
are still believed hide newer pages. One flipped bit then gives a mixture of two moments, every page of it with a good checksum.

So before a pass copies anything, the WAL is synced, and its length and checksum are written beside it. At the next start the WAL must
hold that very beginning. A seal is of one run of the WAL: when SQLite begins it anew it writes other salts into the header, after all
of the old run is in the file, and the seal says nothing any more.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from ddbd.errors import Corrupt, StorageFailed
from ddbd.storage.disk import Disk, RealDisk, write_atomically

NAME = "sealed"
HEADER_BYTES = 32  # of the WAL; the frames follow, each with a head of its own before the page
FRAME_HEAD_BYTES = 24
PIECE_BYTES = 4 * 1024 * 1024
_BIG_ENDIAN_SUMS = 0x377F0683
_CRC_BYTES = 4


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    header: bytes
    size: int  # bytes of the WAL
    crc: int  # over them


class WalSeal:
    """`wal` is the WAL's path; the seal stands beside it. Extending one reads only what was added since."""

    def __init__(self, wal: str, disk: Disk | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._disk = disk or RealDisk()
        self._clock = clock
        self._wal = wal
        self._sealed = Sealed(b"", 0, 0)
        self.sync_seconds = 0.0  # what the small file took to be on the disk: two syncs and their like

    def sync(self) -> None:
        """What is in the WAL now goes to the disk, so that sealing it has less to wait for. Raises StorageFailed."""
        try:
            wal = self._disk.open(self._wal)
            try:
                wal.sync()
            finally:
                wal.close()
        except OSError as error:
            raise StorageFailed(f"{self._wal}: cannot be synced: {error}") from error

    def extend(self, count_frames: Callable[[], int]) -> bool:
        """Seals all frames that are there now. False where SQLite just began the WAL anew: nothing is sealed then, try later.

        `count_frames` asks SQLite. Raises StorageFailed.
        """
        try:
            fd = os.open(self._wal, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return self._extend(fd, count_frames)
            finally:
                os.close(fd)
        except OSError as error:
            raise StorageFailed(f"{self._wal}: cannot be sealed for a checkpoint: {error}") from error

    def _extend(self, fd: int, count_frames: Callable[[], int]) -> bool:
        header = os.pread(fd, HEADER_BYTES, 0)
        frames = count_frames()
        if frames == 0:
            return True
        size = HEADER_BYTES + frames * (FRAME_HEAD_BYTES + int.from_bytes(header[8:12], "big"))
        known = self._sealed if self._sealed.header == header else Sealed(header, 0, 0)
        crc = _crc(fd, known.size, size, known.crc)
        # The header is written before any frame of a new run: if it is the same, so were the frames all the time.
        if os.pread(fd, HEADER_BYTES, 0) != header:
            return False
        if size <= known.size:
            return True
        os.fdatasync(fd)
        self._sealed = Sealed(header, size, crc)
        data = msgspec.msgpack.encode(self._sealed)
        folder = str(Path(self._wal).parent)
        began = self._clock()
        write_atomically(self._disk, folder, NAME, zlib.crc32(data).to_bytes(_CRC_BYTES, "little") + data)
        self.sync_seconds = self._clock() - began
        return True


def check_seal(wal: str) -> None:
    """Before SQLite reads the WAL. Raises Corrupt; OSError passes through."""
    path = Path(wal).with_name(NAME)
    if not path.exists() or not os.path.exists(wal):
        return
    sealed = _read(path)
    with open(wal, "rb", buffering=0) as file:
        header = file.read(HEADER_BYTES)
        if header.count(0) == len(header):
            return  # made anew, and the power went before it was begun
        if header != sealed.header and _is_good(header):
            return  # another run
        if header == sealed.header and _crc(file.fileno(), 0, sealed.size, 0) == sealed.crc:
            return
    raise Corrupt(f"{wal}: damaged where a checkpoint had read it, so the tables may mix two moments; restore this node from its peers")


def check_whole(path: str, pages: int, page_bytes: int, frames: int) -> None:
    """Of a file that SQLite takes to have so many pages, and a WAL of which it believes so many frames. Raises Corrupt.

    SQLite reads zeros where the file ends too early, and checks no checksum then. After a power cut in a checkpoint it may end early, but
    each page that it lacks is in the WAL.
    """
    whole = os.path.getsize(path) // page_bytes
    if whole >= pages:
        return
    lacking = set(range(whole + 1, pages + 1))
    if frames:
        with open(f"{path}-wal", "rb") as file:
            for frame in range(frames):
                file.seek(HEADER_BYTES + frame * (FRAME_HEAD_BYTES + page_bytes))
                lacking.discard(int.from_bytes(file.read(4), "big"))
    if lacking:
        raise Corrupt(f"{path}: it ends before page {min(lacking)} of {pages}; the tables are damaged, restore this node from its peers")


def _read(path: Path) -> Sealed:
    content = path.read_bytes()
    data = content[_CRC_BYTES:]
    try:
        if zlib.crc32(data).to_bytes(_CRC_BYTES, "little") == content[:_CRC_BYTES]:
            return msgspec.msgpack.decode(data, type=Sealed)
    except msgspec.DecodeError as error:
        raise Corrupt(f"{path}: {error}; restore this node from its peers") from error
    raise Corrupt(f"{path}: it is damaged; restore this node from its peers")


def _crc(fd: int, start: int, end: int, crc: int) -> int:
    """Continues `crc` over the file's bytes start..end, or as many as there are."""
    while start < end and (piece := os.pread(fd, min(PIECE_BYTES, end - start), start)):
        crc = zlib.crc32(piece, crc)
        start += len(piece)
    return crc


def _is_good(header: bytes) -> bool:
    """By the checksum that SQLite keeps in it (the file format's section 4.1)."""
    if len(header) < HEADER_BYTES:
        return False
    order = ">" if int.from_bytes(header[:4], "big") == _BIG_ENDIAN_SUMS else "<"
    first = second = 0
    for one, two in struct.iter_unpack(f"{order}II", header[:24]):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return struct.pack(">II", first, second) == header[24:]
