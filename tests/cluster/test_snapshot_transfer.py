"""Snapshots on their way: in pieces that are checked, resumed after whatever breaks, ended when trying cannot help."""

from __future__ import annotations

import random
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cluster_net import Network, make_config
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ddbd.cluster.resource import RaftResource, peer_headers
from ddbd.cluster.snapshots import OPEN_PIECES_MAX, PIECE_BYTES_MAX, SnapshotError, Snapshots

SIZE_BYTES = 2 * PIECE_BYTES_MAX + 1234


class File(NamedTuple):
    token: str
    path: str
    size_bytes: int
    digest: bytes


class World:
    def __init__(self, folder: Path, blocking: Any = None) -> None:
        self.clock = Clock()
        self.network = Network(self.clock, make_config(2))
        self.folder = folder
        self.sender = self.node("1", blocking)
        self.receiver = self.node("2")
        self.listen()
        self.ends: list[object] = []
        self.target = folder / "incoming.db"

    def node(self, node_id: str, blocking: Any = None) -> Snapshots:
        more = {} if blocking is None else {"blocking": blocking}
        client = self.network.client(node_id)
        return Snapshots(self.clock, self.network.config, node_id, "c1", random.Random(0), client, **more)

    def listen(self) -> None:
        root = RaftResource()
        root.putChild(b"snapshot", self.sender.resource)
        self.network.listen("1", root)

    def publish(self, size_bytes: int = SIZE_BYTES, seed: int = 1) -> bytes:
        content = random.Random(seed).randbytes(size_bytes)
        path = self.folder / f"{seed}.db"
        path.write_bytes(content)
        self.sender.publish(File("3-100-1", str(path), size_bytes, blake2b(content, digest_size=32).digest()))
        return content

    def fetch(self) -> Deferred[None]:
        fetching = self.receiver.fetch("1", "3-100-1", str(self.target))
        fetching.addBoth(self.ends.append)
        return fetching

    def error(self) -> BaseException:
        (end,) = self.ends
        assert isinstance(end, Failure)
        return end.value

    def ask(self, query: str, token: str = "3-100-1") -> int:
        answers: list[Any] = []
        url = f"http://localhost:8081/raft/snapshot/{token}{query}"
        client = self.network.client("2")
        client.request("GET", url, headers=peer_headers("2", "1", "c1"), reactor=self.clock).addCallback(answers.append)
        self.network.flush()
        code: int = answers[0].code
        return code


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("size_bytes", [0, 1, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, SIZE_BYTES])
def test_a_snapshot_arrives_as_it_was(world: World, size_bytes: int) -> None:
    content = world.publish(size_bytes)
    world.fetch()
    world.network.flush()
    assert world.ends == [None]
    assert world.target.read_bytes() == content


def test_a_sender_that_is_away_is_asked_until_it_is_back(world: World) -> None:
    content = world.publish()
    world.network.kill("1")
    world.fetch()
    world.network.advance(10, step=0.1)
    assert world.ends == []
    world.listen()
    world.network.advance(3, step=0.1)
    assert world.ends == [None]
    assert world.target.read_bytes() == content


def test_a_broken_connection_goes_on_from_the_last_verified_piece(world: World) -> None:
    content = world.publish()
    world.fetch()
    while not world.target.exists() or world.target.stat().st_size < PIECE_BYTES_MAX:
        for link in list(world.network.links):
            link.move()
    world.network.kill("1")
    world.network.advance(1)
    world.listen()
    before = len(world.network.dials)
    world.network.advance(3)
    assert world.ends == [None]
    assert world.target.read_bytes() == content
    assert len(world.network.dials) - before == 2


def test_a_silent_sender_is_given_up_and_asked_again(world: World) -> None:
    content = world.publish()
    world.network.silent.add("1")
    world.fetch()
    world.network.advance(7, step=0.1)
    world.network.silent.clear()
    world.network.advance(8, step=0.1)
    assert world.ends == [None]
    assert world.target.read_bytes() == content


def test_a_withdrawn_snapshot_ends_the_fetch(world: World) -> None:
    world.publish()
    world.sender.withdraw("3-100-1")
    world.fetch()
    world.network.flush()
    assert isinstance(world.error(), SnapshotError)


def test_a_token_that_stands_for_another_file_now_ends_the_fetch(world: World) -> None:
    world.publish()
    world.fetch()
    while not world.target.exists() or world.target.stat().st_size < PIECE_BYTES_MAX:
        for link in list(world.network.links):
            link.move()
    world.publish(seed=2)
    world.network.flush()
    assert isinstance(world.error(), SnapshotError)


def test_a_file_that_changed_under_its_digest_is_found_out(world: World) -> None:
    world.publish()
    (world.folder / "1.db").write_bytes(bytes(SIZE_BYTES))
    world.fetch()
    world.network.flush()
    assert "digest" in str(world.error())


def test_a_piece_with_a_flipped_bit_is_asked_for_again(world: World) -> None:
    content = world.publish()
    flipped: list[bytes] = []

    def flip(data: bytes) -> bytes:
        place = data.rfind(content[1000:1100])
        if flipped or place < 0:
            return data
        flipped.append(data)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    world.network.change = flip
    world.fetch()
    world.network.advance(1)
    assert flipped
    assert world.ends == [None]
    assert world.target.read_bytes() == content


def test_a_cancelled_fetch_stops_asking(world: World) -> None:
    world.publish()
    world.network.silent.add("1")
    fetching = world.fetch()
    world.network.advance(1)
    fetching.cancel()
    world.network.silent.clear()
    before = len(world.network.dials)
    world.network.advance(20, step=0.1)
    assert isinstance(world.error(), CancelledError)
    assert len(world.network.dials) == before


def test_a_fetch_that_waits_for_its_next_try_is_cancelled_too(world: World) -> None:
    world.network.kill("1")
    fetching = world.fetch()
    world.network.advance(1)
    fetching.cancel()
    assert isinstance(world.error(), CancelledError)
    assert world.clock.getDelayedCalls() == []


def test_a_disk_that_cannot_take_it_ends_the_fetch(world: World) -> None:
    world.publish()
    world.target = world.folder / "no" / "folder"
    world.fetch()
    world.network.flush()
    assert isinstance(world.error(), SnapshotError)


def test_a_snapshot_that_would_fill_the_disk_is_not_begun(world: World) -> None:
    world.publish()
    world.receiver.disk_reserve_bytes = 1 << 62
    world.fetch()
    world.network.flush()
    assert isinstance(world.error(), SnapshotError)
    assert "free some space" in str(world.error())
    assert not world.target.exists()


def test_half_of_a_snapshot_does_not_stay_on_the_disk(world: World) -> None:
    world.publish()
    fetching = world.fetch()
    while not world.target.exists() or world.target.stat().st_size < PIECE_BYTES_MAX:
        for link in list(world.network.links):
            link.move()
    fetching.cancel()
    assert isinstance(world.error(), CancelledError)
    assert not world.target.exists()


def test_a_token_with_a_path_in_it_is_not_asked_for(world: World) -> None:
    ends: list[Any] = []
    world.receiver.fetch("1", "../../stream", str(world.target)).addErrback(ends.append)
    assert ends[0].check(SnapshotError)
    assert world.network.dials == []


@pytest.mark.parametrize(
    "query",
    [
        "?offset=0",
        "?offset=0&length=0",
        "?offset=-1&length=5",
        "?offset=0&length=99999999",
        "?offset=524288&length=5000",
        "?offset=9999999999999999999999&length=1",
        "?offset=0&offset=1&length=1",
        "?offset=x&length=1",
    ],
)
def test_pieces_that_are_none_are_refused(world: World, query: str) -> None:
    world.publish()
    digest = blake2b((world.folder / "1.db").read_bytes(), digest_size=32).hexdigest()
    assert world.ask(f"{query}&digest={digest}") == 400
    assert world.ask(query) == 404


def test_the_time_of_the_last_piece_is_known(world: World) -> None:
    world.publish()
    assert world.sender.last_fetched("3-100-1") == 0
    world.clock.advance(5)
    world.fetch()
    world.network.flush()
    assert world.sender.last_fetched("3-100-1") == 5
    world.sender.withdraw("3-100-1")
    assert world.sender.last_fetched("3-100-1") is None


def test_only_so_many_pieces_are_served_at_once(tmp_path: Path) -> None:
    reads: list[Deferred[bytes]] = []

    def never(function: Any) -> Deferred[bytes]:
        reads.append(Deferred())
        return reads[-1]

    world = World(tmp_path, never)
    content = world.publish()
    query = f"?digest={blake2b(content, digest_size=32).hexdigest()}&offset=0&length=10"
    client = world.network.client("2")
    url = f"http://localhost:8081/raft/snapshot/3-100-1{query}"
    for _ in range(OPEN_PIECES_MAX):
        client.request("GET", url, headers=peer_headers("2", "1", "c1"), reactor=world.clock).addErrback(lambda _: None)
    world.network.flush()
    assert len(reads) == OPEN_PIECES_MAX
    assert world.ask(query) == 503
    world.network.cut("1", "2")
    for read in reads:
        read.callback(content[:10])  # to requests that are gone
    assert world.ask("") == 200


def test_a_file_that_cannot_be_read_is_tried_again(world: World) -> None:
    content = world.publish()
    path = world.folder / "1.db"
    away = path.rename(world.folder / "away.db")
    world.fetch()
    world.network.advance(1)
    away.rename(path)
    world.network.advance(3)
    assert world.ends == [None]
    assert world.target.read_bytes() == content
