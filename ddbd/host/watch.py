"""What a node tells of itself while it runs: to the service manager, and in the log when it becomes ready or is it no more.

READY means that the node serves: its port listens, its log is read. Not that there is a leader: the first of three hosts must start while
the two others are still off, and its start must be over then. Whether the cluster works is asked of /readyz.

The watchdog's sign of life comes from a timer of the reactor. A reactor that stalls gives none, and the manager ends and restarts the node.
While a long log is read at the start no timer runs: whoever reads says `reading` again and again, and each time the manager's patience
begins anew. A read that hangs says nothing, and the start fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ddbd.host.notify import Notifier

LOOK_SECONDS = 1.0  # a change of role, term or readiness is told so late at most
INDEX_SECONDS = 10.0  # a change of nothing but the index
READING_SECONDS = 1.0
PATIENCE_SECONDS = 60.0  # asked for at each piece that was read

logger = Logger(namespace="ddbd")


class Condition(NamedTuple):
    """How a node is."""

    role: str
    nodes: int
    term: int
    applied_index: int
    unready: str | None  # why it is not ready

    def __str__(self) -> str:
        nodes = f"{self.nodes} node{'s' if self.nodes > 1 else ''}"
        where = f"{self.role} of {nodes}, term {self.term}, index {self.applied_index}"
        return where if self.unready is None else f"not ready: {self.unready}; {where}"


class Watch:
    """`clock` runs the timers; `now` is monotonic and also goes on while the reactor does not turn."""

    def __init__(
        self,
        clock: IReactorTime,
        notifier: Notifier,
        watchdog_seconds: float | None,
        condition: Callable[[], Condition],
        failed: Callable[[Failure], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notifier = notifier
        self._condition = condition
        self._failed = failed
        self._now = now
        self._read_at = 0.0
        self._owed: tuple[str, ...] = ()  # a change of state that the manager had no room for
        self._told: Condition | None = None
        self._told_at = 0.0
        self._was_ready = False
        self._said_why: str | None = None
        self._watchdog_seconds = watchdog_seconds
        self._look = LoopingCall(self.look)
        self._alive = LoopingCall(lambda: notifier.tell("WATCHDOG=1"))
        self._look.clock = self._alive.clock = clock

    def reading(self, bytes_read: int) -> None:
        """So much of the log was read since the start. Called at every piece."""
        now = self._now()
        if now - self._read_at >= READING_SECONDS:
            self._read_at = now
            extend = f"EXTEND_TIMEOUT_USEC={int(PATIENCE_SECONDS * 1_000_000)}"
            self._notifier.tell(extend, f"STATUS=reads its log: {bytes_read // (1024 * 1024)} MiB so far")

    def serving(self) -> None:
        """Once the reactor runs."""
        self._tell("READY=1")
        if self._watchdog_seconds is not None:
            self._alive.start(self._watchdog_seconds).addErrback(self._failed)
        self._look.start(LOOK_SECONDS).addErrback(self._failed)

    def reloading(self) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def reloaded(self) -> None:
        """Whether or not the new config was taken: the node goes on."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The signs of life go on until `stop`."""
        self._tell("STOPPING=1", "STATUS=hands leadership over and answers who waits")
        if self._look.running:
            self._look.stop()

    def stop(self) -> None:
        if self._alive.running:
            self._alive.stop()
        self._notifier.close()

    def _tell(self, *fields: str) -> None:
        self._owed = () if self._notifier.tell(*fields) else fields

    def look(self) -> None:
        if self._owed:
            self._tell(*self._owed)
        found, now = self._condition(), self._now()
        before = self._told
        is_other = before is None or found._replace(applied_index=0) != before._replace(applied_index=0)
        if (is_other or (found != before and now - self._told_at >= INDEX_SECONDS)) and self._notifier.tell(f"STATUS={found}"):
            self._told, self._told_at = found, now
        self._log(found)

    def _log(self, found: Condition) -> None:
        if found.unready is None and not self._was_ready:
            logger.info("ready: {condition}", condition=str(found))
        elif found.unready is not None and found.unready != self._said_why and self._was_ready:
            logger.warn("{condition}", condition=str(found))
        self._was_ready, self._said_why = found.unready is None, found.unready
