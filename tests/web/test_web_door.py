"""What is refused before anything looks at it: raw bytes into a real connection."""

from __future__ import annotations

from typing import Any

import pytest
from web_client import PING, Node, chunked, raw, refused, request
from web_twin import config_of

from ddbd.commands import Answer
from ddbd.config import Limits


@pytest.fixture
def node() -> Node:
    return Node()


# Host and Origin.


@pytest.mark.parametrize(
    "host",
    ["localhost:8080", "localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.0.0.2", "[::1]:8080", "[::1]", "db.example", "p.example:443"],
)
def test_a_host_that_is_ours_is_served(host: str) -> None:
    node = Node(config_of(hosts=("db.example", "p.example:443")))
    assert node.get("/ping", Host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost:8081", "localhost:99999", "10.0.0.1:8080", "localhost.evil.example", "p.example"]
)
def test_a_host_that_is_not_ours_is_421(host: str) -> None:
    assert refused(Node(config_of(hosts=("p.example:443",))), request("GET", "/ping", headers={"Host": host})) == (421, "misdirected")


@pytest.mark.parametrize("host", ["", 'a"><script>', "a b", "localhost:99999999", "localhost:", "user@localhost", "[::1"])
def test_a_host_that_is_none_is_400(node: Node, host: str) -> None:
    assert refused(node, request("GET", "/ping", headers={"Host": host}))[0] == 400


def test_no_host_and_two_hosts_are_400(node: Node) -> None:
    assert refused(node, b"GET /ping HTTP/1.1\r\n\r\n") == (400, "bad_request")
    assert refused(node, b"GET /ping HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n") == (400, "bad_request")
    assert refused(node, b"GET /ping HTTP/1.0\r\n\r\n") == (400, "bad_request")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8081"},
        {"Origin": "file://localhost:8080"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/insert", "/drop_database", "/update"])
def test_a_write_from_a_foreign_origin_is_403(node: Node, headers: dict[str, str], path: str) -> None:
    assert refused(node, request("POST", path, b"{}", headers)) == (403, "cross_origin")


@pytest.mark.parametrize("headers", [{"Origin": "http://localhost:8080"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}])
def test_a_write_from_our_own_page_is_served(node: Node, headers: dict[str, str]) -> None:
    assert node.call("POST", "/init_database", {"db_name": "d"}, headers).status == 200


def test_a_read_may_come_from_anywhere_but_gets_no_permission_for_the_page(node: Node) -> None:
    reply = node.get("/ping", Origin="http://evil.example")
    assert reply.status == 200
    assert not any(name.startswith("access-control") for name in reply.headers)


# The head.


def test_a_head_of_64_kib_is_served_and_more_is_431(node: Node) -> None:
    room = 64 * 1024 - len(PING) + 2
    head = b"GET /ping HTTP/1.1\r\nHost: localhost:8080\r\nX: %s\r\n\r\n"
    assert raw(node, head % (b"a" * (room - 10))).response().status == 200
    assert refused(node, head % (b"a" * (room + 10))) == (431, "head_too_large")
    assert refused(node, b"GET /" + b"a" * 70_000) == (431, "head_too_large")


def test_a_hundred_fields_are_served_and_one_more_is_431(node: Node) -> None:
    fields = [b"X-%d: y\r\n" % n for n in range(100)]
    head = b"GET /ping HTTP/1.1\r\nHost: localhost:8080\r\n"
    assert raw(node, head + b"".join(fields[:99]) + b"\r\n").response().status == 200
    assert refused(node, head + b"".join(fields) + b"\r\n") == (431, "head_too_large")
    assert refused(node, head + b"".join(fields) * 6 + b"\r\n") == (431, "head_too_large")


def test_a_slow_head_is_408_however_many_bytes_come(node: Node) -> None:
    connection = node.connect()
    for byte in PING[:9]:
        connection.send(bytes([byte]))
        node.clock.advance(1)
    assert connection.out == b""
    node.clock.advance(1.1)
    assert connection.response().status == 408
    assert connection.wire.closed


def test_a_connection_that_says_nothing_is_closed_without_a_word(node: Node) -> None:
    connection = node.connect()
    node.clock.advance(10.1)
    assert (connection.out, connection.wire.closed) == (b"", True)


def test_a_slow_body_is_408_however_many_bytes_come(node: Node) -> None:
    connection = raw(node, b"POST /insert HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 100\r\n\r\n")
    for _ in range(59):
        connection.send(b"{")
        node.clock.advance(1)
    assert connection.out == b""
    node.clock.advance(1.1)
    assert connection.response().status == 408


def test_an_idle_connection_is_closed_and_a_used_one_is_not(node: Node) -> None:
    connection = raw(node, PING)
    node.clock.advance(59)
    connection.send(PING)
    node.clock.advance(59)
    assert len(connection.responses()) == 2
    assert not connection.wire.closed
    node.clock.advance(2)
    assert connection.wire.closed


def test_a_call_with_a_known_head_is_waited_for_however_long_its_answer_takes(node: Node) -> None:
    body = b'{"table_name":"t","data":{}}'
    request = b"POST /insert?timeout=300 HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    connection = raw(node, request)
    connection.send(request)
    connection.send(request)
    assert len(connection.responses()) == 3
    node.twin.holding = True
    connection.send(request)
    node.clock.advance(61)
    assert not connection.wire.closed
    node.twin.held[0].callback(Answer("", "", {"row_id": "1", "version": 1, "index": 1}))
    assert len(connection.responses()) == 4


def test_a_client_that_never_closes_is_aborted(node: Node) -> None:
    connection = raw(node, b"nonsense\r\n")
    assert not connection.wire.disconnected
    node.clock.advance(3)
    assert connection.wire.disconnected


def test_the_timers_end_with_the_connection(node: Node) -> None:
    for connection in (raw(node, PING), raw(node, b"GET"), node.connect()):
        connection.lose()
    assert node.clock.getDelayedCalls() == []


# Framing.


BODY_HEAD = b"POST /insert HTTP/1.1\r\nHost: localhost:8080\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        b"Content-Length: 2\r\nContent-Length: 2\r\n",
        b"Content-Length: 2, 2\r\n",
        b"Content-Length: +2\r\n",
        b"Content-Length: -2\r\n",
        b"Content-Length: 0x2\r\n",
        b"Content-Length: \r\n",
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"Content-Length: " + b"9" * 19 + b"\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"X: a\r\n folded\r\n",
        b"\tX: a\r\n",
        b"X : a\r\n",
        b"no colon\r\n",
        b": empty\r\n",
        b"X: a\x00b\r\n",
        b"X: a\nY: b\r\n",
    ],
)
def test_malformed_framing_is_400(node: Node, fields: bytes) -> None:
    assert refused(node, BODY_HEAD + fields + b"\r\n", b"{}") == (400, "bad_request")


def test_chunked_in_http_1_0_is_400(node: Node) -> None:
    assert refused(node, BODY_HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n") == (400, "bad_request")


@pytest.mark.parametrize("size", [b"+3", b"3_0", b"0x3", b"", b"ffffffffffffffffffff", b"-1", b"g", b"3;" + b"x" * 2000])
def test_a_chunk_size_that_is_none_is_refused(node: Node, size: bytes) -> None:
    status, _ = refused(node, BODY_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + b"x" * 3_000_000)
    assert status in (400, 413)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /ping",
        b"GET /ping HTTP/9.9",
        b"GET /ping HTTP/2.0",
        b"G@T /ping HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"\x16\x03\x01",
    ],
)
def test_a_request_line_that_is_none_is_400(node: Node, line: bytes) -> None:
    assert refused(node, line + b"\r\nHost: localhost:8080\r\n\r\n") == (400, "bad_request")


@pytest.mark.parametrize(
    "path", [b"/%00", b"/%ff", b"/%zz", b"/a%", b"ping", b"/\xc3\xbc", b"http://evil.example/ping", b"/%0d%0aX:y", b"/a#b"]
)
def test_a_path_that_is_none_is_400_without_a_line_in_the_log(node: Node, path: bytes, caplog: Any) -> None:
    assert refused(node, b"GET " + path + b" HTTP/1.1\r\nHost: localhost:8080\r\n\r\n") == (400, "bad_request")


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/insert/", "/..%2finsert", "/../insert", "//evil.example/..", "/ping/..", "/INSERT", "/insert%2f"]
)
def test_an_unknown_path_is_a_404_problem_and_never_a_redirect(node: Node, path: str) -> None:
    reply = node.get(path)
    assert (reply.status, reply.code, reply.header("Location")) == (404, "not_found", None)
    assert reply.header("Content-Type") == "application/problem+json"


@pytest.mark.parametrize("path", ["//select?table=students&limit=1", "///ping", "/%2fping", "//raft/ping"])
def test_more_slashes_in_front_are_another_path_and_no_redirect(node: Node, path: str) -> None:
    """Served, the rel="next" of //select would name a host called select."""
    reply = node.get(path, Host="127.0.0.1:8080")
    assert (reply.status, reply.code, reply.header("Location"), reply.header("Link")) == (404, "not_found", None, None)


def test_the_absolute_form_is_served_when_it_names_the_host(node: Node) -> None:
    assert node.get("http://localhost:8080/ping").status == 200
    assert node.get("http://localhost:8080").status == 404


# The body.


@pytest.mark.parametrize("length", [2 * 1024 * 1024 + 1, 10**12])
def test_a_body_too_large_is_413_before_it_comes(node: Node, length: int) -> None:
    assert refused(node, BODY_HEAD + b"Content-Length: %d\r\n\r\n" % length) == (413, "body_too_large")


def test_a_chunked_body_too_large_is_413_while_it_comes(node: Node) -> None:
    connection = raw(node, BODY_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(32):
        connection.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    assert connection.out == b""
    connection.send(b"1\r\nx\r\n")
    assert connection.response().status == 413
    connection.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    assert connection.response().status == 413


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_small_limit_on_heads_is_none_on_bodies(is_chunked: bool) -> None:
    node, body = Node(config_of(Limits(head_bytes_max=1024))), b'{"db_name":"d"' + b" " * 100_000 + b"}"
    if is_chunked:
        head = b"POST /init_database HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert raw(node, head, chunked(body[:60_000], body[60_000:])).response().json["db"] == "d"
    else:
        assert node.call("POST", "/init_database", body).json["db"] == "d"


def test_a_body_of_the_limit_is_read(node: Node) -> None:
    body = b" " * (2 * 1024 * 1024 - 2) + b"{}"
    assert node.call("POST", "/init_database", body).code == "missing_field"


def test_a_chunked_body_is_a_body(node: Node) -> None:
    head = b"POST /init_database HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert raw(node, head, chunked(b'{"db_name":', b' "d"}')).response().json["db"] == "d"


def test_the_content_type_does_not_matter(node: Node) -> None:
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "application/json; charset=utf-16"):
        assert node.post("/init_database", {"db_name": "d"}, Content_Type=kind).status == 200


def test_a_compressed_body_is_415(node: Node) -> None:
    assert refused(node, request("POST", "/insert", b"x", {"Content-Encoding": "gzip"})) == (415, "unsupported_media_type")


def test_expect_100_continue_is_answered_at_once(node: Node) -> None:
    body = b'{"db_name":"d"}'
    connection = raw(node, request("POST", "/init_database", b"", {"Expect": "100-continue", "Content-Length": str(len(body))}))
    assert connection.out == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(body)
    assert [response.status for response in connection.responses()] == [100, 200]


def test_expect_100_continue_of_a_body_too_large_is_413_at_once(node: Node) -> None:
    head = request("POST", "/insert", b"", {"Expect": "100-continue", "Content-Length": "99999999"})
    assert refused(node, head) == (413, "body_too_large")


def test_any_other_expectation_is_417(node: Node) -> None:
    assert refused(node, request("POST", "/insert", b"", {"Expect": "a-miracle"})) == (417, "expectation_failed")


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 405), ("CONNECT", 405)])
@pytest.mark.parametrize("body", [b"", b"{}", b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"])
@pytest.mark.parametrize("connection", [{}, {"Connection": "keep-alive"}, {"Connection": "Upgrade"}])
def test_a_wish_for_another_protocol_is_answered_at_once_and_the_connection_goes_on(
    connection: dict[str, str], body: bytes, method: str, status: int, node: Node
) -> None:
    wire = raw(node, request(method, "/ping", body, {"Upgrade": "h2c", **connection}) + PING, PING)
    assert [reply.status for reply in wire.responses()] == [status, 200, 200]


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_behind_a_connect_the_connection_goes_on(body: bytes, node: Node) -> None:
    wire = raw(node, request("CONNECT", "/ping", body) + PING, PING)
    assert [reply.status for reply in wire.responses()] == [405, 200, 200]


def test_an_upgrade_is_ignored_and_the_body_kept(node: Node) -> None:
    headers = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"}
    assert node.call("POST", "/init_database", {"db_name": "d"}, headers).json["db"] == "d"
    assert node.call("GET", "/ping", None, {"Upgrade": "websocket", "Connection": "Upgrade"}).status == 200


def test_a_thousand_pipelined_requests_are_answered_in_order(node: Node) -> None:
    connection = raw(node, b"".join(PING if n % 2 else PING.replace(b"ping", b"nope") for n in range(1000)))
    assert [response.status for response in connection.responses()] == [404, 200] * 500


def test_a_request_behind_a_refused_one_is_never_served(node: Node) -> None:
    connection = raw(node, BODY_HEAD + b"Content-Length: 99999999\r\n\r\n" + PING)
    connection.send(PING)
    assert connection.response().status == 413


def test_connection_close_is_honoured_in_a_list(node: Node) -> None:
    connection = raw(node, request("GET", "/ping", headers={"Connection": "keep-alive, close"}))
    assert connection.response().header("Connection") == "close"
    assert connection.wire.closed
