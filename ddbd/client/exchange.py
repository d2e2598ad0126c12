"""Requests over Twisted's sockets, by treq. The twin of `transport`.

A body is read as fast as its reader takes it: what came and was not read yet stops the connection. A wait that is cancelled by the caller
ends as CancelledError, whatever the layers below make of it: it is no sign of a dead node, and nothing is sent again.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Protocol, TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as Refusal
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from ddbd.client.attempts import SendFailed
from ddbd.client.http import Answer, Request
from ddbd.client.transport import ANSWER_BYTES_MAX

CONNECT_SECONDS = 2.0  # shorter than an attempt, so that what was never sent is known as that
FALLBACK_SECONDS = 0.05  # to the next address of a name; Twisted's own 0.3 s is long where `localhost` is ::1 and 127.0.0.1
CONNECTIONS_MAX = 8  # kept for each node
UNREAD_BYTES_MAX = 256 * 1024

T = TypeVar("T")


class AsyncOpened(Protocol):
    """The head of an answer, with its body still to come."""

    head: Answer  # without a body

    async def read(self, left_seconds: float = inf) -> bytes:
        """The next piece, which comes in so many seconds; nothing at the end. Raises SendFailed when the body breaks off."""

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    async def open(self, address: str, request: Request, timeout_seconds: float) -> AsyncOpened:
        """Raises SendFailed. The timeout is for all until the head is there, and then for each wait."""

    async def close(self) -> None: ...


async def read_whole(opened: AsyncOpened, left_seconds: float, clock: Callable[[], float]) -> Answer:
    """Raises SendFailed."""
    until = clock() + left_seconds
    pieces: list[bytes] = []
    length = 0
    try:
        while piece := await opened.read(until - clock()):
            pieces.append(piece)
            length += len(piece)
            if length > ANSWER_BYTES_MAX:
                raise SendFailed(f"gave an answer of more than {ANSWER_BYTES_MAX} bytes; read it row by row", True)
    finally:
        opened.close()
    head = opened.head
    return Answer(head.status, head.headers, b"".join(pieces), head.address)


class Treq:
    """`AsyncTransport`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = CONNECTIONS_MAX
        self._client = HTTPClient(Agent.usingEndpointFactory(reactor, _Endpoints(reactor), self._pool))

    async def open(self, address: str, request: Request, timeout_seconds: float) -> AsyncOpened:
        waiting = self._client.request(
            request.method,
            f"http://{address}{request.path}",
            headers=Headers({name: [value] for name, value in request.headers}),
            data=request.body,
            allow_redirects=False,
            unbuffered=True,
        )
        try:
            response = await within(self._reactor, waiting, timeout_seconds)
        except (ConnectError, DNSLookupError) as error:
            raise SendFailed(reason_of(error), False) from None
        except (ResponseFailed, RequestTransmissionFailed, ConnectionLost, ConnectionDone, OSError) as error:
            raise SendFailed(reason_of(error), True) from None
        headers = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1") for name, values in response.headers.getAllRawHeaders() if values
        }
        body = _Body(self._reactor, Answer(response.code, headers, b"", address), timeout_seconds)
        response.deliverBody(body)
        return body

    async def close(self) -> None:
        await self._pool.closeCachedConnections()


async def within(reactor: Any, waiting: Deferred[T], seconds: float) -> T:
    """Raises SendFailed when it takes longer, CancelledError when the caller gave up."""
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        waiting.cancel()

    timer = reactor.callLater(seconds, expire)
    try:
        return await waiting
    except Exception as error:
        if expired:
            raise SendFailed("did not answer in time", True) from None
        if _is_cancelled(error):
            raise CancelledError from None
        raise
    finally:
        if timer.active():
            timer.cancel()


def _is_cancelled(error: Exception) -> bool:
    if isinstance(error, ResponseFailed | RequestTransmissionFailed):
        return any(reason.check(CancelledError, ConnectingCancelledError) for reason in error.reasons)
    return isinstance(error, CancelledError | ConnectingCancelledError)


class _Body(TwistedProtocol):
    """`AsyncOpened`."""

    def __init__(self, reactor: Any, head: Answer, timeout_seconds: float) -> None:
        self.head = head
        self._reactor = reactor
        self._timeout_seconds = timeout_seconds
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._paused = False
        self._end: Failure | None = None
        self._waiting: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        self._bytes += len(data)
        if self._bytes > UNREAD_BYTES_MAX and not self._paused:
            self._paused = True
            self._transport().pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end = reason
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def read(self, left_seconds: float = inf) -> bytes:
        if not self._pieces and self._end is None:
            if self._paused:
                self._paused = False
                self._transport().resumeProducing()
            if not self._pieces and self._end is None:
                self._waiting = Deferred()
                await within(self._reactor, self._waiting, max(min(self._timeout_seconds, left_seconds), 0))
        if self._pieces:
            piece = self._pieces.popleft()
            self._bytes -= len(piece)
            return piece
        if self._end is not None and self._end.check(ResponseDone) is None:
            raise SendFailed("broke off the connection", True)
        return b""

    def close(self) -> None:
        self._pieces.clear()
        if self._end is None:
            self._transport().loseConnection()

    def _transport(self) -> Any:
        return self.transport


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def endpointForURI(self, uri: Any) -> Any:
        host = uri.host.decode("ascii").strip("[]")
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            return HostnameEndpoint(self._reactor, host, uri.port, timeout=CONNECT_SECONDS, attemptDelay=FALLBACK_SECONDS)
        kind = TCP4ClientEndpoint if version == 4 else TCP6ClientEndpoint
        return kind(self._reactor, host, uri.port, timeout=CONNECT_SECONDS)


def reason_of(error: Exception) -> str:
    """What went wrong, to be read behind a node's address."""
    if isinstance(error, Refusal):
        return "refused the connection"
    if isinstance(error, DNSLookupError):
        return "has a name that cannot be looked up"
    if isinstance(error, ConnectError):
        return f"cannot be reached ({error.osError or type(error).__name__})"
    return "broke off the connection"
