"""A node's data directory, and the switch from one generation of tables to the next.

    identity.json     who this is: cluster, node, life, with a checksum. Written atomically
    lock              held (flock) while a process uses the directory
    log/              the Raft log; its newest base record names the generation of tables that is in use
    tables-<n>/       one generation: tables.db with its -wal and -shm, and the seal on the -wal. A number is never used twice: a file
                      renamed over a live database beside its old -wal would serve old data
    incoming.db       a snapshot on its way in; outgoing/ snapshots on their way out; both are emptied at open
    ballast           space that is given back when the disk is nearly full, so that the log can go on while rows are deleted

Whatever is refused (another node's directory, a newer format, a directory in use) is refused before anything is changed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from ddbd.config import Limits
from ddbd.errors import ConfigError, Corrupt, StorageFailed
from ddbd.raft.types import Membership, SnapshotMeta
from ddbd.storage import SnapshotFile
from ddbd.storage.ballast import Ballast, free_bytes
from ddbd.storage.disk import Disk, RealDisk, write_atomically
from ddbd.storage.fence import assert_startable
from ddbd.storage.log import DiskLog
from ddbd.storage.maintenance import check_copy
from ddbd.storage.memory import NOBODY, check_together
from ddbd.storage.recovery import nobody_waits
from ddbd.storage.sqlite import sync_file
from ddbd.storage.syncing import Syncer
from ddbd.storage.tables import SqliteTables
from ddbd.storage.threads import threads_for

FORMAT = 2  # of the directory; a node refuses a higher one. 2: one that was recovered
IDENTITY = "identity.json"

_GENERATION = re.compile(r"tables-(\d+)")


class Identity(msgspec.Struct, frozen=True):
    """`life` is empty for a founder; `formed` says that the cluster has begun, so that this directory holds history.

    `logged` is written after the log was begun and before the first vote: from then on a directory without a log has lost it.
    `former` are the ids that the cluster had before a quorum was lost and recovered from: nodes that still use one are turned away.
    """

    format: int
    cluster_id: str
    node_id: str
    life: str = ""
    formed: bool = False
    logged: bool = False
    former: tuple[str, ...] = ()

    @classmethod
    def of(cls, cluster_id: str, node_id: str, life: str, formed: bool, former: tuple[str, ...] = ()) -> Identity:
        """In the lowest format that can say it."""
        return cls(FORMAT if former else 1, cluster_id, node_id, life, formed, False, former)


class _Written(Identity, frozen=True, forbid_unknown_fields=True):
    """The file. A key that was damaged is unknown, so nothing can become its default unseen."""

    checksum: str = ""  # empty in a file of before there was one

    @classmethod
    def sealed(cls, identity: Identity) -> _Written:
        content = msgspec.structs.asdict(identity)
        # A file of before there were these two still fits.
        covered = {name: value for name, value in content.items() if name not in ("logged", "former") or value}
        return cls(**content, checksum=f"{zlib.crc32(msgspec.json.encode(covered)):08x}")

    def to_bytes(self) -> bytes:
        content = msgspec.structs.asdict(self)
        if not self.former:
            del content["former"]  # an older version knows no such key
        return msgspec.json.format(msgspec.json.encode(content)) + b"\n"

    def identity(self) -> Identity:
        return Identity(self.format, self.cluster_id, self.node_id, self.life, self.formed, self.logged, self.former)


def read_identity(path: Path) -> Identity | None:
    """As `load_identity`. Raises ConfigError for a directory that is fenced, or in the middle of a recovery, too."""
    assert_startable(Path(path))
    return load_identity(path)


def load_identity(path: Path) -> Identity | None:
    """None in a directory that is empty or not there. Raises ConfigError for a newer format, Corrupt for what cannot be read, or for a
    log that is gone: an empty one in its place would vote again where it had voted, and forget what it acknowledged.
    """
    file = Path(path) / IDENTITY
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        if _has_history(Path(path)):
            raise Corrupt(f"{file}: missing, though there is a log beside it; restore it, or empty the directory") from None
        return None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        newest = msgspec.json.decode(data, type=Identity)
        if newest.format > FORMAT:
            raise ConfigError(f"{path}: has format {newest.format}, this version reads up to {FORMAT}; start a newer version on it")
        written = msgspec.json.decode(data, type=_Written)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{file}: {error}; restore this node from its peers") from error
    identity = written.identity()
    if written.checksum and written != _Written.sealed(identity):
        raise Corrupt(f"{file}: it does not fit its checksum; restore this node from its peers")
    if identity.logged and not _has_history(Path(path)):
        raise Corrupt(f"{path}/log: the log is missing, and this node has voted with it; empty the whole directory, and it joins anew")
    return identity


def _has_history(path: Path) -> bool:
    log = path / "log"
    return log.is_dir() and any(log.iterdir())


def write_identity(path: Path, identity: Identity, disk: Disk | None = None) -> None:
    """Atomic and on the platter when it returns; makes the directory. Raises StorageFailed."""
    disk = disk or RealDisk()
    try:
        disk.make_dir(str(path))
        write_atomically(disk, str(path), IDENTITY, _Written.sealed(identity).to_bytes())
        disk.sync_dir(str(Path(path).absolute().parent))
    except OSError as error:
        raise StorageFailed(f"{path}: the identity cannot be written: {error}") from error


class DirectoryLock:
    """Held until `release` or the end of the process. Raises ConfigError when another process holds it."""

    def __init__(self, path: Path) -> None:
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
            self._fd = os.open(Path(path) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be used as a data directory: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise ConfigError(f"{path}: another process uses this data directory") from None

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class DiskStore:
    """`storage.Store`."""

    def __init__(
        self,
        path: Path,
        identity: Identity,
        limits: Limits,
        reactor: Any,
        clock: Callable[[], float],
        disk: Disk,
        founders: Membership,
        lock: DirectoryLock,
        progress: Callable[[int], None],
        free: Callable[[Path], int],
    ) -> None:
        self._path = path
        self._identity = identity
        self._limits = limits
        self._reactor = reactor
        self._clock = clock
        self._disk = disk
        self._founders = founders
        self._lock = lock
        self._threads = threads_for(reactor, "install")
        self._checked: tuple[SnapshotMeta, str] | None = None  # the incoming snapshot that was read through and synced
        self._ballast = Ballast(path, limits.disk_reserve_bytes, clock, free)
        self._ballast.low()  # on a full disk the ballast goes first: opening needs a little space, too
        syncer = Syncer(threads_for(reactor, "log-sync"), clock)
        spare = self._ballast.spare_bytes
        self.log = DiskLog(disk, str(path / "log"), limits, founders=founders, syncer=syncer, progress=progress, spare=spare)
        try:
            self._generation = self.log.recovered.generation
            self._clean(self._generation)
            self.tables = self._open_tables(self._generation)
            self._ballast.count(lambda: self.tables.owed_bytes())
        except BaseException:
            self.log.close()
            raise

    def _folder(self, generation: int) -> Path:
        return self._path / f"tables-{generation}"

    def _clean(self, generation: int) -> None:
        """Removes what no log names: stale generations, halves of snapshots."""
        for item in self._path.iterdir():
            match = _GENERATION.fullmatch(item.name)
            if (match and int(match[1]) != generation) or item.name == "outgoing":
                shutil.rmtree(item)
            elif item.name.startswith("incoming."):
                item.unlink()
        (self._path / "outgoing").mkdir()
        self._disk.sync_dir(str(self._path))

    def _open_tables(self, generation: int) -> SqliteTables:
        folder = self._folder(generation)
        recovered = self.log.recovered
        if not (folder / "tables.db").exists() and recovered.base.index > 0:
            raise Corrupt(f"{folder}: the tables are missing, and the log begins only at {recovered.base.index + 1}")
        folder.mkdir(exist_ok=True)
        tables = self._tables_at(folder)
        self._disk.sync_dir(str(folder))
        self._disk.sync_dir(str(self._path))
        try:
            check_together(recovered, tables.applied_index)
            at = tables.applied_index
            log_term = recovered.base.term if at == recovered.base.index else self.log.read(at, at + 1, 0)[0].term
            if log_term != tables.applied_term:
                raise Corrupt(f"{folder}: entry {at} has term {tables.applied_term} in the tables and {log_term} in the log")
        except BaseException:
            tables.close()
            raise
        return tables

    def _tables_at(self, folder: Path) -> SqliteTables:
        return SqliteTables(
            str(folder / "tables.db"),
            str(self._path / "outgoing"),
            self._limits,
            self._clock,
            lambda name: threads_for(self._reactor, name),
            self._founders if self._founders.nodes else None,
        )

    def incoming(self) -> str:
        self._checked = None
        path = self._path / "incoming.db"
        path.unlink(missing_ok=True)
        return str(path)

    def check_incoming(self, meta: SnapshotMeta, path: str) -> Deferred[None]:
        """See `storage.Store`. The file is synced as well."""
        return self._threads.defer(lambda: _check_and_sync(path, meta)).addCallback(lambda _: self._note_checked(meta, path))

    def _note_checked(self, meta: SnapshotMeta, path: str) -> None:
        self._checked = (meta, path)

    def install(self, meta: SnapshotMeta, path: str) -> None:
        """See `storage.Store`. The caller checked the bytes against the digest on their way in; here, or before, every page is read."""
        if self._checked != (meta, path):
            _check_and_sync(path, meta)
        self._checked = None
        generation = self._next_generation()
        folder = self._folder(generation)
        try:
            folder.mkdir()
            self._disk.rename(path, str(folder / "tables.db"))
            self._disk.sync_dir(str(folder))
            self._disk.sync_dir(str(self._path))
        except OSError as error:
            raise StorageFailed(f"{folder}: the snapshot cannot be installed: {error}") from error
        fresh = self._tables_at(folder)
        self.log.install(meta, generation)
        self._generation = generation
        stale, self.tables = self.tables, fresh
        stale.close(for_good=True)
        for item in self._path.iterdir():
            match = _GENERATION.fullmatch(item.name)
            if match and int(match[1]) != generation:
                shutil.rmtree(item)

    def _next_generation(self) -> int:
        numbers = [int(match[1]) for match in map(_GENERATION.fullmatch, os.listdir(self._path)) if match]
        return max([*numbers, self._generation]) + 1

    def remove_snapshot(self, snapshot: SnapshotFile) -> None:
        Path(snapshot.path).unlink(missing_ok=True)

    def _suspect(self) -> Path:
        """Beside the tables that it speaks of, so that it goes with them."""
        return self._folder(self._generation) / "suspect"

    def mark_suspect(self) -> None:
        try:
            self._suspect().touch()
            self._disk.sync_dir(str(self._suspect().parent))
        except OSError as error:
            raise StorageFailed(f"{self._suspect()}: cannot be written: {error}") from error

    def is_suspect(self) -> bool:
        return self._suspect().exists()

    def disk_low(self) -> bool:
        return self._ballast.low()

    def life(self) -> str:
        return self._identity.life

    def cluster_id(self) -> str:
        return self._identity.cluster_id

    def close(self) -> None:
        self._threads.close()
        self.tables.close()
        self.log.close()
        self._lock.release()


def _write_logged(store: DiskStore, path: Path, identity: Identity, disk: Disk) -> None:
    try:
        write_identity(path, replace(identity, logged=True), disk)
    except BaseException:
        store.close()
        raise


def _check_and_sync(path: str, meta: SnapshotMeta) -> None:
    check_copy(path, meta)
    sync_file(path)


def open_store(
    data_dir: Path,
    identity: Identity,
    limits: Limits,
    reactor: Any = None,
    clock: Callable[[], float] = time.monotonic,
    *,
    founders: Membership = NOBODY,
    disk: Disk | None = None,
    lock: DirectoryLock | None = None,
    progress: Callable[[int], None] = nobody_waits,
    free: Callable[[Path], int] = free_bytes,
) -> DiskStore:
    """Opens or begins the data directory of `identity`.

    `founders` is the membership before the first entry: who forms the cluster, or nobody for a node that joins one. Without a reactor
    no thread is started and everything is done at once. A `lock` that is given is taken over. `progress` is told, again and
    again, how many bytes of the log were read; `free` says how many are free on the disk. Raises ConfigError (nothing was touched),
    Corrupt, StorageFailed.
    """
    path = Path(data_dir)
    there = read_identity(path)
    if there is not None and (there.cluster_id, there.node_id, there.life) != (identity.cluster_id, identity.node_id, identity.life):
        raise ConfigError(
            f"{path}: belongs to node {there.node_id} of cluster {there.cluster_id}"
            f"{' in life ' + there.life if there.life else ''}, not to node {identity.node_id} of cluster {identity.cluster_id}"
        )
    held = lock or DirectoryLock(path)
    disk = disk or RealDisk()
    try:
        logged = there is not None and there.logged
        if there is None or there.formed != identity.formed:
            write_identity(path, replace(identity, logged=logged), disk)
        store = DiskStore(path, identity, limits, reactor, clock, disk, founders, held, progress, free)
        if not logged:
            _write_logged(store, path, identity, disk)
        return store
    except OSError as error:
        held.release()
        raise StorageFailed(f"{path}: {error}") from error
    except BaseException:
        held.release()
        raise
