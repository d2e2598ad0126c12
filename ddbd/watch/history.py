"""The last quarter of an hour by the second, and the last day by ten seconds, kept as the JSON text in which a page wants them.

A page that opens gets all of it at once. A day is 8,640 rows of twelve numbers: to encode them takes 10 ms and more, which is too long for
one turn of the reactor. So each block of rows is turned into text once, when it is full, and a snapshot only joins the blocks. That is also
the bound on memory: whole blocks are dropped, oldest first (about 700 KB of text a day).
"""

from __future__ import annotations

from collections import deque

import msgspec

FIELDS = (
    *("t", "writes", "reads", "write_p50_ms", "write_p99_ms", "read_p50_ms", "read_p99_ms"),
    *("commit_lag", "reactor_ms", "disk_bytes", "disk_free_bytes", "errors"),
)
BLOCK_ROWS = 60

Row = tuple[float | None, ...]  # in the order of FIELDS

_encode = msgspec.json.Encoder().encode


class History:
    """At least `rows_max` rows once there were so many, and less than a block more."""

    def __init__(self, rows_max: int) -> None:
        assert rows_max % BLOCK_ROWS == 0, f"{rows_max} rows are no whole blocks of {BLOCK_ROWS}"
        self._blocks: deque[list[bytes]] = deque(maxlen=rows_max // BLOCK_ROWS)
        self._rows: list[Row] = []  # the block that is not full yet
        self.last: Row | None = None

    def add(self, row: Row) -> None:
        assert len(row) == len(FIELDS), f"a row of {len(row)} fields, there are {len(FIELDS)}"
        self._rows.append(row)
        self.last = row
        if len(self._rows) == BLOCK_ROWS:
            self._blocks.append(_columns(self._rows))
            self._rows = []

    def columns(self) -> bytes:
        """`{"t":[…],"writes":[…],…}`."""
        blocks = [*self._blocks, _columns(self._rows)] if self._rows else list(self._blocks)
        columns = [b'"%s":[%s]' % (name.encode(), b",".join([block[place] for block in blocks])) for place, name in enumerate(FIELDS)]
        return b"{%s}" % b",".join(columns)


def _columns(rows: list[Row]) -> list[bytes]:
    """Each column's values, without the brackets."""
    return [_encode(column)[1:-1] for column in zip(*rows, strict=True)]
