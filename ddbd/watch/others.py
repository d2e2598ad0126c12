"""How the nodes of the config are, as this one sees them: each peer's own `/status`, asked for only while somebody watches.

One request a peer at a time, and each ends within a second, whatever the peer does: hang, refuse, send byte by byte, or answer junk. What a
peer said last is kept beside the news that it says nothing now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from ddbd.answers import Status
from ddbd.cluster.peers import Client, cause, is_refused
from ddbd.cluster.resource import read_body
from ddbd.config import Config
from ddbd.raft.types import NodeId

ASK_SECONDS = 1.0
STATUS_BYTES_MAX = 4 * 1024 * 1024  # of one peer's answer; a catalogue of thousands of tables fits


class _Node(msgspec.Struct):
    id: str


class _Told(msgspec.Struct):
    """What is looked at of a peer's status; the rest goes through as it is."""

    node: _Node
    rates: dict[str, float] | None = None


class _Strange(Exception):
    """An answer that is no status of that node."""


class Other:
    """One peer, as it was when it was last asked."""

    def __init__(self, node_id: NodeId, address: str) -> None:
        self.id = node_id
        self.address = address
        self.answers = False
        self.is_asked = False
        self.ms: float | None = None
        self.error: str | None = "not asked yet"
        self.seen: float | None = None  # by the wall clock
        self.status: msgspec.Raw | None = None
        self.rates: dict[str, float] | None = None

    def row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "address": self.address,
            "answers": self.answers,
            "ms": self.ms,
            "error": self.error,
            "seen": self.seen,
            "status": self.status,
            "rates": self.rates,
        }


class Others:
    """`now` is the wall clock; `own` gives this node's status."""

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], float],
        config: Config,
        node_id: NodeId,
        client: Client,
        own: Callable[[], Status],
    ) -> None:
        self._clock = clock
        self._now = now
        self._config = config
        self._node_id = node_id
        self._client = client
        self._own = own
        self._others = {node.id: Other(node.id, node.address) for node in config.nodes if node.id != node_id}

    def reconfigure(self, config: Config) -> None:
        """Addresses may be others."""
        self._config = config
        for other in self._others.values():
            other.address = config.node(other.id).address

    def rows(self) -> list[dict[str, Any]]:
        """All nodes of the config, this one included."""
        return [self._own_row(node.address) if node.id == self._node_id else self._others[node.id].row() for node in self._config.nodes]

    def _own_row(self, address: str) -> dict[str, Any]:
        status = self._own()
        return {
            "id": self._node_id,
            "address": address,
            "answers": True,
            "ms": 0.0,
            "error": None,
            "seen": self._now(),
            "status": status,
            "rates": status.get("rates"),
        }

    def ask(self) -> Deferred[None]:
        """Fires when every peer answered, or had its time; never with an error."""
        asked = [self._ask(other) for other in self._others.values() if not other.is_asked]
        return gatherResults(asked).addCallback(lambda _: None)

    def _ask(self, other: Other) -> Deferred[None]:
        other.is_asked = True
        began = self._clock.seconds()
        answer = Deferred.fromCoroutine(self._status_of(other.id)).addTimeout(ASK_SECONDS, self._clock)
        return answer.addCallbacks(self._answered, self._failed, (other, began), {}, (other,)).addBoth(_asked, other)

    async def _status_of(self, peer_id: NodeId) -> tuple[bytes, _Told]:
        response = await self._client.request(
            "GET",
            f"{self._config.node(peer_id).url}/status",
            unbuffered=True,
            allow_redirects=False,
            reactor=self._clock,
            timeout=ASK_SECONDS,
        )
        body = (await read_body(response, STATUS_BYTES_MAX, self._clock, ASK_SECONDS)).strip()
        if response.code != 200:
            raise _Strange(f"it answered {response.code}")
        try:
            told = msgspec.json.decode(body, type=_Told)
            if b"\n" in body or b"\r" in body:  # one line of an event stream
                body = msgspec.json.encode(msgspec.json.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _Strange("it answered what is no status") from None
        if told.node.id != peer_id:
            raise _Strange(f"its address answers as node {told.node.id[:64]}")
        return body, told

    def _answered(self, answer: tuple[bytes, _Told], other: Other, began: float) -> None:
        body, told = answer
        other.answers, other.error = True, None
        other.ms, other.seen = round((self._clock.seconds() - began) * 1000, 3), round(self._now(), 3)
        other.status, other.rates = msgspec.Raw(body), told.rates

    def _failed(self, failure: Failure, other: Other) -> None:
        other.answers, other.ms = False, None
        late = failure.check(TimeoutError, CancelledError) is not None
        if is_refused(failure):
            other.error = f"{other.address} refuses connections"
        else:
            other.error = f"no answer within {ASK_SECONDS:g} s" if late else cause(failure)[:500]


def _asked(result: Any, other: Other) -> Any:
    other.is_asked = False
    return result
