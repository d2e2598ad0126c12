"""A node's own wall clock, by Debian's libfaketime: what it is off by stands in a file that the node's process reads again and again.

The monotonic clock stays what it is, as on a real machine whose clock is set.
"""

from __future__ import annotations

import os
from pathlib import Path

LIBRARIES = tuple(
    Path(f"/usr/lib/{place}libfaketime.so.1") for place in ("x86_64-linux-gnu/faketime/", "aarch64-linux-gnu/faketime/", "faketime/")
)


def unavailable() -> str | None:
    if not any(path.exists() for path in LIBRARIES):
        return "no libfaketime: Debian's libfaketime is not installed"
    return None


class FakeClock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.set("+0")

    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(next(path for path in LIBRARIES if path.exists())),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def set(self, offset: str) -> None:
        """`+0`, `+3600`, `-86400`, `+0 x2` … whole or not at all, as the node reads it at any moment."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(offset + "\n")
        os.replace(fresh, self._path)
