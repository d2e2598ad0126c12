"""The way of log lines out of the process: through a thread, so that a sink that nobody reads never stops the reactor.

Standard output may be a pipe whose reader was stopped, or a terminal after Ctrl-S: a write there blocks for as long as that lasts, and a
reactor that blocks is a node that is gone (catalogue: etcd #22214). Lines wait here in a queue of limited length. Where it is full, further
ones are dropped and counted, and the count is told once there is room again. A log is worth less than a node.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from io import TextIOBase
from typing import TextIO

LINES_MAX = 10_000
LAST_WORDS_SECONDS = 1.0  # for what still waits when the process ends


def told_plainly(dropped: int) -> str:
    return f"{dropped} log lines were dropped: nobody took them\n"


class LogSink(TextIOBase):
    """A text file to write to; nothing of it ever blocks but `drain`, and that for a limited time."""

    def __init__(self, stream: TextIO, lines_max: int = LINES_MAX, told: Callable[[int], str] = told_plainly) -> None:
        """`told` makes the line that says how many were dropped."""
        self._stream = stream
        self._told = told
        self._lines_max = lines_max
        self._lines: deque[str] = deque()
        self._dropped = 0  # since the last line that found room
        self._is_writing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)  # a blocked one must not keep the process alive
        self._thread.start()
        atexit.register(self.drain)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._changed:
            if len(self._lines) >= self._lines_max:
                self._dropped += 1
                return len(text)
            if self._dropped:
                self._lines.append(self._told(self._dropped))
                self._dropped = 0
            self._lines.append(text)
            self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """The thread does that."""

    def drain(self, seconds: float = LAST_WORDS_SECONDS) -> bool:
        """Waits until all is written, at most so long. Returns whether it is."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._lines or self._is_writing:
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._changed.wait(left)
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                while not self._lines:
                    self._changed.wait()
                text = "".join(self._lines)
                self._lines.clear()
                self._is_writing = True
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                continue  # the reader is gone, or the stream is closed: there is nobody left to tell
