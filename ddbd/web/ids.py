"""Row ids for clients that give none: UUIDv7 as text (RFC 9562, 5.7), so that they sort by the time they were made.

48 bits of milliseconds, a counter in the next 12 that keeps ids of one node in order within a millisecond and over a clock that was
set back, and 62 random bits. Made at the door, before the log: every replica gets the same one.
"""

from __future__ import annotations

from collections.abc import Callable

_COUNTER_MAX = 0xFFF


class RowIds:
    """`now` is the wall clock in seconds, `entropy(n)` gives n random bytes."""

    def __init__(self, now: Callable[[], float], entropy: Callable[[int], bytes]) -> None:
        self._now = now
        self._entropy = entropy
        self._last_ms = 0  # never goes back
        self._counter = 0  # of ids within _last_ms

    def next(self) -> str:
        now_ms = int(self._now() * 1000)
        if now_ms > self._last_ms:
            self._last_ms, self._counter = now_ms, 0
        elif self._counter < _COUNTER_MAX:
            self._counter += 1
        else:
            self._last_ms, self._counter = self._last_ms + 1, 0
        random = int.from_bytes(self._entropy(8), "big") & ((1 << 62) - 1)
        bits = (self._last_ms & ((1 << 48) - 1)) << 80 | 7 << 76 | self._counter << 64 | 2 << 62 | random
        text = f"{bits:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
