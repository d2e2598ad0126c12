"""The seal on the WAL: what it covers, when it says nothing any more, and that it is never of bytes in flux."""

from __future__ import annotations

from pathlib import Path

import pytest
from power_script import FOUNDERS, LIMITS, now, truth

from ddbd.errors import Corrupt
from ddbd.storage.seal import HEADER_BYTES, NAME, WalSeal, check_seal
from ddbd.storage.tables import SqliteTables


@pytest.fixture
def tables(tmp_path: Path) -> SqliteTables:
    tables = SqliteTables(str(tmp_path / "tables.db"), str(tmp_path), LIMITS, lambda: 0.0, founders=FOUNDERS)
    tables.apply(truth()[:20])
    tables.settle()
    return tables


def test_sealed_beginning_must_be_there_and_what_follows_may_be_anything(tables: SqliteTables, tmp_path: Path) -> None:
    seal = WalSeal(f"{tables.path}-wal")
    assert seal.extend(lambda: 3)
    size = HEADER_BYTES + 3 * (24 + 4096)
    wal = Path(f"{tables.path}-wal")
    whole = wal.read_bytes()
    for at in (0, 17, 30, HEADER_BYTES, 4_000, size - 1):
        wal.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(Corrupt):
            check_seal(str(wal))
    for content in (whole, whole[:size], whole[:size] + b"anything", b"", bytes(HEADER_BYTES)):
        wal.write_bytes(content)
        check_seal(str(wal))
    wal.unlink()
    check_seal(str(wal))
    assert (tmp_path / NAME).exists()


def test_seal_says_nothing_about_a_wal_that_was_begun_anew(tables: SqliteTables) -> None:
    now(tables.checkpoint())
    wal = Path(f"{tables.path}-wal")
    old = wal.read_bytes()
    tables.apply(truth()[20:22])
    tables.settle()
    assert wal.read_bytes()[:HEADER_BYTES] != old[:HEADER_BYTES]
    check_seal(str(wal))


def test_wal_that_is_begun_anew_meanwhile_is_not_sealed(tables: SqliteTables, tmp_path: Path) -> None:
    now(tables.checkpoint())
    (tmp_path / NAME).unlink()

    def count_frames_and_begin_anew() -> int:
        tables.apply(truth()[20:22])
        tables.settle()
        return 3

    seal = WalSeal(f"{tables.path}-wal")
    assert not seal.extend(count_frames_and_begin_anew)
    assert not (tmp_path / NAME).exists()
    assert seal.extend(lambda: 1), "the next try seals the new run"
    check_seal(f"{tables.path}-wal")


def test_nothing_is_written_where_nothing_was_added(tables: SqliteTables, tmp_path: Path) -> None:
    seal = WalSeal(f"{tables.path}-wal")
    assert seal.extend(lambda: 3)
    (tmp_path / NAME).unlink()
    assert seal.extend(lambda: 2)
    assert not (tmp_path / NAME).exists()


def test_damaged_seal_is_corrupt(tables: SqliteTables, tmp_path: Path) -> None:
    now(tables.checkpoint())
    whole = (tmp_path / NAME).read_bytes()
    for at in range(len(whole)):
        (tmp_path / NAME).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(Corrupt):
            check_seal(f"{tables.path}-wal")


def test_clean_close_leaves_no_wal(tables: SqliteTables) -> None:
    tables.close()
    assert not Path(f"{tables.path}-wal").exists()
