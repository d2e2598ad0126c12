"""Simulated time: one heap of calls for the whole world, and a clock of its own for each process."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Call:
    """A delayed call, as `IDelayedCall` has it."""

    __slots__ = ("args", "at", "func")

    def __init__(self, at: float, func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.at = at
        self.func: Callable[..., Any] | None = func
        self.args = args

    def cancel(self) -> None:
        self.func = None

    def active(self) -> bool:
        return self.func is not None


class Timers:
    """The world's clock. Calls that are due at the same moment come in the order in which they were made."""

    def __init__(self) -> None:
        self.now = 0.0
        self.count = 0
        self._heap: list[tuple[float, int, Call]] = []

    def later(self, delay: float, func: Callable[..., Any], *args: Any) -> Call:
        call = Call(self.now + delay, func, args)
        self.put(call)
        return call

    def put(self, call: Call) -> None:
        self.count += 1
        heapq.heappush(self._heap, (call.at, self.count, call))

    def step(self) -> None:
        """Makes the next call."""
        at, _, call = heapq.heappop(self._heap)
        if at != call.at:
            return  # a clock leapt: it has come already, or comes at another place in the heap
        self.now = at
        func, call.func = call.func, None
        if func is not None:
            func(*call.args)


class ProcessClock:
    """The monotonic clock of one process: it begins anywhere, and runs a little too fast or too slow.

    `run` makes a call on behalf of the process, or drops it where the process is dead, or holds it where it is paused.
    """

    def __init__(self, timers: Timers, rate: float, begin: float, run: Callable[..., None]) -> None:
        self._timers = timers
        self._rate = rate
        self._begin = begin - timers.now * rate
        self._run = run
        self._calls: list[Call] = []

    def seconds(self) -> float:
        return self._begin + self._timers.now * self._rate

    def run_at(self, rate: float) -> None:
        """From now on; what is due already stays due when it was."""
        self._begin += self._timers.now * (self._rate - rate)
        self._rate = rate

    def callLater(self, delay: float, func: Callable[..., Any], *args: Any) -> Call:
        call = self._timers.later(delay / self._rate, self._run, func, *args)
        if len(self._calls) > 1_000:
            self._calls = [each for each in self._calls if each.active()]
        self._calls.append(call)
        return call

    def leap(self, seconds: float) -> None:
        """Forwards, as after a machine was suspended: all that has come due meanwhile comes at once."""
        self._begin += seconds
        calls, self._calls = [call for call in self._calls if call.active()], []
        for call in sorted(calls, key=lambda call: call.at):
            call.at = max(self._timers.now, call.at - seconds / self._rate)
            self._timers.put(call)
            self._calls.append(call)
