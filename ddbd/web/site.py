"""Where the web room is put together: the Klein app, resources of other rooms, and the factory of connections around them.

`make_site` is all that the tap file needs. `mounted` maps a first path segment to another room's resource (the peers' streams under
b"raft", the console): those skip the checks of calls but not the Host check, and a connection that carries one of `peers` does not count
against the limit on connections. Beyond the limit a few connections are still let in, so that peers always get through and everyone
else is told to come back later; beyond those, the connection is closed unheard.
"""

# mypy: disallow_untyped_calls=False
# Twisted's web server has no types.

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.web import server
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource, Resource

from ddbd.config import Config, Node
from ddbd.errors import Busy
from ddbd.web.app import Api
from ddbd.web.backend import Backend
from ddbd.web.channel import Channel
from ddbd.web.clock import Clock, WhenFree
from ddbd.web.door import MOUNTED, Admission, Door, Head
from ddbd.web.ids import RowIds
from ddbd.web.pages import SeeConsole, wants_page
from ddbd.web.reply import WITHOUT_BODY, status_line
from ddbd.web.request import Request
from ddbd.web.routes import Routes
from ddbd.web.watching import Watch, unwatched

SPARE_CONNECTIONS = 64
CONSOLE = b"console"


class Root(Resource):
    """Another room's resource by the first segment of the path, the app for everything else."""

    def __init__(self, app: IResource, mounted: Mapping[bytes, IResource]) -> None:
        super().__init__()
        self._app = app
        for segment, child in mounted.items():
            self.putChild(segment, child)

    def getChildWithDefault(self, path: bytes, request: Any) -> Any:
        """The app sees the whole path, as if it stood at the root."""
        if path in self.children:
            return self.children[path]
        if not path and CONSOLE in self.children and wants_page(request):
            return SeeConsole()
        request.postpath.insert(0, request.prepath.pop())
        return self._app


class Site(server.Site):
    """The factory. `clock` serves every deadline, `now` is the wall clock and dates the answers."""

    noisy = False  # the daemon says itself that it serves
    protocol = Channel  # type: ignore[assignment]  # not Twisted's choice between versions: there is no HTTP/2 here

    def __init__(
        self, root: IResource, api: Api, door: Door, clock: IReactorTime, peers: Collection[bytes], now: Callable[[], float]
    ) -> None:
        super().__init__(root, reactor=clock, timeout=None, parsePOSTFormSubmission=False)
        self.clock = clock
        self.seconds = clock.seconds
        self.when_free = api.clock.when_free
        self.meter = api.watch.meter
        self.limits = api.backend.config.limits
        self.stopping = False  # set: every answer closes its connection
        self.connections = 0  # those that count
        self._channels: set[Channel] = set()
        self._door = door
        self._peers = frozenset(peers)
        self._now = now
        self._dated = (-1, b"")  # the second that the field is of
        self.serve(root, api)

    def serve(self, root: IResource, api: Api) -> None:
        """From the next request on, also of connections that are open."""
        self.resource, self.api = root, api
        self._routes = Routes(api.app, api)
        self.meter.know(self._routes.paths)

    def reconfigure(self, config: Config, node: Node) -> None:
        """From the next request on; limits on a head from the next connection on."""
        self.limits = config.limits
        self._door = self._door.again(config, node)
        self.api.reconfigure(config.limits)

    def startFactory(self) -> None:
        """No access log, and so no clock for it."""

    def stopFactory(self) -> None:
        self.stopping = True

    def log(self, request: Any) -> None:
        """A line for each request would cost more than the request."""

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self.connections >= self.limits.connections_max + SPARE_CONNECTIONS:
            return None
        self.connections += 1
        channel: Any = super().buildProtocol(addr)
        channel.is_surplus = self.connections > self.limits.connections_max
        self._channels.add(channel)
        return channel

    def is_answering(self) -> bool:
        """Whether a client waits for an answer, or has not taken all of it yet."""
        return any(channel.counted and channel.is_busy for channel in self._channels)

    def disconnected(self, channel: Channel) -> None:
        self._channels.discard(channel)
        if channel.counted:
            self.connections -= 1

    def uncounted(self) -> None:
        self.connections -= 1

    def admit(self, channel: Channel, head: Head, content_length: int | None) -> Admission:
        """Raises Refused, and Busy beyond the limit on connections, to those that came last."""
        admission = self._door.admit(head, content_length)
        if admission.kind is MOUNTED and admission.path[1:].partition(b"/")[0] in self._peers:
            channel.uncount()
        elif channel.is_surplus and self.connections > self.limits.connections_max:
            raise Busy(f"{self.connections} connections are open, {self.limits.connections_max} are allowed; try again later")
        return admission

    def process(self, request: Request) -> None:
        """Straight to the handler where the path is a plain one of the app's, else through the tree of resources."""
        if request.uri == b"*":
            request.answer(200, b"text/plain", b"Allow: GET, HEAD, OPTIONS, POST\r\n", b"")
        elif not self._routes.run(request):
            request.render(request.find_resource(self))

    # Answers as bytes.

    def answer_head(self, status: int, lines: bytes) -> bytes:
        second = int(self._now())
        if second != self._dated[0]:
            self._dated = (second, b"Date: %s\r\n\r\n" % datetimeToString(second))
        return b"%s%s%s" % (status_line(status), lines, self._dated[1])

    def whole_answer(self, status: int, content_type: bytes, lines: bytes, body: bytes, without_body: bool) -> bytes:
        """`lines` are all fields but those that describe the body."""
        if status in WITHOUT_BODY:
            return self.answer_head(status, lines)
        described = b"Content-Length: %d\r\n" % len(body)
        if content_type:
            described += b"Content-Type: %s\r\n" % content_type
        head = self.answer_head(status, described + lines)
        return head if without_body else head + body


def make_resource(
    backend: Backend,
    clock: IReactorTime,
    mounted: Mapping[bytes, IResource] | None = None,
    now: Callable[[], float] = time.time,
    entropy: Callable[[int], bytes] = os.urandom,
    watch: Watch | None = None,
    when_free: WhenFree | None = None,
) -> tuple[Root, Api]:
    """The resource for any channel. `when_free` as in `clock.Clock`."""
    api = Api(backend, Clock(clock, when_free), RowIds(now, entropy), entropy, now, watch or unwatched())
    return Root(api.app.resource(), mounted or {}), api


def make_site(
    backend: Backend,
    config: Config,
    clock: IReactorTime,
    mounted: Mapping[bytes, IResource] | None = None,
    peers: Collection[bytes] = (b"raft",),
    now: Callable[[], float] = time.time,
    entropy: Callable[[int], bytes] = os.urandom,
    factory: type[Site] = Site,
    watch: Watch | None = None,
    when_free: WhenFree | None = None,
) -> Site:
    """Ready to listen with. `now` is the wall clock: it dates answers and row ids; `entropy(n)` gives n random bytes."""
    root, api = make_resource(backend, clock, mounted, now, entropy, watch, when_free)
    door = Door(config, config.node(backend.node_id), (mounted or {}).keys())
    return factory(root, api, door, clock, peers, now)
