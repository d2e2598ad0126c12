"""What only the kernel can tell: how soon a killed process is known to be gone, and that real connections carry a stream."""

from __future__ import annotations

import random
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Site

from ddbd.cluster.peers import peer_client
from ddbd.cluster.resource import RaftResource
from ddbd.cluster.streams import Streams
from ddbd.config import Config, Node
from ddbd.raft.messages import AppendEntries, Heartbeat, Message
from ddbd.raft.types import Entry, EntryKind

reactor: Any = the_reactor

# A peer that answers every connection with a stream of quiet frames, until it is killed.
PEER = """
import socket, sys, threading, time
from ddbd.cluster.wire import QUIET_FRAME
listener = socket.socket(fileno=int(sys.argv[1]))
def serve(connection):
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
    while True:
        connection.sendall(b"%x\\r\\n%s\\r\\n" % (len(QUIET_FRAME), QUIET_FRAME))
        threading.Event().wait(0.05)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def config_of(ports: list[int]) -> Config:
    nodes = [Node(str(place), f"localhost:{port}", False, "localhost", port, "localhost") for place, port in enumerate(ports, 1)]
    return Config(tuple(nodes), Path("config.json"))


def pause(seconds: float) -> Deferred[None]:
    waiting: Deferred[None] = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    return waiting


async def until(condition: Any) -> None:
    deadline = reactor.seconds() + 10
    while not condition():
        assert reactor.seconds() < deadline, "it did not come true in 10 s"
        await pause(0.01)


class Two:
    """Two nodes in this process, on real ports."""

    def __init__(self) -> None:
        self.config = config_of(free_ports(2))
        self.received: dict[str, list[Message]] = {"1": [], "2": []}
        self.refused: list[tuple[str, str, float]] = []
        self.streams: dict[str, Streams] = {}
        self.ports: dict[str, Any] = {}

    def start(self, node_id: str) -> None:
        streams = Streams(
            reactor,
            self.config,
            node_id,
            "c1",
            random.Random(0),
            peer_client(reactor, self.config),
            self.received[node_id].append,
            lambda peer_id: self.refused.append((node_id, peer_id, reactor.seconds())),
            lambda peer_id: None,
        )
        root, raft = Resource(), RaftResource()
        root.putChild(b"raft", raft)
        raft.putChild(b"stream", streams.resource)
        self.ports[node_id] = reactor.listenTCP(self.config.node(node_id).port, Site(root), interface="127.0.0.1")
        self.streams[node_id] = streams
        streams.start()

    async def stop(self) -> None:
        for streams in self.streams.values():
            await streams.stop()
        for port in self.ports.values():
            await port.stopListening()


@pytest.fixture
def two() -> Iterator[Two]:
    world = Two()
    yield world
    pytest_twisted.blockon(Deferred.fromCoroutine(world.stop()))


@pytest_twisted.ensureDeferred
async def test_streams_carry_messages_large_and_small_over_tcp(two: Two) -> None:
    two.start("1")
    two.start("2")
    await until(lambda: two.streams["1"].is_reachable("2") and two.streams["2"].peers()["1"].connected_out)
    await until(lambda: two.streams["2"].is_reachable("1"))
    large = AppendEntries("2", "1", 1, 0, 0, (Entry(1, 1, 0, EntryKind.COMMAND, b"x" * 8_000_000),), 0)
    for message in (large, Heartbeat("2", "1", 1, 1)):
        two.streams["1"].send(message)
    two.streams["1"].flush()
    await until(lambda: len(two.received["2"]) == 2)
    assert two.received["2"] == [Heartbeat("2", "1", 1, 1), large]
    assert two.streams["1"].peers()["2"].queue_bytes == 0


@pytest_twisted.ensureDeferred
async def test_a_killed_process_is_known_to_be_gone_within_20_ms(two: Two) -> None:
    two.start("1")
    took = []
    for _ in range(5):
        listener = socket.create_server(("127.0.0.1", two.config.node("2").port))
        command = [sys.executable, "-c", PEER, str(listener.fileno())]
        peer = subprocess.Popen(command, pass_fds=[listener.fileno()], env={"PYTHONPATH": str(Path.cwd())})
        listener.close()
        try:
            await until(lambda: two.streams["1"].is_reachable("2"))
            await pause(0.55)  # a stream that has lived a while is dialled again at once
        finally:
            two.refused.clear()
            killed_at = reactor.seconds()
            peer.kill()
        await until(lambda: two.refused)
        peer.wait()
        took.append(two.refused[0][2] - killed_at)
    assert {entry[:2] for entry in two.refused} == {("1", "2")}
    assert statistics.median(took) < 0.020, f"seconds from kill to refusal: {took}"
