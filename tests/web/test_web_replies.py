"""Methods, what every reply has, the limit on connections, and resources of other rooms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.web.resource import Resource
from web_client import PING, Node, Wire, raw, refused, request
from web_twin import config_of

from ddbd.config import Limits

BODY_HEAD = b"POST /insert HTTP/1.1\r\nHost: localhost:8080\r\n"


@pytest.fixture
def node() -> Node:
    return Node()


# Methods, and what every reply has.


@pytest.mark.parametrize(
    "path", ["/insert", "/update", "/delete_record", "/init_database", "/drop_database", "/create_table", "/delete_table"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE"])
def test_a_write_takes_post_alone(node: Node, path: str, method: str) -> None:
    reply = node.call(method, path)
    assert (reply.status, reply.header("Allow")) == (405, "OPTIONS, POST")
    assert method == "HEAD" or reply.code == "method_not_allowed"


def test_a_method_that_http_does_not_have_is_405_with_those_that_a_path_may_take(node: Node) -> None:
    reply = node.call("BREW", "/insert")
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert "POST" in (reply.header("Allow") or "")


@pytest.mark.parametrize("path", ["/select", "/search", "/ping", "/healthz", "/readyz", "/status"])
def test_a_read_takes_get_and_head(node: Node, path: str) -> None:
    reply = node.call("POST", path, {})
    assert (reply.status, reply.code, reply.header("Allow")) == (405, "method_not_allowed", "GET, HEAD, OPTIONS")


@pytest.mark.parametrize(("path", "allow"), [("/select", "GET, HEAD, OPTIONS"), ("/insert", "OPTIONS, POST")])
def test_options_is_204_with_allow_and_no_cors(node: Node, path: str, allow: str) -> None:
    reply = node.call("OPTIONS", path, None, {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"})
    assert (reply.status, reply.header("Allow"), reply.body) == (204, allow, b"")
    assert not any(name.startswith("access-control") for name in reply.headers)
    assert raw(node, request("OPTIONS", "*")).response().status == 200


@pytest.mark.parametrize("target", ["/ping", "/status", "/select?table=students", "/select?table=students&row_id=1", "/select?table=none"])
def test_head_is_get_without_the_body(target: str) -> None:
    node = Node().with_students()
    get, head = node.call("GET", target), node.call("HEAD", target)
    assert (head.status, head.headers) == (get.status, {**get.headers, "date": head.headers["date"]})


@pytest.mark.parametrize("target", ["/ping", "/nothing", "/select?table=t", "/select", "/insert"])
def test_every_reply_names_node_term_and_index_and_no_version(node: Node, target: str) -> None:
    reply = node.get(target)
    assert (reply.header("Ddb-Node"), reply.header("Ddb-Term"), reply.header("Ddb-Index")) == ("1", "3", "1")
    assert reply.header("Server") is None
    assert reply.header("X-Content-Type-Options") == "nosniff"


def test_what_the_door_refuses_names_node_term_and_index_too(node: Node) -> None:
    reply = raw(node, BODY_HEAD + b"Content-Length: 99999999\r\n\r\n").response()
    assert (reply.header("Ddb-Node"), reply.header("Ddb-Term"), reply.header("Ddb-Index")) == ("1", "3", "1")


# Connections, and other rooms' resources.


class Stream(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"frames of " + b"/".join(request.postpath)

    def render_POST(self, request: Any) -> bytes:
        return b"%d bytes" % len(request.content.read())


def test_beyond_the_limit_clients_are_told_and_peers_get_through() -> None:
    node = Node(config_of(Limits(connections_max=2)), mounted={b"raft": Stream()})
    kept = [raw(node, PING) for _ in range(2)]
    told = raw(node, PING)
    assert (told.response().status, told.response().code, told.response().header("Retry-After")) == (503, "overloaded", "1")
    kept[0].send(PING)
    assert kept[0].responses()[-1].status == 200, "who was there before is served as before"
    told.lose()
    peer = raw(node, request("GET", "/raft/stream"))
    assert peer.response().body == b"frames of stream"
    kept.pop().lose()
    assert raw(node, PING).response().status == 200


def test_far_beyond_the_limit_connections_are_closed_unheard() -> None:
    node = Node(config_of(Limits(connections_max=1)))
    for _ in range(65):
        node.connect()
    assert node.site.buildProtocol(Wire().getPeer()) is None


def test_a_mounted_resource_skips_the_checks_of_calls_but_not_of_the_host() -> None:
    node = Node(mounted={b"raft": Stream()})
    large = b"x" * (3 * 1024 * 1024)
    assert node.call("POST", "/raft/x", large, {"Origin": "http://evil.example"}).body == b"3145728 bytes"
    assert refused(node, request("GET", "/raft/x", headers={"Host": "evil.example"})) == (421, "misdirected")
    reply = node.call("PUT", "/raft/x")
    assert (reply.status, reply.json["code"]) == (405, "method_not_allowed")


def test_a_stopping_node_closes_each_connection_with_its_answer(node: Node) -> None:
    node.site.stopFactory()
    connection = raw(node, PING)
    assert connection.response().header("Connection") == "close"
    assert connection.wire.closed


def test_an_http_1_0_client_gets_its_answer_and_a_close(node: Node) -> None:
    connection = raw(node, PING.replace(b"1.1", b"1.0"))
    assert json.loads(connection.out.partition(b"\r\n\r\n")[2])["status"] == "ok"
    assert connection.wire.closed
