"""Where long C calls go: a thread of one's own, or right here.

The storage hands a thread one long call at a time (an fsync, a checkpoint pass, VACUUM INTO, hashing in big pieces), never a loop of
short ones: each return of such a call has to win the interpreter lock back. Without a reactor (tests, tools, the simulator) the call
runs at once, and the Deferred has fired when it comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


class Threads(Protocol):
    def defer(self, call: Callable[[], T]) -> Deferred[T]:
        """Runs the call; the Deferred fires on the caller's thread."""

    def close(self) -> None:
        """Waits for calls under way."""


class InlineThreads:
    """No thread at all."""

    def defer(self, call: Callable[[], T]) -> Deferred[T]:
        return execute(call)

    def close(self) -> None:
        pass


class PoolThreads:
    """One thread, started at the first use."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._pool: ThreadPool | None = None

    def defer(self, call: Callable[[], T]) -> Deferred[T]:
        if self._pool is None:
            self._pool = ThreadPool(0, 1, self._name)
            self._pool.start()
        return deferToThreadPool(self._reactor, self._pool, call)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool = None


def threads_for(reactor: Any | None, name: str) -> Threads:
    return InlineThreads() if reactor is None else PoolThreads(reactor, name)
