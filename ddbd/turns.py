"""How long the reactor's turns take: a probe around its poll, and a bounded histogram of the last minute.

A turn is what the reactor does between two polls: reading, parsing, voting, writing, syncing, applying, all on one thread. Meanwhile no
heartbeat leaves and nobody is answered. Clocks are read before and after each poll: about a microsecond a turn, and nothing a request.

* thread CPU: what this process itself did in the turn. Other processes and a slow disk do not count; it is the figure to hold small. (Its
  clock takes a microsecond on some machines. It is read at most once a millisecond, so a turn is told with at most 1 ms too much.)
* wall clock: what the others saw, with the waits for the disk and for the processor in it.

`late` is by how much a poll outlasted the time that it was given: the machine was busy elsewhere, or another thread of this process had the
interpreter.

And turns are kept short: what may take milliseconds (a large body, a slice of a scan) asks `when_free` for a turn that has time. A
`callLater(0)` would not do: asked for behind the events of a poll, it is called in that very turn.
"""

from __future__ import annotations

import select
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import Any

Call = Callable[[], object]

STEPS = 16  # buckets from one power of two to the next: a value is told with at most 1/16 too much
SHORT_SECONDS = 0.001  # turns shorter than this by the wall clock are only counted, and told as so long
SLOTS = 6
SLOT_SECONDS = 10.0  # so what is told is of the last 50 to 60 seconds
FREE_SECONDS = 0.005  # of a turn, after which no other long piece of work is begun in it; but they may have as long as the events had,
SHARE_SECONDS_MAX = 0.025  # and no longer than this
BOUNDS = (SHORT_SECONDS, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds, of the totals since the start


def bucket_of(microseconds: int) -> int:
    """The powers of two, each in STEPS; below STEPS the value itself."""
    shift = max(0, microseconds.bit_length() - STEPS.bit_length())
    return shift * STEPS + (microseconds >> shift)


def bucket_end(bucket: int) -> int:
    """The largest value in it, in microseconds."""
    shift = max(0, bucket // STEPS - 1)
    return ((bucket - shift * STEPS + 1) << shift) - 1


class Histogram:
    """Counts by bucket; the buckets are as many as there were different ones, at most some hundred."""

    def __init__(self) -> None:
        self.short = 0  # that took less than SHORT_SECONDS
        self.counts: dict[int, int] = {}
        self.max_seconds = 0.0

    def add(self, seconds: float) -> None:
        bucket = bucket_of(int(seconds * 1_000_000))
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        if seconds > self.max_seconds:
            self.max_seconds = seconds

    def merge(self, other: Histogram, short: int) -> None:
        self.short += short
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.max_seconds = max(self.max_seconds, other.max_seconds)

    def percentile(self, per_mille: int) -> float:
        """Seconds that so many of a thousand do not exceed; 0 where there are none."""
        left = -(-(self.short + sum(self.counts.values())) * per_mille // 1000) - self.short
        if left <= 0:
            return SHORT_SECONDS if self.short else 0.0
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return min(bucket_end(bucket) / 1_000_000, self.max_seconds)
        raise AssertionError("more asked for than there are")


class _Slot:
    def __init__(self, began: float) -> None:
        self.began = began
        self.short = 0
        self.cpu, self.wall = Histogram(), Histogram()
        self.late_max = 0.0


class Turns:
    """Polls, and measures what lies between two polls. `wall` and `cpu` are clocks in seconds.

    A turn goes like this: a poll; its events; what comes `soon`, then the long work, or the other way round where the turn before had no
    time for any; the reactor's timers.
    """

    def __init__(
        self, poll: Callable[..., Any], wall: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.thread_time
    ) -> None:
        self._poll, self._wall, self._cpu = poll, wall, cpu
        self._slots = [_Slot(wall())]
        self._wall_at = wall()  # at the end of the last poll
        self._cpu_at, self._cpu_read_at = cpu(), self._wall_at
        self._longest = 0.0
        self._behind: deque[Call] = deque()  # what comes behind the events of a poll
        self._long: deque[Call] = deque()  # what waits for a turn that has time
        self._is_overdue = False  # the turn before had none
        self.buckets = [0] * (len(BOUNDS) + 1)  # turns by the wall clock; the last one is for those beyond any bound
        self.seconds = 0.0  # of all turns

    def poll(self, timeout: float = -1, *more: Any) -> Any:
        """`timeout` in seconds, below 0 for none. It does not sleep while there is work."""
        if self._behind or self._long:
            timeout = 0.0
        began = self._wall()
        slot = self._slots[-1]
        if began - slot.began >= SLOT_SECONDS:
            slot = self._next_slot(began)
        wall = began - self._wall_at
        self.seconds += wall
        if wall > self._longest:
            self._longest = wall
        if wall < SHORT_SECONDS:
            slot.short += 1
            self.buckets[0] += 1
        else:
            self.buckets[bisect_left(BOUNDS, wall)] += 1
            slot.wall.add(wall)
            slot.cpu.add(self._cpu() - self._cpu_at)
        try:
            return self._poll(timeout, *more)
        finally:
            self._wall_at = ended = self._wall()
            if ended - self._cpu_read_at >= SHORT_SECONDS:
                self._cpu_at, self._cpu_read_at = self._cpu(), ended
            if timeout >= 0 and ended - began - timeout > slot.late_max:
                slot.late_max = ended - began - timeout

    def soon(self, call: Call) -> None:
        """Behind the events that are being handed over, all of one poll, or else behind those of the next one."""
        self._behind.append(call)

    def when_free(self, call: Call) -> None:
        """For some milliseconds of work: in a turn that has time for it, behind all that asked before. Of two turns one has."""
        self._long.append(call)

    def end(self) -> None:
        """Behind a poll's events. What is asked for from here on is done in the next turn, so nothing goes round here."""
        events = self.age()
        until = max(FREE_SECONDS, events + min(events, SHARE_SECONDS_MAX))
        soon, long = len(self._behind), len(self._long)
        if self._is_overdue:
            self._work(long, until)
            self._hurry(soon)
        else:
            self._hurry(soon)
            self._work(long, until)

    def _hurry(self, count: int) -> None:
        for _ in range(count):
            self._behind.popleft()()

    def _work(self, count: int, until: float) -> None:
        self._is_overdue = count > 0
        for _ in range(count):
            if self.age() >= until:
                return
            self._is_overdue = False
            self._long.popleft()()

    def age(self) -> float:
        """Seconds of the turn that is under way."""
        return self._wall() - self._wall_at

    def take_longest(self) -> float:
        """Seconds of the longest turn that ended since this was last asked."""
        longest, self._longest = self._longest, 0.0
        return longest

    def _next_slot(self, now: float) -> _Slot:
        self._slots.append(_Slot(now))
        del self._slots[:-SLOTS]
        return self._slots[-1]

    def told(self) -> dict[str, Any]:
        """For /status."""
        now = self._wall()
        cpu, wall, late_max = Histogram(), Histogram(), 0.0
        for slot in self._slots:
            if now - slot.began < SLOTS * SLOT_SECONDS:
                cpu.merge(slot.cpu, slot.short)
                wall.merge(slot.wall, slot.short)
                late_max = max(late_max, slot.late_max)
        found: dict[str, Any] = {"turns": cpu.short + sum(cpu.counts.values())}
        for name, histogram in (("cpu", cpu), ("wall", wall)):
            found[f"turn_{name}_ms_p99"] = _ms(histogram.percentile(990))
            found[f"turn_{name}_ms_p999"] = _ms(histogram.percentile(999))
            found[f"turn_{name}_ms_max"] = _ms(histogram.max_seconds)
        found["late_ms_max"] = _ms(late_max)
        return found


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


class _Poller:
    """Stands where the reactor's poller stood: measures, and hands each event over itself.

    Twisted's loop puts each event into a context of its old log, which nobody here reads: 3 of the 20 µs that a small request costs the
    reactor. What `_doReadOrWrite` does with an event, errors and closed connections too, is the same.
    """

    def __init__(self, poller: Any, reactor: Any, turns: Turns) -> None:
        self._turns, self._poll = turns, turns.poll
        self._selectables, self._do = reactor._selectables, reactor._doReadOrWrite
        self.register, self.modify, self.unregister = poller.register, poller.modify, poller.unregister

    def poll(self, timeout: float, events_max: int) -> tuple[()]:
        events = self._poll(timeout, events_max)
        selectables, do = self._selectables, self._do
        try:
            for fd, event in events:
                selectable = selectables.get(fd)
                if selectable is not None:  # else an event before this one closed it
                    do(selectable, fd, event)
        finally:
            self._turns.end()
        return ()


def probe(reactor: Any) -> Turns | None:
    """Puts the probe into an epoll reactor; another one tells nothing: None."""
    poller = getattr(reactor, "_poller", None)
    if not isinstance(poller, select.epoll):
        return None
    turns = Turns(poller.poll)
    reactor._poller = _Poller(poller, reactor, turns)
    return turns
