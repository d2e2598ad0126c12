"""Is each write really synced to the disk on three nodes? Counted from outside, by strace, while one client writes.

With one connection nothing can share a sync: the leader and one more have to sync once a write, before it is acknowledged. The third may
lag and then take several at once. Galera's other nodes apply after the acknowledgement, several at once, so there only the first counts.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ddbd.cli.local import eventually

from .galera import ROW, Galera
from .system import System, targets_of
from .wrk import LoadFailed, wrk

CALLS = "fsync,fdatasync,sync_file_range,msync"
ATTACH_SECONDS = 20.0
SHARE_MIN = 0.9  # strace needs a moment at the begin and at the end


class Counter:
    """strace on one process, all its threads. Ended by SIGINT it writes its table."""

    def __init__(self, pid: int, path: Path) -> None:
        self._path = path
        self._log = path.with_suffix(".err")
        with self._log.open("wb") as log:
            command = ["strace", "-f", "-c", "-e", f"trace={CALLS}", "-o", str(path), "-p", str(pid)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)

    def attached(self) -> bool:
        if self._process.poll() is not None:
            raise LoadFailed(f"strace ended: {self._log.read_text()[-300:]}")
        return "attached" in self._log.read_text()

    def end(self) -> int:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(ATTACH_SECONDS)
        table = self._path.read_text() if self._path.exists() else ""
        lines = re.findall(rf"^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? +(?:{CALLS.replace(',', '|')})$", table, re.MULTILINE)
        return sum(map(int, lines))


def syncs_a_write(system: System, folder: Path) -> list[float]:
    """By node, the leader first."""
    leader = system.leader()
    pids = [*system.pids()[leader:], *system.pids()[:leader]]
    counters = [Counter(pid, folder / f"strace-{pid}") for pid in pids]
    try:
        eventually(lambda: all(counter.attached() for counter in counters), "strace", ATTACH_SECONDS)
        if isinstance(system, Galera):
            _, writes = system.slap(f"INSERT INTO writes VALUES (UUID(),{ROW})", 1, 1.0, probe=50)
        else:
            writes = wrk(f"{system.name}_write", targets_of(system, "leader"), 1, 1.0, "sync0").checked().answered
    finally:
        counts = [counter.end() for counter in counters]
    return [count / writes for count in counts]


def checked(system: System, folder: Path) -> str:
    """One sentence. Exits by LoadFailed where a system does not do what its figures would claim."""
    shares = syncs_a_write(system, folder)
    enough = sum(share >= SHARE_MIN for share in shares)
    if enough < (1 if isinstance(system, Galera) else 2) or min(shares) == 0:
        raise LoadFailed(f"{system.name} does not sync each write: {_listed(shares)} syncs a write, by node")
    return f"{_listed(shares)} syncs a write, by node"


def _listed(shares: Sequence[float]) -> str:
    return ", ".join(f"{share:.2f}" for share in shares)
