"""Both transports over real sockets, against a server that does what a test tells it: closes, stalls, breaks off, talks nonsense."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from socket_kit import CHUNKED, GET, OK, Ask
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from ddbd.client import AsyncClient, Client, NoNodeAnswers, Policy, Request, SendFailed, Sockets
from ddbd.client.exchange import Treq
from ddbd.client.transport import read_whole


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
