"""`pytest tests/power --power-points all` tries every cut of the script; `--power-cut 317:torn-3` tries one again.

From the root (`pytest` alone) this file is read too late to add options; the defaults stand then.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from power_record import Recording
from power_trials import Trials, recorded, scratch_folder

TRIED = pytest.StashKey[Trials]()
RECOVERIES = 8  # that are listened to, to be cut again


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("power loss")
    group.addoption("--power-points", default="one-of-each", choices=["one-of-each", "all"], help="how many cuts at each place")
    group.addoption("--power-recoveries", type=int, default=RECOVERIES, help="how many recoveries are cut again")
    group.addoption("--power-cut", default=None, metavar="NUMBER:VARIANT", help="try this one cut only")


@pytest.fixture(scope="session")
def scratch() -> Iterator[str]:
    folder = scratch_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def recording(scratch: str, pytestconfig: pytest.Config) -> Recording:
    return recorded(scratch, pytestconfig.getoption("--power-recoveries", RECOVERIES))


@pytest.fixture(scope="session")
def trials(scratch: str, pytestconfig: pytest.Config) -> Trials:
    return pytestconfig.stash.setdefault(TRIED, Trials(scratch))


@pytest.fixture(scope="session")
def every_cut(pytestconfig: pytest.Config) -> bool:
    return str(pytestconfig.getoption("--power-points", "one-of-each")) == "all"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "again_number" in metafunc.fixturenames:
        metafunc.parametrize("again_number", range(metafunc.config.getoption("--power-recoveries", RECOVERIES)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tried = terminalreporter.config.stash.get(TRIED, None)
    if tried is not None:
        terminalreporter.write_line(f"power loss: {tried.points} cuts tried, {tried.images} different disks recovered")
        if tried.flips:
            told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(tried.flips.items()))
            terminalreporter.write_line(f"power loss: {tried.flips.total()} flipped bits: {told}; none served")
