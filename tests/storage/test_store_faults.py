"""A data directory that cannot be used, and a disk that fails while it is: each is one clear error, and nothing is half done."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from storage_kit import FOUNDERS, SMALL, fired
from test_store import ME, filled, names, opened

from ddbd.errors import ConfigError, Corrupt, StorageFailed
from ddbd.raft.types import HardState
from ddbd.storage.ballast import CHECK_SECONDS, Ballast
from ddbd.storage.directory import DirectoryLock, DiskStore, open_store, read_identity, write_identity
from ddbd.storage.disk import RealDisk, RealFile
from ddbd.storage.memory import memory_store
from ddbd.storage.sqlite import sync_file


@contextlib.contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Stands for a disk that is full: what goes beyond is cut off, and then refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class FailingDisk(RealDisk):
    """The real disk; the next operation of the kind in `fail` raises OSError."""

    fail = ""

    def _may_fail(self, kind: str) -> None:
        if self.fail == kind:
            self.fail = ""
            raise OSError(5, "Input/output error")

    def create(self, path: str) -> RealFile:
        self._may_fail("create")
        return super().create(path)

    def rename(self, old: str, new: str) -> None:
        self._may_fail("rename")
        super().rename(old, new)

    def sync_dir(self, path: str) -> None:
        self._may_fail("sync_dir")
        super().sync_dir(path)


# The identity and the lock.


def test_identity_that_the_system_does_not_let_read_is_a_mistake_of_the_operator(tmp_path: Path) -> None:
    (tmp_path / "identity.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_identity(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 1}', b"\xff\xfe", b"[]", b"null"])
def test_identity_that_is_none_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "identity.json").write_bytes(content)
    with pytest.raises(Corrupt, match="restore this node from its peers"):
        read_identity(tmp_path)


def test_identity_with_another_letter_does_not_fit_its_checksum(tmp_path: Path) -> None:
    write_identity(tmp_path, ME)
    file = tmp_path / "identity.json"
    file.write_bytes(file.read_bytes().replace(b"cluster", b"clusteR", 2).replace(b"clusteR_id", b"cluster_id"))
    with pytest.raises(Corrupt, match="does not fit its checksum"):
        read_identity(tmp_path)


def test_identity_that_cannot_be_written_is_storage_failed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageFailed, match="cannot be written"):
        write_identity(tmp_path / "file" / "data", ME)


@pytest.mark.parametrize("kind", ["create", "rename", "sync_dir"])
def test_identity_is_whole_or_not_there_when_the_disk_fails(tmp_path: Path, kind: str) -> None:
    disk = FailingDisk()
    disk.fail = kind
    with pytest.raises(StorageFailed, match="cannot be written"):
        open_store(tmp_path, ME, SMALL, founders=FOUNDERS, disk=disk)
    assert read_identity(tmp_path) in (None, ME)
    opened(tmp_path).close()


class RefusesSecondIdentity(RealDisk):
    """The identity is written before the log is made, and once more when it is there."""

    written = 0

    def rename(self, old: str, new: str) -> None:
        self.written += new.endswith("identity.json")
        if self.written == 2:
            raise OSError(5, "Input/output error")
        super().rename(old, new)


def test_a_store_whose_log_cannot_be_noted_is_closed_and_may_be_opened_again(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="cannot be written"):
        open_store(tmp_path, ME, SMALL, founders=FOUNDERS, disk=RefusesSecondIdentity())
    opened(tmp_path).close()  # its lock is free


def test_folder_that_cannot_be_made_is_a_mistake_of_the_operator(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match="cannot be used as a data directory"):
        DirectoryLock(tmp_path / "file" / "data")


def test_lock_released_twice_does_not_release_anothers(tmp_path: Path) -> None:
    first = DirectoryLock(tmp_path)
    first.release()
    second = DirectoryLock(tmp_path)
    first.release()
    with pytest.raises(ConfigError, match="another process"):
        DirectoryLock(tmp_path)
    second.release()


# Opening.


def test_opening_that_fails_releases_the_lock(tmp_path: Path) -> None:
    opened(tmp_path).close()
    shutil.rmtree(tmp_path / "outgoing")
    (tmp_path / "outgoing").write_text("no folder")
    with pytest.raises(StorageFailed, match="Not a directory"):
        opened(tmp_path)
    (tmp_path / "outgoing").unlink()
    opened(tmp_path).close()


def test_half_a_snapshot_is_removed_when_the_store_opens(tmp_path: Path) -> None:
    store = opened(tmp_path)
    incoming = Path(store.incoming())
    incoming.write_bytes(b"half")
    Path(f"{incoming}-journal").write_bytes(b"half")
    store.close()
    opened(tmp_path).close()
    assert not [item for item in os.listdir(tmp_path) if item.startswith("incoming")]


def test_tables_that_are_missing_behind_a_compacted_log_are_corrupt(tmp_path: Path) -> None:
    store = opened(tmp_path)
    client = filled(store)
    store.log.install(store.tables._machine.place(), 0)
    store.close()
    shutil.rmtree(tmp_path / "tables-0")
    with pytest.raises(Corrupt, match=f"the log begins only at {client.index + 1}"):
        opened(tmp_path)


# A running store.


def prepared(path: Path, disk: FailingDisk) -> tuple[DiskStore, DiskStore, str]:
    """A source, a store, and the source's snapshot, checked, on its way into the store."""
    source = opened(path / "a")
    filled(source)
    snapshot = fired(source.tables.snapshot())
    store = opened(path / "b", disk=disk)
    incoming = store.incoming()
    shutil.copyfile(snapshot.path, incoming)
    fired(store.check_incoming(snapshot.meta, incoming))
    return source, store, incoming


@pytest.mark.parametrize("kind", ["rename", "sync_dir", "create"])
def test_install_that_the_disk_refuses_leaves_the_old_tables(tmp_path: Path, kind: str) -> None:
    disk = FailingDisk()
    source, store, incoming = prepared(tmp_path, disk)
    disk.fail = kind
    with pytest.raises(StorageFailed):
        store.install(source.tables._machine.place(), incoming)
    assert store.tables.applied_index == 0
    store.close()
    store = opened(tmp_path / "b")
    assert (store.tables.applied_index, store.log.base.index) == (0, 0)
    assert [item for item in os.listdir(tmp_path / "b") if item.startswith("tables-")] == ["tables-0"]
    store.close()
    source.close()


def test_install_of_a_file_that_vanished_is_storage_failed(tmp_path: Path) -> None:
    source, store, incoming = prepared(tmp_path, FailingDisk())
    Path(incoming).unlink()
    with pytest.raises(StorageFailed, match="the snapshot cannot be installed"):
        store.install(source.tables._machine.place(), incoming)
    store.close()
    source.close()


def test_suspicion_that_cannot_be_remembered_is_storage_failed(tmp_path: Path) -> None:
    disk = FailingDisk()
    store = opened(tmp_path, disk=disk)
    disk.fail = "sync_dir"
    with pytest.raises(StorageFailed, match="suspect: cannot be written"):
        store.mark_suspect()
    store.close()


def test_store_on_a_disk_below_its_reserve_is_low(tmp_path: Path) -> None:
    store = opened(tmp_path / "plenty")
    assert not store.disk_low()
    store.close()
    tight = open_store(tmp_path / "tight", ME, replace(SMALL, disk_reserve_bytes=1 << 60), founders=FOUNDERS)
    assert tight.disk_low()
    fired(tight.log.save(HardState(1, "1", 0), []))
    tight.close()


def test_twin_in_memory_refuses_a_snapshot_of_another_place_and_changes_nothing() -> None:
    source = memory_store(SMALL, founders=FOUNDERS)
    filled(source)
    snapshot = fired(source.tables.snapshot())
    store = memory_store(SMALL, founders=FOUNDERS)
    incoming = store.incoming()
    store.files[incoming] = source.files[snapshot.path]
    other = snapshot.meta._replace(index=snapshot.meta.index + 1)
    with pytest.raises(Corrupt, match=f"not of entry {other.index}"):
        fired(store.check_incoming(other, incoming))
    with pytest.raises(Corrupt):
        store.install(other, incoming)
    assert store.tables.applied_index == 0
    store.install(snapshot.meta, incoming)
    assert names(store) == names(source)
    for left in (source, store):
        left.close()


# The ballast and the files.


def test_free_space_is_looked_at_a_few_times_a_second_at_most(tmp_path: Path) -> None:
    now, looks = [0.0], []

    def look(path: Path) -> int:
        looks.append(path)
        return 0

    ballast = Ballast(tmp_path, 100_000, lambda: now[0], look)
    for at in (0.0, CHECK_SECONDS / 2, CHECK_SECONDS * 0.99, CHECK_SECONDS, CHECK_SECONDS * 1.5, CHECK_SECONDS * 2):
        now[0] = at
        assert ballast.low()
    assert len(looks) == 3


def test_ballast_that_the_disk_has_no_room_for_is_left_out(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path, 1 << 20, lambda: 0.0, lambda path: 1 << 60)
    with files_of_at_most(1_000):
        assert not ballast.low()
    assert os.listdir(tmp_path) == []


def test_write_that_the_disk_takes_in_part_fails(tmp_path: Path) -> None:
    file = RealDisk().create(str(tmp_path / "file"))
    with files_of_at_most(1_000), pytest.raises(OSError, match="File too large"):
        file.write(0, b"x" * 2_000)
    assert file.read(0, 5_000) == b"x" * 1_000
    file.write(0, b"y" * 2_000)
    assert file.read(1_990, 5_000) == b"y" * 10
    file.close()


def test_file_closed_twice_does_not_close_anothers_descriptor(tmp_path: Path) -> None:
    disk = RealDisk()
    first = disk.create(str(tmp_path / "first"))
    first.close()
    second = disk.create(str(tmp_path / "second"))
    first.close()
    second.write(0, b"still open")
    assert second.read(0, 100) == b"still open"
    second.close()


def test_file_that_cannot_be_synced_is_storage_failed(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="fsync failed"):
        sync_file(str(tmp_path / "none"))
