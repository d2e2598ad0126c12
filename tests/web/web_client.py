"""A client without a socket: bytes into a real Site, replies parsed out of what it wrote."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from web_conformance import deviation
from web_twin import Twin, config_of

from ddbd.config import Config
from ddbd.web.site import Site, make_site

NOW = 1_700_000_000.0
PING = b"GET /ping HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"


class Response(NamedTuple):
    status: int
    headers: dict[str, list[str]]  # names in lower case
    body: bytes
    complete: bool  # False: the last chunk, or some of the length, is missing

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        values = self.headers.get(name.lower())
        return None if values is None else values[0]

    @property
    def code(self) -> Any:
        return self.json["code"]


class Wire(StringTransport):
    """A transport that can be closed for writing alone."""

    half_closed = False
    read_paused = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    @property
    def closed(self) -> bool:
        return self.disconnecting or self.disconnected or self.half_closed

    def unregisterProducer(self) -> None:
        if self.producer is not None:
            super().unregisterProducer()


class Connection:
    def __init__(self, site: Site) -> None:
        self.wire = Wire()
        self.channel: Any = site.buildProtocol(self.wire.getPeer())
        self.channel.makeConnection(self.wire)
        self._methods: list[str] = []

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def lose(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def out(self) -> bytes:
        return self.wire.value()

    def responses(self, head: bool = False) -> list[Response]:
        found, data = [], self.out
        while data:
            response, data = parse(data, head)
            found.append(response)
        return found

    def response(self, head: bool = False) -> Response:
        found = self.responses(head)
        assert len(found) == 1, f"{len(found)} replies: {self.out!r}"
        return found[0]


def parse(data: bytes, head: bool = False) -> tuple[Response, bytes]:
    top, end, rest = data.partition(b"\r\n\r\n")
    assert end, f"no whole head in {data!r}"
    first, *lines = top.decode("ascii").split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers.setdefault(name.lower(), []).append(value)
    status = int(first.split(" ")[1])
    if head or status in (100, 204, 304):
        return Response(status, headers, b"", True), rest
    if headers.get("transfer-encoding") == ["chunked"]:
        body, complete, rest = _chunks(rest)
        return Response(status, headers, body, complete), rest
    length = int(headers["content-length"][0])
    return Response(status, headers, rest[:length], len(rest) >= length), rest[length:]


def _chunks(data: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
        if length == 0:
            return body, True, data
    return body, False, b""


class Reactor(Clock):
    """`advance` runs whatever falls due, also what is put off until the next turn; `turn` runs one turn."""

    def turn(self) -> None:
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


class Sending(Connection):
    """Behind each piece that it sends the reactor goes round once."""

    def __init__(self, site: Site, clock: Reactor) -> None:
        super().__init__(site)
        self._clock = clock

    def send(self, data: bytes) -> None:
        super().send(data)
        self._clock.turn()


class Node:
    """One node in memory: its twin, its site, its clock. `factory` decides about the channel."""

    factory: type[Site] = Site

    def __init__(self, config: Config | None = None, node_id: str = "1", leader_id: str | None = "1", **options: Any) -> None:
        self.clock = Reactor()
        self.config = config or config_of()
        self.twin = Twin(self.config, self.clock, node_id, leader_id)
        self.random = iter(range(1, 1_000_000))
        self.site = make_site(
            self.twin,
            self.config,
            self.clock,
            now=lambda: NOW,
            entropy=lambda n: next(self.random).to_bytes(n, "big"),
            **{"factory": Node.factory, **options},
        )

    def connect(self) -> Connection:
        return Connection(self.site)

    def sending(self) -> Connection:
        return Sending(self.site, self.clock)

    def start(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Connection:
        connection = self.connect()
        connection.send(request(method, target, body, headers))
        return connection

    def call(self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None) -> Response:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        connection = self.start(method, target, data, headers)
        self.clock.advance(0)
        response = connection.response(head=method == "HEAD")
        assert deviation(self.config, method, target, response.status, response.headers, response.body) is None
        return response

    def get(self, target: str, **headers: str) -> Response:
        return self.call("GET", target, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, target: str, body: Any, **headers: str) -> Response:
        return self.call("POST", target, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def with_students(self) -> Node:
        """The seed's table with its one row."""
        assert self.post("/init_database", {"db_name": "school"}).status == 200
        assert self.post("/create_table", {"table_name": "students", "columns": ["id", "name", "grade"]}).status == 200
        row = {"table_name": "students", "row_id": "1", "data": {"id": "1", "name": "Ahmed", "grade": "A"}}
        assert self.post("/insert", row).status == 200
        return self


def request(method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    lines = {"Host": "localhost:8080", **(headers or {})}
    if (body or method == "POST") and "Transfer-Encoding" not in lines:
        lines.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def raw(node: Node, *pieces: bytes) -> Connection:
    connection = node.sending()
    for piece in pieces:
        connection.send(piece)
    return connection


def refused(node: Node, *pieces: bytes) -> tuple[int, str]:
    """The status and code of the one reply; the connection is closed behind it."""
    connection = raw(node, *pieces)
    response = connection.response()
    assert connection.wire.closed
    assert response.header("Connection") == "close"
    assert response.header("Content-Type") == "application/problem+json"
    assert response.json["status"] == response.status
    assert set(response.json) == {"type", "title", "status", "detail", "code"}
    return response.status, response.code
