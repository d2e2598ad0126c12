"""What a client must not send: one clear sentence each, and nothing of it proposed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web_client import Node, Response
from web_twin import config_of

from ddbd.config import Limits
from ddbd.errors import Refused
from ddbd.web.canonical import decode, decode_object


@pytest.fixture(scope="module")
def node(channel: None) -> Node:
    return Node().with_students()


def refused(node: Node, target: str, body: Any, **headers: str) -> Response:
    before = len(node.twin.commands)
    reply = node.post(target, body, **headers)
    assert reply.status == 400, reply
    assert set(reply.json) == {"type", "title", "status", "detail", "code"}
    assert len(reply.json["detail"]) < 500
    assert "\n" not in reply.json["detail"]
    assert len(node.twin.commands) == before
    return reply


def deep(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


INSERT = b'{"table_name":"students","row_id":"x","data":%s}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{} {}",
        b"{}x",
        b'{"a":1,}',
        b"{'a':1}",
        b"[]",
        b"1",
        b'"text"',
        b"null",
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        b'{"a":"\xff"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\x01"}',
        INSERT % b'{"id":NaN}',
        INSERT % b'{"id":Infinity}',
        INSERT % b'{"id":-Infinity}',
        INSERT % b'{"id":1e999}',
        INSERT % b'{"id":-1e999}',
        INSERT % b'{"id":9223372036854775808}',
        INSERT % b'{"id":-9223372036854775809}',
        INSERT % b'{"id":18446744073709551616}',
        INSERT % b'{"id":[{"x":18446744073709551615}]}',
        INSERT % (b'{"id":' + b"9" * 5000 + b"}"),
        INSERT % b'{"id":"\\ud800"}',
        INSERT % b'{"\\udfff":1}',
        INSERT % b'{"id":1,"id":2}',
        INSERT % b'{"id":1,"\\u0069d":2}',
        INSERT % b'{"id":{"a:b":1,"a\\u003ab":2}}',
        INSERT % b'{"id":":\\u003a","id":"\\u003a:\\u003a"}',
        b'{"table_name":"students","table_name":"students","data":{}}',
        INSERT % deep(64),
        deep(65),
        deep(2_000),
        b'{"a":' * 200_000,
        b"[" * 200_000,
        deep(200_000),
    ],
)
def test_a_body_that_is_no_storable_json_object_is_invalid_json(node: Node, body: bytes) -> None:
    assert refused(node, "/insert", body).code == "invalid_json"


def test_depth_64_is_stored(node: Node) -> None:
    assert node.post("/insert", INSERT % (b'{"id":' + deep(62) + b"}")).status == 200


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0) if isinstance(value, dict | list) else 0


@pytest.mark.parametrize("depth_max", [1, 5, 8, 9, 64])
@pytest.mark.parametrize("shape", [b"%s", b"[%s]", b"[[],%s]", b'[{"a":[]},%s,[[]]]', b'["[[[\\"",%s,{"[":{}}]'])
def test_the_depth_is_counted_exactly_whatever_stands_beside(shape: bytes, depth_max: int) -> None:
    for levels in range(1, 70):
        body = shape % deep(levels)
        if depth(json.loads(body)) > depth_max:
            with pytest.raises(Refused, match="nested too deeply"):
                decode(body, depth_max, "the body")
        else:
            decode(body, depth_max, "the body")


def test_brackets_and_colons_within_text_count_for_nothing(node: Node) -> None:
    value = "[{:" * 100 + '"\\' + "}]:" * 100
    assert node.post("/insert", {"table_name": "students", "data": {"id": value, "name": {value: value}}}).status == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), json_values, max_size=5), st.booleans())
def test_whatever_json_says_in_time_comes_through_unchanged(value: Any, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert json.dumps(decode_object(body, 64)) == json.dumps(value)


@given(json_values, st.text(), json_values)
def test_a_key_given_twice_is_found_wherever_it_stands(value: Any, key: str, other: Any) -> None:
    pair = json.dumps(key) + ":" + json.dumps(value)
    body = (
        f"[1,{{{pair},{json.dumps(other)!s}:1}}]" if isinstance(other, str) else f"[{{{pair}, {json.dumps(key, ensure_ascii=False)} : 1}}]"
    )
    if isinstance(other, str) and other != key:
        assert len(decode(body.encode(), 64, "it")[1]) == 2
        return
    with pytest.raises(Refused, match="twice"):
        decode(body.encode(), 64, "it")


@pytest.mark.parametrize(
    ("target", "body", "code"),
    [
        ("/init_database", {}, "missing_field"),
        ("/init_database", {"db_name": 1}, "invalid_value"),
        ("/init_database", {"db_name": None}, "invalid_value"),
        ("/init_database", {"db_name": "d", "user": 1}, "invalid_value"),
        ("/init_database", {"db_name": "d", "password": ["x"]}, "invalid_value"),
        ("/init_database", {"db_name": "d", "host": None}, "invalid_value"),
        ("/init_database", {"db_name": "d", "port": 1}, "unknown_field"),
        ("/drop_database", {}, "missing_field"),
        ("/create_table", {"table_name": "t"}, "missing_field"),
        ("/create_table", {"columns": ["a"]}, "missing_field"),
        ("/create_table", {"table_name": "t", "columns": []}, "invalid_value"),
        ("/create_table", {"table_name": "t", "columns": "a"}, "invalid_value"),
        ("/create_table", {"table_name": "t", "columns": {"a": "text"}}, "invalid_value"),
        ("/create_table", {"table_name": "t", "columns": [f"c{n}" for n in range(1001)]}, "invalid_value"),
        ("/create_table", {"table_name": "t", "columns": ["a", "A"]}, "invalid_name"),
        ("/create_table", {"table_name": "t", "columns": ["row_id"]}, "invalid_name"),
        ("/create_table", {"table_name": "t", "columns": ["_Version"]}, "invalid_name"),
        ("/create_table", {"table_name": "t", "columns": [1]}, "invalid_value"),
        ("/create_table", {"table_name": "t", "columns": [{"type": "text"}]}, "missing_field"),
        ("/create_table", {"table_name": "t", "columns": [{"name": "a", "type": "varchar"}]}, "invalid_value"),
        ("/create_table", {"table_name": "t", "columns": [{"name": "a", "type": []}]}, "invalid_value"),
        ("/create_table", {"table_name": "t", "columns": [{"name": "a", "index": 1}]}, "invalid_value"),
        ("/create_table", {"table_name": "t", "columns": [{"name": "a", "unique": True}]}, "unknown_field"),
        ("/create_table", {"table_name": "t", "columns": [{"name": 1}]}, "invalid_value"),
        ("/insert", {"table_name": "students"}, "missing_field"),
        ("/insert", {"data": {}}, "missing_field"),
        ("/insert", {"table_name": "students", "data": []}, "invalid_value"),
        ("/insert", {"table_name": "students", "data": None}, "invalid_value"),
        ("/insert", {"table_name": "students", "row_id": 1, "data": {}}, "invalid_value"),
        ("/insert", {"table_name": "students", "row_id": None, "data": {}}, "invalid_value"),
        ("/insert", {"table_name": "students", "row_id": "", "data": {}}, "invalid_value"),
        ("/insert", {"table_name": "students", "row_id": "a\0b", "data": {}}, "invalid_value"),
        ("/insert", {"table_name": "students", "row_id": "ü" * 513, "data": {}}, "invalid_value"),
        ("/insert", {"table_name": "students", "data": {}, "upsert": 1}, "invalid_value"),
        ("/insert", {"table_name": "students", "data": {}, "if_version": 1}, "unknown_field"),
        ("/insert", {"table_name": "students", "rows": []}, "invalid_value"),
        ("/insert", {"table_name": "students", "rows": {}}, "invalid_value"),
        ("/insert", {"table_name": "students", "rows": [1]}, "invalid_value"),
        ("/insert", {"table_name": "students", "rows": [{}]}, "missing_field"),
        ("/insert", {"table_name": "students", "rows": [{"row_id": 1, "data": {}}]}, "invalid_value"),
        ("/insert", {"table_name": "students", "rows": [{"data": {}, "x": 1}]}, "unknown_field"),
        ("/insert", {"table_name": "students", "rows": [{"data": {}}], "row_id": "1"}, "invalid_value"),
        ("/insert", {"table_name": "students", "rows": [{"data": {}}] * 10_001}, "invalid_value"),
        ("/update", {"table_name": "students", "row_id": "1"}, "missing_field"),
        ("/update", {"table_name": "students", "new_data": {}}, "missing_field"),
        ("/update", {"table_name": "students", "row_id": "1", "data": {}}, "unknown_field"),
        ("/update", {"table_name": "students", "row_id": "1", "new_data": {}, "if_version": -1}, "invalid_value"),
        ("/update", {"table_name": "students", "row_id": "1", "new_data": {}, "if_version": 1.0}, "invalid_value"),
        ("/update", {"table_name": "students", "row_id": "1", "new_data": {}, "if_version": True}, "invalid_value"),
        ("/update", {"table_name": "students", "row_id": "1", "new_data": {}, "if_version": None}, "invalid_value"),
        ("/delete_record", {"table_name": "students"}, "missing_field"),
        ("/delete_record", {"table_name": "students", "row_id": ["1"]}, "invalid_value"),
        ("/insert?nope=1", {"table_name": "students", "data": {}}, "unknown_parameter"),
        ("/insert?db=a&db=a", {"table_name": "students", "data": {}}, "invalid_value"),
        ("/insert?timeout=0", {"table_name": "students", "data": {}}, "invalid_value"),
        ("/insert?forward=yes", {"table_name": "students", "data": {}}, "invalid_value"),
        ("/insert?db=a-b", {"table_name": "students", "data": {}}, "invalid_name"),
    ],
)
def test_a_field_that_is_wrong_is_400_with_its_code(node: Node, target: str, body: Any, code: str) -> None:
    reply = refused(node, target, body)
    assert reply.code == code, reply.json["detail"]


BAD_NAMES = ["", "1a", "a b", "a-b", "ü", "a" * 64, "sqlite_x", "SQLite_x", 'a"b', "a;b", "a--", "a\0b", "a.b", "a\n", "<script>", "$a"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_none_is_invalid_name_everywhere(node: Node, name: str) -> None:
    bodies = [
        ("/init_database", {"db_name": name}),
        ("/drop_database", {"db_name": name}),
        ("/create_table", {"table_name": name, "columns": ["a"]}),
        ("/create_table", {"table_name": "t", "columns": [name]}),
        ("/create_table", {"table_name": "t", "columns": [{"name": name}]}),
        ("/delete_table", {"table_name": name}),
        ("/insert", {"table_name": name, "data": {}}),
        ("/insert", {"table_name": "t", "db_name": name, "data": {}}),
    ]
    assert {refused(node, target, body).code for target, body in bodies} == {"invalid_name"}


@pytest.mark.parametrize("name", ["a", "_", "a" * 63, "row_id", "select", "sqlite", "__proto__", "constructor"])
def test_a_name_that_is_one_is_taken(node: Node, name: str) -> None:
    assert node.post("/create_table", {"table_name": name, "columns": ["a"]}).status == 200


def test_a_number_as_row_id_is_told_what_would_be_right(node: Node) -> None:
    assert '"1"' in refused(node, "/insert", {"table_name": "students", "row_id": 1, "data": {}}).json["detail"]


def test_a_row_of_a_mebibyte_is_stored_and_a_larger_one_refused(node: Node) -> None:
    room = 1024 * 1024 - len('{"id":""}')
    body = {"table_name": "students", "row_id": "big", "upsert": True, "data": {"id": "x" * room}}
    assert node.post("/insert", body).status == 200
    body["data"] = {"id": "x" * (room + 1)}
    assert "1048576" in refused(node, "/insert", body).json["detail"]
    assert refused(node, "/insert", {"table_name": "students", "rows": [{"data": body["data"]}]}).code == "invalid_value"
    assert refused(node, "/update", {"table_name": "students", "row_id": "big", "new_data": body["data"]}).code == "invalid_value"


def test_the_limits_of_the_config_count() -> None:
    small = Node(
        config_of(
            Limits(
                batch_rows_max=2, columns_max=2, indexes_max=1, row_id_bytes_max=3, json_depth_max=4, row_bytes_max=20, body_bytes_max=100
            )
        )
    )
    small.post("/init_database", {"db_name": "d"})
    assert refused(small, "/create_table", {"table_name": "t", "columns": ["a", "b", "c"]}).code == "invalid_value"
    indexed = [{"name": "a", "index": True}, {"name": "b", "index": True}]
    assert refused(small, "/create_table", {"table_name": "t", "columns": indexed}).code == "invalid_value"
    assert small.post("/create_table", {"table_name": "t", "columns": ["a", "b"]}).status == 200
    assert refused(small, "/insert", {"table_name": "t", "rows": [{"data": {}}] * 3}).code == "invalid_value"
    assert refused(small, "/insert", {"table_name": "t", "row_id": "abcd", "data": {}}).code == "invalid_value"
    assert refused(small, "/insert", {"table_name": "t", "data": {"a": [[[]]]}}).code == "invalid_json"
    assert refused(small, "/insert", {"table_name": "t", "data": {"a": "x" * 20}}).code == "invalid_value"
    assert small.post("/insert", b" " * 101).code == "body_too_large"


@pytest.mark.parametrize(
    ("odd", "taken"),
    [
        (b'{"row_id": "x", "data": {"id": "[{:"}}', True),
        (b'{"row_id": "x", "data": {"id": [{"a": [1]}]}}', True),
        (b'{"row_id": "x", "data": {"id": 1, "id": 2}}', False),
        (b'{"row_id": "x", "row_id": "y", "data": {}}', False),
        (b'{"row_id": "x", "data": {"id": [1]}, "data": {}}', False),
        (b'{"row_id": "x", "data": {"id": 1, "\\u0069d": 2}}', False),
        (b'{"row_id": "x", "data": {"id": ' + b"[" * 62 + b"]" * 62 + b"}}", False),
        (b'{"row_id": "x", "data": {"id": ["]", ["]", "[", "["], ' + b"[" * 59 + b"]" * 59 + b"]}}", True),
    ],
)
def test_one_odd_row_of_a_large_batch_is_seen(node: Node, odd: bytes, taken: bool) -> None:
    """A batch is looked at as a whole, by its brackets and colons."""
    plain = b", ".join([b'{"data": {"id": "1", "name": null}}'] * 100)
    reply = node.post("/insert", b'{"table_name": "students", "upsert": true, "rows": [%s, %s]}' % (plain, odd))
    assert (reply.status == 200) == taken, reply.body
    assert taken or reply.code == "invalid_json"


def test_a_batch_of_too_many_values_is_refused_with_what_would_fit() -> None:
    """Every column of every row costs each node time, also where it is null: 10,000 rows of 1,000 columns would stall it for a second."""
    node = Node(config_of(Limits(batch_cells_max=6))).with_students()
    reply = node.post("/insert", {"table_name": "students", "rows": [{"data": {}}] * 3})
    assert (reply.status, reply.code) == (400, "invalid_value")
    assert reply.json["detail"] == "rows has 3 rows of 3 columns; a batch has at most 6 values: send 2 rows at once, or fewer"
    assert node.post("/insert", {"table_name": "students", "rows": [{"data": {}}] * 2}).status == 200


def test_a_single_row_is_never_too_many_values() -> None:
    node = Node(config_of(Limits(batch_cells_max=1))).with_students()
    assert node.post("/insert", {"table_name": "students", "rows": [{"data": {}}]}).status == 200
    assert node.post("/insert", {"table_name": "students", "row_id": "1", "data": {}, "upsert": True}).status == 200


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "missing_field"),
        ("table=", "invalid_name"),
        ("table=a%20b", "invalid_name"),
        ("table=students&table=students", "invalid_value"),
        ("table=students&nope=1", "unknown_parameter"),
        ("table=students&column=id", "unknown_parameter"),
        ("table=students&limit=0", "invalid_value"),
        ("table=students&limit=-1", "invalid_value"),
        ("table=students&limit=1.5", "invalid_value"),
        ("table=students&limit=", "invalid_value"),
        ("table=students&limit=%D9%A1", "invalid_value"),
        ("table=students&limit=" + "9" * 19, "invalid_value"),
        ("table=students&limit=" + "9" * 5000, "invalid_value"),
        ("table=students&timeout=abc", "invalid_value"),
        ("table=students&timeout=nan", "invalid_value"),
        ("table=students&timeout=inf", "invalid_value"),
        ("table=students&timeout=1e3", "invalid_value"),
        ("table=students&timeout=-1", "invalid_value"),
        ("table=students&timeout=0.0", "invalid_value"),
        ("table=students&timeout=301", "invalid_value"),
        ("table=students&consistency=strong", "invalid_value"),
        ("table=students&min_index=x", "invalid_value"),
        ("table=students&versions=1", "invalid_value"),
        ("table=students&db=x%00", "invalid_name"),
        ("table=students&columns=", "invalid_name"),
        ("table=students&columns=id,,name", "invalid_name"),
        ("table=students&columns=nope", "unknown_column"),
        ("table=students&row_id=", "invalid_value"),
        ("table=students&row_id=%00", "invalid_value"),
        ("table=students&row_id=1&columns=nope", "unknown_column"),
        ("table=%ff", "invalid_value"),
        ("&".join(f"p{n}=1" for n in range(101)), "invalid_value"),
    ],
)
def test_a_parameter_that_is_wrong_is_400_with_its_code(node: Node, query: str, code: str) -> None:
    reply = node.get(f"/select?{query}")
    assert (reply.status, reply.code) == (400, code), reply.json["detail"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("table=students", "missing_field"),
        ("table=students&column=id", "missing_field"),
        ("table=students&value=1", "missing_field"),
        ("table=students&column=id&value=1&op=like", "invalid_value"),
        ("table=students&column=nope&value=1", "unknown_column"),
        ("table=students&column=id;drop&value=1", "invalid_name"),
        ("table=students&column=id&value=1&row_id=1", "unknown_parameter"),
    ],
)
def test_a_search_that_is_wrong_is_400_with_its_code(node: Node, query: str, code: str) -> None:
    reply = node.get(f"/search?{query}")
    assert (reply.status, reply.code) == (400, code), reply.json["detail"]
