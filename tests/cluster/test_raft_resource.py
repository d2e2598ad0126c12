"""The checks that every request between nodes passes."""

from __future__ import annotations

import random

import msgspec
import pytest
from cluster_net import Network, make_config
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ddbd.cluster.resource import BodyError, RaftResource, peer_headers, read_body
from ddbd.cluster.streams import Streams


class World:
    def __init__(self, with_streams: bool = True) -> None:
        self.clock = Clock()
        self.config = make_config(3)
        self.network = Network(self.clock, self.config)
        root = RaftResource()
        if with_streams:
            streams = Streams(
                self.clock,
                self.config,
                "1",
                "c1",
                random.Random(0),
                self.network.client("1"),
                lambda _: None,
                lambda _: None,
                lambda _: None,
            )
            root.putChild(b"stream", streams.resource)
        self.network.listen("1", root)

    def ask(self, headers: dict[str, str], path: str = "/raft/stream", method: str = "GET") -> tuple[int, dict[str, object]]:
        answers = []
        client = self.network.client("2")
        client.request(method, f"http://localhost:8081{path}", headers=headers, reactor=self.clock).addCallback(answers.append)
        self.network.flush()
        (response,) = answers
        assert response.headers.getRawHeaders("content-type") == ["application/problem+json"]
        bodies: list[bytes] = []
        response.content().addCallback(bodies.append)
        return response.code, msgspec.json.decode(bodies[0])


GOOD = peer_headers("2", "1", "c1")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"Ddb-Cluster": "c2"}, 409, "other_cluster"),
        ({"Ddb-Format": "2"}, 409, "other_format"),
        ({"Ddb-To": "3"}, 403, "other_node"),
        ({"Ddb-Node": "9"}, 403, "unknown_node"),
        ({"Ddb-Node": "1"}, 403, "unknown_node"),
        ({"Ddb-Node": None}, 403, "bad_header"),
        ({"Ddb-Cluster": None}, 403, "bad_header"),
        ({"Ddb-To": None}, 403, "bad_header"),
        ({"Ddb-Format": None}, 403, "bad_header"),
        ({"Ddb-Node": "x" * 200}, 403, "bad_header"),
    ],
    ids=str,
)
def test_a_request_that_does_not_fit_is_refused_in_one_sentence(change: dict[str, str | None], status: int, code: str) -> None:
    headers = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    got, body = World().ask(headers)
    assert (got, body["status"], body["code"]) == (status, status, code)
    assert set(body) == {"type", "title", "status", "detail", "code"}


def test_a_stream_is_only_asked_for_with_get() -> None:
    assert World().ask(GOOD, method="POST")[0] == 405


def test_before_there_is_a_cluster_streams_and_snapshots_are_not_ready() -> None:
    world = World(with_streams=False)
    assert world.ask(GOOD)[0] == 503
    assert world.ask(GOOD, "/raft/snapshot/x")[0] == 503


@pytest.mark.parametrize("path", ["/raft", "/raft/", "/raft/nothing"])
def test_unknown_calls_are_not_found(path: str) -> None:
    assert World().ask(GOOD, path)[0] == 404


class Answer:
    """A response whose body the test delivers."""

    def deliverBody(self, protocol: object) -> None:
        self.protocol = protocol


def reading(bytes_max: int = 10) -> tuple[Clock, Answer, Deferred[bytes]]:
    clock, answer = Clock(), Answer()
    return clock, answer, read_body(answer, bytes_max, clock, 5.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ["too long", "silence", "cut"])
def test_a_body_that_is_too_long_too_slow_or_cut_is_an_error(ending: str) -> None:
    clock, answer, body = reading()
    failures: list[object] = []
    body.addErrback(lambda failure: failures.append(failure.trap(BodyError)))
    answer.protocol.dataReceived(b"12345678")  # type: ignore[attr-defined]
    if ending == "too long":
        answer.protocol.dataReceived(b"901")  # type: ignore[attr-defined]
    elif ending == "silence":
        clock.advance(5)
    else:
        answer.protocol.connectionLost()  # type: ignore[attr-defined]
    assert failures == [BodyError]
    assert clock.getDelayedCalls() == []


def test_a_body_that_drips_is_waited_for() -> None:
    clock, answer, body = reading()
    for _ in range(10):
        clock.advance(4)
        answer.protocol.dataReceived(b"x")  # type: ignore[attr-defined]
    assert not body.called
