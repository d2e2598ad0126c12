"""`/raft`: what nodes ask of each other over HTTP, the checks that all of it shares, and how an answer's body is read.

    GET  /raft/hello             formation.py   who are you, and are you part of a cluster?
    POST /raft/adopt             formation.py   the founder hands out the cluster's id
    GET  /raft/stream            streams.py     push your messages to me, from now on
    GET  /raft/snapshot/<token>  snapshots.py   a piece of a snapshot

Every request names its sender (Ddb-Node), the node it means (Ddb-To), the format (Ddb-Format) and, but for the first two calls, the
cluster (Ddb-Cluster). What does not fit is refused with one sentence: 403 for a node that is not in our config or a request meant for
another node, 409 for another cluster or format. Until a child is put in place (`putChild`), its calls get 503.

None of this authenticates anybody: it keeps honest nodes with a wrong config apart. See the security notes in docs/.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IResponse
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from ddbd.cluster.wire import WIRE_FORMAT
from ddbd.config import Config
from ddbd.errors import DdbError
from ddbd.raft.types import NodeId

PROBLEM_BYTES_MAX = 4096  # of a refusal that is read for its sentence
_TITLES = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 503: "Service Unavailable"}


class Rejected(DdbError):
    """A request between nodes that is not served. On the asking side: the answer said so."""

    def __init__(self, status: int, code: str, detail: str, cluster_id: str = "") -> None:
        """`cluster_id` is of the cluster that took the place of the asking node's; empty where none did."""
        super().__init__(detail)
        self.status = status
        self.code = code
        self.cluster_id = cluster_id


class BodyError(DdbError):
    """An answer's body was cut, too long, or too slow."""

    code = "bad_body"


class RaftResource(Resource):
    """The root, to be mounted at /raft. Children come when the node is ready for them: `putChild(b"stream", streams.resource)`."""

    def getChild(self, path: bytes, request: Request) -> IResource:
        if path in (b"hello", b"adopt", b"stream", b"snapshot"):
            return ProblemResource(Rejected(503, "not_ready", "this node is not yet part of a cluster; ask again"))
        return ProblemResource(Rejected(404, "not_found", "there is no such call under /raft"))

    def render(self, request: Request) -> bytes:
        return problem(request, Rejected(404, "not_found", "there is no such call under /raft"))


class ProblemResource(Resource):
    isLeaf = True

    def __init__(self, rejected: Rejected) -> None:
        Resource.__init__(self)
        self._rejected = rejected

    def render(self, request: Request) -> bytes:
        return problem(request, self._rejected)


def problem(request: Request, rejected: Rejected) -> bytes:
    """Sets status and type; gives the body (RFC 9457)."""
    request.setResponseCode(rejected.status)
    request.setHeader(b"content-type", b"application/problem+json")
    return msgspec.json.encode(
        {
            "type": "about:blank",
            "title": _TITLES.get(rejected.status, "Error"),
            "status": rejected.status,
            "detail": rejected.detail,
            "code": rejected.code,
            **({"cluster_id": rejected.cluster_id} if rejected.cluster_id else {}),
        }
    )


def json_answer(request: Request, value: Any) -> bytes:
    request.setHeader(b"content-type", b"application/json")
    body: bytes = msgspec.json.encode(value)
    return body


def peer_headers(node_id: NodeId, peer_id: NodeId, cluster_id: str | None) -> dict[str, str]:
    """What a request to a peer carries."""
    headers = {"Ddb-Node": node_id, "Ddb-To": peer_id, "Ddb-Format": str(WIRE_FORMAT)}
    return headers if cluster_id is None else {**headers, "Ddb-Cluster": cluster_id}


def check_peer(request: Request, config: Config, node_id: NodeId, cluster_id: str | None) -> NodeId:
    """The id of the node that asks. `cluster_id` None: the call comes before there is a cluster. Raises Rejected."""
    given = {name: _one_header(request, name) for name in ("Ddb-Node", "Ddb-To", "Ddb-Format")}
    if given["Ddb-Format"] != str(WIRE_FORMAT):
        raise Rejected(409, "other_format", f"this node speaks format {WIRE_FORMAT}, the request {given['Ddb-Format']!r}; run one version")
    _check_nodes(given, config, node_id)
    if cluster_id is not None:
        theirs = _one_header(request, "Ddb-Cluster")
        if not hmac.compare_digest(theirs.encode(), cluster_id.encode()):
            raise Rejected(409, "other_cluster", f"node {node_id} is part of cluster {cluster_id}, the request of cluster {theirs!r}")
    return given["Ddb-Node"]


def _check_nodes(given: Mapping[str, str], config: Config, node_id: NodeId) -> None:
    if given["Ddb-To"] != node_id:
        raise Rejected(403, "other_node", f"this is node {node_id}, the request is for node {given['Ddb-To']!r}; compare the addresses")
    if given["Ddb-Node"] == node_id or given["Ddb-Node"] not in config.node_ids:
        raise Rejected(403, "unknown_node", f"node {given['Ddb-Node']!r} is no peer in node {node_id}'s config; compare the configs")


def _one_header(request: Request, name: str) -> str:
    values = request.requestHeaders.getRawHeaders(name.encode(), [])
    if len(values) != 1 or len(values[0]) > 128:
        raise Rejected(403, "bad_header", f"a request between nodes has one {name} header; this one has {len(values)}, or a long one")
    return bytes(values[0]).decode("utf-8", "replace")


class _Body(Protocol):
    """Collects a body up to a limit. Silence ends it: the timer starts anew with each piece that comes."""

    def __init__(self, bytes_max: int, clock: IReactorTime, idle_seconds: float) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._finish())
        self._data = bytearray()
        self._bytes_max = bytes_max
        self._idle_seconds = idle_seconds
        self._timer: IDelayedCall = clock.callLater(idle_seconds, self._fail, f"the body stopped for {idle_seconds:g} s")
        self._ended = False

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        self._data += data
        if len(self._data) > self._bytes_max:
            self._fail(f"the body is over {self._bytes_max} bytes")
        else:
            self._timer.reset(self._idle_seconds)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._ended:
            return
        if reason.check(ResponseDone) is None:
            self._fail(f"the body was cut: {reason.getErrorMessage()}")
        else:
            self._finish()
            self.done.callback(bytes(self._data))

    def _fail(self, detail: str) -> None:
        self._finish()
        self.done.errback(BodyError(detail))

    def _finish(self) -> None:
        self._ended = True
        if self._timer.active():
            self._timer.cancel()
        if self.transport is not None:
            self.transport.loseConnection()


def read_body(response: IResponse, bytes_max: int, clock: IReactorTime, idle_seconds: float) -> Deferred[bytes]:
    """The whole body. Errbacks with BodyError; cancelling closes the connection."""
    body = _Body(bytes_max, clock, idle_seconds)
    response.deliverBody(body)
    return body.done


class _Problem(msgspec.Struct):
    detail: str = ""
    code: str = ""
    cluster_id: str = ""


async def raise_rejected(response: IResponse, clock: IReactorTime, idle_seconds: float) -> None:
    """Raises Rejected with the sentence of a refusal, where there is one."""
    body = await read_body(response, PROBLEM_BYTES_MAX, clock, idle_seconds)
    try:
        said = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, RecursionError):
        said = _Problem()
    raise Rejected(response.code, said.code or "refused", said.detail[:500] or f"status {response.code}", said.cluster_id[:64])
