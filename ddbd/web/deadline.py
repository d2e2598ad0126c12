"""A deadline that is set anew with each request, and one timer for all of them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """`passed` is called once it has come. The timer is moved forward only: one that fires before `at` just waits on."""

    __slots__ = ("_clock", "_fires_at", "_passed", "_timer", "at")

    def __init__(self, clock: IReactorTime, passed: Callable[[], None]) -> None:
        self._clock = clock
        self._passed = passed
        self._timer: IDelayedCall | None = None
        self._fires_at = 0.0
        self.at: float | None = None  # absolute; None: there is none for now

    def set(self, seconds: float | None) -> None:
        """From now on; None for none."""
        if seconds is None:
            self.at = None
            return
        self.at = at = self._clock.seconds() + seconds
        if self._timer is None:
            self._timer, self._fires_at = self._clock.callLater(seconds, self._fired), at
        elif self._fires_at > at:
            self._timer.reset(seconds)
            self._fires_at = at

    def _fired(self) -> None:
        self._timer = None
        if self.at is None:
            return
        left = self.at - self._clock.seconds()
        if left > 0:
            self._timer, self._fires_at = self._clock.callLater(left, self._fired), self.at
        else:
            self._passed()

    def end(self) -> None:
        """For good."""
        self.at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
