"""How many connections fit into the files that a process may open."""

from __future__ import annotations

import pytest

from ddbd.listen import FILES_PER_CONNECTION, FILES_RESERVED, fit_files


@pytest.mark.parametrize(("soft", "hard"), [(1024, 2**31), (1024, 30_256)])
def test_the_soft_limit_is_raised_as_far_as_the_connections_need(soft: int, hard: int) -> None:
    assert fit_files(10_000, soft, hard) == (30_256, 10_000)


def test_a_soft_limit_that_is_high_enough_stays() -> None:
    assert fit_files(10_000, 500_000, 1_000_000) == (500_000, 10_000)


def test_a_low_hard_limit_takes_connections_away_and_never_the_reserve() -> None:
    files, connections = fit_files(10_000, 1024, 4096)
    assert (files, connections) == (4096, 1280)
    assert connections * FILES_PER_CONNECTION + FILES_RESERVED <= files


@pytest.mark.parametrize("hard", [64, FILES_RESERVED, FILES_RESERVED + FILES_PER_CONNECTION - 1])
def test_no_connection_fits_into_less_than_the_reserve(hard: int) -> None:
    assert fit_files(10, hard, hard)[1] < 1
