"""The data directory: who may open it, how a snapshot becomes the tables, and what a power cut in between leaves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from storage_kit import FOUNDERS, SMALL, Client, fired, rows

from ddbd.commands import Insert
from ddbd.config import Limits
from ddbd.errors import ConfigError, Corrupt, StorageFailed
from ddbd.raft.types import Entry, HardState, Membership
from ddbd.storage import Query
from ddbd.storage.ballast import Ballast
from ddbd.storage.directory import DirectoryLock, DiskStore, Identity, open_store, read_identity, write_identity
from ddbd.storage.disk import RealDisk, RealFile
from ddbd.storage.memory import memory_store

ME = Identity(1, "cluster", "1", "", True)


def opened(path: Path, limits: Limits = SMALL, **more: Any) -> DiskStore:
    return open_store(path, ME, limits, founders=FOUNDERS, **more)


def filled(store: Any, count: int = 30) -> Client:
    """Rows in the tables, the same entries in the log."""
    client = Client(store.tables).start()
    client.do(Insert(None, "t", tuple((f"{n:03}", {"name": "n" * 20}) for n in range(count)), single=False))
    fired(store.log.save(HardState(1, "1", client.index), client.log))
    return client


def names(store: Any) -> list[str]:
    return [row[0] for row in rows(store.tables.scan(Query(None, "t")))]


def test_identity_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_identity(tmp_path / "none") is None
    assert read_identity(tmp_path) is None
    write_identity(tmp_path / "new", ME)
    assert read_identity(tmp_path / "new") == ME
    assert sorted(os.listdir(tmp_path / "new")) == ["identity.json"]


def test_identity_that_is_missing_beside_a_log_is_corrupt(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "identity.json").unlink()
    with pytest.raises(Corrupt, match="identity"):
        read_identity(tmp_path)


def test_log_that_is_missing_beside_the_identity_that_knew_it_is_corrupt(tmp_path: Path) -> None:
    opened(tmp_path).close()
    for item in [tmp_path / "log", *tmp_path.glob("tables-*")]:
        shutil.rmtree(item)
    with pytest.raises(Corrupt, match="the log is missing"):
        opened(tmp_path)


def test_power_that_goes_between_the_identity_and_the_first_log_leaves_a_young_node(tmp_path: Path) -> None:
    write_identity(tmp_path, ME)
    opened(tmp_path).close()
    assert read_identity(tmp_path) == replace(ME, logged=True)


def test_identity_of_before_it_knew_of_its_log_is_taken_with_it(tmp_path: Path) -> None:
    opened(tmp_path).close()
    write_identity(tmp_path, ME)  # covers the same bytes as then
    text = (tmp_path / "identity.json").read_text()
    (tmp_path / "identity.json").write_text(text.replace('  "logged": false,\n', ""))
    opened(tmp_path).close()
    assert read_identity(tmp_path) == replace(ME, logged=True)


@pytest.mark.parametrize("other", [Identity(1, "cluster", "2"), Identity(1, "elsewhere", "1"), Identity(1, "cluster", "1", "second")])
def test_directory_of_another_node_cluster_or_life_is_refused_untouched(tmp_path: Path, other: Identity) -> None:
    opened(tmp_path).close()
    before = {item: item.stat().st_mtime_ns for item in tmp_path.rglob("*")}
    with pytest.raises(ConfigError, match="belongs to node 1 of cluster cluster"):
        open_store(tmp_path, other, SMALL)
    assert {item: item.stat().st_mtime_ns for item in tmp_path.rglob("*")} == before


def test_newer_format_is_refused(tmp_path: Path) -> None:
    write_identity(tmp_path, Identity(3, "cluster", "1"))
    with pytest.raises(ConfigError, match="format 3"):
        opened(tmp_path)


def test_directory_in_use_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with pytest.raises(ConfigError, match="another process"):
        opened(tmp_path)
    store.close()
    lock = DirectoryLock(tmp_path)
    opened(tmp_path, lock=lock).close()
    DirectoryLock(tmp_path).release()


def test_store_goes_on_after_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path)
    client = filled(store)
    state_hash = store.tables.state_hash(client.index)
    store.close()
    store = opened(tmp_path)
    assert store.tables.applied_index == client.index == store.log.last_index
    assert store.tables.state_hash(client.index) == state_hash
    assert (store.tables.default_database, store.tables.registered("1")) == ("d", (1, 7))
    assert store.tables.open_sequences("1") == (1, 0, [(2, 4)])
    assert store.tables.table(None, "T").row_count == 30
    store.close()


def test_tables_and_log_that_do_not_belong_together_are_corrupt(tmp_path: Path) -> None:
    store = opened(tmp_path)
    filled(store)
    store.close()
    shutil.rmtree(tmp_path / "log")
    write_identity(tmp_path, ME)
    with pytest.raises(Corrupt, match="do not belong together"):
        opened(tmp_path)


def test_tables_of_another_term_than_the_log_are_corrupt(tmp_path: Path) -> None:
    store = opened(tmp_path)
    client = Client(store.tables).start()
    fired(store.log.save(None, [Entry(e.index, 2, e.stamp, e.kind, e.data) for e in client.log]))
    store.close()
    with pytest.raises(Corrupt, match="term 1 in the tables and 2 in the log"):
        opened(tmp_path)


def test_tables_behind_the_log_are_replayed_to_the_same_hash(tmp_path: Path) -> None:
    store = opened(tmp_path)
    client = filled(store)
    state_hash = store.tables.state_hash(client.index)
    store.close()
    shutil.rmtree(tmp_path / "tables-0")
    store = opened(tmp_path)
    assert store.tables.applied_index == 0
    store.tables.apply(store.log.read(1, client.index + 1, 1 << 30))
    assert store.tables.state_hash(client.index) == state_hash
    store.close()


def install_into(path: Path, source: Any) -> DiskStore:
    snapshot = fired(source.tables.snapshot())
    store = open_store(path, Identity(1, "cluster", "2", "life", True), SMALL)
    incoming = store.incoming()
    shutil.copyfile(snapshot.path, incoming)
    fired(store.check_incoming(snapshot.meta, incoming))
    store.install(snapshot.meta, incoming)
    source.remove_snapshot(snapshot)
    return store


def test_installed_snapshot_is_the_tables_now_and_after_a_restart(tmp_path: Path) -> None:
    source = opened(tmp_path / "a")
    client = filled(source)
    store = install_into(tmp_path / "b", source)
    for _ in range(2):
        assert names(store) == names(source)
        assert store.tables.state_hash(client.index) == source.tables.state_hash(client.index)
        assert store.tables.membership == FOUNDERS
        assert store.log.base.index == store.tables.applied_index == client.index
        assert [item for item in os.listdir(tmp_path / "b") if item.startswith("tables-")] == ["tables-1"]
        store.close()
        store = open_store(tmp_path / "b", Identity(1, "cluster", "2", "life", True), SMALL)
    assert store.life() == "life"
    store.close()
    source.close()


def test_snapshot_that_is_damaged_or_of_another_place_changes_nothing(tmp_path: Path) -> None:
    source = opened(tmp_path / "a")
    client = filled(source)
    snapshot = fired(source.tables.snapshot())
    good = Path(snapshot.path).read_bytes()
    store = opened(tmp_path / "b")
    for damage in (good[:-4096], good[:9_000] + bytes([good[9_000] ^ 1]) + good[9_001:], b"", b"x" * 9_000):
        incoming = store.incoming()
        Path(incoming).write_bytes(damage)
        with pytest.raises(Corrupt):
            store.install(snapshot.meta, incoming)
    incoming = store.incoming()
    Path(incoming).write_bytes(good)
    with pytest.raises(Corrupt, match=f"entry {client.index}"):
        store.install(snapshot.meta._replace(index=client.index + 1), incoming)
    assert (store.tables.applied_index, store.log.last_index) == (0, 0)
    store.install(snapshot.meta, incoming)
    assert store.tables.applied_index == client.index
    store.close()
    source.close()


class StoppingDisk(RealDisk):
    """The real disk, until an operation that is one too many: as if the process was killed there."""

    def __init__(self, operations: int) -> None:
        self.left = operations

    def _step(self) -> None:
        if self.left == 0:
            raise KilledError
        self.left -= 1

    def create(self, path: str) -> RealFile:
        self._step()
        return super().create(path)

    def rename(self, old: str, new: str) -> None:
        self._step()
        super().rename(old, new)

    def unlink(self, path: str) -> None:
        self._step()
        super().unlink(path)

    def sync_dir(self, path: str) -> None:
        self._step()
        super().sync_dir(path)


class KilledError(Exception):
    pass


def test_node_killed_anywhere_in_an_install_has_the_old_tables_or_the_new_ones(tmp_path: Path) -> None:
    source = opened(tmp_path / "a")
    client = filled(source)
    snapshot = fired(source.tables.snapshot())
    seen = set()
    for operations in range(2, 12):
        path = tmp_path / f"b{operations}"
        disk = StoppingDisk(100)
        store = opened(path, disk=disk)
        incoming = store.incoming()
        shutil.copyfile(snapshot.path, incoming)
        disk.left = operations - 2
        try:
            store.install(snapshot.meta, incoming)
        except KilledError:
            pass
        else:
            seen.add("whole")
        store.close()
        again = opened(path)
        assert again.tables.applied_index in (0, client.index)
        assert again.tables.applied_index == again.log.base.index
        seen.add(again.tables.applied_index)
        assert len([item for item in os.listdir(path) if item.startswith("tables-")]) == 1
        assert not (path / "incoming.db").exists()
        again.close()
    assert seen == {0, client.index, "whole"}
    source.close()


def test_suspect_tables_stay_suspect_over_a_restart_until_others_are_installed(tmp_path: Path) -> None:
    source = opened(tmp_path / "a")
    filled(source)
    store = install_into(tmp_path / "b", source)
    assert not store.is_suspect()
    store.mark_suspect()
    store.close()
    store = install_into(tmp_path / "b", source)
    assert not store.is_suspect()
    store.mark_suspect()
    assert store.is_suspect()
    store.close()
    source.close()


def test_memory_store_installs_and_crashes_like_the_disk() -> None:
    source = memory_store(SMALL, founders=FOUNDERS)
    client = filled(source)
    snapshot = fired(source.tables.snapshot())
    store = memory_store(SMALL, founders=Membership(()))
    store.files[store.incoming()] = source.files[snapshot.path]
    fired(store.check_incoming(snapshot.meta, "incoming.db"))
    store.install(snapshot.meta, "incoming.db")
    for left in (store, store.crash()):
        assert left.tables.state_hash(client.index) == source.tables.state_hash(client.index)
        assert names(left) == names(source)
    crashed = source.crash()
    assert crashed.tables.applied_index == 0, "no checkpoint was made"
    crashed.tables.apply(crashed.log.read(1, client.index + 1, 1 << 30))
    assert crashed.tables.state_hash(client.index) == source.tables.state_hash(client.index)


def test_ballast_is_given_back_before_anything_is_opened_on_a_full_disk(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "ballast").write_bytes(b"\0" * 100)
    shutil.rmtree(tmp_path / "log")
    write_identity(tmp_path, ME)
    (tmp_path / "log").write_text("no folder")  # so that the opening fails at the log
    limits = replace(SMALL, disk_reserve_bytes=1 << 60)
    with pytest.raises(StorageFailed):
        open_store(tmp_path, ME, limits, founders=FOUNDERS)
    assert not (tmp_path / "ballast").exists()


def test_ballast_is_given_back_when_the_disk_is_nearly_full(tmp_path: Path) -> None:
    free, now = [1_000_000], [0.0]
    ballast = Ballast(tmp_path, 100_000, lambda: now[0], lambda path: free[0])

    def low(bytes_free: int) -> bool:
        free[0], now[0] = bytes_free, now[0] + 1
        return ballast.low()

    assert not low(1_000_000)
    assert (tmp_path / "ballast").stat().st_size == 25_000
    assert low(99_999)
    assert (tmp_path / "ballast").exists()
    assert low(49_999)
    assert not (tmp_path / "ballast").exists()
    assert low(124_999), "what the ballast gave back is not for rows"
    assert not low(125_000)
    assert not low(400_001)
    assert (tmp_path / "ballast").exists()


def test_free_space_that_is_owed_to_the_tables_is_not_free(tmp_path: Path) -> None:
    free, now = [1_000_000], [0.0]
    ballast = Ballast(tmp_path, 100_000, lambda: now[0], lambda path: free[0])
    assert not ballast.low()
    assert ballast.spare_bytes() == 900_000

    def low(owed_bytes: int) -> bool:
        ballast.count(lambda: owed_bytes)
        return ballast.low()

    assert not low(900_000)
    assert low(900_001)
    assert ballast.spare_bytes() == -1
    assert (tmp_path / "ballast").exists()
    assert low(950_001)
    assert not (tmp_path / "ballast").exists(), "a checkpoint needs it now"


@pytest.mark.parametrize(("free_bytes", "segment_bytes"), [(1 << 40, 8 << 20), ((6 << 20) + 1024, 6 << 20), (0, 4 << 20)])
def test_segments_of_the_log_are_as_long_as_the_disk_has_to_spare(tmp_path: Path, free_bytes: int, segment_bytes: int) -> None:
    limits = replace(SMALL, segment_bytes=8 << 20, disk_reserve_bytes=1024)
    store = opened(tmp_path, limits=limits, free=lambda path: free_bytes)
    assert store.log.counters()["segment_bytes"] == segment_bytes
    store.close()


def test_what_is_owed_is_owed_to_the_tables_that_were_installed(tmp_path: Path) -> None:
    for name in ("source", "new"):
        (tmp_path / name).mkdir()
    source = opened(tmp_path / "source")
    client = filled(source)
    snapshot = fired(source.tables.snapshot())
    reserve = 1_000_000
    now = [0.0]
    store = opened(
        tmp_path / "new", limits=replace(SMALL, disk_reserve_bytes=reserve), clock=lambda: now[0], free=lambda path: reserve + 500_000
    )
    incoming = store.incoming()
    shutil.copy(snapshot.path, incoming)
    store.install(snapshot.meta, incoming)
    assert not store.disk_low()
    behind = Client(store.tables)
    behind.boot, behind.seq, behind.floor = client.boot, client.seq, client.floor
    behind.do(Insert(None, "t", tuple((f"more{n:03}", {"name": "n" * 2_000}) for n in range(500)), single=False))
    now[0] += 1
    assert store.tables.owed_bytes() > 500_000
    assert store.disk_low()
    for each in (source, store):
        each.close()


def test_node_that_refuses_rows_has_room_on_its_disk_for_all_that_it_took(tmp_path: Path) -> None:
    """A disk of 40 MB, of which the directory takes what it really takes."""
    disk_bytes, reserve = 40_000_000, 4_000_000
    limits = replace(SMALL, segment_bytes=1 << 20, disk_reserve_bytes=reserve)

    def taken() -> int:
        return sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*") if path.is_file())

    now = [0.0]
    store = opened(tmp_path, limits=limits, clock=lambda: now[0], free=lambda path: disk_bytes - taken())
    client = Client(store.tables).start()
    while not store.disk_low():
        now[0] += 1
        for number in range(25):
            client.insert(f"{client.index}-{number}", {"name": "x" * 1_000})
        fired(store.log.save(None, client.log[store.log.last_index :]))
    assert store.tables.owed_bytes() > reserve, "else the test shows nothing"
    fired(store.tables.checkpoint())
    assert store.tables.owed_bytes() == 0
    assert taken() < disk_bytes - reserve // 2
    store.close()
