"""The streams between this node and its peers, seen as one: `send`, `flush`, and a callback for what arrives.

Each node opens one long GET to every peer, and the peer pushes its messages down the response (`inbound` is the asking side, `outbound`
the pushing one; the resource here joins a request to its Outbound). So two nodes have two connections, one for each direction of
messages, and each side redials what it wants to hear. Measured: a message pushed so costs a twentieth of a treq request.

Nothing blocks and nothing is promised: a message may be lost, late, or overtaken by another, and the core lives with all three. What
does not happen: a message is damaged, comes twice, or comes from or goes to another node than it says.

`send` only queues. `flush` writes what is queued, in one write for each peer; the driver calls it in its turn, and asks for a turn whenever
it has something to send.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from ddbd.cluster.inbound import Ears, Inbound
from ddbd.cluster.nag import Nag
from ddbd.cluster.outbound import Outbound
from ddbd.cluster.peers import Client
from ddbd.cluster.resource import Rejected, check_peer, problem
from ddbd.config import Config
from ddbd.raft.messages import Message
from ddbd.raft.types import NodeId


class PeerState(NamedTuple):
    """What /status may want to know of a peer."""

    reachable: bool  # we heard it within two election timeouts, and its stream stands
    connected_in: bool  # its messages have a way to us
    connected_out: bool  # ours have a way to it
    last_heard: float | None  # seconds of the clock handed in; None: never
    queue_bytes: int
    dropped: int  # messages to it, since the start


class Past(NamedTuple):
    """What a recovery from a lost quorum leaves behind: the ids that this cluster had, and whom to tell that another has this one's."""

    former: tuple[str, ...] = ()
    superseded: Callable[[NodeId, str], None] = lambda node_id, cluster_id: None


class _StreamResource(Resource):
    isLeaf = True

    def __init__(self, config: Config, node_id: NodeId, cluster_id: str, ways: dict[NodeId, Outbound], nag: Nag, past: Past) -> None:
        Resource.__init__(self)
        self._past = past
        self._config = config
        self._node_id = node_id
        self._cluster_id = cluster_id
        self._ways = ways
        self._nag = nag
        self.is_stopped = False

    def render(self, request: Request) -> bytes | int:
        try:
            self._accept(request)
        except Rejected as rejected:
            self._nag.say(rejected.code, f"a stream is refused: {rejected.detail}")
            return problem(request, rejected)
        return NOT_DONE_YET

    def _accept(self, request: Request) -> None:
        if request.method != b"GET":
            raise Rejected(405, "method_not_allowed", "a stream is asked for with GET")
        if self.is_stopped:
            raise Rejected(503, "not_ready", f"node {self._node_id} is stopping")
        try:
            sender = check_peer(request, self._config, self._node_id, self._cluster_id)
        except Rejected as rejected:
            if rejected.code == "other_cluster":
                self._tell_the_past(request)
            raise
        self._ways[sender].attach(request)

    def _tell_the_past(self, request: Request) -> None:
        """Of two clusters one may be the other, recovered from a lost quorum: then the older one ends. Raises Rejected."""
        theirs = (request.getHeader(b"Ddb-Cluster") or b"").decode("ascii", "replace")
        if theirs in self._past.former:
            sentence = f"cluster {theirs} was recovered as cluster {self._cluster_id}, without the node that asks; its data is history"
            raise Rejected(409, "superseded", sentence, self._cluster_id)
        if self._cluster_id.encode() in (request.getHeader(b"Ddb-Former") or b"").split(b","):
            self._past.superseded(check_peer(request, self._config, self._node_id, None), theirs)


class Streams:
    """Made once the node knows its cluster. Put `resource` under /raft as b"stream", then `start`."""

    def __init__(
        self,
        clock: IReactorTime,
        config: Config,
        node_id: NodeId,
        cluster_id: str,
        rng: random.Random,
        client: Client,
        received: Callable[[Message], None],
        refused: Callable[[NodeId], None],
        connected: Callable[[NodeId], None],
        *,
        past: Past = Past(),  # noqa: B008 - a frozen value
    ) -> None:
        peer_ids = [peer_id for peer_id in config.node_ids if peer_id != node_id]
        ears = Ears(received, refused, past.superseded)
        self._clock = clock
        self._timing = config.timing
        self._connected = connected
        self._out = {peer_id: Outbound(clock, config, peer_id, self._peer_came) for peer_id in peer_ids}
        self._in = {peer_id: Inbound(clock, config, node_id, cluster_id, peer_id, rng, client, ears, past.former) for peer_id in peer_ids}
        self._resource = _StreamResource(config, node_id, cluster_id, self._out, Nag(clock), past)
        self._dirty: set[Outbound] = set()
        self._keep_alive = LoopingCall(self._keep_streams_alive)
        self._keep_alive.clock = clock

    @property
    def resource(self) -> IResource:
        """GET /raft/stream."""
        return self._resource

    def start(self) -> None:
        """Dials every peer."""
        self._keep_alive.start(self._timing.heartbeat_ms / 1_000, now=False)
        for way in self._in.values():
            way.start()

    def reconfigure(self, config: Config) -> None:
        for way in self._in.values():
            way.reconfigure(config)

    def stop(self) -> Deferred[None]:
        """Closes every stream; nothing is received or refused any more. Fires when our own dials are closed."""
        self._resource.is_stopped = True
        if self._keep_alive.running:
            self._keep_alive.stop()
        self.flush()
        for out in self._out.values():
            out.close()
        closed = gatherResults([way.stop() for way in self._in.values()])
        return closed.addCallback(lambda _: None)

    def send(self, message: Message) -> None:
        """Queues the message for message.to, or drops it: no stream, a full queue, an unknown node."""
        way = self._out.get(message.to)
        if way is not None and way.send(message):
            self._dirty.add(way)

    def flush(self) -> None:
        """Writes what is queued, as far as the transports have room."""
        for way in self._dirty:
            way.flush()
        self._dirty.clear()

    def is_reachable(self, peer_id: NodeId) -> bool:
        return peer_id in self._in and self._state(peer_id).reachable

    def last_heard(self, peer_id: NodeId) -> float | None:
        """When its last message came, in the clock's seconds; None: never."""
        return self._in[peer_id].last_heard if peer_id in self._in else None

    def peers(self) -> dict[NodeId, PeerState]:
        return {peer_id: self._state(peer_id) for peer_id in self._in}

    def _state(self, peer_id: NodeId) -> PeerState:
        inbound, out = self._in[peer_id], self._out[peer_id]
        heard = inbound.last_heard
        recent = heard is not None and self._clock.seconds() - heard <= 2 * self._timing.election_timeout_ms / 1_000
        return PeerState(inbound.is_connected and recent, inbound.is_connected, out.is_connected, heard, out.queue_bytes, out.dropped)

    def _peer_came(self, peer_id: NodeId) -> None:
        self._in[peer_id].nudge()
        self._connected(peer_id)

    def _keep_streams_alive(self) -> None:
        for out in self._out.values():
            out.keep_alive()
