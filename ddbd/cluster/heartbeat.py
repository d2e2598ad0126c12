"""The one clock that Raft sees: a LoopingCall that ticks it.

LoopingCall skips the calls that a stalled reactor missed; `tick` is then called once, not once for each. That is what Raft wants: a
process that slept does not know how long its leader was silent, so it grants the leader's messages, already waiting in the sockets,
a chance before its election timeout runs out.

A LoopingCall ends without a word when its function raises. Here that is fatal: `failed` is told, once, and the ticking stays ended,
for a core that raised in the middle of a step is not to be stepped again.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure


class Heartbeat:
    """Calls `tick` every `tick_ms` from `start` to `stop`, the first time after one tick."""

    def __init__(self, clock: IReactorTime, tick_ms: int, tick: Callable[[], None], failed: Callable[[Failure], None]) -> None:
        self._seconds = tick_ms / 1_000
        self._failed = failed
        self._loop = LoopingCall(tick)
        self._loop.clock = clock

    @property
    def is_running(self) -> bool:
        return bool(self._loop.running)

    def start(self) -> None:
        assert not self._loop.running, "the heartbeat was started twice"
        self._loop.start(self._seconds, now=False).addErrback(self._failed)

    def stop(self) -> None:
        """Stopping twice is fine."""
        if self._loop.running:
            self._loop.stop()
