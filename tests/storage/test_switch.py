"""The last step of a restore: databases get other names, all at once or not at all. On the disk and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_kit import SMALL, Client, rows

from ddbd.commands import Column, CreateTable, DropDatabase, InitDatabase, Insert, StageDatabase, SwitchDatabases, format_of
from ddbd.storage import Query
from ddbd.storage.memory_tables import MemoryTables
from ddbd.storage.tables import SqliteTables


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """One origin, whose commands go to both kinds of tables; `storage_kit.Client` compares them after each."""
    disk = SqliteTables(str(tmp_path / "t.db"), str(tmp_path), SMALL, lambda: 0.0)
    yield Client(disk, MemoryTables(SMALL, lambda: 0.0)).start()
    disk.close()


def state(client: Client) -> Any:
    """What a client can see, the same in both, also after a restart."""
    disk, memory = client.tables
    again = SqliteTables(disk.path, str(Path(disk.path).parent), SMALL, lambda: 0.0)
    seen = [
        (
            tables.default_database,
            [(db, [(info.name, rows(tables.scan(Query(db, info.name)))) for info in infos]) for db, infos in tables.databases()],
        )
        for tables in (disk, memory, again)
    ]
    again.close()
    assert seen[0] == seen[1] == seen[2]
    return seen[0]


def staged(client: Client, name: str, row_id: str) -> None:
    assert client.do(StageDatabase(name)).body == {"status": "ok", "db": name, "created": True}
    client.do(CreateTable(name, "t", (Column("a"),)))
    client.do(Insert(name, "t", ((row_id, {"a": 1}),)))


def names(client: Client) -> list[str]:
    return [name for name, _ in state(client)[1]]


def test_staging_a_database_leaves_the_default_alone_and_is_done_once(client: Client) -> None:
    staged(client, "s", "new")
    assert client.do(StageDatabase("S")).body == {"status": "ok", "db": "s", "created": False}
    assert state(client)[0] == "d"
    assert client.do(StageDatabase("1")).code == "invalid_name"


def test_a_switch_gives_a_database_a_free_name(client: Client) -> None:
    staged(client, "s", "new")
    answer = client.do(SwitchDatabases((("S", "Fresh"),)))
    assert answer.body == {"status": "ok", "databases": ["Fresh"], "index": client.index}
    assert state(client) == ("d", [("d", [("t", [])]), ("Fresh", [("t", [("new", 1, 6)])])])
    assert client.do(Insert("s", "t", (("x", {}),))).code == "database_not_found"
    assert client.do(Insert("fresh", "t", (("x", {}),))).code == ""


def test_a_name_that_is_taken_is_refused_unless_it_may_be_replaced(client: Client) -> None:
    client.insert("old", {})
    staged(client, "s", "new")
    before = state(client)
    assert client.do(SwitchDatabases((("s", "D"),))).code == "database_exists"
    assert state(client) == before
    assert client.do(SwitchDatabases((("s", "D"),), replace=True)).code == ""
    assert state(client) == ("D", [("D", [("t", [("new", 1, 7)])])])


def test_several_databases_switch_together_or_not_at_all(client: Client) -> None:
    staged(client, "s", "one")
    staged(client, "r", "two")
    client.do(InitDatabase("e"))
    before = state(client)
    for pairs in ((("s", "x"), ("r", "e")), (("s", "x"), ("none", "y")), (("s", "x"), ("r", "2")), (("s", "x"), ("r", "X"))):
        assert client.do(SwitchDatabases(pairs)).code in ("database_exists", "database_not_found", "invalid_name", "invalid_value")
        assert state(client) == before
    assert client.do(SwitchDatabases((("s", "d"), ("r", "e")), replace=True)).code == ""
    assert names(client) == ["d", "e"]
    assert state(client)[0] == "e"


@pytest.mark.parametrize("pairs", [(), (("s", "s"),), (("s", "S"),), (("s", "x"), ("x", "y")), (("s", "x"), ("s", "y"))])
def test_each_name_stands_once_in_a_switch(client: Client, pairs: Any) -> None:
    staged(client, "s", "new")
    assert client.do(SwitchDatabases(pairs, replace=True)).code == "invalid_value"


def test_where_there_is_no_default_the_restored_one_becomes_it(client: Client) -> None:
    staged(client, "s", "new")
    client.do(SwitchDatabases((("s", "x"),), default="X"))
    assert state(client)[0] == "d", "there was one"
    client.do(DropDatabase("d"))
    staged(client, "r", "new")
    client.do(SwitchDatabases((("r", "y"),), default="z"))
    assert state(client)[0] is None
    staged(client, "q", "new")
    client.do(SwitchDatabases((("q", "z"),), default="Z"))
    assert state(client)[0] == "z"


def test_the_rows_of_a_replaced_database_are_swept_and_never_seen_again(client: Client) -> None:
    for number in range(5):
        client.insert(str(number), {})
    staged(client, "s", "new")
    client.do(SwitchDatabases((("s", "d"),), replace=True))
    for number in range(5):
        client.insert(f"later{number}", {})
    assert [row[0] for row in rows(client.tables[0].scan(Query(None, "t")))] == [*(f"later{n}" for n in range(5)), "new"]


def test_who_reads_which_format_is_known_by_the_registration(client: Client) -> None:
    assert [tables.format_of("1") for tables in client.tables] == [2, 2]
    assert [tables.format_of("2") for tables in client.tables] == [0, 0]
    assert (format_of(StageDatabase("s")), format_of(SwitchDatabases(())), format_of(InitDatabase("d"))) == (2, 2, 1)
