"""What the web room needs of whoever watches the node: a meter to count with, and what it may tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ddbd.answers import Happened, Rates
from ddbd.meter import Meter

METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"  # Prometheus' text format


class Watch(NamedTuple):
    meter: Meter
    rates: Callable[[], Rates]
    timeline: Callable[[int | None], list[Happened]]  # the newest so many, oldest first; None: all there are
    metrics: Callable[[], bytes]


def unwatched() -> Watch:
    """Counted, and told to nobody."""
    return Watch(Meter(), lambda: {"writes": 0.0, "reads": 0.0}, lambda limit: [], lambda: b"")
