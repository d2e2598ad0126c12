"""Requests over sockets, by the standard library's http.client: connections that are kept and used again, for any number of threads.

A connection belongs to one request at a time. One that a node closed while it lay idle is noticed only when it is used: such a request is
sent once more on a new one, for it is no sign that the node is gone (each write has its key, so twice is no harm).
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Protocol

from ddbd.client.attempts import SendFailed
from ddbd.client.http import Answer, Request

IDLE_CONNECTIONS_MAX = 8  # a node
CHUNK_BYTES = 64 * 1024
ANSWER_BYTES_MAX = 256 * 1024 * 1024  # of an answer that is held whole; longer ones are for the calls that give rows one by one


class Opened(Protocol):
    """The head of an answer, with its body still to come. Closed when the body is at its end, and by `close`."""

    head: Answer  # without a body

    def chunks(self) -> Iterator[bytes]:
        """Raises SendFailed when the body breaks off."""

    def close(self) -> None: ...


class Transport(Protocol):
    def open(self, address: str, request: Request, timeout_seconds: float) -> Opened:
        """Raises SendFailed. The timeout counts for each wait for the node."""

    def close(self) -> None: ...


def read_whole(opened: Opened) -> Answer:
    """Raises SendFailed."""
    pieces: list[bytes] = []
    length = 0
    with contextlib.closing(opened):
        for chunk in opened.chunks():
            pieces.append(chunk)
            length += len(chunk)
            if length > ANSWER_BYTES_MAX:
                raise SendFailed(f"gave an answer of more than {ANSWER_BYTES_MAX} bytes; read it row by row", True)
    head = opened.head
    return Answer(head.status, head.headers, b"".join(pieces), head.address)


class Sockets:
    """`Transport`. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, list[http.client.HTTPConnection]] = {}
        self._closed = False

    def open(self, address: str, request: Request, timeout_seconds: float) -> Opened:
        is_sent = False
        # What must not be sent twice goes on a connection that is known to be alive.
        while request.is_keyed and (kept := self._take(address)) is not None:
            is_sent = True
            try:
                return self._exchange(kept, address, request, timeout_seconds)
            except (ConnectionError, http.client.RemoteDisconnected):
                continue  # closed while it lay idle, most likely; whether the node is gone, a new connection tells
            except (OSError, http.client.HTTPException) as error:
                raise SendFailed(reason_of(error), True) from None
        try:
            connection = _connect(address, timeout_seconds)
        except SendFailed as failure:
            raise SendFailed(failure.reason, failure.may_be_done or is_sent) from None
        try:
            return self._exchange(connection, address, request, timeout_seconds)
        except (OSError, http.client.HTTPException) as error:
            raise SendFailed(reason_of(error), True) from None

    def _exchange(self, connection: http.client.HTTPConnection, address: str, request: Request, timeout_seconds: float) -> Opened:
        try:
            if connection.sock is not None:
                connection.sock.settimeout(timeout_seconds)
            connection.request(request.method, request.path, request.body, dict(request.headers))
            response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        headers = {name.lower(): value for name, value in response.getheaders()}
        return _Response(self, connection, response, Answer(response.status, headers, b"", address))

    def _take(self, address: str) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get(address)
            return idle.pop() if idle else None

    def give_back(self, address: str, connection: http.client.HTTPConnection) -> None:
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


class _Response:
    """`Opened`."""

    def __init__(self, sockets: Sockets, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, head: Answer) -> None:
        self.head = head
        self._sockets = sockets
        self._connection: http.client.HTTPConnection | None = connection
        self._response = response

    def chunks(self) -> Iterator[bytes]:
        try:
            while chunk := self._response.read1(CHUNK_BYTES):
                yield chunk
            if self._response.length:
                raise http.client.IncompleteRead(b"", self._response.length)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise SendFailed(reason_of(error), True) from None
        if self._connection is not None and not self._response.will_close:
            self._sockets.give_back(self.head.address, self._connection)
            self._connection = None
        self.close()

    def close(self) -> None:
        self._response.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connect(address: str, timeout_seconds: float) -> http.client.HTTPConnection:
    """What fails before there is a connection was certainly not done. Raises SendFailed."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout_seconds)
    try:
        connection.connect()
    except OSError as error:
        raise SendFailed(reason_of(error), False) from None
    return connection


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
