"""`pytest tests/sim --seed 123` plays one seed again; `--seeds 5000 --seed-base 1000` plays more than the usual ones.

From the root (`pytest` alone) this file is read too late to add options; the defaults stand then.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from sim_many import chunks

SEEDS = 200


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulator")
    group.addoption("--seeds", type=int, default=SEEDS, help="how many seeds the simulator plays")
    group.addoption("--seed-base", type=int, default=0, help="the first of them")
    with suppress(ValueError):  # the nemesis and the fuzzers have one of that name too, where all are collected together
        group.addoption("--seed", type=int, default=None, help="play this one seed only")


def _chosen(config: pytest.Config) -> list[range]:
    seed, base, count = config.getoption("--seed", None), config.getoption("--seed-base", 0), config.getoption("--seeds", SEEDS)
    return list(chunks(base, count)) if seed is None else [range(seed, seed + 1)]


@pytest.fixture(scope="session")
def all_seeds(pytestconfig: pytest.Config) -> list[range]:
    return _chosen(pytestconfig)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        metafunc.parametrize("seeds", _chosen(metafunc.config), ids=lambda chunk: f"{chunk[0]}-{chunk[-1]}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from test_seeds import total

    if total.seeds:
        terminalreporter.write_line(f"simulator: {total}")
