"""A client that reads slowly keeps its answer, one that does not read loses it. Bytes that leave tell which it is."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.tcp import Connection as TcpConnection
from twisted.internet.threads import deferToThread
from web_client import Node, request
from web_twin import config_of

from ddbd.config import Limits
from ddbd.errors import ScanTimedOut
from ddbd.web.clock import Clock as RoomClock
from ddbd.web.pace import TAKEN_BYTES_MIN, Pace, unsent_bytes

ONLY_OUR_CHANNEL = True
IDLE_SECONDS = 60.0
TURNS_MAX = 100_000


class Writer:
    """One that wrote a piece and waits for its turn with the next one."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.unsent = 1_000_000
        self.pace = Pace(RoomClock(self.clock), IDLE_SECONDS, lambda: self.unsent)
        self.pace.pauseProducing()
        self.ended: list[Any] = []
        Deferred.fromCoroutine(self.pace.turn()).addBoth(self.ended.append)
        self.clock.advance(0)


def test_a_client_that_takes_a_little_within_each_period_is_waited_for() -> None:
    writer = Writer()
    while writer.unsent:
        writer.clock.advance(IDLE_SECONDS - 1)
        writer.unsent -= min(writer.unsent, TAKEN_BYTES_MIN)
        writer.clock.advance(1)
    assert writer.ended == []
    writer.pace.resumeProducing()
    assert writer.ended == [None]
    assert writer.clock.getDelayedCalls() == []


@pytest.mark.parametrize("last_bytes", [0, 1, TAKEN_BYTES_MIN - 1])
@pytest.mark.parametrize("periods", [0, 1, 7])
def test_a_client_that_takes_next_to_nothing_in_a_period_is_given_up(periods: int, last_bytes: int) -> None:
    writer = Writer()
    for _ in range(periods):
        writer.unsent -= TAKEN_BYTES_MIN
        writer.clock.advance(IDLE_SECONDS)
    writer.clock.advance(IDLE_SECONDS - 1)
    writer.unsent -= last_bytes
    assert writer.ended == []
    writer.clock.advance(1)
    assert writer.ended[0].check(ScanTimedOut)
    assert writer.clock.getDelayedCalls() == []


def long_backup() -> Node:
    """Of one piece that no kernel takes at once."""
    node = Node(config_of(Limits(backup_idle_seconds=IDLE_SECONDS, head_seconds=1e6))).with_students()
    for first in range(0, 400, 80):
        batch = [{"row_id": f"{n:04}", "data": {"name": "x" * 20_000}} for n in range(first, first + 80)]
        assert node.post("/insert", {"table_name": "students", "rows": batch}).status == 200
    return node


def ask(port: int) -> socket.socket:
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    wire.settimeout(20)
    wire.connect(("127.0.0.1", port))
    wire.sendall(request("GET", "/backup"))
    return wire


def take(wire: socket.socket, size: int) -> None:
    while size > 0:
        piece = wire.recv(size)
        assert piece, "cut"
        size -= len(piece)


@ensureDeferred
async def test_bytes_that_reach_a_slow_client_keep_its_backup_going() -> None:
    reactor: Any = global_reactor
    node = long_backup()

    async def until(condition: Any) -> None:
        for _ in range(TURNS_MAX):
            if condition():
                return
            node.clock.turn()
            await deferLater(reactor, 0, lambda: None)
        raise AssertionError("in vain")

    port = reactor.listenTCP(0, node.site, interface="127.0.0.1")
    wire = await deferToThread(ask, port.getHost().port)
    try:
        await until(lambda: any(isinstance(each.transport, TcpConnection) for each in node.site._channels))
        (channel,) = [each for each in node.site._channels if isinstance(each.transport, TcpConnection)]
        await until(lambda: unsent_bytes(channel.transport) > 6_000_000)
        for _ in range(3):
            before = unsent_bytes(channel.transport)
            await deferToThread(take, wire, 500_000)
            await until(lambda before=before: unsent_bytes(channel.transport) < before)
            node.clock.advance(IDLE_SECONDS)
            assert channel.transport.connected
        assert unsent_bytes(channel.transport) > 5_000_000, "not even one piece has left"
        await until(lambda: not node.clock.advance(IDLE_SECONDS) and not channel.transport.connected)
    finally:
        wire.close()
        await port.stopListening()
