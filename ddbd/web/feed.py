"""`GET /console/feed`: what changes at this node, pushed to every tab that watches (text/event-stream).

    (none) --first tab--> telling --last tab gone--> telling into the ring, LINGER_SECONDS --> (none)

One broadcaster encodes each event once, and the same bytes go to every tab. While nobody watches nothing is encoded and no peer is asked.

* A tab begins with a snapshot, or, when it names an event that is still in the ring (Last-Event-ID), with all that came after that one.
* A tab that does not read gets nothing more: what its transport holds by then is all. When it reads again it gets a new snapshot; when it
  does not for STALLED_SECONDS, its connection is cut, here or by the kernel, so that the dead keep nobody out.
* Ids are `<boot>-<number>`; a boot is a random word, so a node that was started anew takes no id of its earlier life for its own.
"""

# mypy: disallow_untyped_calls=False
# Twisted's web server has no types.

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from ddbd.answers import Happened, Status
from ddbd.errors import Busy, DdbError, NotReady
from ddbd.web.door import check_origin
from ddbd.web.pages import Nothing

TICK_SECONDS = 0.25  # how often the status is looked at
STATUS_SHARE = 50  # of the time at most one in so many goes into looking at a status that is long, and as much into telling the peers'
PEERS_SECONDS = 1.0
PING_SECONDS = 10.0
LINGER_SECONDS = 15.0  # how long a tab that lost its connection can come back to the ring
STALLED_SECONDS = 60.0
RING_EVENTS_MAX = 600
RING_BYTES_MAX = 1024 * 1024

FIELDS = (
    (b"Content-Type", b"text/event-stream; charset=utf-8"),
    (b"Cache-Control", b"no-store"),
    (b"X-Accel-Buffering", b"no"),  # a proxy that collects an answer before it passes it on would never pass this one on
    (b"X-Content-Type-Options", b"nosniff"),
)
RETRY = b"retry: 1000\n\n"
PING = b": ping\n\n"

_encode = msgspec.json.Encoder().encode

logger = Logger()


class Sources(NamedTuple):
    """What there is to tell."""

    node_id: str
    status: Callable[[], Status]
    peers: Callable[[], list[dict[str, Any]]]
    ask_peers: Callable[[], Deferred[None]]  # fires when `peers` has news; never errs
    history: Callable[[], dict[str, bytes]]  # JSON by name
    timeline: Callable[[], list[Happened]]


@implementer(IPushProducer)
class _Tab:
    """One reader."""

    def __init__(self, feed: Feed, request: Any) -> None:
        self._feed = feed
        self.request = request
        self.full_since: float | None = None  # its transport is full: the client does not read
        self._is_behind = False

    def write(self, data: bytes) -> None:
        if self.full_since is None:
            self.request.write(data)
        else:
            self._is_behind = True

    def pauseProducing(self) -> None:
        if self.full_since is None:
            self.full_since = self._feed.seconds()

    def resumeProducing(self) -> None:
        self.full_since = None
        if self._is_behind:
            self._is_behind = False
            self.write(self._feed.snapshot())

    def stopProducing(self) -> None:
        """The connection is gone; `notifyFinish` tells."""

    def end(self) -> None:
        if self.full_since is not None:
            self.request.transport.abortConnection()
        else:
            self.request.unregisterProducer()
            self.request.finish()


class Feed(Resource):
    """`now` is the wall clock, `boot` a random word."""

    def __init__(self, clock: IReactorTime, now: Callable[[], float], boot: str, feeds_max: int, sources: Sources) -> None:
        super().__init__()
        self.seconds = clock.seconds
        self.tabs: set[_Tab] = set()
        self._clock = clock
        self._now = now
        self._boot = boot.encode("ascii")
        self._feeds_max = feeds_max
        self._sources = sources
        self._number = 0  # of the last event
        self._ring: deque[tuple[int, bytes]] = deque()
        self._ring_bytes = 0
        self._snapshot: tuple[int, bytes] = (-1, b"")  # of the last one that was made: after which event, and its bytes
        self._status: dict[str, Any] = {}  # as it was last told, without what changes by itself
        self._status_at = 0.0  # when it may be looked at again
        self._peers_at = 0.0
        self._are_peers_asked = False
        self._written_at = 0.0
        self._alone_since: float | None = None
        self._is_stopped = False
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    def getChild(self, path: bytes, request: Any) -> IResource:
        return Nothing()

    # A tab comes and goes.

    def render_GET(self, request: Any) -> int:
        try:
            self._admit(request)
        except DdbError as error:
            request.refuse(error)
            return NOT_DONE_YET
        for name, value in FIELDS:
            request.setHeader(name, value)
        tab = _Tab(self, request)
        request.notifyFinish().addBoth(self._gone, tab)
        self._begin()
        self.tabs.add(tab)
        request.registerProducer(tab, True)
        _bound_silence(request)
        tab.write(RETRY + self._missed_by(request))
        return NOT_DONE_YET

    def render_HEAD(self, request: Any) -> bytes:
        for name, value in FIELDS:
            request.setHeader(name, value)
        request.write(b"")  # the head of a stream: it has no length
        return b""

    def _admit(self, request: Any) -> None:
        """Raises Refused, Busy and NotReady. No page of another origin may take a feed, though it could not read it."""
        check_origin(request.requestHeaders)
        if self._is_stopped:
            raise NotReady("this node is stopping; watch another one")
        if len(self.tabs) >= self._feeds_max:
            raise Busy(f"{len(self.tabs)} feeds are open, as many as are allowed; close a tab of the console, or try again later")

    def _gone(self, _: Any, tab: _Tab) -> None:
        self.tabs.discard(tab)
        if not self.tabs:
            self._alone_since = self.seconds()

    def _missed_by(self, request: Any) -> bytes:
        """What a tab needs to begin with, or to go on."""
        boot, _, number = (request.getHeader(b"Last-Event-ID") or b"").rpartition(b"-")
        if boot == self._boot and number.isdigit() and len(number) < 20:
            last = int(number)
            first = self._ring[0][0] if self._ring else self._number + 1
            if first - 1 <= last <= self._number:
                return b"".join([event for each, event in self._ring if each > last])
        return self.snapshot()

    def stop(self) -> None:
        """Ends every feed at once."""
        self._is_stopped = True
        for tab in list(self.tabs):
            tab.end()
        self._rest()

    # Telling.

    def _begin(self) -> None:
        self._alone_since = None
        if not self._loop.running:
            self._written_at = self._status_at = self._peers_at = self.seconds()
            self._status = _steady(self._sources.status())
            self._loop.start(TICK_SECONDS, now=False).addErrback(self._broken)

    def _rest(self) -> None:
        """Whoever comes now has missed something that was not told."""
        if self._loop.running:
            self._loop.stop()
        self._ring.clear()
        self._ring_bytes = 0
        self._snapshot = (-1, b"")
        self._number += 1

    def _broken(self, failure: Any) -> None:
        logger.failure("the console's feed broke off", failure)
        for tab in list(self.tabs):
            tab.end()
        self._rest()

    def _tick(self) -> None:
        now = self.seconds()
        if self._alone_since is not None:
            if now - self._alone_since >= LINGER_SECONDS:
                self._rest()
                return
        elif now >= self._peers_at and not self._are_peers_asked:
            self._peers_at, self._are_peers_asked = now + PEERS_SECONDS, True
            self._sources.ask_peers().addCallback(self._peers_answered)
        self._look_at_status(now)
        for tab in [tab for tab in self.tabs if tab.full_since is not None and now - tab.full_since >= STALLED_SECONDS]:
            tab.end()
        if now - self._written_at >= PING_SECONDS:
            self._write(PING)

    def _look_at_status(self, now: float) -> None:
        if now < self._status_at:
            return
        status = self._sources.status()
        steady = _steady(status)
        if steady != self._status:
            self._status = steady
            self.tell("status", _encode({"now": self._now(), "status": status}))
        self._status_at = now + max(TICK_SECONDS, STATUS_SHARE * (self.seconds() - now)) - TICK_SECONDS / 2

    def _peers_answered(self, _: None) -> None:
        self._are_peers_asked = False
        if self.tabs:
            began = self.seconds()
            self.tell("peers", _encode({"now": self._now(), "peers": self._sources.peers()}))
            self._peers_at = max(self._peers_at, began + STATUS_SHARE * (self.seconds() - began))

    def tell(self, name: str, data: bytes) -> None:
        """To every tab, and into the ring. `data` is JSON in one line. Nothing is told while nobody watches."""
        if not self._loop.running:
            return
        self._number += 1
        event = self._event(name, data)
        self._ring.append((self._number, event))
        self._ring_bytes += len(event)
        while len(self._ring) > RING_EVENTS_MAX or self._ring_bytes > RING_BYTES_MAX:
            self._ring_bytes -= len(self._ring.popleft()[1])
        self._write(event)

    def tell_json(self, name: str, value: Any) -> None:
        if self._loop.running:
            self.tell(name, _encode(value))

    def _event(self, name: str, data: bytes) -> bytes:
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (self._boot, self._number, name.encode("ascii"), data)

    def _write(self, data: bytes) -> None:
        self._written_at = self.seconds()
        for tab in list(self.tabs):
            tab.write(data)

    def snapshot(self) -> bytes:
        """All there is, as one event. Whoever comes between two events gets the same bytes."""
        if self._snapshot[0] != self._number or not self._loop.running:
            sources = self._sources
            head = _encode({"now": self._now(), "self": sources.node_id, "status": sources.status(), "peers": sources.peers()})
            history = b",".join([b'"%s":%s' % (name.encode("ascii"), columns) for name, columns in sources.history().items()])
            data = b'%s,"history":{%s},"timeline":%s}' % (head[:-1], history, _encode(sources.timeline()))
            self._snapshot = (self._number, self._event("snapshot", data))
        return self._snapshot[1]


def _bound_silence(request: Any) -> None:
    """The kernel takes megabytes for a client that is gone without a word, or does not read, before the transport is full: it hangs up
    itself once it waited so long to get rid of some.
    """
    handle = getattr(request.transport, "getHandle", None)
    if handle is not None:
        handle().setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_SECONDS * 1000))


def _steady(status: Status) -> dict[str, Any]:
    """What is worth telling when it changes. Nobody needs four times a second how long turns take, and ages change by themselves."""
    node = {name: value for name, value in status["node"].items() if name != "reactor"}
    return {**status, "node": node, "staleness_ms": status.get("staleness_ms") is None}
