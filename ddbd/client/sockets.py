"""Requests over sockets, by the standard library's http.client: connections that are kept and used again, for any number of threads.

A connection belongs to one request at a time. One that a node closed while it lay idle is no sign that the node is gone: the request
goes on another one (each write has its key, so twice is no harm). One on which something came that nobody asked for is not used
again: it would be taken for the next answer.

A node may drip a byte now and then: what bounds a wait counts down over all of them. So may a name server be silent, and nothing in the
standard library bounds that; names are looked up in a thread of their own, which is left behind.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from math import inf
from time import monotonic
from typing import Any

from ddbd.client.attempts import SendFailed
from ddbd.client.http import Answer, Request
from ddbd.client.transport import CHUNK_BYTES, Opened

IDLE_CONNECTIONS_MAX = 8  # a node

LookUp = Callable[..., list[Any]]  # as socket.getaddrinfo


class Sockets:
    """`Transport`. Safe for threads."""

    def __init__(self, look_up: LookUp = socket.getaddrinfo) -> None:
        self._look_up = look_up
        self._lock = threading.Lock()
        self._idle: dict[str, list[_Connection]] = {}
        self._closed = False

    def open(self, address: str, request: Request, timeout_seconds: float) -> Opened:
        is_sent = False
        until = monotonic() + timeout_seconds
        # What must not be sent twice goes on a connection that is known to be alive.
        while request.is_keyed and (kept := self._take(address)) is not None:
            is_sent = True
            try:
                return self._exchange(kept, address, request, timeout_seconds, until)
            except (ConnectionError, http.client.RemoteDisconnected):
                continue  # closed while it lay idle, most likely; whether the node is gone, a new connection tells
            except (OSError, http.client.HTTPException) as error:
                raise SendFailed(reason_of(error), True) from None
        try:
            connection = _Connection(_connected(address, until, self._look_up))
        except OSError as error:
            raise SendFailed(reason_of(error), is_sent) from None
        try:
            return self._exchange(connection, address, request, timeout_seconds, until)
        except (OSError, http.client.HTTPException) as error:
            raise SendFailed(reason_of(error), True) from None

    def _exchange(self, connection: _Connection, address: str, request: Request, timeout_seconds: float, until: float) -> Opened:
        try:
            connection.wire.wait_seconds, connection.wire.until = timeout_seconds, until
            connection.request(request.method, request.path, request.body, {"Host": address, **dict(request.headers)})
            response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        headers = {name.lower(): value for name, value in response.getheaders()}
        return _Response(self, connection, response, Answer(response.status, headers, b"", address))

    def _take(self, address: str) -> _Connection | None:
        while True:
            with self._lock:
                idle = self._idle.get(address)
                connection = idle.pop() if idle else None
            if connection is None or connection.wire.is_silent():
                return connection
            connection.close()

    def give_back(self, address: str, connection: _Connection) -> None:
        with self._lock:
            idle = self._idle.setdefault(address, [])
            if not self._closed and len(idle) < IDLE_CONNECTIONS_MAX:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            connections = [connection for idle in self._idle.values() for connection in idle]
            self._idle.clear()
        for connection in connections:
            connection.close()


class _Wire(socket.socket):
    """Each wait has its limit, and all of them together."""

    wait_seconds = inf
    until = inf  # by the monotonic clock

    def _limit(self) -> None:
        seconds = min(self.wait_seconds, self.until - monotonic())
        if seconds <= 0:
            raise TimeoutError("timed out")
        self.settimeout(seconds)

    def connect(self, address: Any) -> None:
        self._limit()
        super().connect(address)

    def sendall(self, *args: Any) -> None:
        self._limit()
        super().sendall(*args)

    def recv_into(self, *args: Any) -> int:
        self._limit()
        return super().recv_into(*args)

    def is_silent(self) -> bool:
        """Nothing has come, not even the end."""
        try:
            self.settimeout(0)
            self.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


class _Connection(http.client.HTTPConnection):
    auto_open = 0  # what was closed is not opened again behind our back

    def __init__(self, wire: _Wire) -> None:
        super().__init__("")  # the head of each request names the host
        self.wire = self.sock = wire


class _Response:
    """`Opened`."""

    def __init__(self, sockets: Sockets, connection: _Connection, response: http.client.HTTPResponse, head: Answer) -> None:
        self.head = head
        self._sockets = sockets
        self._connection: _Connection | None = connection
        self._response = response

    def chunks(self, left_seconds: float | None = None) -> Iterator[bytes]:
        if self._connection is not None:
            self._connection.wire.until = inf if left_seconds is None else monotonic() + left_seconds
        try:
            while chunk := self._response.read1(CHUNK_BYTES):
                yield chunk
            if self._response.length:
                raise http.client.IncompleteRead(b"", self._response.length)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise SendFailed(reason_of(error), True) from None
        connection, self._connection = self._connection, None
        will_close = self._response.will_close
        self._response.close()  # before another request can take its connection
        if connection is not None and will_close:
            connection.close()
        elif connection is not None:
            self._sockets.give_back(self.head.address, connection)

    def close(self) -> None:
        self._response.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connected(address: str, until: float, look_up: LookUp) -> _Wire:
    """What fails before there is a connection was certainly not done. Raises OSError."""
    host, _, port = address.rpartition(":")
    found = _looked_up(host.strip("[]"), int(port), until - monotonic(), look_up)
    failure: OSError = OSError("no address was found for it")
    for place, (family, kind, protocol, _, target) in enumerate(found):
        wire = _Wire(family, kind, protocol)
        wire.until = monotonic() + (until - monotonic()) / (len(found) - place)  # one that is silent leaves time for the others
        try:
            wire.connect(target)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return wire
        except OSError as error:
            wire.close()
            failure = error
    raise failure


def _looked_up(host: str, port: int, seconds: float, look_up: LookUp) -> list[Any]:
    with contextlib.suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
    answers: list[list[Any] | OSError] = []

    def ask() -> None:
        try:
            answers.append(look_up(host, port, 0, socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:  # a name that cannot be one
            answers.append(error if isinstance(error, OSError) else socket.gaierror(str(error)))

    thread = threading.Thread(target=ask, name=f"look up {host}", daemon=True)
    thread.start()
    thread.join(max(seconds, 0))
    if not answers:
        raise TimeoutError("timed out")
    if isinstance(answers[0], OSError):
        raise answers[0]
    return answers[0]


def reason_of(error: BaseException) -> str:
    """What went wrong, to be read behind a node's address."""
    if isinstance(error, ConnectionRefusedError):
        return "refused the connection"
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, socket.gaierror):
        return "has a name that cannot be looked up"
    if isinstance(error, ConnectionError | http.client.RemoteDisconnected | http.client.IncompleteRead):
        return "broke off the connection"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be reached ({error.strerror})"
    return f"gave no answer in HTTP ({str(error) or type(error).__name__})"
