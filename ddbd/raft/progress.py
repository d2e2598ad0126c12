"""What a leader knows of one follower, and how fast it may send.

    probe      -> it is not known where the logs agree: one message, then wait for the answer or the next heartbeat
    replicate  -> they agree: messages are pipelined, next_index runs ahead of match_index
    snapshot   -> what it needs is compacted: nothing is sent until it has a snapshot

probe --accepted--> replicate --rejected--> probe;  any --its entries are gone--> snapshot --installed--> probe.
"""

from __future__ import annotations

import enum
from collections import deque


class Pace(enum.Enum):
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


PROBE, REPLICATE, SNAPSHOT = Pace


class Progress:
    """Invariant: counted_index <= match_index < next_index. None of the three goes back in one life of the follower, but next_index."""

    __slots__ = (
        *("acked_tick", "counted_index", "inflight", "inflight_bytes", "is_paused", "match_index"),
        *("next_index", "pace", "refusals", "round", "sent_commit", "snapshot_index", "wanted_index"),
    )

    def __init__(self, next_index: int, acked_tick: int) -> None:
        self.match_index = 0
        self.counted_index = 0  # the part of it that counts towards a commit (see AppendResponse.counts)
        self.next_index = next_index
        self.pace = PROBE
        self.is_paused = False  # a probe is out
        self.inflight: deque[tuple[int, int]] = deque()  # (last index, bytes) of each AppendEntries that is out, while replicating
        self.inflight_bytes = 0  # the sum of these
        self.acked_tick = acked_tick  # when it was last heard
        self.refusals = 0  # in a row, of what it is known to have
        self.round = 0  # the newest ReadIndex round that it acknowledged
        self.sent_commit = 0  # the newest commit index that it was told
        self.wanted_index = 0  # up to here it, or one of its clients, waits for the commit
        self.snapshot_index = 0  # of the snapshot on offer; 0 while none is made yet

    def may_send(self, messages_max: int, bytes_max: int) -> bool:
        if self.pace is PROBE:
            return not self.is_paused
        return self.pace is REPLICATE and len(self.inflight) < messages_max and self.inflight_bytes < bytes_max

    def sent(self, last_index: int, has_entries: bool, size_bytes: int = 0) -> None:
        """An AppendEntries that ends at last_index went out."""
        if self.pace is PROBE:
            self.is_paused = True
        elif has_entries:
            self.next_index = last_index + 1
            self.inflight.append((last_index, size_bytes))
            self.inflight_bytes += size_bytes

    def let_go(self) -> None:
        """The oldest AppendEntries that is out may be lost: it no longer keeps the next one from being sent."""
        self.inflight_bytes -= self.inflight.popleft()[1]

    def accepted(self, index: int, counts: bool = True) -> bool:
        """The follower's log matches up to index. Returns whether that is news; late answers are none (they never move match back)."""
        self.is_paused = False
        self.refusals = 0
        while self.inflight and self.inflight[0][0] <= index:
            self.let_go()
        is_news = index > (self.counted_index if counts else self.match_index)
        if counts and index > self.counted_index:
            self.counted_index = index
        if index > self.match_index:
            self.match_index = index
        if index >= self.next_index:
            self.next_index = index + 1
        if self.pace is PROBE or (self.pace is SNAPSHOT and 0 < self.snapshot_index <= index):
            self.to_replicate()
        return is_news

    def rejected(self, index: int, hint_index: int) -> bool:
        """It has no match at index. Returns whether the answer was news: a late one must not slow the follower down."""
        if self.pace is SNAPSHOT:
            return False
        if index == self.match_index:
            self.refusals += 1  # it had that entry: only a lost disk refuses it; or the answer is a late one
        if self.pace is REPLICATE:
            if index <= self.match_index:
                return False
            self.to_probe()
            return True
        if index != self.next_index - 1:
            return False
        if index <= self.match_index:
            return False  # until it is forgotten every heartbeat asks again
        self.next_index = max(min(index, hint_index + 1), self.match_index + 1)
        self.is_paused = False
        return True

    def to_probe(self) -> None:
        self._change_to(PROBE)
        self.next_index = self.match_index + 1

    def to_replicate(self) -> None:
        self._change_to(REPLICATE)
        self.snapshot_index = 0
        self.next_index = self.match_index + 1

    def to_snapshot(self) -> None:
        self._change_to(SNAPSHOT)
        self.snapshot_index = 0

    def _change_to(self, pace: Pace) -> None:
        self.pace = pace
        self.is_paused = False
        self.inflight.clear()
        self.inflight_bytes = 0
