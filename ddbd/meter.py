"""What a node counts of its own calls: how many, how they ended, how long they took.

One number and one bucket a request, on the reactor's thread: two looks into a dict, a bisection, four additions; no object is made for a
request and nobody is called back (measured: 0.6 us, clock included). Whoever wants rates keeps the last reading and subtracts.

    meter.answered(method, path, status, seconds)     a call was answered
    meter.refused(status)                             a request that the door or the parser turned away: it has no call
    meter.reading("write")                            totals of all calls of a kind

Buckets are fixed and the same for all calls, eight to a power of two: a percentile is told with at most 9 % too much. `seconds` run from
the moment at which the request is whole to the moment at which its answer is written: the network and a slow sender are not in them, a
client that takes a long answer slowly is. Streams between the nodes and to the console are no calls and are not counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

STEPS = 8  # buckets from one power of two to the next
OCTAVES = 20
BOUNDS = tuple(0.0001 * 2 ** (step / STEPS) for step in range(OCTAVES * STEPS + 1))  # upper ones, in seconds: 0.1 ms to 105 s

WRITES = ("insert", "update", "delete_record", "init_database", "drop_database", "create_table", "delete_table")
READS = ("select", "search")
UNKNOWN = "unknown"  # any path that is no call of ours; and whatever was refused before it had a path
LOAD = "load"  # a streaming load or a restore: it takes as long as its sender likes

METHODS = {b"GET": "GET", b"HEAD": "HEAD", b"POST": "POST", b"OPTIONS": "OPTIONS"}
OTHER_METHOD = "other"

_LOADS = b"load"  # no path: those begin with a slash


class Call:
    """One call's totals since the start of the process."""

    __slots__ = ("buckets", "counts", "kind", "name", "seconds")

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind = "write" if name in WRITES else "read" if name in READS else "other"
        self.counts: dict[tuple[bytes, int], int] = {}  # by method and status; methods are those that llhttp knows, so they are few
        self.buckets = [0] * (len(BOUNDS) + 1)  # the last one is for what took longer than any bound
        self.seconds = 0.0


class Reading(NamedTuple):
    """Totals of a kind; the difference of two is what happened in between."""

    total: int
    errors: int  # answers of 5xx
    buckets: list[int]

    def since(self, earlier: Reading) -> Reading:
        buckets = [now - before for now, before in zip(self.buckets, earlier.buckets, strict=True)]
        return Reading(self.total - earlier.total, self.errors - earlier.errors, buckets)


NOTHING = Reading(0, 0, [0] * (len(BOUNDS) + 1))


class Meter:
    def __init__(self) -> None:
        self.calls = {UNKNOWN: Call(UNKNOWN), LOAD: Call(LOAD)}  # by name
        self.abandoned = 0  # calls whose client went away before the answer
        self._unknown = self.calls[UNKNOWN]
        self._by_path = {_LOADS: self.calls[LOAD]}

    def know(self, paths: Iterable[bytes]) -> None:
        """Calls of the app; told again when another app takes over, and what was counted stays."""
        for path in paths:
            if path not in self._by_path:
                name = path.decode("ascii").strip("/")
                self._by_path[path] = self.calls[name] = Call(name)

    def answered(self, method: bytes, path: bytes, status: int, seconds: float) -> None:
        call = self._by_path.get(path, self._unknown)
        key = (method, status)
        counts = call.counts
        counts[key] = counts.get(key, 0) + 1
        call.buckets[bisect_left(BOUNDS, seconds)] += 1
        call.seconds += seconds

    def loaded(self, method: bytes, status: int, seconds: float) -> None:
        """A streaming load or a restore was answered."""
        self.answered(method, _LOADS, status, seconds)

    def refused(self, status: int) -> None:
        key = (b"", status)
        self._unknown.counts[key] = self._unknown.counts.get(key, 0) + 1

    def reading(self, *kinds: str) -> Reading:
        """Of the calls of these kinds; of all calls where none is named."""
        calls = [call for call in self.calls.values() if not kinds or call.kind in kinds]
        count = sum(sum(call.counts.values()) for call in calls)
        errors = sum(n for call in calls for (_, status), n in call.counts.items() if status >= 500)
        return Reading(count, errors, [sum(each) for each in zip(*(call.buckets for call in calls), strict=True)] if calls else NOTHING[2])


def percentile(buckets: list[int], per_mille: int) -> float | None:
    """Seconds that so many of a thousand do not exceed; None where there are none."""
    total = sum(buckets)
    if not total:
        return None
    left = -(-total * per_mille // 1000)
    for bucket, count in enumerate(buckets):
        left -= count
        if left <= 0:
            return BOUNDS[min(bucket, len(BOUNDS) - 1)]
    raise AssertionError("more asked for than there are")
