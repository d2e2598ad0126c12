"""The queue to one peer: lanes, limits, back-pressure."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_net import make_config
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ddbd.cluster.outbound import FAST_BYTES_MAX, STUCK_TIMEOUTS, Outbound
from ddbd.cluster.wire import QUIET_FRAME, FrameDecoder
from ddbd.config import Limits
from ddbd.raft.messages import AppendEntries, Forward, Heartbeat, Message, ReadRequest
from ddbd.raft.types import Entry, EntryKind

LIMITS = Limits(peer_queue_bytes_max=200_000)
HEARTBEAT = Heartbeat("2", "1", 1, 1)


class Response:
    """A request as Outbound uses it; `room` is how many bytes its transport takes before it says pause."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.writes: list[bytes] = []
        self.is_aborted = False
        self.transport = self
        self._gone: Deferred[None] = Deferred()
        self._producer: Any = None

    def notifyFinish(self) -> Deferred[None]:
        return self._gone

    def setHeader(self, name: bytes, value: bytes) -> None:
        pass

    def setTcpNoDelay(self, on: bool) -> None:
        pass

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def abortConnection(self) -> None:
        self.is_aborted = True  # notifyFinish comes in a later turn: break_off

    def break_off(self) -> None:
        self._gone.addErrback(lambda _: None)
        self._gone.errback(Failure(ConnectionError()))

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.room -= len(data)
        if self.room < 0 and self._producer is not None:
            self._producer.pauseProducing()

    def drain(self, room: int) -> None:
        self.room = room
        self._producer.resumeProducing()

    def messages(self) -> list[Message]:
        return FrameDecoder(LIMITS).feed(b"".join(self.writes))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def way(clock: Clock) -> Outbound:
    return Outbound(clock, make_config(limits=LIMITS), "2", lambda peer_id: None)


def append(index: int, size_bytes: int) -> AppendEntries:
    return AppendEntries("2", "1", 1, index - 1, 1, (Entry(index, 1, 0, EntryKind.COMMAND, b"x" * size_bytes),), 0)


def connected(way: Outbound, room: int = 10**9) -> Response:
    response = Response(room)
    way.attach(response)  # type: ignore[arg-type]
    return response


def test_the_response_begins_at_once(way: Outbound) -> None:
    assert connected(way).writes == [QUIET_FRAME]


def test_messages_of_a_turn_leave_in_one_write(way: Outbound) -> None:
    response = connected(way)
    for index in range(1, 20):
        way.send(append(index, 100))
    way.flush()
    assert len(response.writes) == 2
    assert len(response.messages()) == 19


def test_without_a_stream_messages_are_dropped(way: Outbound) -> None:
    assert not way.send(HEARTBEAT)
    assert (way.dropped, way.queue_bytes) == (1, 0)


def test_a_heartbeat_passes_between_the_pieces_of_a_large_message(way: Outbound) -> None:
    response = connected(way, room=50_000)
    large = append(1, 190_000)
    way.send(large)
    way.flush()
    way.send(HEARTBEAT)
    way.flush()
    assert response.messages() == []  # the transport is full: one piece is under way, and the heartbeat waits
    response.drain(50_000)
    assert response.messages() == [HEARTBEAT]
    response.drain(10**9)
    assert response.messages() == [HEARTBEAT, large]


def test_a_full_queue_drops_bulk_and_lets_heartbeats_pass(way: Outbound) -> None:
    response = connected(way, room=0)
    way.keep_alive()
    sent = [way.send(append(index, 60_000)) for index in range(1, 6)]
    assert sent == [True, True, True, False, False]
    assert not way.send(Forward("2", "1", 1, (b"x" * 60_000,)))
    assert way.send(HEARTBEAT)
    response.drain(10**9)
    assert response.messages() == [HEARTBEAT, append(1, 60_000), append(2, 60_000), append(3, 60_000)]
    assert way.queue_bytes == 0


def test_appends_never_overtake_each_other(way: Outbound) -> None:
    response = connected(way, room=0)
    for message in (append(1, 100_000), append(2, 1)):
        way.send(message)
    response.drain(10**9)
    assert response.messages() == [append(1, 100_000), append(2, 1)]


def test_the_fast_lane_is_bounded_too(way: Outbound) -> None:
    connected(way, room=0)
    way.keep_alive()
    contexts = ReadRequest("2", "1", 1, tuple((1, 10**12) for _ in range(2_000)))
    while way.send(contexts):
        assert way.queue_bytes <= FAST_BYTES_MAX
    assert way.dropped == 1


def test_a_message_over_the_limit_is_dropped_alone(clock: Clock) -> None:
    limits = Limits(message_bytes_max=10_000)
    way = Outbound(clock, make_config(limits=limits), "2", lambda peer_id: None)
    response = connected(way)
    assert not way.send(append(1, 20_000))
    assert way.send(HEARTBEAT)
    way.flush()
    assert response.messages() == [HEARTBEAT]


def test_the_newest_stream_wins_and_begins_empty(way: Outbound) -> None:
    first = connected(way, room=0)
    way.keep_alive()
    way.send(append(1, 10))
    second = connected(way)
    assert first.is_aborted
    assert not second.is_aborted
    way.send(HEARTBEAT)
    way.flush()
    assert second.messages() == [HEARTBEAT]


def test_a_broken_stream_empties_the_queue(way: Outbound) -> None:
    response = connected(way, room=0)
    way.keep_alive()
    way.send(append(1, 10))
    response.break_off()
    assert not way.is_connected
    assert way.queue_bytes == 0
    way.flush()
    way.keep_alive()


def test_an_old_stream_that_ends_late_leaves_the_new_one_alone(way: Outbound) -> None:
    first = connected(way)
    second = connected(way)
    first.break_off()
    assert way.is_connected
    assert not second.is_aborted


def test_a_quiet_stream_gets_a_frame_each_heartbeat_and_a_busy_one_none(way: Outbound) -> None:
    response = connected(way)
    way.keep_alive()
    assert response.writes == [QUIET_FRAME, QUIET_FRAME]
    way.send(HEARTBEAT)
    way.flush()
    way.keep_alive()
    assert len(response.writes) == 3


def test_a_stream_that_has_no_room_for_long_is_cut_off(way: Outbound, clock: Clock) -> None:
    response = connected(way, room=0)
    for _ in range(STUCK_TIMEOUTS):
        clock.advance(0.5)
        way.keep_alive()
    assert not response.is_aborted
    clock.advance(0.5)
    way.keep_alive()
    assert response.is_aborted
    assert not way.is_connected
