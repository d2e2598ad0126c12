"""How a node finds out which cluster it is part of: a new one, the one it was in, or one that began without it.

A directory is empty, unformed (it holds a cluster's id, but nothing was ever said or voted under it), or formed. Only a formed node
starts Raft, and formed it stays until somebody wipes the disk. Each node says what it is (`GET /raft/hello`); a node that is not formed
asks all others again and again, and `verdict` decides on their answers:

- A peer is formed: so there is history. An empty node joins that cluster under a fresh *life*: it listens and never votes until the
  cluster has taken note of the life (the replica's part). A node that adopted this same id is one of the founders: it becomes formed
  with the empty life, and votes.
- All nodes of the config answered, none is formed, all have the same list: the lowest id is the founder. It draws a cluster id, writes
  it down unformed, asks every other node to adopt it (`POST /raft/adopt`), and when all have said yes in one round, it writes formed.
- Otherwise: wait, and say why every ten seconds.

**What must hold.** (1) At most one cluster forms out of one set of nodes. (2) Who has voted in a cluster never votes in it again with an
empty disk. Both follow from one fact: formed is written first by the founder, and only after every other node held the id on disk.

(1) The list is the same everywhere (hello and adopt both compare it), so there is one founder; it forms only with the yes of *all*, and
a formed node never says yes. (2) A node gets the empty life only where it adopted the id. Adoption happens only while the founder is
unformed: it asks in no other state, the request names the life of the process that answered hello (`boot`), so one that was delayed
past a restart is refused, and a live process's disk is not wiped. While the founder is unformed nobody has voted under that id. So a
node that voted and was wiped can never find a founder that would hand it the same id; it finds formed peers, and joins with a life. A
wiped founder draws another id, for random ids do not repeat.

**Crashes, one by one.** An answer or request is lost: the round fails, the next one asks everybody again; adopting twice is once. A
node dies before its adoption is on disk: no yes. After it, before the yes arrives: it restarts unformed and says yes again. Wiped after
its yes: the next round asks it again; if the founder has just formed, it joins with a life (a cluster of two then waits for the
operator: one vote is gone for good). The founder dies before it wrote anything: it is as if new. After it wrote the id: it asks all
again, with the same id. After it wrote formed: it is formed, whoever asks is told. The founder is wiped unformed: it draws a new id,
and the others, unformed under the old one, change to it, for nothing was ever formed. The founder is wiped formed, and nobody else had
become formed: its log held nothing that a quorum knew, so the same is right; if one other had, that one's hello speaks. An unformed
node that finds a cluster formed under another id than it holds joins with a life. So does a founder that is unformed and finds its own
id formed: its disk has gone back in time. What remains is a stand-still, never a second vote: a founder that forms and loses its disk
within the two seconds in which another one still acts on its last word can leave too few voters, and the operator wipes all. More than
that, a disk set back by hand, is beyond any protocol.

A formed node asks once, for half a second at most, whether its cluster was recovered without it after a quorum was lost: the recovered
one has another id, and knows its former ones. If so it never starts Raft: with another node of before it could be a majority of a cluster
that is history. Nobody answering is no reason to wait. That a peer belongs to another cluster shows when it asks for a stream: 409, said
in both logs.
"""

from __future__ import annotations

import random
from typing import Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from ddbd.cluster.nag import Nag
from ddbd.cluster.peers import Client, WholeBody
from ddbd.cluster.resource import Rejected, check_peer, json_answer, peer_headers, problem, raise_rejected, read_body
from ddbd.cluster.verdict import Confirm, Found, Hello, Identity, Join, Nodes, Verdict, Wait, difference, founder_of, superseding, verdict
from ddbd.cluster.wire import WIRE_FORMAT
from ddbd.config import Config
from ddbd.errors import ConfigError, DdbError, Fatal
from ddbd.raft.types import NodeId

ASK_SECONDS = 2.0  # for an answer; an adoption syncs a disk
CURRENT_SECONDS = 0.5  # likewise, where a node that could start waits for it
AGAIN_SECONDS = 0.2  # between two rounds, shortened by chance to the half
BODY_BYTES_MAX = 64 * 1024

logger = Logger()


class Superseded(DdbError):
    """This node's cluster was recovered without it, says a node of the recovered one."""

    code = "superseded"

    def __init__(self, node_id: NodeId, cluster_id: str) -> None:
        super().__init__(f"node {node_id} says that this node's cluster was recovered without it, as cluster {cluster_id}")
        self.node_id = node_id
        self.cluster_id = cluster_id


class IdentityStore(Protocol):
    """The identity in the data directory. `write` is atomic and durable when it returns, and fills in node id and format itself."""

    def read(self) -> Identity | None: ...
    def write(self, cluster_id: str, life: str, formed: bool, former: tuple[str, ...] = ()) -> Identity: ...


class _Adopt(msgspec.Struct, frozen=True):
    """The body of POST /raft/adopt."""

    cluster_id: str
    founder: NodeId
    nodes: Nodes
    boot: str


class _Adopted(msgspec.Struct, frozen=True):
    cluster_id: str


class Formation:
    """One node's part. `rng` draws ids that must never repeat anywhere: SystemRandom in production."""

    def __init__(
        self, clock: IReactorTime, config: Config, node_id: NodeId, rng: random.Random, client: Client, store: IdentityStore
    ) -> None:
        self._clock = clock
        self._config = config
        self._node_id = node_id
        self._rng = rng
        self._client = client
        self._store = store
        self._nodes: Nodes = tuple((node.id, node.address) for node in config.nodes)
        self._peer_ids = [peer_id for peer_id in config.node_ids if peer_id != node_id]
        self._boot = self._new_id()
        self._nag = Nag(clock)
        self._identity: Identity | None = None
        self._was_formed = False  # when the process started
        self._running: Deferred[None] | None = None
        self._done: Deferred[Identity] = Deferred()

    def reconfigure(self, config: Config) -> None:
        """The same ids at other addresses, from the next question on."""
        self._config = config
        self._nodes = tuple((node.id, node.address) for node in config.nodes)

    @property
    def hello_resource(self) -> IResource:
        return _HelloResource(self)

    @property
    def adopt_resource(self) -> IResource:
        return _AdoptResource(self)

    def start(self) -> Deferred[Identity]:
        """Fires with the formed identity. Errbacks with ConfigError (another node's directory) or what the store raises.

        The two resources must be mounted before.
        """
        try:
            self._identity = self._store.read()
            self._was_formed = self._identity is not None and self._identity.formed
            if self._identity is not None and self._identity.node_id != self._node_id:
                raise ConfigError(f"the data directory belongs to node {self._identity.node_id}, this is node {self._node_id}")
        except Exception:  # noqa: BLE001 - handed on, like every later failure, by the Deferred
            self._fail(Failure())
            return self._done
        self._running = Deferred()  # from here on this node can say what it is
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._fail)
        return self._done

    def stop(self) -> None:
        """Gives up: the Deferred of `start` errbacks with CancelledError if it has not fired."""
        if not self._done.called:
            self._fail(Failure(CancelledError("formation was stopped")))
        if self._running is not None:
            self._running.cancel()

    def _fail(self, failure: Failure) -> None:
        if not self._done.called:
            self._done.errback(failure)

    async def _run(self) -> None:
        while not self._done.called:
            if self._identity is not None and self._identity.formed:
                if await self._is_current(self._identity) and not self._done.called:
                    self._done.callback(self._identity)
                return
            before = self._identity
            answers = dict(zip(self._peer_ids, await gatherResults([self._hello_of(peer) for peer in self._peer_ids]), strict=True))
            if self._identity is not before:
                continue  # adopted while the answers came: some of them may be older than the adoption
            waits = await self._act(verdict(self._node_id, self._nodes, self._identity, answers), answers)
            if waits is not None and not self._done.called:
                self._nag.say("formation", waits)
                await deferLater(self._clock, AGAIN_SECONDS * self._rng.uniform(0.5, 1.0), lambda: None)

    async def _is_current(self, identity: Identity) -> bool:
        """Whether nobody says that this cluster was recovered without this node. A node that was formed just now need not ask."""
        if not self._was_formed:
            return True
        answers = await gatherResults([self._hello_of(peer, CURRENT_SECONDS) for peer in self._peer_ids])
        newer = superseding(identity, [answer for answer in answers if isinstance(answer, Hello)])
        if newer is None or newer.cluster_id is None:
            return True
        self._fail(Failure(Superseded(newer.node_id, newer.cluster_id)))
        return False

    async def _act(self, decided: Verdict, answers: dict[NodeId, Hello | str]) -> str | None:
        """Why this node has to wait; None when it is formed."""
        if isinstance(decided, Wait) or self._done.called:
            return decided.why if isinstance(decided, Wait) else "stopped"
        if isinstance(decided, Join):
            logger.info("joining cluster {cluster} as a node without history", cluster=decided.cluster_id)
            self._write(decided.cluster_id, life=self._new_id(), formed=True, former=decided.former)
        elif isinstance(decided, Confirm):
            assert self._identity is not None, "an empty node has nothing to confirm"
            self._write(self._identity.cluster_id, life="", formed=True)
        elif isinstance(decided, Found):
            return await self._found({peer: answer.boot for peer, answer in answers.items() if isinstance(answer, Hello)})
        return None

    async def _found(self, boots: dict[NodeId, str]) -> str | None:
        """One round of asking everybody to adopt."""
        cluster_id = self._identity.cluster_id if self._identity is not None else self._new_id()
        if self._identity is None:
            self._write(cluster_id, life="", formed=False)
        refusals = await gatherResults([self._adopted_by(peer, cluster_id, boot) for peer, boot in boots.items()])
        if self._done.called:
            return "stopped"
        refused = [f"node {peer}: {why}" for peer, why in zip(boots, refusals, strict=True) if why]
        if refused:
            return f"the cluster forms when every node has adopted its id; not yet: {'; '.join(refused)}"
        self._write(cluster_id, life="", formed=True)
        return None

    def _write(self, cluster_id: str, life: str, formed: bool, former: tuple[str, ...] = ()) -> None:
        before = self._identity
        assert before is None or not before.formed, "a formed identity never changes"
        self._identity = self._store.write(cluster_id, life, formed, former)

    def _new_id(self) -> str:
        return f"{self._rng.getrandbits(128):032x}"

    # Asking.

    def _hello_of(self, peer_id: NodeId, seconds: float = ASK_SECONDS) -> Deferred[Hello | str]:
        return Deferred.fromCoroutine(self._ask_hello(peer_id, seconds)).addErrback(_why)

    async def _ask_hello(self, peer_id: NodeId, seconds: float) -> Hello | str:
        hello = msgspec.json.decode(await self._ask("GET", peer_id, "hello", None, seconds), type=Hello)
        if hello.node_id != peer_id:
            return f"its address answers as node {hello.node_id}"
        return hello if hello.format == WIRE_FORMAT else f"it speaks format {hello.format}, this node {WIRE_FORMAT}"

    def _adopted_by(self, peer_id: NodeId, cluster_id: str, boot: str) -> Deferred[str]:
        """Why not; the empty string for a yes."""
        return Deferred.fromCoroutine(self._ask_adopt(peer_id, cluster_id, boot)).addErrback(_why)

    async def _ask_adopt(self, peer_id: NodeId, cluster_id: str, boot: str) -> str:
        asked = msgspec.json.encode(_Adopt(cluster_id, self._node_id, self._nodes, boot))
        answer = msgspec.json.decode(await self._ask("POST", peer_id, "adopt", asked), type=_Adopted)
        return "" if answer.cluster_id == cluster_id else f"it answered for cluster {answer.cluster_id}"

    async def _ask(self, method: str, peer_id: NodeId, call: str, body: bytes | None, seconds: float = ASK_SECONDS) -> bytes:
        headers = peer_headers(self._node_id, peer_id, None)
        if body is not None:
            headers["Content-Type"] = "application/json"
        response = await self._client.request(
            method,
            f"{self._config.node(peer_id).url}/raft/{call}",
            headers=headers,
            data=None if body is None else WholeBody(body),
            unbuffered=True,
            allow_redirects=False,
            reactor=self._clock,
            timeout=seconds,
        )
        if response.code != 200:
            await raise_rejected(response, self._clock, seconds)
        return await read_body(response, BODY_BYTES_MAX, self._clock, seconds)

    # Being asked.

    def answer_hello(self, request: Request) -> Hello:
        check_peer(request, self._config, self._node_id, None)
        if self._running is None:
            raise Rejected(503, "not_ready", f"node {self._node_id} is starting; ask again")  # it does not know yet what it is
        identity = self._identity
        cluster_id, formed, former = (None, False, ()) if identity is None else (identity.cluster_id, identity.formed, identity.former)
        return Hello(self._node_id, cluster_id, formed, self._nodes, WIRE_FORMAT, self._boot, former)

    def answer_adopt(self, request: Request) -> _Adopted:
        sender = check_peer(request, self._config, self._node_id, None)
        asked = _read_adopt(request)
        self._check_adopt(sender, asked)
        if self._identity is None or self._identity.cluster_id != asked.cluster_id:
            try:
                self._write(asked.cluster_id, life="", formed=False)
            except Fatal as error:
                self._fail(Failure())
                raise Rejected(503, "not_ready", f"node {self._node_id} cannot write: {error.detail}") from None
        return _Adopted(asked.cluster_id)

    def _check_adopt(self, sender: NodeId, asked: _Adopt) -> None:
        if sender != asked.founder or sender != founder_of(self._nodes):
            raise Rejected(403, "not_founder", f"node {sender} cannot found; node {founder_of(self._nodes)} has the lowest id")
        if asked.nodes != self._nodes:
            raise Rejected(409, "other_nodes", difference(self._node_id, self._nodes, sender, asked.nodes))
        if asked.boot != self._boot:
            raise Rejected(409, "other_boot", f"node {self._node_id} was started anew since it said hello; ask again")
        if self._identity is not None and self._identity.formed:
            raise Rejected(409, "already_formed", f"node {self._node_id} is part of cluster {self._identity.cluster_id}")
        if self._running is None or self._done.called:
            raise Rejected(503, "not_ready", f"node {self._node_id} is starting or stopping; ask again")


def _read_adopt(request: Request) -> _Adopt:
    body = request.content.read(BODY_BYTES_MAX + 1) if request.content is not None else b""
    try:
        if len(body) > BODY_BYTES_MAX:
            raise Rejected(400, "bad_request", f"the body is over {BODY_BYTES_MAX} bytes")
        asked = msgspec.json.decode(body, type=_Adopt)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Rejected(400, "bad_request", f"the body is no adoption: {error}") from None
    if not 0 < len(asked.cluster_id) <= 64 or not asked.cluster_id.isalnum() or not asked.cluster_id.isascii():
        raise Rejected(400, "bad_request", "a cluster id has 1 to 64 letters and digits")
    return asked


def _why(failure: Failure) -> str:
    if failure.check(CancelledError):
        return "no answer in time"
    return failure.getErrorMessage()[:500] or type(failure.value).__name__


class _HelloResource(Resource):
    isLeaf = True

    def __init__(self, formation: Formation) -> None:
        Resource.__init__(self)
        self._formation = formation

    def render_GET(self, request: Request) -> bytes:
        try:
            return json_answer(request, self._formation.answer_hello(request))
        except Rejected as rejected:
            return problem(request, rejected)


class _AdoptResource(Resource):
    isLeaf = True

    def __init__(self, formation: Formation) -> None:
        Resource.__init__(self)
        self._formation = formation

    def render_POST(self, request: Request) -> bytes:
        try:
            return json_answer(request, self._formation.answer_adopt(request))
        except Rejected as rejected:
            return problem(request, rejected)
