"""POST /restore: what a backup holds is there again, type for type, all at once; what breaks off leaves the old data in place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from test_web_backup import filled, many, read
from web_client import Node, Response, chunked, request
from web_twin import config_of

from ddbd.backupfile import DatabaseEnds, Header, Writer
from ddbd.commands import Column, DropDatabase, Insert, StageDatabase, SwitchDatabases
from ddbd.config import Limits
from ddbd.errors import NoLeader, OutcomeUnknown, Refused, StorageFailed

STRANGE = [
    *("", "a", "\0", "\U0010ffff", "1", "null", 0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, -0.0, 1.0, 0.1, 1e308, 5e-324),
    *(True, False, None, [], {}, [1, 1.0, None, "x"], {"b": {"a": [True]}, "a": 1e16}),
]


def fresh(**limits: Any) -> Node:
    return Node(config_of(Limits(**limits)))


def put(node: Node, body: bytes, query: str = "") -> Response:
    connection = node.start("POST", f"/restore{query}", body)
    for _ in range(20):
        node.clock.advance(0.1)
    return connection.response()


def contents(node: Node) -> dict[str, str]:
    return {item.database_end: item.content for item in read(node.get("/backup").body) if isinstance(item, DatabaseEnds)}


def databases(node: Node) -> list[str]:
    return [name for name, _ in node.twin.tables.databases()]


def test_an_empty_cluster_is_what_was_backed_up() -> None:
    node, other = filled(), fresh()
    for number, value in enumerate(STRANGE):
        row = {"table_name": "odd", "row_id": f"s{number}", "data": {"any": value, "j": value}}
        assert node.post("/insert?db=school", row).status == 200
    reply = put(other, node.get("/backup").body)
    assert reply.status == 200, reply.body
    said = contents(node)
    assert contents(other) == said
    assert reply.json == {
        "status": "ok",
        "databases": [
            {"db": "school", "source": "school", "tables": 2, "rows": 3 + len(STRANGE), "content": said["school"]},
            {"db": "Second", "source": "Second", "tables": 0, "rows": 0, "content": said["Second"]},
        ],
        "index": other.twin.applied_index,
    }
    assert other.twin.tables.default_database == "Second"
    assert other.twin.tables.databases() == node.twin.tables.databases()
    for table in ("odd", "students"):
        path = f"/select?table={table}&db=school"
        assert other.get(path).body == node.get(path).body


def test_an_empty_backup_restores_nothing() -> None:
    node = fresh()
    assert put(node, fresh().get("/backup").body).json == {"status": "ok", "databases": [], "index": node.twin.applied_index}


def test_a_database_that_is_there_is_not_touched_unless_it_may_be_replaced() -> None:
    node = filled()
    body = node.get("/backup?db=school").body
    node.post("/update?db=school", {"table_name": "students", "row_id": "1", "new_data": {"name": "changed"}})
    before = contents(node)
    reply = put(node, body)
    assert (reply.status, reply.code) == (409, "database_exists")
    assert "replace=true" in reply.json["detail"]
    assert contents(node) == before
    assert put(node, body, "?replace=true").status == 200
    assert node.get("/select?table=students&db=school").json[0]["name"] == "Ahmed"
    assert sorted(databases(node)) == ["Second", "school"]


def test_a_database_is_restored_beside_the_old_one_under_another_name() -> None:
    node = filled()
    reply = put(node, node.get("/backup").body, "?db=SCHOOL&as=copy")
    assert reply.json["databases"][0]["db"] == "copy"
    said = contents(node)
    assert said["copy"] == said["school"]
    assert node.twin.tables.default_database == "Second"
    assert databases(node) == ["school", "Second", "copy"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?as=copy", "invalid_value"),  # of a backup of two databases
        ("?as=1x", "invalid_name"),
        ("?db=none&as=copy", "database_not_found"),
        ("?replace=yes", "invalid_value"),
        ("?table=t", "unknown_parameter"),
        ("?timeout=0", "invalid_value"),
    ],
)
def test_wishes_that_cannot_be_are_refused_and_nothing_is_done(query: str, code: str) -> None:
    node = filled()
    body, before = node.get("/backup").body, node.twin.tables.databases()
    assert put(node, body, query).code == code
    assert node.twin.tables.databases() == before


def spoilt(body: bytes) -> list[tuple[str, bytes]]:
    lines = body.splitlines(keepends=True)
    return [
        ("cut in a line", body[:-5]),
        ("cut between lines", b"".join(lines[:-1])),
        ("a changed value", body.replace(b"Ahmed", b"Ahmad")),
        ("a row left out", body.replace(lines[3], b"")),
        ("nothing", b""),
        ("something else", b'{"table_name":"t"}\n'),
        ("more behind", body + b"\n"),
    ]


@pytest.mark.parametrize("place", range(7))
def test_a_file_that_is_no_whole_backup_changes_nothing(place: int) -> None:
    node = filled()
    what, body = spoilt(node.get("/backup").body)[place]
    node.post("/insert?db=school", {"table_name": "students", "row_id": "later", "data": {}})
    before = contents(node)
    reply = put(node, body, "?replace=true")
    assert (reply.status, reply.code) == (400, "invalid_backup"), what
    assert contents(node) == before


def forged(columns: tuple[Column, ...], rows: list[Any], name: str = "d") -> bytes:
    """A backup with right sums and wrong content."""
    writer = Writer()
    header = Header(1, "c", "1", 8, 2, "ab", "2026-01-01T00:00:00Z", None, 1, 1, len(rows))
    parts = [writer.header(header), writer.database(name), writer.table("t", columns, len(rows)), writer.rows(rows)]
    return b"".join([*parts, writer.database_end(), writer.end()])


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (forged((Column("a"),), [("1", nested(64), 1)]), "invalid_json"),
        (forged((Column("a"),), [("1", 2**64 - 1, 1)]), "invalid_json"),
        (forged((Column("a"),), [("", 1, 1)]), "invalid_value"),
        (forged((Column("a"),), [("x" * 1_025, 1, 1)]), "invalid_value"),
        (forged((Column("a"),), [("1", "x" * 2**20, 1)]), "invalid_value"),
        (forged((Column("a", "text"),), [("1", 1, 1)]), "invalid_value"),
        (forged((Column("a", "blob"),), []), "invalid_value"),
        (forged((Column("row_id"),), []), "invalid_name"),
        (forged((Column("a"), Column("A")), []), "invalid_name"),
        (forged((), []), "invalid_value"),
        (forged((Column("a"),), [], "1"), "invalid_name"),
        (forged((Column("a"),), [("1", 1, 1), ("1", 2, 1)]), "content_mismatch"),
        (forged((Column("a"),), [("2", 1, 1), ("1", 2, 1)]), "content_mismatch"),
    ],
)
def test_a_forged_backup_meets_the_same_door_as_an_insert(body: bytes, code: str) -> None:
    node = fresh()
    assert put(node, body).code == code
    assert node.twin.tables.databases() == []


def test_a_restore_is_sent_in_slices_that_are_held_back() -> None:
    body, node = _whole(many(10_000)), fresh()
    head = request("POST", "/restore", b"", {"Transfer-Encoding": "chunked"})
    connection = node.connect()
    connection.send(head + chunked(body[:1_000_000])[: -len(b"0\r\n\r\n")])
    node.twin.holding = True
    for _ in range(10):
        node.clock.advance(0.1)
    assert len(node.twin.held) == 1, "one slice is on its way, and no more"


def _whole(node: Node) -> bytes:
    connection = node.start("GET", "/backup")
    node.clock.advance(1)
    return connection.response().body


@pytest.mark.parametrize("error", [NoLeader("none"), OutcomeUnknown("who knows"), Refused("disk_full", "full")])
def test_a_restore_that_breaks_off_goes_on_where_it_stopped(error: Exception) -> None:
    source = many(10_000)
    body, node = _whole(source), filled()
    before = contents(node)

    def fails_after(count: int) -> None:
        """The node cannot take more after so many slices of rows."""
        done = sum(isinstance(command, Insert) for command in node.twin.commands)
        propose = type(node.twin).propose

        def limited(command: Any, *rest: Any) -> Any:
            seen = sum(isinstance(each, Insert) for each in node.twin.commands) - done
            if isinstance(command, Insert) and seen >= count:
                node.twin.errors["propose"] = error
            return propose(node.twin, command, *rest)

        node.twin.propose = limited  # type: ignore[method-assign]

    fails_after(3)
    reply = put(node, body, "?replace=true")
    assert reply.code == getattr(error, "code", "")
    assert reply.json["rows"] == 3_000
    (staged,) = reply.json["staged"]
    after = contents_of(node)
    assert staged.startswith("restore_")
    assert {name: content for name, content in after.items() if name != staged} == before, "what was there is as it was"
    del node.twin.propose  # type: ignore[method-assign]
    node.twin.errors.clear()
    node.twin.commands.clear()
    reply = put(node, body, "?replace=true")
    assert reply.status == 200, reply.body
    rows = sum(len(command.rows) for command in node.twin.commands if isinstance(command, Insert))
    assert rows == 10_001 - 3_000, "what was there already is not written again"
    assert sorted(databases(node)) == ["Second", "school"]
    assert contents_of(node)["school"] == contents_of(source)["school"]


def contents_of(node: Node) -> dict[str, str]:
    return {item.database_end: item.content for item in read(_whole(node)) if isinstance(item, DatabaseEnds)}


def test_what_somebody_else_wrote_into_a_staged_database_is_found() -> None:
    source = many(5_000)
    body, node = _whole(source), fresh()
    half = len(body) // 2
    connection = node.sending()
    connection.send(request("POST", "/restore", b"", {"Content-Length": str(len(body))}) + body[:half])
    assert node.twin.commands, "a restore writes while its body still comes"
    node.clock.advance(1)
    staged = next(command.name for command in node.twin.commands if isinstance(command, StageDatabase))
    assert node.post(f"/insert?db={staged}", {"table_name": "students", "row_id": "intruder", "data": {}}).status == 200
    connection.send(body[half:])
    for _ in range(30):
        node.clock.advance(0.1)
    reply = connection.response()
    assert (reply.status, reply.code) == (409, "content_mismatch")
    assert node.twin.tables.databases() == []


def test_a_client_that_goes_away_leaves_its_staged_database_for_the_next_attempt() -> None:
    body, node = _whole(many(5_000)), fresh()
    connection = node.connect()
    connection.send(request("POST", "/restore", b"", {"Content-Length": str(len(body))}) + body[: len(body) // 2])
    node.clock.advance(1)
    connection.lose()
    node.clock.advance(1)
    assert not any(isinstance(command, DropDatabase | SwitchDatabases) for command in node.twin.commands)
    assert put(node, body).status == 200
    assert databases(node) == ["school"]


def test_a_page_of_another_origin_may_not_restore() -> None:
    node = filled()
    connection = node.start("POST", "/restore", node.get("/backup").body, {"Origin": "http://evil.example"})
    assert connection.response().code == "cross_origin"


def test_many_columns_make_small_slices() -> None:
    columns = tuple(Column(f"c{n}") for n in range(10))
    body, node = forged(columns, [(f"{n:03}", *range(10), 1) for n in range(100)]), fresh(batch_cells_max=100)
    assert put(node, body).status == 200
    assert max(len(command.rows) for command in node.twin.commands if isinstance(command, Insert)) == 10


def test_many_bytes_make_a_slice_too() -> None:
    body, node = forged((Column("a"),), [(f"{n}", "x" * 200_000, 1) for n in range(5)]), fresh()
    assert put(node, body).status == 200
    assert [len(command.rows) for command in node.twin.commands if isinstance(command, Insert)] == [1] * 5


def test_a_restored_file_can_be_backed_up_and_restored_again() -> None:
    first = filled()
    second, third = fresh(), fresh()
    put(second, first.get("/backup").body)
    put(third, second.get("/backup").body)
    assert contents(third) == contents(first)
    heads = [json.loads(node.get("/backup").body.splitlines()[0]) for node in (first, third)]
    assert heads[0]["rows"] == heads[1]["rows"]


def test_a_broken_disk_ends_the_node_and_drops_nothing() -> None:
    body, node = many(3).get("/backup").body, fresh()
    node.twin.errors["propose"] = StorageFailed("the disk is broken")
    reply = put(node, body)
    assert (reply.status, reply.code) == (500, "internal")
    assert node.twin.fatals == [node.twin.errors["propose"]]
    assert not any(isinstance(command, DropDatabase) for command in node.twin.commands)


class SlowTables:
    """Each slice of a scan takes 0.1 s. The scans are remembered."""

    def __init__(self, node: Node) -> None:
        self._tables, self._clock = node.twin.tables, node.clock
        self.scans: list[SlowScan] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tables, name)

    def scan(self, query: Any) -> SlowScan:
        self.scans.append(SlowScan(self._tables.scan(query), self._clock))
        return self.scans[-1]


class SlowScan:
    def __init__(self, scan: Any, clock: Any) -> None:
        self._scan, self._clock = scan, clock
        self.is_closed = False

    def __iter__(self) -> Iterator[Any]:
        for rows in self._scan:
            self._clock.rightNow += 0.1
            yield rows

    def close(self) -> None:
        self.is_closed = True
        self._scan.close()


def test_what_was_restored_is_read_back_in_short_scans_and_each_is_closed() -> None:
    """One that is left open holds the WAL, and a place among the long ones, until it is too old."""
    node, other = many(5_000), fresh(scan_seconds=1.0)  # a quarter of it for each scan
    tables = other.twin._tables = SlowTables(other)
    assert put(other, node.get("/backup").body).status == 200
    assert len(tables.scans) == 4, "of ten slices three to a scan"
    assert all(scan.is_closed for scan in tables.scans)
    other.twin._tables = tables._tables
    assert contents(other) == contents(node)
