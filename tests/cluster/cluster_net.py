"""A network in memory: real Sites and real Agents, joined by iosim, on one Clock.

Nodes listen on ports. `flush` moves bytes until nothing moves; `advance` lets time pass in small steps, flushing in between.
A node can be killed (its connections close, its port refuses), cut off (nothing moves and nothing is refused), and come back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from treq.client import HTTPClient
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.test import iosim
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from ddbd.cluster.peers import PeerRefused, PlainAgent
from ddbd.config import Config, Limits, Node, Timing

FIRST_PORT = 8080


def make_config(count: int = 3, timing: Timing | None = None, limits: Limits | None = None, shift: int = 0) -> Config:
    nodes = tuple(
        Node(str(place), f"localhost:{FIRST_PORT + place + shift}", False, "localhost", FIRST_PORT + place + shift, "localhost")
        for place in range(1, count + 1)
    )
    return Config(nodes, Path("config.json"), timing=timing or Timing(), limits=limits or Limits())


class Link:
    """One connection."""

    def __init__(self, network: Network, source: str, target: str, pump: Any) -> None:
        self.network = network
        self.ends = frozenset((source, target))
        self.pump = pump

    def move(self) -> bool:
        if self.ends & self.network.silent:
            return False
        self.network.is_moving = True
        self.pump.serverIO.stream[:] = [self.network.change(b"".join(self.pump.serverIO.stream))]
        moved = bool(self.pump.pump(advanceClock=False))
        self.network.is_moving = False
        self.network.reap()
        return moved

    @property
    def is_over(self) -> bool:
        return bool(self.pump.clientIO.disconnected and self.pump.serverIO.disconnected)

    def break_off(self) -> None:
        """What the kernel does when a process dies: both ends are told, bytes under way are lost."""
        for transport in (self.pump.clientIO, self.pump.serverIO):
            transport.stream.clear()
            transport.abortConnection()
            transport.stream.clear()
        self.pump.flush()


class Network:
    def __init__(self, clock: Clock, config: Config) -> None:
        self.clock = clock
        self.config = config
        self.sites: dict[int, Site] = {}
        self.links: list[Link] = []
        self.broken: list[Link] = []
        self.is_moving = False
        self.silent: set[str] = set()  # nodes from and to which nothing moves
        self.dials: list[tuple[str, str]] = []
        self.change: Callable[[bytes], bytes] = lambda data: data  # what the network does to the bytes of answers

    def listen(self, node_id: str, root: Resource) -> None:
        tree = Resource()
        tree.putChild(b"raft", root)
        site = Site(tree, reactor=self.clock)
        self.sites[self.config.node(node_id).port] = site

    def kill(self, node_id: str) -> None:
        self.sites.pop(self.config.node(node_id).port, None)
        gone = [link for link in self.links if node_id in link.ends]
        self.links = [link for link in self.links if node_id not in link.ends]
        self.broken += gone
        if not self.is_moving:
            self.reap()

    def reap(self) -> None:
        """Tells the ends of broken links: not from inside a call that one of them is just handling."""
        broken, self.broken = self.broken, []
        for link in broken:
            link.break_off()

    def cut(self, first: str, second: str) -> None:
        for link in [link for link in self.links if link.ends == {first, second}]:
            self.links.remove(link)
            link.break_off()

    def client(self, node_id: str) -> HTTPClient:
        pool = HTTPConnectionPool(self.clock, persistent=False)
        return HTTPClient(PlainAgent(Agent.usingEndpointFactory(self.clock, _Factory(self, node_id), pool=pool)))

    def connect(self, source: str, port: int, factory: Any) -> Deferred[Any]:
        target = next(node.id for node in self.config.nodes if node.port == port)
        self.dials.append((source, target))
        if {source, target} & self.silent:
            return Deferred()
        if port not in self.sites:
            return fail(PeerRefused(f"{port} refused"))
        server = self.sites[port].buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        client = factory.buildProtocol(None)
        here, there = IPv4Address("TCP", "127.0.0.1", 1), IPv4Address("TCP", "127.0.0.1", port)
        pump = iosim.connect(
            server,
            iosim.FakeTransport(server, isServer=True, hostAddress=there, peerAddress=here),
            client,
            iosim.FakeTransport(client, isServer=False, hostAddress=here, peerAddress=there),
            greet=False,
        )
        self.links.append(Link(self, source, target, pump))
        connected: Deferred[Any] = Deferred()
        connected.callback(getattr(client, "wrappedProtocol", client))
        return connected

    def flush(self) -> None:
        for _ in range(10_000):
            moved = False
            for link in list(self.links):
                moved = link.move() or moved
            if not moved:
                self.links = [link for link in self.links if not link.is_over]
                return
        raise AssertionError("the network never comes to rest")

    def advance(self, seconds: float, step: float = 0.01) -> None:
        for _ in range(round(seconds / step)):
            self.flush()
            self.clock.advance(step)
        self.flush()


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, network: Network, node_id: str, port: int) -> None:
        self.network, self.node_id, self.port = network, node_id, port

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        return self.network.connect(self.node_id, self.port, protocolFactory)


@implementer(IAgentEndpointFactory)
class _Factory:
    def __init__(self, network: Network, node_id: str) -> None:
        self.network, self.node_id = network, node_id

    def endpointForURI(self, uri: URI) -> _Endpoint:
        return _Endpoint(self.network, self.node_id, uri.port)
