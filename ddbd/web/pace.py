"""How fast a long answer is written: one piece in each turn of the reactor, none while the client does not read, and not for ever.

A client reads as long as bytes leave: a piece can be megabytes, and the transport asks for the next one when it has got rid of all of them.
So what has not left yet is looked at, once in `idle_seconds`; where hardly less is left than the last time, the answer is given up.
"""

# mypy: disallow_untyped_calls=False

from __future__ import annotations

import sys
import termios
from array import array
from collections.abc import Callable
from contextlib import suppress
from fcntl import ioctl
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

from ddbd.errors import ScanTimedOut
from ddbd.web.clock import Clock

TAKEN_BYTES_MIN = 16 * 1024  # in one period, or all that there is: a byte now and then must not hold an answer open for ever


def unsent_bytes(transport: Any) -> int:
    """What was written and has not reached the client: here, and in the kernel, which keeps megabytes. 0 where that cannot be known."""
    if not isinstance(transport, Connection):
        return 0
    queued = array("i", [0])
    with suppress(OSError):
        ioctl(transport.fileno(), termios.TIOCOUTQ, queued)
    return transport._tempDataLen + len(transport.dataBuffer) - transport.offset + queued[0]


@implementer(IPushProducer)
class Pace:
    """Registered as the request's producer. `unsent` is how many bytes have not left yet."""

    def __init__(self, clock: Clock, idle_seconds: float, unsent: Callable[[], int]) -> None:
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._unsent = unsent
        self._is_paused = False
        self._resumed: Deferred[None] | None = None  # set while somebody waits for the client
        self._timer: IDelayedCall | None = None  # runs exactly then

    async def turn(self) -> None:
        """Before the next piece. Raises ScanTimedOut where the client took next to nothing for too long."""
        await self._clock.rest()
        while self._is_paused:
            self._resumed = Deferred()
            self._look_later(sys.maxsize)
            await self._resumed

    def _look_later(self, before: int) -> None:
        unsent = self._unsent()
        if before - unsent >= max(1, min(before, TAKEN_BYTES_MIN)):
            self._timer = self._clock.callLater(self._idle_seconds, self._look_later, unsent)
        else:
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
