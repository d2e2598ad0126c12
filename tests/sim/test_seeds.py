"""Many seeds, one run each. A failure prints the seed, what it turned on, and the end of what happened."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sim_world import play

SIM = Path(__file__).parent
SEEDS_FOR_ALL = 150  # so many reach everything that `SOMETIMES` names

# What some run must come to. Where one of these is never reached, the simulator has gone blind there.
SOMETIMES = (
    "a client got NoLeader",
    "a client got OutcomeUnknown",
    "a client got NotReady",
    "a disk was wiped",
    "a failed fsync stopped a node",
    "a new life was promoted",
    "a node registered again",
    "a node stopped in good order",
    "a node without its disk was demoted",
    "a peer learned that a process is gone",
    "a power cut met unsynced data",
    "a pre-vote was refused",
    "a repeated proposal was refused",
    "a snapshot was installed",
    "a snapshot's transfer failed",
    "a stored answer was given again",
    "a vote was refused",
    "a write was held until there was a leader",
    "a write with a key was repeated",
    "an uncommitted tail was replaced",
    "leadership was handed over",
)

reached: Counter[str] = Counter()
played: list[int] = []


def test_nothing_is_lost_and_all_comes_to_rest(seeds: range) -> None:
    for seed in seeds:
        reached.update(play(seed).sometimes)
        played.append(seed)


def test_every_interesting_thing_happened_in_some_run() -> None:
    if len(played) < SEEDS_FOR_ALL:
        pytest.skip(f"{len(played)} seeds are too few to ask for everything")
    assert [name for name in SOMETIMES if not reached[name]] == []


def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    def trace(hash_seed: str) -> str:
        script = f"import sys; sys.path.insert(0, {str(SIM)!r}); from sim_world import play; print([play(s).trace for s in (4, 11)])"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join([str(SIM.parent.parent), *sys.path])}
        return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout

    assert trace("1") == trace("2")
