"""The tables, on disk and in memory: one contract for both. `Client` applies each command to both kinds where a test asks for two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_kit import FOUNDERS, HOUR_MS, SMALL, Client, fired, rows

from ddbd.commands import (
    Column,
    CreateTable,
    Delete,
    DeleteTable,
    DropDatabase,
    InitDatabase,
    Insert,
    Register,
    Update,
    encode_proposal,
)
from ddbd.config import Limits
from ddbd.errors import Corrupt, Refused, ScanTimedOut
from ddbd.raft.types import Entry, EntryKind, Membership
from ddbd.storage import Query
from ddbd.storage.machine import HASHES_KEPT
from ddbd.storage.memory_tables import MemoryTables
from ddbd.storage.tables import SqliteTables


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


Maker = Callable[[], Any]


@pytest.fixture(params=["disk", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    made: list[Any] = []

    def maker(limits: Limits = SMALL, clock: Any = None) -> Any:
        if request.param == "disk":
            tables: Any = SqliteTables(str(tmp_path / "tables.db"), str(tmp_path), limits, clock or Time(), founders=FOUNDERS)
        else:
            tables = MemoryTables(limits, clock or Time(), founders=FOUNDERS)
        made.append(tables)
        return tables

    yield maker
    for tables in made:
        tables.close()


@pytest.fixture
def client(make: Maker) -> Client:
    return Client(make()).start()


def select(client: Client, **query: Any) -> list[tuple[Any, ...]]:
    return rows(client.tables[0].scan(Query(None, "t", **query)))


# Databases and tables.


def test_young_tables_hold_nothing_and_know_the_founders(make: Maker) -> None:
    tables = make()
    assert (tables.applied_index, tables.applied_term, tables.applied_stamp, tables.default_database) == (0, 0, 0, None)
    assert tables.membership == FOUNDERS
    with pytest.raises(Refused, match="no default database"):
        tables.table(None, "t")


def test_init_database_twice_creates_it_once_and_makes_it_the_default(client: Client) -> None:
    assert client.do(InitDatabase("Other")).body == {"status": "ok", "db": "Other", "created": True}
    assert client.tables[0].default_database == "Other"
    assert client.do(InitDatabase("D")).body == {"status": "ok", "db": "d", "created": False}
    assert client.tables[0].default_database == "d"


def test_dropping_the_default_database_leaves_none(client: Client) -> None:
    assert client.do(DropDatabase("D")).body["status"] == "ok"
    assert client.tables[0].default_database is None
    assert client.insert("1", {}).code == "no_database"
    assert client.do(DropDatabase("d")).code == "database_not_found"
    assert client.tables[0].databases() == []


def test_same_table_again_is_not_created_and_another_shape_is_refused(client: Client) -> None:
    same = CreateTable("d", "T", (Column("Name"), Column("grade", index=True)))
    assert client.do(same).body == {"status": "ok", "db": "d", "table": "t", "created": False}
    assert client.do(CreateTable("d", "t", (Column("name"),))).code == "table_exists"


@pytest.mark.parametrize("columns", [(), (Column("a"), Column("A")), (Column("row_id"),), (Column("a b"),), (Column("a", "blob"),)])
def test_columns_that_sqlite_could_not_make_are_refused(client: Client, columns: tuple[Column, ...]) -> None:
    assert client.do(CreateTable(None, "u", columns)).code in ("invalid_name", "invalid_value")


def test_deleted_table_is_gone_and_a_new_one_of_its_name_is_empty(client: Client) -> None:
    client.do(Insert(None, "t", tuple((f"{n:05}", {"name": "n"}) for n in range(2_500)), single=False))
    assert client.do(DeleteTable(None, "T")).body == {"status": "ok", "db": "d", "table": "t"}
    assert client.do(DeleteTable(None, "t")).code == "table_not_found"
    client.do(CreateTable(None, "t", (Column("name"),)))
    assert select(client) == []
    for _ in range(12):
        client.do(InitDatabase("d"))
    assert select(client) == []


def test_names_are_found_in_any_case(client: Client) -> None:
    assert client.do(Insert("D", "T", (("1", {"NAME": "x"}),))).code == ""
    assert client.tables[0].row("D", "T", "1")[1] == "x"
    assert [t.name for _, ts in client.tables[0].databases() for t in ts] == ["t"]


# Rows.


def test_insert_answers_with_row_version_and_index(client: Client) -> None:
    assert client.insert("1", {"name": "a"}).body == {"row_id": "1", "version": 4, "index": 4}
    answer = client.do(Insert(None, "t", (("3", {}), ("2", {})), single=False))
    assert answer.body == {"row_ids": ["3", "2"], "version": 5, "index": 5}
    assert select(client) == [("1", "a", None, 4), ("2", None, None, 5), ("3", None, None, 5)]
    assert client.tables[0].table(None, "t").row_count == 3


def test_batch_with_a_row_that_exists_inserts_none(client: Client) -> None:
    client.insert("2", {"name": "old"})
    answer = client.do(Insert(None, "t", (("1", {}), ("2", {}), ("3", {})), single=False))
    assert (answer.code, "'2'" in answer.detail) == ("row_exists", True)
    assert select(client) == [("2", "old", None, 4)]
    assert client.do(Insert(None, "t", (("5", {}), ("5", {})), single=False)).code == "row_exists"
    assert client.tables[0].table(None, "t").row_count == 1


def test_upsert_replaces_whole_rows_and_counts_new_ones(client: Client) -> None:
    client.insert("1", {"name": "a", "grade": 1})
    client.do(Insert(None, "t", (("1", {"name": "b"}), ("2", {"name": "c"}), ("2", {"name": "d"})), upsert=True, single=False))
    assert select(client) == [("1", "b", None, 5), ("2", "d", None, 5)]
    assert client.insert("1", {"grade": 7}, upsert=True).body["version"] == 6
    assert client.tables[0].row(None, "t", "1") == ("1", None, 7, 6)
    assert client.tables[0].table(None, "t").row_count == 2


def test_update_merges_and_delete_removes(client: Client) -> None:
    client.insert("1", {"name": "a", "grade": 1})
    assert client.do(Update(None, "t", "1", {"grade": [1]})).body == {"row_id": "1", "version": 5, "index": 5}
    assert client.tables[0].row(None, "t", "1") == ("1", "a", [1], 5)
    assert client.do(Delete(None, "t", "1")).body == {"row_id": "1", "version": 6, "index": 6}
    assert client.do(Delete(None, "t", "1")).code == "row_not_found"
    assert client.do(Update(None, "t", "1", {})).code == "row_not_found"
    assert client.tables[0].row(None, "t", "1") is None
    assert client.tables[0].table(None, "t").row_count == 0


def test_if_version_is_compared(client: Client) -> None:
    client.insert("1", {})
    assert client.do(Update(None, "t", "1", {"name": "x"}, if_version=3)).code == "version_mismatch"
    assert client.do(Update(None, "t", "1", {"name": "x"}, if_version=4)).code == ""
    assert client.do(Delete(None, "t", "1", if_version=4)).code == "version_mismatch"
    assert client.do(Delete(None, "t", "1", if_version=6)).code == ""


def test_unknown_column_is_refused_with_the_list_of_columns(client: Client) -> None:
    client.insert("1", {})
    for answer in (client.insert("2", {"no": 1}), client.do(Update(None, "t", "1", {"no": 1}))):
        assert (answer.code, "name, grade" in answer.detail) == ("unknown_column", True)


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("text", ["", "a"], [1, 1.5, True, [], {}]),
        ("integer", [0, -(2**63)], [True, 1.0, "1", 2**63]),
        ("real", [1.5, 1], [True, "1", float("inf")]),
        ("boolean", [True, False], [0, 1, "true"]),
        ("json", [[1], {"a": None}, "x", 1, True], [2**64 - 1]),
        ("any", [[1], {"a": None}, "x", 1, True], [float("nan")]),
    ],
)
def test_column_type_is_checked(client: Client, type_: str, good: list[Any], bad: list[Any]) -> None:
    client.do(CreateTable(None, "u", (Column("c", type_),)))
    for number, value in enumerate([*good, None]):
        assert client.do(Insert(None, "u", ((f"r{number}", {"c": value}),))).code == "", value
        assert client.tables[0].row(None, "u", f"r{number}")[1] == value
    for value in bad:
        assert client.do(Insert(None, "u", (("bad", {"c": value}),))).code == "invalid_value", value


def test_row_that_an_update_makes_too_large_is_refused(make: Maker) -> None:
    client = Client(make(Limits(row_bytes_max=100))).start()
    client.insert("1", {"name": "x" * 50})
    assert client.do(Update(None, "t", "1", {"grade": "y" * 29})).code == "invalid_value"
    assert client.do(Update(None, "t", "1", {"grade": "y" * 28})).code == ""


VALUES = [
    *("", "a", "é", "e\u0301", "😀", "\0", "a\0b", "\U0010ffff", "1", "true", "null", "[1]"),
    *(0, 1, -1, 2**63 - 1, -(2**63), 0.0, -0.0, 1.0, 0.1, 1e308, 5e-324, -1.5),
    *(True, False, None, [], {}, [1, 1.0, None, "x"], {"a": {"b": [True]}}),
]


def exact(value: Any) -> tuple[str, str]:
    return type(value).__name__, repr(value)


def test_values_come_back_type_for_type(client: Client) -> None:
    client.do(Insert(None, "t", tuple((f"{n:02}", {"name": v, "grade": v}) for n, v in enumerate(VALUES)), single=False))
    assert [exact(row[1]) for row in select(client)] == [exact(value) for value in VALUES]
    assert [exact(row[2]) for row in select(client)] == [exact(value) for value in VALUES]
    for number, value in enumerate(VALUES):
        assert exact(client.tables[0].row(None, "t", f"{number:02}")[2]) == exact(value)


# Proposals and idempotency keys.


def test_duplicate_proposal_has_no_effect_and_no_answer(client: Client) -> None:
    once = encode_proposal(client.proposal(Insert(None, "t", (("1", {}),))))
    assert client.apply(once) is not None
    before = client.tables[0].state_hash(client.index)
    assert client.apply(once) is None
    assert client.tables[0].state_hash(client.index) != before


def test_proposal_below_the_floor_or_of_another_boot_is_refused(client: Client) -> None:
    late = client.proposal(Insert(None, "t", (("late", {}),)))
    client.floor = client.seq + 1
    client.insert("1", {})
    assert client.apply(encode_proposal(late)) is None
    old = client.proposal(Insert(None, "t", (("old", {}),)))
    client.register(8)
    assert client.apply(encode_proposal(old)) is None
    client.boot += 1
    assert client.apply(encode_proposal(client.proposal(Insert(None, "t", (("new", {}),))))) is None
    assert [row[0] for row in select(client)] == ["1"]


def test_registration_repeated_with_its_nonce_has_no_effect(client: Client) -> None:
    assert client.tables[0].registered("1") == (1, 7)
    assert client.apply(encode_proposal(client.proposal(Register("1", 7)))) is None
    assert client.tables[0].registered("1") == (1, 7)
    assert client.tables[0].registered("unknown") is None


def test_window_tells_what_was_applied_out_of_order(client: Client) -> None:
    client.register(9)
    for seq in (5, 3, 4, 9, 8, 1):
        assert client.apply(encode_proposal(client.proposal(InitDatabase("d"), seq=seq))) is not None
    assert client.apply(encode_proposal(client.proposal(InitDatabase("d"), seq=4))) is None
    assert client.tables[0].open_sequences("1")[1:] == (0, [(1, 1), (3, 5), (8, 9)])
    client.floor = 4
    client.apply(encode_proposal(client.proposal(InitDatabase("d"), seq=7)))
    assert client.tables[0].open_sequences("1")[1:] == (4, [(4, 5), (7, 9)])


def test_key_gives_the_stored_answer_again(client: Client) -> None:
    first = client.do(Insert(None, "t", (("1", {}),)), key="k")
    missing = client.do(Delete(None, "t", "none"), key="m")
    client.insert("none", {})
    assert client.do(Insert(None, "t", (("1", {}),)), key="k") == first
    assert client.do(Delete(None, "t", "none"), key="m") == missing
    assert missing.code == "row_not_found"
    assert client.do(Delete(None, "t", "1"), key="k", fingerprint=b"other").code == "idempotency_mismatch"


def test_full_table_of_keys_refuses_and_forgets_nothing_early(client: Client) -> None:
    for number in range(SMALL.idempotency_keys_max):
        client.do(Insert(None, "t", ((f"{number}", {}),)), key=f"k{number}")
    assert client.do(Insert(None, "t", (("x", {}),)), key="more").code == "idempotency_full"
    assert client.tables[0].row(None, "t", "x") is None
    assert client.do(Insert(None, "t", (("0", {}),)), key="k0").body["version"] == 4
    client.stamp += 24 * HOUR_MS - 1
    assert client.do(Insert(None, "t", (("x", {}),)), key="more").code == "idempotency_full"
    client.stamp += 1
    assert client.do(Insert(None, "t", (("x", {}),)), key="more").code == ""
    assert client.tables[0].counters()["idempotency_keys"] == SMALL.idempotency_keys_max - 2 + 1


def test_key_that_is_too_old_may_be_used_for_another_request(client: Client) -> None:
    for number in range(4):
        client.do(Insert(None, "t", ((f"{number}", {}),)), key=f"k{number}")
    client.stamp += 24 * HOUR_MS
    assert client.do(Delete(None, "t", "3"), key="k3", fingerprint=b"other").code == ""


# What is not a command.


def test_membership_and_empty_entries_move_the_place(client: Client) -> None:
    new = Membership.of(["1", "2"])
    assert client.apply(new.to_bytes(), EntryKind.MEMBERSHIP) is None
    client.apply(b"", EntryKind.EMPTY)
    assert (client.tables[0].membership, client.tables[0].applied_index) == (new, 5)


def test_bytes_that_are_no_command_are_corrupt(client: Client) -> None:
    with pytest.raises(Corrupt, match="entry 4"):
        client.apply(b"\xff")


def test_state_hash_is_known_for_recent_entries(client: Client) -> None:
    assert client.tables[0].state_hash(2) is not None
    assert client.tables[0].state_hash(99) is None


def test_scan_is_of_one_instant(client: Client) -> None:
    client.do(Insert(None, "t", tuple((f"{n:04}", {"name": "a"}) for n in range(2_000)), single=False))
    scan = client.tables[0].scan(Query(None, "t"))
    client.do(Delete(None, "t", "1999"))
    client.insert("x", {})
    assert len(rows(scan)) == 2_000


def test_scan_that_is_too_old_is_ended(make: Maker) -> None:
    clock = Time()
    client = Client(make(clock=clock)).start()
    client.do(Insert(None, "t", tuple((f"{n:04}", {"name": "a"}) for n in range(2_000)), single=False))
    scan = iter(client.tables[0].scan(Query(None, "t")))
    assert next(scan)
    clock.now = SMALL.scan_seconds + 1
    with pytest.raises(ScanTimedOut):
        next(scan)


def test_scan_closed_twice_is_fine(client: Client) -> None:
    scan = client.tables[0].scan(Query(None, "t"))
    scan.close()
    scan.close()


def test_scan_refuses_what_is_not_there(client: Client) -> None:
    for query, code in (
        (Query(None, "no"), "table_not_found"),
        (Query("no", "t"), "database_not_found"),
        (Query(None, "t", columns=("no",)), "unknown_column"),
        (Query(None, "t", column="no", value=""), "unknown_column"),
        (Query(None, "t", column="name", op="like"), "invalid_value"),
    ):
        with pytest.raises(Refused) as refused:
            client.tables[0].scan(query)
        assert refused.value.code == code


def test_snapshot_and_checkpoint_say_the_place_that_is_applied(client: Client) -> None:
    client.insert("1", {})
    assert fired(client.tables[0].checkpoint()).index == 4
    snapshot = fired(client.tables[0].snapshot())
    assert (snapshot.meta.index, snapshot.meta.membership) == (4, FOUNDERS)
    assert snapshot.size_bytes > 0


def test_insert_without_rows_is_refused(client: Client) -> None:
    answer = client.do(Insert(None, "t", (), single=False))
    assert (answer.code, answer.detail) == ("invalid_value", "rows: at least one row is needed")


@pytest.mark.parametrize("order", ["abca", "abba", "aabb", "abcbca"])
def test_row_given_twice_is_named_where_it_comes_again(client: Client, order: str) -> None:
    seen: list[str] = []
    again = next(letter for letter in order if letter in seen or seen.append(letter))  # type: ignore[func-returns-value]
    answer = client.do(Insert(None, "t", tuple((letter, {"name": "n"}) for letter in order), single=False))
    assert answer.code == "row_exists"
    assert f"row '{again}' is given twice" in answer.detail
    assert select(client) == []


def test_column_given_twice_in_two_cases_is_refused(client: Client) -> None:
    answer = client.insert("1", {"name": "a", "NAME": "b"})
    assert (answer.code, answer.detail) == ("invalid_value", "column name is given twice")


def test_limit_below_zero_is_refused(client: Client) -> None:
    with pytest.raises(Refused, match="limit: -1 is below 0"):
        select(client, limit=-1)


def test_applying_nothing_changes_nothing(client: Client) -> None:
    tables = client.tables[0]
    before = tables.applied_index
    assert tables.apply([]) == []
    assert tables.applied_index == before


def test_state_hashes_of_long_ago_are_forgotten(client: Client) -> None:
    tables, first = client.tables[0], client.index
    tables.apply([Entry(index, 1, client.stamp, EntryKind.EMPTY, b"") for index in range(first + 1, first + HASHES_KEPT + 1)])
    assert tables.state_hash(first) is None
    assert tables.state_hash(first + 1) is not None
    assert tables.state_hash(first + HASHES_KEPT) is not None
