"""What the driver needs of the world; the cluster room, the reactor and the simulator each provide it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred

from ddbd.raft.messages import Message
from ddbd.raft.types import NodeId
from ddbd.storage import SnapshotFile


class Peers(Protocol):
    """The road to the other nodes. Loss is legal, nothing blocks."""

    def send(self, message: Message) -> None: ...

    def flush(self) -> None:
        """Lets go what was sent in this turn, in one write a peer."""

    def is_reachable(self, peer: NodeId) -> bool: ...


class Carrier(Protocol):
    """How snapshots travel."""

    def publish(self, snapshot: SnapshotFile) -> None: ...

    def withdraw(self, token: str) -> None: ...

    def last_fetched(self, token: str) -> float | None:
        """When something of it was last asked for, in the clock's seconds; None for what is not published."""

    def fetch(self, peer: NodeId, token: str, path: str) -> Deferred[None]:
        """Fires when the whole verified content is in the file at path. Cancel to give up."""


class Clock(Protocol):
    """Monotonic seconds and timers: the reactor's, or a fake."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> Any: ...


class Dice(Protocol):
    def randrange(self, start: int, stop: int) -> int: ...

    def getrandbits(self, k: int) -> int: ...


class Happened(Protocol):
    """One thing that happened: a word of its kind, the node that it is about, one plain sentence without a time, and its numbers."""

    def __call__(self, kind: str, node_id: NodeId | None, text: str, **details: Any) -> None: ...


class World(NamedTuple):
    """Everything that is not the node's own state."""

    peers: Peers
    carrier: Carrier
    clock: Clock
    dice: Dice
    on_fatal: Callable[[BaseException], None]  # must end the process
    log_event: Callable[[str], None]  # one line that an operator may want to read
    turn_seconds: Callable[[], float] = lambda: 0.0  # how long the reactor's turn has lasted
    turns: Callable[[], dict[str, Any] | None] = lambda: None  # how long the reactor's turns take, for /status; None where nobody measures
    happened: Happened = lambda kind, node_id, text, **details: None  # for whoever keeps a timeline
    last_heard: Callable[[NodeId], float | None] = lambda peer: None  # on the clock: when a peer's last message came
    soon: Callable[[Callable[[], None]], object] | None = None  # behind what else comes in with this poll; None: at the clock's next turn
    when_free: Callable[[Callable[[], None]], object] | None = None  # in a turn with some milliseconds to spare; None: likewise
    give_way: Callable[[], None] = lambda: None  # lets another process of this machine run, where one waits for the processor
