"""Many seeds, one run each. A failure prints the seed, what it turned on, and the end of what happened."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from sim_many import SEEDS_FOR_ALL, Tally, play_all, pool

SIM = Path(__file__).parent
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
    assert total.never == []


def test_what_no_run_came_to_is_named_once_there_were_enough_of_them() -> None:
    assert Tally(SEEDS_FOR_ALL - 1).never == []
    assert "a snapshot was installed" in Tally(SEEDS_FOR_ALL).never


def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    def trace(hash_seed: str) -> str:
        script = f"import sys; sys.path.insert(0, {str(SIM)!r}); from sim_world import play; print([play(s).trace for s in (4, 11)])"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join([str(SIM.parent.parent), *sys.path])}
        return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout

    assert trace("1") == trace("2")
