"""What the documents say about the code is checked against the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddbd.config import Limits, Timing

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", [*Limits.__struct_fields__, *Timing.__struct_fields__])
def test_every_limit_and_every_duration_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "configuration.md").read_text("utf-8")


@pytest.mark.parametrize("name", [*Limits.__struct_fields__, *Timing.__struct_fields__])
def test_the_documented_start_values_are_the_real_ones(name: str) -> None:
    line = next(
        line for line in (DOCS / "configuration.md").read_text("utf-8").splitlines() if f"`{name}`" in line and line.startswith("|")
    )
    names, values = ([part.strip(" `") for part in cell.split(",")] for cell in line.split("|")[1:3])
    said = values[names.index(name)]
    number, _, unit = said.partition(" ")
    factor = {"": 1, "KiB": 1024, "MiB": 1024 * 1024}[unit]
    owner = Limits if name in Limits.__struct_fields__ else Timing
    assert getattr(owner(), name) == float(number) * factor
