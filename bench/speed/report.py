"""The tables: the bars with what was reached, and every figure with its ratios."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from .book import Book, number
from .large import SIZES, grown_reads, grown_writes
from .outages import TYPICAL, WORST
from .scripts import CHANNEL
from .works import bulk_name, read_name, write_name

SYSTEMS = ("ddbd", "etcd", "Galera")
COST_MAX = 1.3  # of a write or an indexed read in the largest table, by the smallest


class Bar(NamedTuple):
    """A ratio of medians in one run, of values or of latencies. Without another system: the value itself."""

    what: str
    name: str
    other: str
    floor: float
    goal: float
    of: str = "value"

    @property
    def lower_is_better(self) -> bool:
        return self.goal < self.floor

    def reached(self, book: Book) -> float | None:
        return book.ratio(self.name, self.other, self.of) if self.other else book.median(self.name, "ddbd", self.of)

    def verdict(self, found: float) -> str:
        sign = -1 if self.lower_is_better else 1
        if sign * found >= sign * self.goal:
            return "goal"
        return "floor" if sign * found >= sign * self.floor else "missed"


BARS = [
    Bar("writes, 64 connections, ÷ etcd", write_name("leader", 64), "etcd", 1.5, 2.2),
    Bar("writes, 256 connections, ÷ etcd", write_name("leader", 256), "etcd", 1.5, 2.2),
    Bar("writes spread over all nodes, 64, ÷ etcd the same way", write_name("spread", 64), "etcd", 1.2, 2.0),
    Bar("one connection, p50, ÷ etcd ↓", write_name("leader", 1), "etcd", 1.0, 0.8, "p50_ms"),
    Bar("linearizable point reads at the leader, 64, ÷ etcd", read_name("leader", False), "etcd", 1.5, 3.0),
    Bar("linearizable point reads at a follower, 64, ÷ etcd", read_name("follower", False), "etcd", 1.0, 2.0),
    Bar("writes, p99 at 64 connections, ÷ etcd ↓", write_name("leader", 64), "etcd", 1.0, 0.7, "p99_ms"),
    Bar("bulk rows/s, 1 client, ÷ Galera", bulk_name(1), "Galera", 0.4, 1.0),
    Bar("bulk rows/s, 4 clients, ÷ Galera", bulk_name(4), "Galera", 0.4, 1.0),
    Bar("HTTP channel with an empty Klein route, ÷ bare Protocol + httptools", CHANNEL, "", 0.5, 0.8),
    Bar("failover, median, ms ↓", TYPICAL, "", 150, 60),
    Bar("failover, worst, ms ↓", WORST, "", 500, 200),
]

HEAD = """\
| work | unit | ddbd | etcd | Galera | ÷ etcd | ÷ Galera | p50 / p99, ms: ddbd | etcd |
|---|---|---|---|---|---|---|---|---|"""


def tables(book: Book) -> list[str]:
    """Markdown: the bars, then every figure."""
    lines = ["| bar | reached | floor | goal | |", "|---|---|---|---|---|"]
    for bar in BARS:
        found = bar.reached(book)
        if found is not None:
            lines.append(f"| {bar.what} | {number(found)} | {bar.floor:g} | {bar.goal:g} | {bar.verdict(found)} |")
    lines += [*growth(book, grown_writes, "a write"), *growth(book, grown_reads, "an indexed read")]
    return [*lines, "", HEAD, *(_line(book, name) for name in book.rows)]


def _line(book: Book, name: str) -> str:
    row = book.rows[name]
    ratios = ["" if (ratio := book.ratio(name, other)) is None else f"{ratio:.2f}" for other in SYSTEMS[1:]]
    latencies = [_latency(book, name, system) for system in SYSTEMS[:2]]
    return f"| {' | '.join([name, row.work.unit, *map(row.shown, SYSTEMS), *ratios, *latencies])} |"


def growth(book: Book, name: Callable[[int], str], what: str) -> Iterator[str]:
    """ddbd's cost in the largest table that was measured, by that in the smallest."""
    rates = [(size, rate) for size in SIZES if (rate := book.median(name(size), "ddbd"))]
    if len(rates) > 1:
        (small, before), (large, after) = rates[0], rates[-1]
        verdict = "goal" if before / after <= COST_MAX else "missed"
        yield f"| cost of {what} with {large:,} rows ÷ with {small:,} ↓ | {before / after:.2f} | {COST_MAX} | {COST_MAX} | {verdict} |"


def _latency(book: Book, name: str, system: str) -> str:
    p50, p99 = book.median(name, system, "p50_ms"), book.median(name, system, "p99_ms")
    return "" if p50 is None or p99 is None else f"{number(p50)} / {number(p99)}"


def printed(book: Book) -> str:
    return "\n".join([*tables(book), "", *(f"invalid: {reason}" for reason in book.invalid())])
