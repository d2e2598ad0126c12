"""How much of the tables a node keeps in memory."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace
from storage_kit import FOUNDERS, SMALL, Client

from ddbd.commands import Insert
from ddbd.storage.tables import SqliteTables

ROWS = 400
ROW_BYTES = 1_000
PAGE_BYTES = 4_096


@pytest.mark.parametrize("cache_bytes", [1, 64 * 1024, 1024 * 1024])
def test_the_cache_grows_to_its_limit_and_every_row_is_read_all_the_same(tmp_path: Path, cache_bytes: int) -> None:
    tables = SqliteTables(
        str(tmp_path / "t.db"), str(tmp_path), replace(SMALL, tables_cache_bytes=cache_bytes), lambda: 0.0, founders=FOUNDERS
    )
    client = Client(tables).start()
    rows = {f"{number:04}": f"{number:04}" * (ROW_BYTES // 4) for number in range(ROWS)}
    held = list(rows.items())
    for place in range(0, ROWS, 10):
        client.do(Insert(None, "t", tuple((row_id, {"name": text}) for row_id, text in held[place : place + 10]), single=False))
    for row_id, text in rows.items():
        row = tables.row(None, "t", row_id)
        assert row is not None
        assert row[:2] == (row_id, text)
    used, _ = tables._backend.connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED)
    is_whole = cache_bytes > ROWS * ROW_BYTES
    assert used > ROWS * ROW_BYTES if is_whole else used <= 2 * cache_bytes + 16 * PAGE_BYTES
    tables.close()
