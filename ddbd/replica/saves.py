"""How long this node's log takes to have a batch on the disk: from handing it over to knowing that it is there (write and fdatasync)."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds


class Saves:
    """One save at a time."""

    bounds = BOUNDS

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)  # the last one is for what took longer than any bound
        self.seconds = 0.0  # of all saves
        self._began = 0.0

    def began(self, now: float) -> None:
        self._began = now

    def ended(self, now: float) -> float:
        """Seconds that it took."""
        seconds = now - self._began
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds
        return seconds
