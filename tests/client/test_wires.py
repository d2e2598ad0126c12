"""What the client makes of nodes that drip, of names that are not found, and of what comes behind an answer. On real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from socket_kit import CHUNKED, GET, OK, Ask

from ddbd.client import Client, Policy, SendFailed, Sockets, Unavailable
from ddbd.client.transport import read_whole


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
