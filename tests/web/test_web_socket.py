"""An answer goes into the socket as far as that takes it, and the rest by the transport: each byte once, and in order."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from twisted.internet.tcp import Connection
from web_client import Node, request

ONLY_OUR_CHANNEL = True
ROW = {"table_name": "students", "row_id": "long", "data": {"name": "x" * 50_000}}


class Narrow(Connection):
    """A socket that takes so many bytes at once, or fails. What the transport is given instead waits behind."""

    TLS = False

    def __init__(self, takes: int | OSError) -> None:
        self.takes = takes
        self._tempDataLen = 0
        self.dataBuffer = b""
        self.connected = 1
        self.out = b""
        self.offered = 0

    @property
    def socket(self) -> Any:  # type: ignore[override]
        return self

    def send(self, data: bytes) -> int:
        self.offered += 1
        if isinstance(self.takes, OSError):
            raise self.takes
        self.out += data[: self.takes]
        return min(self.takes, len(data))

    def write(self, data: bytes) -> None:
        self.dataBuffer += data

    def registerProducer(self, producer: Any, streaming: bool) -> None: ...

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...


def answers(takes: int | OSError) -> tuple[bytes, Narrow]:
    """What two clients get for the same: one of a wide socket, one of this one; the latter asks twice."""
    node = Node().with_students()
    assert node.post("/insert", ROW).status == 200
    got = []
    for width in (1 << 30, takes):
        wire, channel = Narrow(width), node.site.buildProtocol(None)
        channel.makeConnection(wire)
        for _ in range(2):
            channel.dataReceived(request("GET", "/select?table=students&row_id=long&consistency=local"))
            node.clock.turn()
        got.append(wire)
    whole, narrow = got
    assert whole.dataBuffer == b""
    assert whole.out.count(b"x" * 50_000) == 2
    return whole.out, narrow


@pytest.mark.parametrize("takes", [0, 1, 20_000, 50_000])
def test_what_the_socket_does_not_take_follows_by_the_transport_once_and_in_order(takes: int) -> None:
    whole, narrow = answers(takes)
    assert len(narrow.out) == takes
    assert narrow.out + narrow.dataBuffer == whole
    assert narrow.offered == 1, "what waits goes first"


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EPIPE, errno.ECONNRESET])
def test_socket_that_fails_leaves_all_to_the_transport_which_meets_it_again(code: int) -> None:
    whole, narrow = answers(OSError(code, "refused"))
    assert narrow.dataBuffer == whole
