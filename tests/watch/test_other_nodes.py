"""What this node knows of the others: peers that answer, hang, refuse, dribble, and answer junk."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from web_twin import config_of

from ddbd.cluster.peers import PeerRefused
from ddbd.watch.others import ASK_SECONDS, STATUS_BYTES_MAX, Others

NOW = 1_790_000_000.0


class Response:
    """The head of an answer; the body comes as the test has it."""

    def __init__(self, code: int = 200) -> None:
        self.code = code
        self.protocol: Any = None
        self.transport = StringTransport()

    def deliverBody(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self.transport)

    def send(self, body: bytes) -> None:
        self.protocol.dataReceived(body)

    def end(self) -> None:
        self.protocol.connectionLost(Failure(ResponseDone()))


class Net:
    """The road to the peers: requests wait until the test answers them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: dict[str, Deferred[Any]] = {}
        self.count = 0
        own = {"node": {"id": "1"}, "rates": {"writes": 1.0, "reads": 2.0}}
        self.others = Others(self.clock, lambda: NOW + self.clock.seconds(), config_of(), "1", self, lambda: own)

    def request(self, method: str, url: str, **kwargs: Any) -> Deferred[Any]:
        assert (method, kwargs["allow_redirects"], kwargs["unbuffered"]) == ("GET", False, True)
        self.count += 1
        node_id = str(int(url.partition("localhost:")[2].partition("/")[0]) - 8079)
        assert node_id not in self.asked or self.asked[node_id].called, "two requests at once"
        self.asked[node_id] = Deferred()
        return self.asked[node_id]

    def ask(self) -> list[None]:
        done: list[None] = []
        self.others.ask().addCallback(done.append)
        return done

    def answer(self, node_id: str, body: bytes, code: int = 200) -> None:
        response = Response(code)
        self.asked[node_id].callback(response)
        response.send(body)
        response.end()

    def row(self, node_id: str) -> dict[str, Any]:
        (row,) = [row for row in self.rows() if row["id"] == node_id]
        return row

    def rows(self) -> Any:
        return json.loads(msgspec.json.encode(self.others.rows()))


def status_of(node_id: str) -> bytes:
    return msgspec.json.encode({"node": {"id": node_id}, "term": 7, "rates": {"writes": 3.0, "reads": 0.5}}) + b"\n"


@pytest.fixture
def net() -> Net:
    return Net()


def test_every_node_of_the_config_has_a_row_also_before_it_was_asked(net: Net) -> None:
    assert [(row["id"], row["address"], row["answers"]) for row in net.rows()] == [
        ("1", "localhost:8080", True),
        ("2", "localhost:8081", False),
        ("3", "localhost:8082", False),
    ]
    assert net.row("1")["rates"] == {"writes": 1.0, "reads": 2.0}
    assert (net.row("2")["status"], net.row("2")["seen"], net.row("2")["error"]) == (None, None, "not asked yet")
    assert net.count == 0


def test_a_peer_that_answers_is_told_with_its_own_status_as_it_is(net: Net) -> None:
    done = net.ask()
    net.clock.advance(0.25)
    net.answer("2", status_of("2"))
    assert done == [], "node 3 has its time"
    net.answer("3", status_of("3"))
    assert done == [None]
    assert net.row("2") == {
        "id": "2",
        "address": "localhost:8081",
        "answers": True,
        "ms": 250.0,
        "error": None,
        "seen": NOW + 0.25,
        "status": json.loads(status_of("2")),
        "rates": {"writes": 3.0, "reads": 0.5},
    }


def test_a_peer_that_hangs_has_a_second_and_its_last_word_is_kept(net: Net) -> None:
    net.ask()
    net.answer("2", status_of("2"))
    net.answer("3", status_of("3"))
    net.clock.advance(5)
    done = net.ask()
    net.answer("3", status_of("3"))
    net.clock.advance(ASK_SECONDS)
    assert done == [None]
    row = net.row("2")
    assert (row["answers"], row["ms"], row["error"]) == (False, None, "no answer within 1 s")
    assert (row["seen"], row["status"]["term"]) == (NOW, 7)
    assert net.asked["2"].called, "the request was given up"


def test_a_peer_whose_body_never_ends_has_a_second_too(net: Net) -> None:
    done = net.ask()
    net.answer("3", status_of("3"))
    response = Response()
    net.asked["2"].callback(response)
    for _ in range(8):
        response.send(b" ")
        net.clock.advance(ASK_SECONDS / 8)
    assert done == [None]
    assert net.row("2")["error"] == "no answer within 1 s"
    assert response.transport.disconnecting
    assert net.clock.getDelayedCalls() == []


def test_a_peer_is_not_asked_again_before_it_answered(net: Net) -> None:
    net.ask()
    net.ask()
    assert net.count == 2


def test_a_peer_that_refuses_is_told_by_its_error(net: Net) -> None:
    net.ask()
    net.asked["2"].errback(PeerRefused("localhost:8081 refused the connection"))
    assert net.row("2")["error"] == "localhost:8081 refuses connections"
    assert net.row("2")["answers"] is False


@pytest.mark.parametrize(
    ("body", "code", "error"),
    [
        (b"<html>hello</html>", 200, "it answered what is no status"),
        (b'{"node":7}', 200, "it answered what is no status"),
        (b"[]", 200, "it answered what is no status"),
        (b"", 200, "it answered what is no status"),
        (b'{"node":{"id":"\xff"}}', 200, "it answered what is no status"),
        (b"[" * 100_000, 200, "it answered what is no status"),
        (b'{"detail":"no"}', 503, "it answered 503"),
        (b'{"node":{"id":"3"}}', 200, "its address answers as node 3"),
        (b" " * (STATUS_BYTES_MAX + 1), 200, f"the body is over {STATUS_BYTES_MAX} bytes"),
    ],
)
def test_a_peer_that_answers_junk_is_told_so(body: bytes, code: int, error: str, net: Net) -> None:
    net.ask()
    net.answer("2", body, code)
    row = net.row("2")
    assert (row["answers"], row["error"], row["status"]) == (False, error, None)


def test_an_answer_of_several_lines_becomes_one_line(net: Net) -> None:
    net.ask()
    net.answer("2", b'{"node":\n {"id": "2"},\r\n "x": 18446744073709551615}\n')
    assert net.row("2")["status"] == {"node": {"id": "2"}, "x": 2**64 - 1}
    assert b"\n" not in msgspec.json.encode(net.others.rows())


def test_a_peer_that_moved_is_asked_and_shown_at_its_new_address() -> None:
    net, config = Net(), config_of()
    moved = replace(config.nodes[1], address="localhost:8083", port=8083)
    net.others.reconfigure(replace(config, nodes=(config.nodes[0], moved, config.nodes[2])))
    net.ask()
    assert sorted(net.asked) == ["3", "4"], "the ports that are asked, counted from 8079"
    assert [row["address"] for row in net.others.rows()] == ["localhost:8080", "localhost:8083", "localhost:8082"]
