"""Checkpoints and snapshots: the long work beside the writes, each on a connection and a thread of its own.

A checkpoint copies the WAL into the file and syncs both. A PASSIVE pass in a thread never catches up with steady writes (measured: the WAL
grew to 2 GB in 8 s), so the thread does most of it and the writer the small rest between two batches. On a slow disk the syncs of that
rest, some five, would hold up the reactor for longer than an election timeout: there the thread does it, and nothing is applied meanwhile.
The durable place is the applied one as read just before that last pass, and only if it finished; where a scan's read transaction kept
frames back, the older place stands. SQLite syncs the WAL before it copies, and the file before it lets the WAL be written anew, so a power
cut in between loses nothing. The WAL is sealed first (see `seal`): what was copied must not be lost from it by a flipped bit either.

A snapshot is SQLite's online backup in one step: one instant, one long C call, writers go on. Its place is read from the copy itself.
Not `VACUUM INTO`, which was tried: cksumvfs learns from a file's first page that the file has checksums, and VACUUM writes that page last.
As soon as the copy is larger than the page cache, the pages before it have none, and the copy cannot be read. (Pages in a WAL have none
either.) So the copy is given a first page before the backup begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import apsw
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ddbd.errors import Corrupt, NoRoom, StorageFailed
from ddbd.raft.types import Membership, SnapshotMeta
from ddbd.storage import SnapshotFile
from ddbd.storage.backend import Progress
from ddbd.storage.ballast import free_bytes
from ddbd.storage.seal import FRAME_HEAD_BYTES, WalSeal
from ddbd.storage.sqlite import as_fatal, connect, fatal
from ddbd.storage.sqlite_backend import read_progress
from ddbd.storage.threads import Threads

REST_FRAMES_MAX = 256  # 1 MiB: what the writer may finish between two batches
SLOW_SECONDS = 0.010  # of a seal; in a thread of a busy node it takes some milliseconds on any disk
PASSES_MAX = 4
DIGEST_BYTES = 32
PIECE_BYTES = 4 * 1024 * 1024


def meta_of(progress: Progress) -> SnapshotMeta:
    return SnapshotMeta(progress.index, progress.term, progress.stamp, progress.membership_value() or Membership(()))


class Checkpoints:
    """`place()` says what is applied now."""

    def __init__(
        self,
        path: str,
        writer: apsw.Connection,
        threads: Threads,
        place: Callable[[], SnapshotMeta],
        seal: WalSeal | None = None,
    ) -> None:
        self._path = path
        self._writer = writer
        self._threads = threads
        self._place = place
        self._seal = seal or WalSeal(f"{path}-wal")
        self._own: apsw.Connection | None = None
        self._waiting: list[Deferred[SnapshotMeta]] | None = None  # None: none under way
        self.durable: SnapshotMeta | None = None  # None: not known yet in this run
        self.file_bytes = _size(path)  # of the tables' file, which only a pass makes longer: nobody has to look at the disk for it
        self.owed = 0  # bytes, when last asked
        self.closed = False
        self.is_ending = False  # in a thread: nothing may be written

    def run(self) -> Deferred[SnapshotMeta]:
        """One at a time: whoever comes while one is under way gets the result of that one."""
        waiter: Deferred[SnapshotMeta] = Deferred()
        if self._waiting is not None:
            self._waiting.append(waiter)
            return waiter
        self._waiting = [waiter]
        Deferred.fromCoroutine(self._work()).addBoth(self._tell)
        return waiter

    def sync_early(self) -> Deferred[None]:
        """See `storage.Tables`."""
        return self._threads.defer(self._seal.sync)

    def _tell(self, result: SnapshotMeta | Failure) -> None:
        waiting, self._waiting = self._waiting or [], None
        for waiter in waiting:
            waiter.callback(result)

    async def _work(self) -> SnapshotMeta:
        for _ in range(PASSES_MAX):
            left = await self._threads.defer(self._in_thread)
            if self.closed or left <= REST_FRAMES_MAX:
                break
        if not self.closed and left <= REST_FRAMES_MAX:
            if self._seal.sync_seconds >= SLOW_SECONDS:
                await self._finish_in_thread()
            else:
                self._finish()
        return self.durable if self.durable is not None else SnapshotMeta(0, 0, 0, Membership(()))

    def _in_thread(self) -> int:
        try:
            if self._own is None:
                self._own = connect(self._path)
            return self._pass(self._own)
        except apsw.BusyError:
            return REST_FRAMES_MAX + 1  # the writer or a reader holds the lock for an instant: not now
        except apsw.Error as error:
            raise as_fatal(self._path, error) from error

    def _finish(self) -> None:
        place = self._place()
        try:
            left = self._pass(self._writer)
        except apsw.BusyError:
            return
        except apsw.Error as error:
            raise as_fatal(self._path, error) from error
        if left == 0:
            self.durable = place

    async def _finish_in_thread(self) -> None:
        place = self._place()
        self.is_ending = True
        try:
            left = await self._threads.defer(self._in_thread)
        finally:
            self.is_ending = False
        if left == 0:
            self.durable = place

    def _pass(self, connection: apsw.Connection) -> int:
        """One PASSIVE pass; how many frames are left to copy. Raises apsw.Error, StorageFailed."""
        if not self._seal.extend(lambda: _count_frames(connection)):
            return REST_FRAMES_MAX + 1
        frames, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        # What the writer added in between was copied too. Counted again, for it may have begun the WAL anew: then `frames` are of another.
        self._seal.extend(lambda: _count_frames(connection))
        self.file_bytes = _size(self._path)
        return frames - copied

    def pending_bytes(self) -> int:
        """Of the frames that are still to be copied. (The WAL's file never gets shorter, so its length tells nothing.) Raises Fatal."""
        return self._asked(self._pending_bytes)

    def _pending_bytes(self) -> int:
        return _pending_frames(self._writer) * (FRAME_HEAD_BYTES + int(self._writer.pragma("page_size")))

    def owed_bytes(self) -> int:
        """What the tables' file will take of the disk when all is copied that is in the WAL now. Raises Fatal."""
        self.owed = self._asked(lambda: _owed_bytes(self._writer, self._path))
        return self.owed

    def _asked(self, question: Callable[[], int]) -> int:
        if self.closed:
            return 0
        try:
            return question()
        except apsw.BusyError:
            return 0
        except apsw.Error as error:
            raise as_fatal(self._path, error) from error

    def close(self, is_sound: bool) -> None:
        """Where all went well, the writer's close (the last one) is let do a last pass, after which there is no WAL any more."""
        self.closed = True
        if self._own is not None:
            self._own.close()
            self._own = None
        if is_sound and self._is_sealed():
            self._writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)

    def _is_sealed(self) -> bool:
        try:
            return self._seal.extend(lambda: _count_frames(self._writer))
        except (apsw.Error, StorageFailed):
            return False  # then the WAL stays, and the next start reads it


def _count_frames(connection: apsw.Connection) -> int:
    """In the WAL now."""
    return connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0]


def _pending_frames(connection: apsw.Connection) -> int:
    """Those that are still to be copied."""
    frames, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    return frames - copied


def _owed_bytes(connection: apsw.Connection, path: str) -> int:
    """By blocks, not by length: a pass that is under way, or that a scan held back, leaves holes.

    Never more than what is still to be copied: on a file system that compresses, a file has fewer blocks than pages for good.
    """
    page_bytes = int(connection.pragma("page_size"))
    lacking = int(connection.pragma("page_count")) * page_bytes - _allocated(path)
    return max(0, min(lacking, _pending_frames(connection) * page_bytes))


def _allocated(path: str) -> int:
    return os.stat(path).st_blocks * 512


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def make_snapshot(source: str, target: str, token: str, reserve_bytes: int = 0) -> SnapshotFile:
    """Blocks for as long as it takes: called in a thread. The file is not synced: after a crash it is made anew.

    Raises NoRoom as `make_copy` does.
    """
    make_copy(source, target, reserve_bytes)
    meta = read_meta(target)
    return SnapshotFile(meta, token, target, os.path.getsize(target), file_digest(target))


def make_copy(source: str, target: str, reserve_bytes: int = 0) -> None:
    """The tables at one instant, in a file that needs no other one beside it. Blocks: called in a thread.

    Raises NoRoom, and leaves nothing behind, where the disk has no room for it above the reserve: that is no reason to stop.
    """
    with fatal(source):
        connection = connect(source)
        try:
            _assert_room(connection, source, target, reserve_bytes)
            _copy(connection, target)
        finally:
            connection.close()


def _assert_room(connection: apsw.Connection, source: str, target: str, reserve_bytes: int) -> None:
    size_bytes = connection.pragma("page_count") * connection.pragma("page_size")
    room = free_bytes(Path(target).parent) - reserve_bytes - _owed_bytes(connection, source)
    if size_bytes > room:
        raise NoRoom(f"{target}: a copy of the tables takes {size_bytes} bytes, {max(0, room)} are free above the reserve; make room")


def _copy(source: apsw.Connection, target: str) -> None:
    try:
        copy = connect(target, create=True, wal=False)
        try:
            copy.execute("CREATE TABLE first_page (unused)")
            with copy.backup("main", source, "main") as backup:
                backup.step(-1)
            copy.pragma("journal_mode", "delete")  # one file that needs no -wal beside it
        finally:
            copy.close()
    except apsw.Error as error:
        Path(target).unlink(missing_ok=True)
        # The source is only read, so what cannot be written is the copy.
        if isinstance(error, apsw.FullError) or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_WRITE:
            raise NoRoom(f"{target}: the copy of the tables cannot be written: {error}; make room") from error
        raise


def read_meta(path: str) -> SnapshotMeta:
    """The place that a copy of the tables stands for. Raises Corrupt."""
    with fatal(path):
        connection = connect(path, readonly=True)
        try:
            return meta_of(read_progress(connection))
        finally:
            connection.close()


def check_copy(path: str, meta: SnapshotMeta) -> None:
    """Reads every page against its checksum and structure. Raises Corrupt when the file is not what `meta` describes."""
    try:
        connection = connect(path, readonly=True)
        try:
            if connection.reserve_bytes() != 8:
                raise Corrupt(f"{path}: the snapshot has no checksums")
            problems = connection.execute("PRAGMA quick_check(1)").fetchall()
            found = meta_of(read_progress(connection))
        finally:
            connection.close()
    except (apsw.Error, StorageFailed) as error:
        raise Corrupt(f"{path}: the snapshot cannot be read: {error}") from error
    if problems != [("ok",)]:
        raise Corrupt(f"{path}: the snapshot is damaged: {' '.join(str(problems[0][0]).split())}")  # SQLite says it in two lines
    if found != meta:
        raise Corrupt(f"{path}: the snapshot is of entry {found.index} of term {found.term}, not {meta.index} of {meta.term}")


def file_digest(path: str) -> bytes:
    """blake2b over the whole file, in pieces long enough to leave the interpreter lock alone."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.digest()
