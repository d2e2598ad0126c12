"""What does counting a request cost? `python bench/meter.py`: microseconds a request, the best of several rounds.

add     the meter's own work: count, bucket, sum
whole   with the two looks at the clock and the way to the meter, as `ddbd.web.request` does it
sample  one row of the history: what the sampler does once a second, with twenty calls that were all used
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import cast

from ddbd.answers import Status
from ddbd.config import Config, Node
from ddbd.meter import READS, WRITES, Meter
from ddbd.replica.saves import Saves
from ddbd.replica.standby import Standby
from ddbd.turns import Turns
from ddbd.watch import sampler as sampling
from ddbd.watch.disk import Room
from ddbd.watch.metrics import Metrics, Sources
from ddbd.watch.sampler import COARSE_ROWS, Sampler
from ddbd.watch.timeline import Timeline

CALLS = [f"/{name}".encode() for name in (*WRITES, *READS, "ping", "status", "healthz", "readyz", "timeline", "metrics")]
REQUESTS_MAX_US = 1.0
SCRAPE_MAX_MS = 5.0


class Site:
    def __init__(self) -> None:
        self.meter = Meter()
        self.seconds = time.monotonic


class Request:
    __slots__ = ("began", "method", "path", "site", "status")

    def __init__(self, site: Site, path: bytes) -> None:
        self.site, self.method, self.path, self.status = site, b"GET", path, 200
        self.began = site.seconds()

    def end(self) -> None:
        site = self.site
        site.meter.answered(self.method, self.path, self.status, site.seconds() - self.began)


class Bare:
    __slots__ = ("method", "path", "site", "status")

    def __init__(self, site: Site, path: bytes) -> None:
        self.site, self.method, self.path, self.status = site, b"GET", path, 200

    def end(self) -> None:
        """Nothing is counted."""


def best(call: Callable[[], object], number: int) -> float:
    """Microseconds a call. Short rounds and many of them: on a busy machine some fit between two turns of other processes."""
    return min(timeit.repeat(call, number=number, repeat=400)) / number * 1_000_000


def main() -> None:
    site = Site()
    site.meter.know(CALLS)
    answered = site.meter.answered
    add = best(lambda: answered(b"GET", b"/select", 200, 0.0013), 1_000) - best(lambda: None, 1_000)
    whole = best(lambda: Request(site, b"/select").end(), 1_000) - best(lambda: Bare(site, b"/select").end(), 1_000)
    for path in CALLS:
        for status in (200, 404, 409, 503):
            answered(b"POST", path, status, 0.002)
    clock = sampling.Sources(lambda: 3, lambda: 0.001, lambda: None)
    sampler = Sampler(_Clock(), time.time, site.meter, clock)  # type: ignore[arg-type]
    print(f"add    {add:8.2f} us a request (at most {REQUESTS_MAX_US:g} are allowed)")
    print(f"whole  {whole:8.2f} us a request")
    print(f"sample {best(sampler.sample, 3):8.2f} us a second")
    print(f"scrape {best(metrics_of(site.meter).text, 1) / 1000:8.2f} ms (at most {SCRAPE_MAX_MS:g} are allowed)")
    row = (1_790_000_000.123, 12_345.6, 12_345.6, 1.234, 12.345, 1.234, 12.345, 123, 12.345, 123_456_789_012, 123_456_789_012, 0.0)
    for _ in range(COARSE_ROWS):
        sampler.coarse.add(row)
    print(f"opened {best(sampler.coarse.columns, 1) / 1000:8.2f} ms for {len(sampler.coarse.columns()):,} bytes")


def metrics_of(meter: Meter) -> Metrics:
    nodes = tuple(Node(str(n), f"localhost:{8079 + n}", n == 1, "localhost", 8079 + n, "localhost") for n in (1, 2, 3))
    standby = Standby(Config(nodes, Path("config.json")), "1")

    def status() -> Status:
        return cast("Status", {**standby.status(), "rates": {"writes": 0.0, "reads": 0.0}})

    turns = Turns(lambda *_: [])
    room = Room(900, 1_000, 30, 60, 100)
    return Metrics(Sources(status, lambda: _Measured(), meter, turns, Timeline(time.time), lambda: room, lambda: 4, lambda: 2, 64))


class _Measured:
    saves = Saves()
    checkpoints = (3, 0.5)
    writes_refused = 0


class _Clock:
    def seconds(self) -> float:
        return time.monotonic()


if __name__ == "__main__":
    main()
