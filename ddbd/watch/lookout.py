"""Everything that watches one node, put together: what the tap file starts, hands the replica to, and stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ddbd.answers import Status
from ddbd.meter import Meter
from ddbd.raft.types import NodeId
from ddbd.turns import Turns
from ddbd.watch.disk import Disk, Room
from ddbd.watch.history import FIELDS
from ddbd.watch.metrics import Measured, Metrics
from ddbd.watch.metrics import Sources as MetricsSources
from ddbd.watch.sampler import Sampler, Sources
from ddbd.watch.timeline import Timeline

logger = Logger()


class Watched(Measured, Protocol):
    """As much of a replica as is looked at."""

    @property
    def lag_entries(self) -> int: ...


class Lookout:
    """`now` is the wall clock; `blocking(call)` runs a call in a thread. `replica` is set once the node is part of a cluster."""

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], float],
        turns: Turns | None,
        data_dir: Path,
        blocking: Callable[[Callable[[], Room]], Deferred[Room]],
    ) -> None:
        self.replica: Watched | None = None
        self.meter = Meter()
        self._turns = turns
        self.timeline = Timeline(now)
        self.disk = Disk(data_dir, clock, blocking)
        sources = Sources(self._lag, lambda: None if turns is None else turns.take_longest(), self.disk.room)
        self.sampler = Sampler(clock, now, self.meter, sources)

    def tells(self, tell: Callable[[str, Any], None]) -> None:
        """Rows and events, by name, as they come."""
        self.sampler.on_row = lambda row: tell("sample", dict(zip(FIELDS, row, strict=True)))
        self.timeline.on_event = lambda event: tell("happened", event)

    def began(self, node_id: NodeId, node_ids: Sequence[NodeId], is_founder: bool) -> None:
        """This node had no data, and is part of a cluster now."""
        if is_founder:
            nodes = "one node" if len(node_ids) == 1 else f"{len(node_ids)} nodes: {', '.join(node_ids)}"
            self.timeline.record("cluster_formed", None, f"a new cluster was formed, of {nodes}", nodes=list(node_ids))
        else:
            text = f"node {node_id} joined the cluster without data: it listens until it has caught up"
            self.timeline.record("cluster_joined", node_id, text)

    def metrics(
        self, status: Callable[[], Status], connections: Callable[[], int], feeds: Callable[[], int], reserve_bytes: int
    ) -> Metrics:
        own = (lambda: self.replica, self.meter, self._turns, self.timeline, self.disk.room)
        return Metrics(MetricsSources(status, *own, connections, feeds, reserve_bytes))

    def history(self) -> dict[str, bytes]:
        return {"1s": self.sampler.fine.columns(), "10s": self.sampler.coarse.columns()}

    def _lag(self) -> int | None:
        return None if self.replica is None else self.replica.lag_entries

    def start(self) -> None:
        self.sampler.start().addErrback(lambda failure: logger.failure("the node is no longer sampled", failure))

    def stop(self) -> None:
        """Stopping twice is fine."""
        self.sampler.stop()
