"""What the state machine must come to on every node, of whatever version: the chained hash, and which idempotency keys are forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest
from storage_kit import FOUNDERS, HOUR_MS, SMALL, Client

from ddbd.commands import Delete, Insert, Update
from ddbd.raft.types import EntryKind, Membership
from ddbd.storage import Query
from ddbd.storage.memory_tables import MemoryTables
from ddbd.storage.tables import SqliteTables

PINNED = "25246506bc4fab732aa5b5065e44a87f"


def sqlite(folder: Path) -> SqliteTables:
    return SqliteTables(str(folder / "t.db"), str(folder), SMALL, lambda: 0.0, founders=FOUNDERS)


def test_the_state_hash_of_a_fixed_log_is_the_same_in_every_version(tmp_path: Path) -> None:
    """Nodes of two versions compare it during an upgrade: where it changes without another name, one of them is quarantined."""
    disk = sqlite(tmp_path)
    client = Client(disk, MemoryTables(SMALL, lambda: 0.0, founders=FOUNDERS)).start()
    for _ in range(2):
        client.do(Insert(None, "t", (("1", {"name": "a", "grade": 1}),)), key="k")
    client.insert("1", {})
    client.do(Update(None, "t", "1", {"grade": None}, 4))
    client.do(Insert(None, "t", (("2", {"name": 1.5}), ("3", {"name": [True]})), upsert=True, single=False))
    client.apply(b"", EntryKind.EMPTY)
    client.apply(Membership.of("123", "4").to_bytes(), EntryKind.MEMBERSHIP)
    client.stamp += 24 * HOUR_MS
    client.do(Delete(None, "t", "2"))
    state_hash = disk.state_hash(client.index)
    disk.close()
    assert state_hash is not None
    assert state_hash.hex() == PINNED


def test_keys_are_forgotten_oldest_first_two_an_entry_also_by_a_node_that_was_restarted(tmp_path: Path) -> None:
    disk, memory = sqlite(tmp_path), MemoryTables(SMALL, lambda: 0.0, founders=FOUNDERS)
    client = Client(disk, memory).start()

    def kept() -> list[str]:
        assert disk.counters()["idempotency_keys"] == memory.counters()["idempotency_keys"]
        return [f"k{number}" for number in range(5) if disk._backend.key_get(f"k{number}") is not None]

    for number in range(5):
        client.do(Insert(None, "t", ((f"{number}", {}),)), key=f"k{number}")
        client.stamp += HOUR_MS
    client.stamp += 21 * HOUR_MS  # the first three are a day old and more
    assert kept() == ["k0", "k1", "k2", "k3", "k4"]
    disk.close()
    disk = sqlite(tmp_path)
    client.tables = (disk, memory)
    for left in (["k2", "k3", "k4"], ["k3", "k4"], ["k3", "k4"]):
        client.apply(b"", EntryKind.EMPTY)
        assert kept() == left
    disk.close()


@pytest.mark.parametrize("there", ["", "a", "b", "c", "ab", "ac", "bc", "abc"])
def test_an_upsert_counts_the_new_rows_whichever_were_there(tmp_path: Path, there: str) -> None:
    disk = sqlite(tmp_path)
    client = Client(disk, MemoryTables(SMALL, lambda: 0.0, founders=FOUNDERS)).start()
    for row_id in there:
        client.insert(row_id, {"name": "old", "grade": 1})
    client.do(Insert(None, "t", tuple((row_id, {"name": "new"}) for row_id in "cab"), upsert=True, single=False))
    found = [row for rows in disk.scan(Query(None, "t")) for row in rows]
    assert [row[:3] for row in found] == [(row_id, "new", None) for row_id in "abc"]
    assert {row[-1] for row in found} == {client.index}
    assert disk.table(None, "t").row_count == 3
    disk.close()
