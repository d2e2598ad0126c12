"""Inline or in a thread: where an fsync is done.

Measured: an fsync on the reactor's thread takes 0.2 ms on a good disk; handed to a thread of a busy process it takes 1 to 11 ms, because
the thread has to win the interpreter lock back. So it is done inline while the disk is fast. Once its moving mean is slow it goes to the
thread, so that heartbeats never wait for it; the first stall is the one that is paid inline. It comes back when the fastest of the
last few was fast: the others may only have waited for the lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred

from ddbd.storage.threads import Threads

SLOW_SECONDS = 0.005
WEIGHT = 0.25  # of the newest measurement in the mean
RECENT = 8


class Syncer:
    def __init__(self, threads: Threads, clock: Callable[[], float], slow_seconds: float = SLOW_SECONDS) -> None:
        self._threads = threads
        self._clock = clock
        self._slow_seconds = slow_seconds
        self._recent: deque[float] = deque(maxlen=RECENT)
        self.mean_seconds = 0.0
        self.inline = True

    def sync_here(self, call: Callable[[], None]) -> None:
        """While it is `inline`. Raises what the call raises."""
        self._measured(self._timed(call))

    def sync_there(self, call: Callable[[], None]) -> Deferred[None]:
        """In the thread. Errbacks with what the call raises."""
        return self._threads.defer(lambda: self._timed(call)).addCallback(self._measured)

    def _timed(self, call: Callable[[], None]) -> float:
        started = self._clock()
        call()
        return self._clock() - started

    def _measured(self, seconds: float) -> None:
        self._recent.append(seconds)
        self.mean_seconds += WEIGHT * (seconds - self.mean_seconds)
        slow = self.mean_seconds >= self._slow_seconds
        fast = len(self._recent) == RECENT and min(self._recent) < self._slow_seconds / 2
        if (self.inline and slow) or (not self.inline and fast):
            self.inline = not self.inline
            self._recent.clear()
            self.mean_seconds = 0.0 if self.inline else self.mean_seconds

    def close(self) -> None:
        self._threads.close()
