"""Over real clients: treq through a whole Agent in memory, and a socket of the kernel's."""

from __future__ import annotations

import json
import re
import socket
import threading
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from treq.testing import StubTreq
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from web_client import NOW, Node, raw, request
from web_twin import Twin, config_of

from ddbd.web.site import make_resource, make_site

SEED = [
    ("init_database", {"db_name": "mydb", "user": "root", "password": "rootroot", "host": "localhost"}),
    ("create_table", {"table_name": "students", "columns": ["id", "name", "grade"]}),
    ("insert", {"table_name": "students", "row_id": "1", "data": {"id": "1", "name": "Ahmed", "grade": "A"}}),
]


def result(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "nothing yet"
    return found[0]


def test_treq_speaks_to_the_whole_site() -> None:
    node = Node()
    client: Any = StubTreq(None)
    client._agent._serverFactory = node.site  # its own has none of our channel
    for call, body in SEED:
        reply = client.post(f"http://localhost:8080/{call}", data=json.dumps(body).encode())
        assert result(reply).code == 200
    reply = client.get("http://localhost:8080/select", params={"table": "students"})
    assert result(result(reply).json()) == [{"row_id": "1", "id": "1", "name": "Ahmed", "grade": "A"}]


def test_the_resource_needs_no_channel_of_ours() -> None:
    node = Node()
    root, _ = make_resource(node.twin, node.clock)
    client: Any = StubTreq(root)
    for call, body in SEED:
        reply = client.post(f"http://localhost:8080/{call}", data=json.dumps(body).encode())
        client.flush()
        assert result(reply).code == 200
    lines = client.post(
        "http://localhost:8080/insert?table=students", data=b'{"id":1}\n{"id":2}\n', headers={"Content-Type": "application/x-ndjson"}
    )
    client.flush()
    node.clock.advance(0)
    client.flush()
    assert result(result(lines).json())["rows"] == 2


def exchange(port: int, data: bytes) -> bytes:
    """Sends everything before it reads, as a client does that does not look."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        wire.sendall(data)
        found = b""
        while piece := wire.recv(65536):
            found += piece
        return found


@ensureDeferred
@pytest.mark.parametrize("megabytes", [3, 8])
async def test_a_client_that_is_still_sending_gets_its_413(megabytes: int) -> None:
    reactor: Any = global_reactor
    config = config_of()
    site = make_site(Twin(config, Node().clock), config, reactor)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    body = b"x" * (megabytes << 20)
    head = b"POST /insert HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: %d\r\n\r\n" % len(body)
    try:
        answer: bytes = await deferToThread(exchange, port.getHost().port, head + body)
    finally:
        await port.stopListening()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer


def pipelined(port: int, requests: int, size: int) -> bytes:
    """Reads nothing before all is sent, or nothing more can be, so that the answers fill every buffer on the way."""
    data = b"GET /select?table=t HTTP/1.1\r\nHost: localhost:8080\r\n\r\n" * requests
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        sender = threading.Thread(target=wire.sendall, args=(data,))
        sender.start()
        sender.join(0.2)
        found = bytearray()
        while len(found) < size and (piece := wire.recv(1 << 20)):
            found += piece
        sender.join()
        return bytes(found)


def without_dates(answers: bytes) -> bytes:
    """Twisted's channel dates them by the wall clock."""
    return re.sub(rb"Date: [^\r]*", b"", answers)


@ensureDeferred
async def test_answers_to_a_client_that_does_not_read_wait_in_order() -> None:
    reactor: Any = global_reactor
    node = Node()
    node.post("/init_database", {"db_name": "d"})
    node.post("/create_table", {"table_name": "t", "columns": ["v"]})
    rows = [{"row_id": str(number), "data": {"v": "x" * 1000}} for number in range(100)]
    node.post("/insert", {"table_name": "t", "rows": rows})
    answer = raw(node, request("GET", "/select?table=t")).out
    port = reactor.listenTCP(0, make_site(node.twin, node.config, reactor, now=lambda: NOW, factory=Node.factory), interface="127.0.0.1")
    try:
        found: bytes = await deferToThread(pipelined, port.getHost().port, 100, 100 * len(answer))
    finally:
        await port.stopListening()
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])) == 100
    assert without_dates(found) == without_dates(answer * 100)
