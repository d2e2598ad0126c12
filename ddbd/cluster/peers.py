"""Where the other nodes are, and how one of them is dialled.

The config names each node's host and port. `localhost` is 127.0.0.1 and ::1, an address is itself, and any other name is asked of the
reactor's resolver, which works in threads. Answers are kept; after a failed dial the name is asked again in the background while the
old answer serves on, so a slow name server never delays the news that a peer is gone.

Dials go to resolved addresses by plain TCP endpoints, one after the other, the one that worked last first. Twisted's HostnameEndpoint
was tried: it reports a refusal after 300 ms, a plain endpoint after 0.3 ms. When every address refuses, the dial fails with PeerRefused:
the machine is there and the process is not. An address that this machine cannot reach at all (::1 where there is no IPv6) does not
count. A dial that only times out is an ordinary failure and says nothing about the process.

The client made here follows no redirect, keeps no cookie and no connection, repeats nothing by itself, and asks for and accepts no
compressed body.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from treq.client import HTTPClient
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool, _HTTP11ClientFactory
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from ddbd.config import Config

_LOCALHOST = ("127.0.0.1", "::1")
_NO_SUCH_WAY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH})
ADDRESSES_MAX = 8  # of one name; a dial tries them in turn


class PeerRefused(ConnectError):
    """Every address of a peer refused the connection: its process is gone."""

    def __init__(self, detail: str) -> None:
        ConnectError.__init__(self, string=detail)


class PeerUnknown(ConnectError):
    """The name of a peer has no address now."""

    def __init__(self, detail: str) -> None:
        ConnectError.__init__(self, string=detail)


class Client(Protocol):
    """What is needed of treq's HTTPClient; StubTreq keeps it too."""

    def request(self, method: str, url: str, **kwargs: Any) -> Deferred[Any]: ...


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects what the resolver finds."""

    def __init__(self, done: Callable[[tuple[str, ...]], None]) -> None:
        self._done = done
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address | IPv6Address) and address.host not in self._found:
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        self._done(tuple(self._found[:ADDRESSES_MAX]))


class AddressBook:
    """Host -> addresses, best first. `reactor` is used for its nameResolver only."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._known: dict[str, tuple[str, ...]] = {}
        self._asking: dict[str, list[Deferred[tuple[str, ...]]]] = {}

    def addresses(self, host: str) -> Deferred[tuple[str, ...]]:
        """Fired already where the host needs no resolver or was resolved before. Empty when the name has no address."""
        if host == "localhost":
            self._known.setdefault(host, _LOCALHOST)
        elif isIPAddress(host) or isIPv6Address(host):
            self._known.setdefault(host, (host,))
        known = self._known.get(host)
        if known:
            return succeed(known)
        waiting: Deferred[tuple[str, ...]] = Deferred()
        self._ask(host, waiting)
        return waiting

    def worked(self, host: str, address: str) -> None:
        """The next dial starts with this address."""
        known = self._known.get(host, ())
        self._known[host] = (address, *(other for other in known if other != address))

    def failed(self, host: str, address: str) -> None:
        """The next dial starts with another address, and the name is asked again."""
        known = self._known.get(host, ())
        if address in known:
            self._known[host] = (*(other for other in known if other != address), address)
        if host != "localhost" and not isIPAddress(host) and not isIPv6Address(host):
            self._ask(host, None)

    def _ask(self, host: str, waiting: Deferred[tuple[str, ...]] | None) -> None:
        first = host not in self._asking
        queue = self._asking.setdefault(host, [])
        if waiting is not None:
            queue.append(waiting)
        if first:
            self._reactor.nameResolver.resolveHostName(_Receiver(lambda found: self._answered(host, found)), host)

    def _answered(self, host: str, found: tuple[str, ...]) -> None:
        if found:
            known = self._known.get(host, ())
            self._known[host] = (*(old for old in known if old in found), *(new for new in found if new not in known))
        for waiting in self._asking.pop(host, []):
            if not waiting.called:
                waiting.callback(found)


@implementer(IStreamClientEndpoint)
class PeerEndpoint:
    """One dial: the addresses of a host in turn, each with a timeout of its own."""

    def __init__(self, reactor: Any, book: AddressBook, host: str, port: int, timeout_seconds: float) -> None:
        self._reactor = reactor
        self._book = book
        self._host = host
        self._port = port
        self._timeout_seconds = timeout_seconds

    def __repr__(self) -> str:
        return f"<PeerEndpoint {self._host}:{self._port}>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Errbacks with PeerRefused when all addresses refuse, else with the last error."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        addresses = await self._book.addresses(self._host)
        errors: list[Exception] = []
        for address in addresses:
            try:
                protocol = await self._dial(address, factory)
            except ConnectError as error:
                errors.append(error)
                self._book.failed(self._host, address)
            else:
                self._book.worked(self._host, address)
                return protocol
        if not errors:
            raise PeerUnknown(f"{self._host} has no address")
        raise _verdict(errors, self._host, self._port)

    def _dial(self, address: str, factory: IProtocolFactory) -> Deferred[IProtocol]:
        kind = TCP6ClientEndpoint if isIPv6Address(address) else TCP4ClientEndpoint
        return cast("Deferred[IProtocol]", kind(self._reactor, address, self._port, self._timeout_seconds).connect(factory))


def _verdict(errors: Sequence[Exception], host: str, port: int) -> Exception:
    counted = [error for error in errors if getattr(error, "osError", None) not in _NO_SUCH_WAY]
    if counted and all(isinstance(error, ConnectionRefusedError) for error in counted):
        return PeerRefused(f"{host}:{port} refused the connection")
    return errors[-1]


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: Any, book: AddressBook, timeout_seconds: float) -> None:
        self._reactor = reactor
        self._book = book
        self._timeout_seconds = timeout_seconds

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii").strip("[]")
        return PeerEndpoint(self._reactor, self._book, host, uri.port, self._timeout_seconds)


@implementer(IAgent)
class PlainAgent:
    """Takes off what treq adds for browsers' sake: the offer to accept gzip, and cookies."""

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        plain = headers.copy() if headers is not None else Headers()
        plain.removeHeader(b"accept-encoding")
        plain.removeHeader(b"cookie")
        answer: Deferred[IResponse] = self._agent.request(method, uri, plain, bodyProducer)
        return answer.addCallback(_strip)


@implementer(IBodyProducer)
class WholeBody:
    """A short request body, written at once. treq's own producer asks the global reactor for turns."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is over already."""

    def resumeProducing(self) -> None:
        """It is over already."""

    def stopProducing(self) -> None:
        """It is over already."""


def _strip(response: IResponse) -> IResponse:
    # treq would unpack a body that says gzip, without any limit; left packed, it fails the checks of whoever reads it.
    for name in (b"content-encoding", b"set-cookie"):
        response.headers.removeHeader(name)
    return response


class _QuietFactory(_HTTP11ClientFactory):  # the pool offers no other way
    noisy = False  # else each dial is two lines in the log


def peer_client(reactor: Any, config: Config, clock: IReactorTime | None = None) -> Client:
    """The treq client for everything that nodes ask of each other. `clock` runs the pool's timers; the reactor's own by default."""
    pool = HTTPConnectionPool(clock if clock is not None else reactor, persistent=False)
    pool.retryAutomatically = False
    pool._factory = _QuietFactory
    endpoints = _Endpoints(reactor, AddressBook(reactor), connect_timeout_seconds(config))
    client: Any = HTTPClient(PlainAgent(Agent.usingEndpointFactory(reactor, endpoints, pool=pool)))
    return cast(Client, client)


def connect_timeout_seconds(config: Config) -> float:
    """Half an election timeout: a dial that waits longer finds the answer too late to matter."""
    return config.timing.election_timeout_ms / 2_000


def cause(failure: Failure) -> str:
    """What happened, in one line: Twisted wraps it into lists of failures, or says nothing but its name."""
    wrapped = getattr(failure.value, "reasons", None)
    if wrapped:
        return cause(wrapped[0])
    if failure.check(CancelledError):
        return "no answer in time"  # that is how a request that timed out ends
    if failure.check(PotentialDataLoss):
        return "the connection was closed"  # how the body of a stream ends
    return " ".join(failure.getErrorMessage().split()) or type(failure.value).__name__


def is_refused(failure: Failure | BaseException) -> bool:
    """Whether a failed request means that the peer's process is gone."""
    return isinstance(failure.value if isinstance(failure, Failure) else failure, PeerRefused)
