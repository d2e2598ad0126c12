"""Everything that watches one node, put together: what the tap file starts, hands the replica to, and stops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ddbd.meter import Meter
from ddbd.turns import Turns
from ddbd.watch.disk import Disk, Room
from ddbd.watch.sampler import Sampler, Sources


class Watched(Protocol):
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
        self.disk = Disk(data_dir, clock, blocking)
        sources = Sources(self._lag, lambda: None if turns is None else turns.take_longest(), self.disk.room)
        self.sampler = Sampler(clock, now, self.meter, sources)

    def _lag(self) -> int | None:
        return None if self.replica is None else self.replica.lag_entries

    def start(self) -> None:
        self.sampler.start()

    def stop(self) -> None:
        """Stopping twice is fine."""
        self.sampler.stop()
