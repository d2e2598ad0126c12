"""How far a long piece of work is, on stderr: a bar with bytes, rate and time left on a terminal, a plain line every 5 s elsewhere.

    with frame.progress("import students.csv", total_bytes) as progress:
        progress.at(bytes_done, "12,000 rows")

`total_bytes` is None where nobody knows it. The work may be a hundred million calls of `at`: those that come too soon cost a comparison.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

LINE_SECONDS = 5.0
BAR_SECONDS = 0.1


class Progress:
    """Says nothing. The parent of those that do."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()

    def at(self, bytes_done: int, note: str = "", total_bytes: int | None = None) -> None:
        """`bytes_done` of the total; `note` is what else there is to say. A total may become known, or better known, on the way."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Says how it ended when nothing was raised."""


class Lines(Progress):
    """For logs and pipes."""

    def __init__(self, out: TextIO, label: str, total_bytes: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._out, self._label, self._total_bytes = out, label, total_bytes
        self._next = self._begun + LINE_SECONDS
        self._last: tuple[int, str] = (0, "")

    def at(self, bytes_done: int, note: str = "", total_bytes: int | None = None) -> None:
        self._last = (bytes_done, note)
        self._total_bytes = total_bytes or self._total_bytes
        if (now := self._clock()) >= self._next:
            self._next = now + LINE_SECONDS
            self._say(now)

    def _say(self, now: float) -> None:
        bytes_done, note = self._last
        rate = bytes_done / max(now - self._begun, 1e-9)
        parts = [f"{in_bytes(bytes_done)}{self._share(bytes_done)}", f"{in_bytes(rate)}/s", f"{now - self._begun:.0f} s"]
        if self._total_bytes and rate > 0:
            parts.append(f"{max(0.0, (self._total_bytes - bytes_done) / rate):.0f} s left")
        self._out.write(f"{self._label}: {', '.join(filter(None, [note, *parts]))}\n")
        self._out.flush()

    def _share(self, bytes_done: int) -> str:
        if not self._total_bytes:
            return ""
        return f" of {in_bytes(self._total_bytes)} ({min(100, 100 * bytes_done // self._total_bytes)} %)"


class Bar(Progress):
    """For a terminal."""

    def __init__(self, out: TextIO, label: str, total_bytes: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as RichProgress

        super().__init__(clock)
        self._total_bytes = total_bytes
        columns: list[Any] = [TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
        columns += [TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False)]
        self._rich = RichProgress(*columns, console=Console(file=out), transient=False)
        self._task = self._rich.add_task(label, total=total_bytes, note="")
        self._next = self._begun
        self._last: tuple[int, str] = (0, "")

    def at(self, bytes_done: int, note: str = "", total_bytes: int | None = None) -> None:
        self._last = (bytes_done, note)
        if (now := self._clock()) >= self._next:
            self._next = now + BAR_SECONDS
            self._rich.update(self._task, completed=bytes_done, note=note, total=total_bytes or self._total_bytes)

    def __enter__(self) -> Bar:
        self._rich.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        bytes_done, note = self._last
        self._rich.update(self._task, completed=bytes_done, note=note)
        self._rich.stop()


def progress_on(out: TextIO, label: str, total_bytes: int | None, quiet: bool) -> Progress:
    if quiet:
        return Progress()
    return Bar(out, label, total_bytes) if out.isatty() else Lines(out, label, total_bytes)


def in_bytes(count: float) -> str:
    """Three digits and a unit, as in 1.23 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.0f} TB"
