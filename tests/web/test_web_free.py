"""Requests that take their time: they wait for a turn of the reactor that has some, and hold nobody up meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.logger import capturedLogs
from web_client import PING, Node, request

from ddbd.web.channel import LARGE_BYTES
from ddbd.web.request import Request
from ddbd.web.site import Site

ONLY_OUR_CHANNEL = True
COUNT = 100


class Crowded(Node):
    """`asked` wait for a turn with time."""

    def __init__(self, **options: Any) -> None:
        self.asked: list[Callable[[], None]] = []
        super().__init__(when_free=self.asked.append, **options)

    def free(self) -> None:
        """One such turn, for whoever asked first."""
        self.asked.pop(0)()

    @property
    def writes(self) -> int:
        return len(self.twin.commands)


def batch(prefix: str, size: int = LARGE_BYTES) -> bytes:
    rows = [{"row_id": f"{prefix}{n}", "data": {"name": "x" * (size // COUNT)}} for n in range(COUNT)]
    return request("POST", "/insert", json.dumps({"table_name": "students", "rows": rows}).encode())


class Broken(Site):
    def process(self, request: Request) -> None:
        raise ZeroDivisionError


@pytest.fixture
def node() -> Crowded:
    node = Crowded()
    node.with_students().twin.commands.clear()
    return node


def test_a_large_body_waits_for_a_turn_with_time(node: Crowded) -> None:
    connection = node.connect()
    connection.send(batch("a"))
    assert (node.writes, connection.out) == (0, b"")
    assert connection.wire.producerState == "paused", "nothing more is taken from this client"
    node.free()
    assert connection.response().status == 200
    assert connection.wire.producerState == "producing"
    assert node.asked == []


def test_others_are_served_meanwhile(node: Crowded) -> None:
    node.connect().send(batch("a"))
    other = node.connect()
    other.send(PING)
    assert other.response().status == 200
    assert node.writes == 0


def test_a_small_body_does_not_wait(node: Crowded) -> None:
    connection = node.connect()
    connection.send(batch("a", LARGE_BYTES // 4))
    assert connection.response().status == 200


def test_each_of_two_large_bodies_has_its_turn_and_what_was_sent_behind_them_waits(node: Crowded) -> None:
    connection = node.connect()
    connection.send(batch("a") + batch("b") + PING)
    for answers in (1, 3):
        node.free()
        assert len(connection.responses()) == answers
    assert (node.writes, node.asked) == (2, [])


def test_a_body_in_pieces_waits_once_it_is_whole(node: Crowded) -> None:
    body, connection = batch("a"), node.connect()
    for place in range(0, len(body), 5_000):
        assert node.asked == []
        connection.send(body[place : place + 5_000])
    node.free()
    assert connection.response().status == 200


def test_a_large_request_like_the_last_ones_waits_as_they_did(node: Crowded) -> None:
    """Its head is known by then, and it comes in one piece: that is the short way for what is small."""
    connection = node.connect()
    for place in range(4):
        connection.send(batch("abcd"[place]))
        assert node.writes == place
        node.free()
    assert [reply.status for reply in connection.responses()] == [200] * 4


def test_one_turn_is_asked_for_whatever_the_transport_says_meanwhile(node: Crowded) -> None:
    connection = node.connect()
    connection.send(batch("a"))
    for _ in range(2):
        connection.channel.pauseProducing()
        connection.channel.resumeProducing()
    connection.send(PING)
    assert len(node.asked) == 1
    node.free()
    assert [reply.status for reply in connection.responses()] == [200, 200]
    assert (node.writes, node.asked) == (1, [])


def test_a_request_that_fails_in_its_turn_takes_its_connection_along() -> None:
    """Where bytes come the reactor does so, but not here: the client would wait for ever."""
    node = Crowded(factory=Broken)
    connection = node.connect()
    connection.send(batch("a"))
    with capturedLogs() as events:
        node.free()
    assert connection.wire.disconnected
    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]


def test_a_client_that_goes_away_while_its_body_waits_has_written_nothing(node: Crowded) -> None:
    connection = node.connect()
    connection.send(batch("a"))
    connection.lose()
    node.free()
    assert (node.writes, node.asked) == (0, [])


def test_no_deadline_runs_while_the_node_has_no_time(node: Crowded) -> None:
    connection = node.connect()
    connection.send(batch("a"))
    node.clock.advance(3_600)
    node.free()
    assert connection.response().status == 200


def test_a_load_reads_each_piece_of_its_body_in_a_turn_with_time(node: Crowded) -> None:
    connection = node.connect()
    connection.send(request("POST", "/insert?table=students", b"", {"Content-Type": "application/x-ndjson", "Content-Length": "20"}))
    for piece in (b'{"id":1}\n', b'{"id":12}\n '):
        connection.send(piece)
        assert len(node.asked) == 1
        node.free()
    assert connection.response().json["rows"] == 2


def test_a_restore_reads_each_piece_of_its_body_in_a_turn_with_time(node: Crowded) -> None:
    backup = node.connect()
    backup.send(request("GET", "/backup"))
    while node.asked:
        node.free()
    body = backup.response().body
    connection = node.connect()
    connection.send(request("POST", "/restore?replace=true", body))
    assert (len(node.asked), node.writes) == (1, 0)
    while node.asked:
        node.free()
    assert connection.response().status == 200


def test_a_client_that_goes_away_while_its_rows_wait_is_forgotten(node: Crowded) -> None:
    connection = node.connect()
    connection.send(request("POST", "/insert?table=students", b'{"id":1}\n', {"Content-Type": "application/x-ndjson"}))
    connection.lose()
    node.free()
    assert (node.writes, node.asked) == (0, [])
