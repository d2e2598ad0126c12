"""Benches that are scripts of their own and take part by their closing lines: the HTTP channel, and ddbd's failover."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from .wrk import LoadFailed

FOLDER = Path(__file__).resolve().parent.parent
SECONDS_MAX = 900.0
CHANNEL = "HTTP channel with an empty Klein route ÷ bare Protocol on httptools"


def told(script: str, pattern: str, *options: object) -> tuple[float, ...]:
    """The numbers of the line that matches. Raises LoadFailed where the script fails."""
    command = [sys.executable, str(FOLDER / script), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    found = re.search(pattern, done.stdout)
    if done.returncode or not found:
        raise LoadFailed(f"bench/{script}: status {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return tuple(map(float, found.groups()))


def failover(times: int) -> tuple[float, ...]:
    """Median and worst in milliseconds. The script itself fails where an acknowledged write is missing."""
    return told("failover.py", r"median ([\d.]+) ms, worst ([\d.]+) ms", times)


def channel(rounds: int, seconds: float) -> float:
    return told("channel.py", r"ddbd ÷ bare: ([\d.]+)", "--rounds", rounds, "--seconds", seconds)[0]
