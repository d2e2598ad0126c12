"""Both clients behind one face, over scripted answers or over nodes in memory, with a clock that moves when somebody waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ddbd.client import Answer, AsyncClient, Client, Policy, Request, SendFailed

ADDRESSES = ["localhost:8080", "localhost:8081", "localhost:8082"]
A, B, C = ADDRESSES
HEADERS = {"content-type": "application/json", "ddb-node": "1", "ddb-term": "3", "ddb-index": "7"}

Step = Answer | SendFailed
Script = Callable[[str, Request, float], tuple[Step, list[Any]]]


def answer(value: Any = None, status: int = 200, address: str = A, **headers: str) -> Answer:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    body = value if isinstance(value, bytes) else json.dumps({"status": "ok"} if value is None else value).encode()
    return Answer(status, {**HEADERS, **given}, body, address)


def problem(
    status: int, code: str, detail: str = "it is so", address: str = A, headers: dict[str, str] | None = None, **more: Any
) -> Answer:
    body = json.dumps({"type": "x", "title": "X", "status": status, "detail": detail, "code": code, **more}).encode()
    return Answer(status, {"content-type": "application/problem+json", **(headers or {})}, body, address)


REFUSED = SendFailed("refused the connection", False)
BROKEN = SendFailed("broke off the connection", True)
LATE = SendFailed("did not answer in time", True)


class Opened:
    """An answer, in pieces; a piece that is an error is raised. `closed` counts."""

    def __init__(self, head: Answer, pieces: list[Any]) -> None:
        self.head = head
        self.closed = 0
        self._pieces = iter(pieces)

    def chunks(self, left_seconds: float | None = None) -> Iterator[bytes]:
        for piece in self._pieces:
            yield self._checked(piece)

    async def read(self, left_seconds: float = 0.0) -> bytes:
        return self._checked(next(self._pieces, b""))

    def _checked(self, piece: Any) -> bytes:
        if isinstance(piece, SendFailed):
            raise piece
        return bytes(piece)

    def close(self) -> None:
        self.closed += 1


class Wires:
    """The transport of either client: `play` says what comes of each request, and whatever was asked is remembered."""

    def __init__(self, play: Callable[[str, Request], Any]) -> None:
        self._play = play
        self.asked: list[tuple[str, Request]] = []
        self.timeouts: list[float] = []
        self.opened: list[Opened] = []
        self.closed = 0

    @property
    def addresses(self) -> list[str]:
        return [address for address, _ in self.asked]

    def open(self, address: str, request: Request, timeout_seconds: float) -> Opened:
        self.asked.append((address, request))
        self.timeouts.append(timeout_seconds)
        step = self._play(address, request)
        if isinstance(step, SendFailed):
            raise step
        head, pieces = step if isinstance(step, tuple) else (step, [step.body])
        self.opened.append(Opened(Answer(head.status, head.headers, b"", address), pieces))
        return self.opened[-1]

    def close(self) -> None:
        self.closed += 1


class AsyncWires:
    def __init__(self, wires: Wires) -> None:
        self._wires = wires

    async def open(self, address: str, request: Request, timeout_seconds: float) -> Opened:
        return self._wires.open(address, request, timeout_seconds)

    async def close(self) -> None:
        self._wires.close()


class Form:
    """One of the two clients, made to order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clock = Clock()
        self.pauses: list[float] = []

    def client(self, play: Callable[[str, Request], Any], policy: Policy | None = None, nodes: Any = ADDRESSES, dice: float = 1.0) -> Any:
        """The client, with its `wires`; of the one for Twisted every call is run to its end."""
        wires = Wires(play)
        policy = policy or Policy()
        if self.name == "blocking":
            made = Client(nodes, policy, transport=wires, clock=self.clock.seconds, pause=self._pause, dice=lambda: dice)
            return Face(made, wires, lambda result: result)
        other = AsyncClient(nodes, policy, reactor=self.clock, transport=AsyncWires(wires), dice=lambda: dice)
        return Face(other, wires, self._finish)

    def script(self, *steps: Any, **more: Any) -> Any:
        """A client for which these come, one after another."""
        given = iter(steps)
        return self.client(lambda address, request: next(given), **more)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    def _finish(self, result: Any) -> Any:
        if hasattr(result, "__anext__"):
            return self._each(result)
        return self._run(result) if hasattr(result, "__await__") else result

    def _each(self, iterator: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._run(iterator.__anext__())
            except StopAsyncIteration:
                return

    def _run(self, coroutine: Any) -> Any:
        outcome: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
        while not outcome:
            waits = self.clock.getDelayedCalls()
            assert waits, "it waits for nothing that could come"
            seconds = min(wait.getTime() for wait in waits) - self.clock.seconds()
            self.pauses.append(seconds)
            self.clock.advance(seconds)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]


class Face:
    def __init__(self, client: Any, wires: Wires, finish: Callable[[Any], Any]) -> None:
        self.client = client
        self.wires = wires
        self._finish = finish

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        return (lambda *args, **options: self._finish(found(*args, **options))) if callable(found) else found


class MemoryNodes:
    """Three nodes of one cluster that share one node's tables; `down` are those that refuse. Import of the HTTP tests' kit is put off."""

    def __init__(self) -> None:
        from web_client import Node

        self.node = Node().with_students()
        self.down: set[str] = set()

    def __call__(self, address: str, request: Request) -> Any:
        if address in self.down:
            return REFUSED
        connection = self.node.start(request.method, request.path, request.body or b"", dict(request.headers))
        for _ in range(10_000):
            self.node.clock.advance(0)
            if connection.out and not self.node.clock.getDelayedCalls():
                break
            if connection.out.endswith((b"0\r\n\r\n", b"}\n", b"]\n", b"}")):
                break
        response = connection.response()
        assert response.complete
        return Answer(response.status, {name: values[-1] for name, values in response.headers.items()}, response.body, address)
