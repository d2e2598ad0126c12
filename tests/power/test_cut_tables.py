"""A tables' file that ends too early: SQLite reads zeros there, and checks no checksum. Only what the WAL makes up for may be missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from power_script import FOUNDERS, LIMITS, now, truth

from ddbd.errors import Corrupt
from ddbd.storage.tables import SqliteTables

PAGE_BYTES = 4096


def opened(path: Path) -> SqliteTables:
    return SqliteTables(str(path), str(path.parent), LIMITS, lambda: 0.0, founders=FOUNDERS)


def content(tables: SqliteTables) -> list[str]:
    try:
        return list(map(repr, tables._backend.connection.execute("SELECT * FROM _tables"))) + [
            repr(row)
            for (name,) in tables._backend.connection.execute("SELECT name FROM sqlite_schema WHERE name GLOB 't_*'").fetchall()
            for row in tables._backend.connection.execute(f"SELECT * FROM {name}")
        ]
    finally:
        tables.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Some pages are in the file, and later ones in the WAL."""
    path = tmp_path / "there" / "tables.db"
    path.parent.mkdir()
    tables = opened(path)
    tables.apply(truth()[:20])
    now(tables.checkpoint())
    tables.apply(truth()[20:30])
    tables.settle()
    shutil.copytree(path.parent, tmp_path / "left")
    tables.close()
    return tmp_path / "left" / "tables.db"


def test_a_file_that_is_cut_anywhere_is_found_out_or_made_up_for_by_the_wal(path: Path) -> None:
    size, verdicts = path.stat().st_size, {"right": 0, "refused": 0}
    shutil.copytree(path.parent, path.parent.parent / "whole")
    expected = content(opened(path.parent.parent / "whole" / "tables.db"))
    # Cut to nothing it is a young file: then the log is replayed, or refuses to go with it.
    for number, length in enumerate(sorted({*range(PAGE_BYTES, size, PAGE_BYTES), *range(100, size, 1_111), size})):
        folder = path.parent.parent / str(number)
        shutil.copytree(path.parent, folder)
        os.truncate(folder / "tables.db", length)
        try:
            found = content(opened(folder / "tables.db"))
        except Corrupt:
            verdicts["refused"] += 1
        else:
            assert found == expected, f"cut to {length} of {size} bytes"
            verdicts["right"] += 1
    assert verdicts["right"] >= 1
    assert verdicts["refused"] >= 10


def test_a_file_without_a_wal_is_whole_or_refused(path: Path) -> None:
    opened(path).close()  # all is in the file now
    assert not Path(f"{path}-wal").exists()
    size = path.stat().st_size
    assert content(opened(path))
    os.truncate(path, size - 1)
    with pytest.raises(Corrupt, match=f"ends before page {size // PAGE_BYTES}"):
        opened(path)
