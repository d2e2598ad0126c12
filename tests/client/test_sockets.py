"""Both transports over real sockets, against a server that does what a test tells it: closes, stalls, breaks off, talks nonsense."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from ddbd.client import AsyncClient, Client, NoNodeAnswers, Policy, Request, SendFailed, Sockets, Unavailable
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
    assert read_whole(sockets.open(server.address, GET, 5.0), 5.0).status == 200
    server.stop_listening()
    write = Request("POST", "/insert", b"{}", (("Idempotency-Key", "k"),))
    with pytest.raises(SendFailed) as caught:
        sockets.open(server.address, write, 5.0)
    assert caught.value.may_be_done, "it came to the node before that died"
    assert len(server.requests) == 2
    sockets.close()


def test_what_must_not_be_sent_twice_takes_no_kept_connection(serve: Any) -> None:
    server, sockets = serve(), Sockets()
    assert read_whole(sockets.open(server.address, GET, 5.0), 5.0).status == 200
    assert read_whole(sockets.open(server.address, Request("POST", "/step_down", b"{}"), 5.0), 5.0).status == 200
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


class Hand:
    """A node whose every byte the test sends itself, on one connection after the other."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections: list[socket.socket] = []

    def accept(self) -> socket.socket:
        """With its first request read."""
        connection, _ = self._listener.accept()
        self.connections.append(connection)
        self.request(connection)
        return connection

    def request(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)

    def drip(self, head: bytes) -> None:
        """A byte each 20 ms, until nobody takes them."""
        with contextlib.suppress(OSError):
            connection = self.accept()
            connection.sendall(head)
            tick = threading.Event()
            while not tick.wait(0.02):
                connection.sendall(b"x")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def hand() -> Iterator[Hand]:
    made = Hand()
    yield made
    made.close()


def aside(work: Callable[[], Any]) -> Callable[[], Any]:
    """In a thread; what is given back waits for its end."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(work()), daemon=True)
    thread.start()

    def wait() -> Any:
        thread.join(20)
        return result[0]

    return wait


STALE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nstale"


@pytest.mark.parametrize("first", [OK, CHUNKED + b"4\r\nwhol\r\n0\r\n\r\n"], ids=["length", "chunks"])
def test_what_comes_behind_an_answer_is_not_taken_for_the_next_one(hand: Hand, first: bytes) -> None:
    sockets = Sockets()
    asked = aside(lambda: read_whole(sockets.open(hand.address, GET, 5.0), 5.0))
    connection = hand.accept()
    connection.sendall(first)
    assert asked().status == 200
    connection.sendall(STALE)
    asked = aside(lambda: read_whole(sockets.open(hand.address, GET, 5.0), 5.0))
    hand.accept().sendall(OK)
    assert asked().body == b'{"status":"ok"}'
    sockets.close()


def test_a_connection_is_free_for_others_only_when_its_answer_is_put_away(serve: Any) -> None:
    """Else the one that takes it finds it busy."""
    server, sockets = serve(), Sockets()
    first: Any = sockets.open(server.address, GET, 5.0)
    seen: list[bool] = []
    give_back = sockets.give_back

    class Looking(Sockets):
        def give_back(self, address: str, connection: Any) -> None:
            seen.append(first._response.isclosed())
            give_back(address, connection)

    first._sockets = Looking()
    read_whole(first, 5.0)
    assert seen == [True]
    sockets.close()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-Y: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"], ids=["head", "body"])
@ensureDeferred
async def test_a_node_that_drips_is_given_up_when_the_time_of_the_call_is_up(hand: Hand, ask: Ask, head: bytes) -> None:
    dripping = aside(lambda: hand.drip(head))
    begun = time.monotonic()
    with pytest.raises(SendFailed, match="did not answer in time"):
        await ask(hand.address, 0.3)
    assert time.monotonic() - begun < 5, "each byte comes in time, but not all of them"
    hand.close()
    dripping()


def test_a_client_is_not_held_beyond_its_deadline_by_a_node_that_drips(hand: Hand) -> None:
    dripping = aside(lambda: hand.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"))
    begun = time.monotonic()
    with Client([hand.address], Policy(0.3)) as client, pytest.raises(Unavailable, match="did not answer in time"):
        client.ping()
    assert time.monotonic() - begun < 5
    hand.close()
    dripping()


def test_a_name_server_that_is_silent_holds_no_call() -> None:
    silent = threading.Event()
    sockets = Sockets(look_up=lambda *args: [silent.wait()])
    with pytest.raises(SendFailed, match="did not answer in time") as caught:
        sockets.open("localhost:80", GET, 0.1)
    assert not caught.value.may_be_done
    silent.set()


def test_each_address_of_a_name_has_its_share_of_the_time(serve: Any) -> None:
    """The first one takes connections, but nobody there accepts another."""
    server = serve()
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    target = full.getsockname()
    filler = [socket.socket() for _ in range(4)]
    for each in filler:
        each.setblocking(False)
        each.connect_ex(target)
    host, port = server.address.split(":")
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", where) for where in (target, (host, int(port)))]
    sockets = Sockets(look_up=lambda *args: found)
    assert read_whole(sockets.open(f"localhost:{port}", GET, 1.0), 5.0).status == 200
    for each in (*filler, full):
        each.close()
    sockets.close()
