"""Every call against a real node in memory: its Site, its door, its tables. And what both clients promise of their arguments."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from client_kit import ADDRESSES, Form, MemoryNodes, answer

import ddbd.client
from ddbd.client import (
    AsyncClient,
    Client,
    DatabaseNotFound,
    InvalidName,
    InvalidValue,
    KeyReused,
    NoDatabase,
    Request,
    RowExists,
    RowNotFound,
    TableExists,
    TableNotFound,
    UnknownColumn,
    VersionMismatch,
    Wanted,
    addresses_of,
)
from ddbd.client.http import path_of, to_json
from ddbd.client.nodes import Nodes, check_address
from ddbd.errors import ConfigError


@pytest.fixture
def client(form: Form) -> Any:
    """Of a node with the table students and the row 1."""
    return form.client(MemoryNodes())


AHMED = {"row_id": "1", "id": "1", "name": "Ahmed", "grade": "A"}


def test_the_catalogue(client: Any) -> None:
    assert client.init_database("other") is True
    assert client.init_database("other") is False
    assert client.create_table("t", ["a", {"name": "n", "type": "integer", "index": True}]) is True
    assert client.create_table("t", ["a", {"name": "n", "type": "integer", "index": True}], db="other") is False
    with pytest.raises(TableExists):
        client.create_table("t", ["b"])
    client.delete_table("t")
    with pytest.raises(TableNotFound):
        client.delete_table("t", db="other")
    client.drop_database("other")
    with pytest.raises(NoDatabase):
        client.select("students")
    with pytest.raises(DatabaseNotFound):
        client.drop_database("other")
    assert client.get("students", "1", db="school").row == AHMED


def test_a_row_is_inserted_read_changed_and_deleted(client: Any) -> None:
    written = client.insert("students", {"name": "Mona", "grade": None}, "2")
    assert (written.row_id, written.version) == ("2", written.index)
    found = client.get("students", "2")
    assert found.row == {"row_id": "2", "id": None, "name": "Mona", "grade": None}
    assert (found.row_id, found.version) == ("2", written.version)
    changed = client.update("students", "2", {"grade": "B"}, if_version=found.version)
    with pytest.raises(VersionMismatch):
        client.update("students", "2", {"grade": "C"}, if_version=found.version)
    with pytest.raises(VersionMismatch):
        client.delete("students", "2", if_version=found.version)
    assert client.delete("students", "2", if_version=changed.version).row_id == "2"
    assert client.get("students", "2") is None
    with pytest.raises(RowNotFound):
        client.update("students", "2", {"grade": "C"})


def test_a_flat_row_is_taken_as_a_select_gives_it(client: Any) -> None:
    [row] = client.select("students")
    assert client.insert("students", row, upsert=True).row_id == "1"
    with pytest.raises(RowExists):
        client.insert("students", row)
    with pytest.raises(ValueError, match="'1', but '2' is given beside it"):
        client.insert("students", row, "2")
    assert client.insert("students", {"name": "no id"}).row_id


def test_a_batch_is_whole_or_not_done(client: Any) -> None:
    many = client.insert_many("students", [{"row_id": "7", "name": "x"}, {"name": "y"}])
    assert many.row_ids[0] == "7"
    assert many.version == many.index
    with pytest.raises(RowExists):
        client.insert_many("students", [{"row_id": "8"}, {"row_id": "7"}])
    assert client.get("students", "8") is None


def test_integers_are_exact_and_values_come_back_type_for_type(client: Any) -> None:
    for place, value in enumerate([2**63 - 1, -(2**63), 2**53 + 1, 0.1, 1e300, True, None, "", "ü\t\n\0", {"a": [1, {"b": 2**62}]}]):
        client.insert("students", {"name": value}, f"v{place}")
        for found in (client.get("students", f"v{place}").row["name"], [*client.select_rows("students", after=f"u{place}")][place]["name"]):
            assert found == value
            assert type(found) is type(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", "\ud800"])
def test_what_cannot_be_stored_as_it_is_never_leaves_the_client(client: Any, value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        client.insert("students", {"name": value})
    assert client.wires.asked == []


def test_pages_have_a_place_where_the_next_one_begins(client: Any) -> None:
    client.insert_many("students", [{"row_id": f"r {number}", "name": "x"} for number in range(3)])
    page = client.select("students", limit=2, columns=["name"], versions=True)
    assert (len(page), page[0]["name"], page.after, page.node) == (2, "Ahmed", "r 0", "1")
    assert [*page][1].keys() == {"row_id", "name", "_version"}
    assert page.index >= 1
    rest = client.select("students", after=page.after)
    assert ([row["row_id"] for row in rest], rest.after) == (["r 1", "r 2"], None)


def test_a_search_says_what_it_looks_for(client: Any) -> None:
    client.insert_many("students", [{"row_id": "2", "name": "Ali"}, {"row_id": "3", "name": "Mona"}])
    assert [row["name"] for row in client.search("students", "name", "A", "prefix")] == ["Ahmed", "Ali"]
    assert [row["name"] for row in client.search_rows("students", "name", "Mona")] == ["Mona"]
    with pytest.raises(ValueError, match="op is 'like'; give one of eq, ne"):
        client.search("students", "name", "A", "like")


def test_reads_of_the_nodes_own_copy_say_how_old_they_may_be(client: Any) -> None:
    assert client.select("students", consistency="local").staleness_ms == 12
    assert client.select("students").staleness_ms is None
    assert client.get("students", "1", min_index=1).row == AHMED
    with pytest.raises(ValueError, match="consistency is 'eventual'"):
        client.select("students", consistency="eventual")


def test_a_mistake_has_its_own_error_with_the_line_that_shows_it(client: Any) -> None:
    with pytest.raises(UnknownColumn) as caught:
        client.insert("students", {"nome": "x"}, key="k'1")
    assert caught.value.code == "unknown_column"
    assert "the columns are" in caught.value.detail or "name" in caught.value.detail
    assert caught.value.curl == (
        "curl -sS -H 'Content-Type: application/json' -H 'Idempotency-Key: k'\"'\"'1' "
        """--data-raw '{"table_name":"students","data":{"nome":"x"}}' 'http://localhost:8080/insert?timeout=3'"""
    )
    with pytest.raises(InvalidName):
        client.create_table("no table", ["a"])
    with pytest.raises(InvalidValue):
        client.select("students", limit=0)


def test_a_key_makes_a_repetition_the_same_call(client: Any) -> None:
    first = client.insert("students", {"name": "x"}, key="k")
    assert client.insert("students", {"name": "x"}, key="k") == first
    with pytest.raises(KeyReused):
        client.insert("students", {"name": "y"}, key="k")
    keys = [request.idempotency_key for _, request in client.wires.asked]
    assert keys == ["k"] * 3


@pytest.mark.parametrize("key", ["", "x" * 256, "a\r\nHost: b", "ü"])
def test_what_is_no_key_is_refused_before_it_is_sent(client: Any, key: str) -> None:
    with pytest.raises(ValueError, match="is no idempotency key"):
        client.insert("students", {}, key=key)


def test_every_write_has_a_key_of_its_own(client: Any) -> None:
    client.insert("students", {})
    client.insert("students", {})
    keys = {request.idempotency_key for _, request in client.wires.asked}
    assert len(keys) == 2
    assert None not in keys


def test_the_nodes_are_asked_for_themselves(form: Form) -> None:
    nodes = MemoryNodes()
    nodes.node.twin.unready = "no leader is known"
    nodes.down = {ADDRESSES[2]}
    client = form.client(nodes)
    client.ping()
    assert client.status()["term"] == 3
    reports = client.survey()
    assert [report.address for report in reports] == ADDRESSES
    assert [report.answers for report in reports] == [True, True, False]
    assert [report.ready for report in reports] == [False] * 3
    assert reports[0].error == "no node could do it within 2 s: localhost:8080 no leader is known"
    assert reports[2].error == "no node answered within 2 s: localhost:8082 refused the connection"
    assert client.ready() is False


def test_leadership_is_moved_and_the_past_is_told(form: Form) -> None:
    client = form.script(answer({"from": "1", "to": "2", "term": 4}), answer({"to": "3"}), answer([{"kind": "leader_elected"}]))
    assert client.step_down()["to"] == "2"
    assert client.transfer("3") == {"to": "3"}
    assert client.timeline(5) == [{"kind": "leader_elected"}]
    paths = [(request.method, request.path, request.body) for _, request in client.wires.asked]
    assert paths == [
        ("POST", "/step_down?forward=true&timeout=3", b"{}"),
        ("POST", "/transfer?forward=true&timeout=3", b'{"to":"3"}'),
        ("GET", "/timeline?limit=5", None),
    ]


def test_closing_closes_the_connections(form: Form) -> None:
    client = form.script()
    client.close()
    assert client.wires.closed == 1


# The two forms.


def calls_of(kind: type) -> dict[str, list[tuple[str, Any, Any]]]:
    found = {}
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_"):
            parameters = inspect.signature(method).parameters.values()
            found[name] = [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]
    return found


def test_both_clients_have_the_same_calls_with_the_same_arguments() -> None:
    assert calls_of(AsyncClient) == calls_of(Client)


# Addresses.


def test_nodes_are_named_by_a_list_by_text_or_by_a_config(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"nodes": [{"id": "1", "address": "DB1:8080", "isMaster": True}, {"id": "2", "address": "[::1]:81"}]}))
    assert addresses_of(config) == ["db1:8080", "[::1]:81"]
    assert Nodes.of(config).addresses == ("db1:8080", "[::1]:81")
    assert Nodes.of("a:1, http://b:2/,a:1").addresses == ("a:1", "b:2")
    assert Nodes.of(["a:1"]).addresses == ("a:1",)


@pytest.mark.parametrize("text", ["", "localhost", "localhost:0", "localhost:70000", "a b:1", "user@host:1", "host:1/path", "::1:80"])
def test_what_is_no_address_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="write host:port, as in localhost:8080"):
        check_address(text)


def test_a_client_without_nodes_is_refused() -> None:
    with pytest.raises(ConfigError, match="no node is named"):
        Nodes([])


@pytest.mark.parametrize("text", ["", "[]", '{"nodes": 3}', '{"nodes": [{"id": "1"}]}', '{"nodes": [{"address": 7}]}'])
def test_what_is_no_config_is_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is no config of a cluster"):
        addresses_of(path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        addresses_of(tmp_path / "none")


# Requests.


def test_the_curl_line_of_a_request() -> None:
    assert Request("GET", "/status").curl("h:1") == "curl -sS http://h:1/status"
    assert Request("POST", "/x").curl("h:1") == "curl -sS -X POST http://h:1/x"
    assert Request("POST", "/x", "@ü".encode()).curl("h:1") == "curl -sS --data-raw @ü http://h:1/x".replace("@ü", "'@ü'")


def test_a_query_string_is_escaped_and_what_is_none_is_left_out() -> None:
    assert path_of("/search", {"value": "a&b=ü +", "limit": None}) == "/search?value=a%26b%3D%C3%BC+%2B"
    assert Wanted("t", ("c", "eq", "v")).path(None, None) == "/search?table=t&column=c&value=v&timeout=3"


def test_json_that_is_nested_without_end_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deeply"):
        to_json(value)


def test_every_name_of_the_package_is_there_when_it_is_used_and_no_other() -> None:
    assert [name for name in ddbd.client.__all__ if not hasattr(ddbd.client, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'Nope'"):
        ddbd.client.Nope  # noqa: B018
