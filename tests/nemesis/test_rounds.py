"""Real nodes under a nemesis. See `nemesis_round`; a failed round says how to play it again."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nemesis_disk
import nemesis_space
import pytest
from nemesis_history import OK
from nemesis_plan import kinds
from nemesis_round import CORNERS, Round, play

rounds: list[Round] = []  # for the closing line

MEET_ALL_KINDS = 9  # rounds; see `nemesis_plan`


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--round-seconds", 25.0))


@pytest.fixture(scope="module")
def reached() -> set[str]:
    """By all rounds together."""
    return set()


@pytest.mark.parametrize("name", [fault.name for fault in kinds()])
def test_the_machine_has_the_means_for(name: str) -> None:
    """What is missing is skipped here by name, and in the rounds' reports."""
    reason = next(fault for fault in kinds() if fault.name == name).unavailable()
    if reason is not None:
        pytest.skip(reason)


def test_nothing_is_lost_or_stale_and_all_come_back(seed: int, seconds: float, reached: set[str], tmp_path: Path) -> None:
    reason = nemesis_space.unavailable()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path / f"seed-{seed}"
    played = play(seed, seconds, folder)
    rounds.append(played)
    report = played.report(folder)
    sys.stdout.write(f"\n{report}\n")
    reached |= played.reached
    assert not played.findings, report
    assert sum(operation.outcome == OK for operation in played.operations) > 10 * seconds, f"hardly anything was done\n{report}"
    shutil.rmtree(folder)  # what failed stays


def test_the_rounds_together_came_to_every_corner(request: pytest.FixtureRequest, reached: set[str]) -> None:
    """A nemesis that is too kind proves nothing."""
    if request.config.getoption("--seed") is not None or request.config.getoption("--rounds") < MEET_ALL_KINDS:
        pytest.skip(f"fewer than {MEET_ALL_KINDS} rounds do not meet every kind of fault")
    lacking = {"": nemesis_space.unavailable(), "disk": nemesis_disk.unavailable()}
    expected = {corner for corner, (need, _) in CORNERS.items() if not lacking[""] and not lacking[need]}
    if not expected:
        pytest.skip(str(lacking[""]))
    assert reached >= expected, f"never: {sorted(expected - reached)}"
