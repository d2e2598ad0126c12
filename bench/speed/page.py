"""Writes the figures into docs/performance.md, between its marks, and the plots beside it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from . import plots
from .book import Book
from .large import grown_reads, grown_writes
from .plots import Panel
from .report import SYSTEMS, tables
from .works import CONNECTIONS, write_name

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: written by python -m bench.speed -->\n", "<!-- end of figures -->\n"


def commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if git("status", "--porcelain", "-uno") else "")


def figures(book: Book, machine: str, versions: list[str], turns: str) -> str:
    """What stands between the marks."""
    lines = [f"Commit {commit()}, {time.strftime('%Y-%m-%d')}; {machine}. {turns}", "", *(f"- {version}" for version in versions), ""]
    lines += [*tables(book), "", "![throughput and latency against connections](performance-connections.svg)", ""]
    return "\n".join([*lines, "![cost against rows](performance-growth.svg)", ""])


def drawn(book: Book, sizes: tuple[int, ...]) -> dict[str, str]:
    """SVG by the name of its file."""
    writes = {number: write_name("leader", number) for number in CONNECTIONS}
    into, search = {size: grown_writes(size) for size in sizes}, {size: grown_reads(size) for size in sizes}

    def panel(title: str, x_label: str, names: Mapping[int, str], of: str = "value", log_y: bool = False) -> Panel:
        return Panel(title, x_label, {system: plots.line(book, system, names, of) for system in SYSTEMS}, log_y)

    return {
        "performance-connections.svg": plots.svg(
            [
                panel("durable single-row writes a second", "connections", writes),
                panel("p50 of a write, ms", "connections", writes, "p50_ms", True),
                panel("p99 of a write, ms", "connections", writes, "p99_ms", True),
            ]
        ),
        "performance-growth.svg": plots.svg(
            [panel("writes a second, 64 connections", "rows", into), panel("indexed reads a second, 64 connections", "rows", search)]
        ),
    }


def write(text: str, images: dict[str, str], page: Path = PAGE) -> None:
    whole = page.read_text("utf-8")
    begin, end = whole.index(BEGIN) + len(BEGIN), whole.index(END)
    page.write_text(whole[:begin] + text + whole[end:], "utf-8")
    for name, image in images.items():
        (page.parent / name).write_text(image, "utf-8")
