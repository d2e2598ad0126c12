"""The reactor's time as this room uses it: seconds, timers, and turns that have time for a long piece of work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

WhenFree = Callable[[Callable[[], None]], object]


class Clock:
    """`when_free(call)` makes the call in a turn of the reactor with some milliseconds to spare; by default in the next one."""

    def __init__(self, reactor: IReactorTime, when_free: WhenFree | None = None) -> None:
        self.seconds: Callable[[], float] = reactor.seconds
        self.callLater: Callable[..., Any] = reactor.callLater
        self.when_free: WhenFree = when_free or partial(reactor.callLater, 0)

    def rest(self) -> Deferred[None]:
        """Lets everyone else have the reactor: fires when it is this one's turn again. Cancelled, it is forgotten."""
        rested: Deferred[None] = Deferred()
        self.when_free(partial(rested.callback, None))
        return rested
