"""Dialling: which address, in which order, and what a failure means."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
from cluster_net import make_config
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionRefusedError, TimeoutError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from ddbd.cluster.peers import AddressBook, PeerEndpoint, PeerRefused, PeerUnknown, cause, is_refused, peer_client

REFUSED = ConnectionRefusedError(osError=errno.ECONNREFUSED)
NO_IPV6 = ConnectError(osError=errno.EADDRNOTAVAIL)


class Resolver:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, str]] = []

    def resolveHostName(self, receiver: Any, host: str) -> None:
        self.asked.append((receiver, host))

    def answer(self, *addresses: str) -> None:
        receiver, _ = self.asked[-1]
        for address in addresses:
            receiver.addressResolved((IPv6Address if ":" in address else IPv4Address)("TCP", address, 0))
        receiver.resolutionComplete()


class World:
    def __init__(self, host: str) -> None:
        self.reactor = MemoryReactorClock()
        self.resolver = Resolver()
        self.reactor.nameResolver = self.resolver
        self.book = AddressBook(self.reactor)
        self.host = host
        self.results: list[Any] = []

    def dial(self) -> None:
        del self.results[:]
        endpoint = PeerEndpoint(self.reactor, self.book, self.host, 8080, 0.25)
        endpoint.connect(Factory.forProtocol(Protocol)).addBoth(self.results.append)

    @property
    def dialled(self) -> list[str]:
        return [client[0] for client in self.reactor.tcpClients]

    def answer(self, error: Exception) -> None:
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(error))

    def connect(self) -> None:
        self.reactor.tcpClients[-1][2].buildProtocol(None).makeConnection(None)

    def error(self) -> BaseException:
        (result,) = self.results
        error: BaseException = result.value
        return error


def test_localhost_is_both_loopbacks_without_asking_anybody() -> None:
    world = World("localhost")
    world.dial()
    world.answer(REFUSED)
    assert world.dialled == ["127.0.0.1", "::1"]
    assert world.results == []
    world.answer(REFUSED)
    assert isinstance(world.error(), PeerRefused)
    assert is_refused(world.error())
    assert world.resolver.asked == []


@pytest.mark.parametrize("errors", [(REFUSED, NO_IPV6), (NO_IPV6, REFUSED)], ids=["ipv4 only", "ipv6 only"])
def test_an_address_without_a_way_to_it_does_not_count(errors: tuple[Exception, Exception]) -> None:
    world = World("localhost")
    world.dial()
    for error in errors:
        world.answer(error)
    assert isinstance(world.error(), PeerRefused)


@pytest.mark.parametrize("errors", [(REFUSED, TimeoutError()), (TimeoutError(), REFUSED), (NO_IPV6, NO_IPV6)], ids=str)
def test_only_refusals_everywhere_mean_that_the_peer_is_gone(errors: tuple[Exception, Exception]) -> None:
    world = World("localhost")
    world.dial()
    for error in errors:
        world.answer(error)
    assert not is_refused(world.error())


def test_the_address_that_worked_is_dialled_first() -> None:
    world = World("localhost")
    world.dial()
    world.answer(REFUSED)
    world.connect()
    world.dial()
    assert world.dialled == ["127.0.0.1", "::1", "::1"]


def test_a_literal_address_is_itself() -> None:
    for host in ("10.0.0.7", "::1"):
        world = World(host)
        world.dial()
        assert world.dialled == [host]
        assert world.resolver.asked == []


def test_a_name_is_asked_once_and_again_after_a_failure_in_the_background() -> None:
    world = World("db1")
    world.dial()
    world.resolver.answer("10.0.0.1")
    world.answer(REFUSED)
    assert is_refused(world.error())
    assert len(world.resolver.asked) == 2
    world.dial()  # the second answer is still out: the first one serves
    world.answer(REFUSED)
    assert is_refused(world.error())
    world.resolver.answer("10.0.0.2")
    world.dial()
    assert world.dialled == ["10.0.0.1", "10.0.0.1", "10.0.0.2"]


def test_a_name_without_an_address_is_an_error_that_means_nothing() -> None:
    world = World("nowhere")
    world.dial()
    world.resolver.answer()
    assert isinstance(world.error(), PeerUnknown)
    assert not is_refused(world.error())


def test_a_failed_look_up_keeps_the_old_addresses() -> None:
    world = World("db1")
    world.dial()
    world.resolver.answer("10.0.0.1")
    world.answer(TimeoutError())
    world.resolver.answer()
    world.dial()
    assert world.dialled == ["10.0.0.1", "10.0.0.1"]


def request_of(ask: Callable[[Any], Any]) -> bytes:
    """What a peer client puts on the wire."""
    reactor = MemoryReactorClock()
    ask(peer_client(reactor, make_config(2))).addErrback(lambda _: None)
    protocol = reactor.tcpClients[0][2].buildProtocol(None)
    from twisted.internet.testing import StringTransport

    transport = StringTransport()
    protocol.makeConnection(transport)
    return transport.value()


def test_a_request_offers_no_compression_and_keeps_no_connection() -> None:
    sent = request_of(lambda client: client.get("http://localhost:8082/raft/hello", unbuffered=True)).lower()
    assert sent.startswith(b"get /raft/hello http/1.1\r\n")
    assert b"accept-encoding" not in sent
    assert b"connection: close" in sent
    assert b"host: localhost:8082" in sent


def test_the_cause_of_a_failure_is_one_line_also_where_twisted_wraps_it() -> None:
    assert cause(Failure(ResponseFailed([Failure(ConnectionDone()), Failure(TimeoutError())]))) == "Connection was closed cleanly."
    assert cause(Failure(ResponseFailed([Failure(CancelledError())]))) == "no answer in time"
    assert cause(Failure(KeyError())) == "KeyError"
    assert cause(Failure(ValueError("two\nlines"))) == "two lines"
