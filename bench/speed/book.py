"""What was measured: samples by work and system, and their medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Sample(NamedTuple):
    value: float  # in the unit of its work
    p50_ms: float | None = None
    p99_ms: float | None = None
    connections: int | None = None


Play = Callable[[float, str], Sample]  # seconds, prefix


@dataclass(frozen=True)
class Work:
    """One kind of work, and how each system does it."""

    group: str
    name: str
    unit: str
    plays: dict[str, Play]  # by the system's name; alternately, in this order


@dataclass
class Row:
    work: Work
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    invalid: dict[str, str] = field(default_factory=dict)  # why a figure counts nothing

    def median(self, system: str, of: str = "value") -> float | None:
        """None where it was not measured, or where one sample did not verify."""
        if system in self.invalid:
            return None
        found = [getattr(sample, of) for sample in self.samples.get(system, ())]
        return statistics.median(found) if found and None not in found else None

    def shown(self, system: str) -> str:
        if system in self.invalid:
            return "invalid"
        value = self.median(system)
        return "" if value is None else number(value)


class Book:
    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def row(self, work: Work) -> Row:
        return self.rows.setdefault(work.name, Row(work))

    def median(self, name: str, system: str, of: str = "value") -> float | None:
        row = self.rows.get(name)
        return None if row is None else row.median(system, of)

    def ratio(self, name: str, other: str, of: str = "value", other_name: str | None = None) -> float | None:
        ours, theirs = self.median(name, "ddbd", of), self.median(other_name or name, other, of)
        return None if ours is None or not theirs else ours / theirs

    def invalid(self) -> Iterator[str]:
        for name, row in self.rows.items():
            for system, reason in row.invalid.items():
                yield f"{name}, {system}: {reason}"


def number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
