"""`pytest tests/sim --seed 123` plays one seed again; `--seeds 5000 --seed-base 1000` plays more than the usual ones.

From the root (`pytest` alone) this file is read too late to add options; the defaults stand then.
"""

from __future__ import annotations

import pytest

SEEDS = 200
CHUNK = 20


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulator")
    group.addoption("--seeds", type=int, default=SEEDS, help="how many seeds the simulator plays")
    group.addoption("--seed-base", type=int, default=0, help="the first of them")
    group.addoption("--seed", type=int, default=None, help="play this one seed only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" not in metafunc.fixturenames:
        return
    option = metafunc.config.getoption
    seed, base, count = option("--seed", None), option("--seed-base", 0), option("--seeds", SEEDS)
    if seed is not None:
        chunks = [range(seed, seed + 1)]
    else:
        chunks = [range(first, min(first + CHUNK, base + count)) for first in range(base, base + count, CHUNK)]
    metafunc.parametrize("seeds", chunks, ids=lambda chunk: f"{chunk[0]}-{chunk[-1]}")
