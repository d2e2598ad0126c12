"""Copies of the tables on their way from one node to another.

The sender publishes a SnapshotFile; its token goes into an InstallSnapshot. The receiver asks what the token stands for, and then for
one piece after the other, each of at most PIECE_BYTES_MAX:

    GET /raft/snapshot/<token>                                 ->  {"size_bytes", "digest"}; the digest in hex
    GET /raft/snapshot/<token>?digest=D&offset=N&length=M      ->  the bytes, with Ddb-Checksum: blake2b of the piece, hex

Each piece is asked for with the digest of the whole: a sender that was restarted may give the same token to another file, and a copy
made of two would be found out only at its end.

So the receiver is the one that drives: the sender holds one piece for each request that is open, and what is read at once keeps the
reactor for well under a millisecond where the page cache has it. `blocking` may carry reads to a thread.

The receiver writes what it has verified, and only that, and goes on from there after whatever went wrong: a broken connection, a flipped
bit, a sender that was restarted and published the same file. It tries until it is cancelled. It ends early, with SnapshotError, when
trying cannot help: the sender no longer has the snapshot (it will offer another), the whole does not have the digest, or the disk does
not take it, or would be full then. The file is not synced here: whoever installs it does that.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from ddbd.cluster.peers import Client, cause
from ddbd.cluster.resource import (
    BodyError,
    ProblemResource,
    Rejected,
    check_peer,
    json_answer,
    peer_headers,
    problem,
    raise_rejected,
    read_body,
)
from ddbd.config import Config
from ddbd.errors import Corrupt, DdbError
from ddbd.raft.types import NodeId

PIECE_BYTES_MAX = 256 * 1024
OPEN_PIECES_MAX = 16  # requests that are served at once; beyond: 503, and the receiver comes again
CHECKSUM_BYTES = 16
HEAD_SECONDS = 5.0  # to the head of an answer
IDLE_SECONDS = 10.0  # between two parts of a piece: even 64 kbit/s delivers some
RETRY_SECONDS = 0.05
RETRY_SECONDS_MAX = 2.0

OFFER_BYTES_MAX = 1024

_TOKEN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")

logger = Logger()

Blocking = Callable[[Callable[[], Any]], "Deferred[Any]"]  # runs a function that may block; deferToThread is one


class SnapshotError(DdbError):
    """A snapshot cannot be fetched. Trying the same one again does not help."""

    code = "snapshot_failed"


class Published(Protocol):
    """What is needed of storage.SnapshotFile."""

    @property
    def token(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def digest(self) -> bytes: ...


class Offer(msgspec.Struct, frozen=True):
    """What a token stands for."""

    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    digest: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2}){16,64}$")]  # blake2b of the whole, hex


def checksum(piece: bytes) -> str:
    return blake2b(piece, digest_size=CHECKSUM_BYTES).hexdigest()


def _at_once(function: Callable[[], Any]) -> Deferred[Any]:
    return maybeDeferred(function)


class Snapshots:
    """What this node offers, and what it fetches. Put `resource` under /raft as b"snapshot"."""

    def __init__(
        self,
        clock: IReactorTime,
        config: Config,
        node_id: NodeId,
        cluster_id: str,
        rng: random.Random,
        client: Client,
        blocking: Blocking = _at_once,
    ) -> None:
        self._clock = clock
        self._config = config
        self._node_id = node_id
        self._cluster_id = cluster_id
        self._rng = rng
        self._client = client
        self._blocking = blocking
        self._published: dict[str, Published] = {}
        self._fetched_at: dict[str, float] = {}  # tokens published -> clock seconds
        self._open_pieces = 0
        self.disk_reserve_bytes = config.limits.disk_reserve_bytes

    def reconfigure(self, config: Config) -> None:
        """Addresses, from the next piece on."""
        self._config = config

    @property
    def resource(self) -> IResource:
        """GET /raft/snapshot/<token>."""
        return _SnapshotResource(self)

    # Serving.

    def publish(self, snapshot: Published) -> None:
        """Serves the file under its token. It must stay as it is until `withdraw`."""
        assert _TOKEN.fullmatch(snapshot.token), f"{snapshot.token!r} cannot stand in a path"
        self._published[snapshot.token] = snapshot
        self._fetched_at[snapshot.token] = self._clock.seconds()

    def withdraw(self, token: str) -> None:
        """Asking for it is answered with 404 from now on. The file is the caller's to remove, now."""
        self._published.pop(token, None)
        self._fetched_at.pop(token, None)

    def last_fetched(self, token: str) -> float | None:
        """When a piece was last asked for, or the token published, in the clock's seconds; None for what is not published."""
        return self._fetched_at.get(token)

    def offer(self, request: Request, token: str) -> Offer:
        """Raises Rejected."""
        snapshot = self._asked_for(request, token)
        return Offer(snapshot.size_bytes, snapshot.digest.hex())

    def piece(self, request: Request, token: str) -> Deferred[bytes]:
        """One piece, its headers set. Raises Rejected."""
        snapshot = self._asked_for(request, token)
        if (request.args or {}).get(b"digest") != [snapshot.digest.hex().encode()]:
            raise Rejected(404, "snapshot_gone", "another snapshot has this token now; wait for the next offer")
        offset, length = _number(request, b"offset"), _number(request, b"length")
        if not 0 < length <= PIECE_BYTES_MAX or offset + length > snapshot.size_bytes:
            raise Rejected(400, "bad_request", f"{length} bytes at {offset} are not 1 to {PIECE_BYTES_MAX} inside {snapshot.size_bytes}")
        if self._open_pieces >= OPEN_PIECES_MAX:
            raise Rejected(503, "overloaded", f"{OPEN_PIECES_MAX} pieces are being served; ask again")
        self._open_pieces += 1
        request.notifyFinish().addBoth(self._piece_done)
        return self._blocking(lambda: _read_piece(snapshot.path, offset, length)).addCallback(_with_checksum, request)

    def _asked_for(self, request: Request, token: str) -> Published:
        check_peer(request, self._config, self._node_id, self._cluster_id)
        snapshot = self._published.get(token)
        if snapshot is None:
            raise Rejected(404, "snapshot_gone", "there is no such snapshot any more; wait for the next offer")
        self._fetched_at[token] = self._clock.seconds()
        return snapshot

    def _piece_done(self, _: object) -> None:
        self._open_pieces -= 1

    # Fetching.

    def fetch(self, peer_id: NodeId, token: str, path: str) -> Deferred[None]:
        """Writes the snapshot that `peer_id` offers to `path`. Cancel it to give up; else it tries until it ends.

        Errbacks with SnapshotError. What is at `path` then is of no use.
        """
        fetching = _Fetching(self, peer_id, token, path)
        inner = Deferred.fromCoroutine(fetching.run())
        outer: Deferred[None] = Deferred(lambda _: fetching.give_up(inner))
        inner.addCallbacks(outer.callback, outer.errback)
        return outer

    def ask(self, peer_id: NodeId, token: str, query: str) -> Deferred[Any]:
        """An answer with status 200, its body still to come. Errbacks with Rejected for another status."""
        return Deferred.fromCoroutine(self._ask(peer_id, token, query))

    async def _ask(self, peer_id: NodeId, token: str, query: str) -> Any:
        response = await self._client.request(
            "GET",
            f"{self._config.node(peer_id).url}/raft/snapshot/{token}{query}",
            headers=peer_headers(self._node_id, peer_id, self._cluster_id),
            unbuffered=True,
            allow_redirects=False,
            reactor=self._clock,
            timeout=HEAD_SECONDS,
        )
        if response.code != 200:
            await raise_rejected(response, self._clock, IDLE_SECONDS)
        return response

    def body(self, response: Any, bytes_max: int) -> Deferred[bytes]:
        return read_body(response, bytes_max, self._clock, IDLE_SECONDS)

    def pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self._clock, seconds * self._rng.uniform(0.5, 1.0), lambda: None)


class _Fetching:
    """One fetch. Holds one piece."""

    def __init__(self, snapshots: Snapshots, peer_id: NodeId, token: str, path: str) -> None:
        self._snapshots = snapshots
        self._peer_id = peer_id
        self._token = token
        self._path = path
        self._given_up = False

    def give_up(self, running: Deferred[None]) -> None:
        # A cancelled request looks like one that timed out, and would be tried again but for the flag.
        self._given_up = True
        running.cancel()

    async def run(self) -> None:
        if not _TOKEN.fullmatch(self._token):
            raise SnapshotError(f"node {self._peer_id} offers {self._token[:128]!r}, which is no token")
        offer: Offer = await self._until_it_fits(self._ask_offer)
        self._assert_room(offer)
        try:
            await self._take(offer)
        except BaseException:
            Path(self._path).unlink(missing_ok=True)  # half of it is worth nothing, and its space may be needed
            raise

    def _assert_room(self, offer: Offer) -> None:
        """The log must go on beside it: half of the reserve is left alone."""
        try:
            stat = os.statvfs(Path(self._path).parent)
        except OSError as error:
            raise SnapshotError(f"{self._path}: the snapshot cannot be written: {error.strerror}") from error
        room = stat.f_bavail * stat.f_frsize - self._snapshots.disk_reserve_bytes // 2
        if offer.size_bytes > room:
            raise SnapshotError(
                f"{self._path}: the snapshot has {offer.size_bytes} bytes, there is room for {max(0, room)}; free some space"
            )

    async def _take(self, offer: Offer) -> None:
        whole = blake2b(digest_size=len(offer.digest) // 2)
        try:
            with open(self._path, "wb", buffering=0) as file:
                for offset in range(0, offer.size_bytes, PIECE_BYTES_MAX):
                    piece = await self._piece(offer, offset)
                    whole.update(piece)
                    if file.write(piece) != len(piece):
                        raise SnapshotError(f"{self._path}: the disk took only a part; free some space")
        except OSError as error:
            raise SnapshotError(f"{self._path}: the snapshot cannot be written: {error.strerror}") from error
        if whole.hexdigest() != offer.digest:
            raise Corrupt(f"what node {self._peer_id} sent has another digest than it offered")

    async def _piece(self, offer: Offer, offset: int) -> bytes:
        length = min(PIECE_BYTES_MAX, offer.size_bytes - offset)
        piece: bytes = await self._until_it_fits(lambda: self._ask_piece(offer, offset, length))
        return piece

    async def _until_it_fits(self, attempt: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        wait = RETRY_SECONDS
        while True:
            answer = await Deferred.fromCoroutine(attempt()).addErrback(self._again_or_not)
            if self._given_up:
                raise CancelledError("the fetch was given up")
            if answer is not None:
                return answer
            await self._snapshots.pause(wait)
            wait = min(RETRY_SECONDS_MAX, 2 * wait)

    def _again_or_not(self, failure: Failure) -> None:
        """None: try again."""
        error = failure.value
        if isinstance(error, Rejected) and error.status in (400, 404):
            raise SnapshotError(f"node {self._peer_id} does not serve the snapshot: {error.detail}")
        logger.info("a part of a snapshot from node {peer} failed: {why}", peer=self._peer_id, why=cause(failure))

    async def _ask_offer(self) -> Offer:
        response = await self._snapshots.ask(self._peer_id, self._token, "")
        return msgspec.json.decode(await self._snapshots.body(response, OFFER_BYTES_MAX), type=Offer)

    async def _ask_piece(self, offer: Offer, offset: int, length: int) -> bytes:
        query = f"?digest={offer.digest}&offset={offset}&length={length}"
        response = await self._snapshots.ask(self._peer_id, self._token, query)
        piece = await self._snapshots.body(response, length)
        if len(piece) != length or response.headers.getRawHeaders("Ddb-Checksum") != [checksum(piece)]:
            raise BodyError("a piece does not fit its checksum")
        return piece


def _read_piece(path: str, offset: int, length: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, length, offset)
    finally:
        os.close(fd)


def _with_checksum(piece: bytes, request: Request) -> bytes:
    request.setHeader(b"content-type", b"application/octet-stream")
    request.setHeader(b"content-length", str(len(piece)).encode())
    request.setHeader(b"ddb-checksum", checksum(piece).encode())
    return piece


def _number(request: Request, name: bytes) -> int:
    values = (request.args or {}).get(name, [])
    if len(values) != 1 or not values[0].isdigit() or len(values[0]) > 15:
        raise Rejected(400, "bad_request", f"{name.decode()} must be one number of at most 15 digits")
    return int(values[0])


class _SnapshotResource(Resource):
    def __init__(self, snapshots: Snapshots) -> None:
        Resource.__init__(self)
        self._snapshots = snapshots

    def getChild(self, path: bytes, request: Request) -> IResource:
        if request.postpath:
            return ProblemResource(Rejected(404, "not_found", "a snapshot has no parts; ask with offset and length"))
        return _TokenResource(self._snapshots, path.decode("ascii", "replace"))


class _TokenResource(Resource):
    isLeaf = True

    def __init__(self, snapshots: Snapshots, token: str) -> None:
        Resource.__init__(self)
        self._snapshots = snapshots
        self._token = token

    def render_GET(self, request: Request) -> bytes | int:
        try:
            if not request.args:
                return json_answer(request, self._snapshots.offer(request, self._token))
            piece = self._snapshots.piece(request, self._token)
        except Rejected as rejected:
            return problem(request, rejected)
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        piece.addCallbacks(_answer, _unreadable, callbackArgs=(request, gone), errbackArgs=(request, gone))
        return NOT_DONE_YET


def _answer(body: bytes, request: Request, gone: list[object]) -> None:
    if not gone:
        request.write(body)
        request.finish()


def _unreadable(failure: Failure, request: Request, gone: list[object]) -> None:
    logger.failure("a snapshot cannot be read", failure=failure)
    _answer(problem(request, Rejected(503, "not_ready", "the snapshot cannot be read here; ask again")), request, gone)
