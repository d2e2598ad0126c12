"""Requests that take their time: they wait for a turn of the reactor that has some, and hold nobody up meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from web_client import PING, Node, request

from ddbd.web.channel import LARGE_BYTES

ONLY_OUR_CHANNEL = True
COUNT = 100


class Crowded(Node):
    """`asked` wait for a turn with time."""

    def __init__(self) -> None:
        self.asked: list[Callable[[], None]] = []
        super().__init__(when_free=self.asked.append)
        self.with_students()
        self.twin.commands.clear()

    def free(self) -> None:
        """One such turn, for whoever asked first."""
        self.asked.pop(0)()

    @property
    def writes(self) -> int:
        return len(self.twin.commands)


def batch(prefix: str, size: int = LARGE_BYTES) -> bytes:
    rows = [{"row_id": f"{prefix}{n}", "data": {"name": "x" * (size // COUNT)}} for n in range(COUNT)]
    return request("POST", "/insert", json.dumps({"table_name": "students", "rows": rows}).encode())


@pytest.fixture
def node() -> Crowded:
    return Crowded()


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


def test_a_client_that_goes_away_while_its_rows_wait_is_forgotten(node: Crowded) -> None:
    connection = node.connect()
    connection.send(request("POST", "/insert?table=students", b'{"id":1}\n', {"Content-Type": "application/x-ndjson"}))
    connection.lose()
    node.free()
    assert (node.writes, node.asked) == (0, [])
