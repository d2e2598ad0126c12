"""The streaming load: any length, slice by slice, held back, continued, and refused at the first bad row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from web_client import Connection, Node, Response, chunked, request
from web_twin import config_of

from ddbd.config import Limits
from ddbd.errors import NoLeader, OutcomeUnknown, StorageFailed

NDJSON, CSV = "application/x-ndjson", "text/csv"
TYPED = [
    {"name": "i", "type": "integer"},
    {"name": "r", "type": "real"},
    {"name": "b", "type": "boolean"},
    {"name": "j", "type": "json"},
    "a",
]


@pytest.fixture
def node() -> Node:
    return Node().with_students()


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def many(count: int, first: int = 0) -> bytes:
    return lines(*({"row_id": f"n{n:05}", "id": n} for n in range(first, first + count)))


def load(node: Node, body: bytes, kind: str = NDJSON, query: str = "", **headers: str) -> Response:
    return node.post(f"/insert?table=students{query}", body, Content_Type=kind, **headers)


def opened(node: Node, kind: str = NDJSON, query: str = "") -> Connection:
    head = request("POST", f"/insert?table=students{query}", b"", {"Transfer-Encoding": "chunked", "Content-Type": kind})
    connection = node.sending()
    connection.send(head)
    return connection


def rows(node: Node) -> Any:
    """All but the one that was there before."""
    return [row for row in node.get("/select?table=students").json if row["row_id"] != "1"]


def test_a_load_counts_its_rows(node: Node) -> None:
    reply = load(node, many(2_500))
    assert reply.status == 200
    assert reply.json == {"rows": 2_500, "slices": 3, "index": node.twin.applied_index}
    assert [row["id"] for row in rows(node)] == list(range(2_500))


def test_an_empty_load_is_no_error(node: Node) -> None:
    for body, kind in ((b"", NDJSON), (b"\n\n", NDJSON), (b"", CSV), (b"row_id,id\r\n", CSV)):
        assert load(node, body, kind).json["rows"] == 0


@pytest.mark.parametrize("kind", [NDJSON, CSV])
def test_what_select_gives_a_load_takes(kind: str) -> None:
    node = Node().with_students()
    for row_id, value in (("x", 'a,b\n"c"'), ("y", ""), ("z", None)):
        node.post("/insert", {"table_name": "students", "row_id": row_id, "data": {"id": value, "name": "é🙂"}})
    before = node.get("/select?table=students", Accept=kind).body
    node.post("/delete_table", {"table_name": "students"})
    node.post("/create_table", {"table_name": "students", "columns": ["id", "name", "grade"]})
    assert load(node, before, kind).json["rows"] == 4
    assert node.get("/select?table=students", Accept=kind).body == before


def test_a_line_may_also_have_the_shape_of_an_insert(node: Node) -> None:
    assert load(node, lines({"row_id": "a", "data": {"id": 1}}, {"data": {"id": 2}}, {"id": 3})).json["rows"] == 3
    assert sorted(row["id"] for row in rows(node)) == [1, 2, 3]


def test_a_table_with_a_column_data_takes_flat_rows_alone(node: Node) -> None:
    node.post("/create_table", {"table_name": "t", "columns": ["data"]})
    node.post("/insert?table=t", lines({"row_id": "a", "data": {"id": 1}}), Content_Type=NDJSON)
    assert node.get("/select?table=t").json == [{"row_id": "a", "data": {"id": 1}}]


def test_csv_values_are_of_their_columns_type(node: Node) -> None:
    node.post("/create_table", {"table_name": "t", "columns": TYPED})
    body = b'row_id,I,r,b,j,a\na,1,1.5,true,"{""x"":[1]}",007\nb,,,,,\nc,-2,3,false,null,""\n'
    assert node.post("/insert?table=t", body, Content_Type=CSV).json["rows"] == 3
    assert node.get("/select?table=t").json == [
        {"row_id": "a", "i": 1, "r": 1.5, "b": True, "j": {"x": [1]}, "a": "007"},
        {"row_id": "b", "i": None, "r": None, "b": None, "j": None, "a": None},
        {"row_id": "c", "i": -2, "r": 3, "b": False, "j": None, "a": ""},
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_records_may_be_cut_anywhere_on_the_way(node: Node, size: int) -> None:
    body = 'row_id,id\r\n"a\r\nb","é🙂"\r\nc,"x""y"\r\n'.encode()
    connection = opened(node, CSV)
    for place in range(0, len(body), size):
        connection.send(chunked(body[place : place + size]).removesuffix(b"0\r\n\r\n"))
    connection.send(b"0\r\n\r\n")
    assert connection.response().json["rows"] == 2
    assert {row["row_id"]: row["id"] for row in rows(node)} == {"a\r\nb": "é🙂", "c": 'x"y'}


def test_a_load_is_longer_than_any_body(node: Node) -> None:
    piece = lines({"id": "x" * 1000})
    connection = opened(node)
    for _ in range(3_000):
        connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    connection.send(b"0\r\n\r\n")
    node.clock.advance(0)
    assert connection.response().json["rows"] == 3_000
    assert max(len(command.rows) for command in node.twin.commands if hasattr(command, "rows")) <= 1_000


def test_the_client_is_held_back_while_a_slice_is_committed(node: Node) -> None:
    connection = opened(node)
    assert connection.wire.producerState == "producing"
    node.twin.holding = True
    connection.send(chunked(many(1_500)).removesuffix(b"0\r\n\r\n"))
    assert connection.wire.producerState == "paused"
    node.clock.advance(3_600)
    assert connection.out == b""
    node.twin.holding = False
    node.twin.held.pop().callback(node.twin.propose(node.twin.commands[-1], 1).result)
    assert connection.wire.producerState == "paused", "what comes next is read in a turn of its own"
    node.clock.turn()
    assert connection.wire.producerState == "producing"
    connection.send(b"0\r\n\r\n")
    assert connection.response().json["rows"] == 1_500


def test_a_load_may_last_as_long_as_something_comes(node: Node) -> None:
    connection = opened(node)
    for n in range(10):
        connection.send(chunked(many(1, n)).removesuffix(b"0\r\n\r\n"))
        node.clock.advance(59)
    node.clock.advance(2)
    reply = connection.response()
    assert (reply.status, reply.code, reply.json["rows"]) == (408, "request_timeout", 0)
    assert connection.wire.closed


def test_a_client_that_goes_away_ends_its_load(node: Node) -> None:
    connection = opened(node)
    connection.send(chunked(many(1_500)).removesuffix(b"0\r\n\r\n"))
    connection.lose()
    assert len(rows(node)) == 1_000


def test_a_load_stays_in_its_database_when_another_becomes_the_default(node: Node) -> None:
    connection = opened(node)
    connection.send(chunked(many(1_500)).removesuffix(b"0\r\n\r\n"))
    node.post("/init_database", {"db_name": "other"})
    node.post("/create_table", {"table_name": "students", "columns": ["id"]})
    connection.send(b"0\r\n\r\n")
    assert connection.response().json["rows"] == 1_500
    assert len(node.get("/select?table=students&db=school").json) == 1_501
    assert node.get("/select?table=students&db=other").json == []


def test_a_load_without_its_content_type_is_told_what_makes_it_one(node: Node) -> None:
    reply = load(node, b"row_id,id\n2,2\n", "application/x-www-form-urlencoded")
    assert (reply.status, reply.code) == (400, "unknown_parameter")
    assert "its Content-Type, text/csv" in reply.json["detail"]


def test_a_load_expects_100_continue(node: Node) -> None:
    head = request(
        "POST", "/insert?table=students", b"", {"Transfer-Encoding": "chunked", "Content-Type": NDJSON, "Expect": "100-continue"}
    )
    connection = node.sending()
    connection.send(head)
    assert connection.out == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(chunked(many(1)))
    assert connection.responses()[1].json["rows"] == 1


def test_a_load_with_upsert_replaces(node: Node) -> None:
    assert load(node, lines({"row_id": "1", "id": "new"})).code == "row_exists"
    assert load(node, lines({"row_id": "1", "id": "a"}, {"row_id": "1", "id": "b"}), query="&upsert=true").json == {
        "rows": 2,
        "slices": 2,
        "index": node.twin.applied_index,
    }
    assert node.get("/select?table=students&row_id=1").json[0]["id"] == "b"


# Again.


def test_a_load_sent_again_goes_on_where_it_stopped(node: Node) -> None:
    body = many(2_500)
    connection = node.sending()
    head = request(
        "POST", "/insert?table=students", b"", {"Content-Length": str(len(body)), "Content-Type": NDJSON, "Idempotency-Key": "load-1"}
    )
    connection.send(head + body[: len(body) // 2])
    connection.lose()
    assert len(rows(node)) == 1_000
    reply = load(node, body, Idempotency_Key="load-1")
    assert reply.json["rows"] == 2_500
    assert load(node, body, Idempotency_Key="load-1").json == reply.json
    assert len(rows(node)) == 2_500


def test_row_ids_that_were_made_stay_when_a_load_is_sent_again(node: Node) -> None:
    for _ in range(2):
        assert load(node, lines({"id": 1}, {"id": 2}), Idempotency_Key="k").json["rows"] == 2
    assert len(rows(node)) == 2


def test_another_load_with_the_same_key_is_422(node: Node) -> None:
    load(node, many(1), Idempotency_Key="k")
    reply = load(node, many(2), Idempotency_Key="k")
    assert (reply.status, reply.code) == (422, "idempotency_mismatch")


@pytest.mark.parametrize("error", [NoLeader("no leader in time"), OutcomeUnknown("no answer in time")])
def test_a_load_that_loses_the_leader_says_how_far_it_came(node: Node, error: Any) -> None:
    connection = opened(node)
    connection.send(chunked(many(1_500)).removesuffix(b"0\r\n\r\n"))
    node.twin.errors["propose"] = error
    connection.send(b"0\r\n\r\n")
    node.clock.advance(0)
    reply = connection.response()
    assert (reply.code, reply.json["rows"], reply.json["slices"]) == (error.code, 1_000, 1)


# Refused.


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'{"id":NaN}', "invalid_json"),
        (b'{"id":1,"id":2}', "invalid_json"),
        (b'{"row_id":1}', "invalid_value"),
        (b'{"row_id":"x","data":1}', "invalid_value"),
        (b'{"nope":1}', "unknown_column"),
        (b'{"row_id":"1"}', "row_exists"),
        (b'{"row_id":"n00000"}', "row_exists"),
        (b'{"id":"\xff"}', "invalid_json"),
        (b'{"id":"' + b"x" * 1024 * 1024 + b'"}', "invalid_value"),
        (b'{"id":"' + b"x" * 3 * 1024 * 1024, "invalid_value"),
    ],
)
def test_the_first_refused_row_is_named_with_what_was_done_before(node: Node, bad: bytes, code: str) -> None:
    reply = load(node, many(1_200) + bad + b"\n" + many(10, 5_000))
    assert (reply.code, reply.json["row"], reply.json["rows"], reply.json["slices"]) == (code, 1_201, 1_000, 1)
    assert reply.status in (400, 409)
    assert len(rows(node)) == 1_000


@pytest.mark.parametrize(
    ("body", "code", "row"),
    [
        (b"id,nope\n1,2\n", "unknown_column", 0),
        (b"id,ID\n1,2\n", "invalid_csv", 0),
        (b"\xff\n", "invalid_csv", 0),
        (b"id,name\n1\n", "invalid_csv", 1),
        (b"id\n1,2\n", "invalid_csv", 1),
        (b'id\n"1\n', "invalid_csv", 1),
        (b'id\na"b"c\n', "invalid_csv", 1),
        (b'id\n1\n"a"b\n', "invalid_csv", 2),
        (b"id\n1\n\xff\n", "invalid_csv", 2),
        (b'id\n1\n"' + b"x\n" * 600_000, "invalid_csv", 2),
    ],
)
def test_csv_that_is_none_is_refused(node: Node, body: bytes, code: str, row: int) -> None:
    reply = load(node, body, CSV)
    assert (reply.status, reply.code, reply.json["row"], reply.json["rows"]) == (400, code, row, 0)


def test_a_header_of_a_hundred_thousand_names_is_refused_at_once(node: Node) -> None:
    names = ",".join(f"{n:x}" for n in range(100_000)).encode()
    reply = load(node, names + b"\n", CSV)
    assert (reply.status, reply.code, reply.json["row"]) == (400, "invalid_csv", 0)
    assert "10000 fields" in reply.json["detail"]


@pytest.mark.parametrize("bad", [{"i": "x"}, {"i": True}, {"r": "1"}, {"b": 1}, {"i": 1, "I": 2}, {"nope": 1}])
def test_a_row_of_another_type_is_named_among_the_rows_of_its_slice(node: Node, bad: Any) -> None:
    node.post("/create_table", {"table_name": "t", "columns": TYPED})
    good = [{"i": 1, "r": 2, "b": True, "j": "x", "a": [1]}, {"I": None, "r": 1.5, "a": None}]
    reply = node.post("/insert?table=t", lines(*good, bad, *good), Content_Type=NDJSON)
    assert (reply.status, reply.json["row"], reply.json["first_row"], reply.json["last_row"]) == (400, 3, 1, 5)


@pytest.mark.parametrize(
    ("kind", "body", "sentence"),
    [
        (NDJSON, b"[1]\n", "the line is a list; send one JSON object"),
        (NDJSON, b'{"id":1\n', "the line is no JSON that can be stored: it ends too early; close every quote and every bracket"),
        (CSV, b"id,name\r1,2\r", "field 2 holds a line's end outside of quotes; put the whole field in quotes, and double those inside"),
        (CSV, b'id\nx"1"\n', "field 1 holds a quote inside; put the whole field in quotes, and double those inside"),
        (CSV, b'id\n"1"x\n', "field 1 holds something behind its closing quote; put the whole field in quotes, and double those inside"),
    ],
)
def test_the_sentence_blames_what_is_wrong(node: Node, kind: str, body: bytes, sentence: str) -> None:
    assert load(node, body, kind).json["detail"] == sentence


@pytest.mark.parametrize(("text", "shown"), [("abc", "abc"), ('""', ""), ("9223372036854775808", "9223372036854775808"), ("1.0", "1.0")])
def test_csv_says_what_an_integer_column_takes(node: Node, text: str, shown: str) -> None:
    node.post("/create_table", {"table_name": "t", "columns": TYPED})
    reply = node.post("/insert?table=t", f"i\n{text}\n".encode(), Content_Type=CSV)
    assert (reply.code, reply.json["detail"]) == ("invalid_value", f'i is "{shown}"; the column holds whole numbers of 64 bits, as in 20')


@pytest.mark.parametrize(("column", "text"), [("i", "1.5"), ("i", "x"), ("i", "true"), ("b", "1"), ("r", "1e999"), ("j", "{"), ("i", '""')])
def test_csv_of_another_type_is_refused(node: Node, column: str, text: str) -> None:
    node.post("/create_table", {"table_name": "t", "columns": TYPED})
    reply = node.post("/insert?table=t", f"{column}\n{text}\n".encode(), Content_Type=CSV)
    assert (reply.status, reply.json["row"]) == (400, 1)


def test_a_load_refused_on_its_way_is_answered_at_once(node: Node) -> None:
    connection = opened(node)
    connection.send(chunked(b"nonsense\n").removesuffix(b"0\r\n\r\n"))
    reply = connection.response()
    assert (reply.status, reply.header("Connection")) == (400, "close")
    connection.send(b"5\r\nhello\r\n0\r\n\r\n" + request("GET", "/ping"))
    assert connection.response().status == 400


@pytest.mark.parametrize(
    "query", ["", "?table=nope", "?table=students&nope=1", "?table=a-b", "?table=students&upsert=1", "?table=students&db=x"]
)
def test_a_load_that_cannot_begin_is_refused_before_its_body(node: Node, query: str) -> None:
    connection = node.connect()
    connection.send(request("POST", f"/insert{query}", b"", {"Transfer-Encoding": "chunked", "Content-Type": NDJSON}))
    assert connection.response().status in (400, 404)
    assert connection.wire.closed


def test_a_malformed_chunk_ends_the_load(node: Node) -> None:
    connection = opened(node)
    connection.send(chunked(many(1)).removesuffix(b"0\r\n\r\n") + b"zz\r\n")
    reply = connection.response()
    assert (reply.status, reply.code, reply.json["rows"]) == (400, "bad_request", 0)


def test_a_small_batch_limit_makes_small_slices() -> None:
    node = Node(config_of(Limits(batch_rows_max=2))).with_students()
    assert load(node, many(5)).json == {"rows": 5, "slices": 3, "index": node.twin.applied_index}


def test_many_columns_make_small_slices() -> None:
    node = Node(config_of(Limits(batch_cells_max=7))).with_students()
    assert load(node, many(5)).json == {"rows": 5, "slices": 3, "index": node.twin.applied_index}


def test_many_bytes_make_a_slice_too(node: Node) -> None:
    assert load(node, lines(*({"id": "x" * 100_000} for _ in range(5)))).json["slices"] == 3


def test_one_connection_serves_a_load_and_then_others(node: Node) -> None:
    connection = opened(node)
    connection.send(chunked(many(3)) + request("GET", "/ping"))
    assert [response.status for response in connection.responses()] == [200, 200]


def test_a_broken_disk_in_a_load_ends_the_node(node: Node) -> None:
    node.twin.errors["propose"] = StorageFailed("the disk is broken")
    reply = load(node, many(1))
    assert (reply.status, reply.code) == (500, "internal")
    assert node.twin.fatals == [node.twin.errors["propose"]]
