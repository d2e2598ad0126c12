"""GET /backup: one instant, whole or not at all, in a format that tells itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import fail
from web_client import Node
from web_twin import config_of

from ddbd.backupfile import DatabaseEnds, Header, Reader, Row
from ddbd.config import Limits
from ddbd.errors import NoLeader, NoRoom, Refused

COLUMNS = [{"name": "n", "type": "integer", "index": True}, "any", {"name": "j", "type": "json"}]


def filled() -> Node:
    node = Node().with_students()
    node.post("/create_table", {"table_name": "odd", "columns": COLUMNS})
    node.post("/insert", {"table_name": "odd", "row_id": "é\n", "data": {"n": 2**63 - 1, "any": -0.0, "j": {"a": [1, 1.0, None]}}})
    node.post("/insert", {"table_name": "odd", "row_id": "b", "data": {"n": -(2**63), "any": True}})
    node.post("/init_database", {"db_name": "Second"})
    return node


@pytest.fixture
def node() -> Node:
    return filled()


def read(body: bytes) -> list[Any]:
    reader = Reader()
    items = list(reader.feed(body))
    reader.end()
    return items


def test_a_backup_has_everything_in_it(node: Node) -> None:
    reply = node.get("/backup")
    assert (reply.status, reply.complete) == (200, True)
    lines = [json.loads(line) for line in reply.body.splitlines()]
    head, *middle, end = lines
    index = node.twin.applied_index
    assert head == {
        "ddbd_backup": 1,
        "cluster_id": "c0ffee",
        "node_id": "1",
        "index": index,
        "term": 3,
        "state_hash": node.twin.tables.state_hash(index).hex(),
        "made_at": "2023-11-14T22:13:20Z",
        "default_database": "Second",
        "databases": 2,
        "tables": 2,
        "rows": 3,
        "db": None,
    }
    contents = [line.pop("content") for line in middle if "content" in line]
    assert len(set(contents)) == 2
    assert middle == [
        {"database": "school"},
        {"table": "students", "columns": [["id", "any", False], ["name", "any", False], ["grade", "any", False]], "rows": 1},
        ["1", "1", "Ahmed", "A", 4],
        {"table": "odd", "columns": [["n", "integer", True], ["any", "any", False], ["j", "json", False]], "rows": 2},
        ["b", -(2**63), True, None, 7],
        ["é\n", 2**63 - 1, -0.0, {"a": [1, 1.0, None]}, 6],
        {"database_end": "school"},
        {"database": "Second"},
        {"database_end": "Second"},
    ]
    assert end["end"]["lines"] == len(lines)
    assert reply.header("Ddb-Backup-Lines") == str(len(lines))
    assert reply.header("Ddb-Index") == str(index)
    assert reply.header("Content-Disposition") == f'attachment; filename="ddbd-all-{index}.backup"'


def test_one_database_can_be_asked_for_by_any_spelling(node: Node) -> None:
    items = read(node.get("/backup?db=SCHOOL").body)
    assert items[0].db == "school"
    assert [item.database_end for item in items if isinstance(item, DatabaseEnds)] == ["school"]
    assert node.get("/backup?db=none").code == "database_not_found"
    assert node.get("/backup?db=1x").code == "invalid_name"
    assert node.get("/backup?db=school").status == 200, "a refusal left the copy open"


def test_the_content_hash_knows_no_versions_but_all_else(node: Node) -> None:
    def content() -> str:
        return next(item.content for item in read(node.get("/backup?db=school").body) if isinstance(item, DatabaseEnds))

    first = content()
    node.post("/update", {"table_name": "students", "row_id": "1", "new_data": {"grade": "B"}, "db_name": "school"})
    assert content() != first
    node.post("/update", {"table_name": "students", "row_id": "1", "new_data": {"grade": "A"}, "db_name": "school"})
    assert content() == first
    seen = {first}
    for value in (1, 1.0, "1", False, None, [1], 0.0, -0.0):
        node.post("/update", {"table_name": "odd", "row_id": "b", "new_data": {"any": value}, "db_name": "school"})
        seen.add(content())
    assert len(seen) == 9


def test_a_backup_waits_for_what_was_committed_unless_it_need_not(node: Node) -> None:
    node.twin.errors["read_barrier"] = NoLeader("no quorum")
    assert node.get("/backup").status == 503
    local = node.get("/backup?consistency=local")
    assert (local.status, local.header("Ddb-Staleness-Ms")) == (200, "12")
    node.twin.staleness = None
    assert node.get("/backup?consistency=local").header("Ddb-Staleness-Ms") == "unknown"
    assert node.get("/backup?table=t").code == "unknown_parameter"


class Full:
    """Tables on a disk without room."""

    applied_index = 7

    def databases(self) -> Any:
        return []

    def copy(self) -> Any:
        return fail(NoRoom("a copy takes 5 bytes, 0 are free; make room"))


def test_a_disk_without_room_is_507(node: Node) -> None:
    node.twin._tables = Full()
    reply = node.get("/backup")
    assert (reply.status, reply.code) == (507, "disk_full")
    assert "make room" in reply.json["detail"]


class Counted:
    """Tables that count their copies."""

    def __init__(self, tables: Any) -> None:
        self._tables = tables
        self.copies = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tables, name)

    def copy(self) -> Any:
        self.copies += 1
        return self._tables.copy()


@pytest.fixture
def counted(node: Node) -> Counted:
    node.twin._tables = Counted(node.twin._tables)
    return node.twin._tables


@pytest.mark.parametrize("target", ["/backup", "/backup?db=SCHOOL&consistency=local", "/backup?db=none", "/backup?table=t"])
def test_head_tells_the_same_and_makes_no_copy(target: str, node: Node, counted: Counted) -> None:
    head = node.call("HEAD", target)
    assert (head.body, counted.copies) == (b"", 0)
    got = node.get(target)
    got.headers.pop("transfer-encoding", None)
    head.headers.pop("transfer-encoding", None)  # it may be told, or not
    assert (head.status, head.headers) == (got.status, got.headers)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/backup", "/%62ackup"])
@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}])
def test_a_page_of_another_origin_may_not_have_copies_made(
    headers: dict[str, str], path: str, method: str, node: Node, counted: Counted
) -> None:
    reply = node.call(method, path, headers=headers)
    assert reply.status == 403
    assert method == "HEAD" or reply.code == "cross_origin"
    assert counted.copies == 0


def test_the_nodes_own_page_may_take_a_backup(node: Node) -> None:
    assert node.get("/backup", Origin="http://localhost:8080", Sec_Fetch_Site="same-origin").status == 200
    assert node.get("/backup", Sec_Fetch_Site="none").status == 200, "its address was typed"


def test_a_database_that_is_not_there_costs_no_copy(node: Node, counted: Counted) -> None:
    assert node.get("/backup?db=none").code == "database_not_found"
    assert counted.copies == 0


def many(rows: int, **limits: Any) -> Node:
    node = Node(config_of(Limits(**limits))).with_students()
    for first in range(0, rows, 5_000):
        batch = [{"row_id": f"{n:06}", "data": {"name": "x" * 40}} for n in range(first, first + 5_000)]
        assert node.post("/insert", {"table_name": "students", "rows": batch}).status == 200
    return node


def test_a_second_backup_is_told_to_wait_and_the_first_goes_on() -> None:
    node = many(10_000)
    first = node.start("GET", "/backup")
    first.wire.producer.pauseProducing()
    node.clock.advance(0)
    second = node.get("/backup")
    assert (second.status, second.code) == (503, "overloaded")
    first.wire.producer.resumeProducing()
    node.clock.advance(1)
    assert first.response().complete
    assert node.get("/backup").status == 200


def test_a_client_that_goes_away_frees_the_place_of_its_backup() -> None:
    node = many(10_000)
    first = node.start("GET", "/backup")
    first.wire.producer.pauseProducing()
    node.clock.turn()
    first.lose()
    node.clock.advance(0)
    assert node.get("/backup").status == 200


def test_nothing_is_written_while_the_client_does_not_read_and_after_a_while_it_is_cut() -> None:
    node = many(10_000, backup_idle_seconds=7)
    first = node.start("GET", "/backup")
    first.wire.producer.pauseProducing()
    node.clock.advance(0)
    held = len(first.out)
    node.clock.advance(6.9)
    assert len(first.out) == held
    first.wire.producer.resumeProducing()
    node.clock.turn()
    assert len(first.out) > held
    first.wire.producer.pauseProducing()
    node.clock.advance(0)
    node.clock.advance(7.1)
    assert not first.response().complete
    with pytest.raises(Refused, match="cut"):
        read(first.response().body)
    assert node.get("/backup").status == 200


def test_a_long_backup_is_whole(node: Node) -> None:
    node = many(10_000)
    connection = node.start("GET", "/backup")
    node.clock.advance(1)
    items = read(connection.response().body)
    assert isinstance(items[0], Header)
    assert sum(isinstance(item, Row) for item in items) == 10_001
