"""Which events are said. The same thing many times over is said some times, and then how often more.

Two events are alike when they come from the same line of code, by its format. Where the format is nothing but one text, they are alike when
the texts differ in their numbers only. A window begins with the first of them; within it `LINES_MAX` are said, and when it is over, how
many were left out. `now` is monotonic: a step of the wall clock must not open all windows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LINES_MAX = 20
WINDOW_SECONDS = 10.0
KINDS_MAX = 256  # beyond: the oldest window ends early

_ONE_FIELD = re.compile(r"\{\w+\}")
_NUMBERS = re.compile(r"\d+")


def kind_of(event: dict[str, Any], message: str) -> str:
    form = str(event.get("log_format") or "")
    if form and not _ONE_FIELD.fullmatch(form):
        return f"{event.get('log_namespace')} {form}"
    return _NUMBERS.sub("#", message[:200])


@dataclass
class _Window:
    begun: float
    said: int
    left_out: int
    level: str
    sample: str  # the last one that was left out


@dataclass(frozen=True)
class LeftOut:
    count: int
    level: str
    sample: str


class Repeats:
    def __init__(self, lines_max: int = LINES_MAX, window_seconds: float = WINDOW_SECONDS) -> None:
        self._lines_max = lines_max
        self._seconds = window_seconds
        self._windows: dict[str, _Window] = {}  # in the order in which they began

    def admit(self, kind: str, level: str, message: str, now: float) -> bool:
        """Whether it is said. Ask `over` first: a window that has ended must not count."""
        window = self._windows.get(kind)
        if window is None:
            self._windows[kind] = _Window(now, 1, 0, level, message)
            return True
        if window.said < self._lines_max:
            window.said += 1
            return True
        window.left_out += 1
        window.level, window.sample = level, message
        return False

    def over(self, now: float) -> Iterator[LeftOut]:
        """What was left out in windows that ended, or that must make room."""
        for kind, window in list(self._windows.items()):
            if now - window.begun < self._seconds and len(self._windows) < KINDS_MAX:
                return
            del self._windows[kind]
            if window.left_out:
                yield LeftOut(window.left_out, window.level, window.sample)
