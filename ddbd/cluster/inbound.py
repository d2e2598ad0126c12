"""A peer's messages on their way to this node: one GET that never ends, dialled again whenever it does.

    dialling --200--> open --broken, silent, a bad frame--> dialling
        \\--refused, failed, rejected--> waiting --10 ms .. 500 ms--> dialling

A stream that has lived a while is dialled again at once when it breaks: the kernel closes a dead process's streams within
milliseconds, and the redial is how the death is told from a hiccup of the network. Only a refused connection means death, and it is
reported each time (`refused`); a dial that times out, a reset, an answer that is no stream mean nothing. Then the waits double, each
shortened by chance so that nodes do not dial in step. A peer that opens its own stream to us is there, so the wait for it ends (`nudge`).

The peer sends at least one frame every heartbeat. A reader that hears nothing for the shortest election timeout cuts the stream off
and dials again: after a partition TCP's own backoff keeps a stream dead long after the network has healed. Before it believes its
timer it lets the reactor read once more, for a process that was stopped for a while finds all its timers due before it has read.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from ddbd.cluster.nag import Nag
from ddbd.cluster.peers import Client, cause, is_refused
from ddbd.cluster.resource import Rejected, peer_headers, raise_rejected
from ddbd.cluster.wire import FrameDecoder, WireError
from ddbd.config import Config
from ddbd.raft.messages import Message
from ddbd.raft.types import NodeId

REDIAL_SECONDS = 0.01
SECOND_LOOK_SECONDS = 0.001  # long enough for the reactor to read its sockets once
REDIAL_SECONDS_MAX = 0.5  # also how long a stream must have lived to be dialled again at once

logger = Logger()


class Ears(NamedTuple):
    """What a reader tells."""

    received: Callable[[Message], None]
    refused: Callable[[NodeId], None]
    superseded: Callable[[NodeId, str], None] = lambda node_id, cluster_id: None  # the peer's cluster is this node's, recovered without it


class _Body(Protocol):
    """The body of one stream."""

    def __init__(self, heard: Callable[[bytes], None], lost: Callable[[_Body, str], None]) -> None:
        self._heard = heard
        self._lost = lost
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._heard(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost(self, cause(reason))
        self.closed.callback(None)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


def _url(config: Config, peer_id: NodeId) -> str:
    return f"{config.node(peer_id).url}/raft/stream"


class Inbound:
    """The way from one peer. Dials for as long as it is started."""

    def __init__(
        self,
        clock: IReactorTime,
        config: Config,
        node_id: NodeId,
        cluster_id: str,
        peer_id: NodeId,
        rng: random.Random,
        client: Client,
        ears: Ears,
        former: tuple[str, ...] = (),
    ) -> None:
        self.peer_id = peer_id
        self.last_heard: float | None = None  # clock seconds
        self._clock = clock
        self._limits = config.limits
        self._node_id = node_id
        self._url = _url(config, peer_id)
        self._headers = peer_headers(node_id, peer_id, cluster_id)
        if former:
            self._headers["Ddb-Former"] = ",".join(former)
        self._silence_seconds = config.timing.election_timeout_ms / 1_000
        self._rng = rng
        self._client = client
        self._ears = ears
        self._nag = Nag(clock)
        self._running = False
        self._failures = 0  # dials since the last stream that lived
        self._opened_at = 0.0
        self._body: _Body | None = None
        self._decoder = FrameDecoder(config.limits)
        self._dialling: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None  # the next dial, or the next look at last_heard; never both

    @property
    def is_connected(self) -> bool:
        return self._body is not None

    def start(self) -> None:
        self._running = True
        self._dial()

    def reconfigure(self, config: Config) -> None:
        """The next dial goes to the peer's new address; a stream that lives is left alone."""
        moved = self._url != _url(config, self.peer_id)
        self._url = _url(config, self.peer_id)
        if moved:
            self.nudge()

    def nudge(self) -> None:
        """The peer was just heard elsewhere: it is dialled now, not at the end of the wait."""
        if self._running and self._body is None and self._dialling is None:
            self._cancel_timer()
            self._dial()

    def stop(self) -> Deferred[None]:
        """Fires when the stream is closed."""
        self._running = False
        self._cancel_timer()
        if self._dialling is not None:
            self._dialling.cancel()
        body, self._body = self._body, None
        if body is None:
            return succeed(None)
        body.close()
        return body.closed

    def _dial(self) -> None:
        self._timer = None
        dialling = Deferred.fromCoroutine(self._open())
        if not dialling.called:
            self._dialling = dialling
        dialling.addErrback(self._dial_failed)

    async def _open(self) -> None:
        response = await self._client.request(
            "GET",
            self._url,
            headers=self._headers,
            unbuffered=True,
            allow_redirects=False,
            reactor=self._clock,
            timeout=self._silence_seconds * 0.8,  # a little less than silence: connecting counts, so it comes to the same
        )
        if response.code != 200:
            await raise_rejected(response, self._clock, self._silence_seconds)
        self._dialling = None
        self._opened_at = self.last_heard = self._clock.seconds()
        self._decoder = FrameDecoder(self._limits)
        self._body = body = _Body(self._heard, self._lost)
        self._look_later(self._silence_seconds)
        response.deliverBody(body)

    def _dial_failed(self, failure: Failure) -> None:
        self._dialling = None
        if not self._running:
            return
        if is_refused(failure):
            self._ears.refused(self.peer_id)
        elif isinstance(failure.value, Rejected) and failure.value.cluster_id:
            self._ears.superseded(self.peer_id, failure.value.cluster_id)
        elif isinstance(failure.value, Rejected):
            self._nag.say("rejected", f"node {self.peer_id} refuses our stream: {failure.value.detail}")
            self._failures = 16  # nothing but an operator can change this: straight to the longest wait
        elif not failure.check(CancelledError):
            self._nag.say("dialling", f"dialling node {self.peer_id} failed: {cause(failure)}")
        self._dial_later()

    def _dial_later(self) -> None:
        # `refused` may have stopped us.
        if self._running:
            wait = min(REDIAL_SECONDS_MAX, REDIAL_SECONDS * 2 ** min(self._failures, 16))
            self._failures += 1
            self._cancel_timer()
            self._timer = self._clock.callLater(wait * self._rng.uniform(0.5, 1.0), self._dial)

    def _heard(self, data: bytes) -> None:
        if self._body is None:
            return  # cut off already; the transport had more
        self.last_heard = self._clock.seconds()
        body = self._body
        try:
            for message in self._decoder.feed(data):
                self._hand_over(message)
                if self._body is not body:
                    return  # what was handed over stopped us
        except WireError as error:
            self._nag.say("wire", f"the stream from node {self.peer_id} is cut off: {error.detail}")
            self._cut(at_once=False)

    def _hand_over(self, message: Message) -> None:
        if message.sender != self.peer_id or message.to != self._node_id:
            raise WireError(f"it carries a message from {message.sender!r} to {message.to!r}")
        try:
            self._ears.received(message)
        except Exception:  # noqa: BLE001 - a bug in the driver must not pass for a broken stream: Twisted would only close it
            logger.failure("a {kind} from node {peer} was not handled", kind=type(message).__name__, peer=self.peer_id)

    def _look_later(self, seconds: float, sure: bool = False) -> None:
        self._cancel_timer()
        self._timer = self._clock.callLater(seconds, self._look, sure)

    def _look(self, sure: bool) -> None:
        self._timer = None
        silent = self._clock.seconds() - (self.last_heard or 0.0)
        if silent < self._silence_seconds:
            self._look_later(max(self._silence_seconds - silent, SECOND_LOOK_SECONDS))
        elif sure:
            logger.info("nothing was heard from node {peer} for {silent} s: dialling again", peer=self.peer_id, silent=round(silent, 3))
            self._cut(at_once=True)
        else:
            self._look_later(SECOND_LOOK_SECONDS, sure=True)

    def _cut(self, at_once: bool) -> None:
        body, self._body = self._body, None
        self._cancel_timer()
        if body is not None:
            body.close()
        self._redial(at_once)

    def _lost(self, body: _Body, why: str) -> None:
        if body is self._body:
            self._nag.settled("dialling")
            logger.info("the stream from node {peer} broke: {why}", peer=self.peer_id, why=why)
            self._body = None
            self._cancel_timer()
            self._redial(at_once=True)

    def _redial(self, at_once: bool) -> None:
        if not self._running:
            return
        if at_once and self._clock.seconds() - self._opened_at >= REDIAL_SECONDS_MAX:
            self._failures = 0
            self._dial()
        else:
            self._dial_later()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
