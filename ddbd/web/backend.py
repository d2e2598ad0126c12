"""What the web room needs of a node. `replica.Replica` is one; the tests use a twin that commits at once."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from ddbd.answers import ClusterStatus, Handed
from ddbd.commands import Answer, AnyCommand, Tell
from ddbd.config import Config
from ddbd.errors import Fatal
from ddbd.raft.types import NodeId
from ddbd.storage import Tables


class Backend(Protocol):
    """One node as its web resource sees it.

    Deferreds errback with errors of `ddbd.errors`: NoLeader, Busy, NotReady (certainly not done), OutcomeUnknown (perhaps done).
    Cancelling one gives up the wait, not the write.
    """

    node_id: NodeId
    config: Config

    @property
    def cluster_id(self) -> str: ...

    @property
    def tables(self) -> Tables:
        """Another object once a snapshot is installed: read it anew for each use. Raises NotReady where it must not be read."""

    @property
    def leader_id(self) -> NodeId | None: ...

    @property
    def term(self) -> int: ...

    @property
    def applied_index(self) -> int: ...

    def submit(self, command: AnyCommand, timeout_seconds: float, key: str, fingerprint: bytes, tell: Tell) -> None:
        """As `propose`, for the many: `tell` is called once with the answer or the error. Raises those that are known at once."""

    def propose(self, command: AnyCommand, timeout_seconds: float, key: str = "", fingerprint: bytes = b"") -> Deferred[Answer]:
        """Fires when this node has applied the command. Works on every node; held while there is no leader."""

    def read_barrier(self, timeout_seconds: float) -> Deferred[None]:
        """Fires when this node's tables hold all that was committed before the call (linearizable)."""

    def wait_applied(self, index: int, timeout_seconds: float) -> Deferred[None]: ...

    def wait_leader(self, timeout_seconds: float) -> Deferred[NodeId]:
        """Fires, at once where it is known, with the id of the leader."""

    def hand_over(self, target: NodeId | None, timeout_seconds: float) -> Deferred[Handed]:
        """Fires when another node leads: the target, or the fittest where none is named. Works on every node. Also: NotHandedOver."""

    def staleness_ms(self) -> int | None:
        """How old this node's tables can be at most; None when unknown."""

    def unready_reason(self) -> str | None:
        """One sentence why this node is not ready; None when there is a leader and this node is caught up."""

    def unhealthy_reason(self) -> str | None:
        """One sentence why an operator must look at this node (quarantine, full disk); None when there is nothing."""

    def fatal(self, error: Fatal) -> None:
        """A read met a broken disk: the node must end, as after a failed write."""

    def status(self) -> ClusterStatus:
        """The contract's /status but for what the web room knows itself."""
