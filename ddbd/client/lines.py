"""A table of any length, row by row. A state machine, used by both forms of the client; memory holds what one `feed` brought.

    reading = Lines(wanted, after)
    while (call := reading.next()) is not None:
        open it; reading.began(head); then feed(chunk) and take_lines() or take_rows(), again and again
        reading.ended(), or reading.broke_off(reason)

The rows are asked for in pages: a node ends a scan that lives for more than 30 s, and a reader may be slow. Each page is of one instant,
the next one of a later instant. An answer that breaks off is asked for again behind its last whole row, at whatever node answers. So no row
comes twice and none is left out that was there all the time; one that is inserted or deleted meanwhile may be seen or not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from ddbd.client import calls
from ddbd.client.calls import Call, Wanted
from ddbd.client.errors import BadAnswer, Unavailable
from ddbd.client.http import Answer
from ddbd.client.values import Row

PAGE_ROWS = 10_000
BREAKS_MAX = 5  # one after another, without a row between them
LINE_BYTES_MAX = 16 * 1024 * 1024  # a row has at most 1 MiB, some more when the node's limits were raised

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Lines:
    def __init__(self, wanted: Wanted, after: str | None = None, page_rows: int = PAGE_ROWS) -> None:
        self.after = after  # the last row that was given, by its row_id
        self.index = 0  # of the newest page
        self._wanted = wanted
        self._page_rows = page_rows
        self._at_end = False
        self._next_after: str | None = None
        self._lines: list[bytes] = []
        self._rest = b""
        self._last = b""  # the last whole line of this page
        self._breaks = 0

    def next(self) -> Call[Answer] | None:
        if self._at_end:
            return None
        wanted = self._wanted
        if wanted.consistency == "local" and self.index:
            # Another node's copy may be older than the one that was read before.
            wanted = replace(wanted, min_index=max(self.index, wanted.min_index or 0))
        return calls.lines(wanted, self._page_rows, self.after)

    def began(self, head: Answer) -> None:
        index = head.headers.get("ddb-index", "")
        self.index = max(self.index, int(index)) if index.isdecimal() else self.index
        self._next_after = calls.next_after(head)
        self._rest = self._last = b""

    def feed(self, chunk: bytes) -> None:
        """Raises BadAnswer."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            raise BadAnswer(f"a row has more than {LINE_BYTES_MAX} bytes")
        if lines:
            self._lines += lines
            self._last = lines[-1]
            self._breaks = 0

    def take_lines(self) -> list[bytes]:
        """Each with its line's end."""
        lines, self._lines = self._lines, []
        return [line + b"\n" for line in lines]

    def take_rows(self) -> list[Row]:
        """Raises BadAnswer."""
        lines, self._lines = self._lines, []
        return [_row(line) for line in lines]

    def ended(self) -> None:
        """The page is whole. Raises BadAnswer."""
        if self._rest:
            raise BadAnswer("an answer ends in the middle of a row")
        self.after, self._at_end = self._next_after, self._next_after is None

    def broke_off(self, reason: str) -> None:
        """Raises Unavailable when it has done so too often."""
        self._rest = b""
        self._breaks += 1
        if self._last:
            self.after = str(_row(self._last).get("row_id"))
        if self._breaks > BREAKS_MAX:
            raise Unavailable(f"the rows of {self._wanted.table} broke off {self._breaks} times at the same place: the node {reason}")


def _row(line: bytes) -> Row:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadAnswer("an answer has a line that is no row") from None
