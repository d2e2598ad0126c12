"""A server that does what a test tells it, and both transports that ask it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ddbd.client import Request, Sockets
from ddbd.client.exchange import Treq
from ddbd.client.exchange import read_whole as async_read_whole
from ddbd.client.transport import read_whole

GET = Request("GET", "/ping")
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


class Server:
    """Answers the n-th request with the n-th of `plays`; b"" closes, None is silence. A play ends its connection when it says so."""

    def __init__(self, *plays: bytes | None, close_after: int | None = None) -> None:
        self.plays = list(plays)
        self.close_after = close_after  # requests of one connection
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        served = 0
        with connection:
            while request := self._read(connection):
                self.requests.append(request)
                play = self.plays.pop(0) if self.plays else OK
                if play is None:
                    self._read(connection)
                    return
                if play == b"":
                    return
                connection.sendall(play.removesuffix(b"<close>"))
                served += 1
                if play.endswith(b"<close>") or served == self.close_after:
                    return

    def _read(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            try:
                piece = connection.recv(65536)
            except OSError:
                return b""
            if not piece:
                return b""
            data += piece
        return data

    def stop_listening(self) -> None:
        with contextlib.suppress(OSError):  # a second time
            self._listener.shutdown(socket.SHUT_RDWR)  # a thread waits in accept, and would get one more
        self._listener.close()

    def close(self) -> None:
        self.stop_listening()
        for connection in self._open:
            connection.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*plays: bytes | None, **options: Any) -> Server:
        servers.append(Server(*plays, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


Ask = Callable[[str, float], Awaitable[Any]]


@pytest.fixture(params=["http.client", "treq"])
def ask(request: Any) -> Iterator[Ask]:
    """One request, its answer read whole. The server has threads of its own, so the blocking one may block the reactor."""
    if request.param == "http.client":
        sockets = Sockets()

        async def blocking(address: str, seconds: float) -> Any:
            return read_whole(sockets.open(address, GET, seconds), seconds)

        yield blocking
        sockets.close()
    else:
        treq = Treq(reactor)

        async def twisted(address: str, seconds: float) -> Any:
            return await async_read_whole(await treq.open(address, GET, seconds), seconds, reactor.seconds)

        yield twisted
        Deferred.fromCoroutine(treq.close())
