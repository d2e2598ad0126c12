"""A node that is not yet part of a cluster, as the web room sees it: it answers /ping, and everything else with 503."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail

from ddbd.answers import Handed, StandbyStatus
from ddbd.commands import Answer, AnyCommand, Tell
from ddbd.config import Config
from ddbd.errors import Fatal, NotReady
from ddbd.raft.types import NodeId
from ddbd.storage import Tables

REASON = "this node waits for the other nodes of its config, to form the cluster or to join it"


class Standby:
    """Implements the web room's `Backend`."""

    leader_id: NodeId | None = None
    cluster_id = ""
    term = 0
    applied_index = 0

    def __init__(self, config: Config, node_id: NodeId) -> None:
        self.config = config
        self.node_id = node_id

    @property
    def tables(self) -> Tables:
        raise NotReady(REASON)

    def submit(self, command: AnyCommand, timeout_seconds: float, key: str, fingerprint: bytes, tell: Tell) -> None:
        raise NotReady(REASON)

    def propose(self, command: AnyCommand, timeout_seconds: float, key: str = "", fingerprint: bytes = b"") -> Deferred[Answer]:
        return fail(NotReady(REASON))

    def read_barrier(self, timeout_seconds: float) -> Deferred[None]:
        return fail(NotReady(REASON))

    def wait_applied(self, index: int, timeout_seconds: float) -> Deferred[None]:
        return fail(NotReady(REASON))

    def wait_leader(self, timeout_seconds: float) -> Deferred[NodeId]:
        return fail(NotReady(REASON))

    def hand_over(self, target: NodeId | None, timeout_seconds: float) -> Deferred[Handed]:
        return fail(NotReady(REASON))

    def staleness_ms(self) -> int | None:
        return None

    def unready_reason(self) -> str | None:
        return REASON

    def unhealthy_reason(self) -> str | None:
        return None

    def fatal(self, error: Fatal) -> None:
        raise error

    def status(self) -> StandbyStatus:
        node = self.config.node(self.node_id)
        return {
            "node": {"id": self.node_id, "address": node.address, "role": "learner", "is_master": False},
            "master": None,
            "term": 0,
            "last_index": 0,
            "commit_index": 0,
            "applied_index": 0,
            "default_database": None,
            "databases": [],
            "nodes": [
                {"id": n.id, "address": n.address, "is_master": False, "reachable": None, "match_index": None, "lag_entries": None}
                for n in self.config.nodes
            ],
            "ready": False,
            "healthy": True,
            "waiting": REASON,
        }
