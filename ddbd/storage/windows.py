"""Which proposals of one origin were applied: at most once, and nothing forgotten that may still come (Raft thesis 6.3).

A node registers when it starts; the index of that entry is its boot. Its proposals are numbered from there. What was applied at or
above the floor is kept as inclusive ranges, few as long as few proposals are open; what is below the floor is refused unseen.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec


class Window:
    def __init__(self, boot: int, nonce: int, formats: int) -> None:
        self.boot = boot
        self.nonce = nonce
        self.formats = formats
        self.floor = 0
        self.starts: list[int] = []  # of the applied ranges: ascending, with gaps between
        self.ends: list[int] = []

    def accept(self, boot: int, seq: int, floor: int) -> bool:
        """Marks the proposal as applied. False, and nothing changes, for a duplicate, below the floor, or of another boot."""
        if boot != self.boot or seq < self.floor or seq < floor:
            return False
        ends = self.ends
        if ends and ends[-1] + 1 == seq:  # nearly always
            ends[-1] = seq
        elif not self._mark(seq):
            return False
        if floor > self.floor:
            self._raise_floor(floor)
        return True

    def _mark(self, seq: int) -> bool:
        place = bisect_right(self.starts, seq)
        if place and self.ends[place - 1] >= seq:
            return False
        joins_left = place > 0 and self.ends[place - 1] + 1 == seq
        joins_right = place < len(self.starts) and self.starts[place] == seq + 1
        if joins_left and joins_right:
            self.ends[place - 1] = self.ends.pop(place)
            self.starts.pop(place)
        elif joins_left:
            self.ends[place - 1] = seq
        elif joins_right:
            self.starts[place] = seq
        else:
            self.starts.insert(place, seq)
            self.ends.insert(place, seq)
        return True

    def _raise_floor(self, floor: int) -> None:
        self.floor = floor
        while self.ends and self.ends[0] < floor:
            del self.starts[0], self.ends[0]
        if self.starts and self.starts[0] < floor:
            self.starts[0] = floor

    def ranges(self) -> list[tuple[int, int]]:
        return list(zip(self.starts, self.ends, strict=True))

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode((self.boot, self.nonce, self.formats, self.floor, self.starts, self.ends))

    @classmethod
    def from_bytes(cls, data: bytes) -> Window:
        boot, nonce, formats, floor, starts, ends = msgspec.msgpack.decode(data)
        window = cls(boot, nonce, formats)
        window.floor, window.starts, window.ends = floor, starts, ends
        return window
