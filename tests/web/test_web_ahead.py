"""Requests that a client sent ahead, whose answers come at once: the reactor has other work than to answer them all."""

from __future__ import annotations

import pytest
from web_client import Connection, Node, raw, request

from ddbd.meter import Meter
from ddbd.web.channel import IDLE_SECONDS, SERVE_SECONDS
from ddbd.web.watching import Watch

ONLY_OUR_CHANNEL = True

METRICS = request("GET", "/metrics")
COST_SECONDS = SERVE_SECONDS / 2


class Busy(Node):
    """One whose metrics take their time to make."""

    def __init__(self) -> None:
        self.made = 0
        super().__init__(watch=Watch(Meter(), lambda: {"writes": 0.0, "reads": 0.0}, lambda limit: [], self.make))

    def make(self) -> bytes:
        self.made += 1
        self.clock.rightNow += COST_SECONDS
        return b"%d\n" % self.made


@pytest.fixture
def node() -> Busy:
    return Busy()


def turns(node: Busy, connection: Connection, wanted: int) -> int:
    """So many until all are answered; no turn may answer more than fit in."""
    for count in range(100):
        before = len(connection.responses())
        if before == wanted:
            return count
        node.clock.turn()
        assert len(connection.responses()) - before <= 4
    raise AssertionError("never")


def test_what_was_sent_ahead_is_answered_over_several_turns_and_in_order(node: Busy) -> None:
    connection = node.connect()
    connection.send(METRICS * 50)
    assert len(connection.responses()) <= 4
    assert turns(node, connection, 50) > 10
    assert [reply.body for reply in connection.responses()] == [b"%d\n" % number for number in range(1, 51)]
    node.clock.advance(IDLE_SECONDS + 1)
    assert connection.wire.closed, "it idles like any other"


def test_others_are_answered_in_between(node: Busy) -> None:
    raw(node, METRICS * 50)
    assert raw(node, request("GET", "/ping")).response().status == 200
    assert node.made < 10


def test_a_client_is_not_read_from_while_what_it_sent_ahead_waits(node: Busy) -> None:
    connection = raw(node, METRICS * 20)
    assert connection.channel.is_busy
    assert connection.wire.producerState == "paused"
    turns(node, connection, 20)
    assert connection.wire.producerState == "producing"
    assert not connection.channel.is_busy


def test_what_still_waits_of_a_client_that_goes_away_is_never_answered(node: Busy) -> None:
    connection = raw(node, METRICS * 20)
    before = node.made
    connection.lose()
    node.clock.advance(1)
    assert node.made == before
    assert node.clock.getDelayedCalls() == []


def test_what_was_refused_behind_others_is_told_in_its_place(node: Busy) -> None:
    connection = raw(node, METRICS * 20 + b"nonsense\r\n\r\n")
    turns(node, connection, 21)
    assert [reply.status for reply in connection.responses()] == [200] * 20 + [400]
