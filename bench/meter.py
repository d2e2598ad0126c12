"""What does counting a request cost? `python bench/meter.py`: microseconds a request, the best of several rounds.

add     the meter's own work: count, bucket, sum
whole   with the two looks at the clock and the way to the meter, as `ddbd.web.request` does it
sample  one row of the history: what the sampler does once a second, with twenty calls that were all used
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable

from ddbd.meter import READS, WRITES, Meter
from ddbd.watch.sampler import Sampler, Sources

CALLS = [f"/{name}".encode() for name in (*WRITES, *READS, "ping", "status", "healthz", "readyz", "timeline", "metrics")]
REQUESTS_MAX_US = 1.0


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
    clock = Sources(lambda: 3, lambda: 0.001, lambda: None)
    sampler = Sampler(_Clock(), time.time, site.meter, clock)  # type: ignore[arg-type]
    print(f"add    {add:8.2f} us a request (at most {REQUESTS_MAX_US:g} are allowed)")
    print(f"whole  {whole:8.2f} us a request")
    print(f"sample {best(sampler.sample, 3):8.2f} us a second")


class _Clock:
    def seconds(self) -> float:
        return time.monotonic()


if __name__ == "__main__":
    main()
