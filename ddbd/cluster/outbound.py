"""This node's messages on their way to one peer: two lanes, and the response that the peer holds open.

The peer asks (`GET /raft/stream`), we push frames down the response. The newest request wins: an older one is cut off, for the peer
would not have asked again had it still heard that one. Without a stream, or when a lane is full, messages are dropped: Raft repeats
what matters, and what is old by the time that a stream comes does not.

The fast lane holds whole small messages (heartbeats, votes, answers), the slow one the pieces of AppendEntries, Forward, and whatever
is longer than a frame. Each write takes the fast lane first and then pieces up to one frame's length, so a heartbeat waits behind 64 KiB
at most here, and behind what the kernel holds. AppendEntries never leave the slow lane, not even short ones: one that overtakes another
is refused by the follower as a gap. Frames of one reactor turn leave in one write.

The transport tells when its buffer is full (pauseProducing) and when it is empty again (resumeProducing).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer

from ddbd.cluster.wire import QUIET_FRAME, FrameEncoder, WireError, frame_bytes_max
from ddbd.config import Config, Limits
from ddbd.raft.messages import AppendEntries, Forward, Message
from ddbd.raft.types import NodeId

FAST_BYTES_MAX = 1024 * 1024  # thousands of heartbeats: a peer that lags so far needs none of them
STUCK_TIMEOUTS = 10  # election timeouts without room in the transport, after which a stream is given up and its memory freed

_BULK = (AppendEntries, Forward)

logger = Logger()


class Lanes:
    """Frames that wait. Takes nothing back once it has accepted it, but for `clear`."""

    def __init__(self, limits: Limits) -> None:
        self._fast: deque[bytes] = deque()
        self._slow: deque[bytes] = deque()
        self._fast_bytes = 0  # <= FAST_BYTES_MAX
        self._slow_bytes = 0  # <= peer_queue_bytes_max, unless one message alone is larger
        self._slow_bytes_max = limits.peer_queue_bytes_max
        self._write_bytes_max = frame_bytes_max(limits)

    def __bool__(self) -> bool:
        return bool(self._fast or self._slow)

    @property
    def size_bytes(self) -> int:
        return self._fast_bytes + self._slow_bytes

    def offer(self, frames: Sequence[bytes], bulk: bool) -> bool:
        """Takes the frames of one message, all or none."""
        size_bytes = sum(map(len, frames))
        if bulk or len(frames) > 1:
            if self._slow and self._slow_bytes + size_bytes > self._slow_bytes_max:
                return False
            self._slow.extend(frames)
            self._slow_bytes += size_bytes
        else:
            if self._fast_bytes + size_bytes > FAST_BYTES_MAX:
                return False
            self._fast.extend(frames)
            self._fast_bytes += size_bytes
        return True

    def take(self) -> bytes:
        """What goes into the next write: all of the fast lane, and pieces of the slow one as long as the write stays short."""
        taken, size_bytes = list(self._fast), self._fast_bytes
        self._fast.clear()
        self._fast_bytes = 0
        while self._slow and (not taken or size_bytes + len(self._slow[0]) <= self._write_bytes_max):
            frame = self._slow.popleft()
            taken.append(frame)
            size_bytes += len(frame)
            self._slow_bytes -= len(frame)
        return b"".join(taken)

    def clear(self) -> None:
        self._fast.clear()
        self._slow.clear()
        self._fast_bytes = self._slow_bytes = 0


@implementer(IPushProducer)
class Outbound:
    """The way to one peer. `send` queues, `flush` writes."""

    def __init__(self, clock: IReactorTime, config: Config, peer_id: NodeId, connected: Callable[[NodeId], None]) -> None:
        self.peer_id = peer_id
        self._connected = connected  # told after each new stream: what was sent before may be lost
        self.dropped = 0  # messages, since the start
        self._clock = clock
        self._stuck_seconds = STUCK_TIMEOUTS * config.timing.election_timeout_ms / 1_000
        self._limits = config.limits
        self._lanes = Lanes(config.limits)
        self._encoder = FrameEncoder(config.limits)
        self._request: Request | None = None
        self._paused_since: float | None = None
        self._wrote = False  # since the last keep_alive

    @property
    def is_connected(self) -> bool:
        return self._request is not None

    @property
    def queue_bytes(self) -> int:
        return self._lanes.size_bytes

    def send(self, message: Message) -> bool:
        """Whether the message is queued; if not, it is lost."""
        if self._request is not None and self._offer(message):
            return True
        self.dropped += 1
        return False

    def _offer(self, message: Message) -> bool:
        try:
            frames = self._encoder.frames(message)
        except WireError as error:
            # The driver's limits should keep it from making one; retrying cannot help, so it must be seen.
            logger.error("a message to node {peer} is lost: {detail}", peer=self.peer_id, detail=error.detail)
            return False
        return self._lanes.offer(frames, isinstance(message, _BULK))

    def flush(self) -> None:
        while self._request is not None and self._paused_since is None and self._lanes:
            self._wrote = True
            self._request.write(self._lanes.take())

    def keep_alive(self) -> None:
        """Called once every heartbeat: a stream on which nothing went gets a frame that says nothing, a stuck one is cut off."""
        if self._request is None:
            return
        if self._paused_since is not None:
            if self._clock.seconds() - self._paused_since > self._stuck_seconds:
                self.close()
        elif not self._wrote:
            self._request.write(QUIET_FRAME)
        self._wrote = False

    def attach(self, request: Request) -> None:
        """The peer asked for the stream: this response is it from now on."""
        self.close()
        self._request = request
        self._encoder = FrameEncoder(self._limits)
        request.notifyFinish().addBoth(self._finished, request)
        request.setHeader(b"content-type", b"application/octet-stream")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"connection", b"close")  # a body that ends with its connection needs no chunks: frames tell their own end
        no_delay = getattr(getattr(request, "transport", None), "setTcpNoDelay", None)
        if no_delay is not None:
            no_delay(True)  # Nagle would hold a small frame back until the last one is acknowledged
        request.registerProducer(self, True)
        request.write(QUIET_FRAME)  # with it the head leaves, so that the peer knows that it is connected
        self._connected(self.peer_id)

    def close(self) -> None:
        """Cuts the stream off. What waits is lost."""
        request, self._request = self._request, None
        self._lanes.clear()
        self._paused_since = None
        if request is not None:
            request.unregisterProducer()
            _abort(request)

    def _finished(self, _: object, request: Request) -> None:
        if request is self._request:
            self._request = None  # the connection is gone: nothing to unregister from
            self._lanes.clear()
            self._paused_since = None

    def pauseProducing(self) -> None:
        if self._paused_since is None:
            self._paused_since = self._clock.seconds()

    def resumeProducing(self) -> None:
        self._paused_since = None
        self.flush()

    def stopProducing(self) -> None:
        """The transport is done for; notifyFinish tells the rest."""


def _abort(request: Request) -> None:
    """Ends a response without waiting for a peer that does not read: loseConnection would keep its buffer until TCP gives up."""
    abort = getattr(getattr(request, "transport", None), "abortConnection", None)
    if abort is not None:
        abort()
    else:
        request.loseConnection()
