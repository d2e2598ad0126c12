"""The seal on the WAL: begun anew under a checkpoint and behind it, cut short, damaged, on a disk that refuses."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from storage_kit import Client, fired
from test_tables_disk import load, opened
from twisted.python.failure import Failure

from ddbd.errors import Corrupt, StorageFailed
from ddbd.storage.disk import RealDisk, RealFile
from ddbd.storage.maintenance import Checkpoints
from ddbd.storage.seal import NAME, WalSeal, check_seal
from ddbd.storage.sqlite import connect
from ddbd.storage.tables import SqliteTables
from ddbd.storage.threads import InlineThreads


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[SqliteTables]:
    made = opened(tmp_path)
    yield made
    made.close()


class BegunAnew(WalSeal):
    """The writer begins the WAL anew just when the seal's header was read, once."""

    def __init__(self, wal: str, write: Callable[[], object]) -> None:
        super().__init__(wal)
        self._write = [write]
        self.sealed: list[bool] = []

    def extend(self, count_frames: Callable[[], int]) -> bool:
        def count() -> int:
            if self._write:
                self._write.pop()()
            return count_frames()

        self.sealed.append(super().extend(count))
        return self.sealed[-1]


def test_wal_begun_anew_under_a_checkpoint_is_not_copied_before_it_is_sealed(tables: SqliteTables) -> None:
    client = Client(tables).start()
    fired(tables.checkpoint())
    writer = connect(tables.path)
    seal = BegunAnew(f"{tables.path}-wal", lambda: client.insert("1", {}))
    checkpoints = Checkpoints(tables.path, writer, InlineThreads(), tables._machine.place, seal)
    assert fired(checkpoints.run()).index == client.index
    assert seal.sealed[:2] == [False, True]
    check_seal(f"{tables.path}-wal")
    checkpoints.close(is_sound=False)
    writer.close()


def test_wal_begun_anew_is_not_taken_for_the_longer_one_that_was_sealed_before_it(tables: SqliteTables) -> None:
    client = Client(tables).start()
    load(client, 2_000)
    writer = connect(tables.path)
    seal = BegunAnew(f"{tables.path}-wal", lambda: client.insert("1", {}))
    begin_anew, seal._write = seal._write, []
    checkpoints = Checkpoints(tables.path, writer, InlineThreads(), tables._machine.place, seal)
    assert fired(checkpoints.run()).index == client.index
    seal._write = begin_anew
    seal.sealed.clear()
    assert fired(checkpoints.run()).index == client.index
    assert seal.sealed[:2] == [False, True], "frames of the new run were copied before they were sealed"
    checkpoints.close(is_sound=False)
    writer.close()


class BegunAnewBehind:
    """A connection; just when a pass of it has copied everything, the writer begins the WAL anew."""

    def __init__(self, connection: apsw.Connection, write: Callable[[], object]) -> None:
        self._connection = connection
        self._write = [write]

    def wal_checkpoint(self, mode: int) -> tuple[int, int]:
        told = self._connection.wal_checkpoint(mode=mode)
        if mode == apsw.SQLITE_CHECKPOINT_PASSIVE and self._write:
            self._write.pop()()
        return told


def test_wal_begun_anew_behind_a_checkpoint_is_not_sealed_as_what_was_before_it(tables: SqliteTables) -> None:
    """Frames of two runs under the header of the later one would pass for damage at the next start (nemesis: seed 3)."""
    client = Client(tables).start()
    load(client, 2_000)
    other = connect(tables.path)
    behind: Any = BegunAnewBehind(other, lambda: client.insert("1", {}))
    checkpoints = Checkpoints(tables.path, behind, InlineThreads(), tables._machine.place, WalSeal(f"{tables.path}-wal"))
    checkpoints._finish()
    check_seal(f"{tables.path}-wal")
    client.insert("2", {})
    check_seal(f"{tables.path}-wal")
    checkpoints.close(is_sound=False)
    other.close()


def test_wal_that_cannot_be_sealed_at_the_close_is_left_for_the_next_start(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    client = Client(tables).start()
    state_hash = tables.state_hash(client.index)
    (tmp_path / f"{NAME}.tmp").mkdir()
    tables.close()
    assert (tmp_path / "tables.db-wal").exists()
    (tmp_path / f"{NAME}.tmp").rmdir()
    again = opened(tmp_path)
    assert (again.applied_index, again.state_hash(client.index)) == (client.index, state_hash)
    again.close()


def test_seal_on_a_wal_that_is_not_there_is_storage_failed(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="cannot be sealed"):
        WalSeal(str(tmp_path / "none-wal")).extend(lambda: 1)


class Counting(RealDisk):
    """Of each file that is opened, how often it was synced."""

    def __init__(self) -> None:
        self.syncs: dict[str, int] = {}

    def open(self, path: str) -> RealFile:
        disk, self.syncs[path] = self, 0

        class File(RealFile):
            def sync(self) -> None:
                super().sync()
                disk.syncs[path] += 1

        return File(path, os.O_RDWR)


def test_syncing_the_wal_syncs_it(tmp_path: Path) -> None:
    wal = tmp_path / "tables.db-wal"
    wal.write_bytes(b"anything")
    disk = Counting()
    WalSeal(str(wal), disk).sync()
    assert disk.syncs == {str(wal): 1}
    assert wal.read_bytes() == b"anything"


def test_wal_is_synced_ahead_of_a_checkpoint_and_one_that_is_not_there_is_storage_failed(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    Client(tables).start()
    assert fired(tables.sync_early()) is None
    (tmp_path / "tables.db-wal").rename(tmp_path / "elsewhere")
    failed: list[Failure] = []
    tables.sync_early().addErrback(failed.append)
    assert "cannot be synced" in str(failed[0].value)
    (tmp_path / "elsewhere").rename(tmp_path / "tables.db-wal")
    tables.close()


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", b"\x93\x01\x02\x03"])
def test_seal_with_a_good_checksum_that_says_nothing_is_corrupt(tmp_path: Path, data: bytes) -> None:
    wal = tmp_path / "tables.db-wal"
    wal.write_bytes(b"anything")
    (tmp_path / NAME).write_bytes(zlib.crc32(data).to_bytes(4, "little") + data)
    with pytest.raises(Corrupt, match="restore this node"):
        check_seal(str(wal))


@pytest.mark.parametrize("kept", [1, 31, 32, 40])
def test_wal_that_lost_its_end_below_the_seal_is_corrupt(tables: SqliteTables, kept: int) -> None:
    Client(tables).start()
    fired(tables.checkpoint())
    wal = f"{tables.path}-wal"
    check_seal(wal)
    os.truncate(wal, kept)
    with pytest.raises(Corrupt, match="two moments"):
        check_seal(wal)


def test_wal_header_with_sums_in_the_other_order_of_bytes_is_judged_too(tables: SqliteTables) -> None:
    """SQLite writes the sums in the order of the machine and names it in the last bit of the magic number."""
    Client(tables).start()
    fired(tables.checkpoint())
    wal = Path(f"{tables.path}-wal")
    header = bytearray(wal.read_bytes()[:32])
    little = header[3] == 0x82
    header[3] ^= 1
    header[16] ^= 0xFF  # another salt: another run
    first = second = 0
    for at in range(0, 24, 8):
        order = "big" if little else "little"
        one, two = int.from_bytes(header[at : at + 4], order), int.from_bytes(header[at + 4 : at + 8], order)
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    wal.write_bytes(bytes(header[:24]) + first.to_bytes(4, "big") + second.to_bytes(4, "big"))
    check_seal(str(wal))
    wal.write_bytes(bytes(header[:24]) + first.to_bytes(4, "little") + second.to_bytes(4, "little"))
    with pytest.raises(Corrupt, match="two moments"):
        check_seal(str(wal))
