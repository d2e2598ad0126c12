"""The id by which a request is found in the log. The fallback of twisted.web's channel does not give the client's own back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import globalLogPublisher
from web_client import Node, chunked, raw, request

ONLY_OUR_CHANNEL = True
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def node() -> Node:
    return Node().with_students()


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []

    def note(event: dict[str, Any]) -> None:
        found.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(note)
    yield found
    globalLogPublisher.removeObserver(note)


def id_of(node: Node, target: str = "/ping", **headers: str) -> str | None:
    return node.get(target, **headers).header("Ddb-Request-Id")


@pytest.mark.parametrize(
    "target",
    ["/ping", "/select?table=students&row_id=1", "/select?table=students", "/nowhere", "/select?table=nobody", "/openapi.json"],
)
def test_a_client_gets_its_own_id_back_with_every_answer(node: Node, target: str) -> None:
    assert id_of(node, target, X_Request_Id="mine-1") == "mine-1"
    assert id_of(node, target) is None


def test_writes_and_refusals_of_the_door_give_it_back_too(node: Node) -> None:
    row = {"table_name": "students", "data": {"name": "Mona"}}
    assert node.post("/insert", row, X_Request_Id="w").header("Ddb-Request-Id") == "w"
    refused = node.post("/insert", row, X_Request_Id="d", Origin="http://evil.example")
    assert (refused.status, refused.header("Ddb-Request-Id")) == (403, "d")


def test_a_streamed_answer_gives_it_back(node: Node) -> None:
    rows = [{"row_id": f"r{number}", "data": {"name": "x" * 1000}} for number in range(2_000)]
    for start in range(0, 2_000, 500):
        assert node.post("/insert", {"table_name": "students", "rows": rows[start : start + 500]}).status == 200
    connection = raw(node, request("GET", "/select?table=students", headers={"X-Request-Id": "s"}))
    for _ in range(100):
        node.clock.advance(0)
    answer = connection.response()
    assert (answer.header("Transfer-Encoding"), answer.header("Ddb-Request-Id")) == ("chunked", "s")


def test_a_load_gives_it_back(node: Node) -> None:
    head = {"Content-Type": "text/csv", "X-Request-Id": "l", "Transfer-Encoding": "chunked"}
    connection = raw(node, request("POST", "/insert?table=students", chunked(b"name\n", b"Mona\n"), head))
    for _ in range(5):
        node.clock.advance(0)
    assert connection.response().header("Ddb-Request-Id") == "l"


def test_of_a_traceparent_it_is_the_trace_id(node: Node) -> None:
    assert id_of(node, traceparent=TRACEPARENT) == TRACE
    assert id_of(node, traceparent=TRACEPARENT, X_Request_Id="mine") == "mine"
    assert id_of(node, traceparent=TRACEPARENT, X_Request_Id="") == TRACE
    assert id_of(node, traceparent="00-zz-zz-01") is None


@pytest.mark.parametrize("given", ["x" * 129, "caf\xe9", "a\tb", ""])
def test_what_is_no_id_is_passed_over(node: Node, given: str) -> None:
    reply = node.get("/ping", X_Request_Id=given)
    assert (reply.status, reply.header("Ddb-Request-Id")) == (200, None)


def test_an_id_of_128_characters_with_blanks_inside_is_one(node: Node) -> None:
    given = "a" + " b" * 63 + "c"
    assert id_of(node, X_Request_Id=given) == given


def test_two_ids_are_none(node: Node) -> None:
    data = b"GET /ping HTTP/1.1\r\nHost: localhost:8080\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n\r\n"
    assert raw(node, data).response().header("Ddb-Request-Id") is None


def test_a_fault_is_logged_under_the_id_that_the_answer_carries(node: Node, lines: list[str]) -> None:
    node.twin.errors["read_barrier"] = RuntimeError("a fault")
    ours = node.get("/select?table=students")
    theirs = node.get("/select?table=students", X_Request_Id="theirs")
    made = ours.header("Ddb-Request-Id")
    assert made is not None
    for reply, known in ((ours, made), (theirs, "theirs")):
        assert (reply.status, reply.header("Ddb-Request-Id")) == (500, known)
        assert reply.json["detail"].endswith(f"under {known}")
        assert any(f"failed ({known})" in line for line in lines)
