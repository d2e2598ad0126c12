"""What was tried, what came of it, and what the process logged and held meanwhile."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

TALLIES: list[Tally] = []


class Tally:
    """Counts by kind and by outcome; printed at the end of the run."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.kinds: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.notes: list[str] = []
        TALLIES.append(self)

    @property
    def total(self) -> int:
        return sum(self.kinds.values())

    def line(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items()))
        outcomes = ", ".join(f"{outcome} {count}" for outcome, count in sorted(self.outcomes.items()))
        more = "".join(f"; {note}" for note in self.notes)
        return f"fuzz {self.title}: {self.total} tried ({kinds}); {len(self.outcomes)} outcomes: {outcomes}{more}"


@implementer(ILogObserver)
class LogWatch:
    """Twisted's log: whatever is logged as a failure is a bug that a client met."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.lines = 0

    def start(self) -> None:
        globalLogPublisher.addObserver(self)

    def stop(self) -> None:
        gc.collect()  # an unhandled error of a Deferred is logged when the Deferred goes
        globalLogPublisher.removeObserver(self)

    def __call__(self, event: dict[str, Any]) -> None:
        self.lines += 1
        failure = event.get("log_failure")
        if failure is not None:
            self.failures.append(f"{event.get('log_format')}: {failure.getTraceback()}")
        elif event.get("isError"):
            self.failures.append(str(event))

    def assert_quiet(self, what: str) -> None:
        assert not self.failures, f"{what} was logged as a failure:\n{self.failures[0]}"


def resident_bytes() -> int:
    """Of this process, now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel tells no VmRSS")
