"""Line charts as SVG, by hand: two panels side by side, one line a system."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from .book import Book, number

WIDTH, HEIGHT = 400, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 34, 42
COLOURS = {"ddbd": "#0b6e4f", "etcd": "#c2570c", "Galera": "#6b4fa0"}
TICKS = 4

Points = Sequence[tuple[float, float]]


class Panel(NamedTuple):
    title: str
    x_label: str
    lines: Mapping[str, Points]  # by the name of the system
    log_y: bool = False


def svg(panels: Sequence[Panel]) -> str:
    width = WIDTH * len(panels)
    parts = [_panel(panel, place * WIDTH) for place, panel in enumerate(panels) if any(panel.lines.values())]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}"'
    style = ' font-family="sans-serif" font-size="11" fill="#222">'
    return "\n".join([head + style, f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>', *parts, "</svg>", ""])


def _panel(panel: Panel, offset: int) -> str:
    points = [point for line in panel.lines.values() for point in line]
    xs = sorted({x for x, _ in points})
    top = max(y for _, y in points)
    low = 10 ** math.floor(math.log10(min(y for _, y in points))) if panel.log_y else 0.0
    high = 10 ** math.ceil(math.log10(top)) if panel.log_y else _round_up(top)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at_x(x: float) -> float:
        """The places of x stand at even distances: 1, 16, 64, 256 connections."""
        return LEFT + (right - LEFT) * (xs.index(x) / max(1, len(xs) - 1))

    def at_y(y: float) -> float:
        share = (math.log10(y / low) / math.log10(high / low)) if panel.log_y else y / high
        return bottom - (bottom - TOP) * share

    steps = math.log10(high / low) if panel.log_y else TICKS
    marks = [low * 10**step for step in range(round(steps) + 1)] if panel.log_y else [high * step / TICKS for step in range(TICKS + 1)]
    out = [f'<g transform="translate({offset},0)">', f'<text x="{LEFT}" y="18" font-weight="bold">{escape(panel.title)}</text>']
    for y in marks:
        out.append(f'<line x1="{LEFT}" x2="{right}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{at_y(y) + 4:.1f}" text-anchor="end">{_short(y)}</text>')
    out += [f'<text x="{at_x(x):.1f}" y="{bottom + 16}" text-anchor="middle">{x:,.0f}</text>' for x in xs]
    out.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(panel.x_label)}</text>')
    for place, (system, line) in enumerate((name, line) for name, line in panel.lines.items() if line):
        colour = COLOURS.get(system, "#444")
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in line:
            dot = f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" fill="{colour}">'
            out.append(f"{dot}<title>{escape(system)}: {number(y)} at {x:,.0f}</title></circle>")
        out.append(f'<text x="{LEFT + 8 + 58 * place}" y="{TOP + 12}" fill="{colour}" font-weight="bold">{escape(system)}</text>')
    return "\n".join([*out, "</g>"])


def _round_up(value: float) -> float:
    """To 1, 2, 4 or 8 times a power of ten, so that quarters are round too."""
    power = 10 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value))


def _short(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g} M"
    return f"{value / 1_000:g} k" if value >= 1_000 else f"{value:g}"


def line(book: Book, system: str, names: Mapping[int, str], of: str = "value") -> list[tuple[float, float]]:
    """By connections or rows; what was not measured is left out."""
    found = ((x, book.median(name, system, of)) for x, name in names.items())
    return [(float(x), y) for x, y in found if y]
