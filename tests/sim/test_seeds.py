"""Many seeds, one run each. A failure prints the seed, what it turned on, and the end of what happened."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from sim_many import Tally, play_all, pool

SIM = Path(__file__).parent
SEEDS_FOR_ALL = 200  # so many reach everything that `SOMETIMES` names

# What some run must come to. Where one of these is never reached, the simulator has gone blind there.
SOMETIMES = (
    "a client got NoLeader",
    "a client got NotReady",
    "a client got OutcomeUnknown",
    "a clock leapt",
    "a clock ran at a wild rate",
    "a disk was wiped",
    "a failed fsync stopped a node",
    "a flipped bit was found",
    "a history was judged",
    "a joint membership",
    "a leader knew less than was committed",
    "a membership change of one node",
    "a membership change of several nodes",
    "a new life was promoted",
    "a node registered again",
    "a node stopped in good order",
    "a node whose state went astray was quarantined",
    "a node without its disk was demoted",
    "a peer learned that a process is gone",
    "a power cut met unsynced data",
    "a pre-vote was refused",
    "a repeated proposal was refused",
    "a snapshot was damaged on its way",
    "a snapshot was installed",
    "a snapshot's transfer failed",
    "a stored answer was given again",
    "a vote was refused",
    "a write was held until there was a leader",
    "a write was refused because a disk was full",
    "a write with a key was repeated",
    "an uncommitted tail was replaced",
    "each node saw another majority",
    "leadership was handed over",
)

total = Tally()


@pytest.fixture(scope="module")
def played(all_seeds: list[range]) -> Iterator[dict[range, Future[Tally]]]:
    """All of them are under way at once, on all cores."""
    with pool() as workers:
        yield {seeds: workers.submit(play_all, seeds) for seeds in all_seeds}


def test_nothing_is_lost_and_all_comes_to_rest(seeds: range, played: dict[range, Future[Tally]]) -> None:
    tally = played[seeds].result()
    total.add(tally)
    assert not tally.failures, tally.failures[0]


def test_every_interesting_thing_happened_in_some_run() -> None:
    if total.seeds < SEEDS_FOR_ALL:
        pytest.skip(f"{total.seeds} seeds are too few to ask for everything")
    assert [name for name in SOMETIMES if not total.sometimes[name]] == []


def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    def trace(hash_seed: str) -> str:
        script = f"import sys; sys.path.insert(0, {str(SIM)!r}); from sim_world import play; print([play(s).trace for s in (4, 11)])"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join([str(SIM.parent.parent), *sys.path])}
        return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout

    assert trace("1") == trace("2")
