"""How fast a long answer is written: one piece in each turn of the reactor, none while the client does not read, and not for ever."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from ddbd.errors import ScanTimedOut


@implementer(IPushProducer)
class Pace:
    """Registered as the request's producer."""

    def __init__(self, clock: IReactorTime, idle_seconds: float) -> None:
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._is_paused = False
        self._resumed: Deferred[None] | None = None  # set while somebody waits for the client
        self._timer: IDelayedCall | None = None  # runs exactly then

    async def turn(self) -> None:
        """Before the next piece. Raises ScanTimedOut where the client took nothing for too long."""
        await deferLater(self._clock, 0, lambda: None)
        while self._is_paused:
            self._resumed = Deferred()
            self._timer = self._clock.callLater(self._idle_seconds, self._too_slow)
            await self._resumed

    def _too_slow(self) -> None:
        self._timer = None
        self._wake(ScanTimedOut(f"the client did not read for {self._idle_seconds:g} s"))

    def _wake(self, error: Exception | None = None) -> None:
        self.close()
        waiting, self._resumed = self._resumed, None
        if waiting is not None and error is None:
            waiting.callback(None)
        elif waiting is not None:
            waiting.errback(error)

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._wake()

    def stopProducing(self) -> None:
        """The connection is gone; the request's end cancels the call, and with it this wait."""
        self._is_paused = True

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
