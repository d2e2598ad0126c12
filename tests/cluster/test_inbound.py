"""The way from one peer: what an old stream leaves behind does not touch the next one."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cluster_net import make_config
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ddbd.cluster.inbound import Ears, Inbound
from ddbd.cluster.wire import FrameEncoder
from ddbd.raft.messages import Heartbeat, Message

CONFIG = make_config()


class Response:
    code = 200

    def deliverBody(self, body: Any) -> None:
        self.body = body


class Peer:
    """Answers when it is told to; each dial is one stream."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.received: list[Message] = []
        self.dials: list[Deferred[Response]] = []
        self.inbound = Inbound(
            self.clock, CONFIG, "2", "c1", "1", random.Random(0), self, Ears(self.received.append, lambda _: None)  # type: ignore[arg-type]
        )  # fmt: skip
        self.inbound.start()

    def request(self, *_: object, **__: object) -> Deferred[Response]:
        self.dials.append(Deferred())
        return self.dials[-1]

    def answers(self) -> Any:
        """The newest dial; the body of its stream."""
        response = Response()
        self.dials[-1].callback(response)
        return response.body

    def advance(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds / 0.01))


@pytest.fixture
def peer() -> Peer:
    return Peer()


def frame(number: int) -> bytes:
    (only,) = FrameEncoder(CONFIG.limits).frames(Heartbeat("2", "1", 1, number))
    return only


def test_half_a_frame_of_a_stream_that_broke_is_not_continued_by_the_next_one(peer: Peer) -> None:
    body = peer.answers()
    body.dataReceived(frame(1)[:-1])
    body.connectionLost(Failure(ConnectionDone()))
    peer.advance(1)
    body = peer.answers()
    body.dataReceived(frame(2))
    assert peer.received == [Heartbeat("2", "1", 1, 2)]
    assert peer.inbound.is_connected


def test_the_end_of_a_stream_that_was_cut_off_is_not_the_end_of_the_next_one(peer: Peer) -> None:
    silent = peer.answers()
    peer.advance(CONFIG.timing.election_timeout_ms / 1_000 + 0.1)
    assert len(peer.dials) == 2
    body = peer.answers()
    silent.connectionLost(Failure(ConnectionDone()))
    assert peer.inbound.is_connected
    body.dataReceived(frame(1))
    assert peer.received == [Heartbeat("2", "1", 1, 1)]
    peer.advance(0.3)
    assert len(peer.dials) == 2
