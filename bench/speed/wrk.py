"""One run of wrk: what it sends is made by `load.lua`, what it saw comes back as numbers.

wrk counts an answer above 399 as refused; a redirect it would take for an answer, so the loads name nodes that send none. Requests that
were on the way when the time was over are not counted, but may have been done.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

LOAD = Path(__file__).resolve().parent / "load.lua"
WAIT_SECONDS = 30.0  # beyond its time, for wrk to end


class LoadFailed(Exception):
    """A load did not come through, or what it wrote is not there. The figure is worth nothing."""


class Load(msgspec.Struct, frozen=True):
    requests: int
    seconds: float
    bytes: int
    refused: int
    broken: int
    timeouts: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def answered(self) -> int:
        return self.requests - self.refused

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds

    def checked(self) -> Load:
        """Raises LoadFailed where anything but good answers came."""
        if self.refused or self.broken or self.timeouts or not self.requests:
            raise LoadFailed(f"{self.requests} requests, {self.refused} refused, {self.broken} broken off, {self.timeouts} too late")
        return self


def wrk(work: str, targets: Sequence[str], connections: int, seconds: float, prefix: str = "none0", **more: object) -> Load:
    """One thread; with several targets one thread for each, so that the connections are shared out evenly.

    `targets` are `host:port`. `more` goes to load.lua as environment, in capitals.
    """
    assert len(prefix) == 5, f"{prefix!r}: a prefix has five characters"
    given = {"WORK": work, "TARGETS": ",".join(targets), "PREFIX": prefix}
    given |= {name.upper(): str(value) for name, value in more.items()}
    threads = min(len(targets), connections)
    command = ["wrk", "-t", str(threads), "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "--timeout", "20s"]
    done = subprocess.run(
        [*command, "-s", str(LOAD), f"http://{targets[0]}/"],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=seconds + WAIT_SECONDS,
        check=False,
    )
    try:
        return msgspec.json.decode(done.stdout.strip().rpartition("\n")[2], type=Load)
    except msgspec.DecodeError:
        raise LoadFailed(f"wrk {work}: status {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}") from None
