"""`tox -e nemesis` plays twelve rounds; `pytest tests/nemesis --rounds 80` a soak, `--seed 7` one round again.

Needs root, for namespaces; a disk fault needs `mfusepy` and Debian's fuse3, a clock fault Debian's libfaketime. What a machine lacks is
reported as skipped. From the root (`pytest` alone) this file is read too late to add options: then no round is played, for a bare test
run must end in minutes; the tests of the machinery are.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "linear"))  # the checker that judges the rounds' histories

ROUND_SECONDS = 25.0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("nemesis")
    group.addoption("--rounds", type=int, default=None, help="how many rounds are played")
    group.addoption("--round-seconds", type=float, default=ROUND_SECONDS, help="how long the faults of a round go on")
    group.addoption("--first-seed", type=int, default=0, help="the seed of the first round")
    with contextlib.suppress(ValueError):  # together with the simulator, whose option of the same name is there already
        group.addoption("--seed", type=int, default=None, help="play this one round only")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_round = collection_path.name in ("test_rounds.py", "test_broken.py", "test_others.py", "test_slow_disks.py")
    is_asked = config.getoption("--rounds", None) is not None or config.getoption("--seed", None) is not None
    return True if is_round and not is_asked else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" not in metafunc.fixturenames:
        return
    option = metafunc.config.getoption
    seed, first, rounds = option("--seed", None), option("--first-seed", 0), option("--rounds", None) or 1
    metafunc.parametrize("seed", range(first, first + rounds) if seed is None else [seed])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    module = sys.modules.get("test_rounds")
    rounds = [] if module is None else module.rounds
    if rounds:
        kinds = {step.fault.name for played in rounds for step in played.steps if not step.skipped}
        findings = sum(len(played.findings) for played in rounds)
        faults = sum(not step.skipped for played in rounds for step in played.steps)
        skipped = len({step.fault.name for played in rounds for step in played.steps if step.skipped})
        operations = [operation for played in rounds for operation in played.operations]
        acknowledged = sum(each.is_write and each.outcome == "ok" for each in operations)
        gap, back = max(played.longest_gap[0] for played in rounds), max(played.back_seconds for played in rounds)
        terminalreporter.write_line(
            f"nemesis: {len(rounds)} rounds, {faults} faults of {len(kinds)} kinds ({skipped} kinds skipped), "
            f"{len(operations):,} operations, {acknowledged:,} writes acknowledged, {findings} findings; "
            f"longest time without an acknowledged write {gap:.1f} s, all nodes back {back:.1f} s after the last fault at the latest"
        )
