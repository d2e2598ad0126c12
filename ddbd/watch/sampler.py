"""Once a second a row of what happened since the last one, and each ten seconds one of those ten.

Rates are by the monotonic clock: a sampler that was late divides by the time that really passed. The wall clock only dates the row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from ddbd.answers import Rates
from ddbd.meter import Meter, Reading, percentile
from ddbd.watch.disk import Room
from ddbd.watch.history import History, Row

SAMPLE_SECONDS = 1.0
COARSE_SAMPLES = 10
FINE_ROWS = 900  # 15 minutes
COARSE_ROWS = 8_640  # 24 hours


class Sources(NamedTuple):
    """Where the numbers come from that are not the meter's."""

    lag_entries: Callable[[], int | None]  # in the log and not applied here
    longest_turn: Callable[[], float | None]  # seconds, of the reactor's turns since it was last asked
    room: Callable[[], Room | None]


class _Span:
    """What is summed up from one row to the next."""

    def __init__(self, meter: Meter, began: float) -> None:
        self._meter = meter
        self._began = began
        self._writes, self._reads, self._errors = _totals(meter)
        self._turn: float | None = None
        self._lag: float | None = None

    def note(self, turn: float | None, lag: int | None) -> None:
        self._turn, self._lag = _most(self._turn, turn), _most(self._lag, lag)

    def row(self, now: float, date: float, room: Room | None) -> Row:
        """And begins the next one."""
        seconds = max(now - self._began, 0.001)
        writes, reads, errors = _totals(self._meter)
        wrote, read = writes.since(self._writes), reads.since(self._reads)
        row: Row = (
            round(date, 3),
            round(wrote.total / seconds, 1),
            round(read.total / seconds, 1),
            _ms(percentile(wrote.buckets, 500)),
            _ms(percentile(wrote.buckets, 990)),
            _ms(percentile(read.buckets, 500)),
            _ms(percentile(read.buckets, 990)),
            self._lag,
            _ms(self._turn),
            None if room is None else room.used_bytes,
            None if room is None else room.free_bytes,
            round((errors - self._errors) / seconds, 1),
        )
        self._began, self._turn, self._lag = now, None, None
        self._writes, self._reads, self._errors = writes, reads, errors
        return row


class Sampler:
    """`now` is the wall clock. `on_row` hears of each row of a second."""

    def __init__(self, clock: IReactorTime, now: Callable[[], float], meter: Meter, sources: Sources) -> None:
        self.fine = History(FINE_ROWS)
        self.coarse = History(COARSE_ROWS)
        self.on_row: Callable[[Row], None] = lambda row: None
        self._clock = clock
        self._now = now
        self._sources = sources
        self._fine = _Span(meter, clock.seconds())
        self._coarse = _Span(meter, clock.seconds())
        self._samples = 0
        self._loop = LoopingCall(self.sample)
        self._loop.clock = clock

    def start(self) -> Deferred[LoopingCall]:
        return self._loop.start(SAMPLE_SECONDS, now=False)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def sample(self) -> None:
        sources, now, date = self._sources, self._clock.seconds(), self._now()
        turn, lag, room = sources.longest_turn(), sources.lag_entries(), sources.room()
        for span in (self._fine, self._coarse):
            span.note(turn, lag)
        row = self._fine.row(now, date, room)
        self.fine.add(row)
        self._samples += 1
        if self._samples % COARSE_SAMPLES == 0:
            self.coarse.add(self._coarse.row(now, date, room))
        self.on_row(row)

    def rates(self) -> Rates:
        """Of the last second."""
        last = self.fine.last
        return {"writes": 0.0, "reads": 0.0} if last is None else {"writes": last[1] or 0.0, "reads": last[2] or 0.0}


def _totals(meter: Meter) -> tuple[Reading, Reading, int]:
    return meter.reading("write"), meter.reading("read"), meter.reading().errors


def _most(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
