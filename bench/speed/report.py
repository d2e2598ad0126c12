"""The tables: every figure with its ratios, and the bars with what was reached."""

from __future__ import annotations

from typing import NamedTuple

from .book import Book, number
from .works import bulk_name, read_name, write_name

SYSTEMS = ("ddbd", "etcd", "Galera")


class Bar(NamedTuple):
    """A ratio in one run. `of`: what is compared, the median of it."""

    what: str
    name: str
    other: str
    floor: float
    goal: float
    of: str = "value"
    other_name: str | None = None

    @property
    def lower_is_better(self) -> bool:
        return self.of != "value"

    def verdict(self, ratio: float | None) -> str:
        if ratio is None:
            return "not measured"
        sign = -1 if self.lower_is_better else 1
        if sign * ratio >= sign * self.goal:
            return "goal"
        return "floor" if sign * ratio >= sign * self.floor else "below the floor"


BARS = [
    Bar("writes, 64 connections, ÷ etcd", write_name("leader", 64), "etcd", 1.5, 2.2),
    Bar("writes, 256 connections, ÷ etcd", write_name("leader", 256), "etcd", 1.5, 2.2),
    Bar("writes spread over all nodes, 64, ÷ etcd the same way", write_name("spread", 64), "etcd", 1.2, 2.0),
    Bar("one connection, p50, ÷ etcd (lower is better)", write_name("leader", 1), "etcd", 1.0, 0.8, "p50_ms"),
    Bar("linearizable point reads at the leader, 64, ÷ etcd", read_name("leader", False), "etcd", 1.5, 3.0),
    Bar("linearizable point reads at a follower, 64, ÷ etcd", read_name("follower", False), "etcd", 1.0, 2.0),
    Bar("writes, p99 at 64 connections, ÷ etcd (lower is better)", write_name("leader", 64), "etcd", 1.0, 0.7, "p99_ms"),
    Bar("bulk rows/s, 1 client, ÷ Galera", bulk_name(1), "Galera", 0.4, 1.0),
    Bar("bulk rows/s, 4 clients, ÷ Galera", bulk_name(4), "Galera", 0.4, 1.0),
]


def tables(book: Book) -> list[str]:
    """Markdown: the bars, then every figure."""
    lines = ["| bar | ratio | floor | goal | reached |", "|---|---|---|---|---|"]
    for bar in BARS:
        ratio = book.ratio(bar.name, bar.other, bar.of, bar.other_name)
        if ratio is not None:
            lines.append(f"| {bar.what} | {ratio:.2f} | {bar.floor} | {bar.goal} | {bar.verdict(ratio)} |")
    lines += [
        "",
        "| work | unit | ddbd | etcd | Galera | ÷ etcd | ÷ Galera | p50 / p99, ms: ddbd | etcd |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in book.rows.items():
        ratios = ["" if (ratio := book.ratio(name, other)) is None else f"{ratio:.2f}" for other in SYSTEMS[1:]]
        cells = [
            name,
            row.work.unit,
            *(row.shown(system) for system in SYSTEMS),
            *ratios,
            *(_latency(book, name, system) for system in SYSTEMS[:2]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _latency(book: Book, name: str, system: str) -> str:
    p50, p99 = book.median(name, system, "p50_ms"), book.median(name, system, "p99_ms")
    return "" if p50 is None or p99 is None else f"{number(p50)} / {number(p99)}"


def printed(book: Book) -> str:
    return "\n".join([*tables(book), "", *(f"invalid: {reason}" for reason in book.invalid())])
