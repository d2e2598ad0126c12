"""/step_down and /transfer, as a client meets them."""

from __future__ import annotations

from typing import Any

import pytest
from web_client import Node

from ddbd.errors import NotHandedOver, OutcomeUnknown

CALLS = [("/step_down", {}), ("/transfer", {"to": "2"})]


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def follower() -> Node:
    return Node(leader_id="2")


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_the_master_hands_over_and_says_to_whom(node: Node, path: str, body: Any) -> None:
    reply = node.post(path, body)
    assert (reply.status, reply.json) == (200, {"status": "ok", "from": "1", "to": "2", "term": 4})
    assert node.twin.handed == [body.get("to")]


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_another_node_sends_the_client_to_the_master_unless_it_is_to_carry_the_call(follower: Node, path: str, body: Any) -> None:
    elsewhere = follower.post(path, body)
    assert (elsewhere.status, elsewhere.code) == (307, "not_master")
    assert elsewhere.header("Location") == f"http://localhost:8081{path}"
    assert follower.twin.handed == []
    assert follower.post(f"{path}?forward=true", body).json["from"] == "2"
    assert follower.twin.handed == [body.get("to")]


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_no_page_of_another_origin_and_no_get_can_do_it(node: Node, path: str, body: Any) -> None:
    assert node.get(path).status == 405
    assert node.get(f"{path}?to=2").status == 405
    assert node.post(path, body, Origin="http://evil.example").code == "cross_origin"
    assert node.post(path, body, Sec_Fetch_Site="cross-site").code == "cross_origin"
    assert node.twin.handed == []
    assert node.post(path, body, Origin="http://localhost:8080", Sec_Fetch_Site="same-origin").status == 200


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/transfer", {}, "missing_field"),
        ("/transfer", {"to": 2}, "invalid_value"),
        ("/transfer", {"to": "4"}, "invalid_value"),
        ("/transfer", {"to": ""}, "invalid_value"),
        ("/transfer", {"to": "2", "from": "1"}, "unknown_field"),
        ("/transfer?db=x", {"to": "2"}, "unknown_parameter"),
        ("/transfer?timeout=0", {"to": "2"}, "invalid_value"),
        ("/step_down", {"to": "2"}, "unknown_field"),
        ("/step_down", [], "invalid_json"),
        ("/step_down", b"", "invalid_json"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_done(node: Node, path: str, body: Any, code: str) -> None:
    reply = node.post(path, body)
    assert (reply.status, reply.code) == (400, code)
    assert node.twin.handed == []


def test_an_unknown_node_is_told_which_ones_there_are(node: Node) -> None:
    assert node.post("/transfer", {"to": "9"}).json["detail"] == 'to is "9", and no node is called so; give one of 1, 2, 3'


@pytest.mark.parametrize(("error", "status"), [(NotHandedOver("nobody"), 503), (OutcomeUnknown("who knows"), 504)])
def test_what_did_not_come_to_pass_says_so(node: Node, error: Exception, status: int) -> None:
    node.twin.errors["hand_over"] = error
    reply = node.post("/transfer", {"to": "2"})
    assert (reply.status, reply.header("Retry-After")) == (status, "1" if status == 503 else None)


def test_the_timeout_counts_from_the_call_on(node: Node) -> None:
    node.post("/transfer?timeout=3", {"to": "2"})
    assert node.twin.timeouts == [3.0, 3.0]


def test_without_a_master_the_call_is_held_like_a_write(node: Node) -> None:
    node.twin.leader_id = None
    for query in ("", "&forward=true"):
        reply = node.post(f"/step_down?timeout=1{query}", {})
        assert (reply.status, reply.code) == (503, "no_leader")
