"""Attacks on the HTTP port that have a name, each as one request. Those on framing, Host and JSON stand in tests/web."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from fuzz_requests import SMUGGLED
from storage_kit import Client
from web_client import PING, Node, raw, refused, request
from web_twin import config_of

from ddbd.commands import Column, CreateTable, InitDatabase, Insert
from ddbd.config import Limits
from ddbd.storage import Query
from ddbd.storage.tables import SqliteTables
from ddbd.web.canonical import quoted

BYTES_A_CONNECTION = 32 * 1024

SQL = (
    "'; DROP TABLE students; --",
    "\"; ATTACH DATABASE '/tmp/x' AS x; --",
    "PRAGMA writable_schema=1",
    "load_extension('x')",
    "readfile('/etc/passwd')",
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT * FROM c",
    "zeroblob(2147483647)",
    "SELECT * FROM t, t, t, t, t, t, t, t, t",
    "x' OR '1'='1",
    "%_%",
    "a\0b",
)


@pytest.fixture
def node() -> Node:
    return Node().with_students()


def test_a_field_of_17_kb_is_served_and_600_fields_are_not(node: Node) -> None:
    assert node.call("GET", "/ping", headers={"X": "x" * 17_000}).status == 200
    head = b"".join(b"X-%d: x\r\n" % number for number in range(600))
    assert refused(node, PING[:-2] + head + b"\r\n") == (431, "head_too_large")


def test_a_head_whose_lines_end_in_bare_lf_is_never_served(node: Node) -> None:
    connection = raw(node, PING.replace(b"\r\n", b"\n"))
    node.clock.advance(11)
    assert connection.response().status in (400, 408)
    assert connection.wire.closed


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_star_is_a_path_for_options_alone(node: Node, method: str) -> None:
    reply = node.call(method, "*")
    assert (reply.status, reply.code) == (404, "not_found")


def test_a_request_that_hides_in_a_body_is_no_request(node: Node) -> None:
    framings = (
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Content-Length: 0\r\nContent-Length: 99\r\n",
    )
    before = len(node.twin.commands)
    for framing in framings:
        assert refused(node, b"POST /insert HTTP/1.1\r\nHost: localhost:8080\r\n" + framing + b"\r\n" + SMUGGLED)[0] == 400
    body = b'{"table_name":"students","data":{"name":' + json.dumps(SMUGGLED.decode()).encode() + b"}}"
    assert len(raw(node, request("POST", "/insert", body)).responses()) == 1
    assert len(node.twin.commands) == before + 1


def test_a_thousand_idle_connections_cost_little_and_others_are_served() -> None:
    node = Node(config_of(Limits(connections_max=1_000)))
    tracemalloc.start()
    idle = [node.connect() for _ in range(1_000)]
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < len(idle) * BYTES_A_CONNECTION
    idle.pop().lose()
    assert node.call("GET", "/ping").status == 200
    node.clock.advance(node.config.limits.head_seconds + 1)
    assert all(connection.wire.closed for connection in idle)


@pytest.mark.parametrize("name", ["__proto__", "constructor", "toString", "__class__", "$where"])
def test_names_that_other_languages_fall_for_are_plain_keys(node: Node, name: str) -> None:
    value = {name: {name: 1}}
    assert node.post("/insert", {"table_name": "students", "row_id": "p", "data": {"name": value}}).status == 200
    assert node.get("/select?table=students&row_id=p").json[0]["name"] == value
    assert node.post("/insert", {"table_name": "students", "data": {name: 1}}).code == "unknown_column"


def test_a_key_of_a_megabyte_and_100_000_keys_are_answered_in_one_short_sentence(node: Node) -> None:
    for data in ({"k" * 1_000_000: 1}, {f"k{number}": number for number in range(100_000)}):
        reply = node.post("/insert", {"table_name": "students", "data": data})
        assert (reply.status, len(reply.body) < 2_000) == (400, True)
    assert node.post("/insert", {"table_name": "students", "data": {"name": {"k" * 1_000_000: 1}}}).status == 200
    assert node.post("/insert", {"k" * 1_000_000: 1}).code == "unknown_field"


@pytest.mark.parametrize("text", ["\0", "a\0b", "\x01\x1f", "\ufeff", "\u2028\u2029", "\u202eevil"])
def test_control_characters_in_a_value_come_back_as_they_went(node: Node, text: str) -> None:
    assert node.post("/insert", {"table_name": "students", "row_id": "c", "data": {"name": text}}).status == 200
    assert node.get("/select?table=students&row_id=c").json[0]["name"] == text


@pytest.mark.parametrize("row_id", ["\U0001fae8", "\u202ex", "\x7f", "ü"])
def test_a_sentence_of_apply_is_the_same_under_every_version_of_unicode(node: Node, row_id: str) -> None:
    """It goes into the chained hash. U+1FAE8 is printable from Unicode 15 on, so `repr` would show it to some interpreters alone."""
    body = {"table_name": "students", "row_id": row_id, "data": {}}
    assert node.post("/insert", body).status == 200
    assert ascii(row_id) in node.post("/insert", body).json["detail"]
    for call in ("/update", "/delete_record"):
        more: dict[str, Any] = {"new_data": {}} if call == "/update" else {}
        reply = node.post(call, {"table_name": "students", "row_id": row_id + "!", **more})
        assert ascii(row_id + "!") in reply.json["detail"]


@pytest.mark.parametrize("text", ["\u202eevil", "\x7f", "\u2028", "\x9b31m", "\U000e0001"])
def test_a_sentence_shows_no_character_that_a_terminal_obeys(node: Node, text: str) -> None:
    assert quoted(text).isprintable()
    assert node.post("/insert", {"table_name": text, "data": {}}).json["detail"].isprintable()


@pytest.mark.parametrize("text", SQL)
def test_sql_is_text_wherever_a_client_puts_it(tmp_path: Path, text: str) -> None:
    tables = SqliteTables(str(tmp_path / "tables.db"), str(tmp_path), Limits(disk_reserve_bytes=0), lambda: 0.0)
    try:
        client = Client(tables)
        client.register(1)
        for command in (
            InitDatabase("d"),
            CreateTable(None, "t", (Column("v", index=True),)),
            Insert(None, "t", (("1", {"v": text}), ("2", {"v": "other"}))),
        ):
            assert not client.do(command).code
        for op in ("eq", "prefix", "contains", "ge"):
            found = [row for rows in tables.scan(Query(None, "t", column="v", op=op, value=text)) for row in rows]
            assert ("1", text) in [row[:2] for row in found]
        assert tables.row(None, "t", text) is None
        assert [table.row_count for _, infos in tables.databases() for table in infos] == [2]
    finally:
        tables.close()


@pytest.mark.parametrize("name", ['a"b', "a; DROP TABLE t", "a--", "sqlite_master", "a\0b", "a'b", "[a]", "`a`"])
@pytest.mark.parametrize("call", ["table_name", "db_name", "columns"])
def test_sql_in_a_name_is_no_name(node: Node, name: str, call: str) -> None:
    body: dict[str, Any] = {"db_name": "school", "table_name": "t", "columns": ["a"], call: [name] if call == "columns" else name}
    assert node.post("/create_table", body).code == "invalid_name"


@pytest.mark.parametrize(
    "cell", ["<script>alert(1)</script>", "<img onerror=alert(1) src=x>", "javascript:alert(1)", "</script>", "=1+1", "@SUM(A1)"]
)
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
def test_markup_and_formulas_come_back_as_data_that_no_browser_sniffs(node: Node, cell: str, accept: str) -> None:
    node.post("/insert", {"table_name": "students", "row_id": "m", "data": {"name": cell}})
    reply = node.get("/select?table=students&row_id=m", Accept=accept)
    assert cell.encode() in reply.body
    assert reply.header("Content-Type") != "text/html"
    assert reply.header("X-Content-Type-Options") == "nosniff"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_of_another_origin_writes_nothing(node: Node, content_type: str) -> None:
    before = len(node.twin.commands)
    headers = {"Content-Type": content_type, "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert node.call("POST", "/drop_database", {"db_name": "school"}, headers).code == "cross_origin"
    assert len(node.twin.commands) == before


def test_a_websocket_of_another_origin_is_not_opened(node: Node) -> None:
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Origin": "http://evil.example"}
    reply = node.call("GET", "/status", headers=fields)
    assert reply.status == 200
    assert "upgrade" not in reply.headers
    assert reply.header("Access-Control-Allow-Origin") is None


def test_a_name_that_was_bound_to_this_address_by_someone_else_is_421(node: Node) -> None:
    for host in ("evil.example", "evil.example:8080", "localhost.evil.example:8080"):
        assert node.call("GET", "/status", headers={"Host": host}).code == "misdirected"
