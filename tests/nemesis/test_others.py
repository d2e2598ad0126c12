"""Another system under the same nemesis, clients and judge, with faults that it is known to have. `pytest tests/nemesis --rounds 1`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import nemesis_space
import pytest
from nemesis_cuts import Cut
from nemesis_faults import Kill
from nemesis_plan import Step
from nemesis_round import Round, play

ADAPTER = Path(__file__).with_name("other_pysyncobj.py")


@pytest.fixture(autouse=True)
def _means() -> None:
    reason = nemesis_space.unavailable()
    if reason is None and importlib.util.find_spec("pysyncobj") is None:
        reason = "pysyncobj is not installed (pip install pysyncobj): no other system is judged"
    if reason is not None:
        pytest.skip(reason)


def round_of(folder: Path, steps: list[Step], *options: str) -> Round:
    return play(1, 8.0, folder, steps, back_seconds=20.0, program=(sys.executable, str(ADAPTER), *options))


def test_another_system_in_calm_is_not_reproached(tmp_path: Path) -> None:
    """So it is the fault that is found below, and not the adapter."""
    played = round_of(tmp_path, [])
    assert not played.findings, played.report(tmp_path)
    assert len(played.operations) > 100


def test_a_log_in_memory_that_kill_9_of_all_lost_is_found(tmp_path: Path) -> None:
    played = round_of(tmp_path, [Step(Kill("kill all", who="all"), 3.0, 5.0, "seed")])
    assert any("LOST" in finding for finding in played.findings), played.report(tmp_path)


def test_reads_of_the_local_copy_are_found_to_be_stale(tmp_path: Path) -> None:
    played = round_of(tmp_path, [Step(Cut("cut off the leader", shape="alone", who="leader"), 3.0, 6.0, "seed")], "--reads", "local")
    assert any("stale" in finding for finding in played.findings), played.report(tmp_path)
