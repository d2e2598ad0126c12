"""Both transports over real sockets, against a server that does what a test tells it: closes, stalls, breaks off, talks nonsense."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from ddbd.client import AsyncClient, Client, NoNodeAnswers, Policy, Request, SendFailed, Sockets
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
            return read_whole(sockets.open(address, GET, seconds))

        yield blocking
        sockets.close()
    else:
        treq = Treq(reactor)

        async def twisted(address: str, seconds: float) -> Any:
            return await async_read_whole(await treq.open(address, GET, seconds))

        yield twisted
        Deferred.fromCoroutine(treq.close())


@ensureDeferred
async def test_a_connection_is_used_again(serve: Any, ask: Ask) -> None:
    server = serve()
    for _ in range(5):
        answer = await ask(server.address, 5.0)
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b'{"status":"ok"}', "application/json")
    assert server.connections == 1


@ensureDeferred
async def test_a_connection_that_was_closed_while_it_lay_idle_is_no_dead_node(serve: Any, ask: Ask) -> None:
    server = serve(close_after=1)
    assert [(await ask(server.address, 5.0)).status for _ in range(3)] == [200] * 3
    assert server.connections == 3


def test_a_node_that_dies_on_a_write_over_a_kept_connection_may_have_done_it(serve: Any) -> None:
    server, sockets = serve(OK, b""), Sockets()
    assert read_whole(sockets.open(server.address, GET, 5.0)).status == 200
    server.stop_listening()
    write = Request("POST", "/insert", b"{}", (("Idempotency-Key", "k"),))
    with pytest.raises(SendFailed) as caught:
        sockets.open(server.address, write, 5.0)
    assert caught.value.may_be_done, "it came to the node before that died"
    assert len(server.requests) == 2
    sockets.close()


def test_what_must_not_be_sent_twice_takes_no_kept_connection(serve: Any) -> None:
    server, sockets = serve(), Sockets()
    assert read_whole(sockets.open(server.address, GET, 5.0)).status == 200
    assert read_whole(sockets.open(server.address, Request("POST", "/step_down", b"{}"), 5.0)).status == 200
    assert server.connections == 2
    sockets.close()


@ensureDeferred
async def test_nobody_listens(serve: Any, ask: Ask) -> None:
    server = serve()
    server.close()
    with pytest.raises(SendFailed) as caught:
        await ask(server.address, 5.0)
    assert (caught.value.reason, caught.value.may_be_done) == ("refused the connection", False)


@ensureDeferred
async def test_a_name_that_nobody_knows(ask: Ask) -> None:
    with pytest.raises(SendFailed) as caught:
        await ask("nowhere.invalid:80", 5.0)
    assert not caught.value.may_be_done


@ensureDeferred
async def test_a_node_that_is_silent_is_given_up_in_time(serve: Any, ask: Ask) -> None:
    server = serve(None)
    with pytest.raises(SendFailed) as caught:
        await ask(server.address, 0.2)
    assert (caught.value.reason, caught.value.may_be_done) == ("did not answer in time", True)


@pytest.mark.parametrize(
    "play",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nhalf<close>",
        CHUNKED + b"4\r\nhalf\r\n<close>",
        CHUNKED + b"400\r\nhalf<close>",
    ],
    ids=["no head", "half of the length", "no last chunk", "half a chunk"],
)
@ensureDeferred
async def test_half_an_answer_is_no_answer(serve: Any, ask: Ask, play: bytes) -> None:
    server = serve(play, play)
    with pytest.raises(SendFailed) as caught:
        await ask(server.address, 5.0)
    assert caught.value.may_be_done


@ensureDeferred
async def test_an_answer_that_stops_in_the_middle_is_given_up_in_time(serve: Any, ask: Ask) -> None:
    server = serve(CHUNKED + b"4\r\nhalf\r\n")
    with pytest.raises(SendFailed, match="did not answer in time"):
        await ask(server.address, 0.2)


@ensureDeferred
async def test_what_is_no_http_is_no_answer(serve: Any, ask: Ask) -> None:
    server = serve(b"SSH-2.0-OpenSSH_9.2\r\n<close>")
    with pytest.raises(SendFailed):
        await ask(server.address, 5.0)


@ensureDeferred
async def test_an_answer_may_end_with_its_connection_kept(serve: Any, ask: Ask) -> None:
    server = serve(CHUNKED + b"4\r\nwhol\r\n1\r\ne\r\n0\r\n\r\n")
    assert (await ask(server.address, 5.0)).body == b"whole"
    await ask(server.address, 5.0)
    assert server.connections == 1


def test_many_threads_share_one_client(serve: Any) -> None:
    server = serve()
    failures: list[BaseException] = []
    with Client([server.address], Policy(5.0)) as client:

        def work() -> None:
            try:
                for _ in range(50):
                    client.ping()
            except BaseException as error:  # noqa: BLE001 - told to the test
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(server.requests) == 400
    assert server.connections <= 8 + 8, "connections are kept, not made anew for each call"


def test_the_next_node_is_asked_where_one_is_gone(serve: Any) -> None:
    gone, there = serve(), serve()
    gone.close()
    with Client([gone.address, there.address]) as client:
        client.ping()
        client.ping()
    assert len(there.requests) == 2


@ensureDeferred
async def test_a_long_answer_waits_for_its_reader(serve: Any) -> None:
    """64 MiB come as they are read; what was not read yet stays with the sender."""
    size = 64 * 1024 * 1024
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    treq = Treq(reactor)
    opened: Any = await treq.open(server.address, GET, 5.0)
    read = len(await opened.read())
    for _ in range(50):
        await deferLater(reactor, 0)
    assert opened._bytes < 2 * 1024 * 1024
    while piece := await opened.read():
        read += len(piece)
    assert read == size
    await treq.close()


@ensureDeferred
async def test_a_call_that_is_cancelled_is_not_sent_again(serve: Any) -> None:
    server = serve(None, None)
    async with AsyncClient([server.address], reactor=reactor) as client:
        call = Deferred.fromCoroutine(client.ping())
        while not server.requests:
            await deferLater(reactor, 0.001)
        call.cancel()
        with pytest.raises(CancelledError):
            await call
        assert len(server.requests) == 1


@ensureDeferred
async def test_the_client_for_twisted_gives_up_at_its_deadline(serve: Any) -> None:
    server = serve()
    server.close()
    async with AsyncClient([server.address], Policy(0.2), reactor=reactor) as client:
        with pytest.raises(NoNodeAnswers, match="refused the connection"):
            await client.ping()
