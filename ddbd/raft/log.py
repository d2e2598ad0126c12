"""The log as the core sees it: its end in memory, its older part read back from the disk when a slow follower asks.

Invariants:
- base.index <= saved_index <= last_index, and base.index <= commit_index <= last_index.
- last_index == _cache_first + len(_cache) - 1. (It is asked for some twenty times a write: an attribute, not a sum.)
- Terms and stamps never decrease from one entry to the next.
- Entries above saved_index are in the cache: nobody else has them.
- memberships[0] stands at or below base.index; the last one is in force (Raft 6: a server uses the latest in its log, committed or not).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple, Protocol

from ddbd.raft.types import MEMBERSHIP, Entry, Membership, SnapshotMeta


class LogReader(Protocol):
    """Where saved entries are read back from."""

    def read(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        """Entries low..high-1, fewer when their data exceeds bytes_max, but at least one."""


_data_of = attrgetter("data")


class CacheLimits(NamedTuple):
    """Beyond either, the oldest entries leave the memory, as far as they are saved and committed."""

    entries_max: int = 20_000
    bytes_max: int = 64 * 1024 * 1024


class RaftLog:
    """The entries base.index+1 .. last_index."""

    def __init__(
        self,
        reader: LogReader,
        base: SnapshotMeta,
        last_index: int,
        memberships: Sequence[tuple[int, Membership]] = (),
        limits: CacheLimits = CacheLimits(),  # noqa: B008 - frozen
    ) -> None:
        assert last_index >= base.index, f"the log ends at {last_index}, before its base {base.index}"
        self._reader = reader
        self._limits = limits
        self.base = base
        self.saved_index = self.last_index = last_index
        self._cache: list[Entry] = []
        self._cache_first = last_index + 1  # the index of _cache[0]
        self._cache_bytes = 0
        self.memberships: list[tuple[int, Membership]] = [(base.index, base.membership), *memberships]
        if last_index > base.index:
            self._cache = reader.read(last_index, last_index + 1, 1)
            self._cache_first = last_index
            self._cache_bytes = len(self._cache[0].data)

    @property
    def last_term(self) -> int:
        return self._cache[-1].term if self._cache else self.base.term

    @property
    def last_stamp(self) -> int:
        return self._cache[-1].stamp if self._cache else self.base.stamp

    @property
    def membership(self) -> Membership:
        return self.memberships[-1][1]

    @property
    def membership_index(self) -> int:
        return self.memberships[-1][0]

    def membership_at(self, index: int) -> Membership:
        """The one in force for a log that ends at index."""
        return next(membership for at, membership in reversed(self.memberships) if at <= index)

    def term_at(self, index: int) -> int | None:
        """The term of the entry, None where this log has no entry (compacted, or beyond its end)."""
        if index == self.base.index:
            return self.base.term
        if not self.base.index < index <= self.last_index:
            return None
        if index >= self._cache_first:
            return self._cache[index - self._cache_first].term
        return self._reader.read(index, index + 1, 1)[0].term

    def last_of_term_at_most(self, term: int, high: int, low: int) -> int:
        """The last index in low..high whose term is not above that (low, or short of it, when there is none near).

        Looks at no more than 1,000 entries: further back another round trip is cheaper than a stalled reactor.
        """
        low = min(max(low, self.base.index, high - 1_000), high)
        while high > low and (self.term_at(high) or 0) > term:
            high -= 1
        return high

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log with that end is at least as up-to-date as this one (Raft 5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def entries(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        """Entries low..high-1, fewer when their data exceeds bytes_max, but at least one where low < high."""
        assert self.base.index < low, f"entry {low} was compacted (base {self.base.index})"
        assert high <= self.last_index + 1, f"entry {high - 1} is beyond the end {self.last_index}"
        if low >= high:
            return []
        if low < self._cache_first:
            return self._reader.read(low, min(high, self._cache_first), bytes_max)
        start = low - self._cache_first
        return _within(self._cache[start : high - self._cache_first], bytes_max)

    def append(self, entries: Sequence[Entry]) -> None:
        """Adds to the end. Truncate first where an entry is in the way."""
        last, term, stamp, size = self.last_index, self.last_term, self.last_stamp, 0
        for index, new_term, new_stamp, kind, data in entries:
            assert index == last + 1, f"entry {index} appended behind {last}"
            assert new_term >= term, f"entry {index}: term went back {term} -> {new_term}"
            assert new_stamp >= stamp, f"entry {index}: stamp went back {stamp} -> {new_stamp}"
            last, term, stamp = index, new_term, new_stamp
            size += len(data)
            if kind is MEMBERSHIP:
                self.memberships.append((index, Membership.from_bytes(data)))
        self._cache += entries
        self._cache_bytes += size
        self.last_index = last

    def truncate(self, index: int) -> None:
        """Removes the entry at index and all behind it: a newer leader has others there (Raft 5.3)."""
        assert self.base.index < index <= self.last_index, f"cannot truncate at {index}: {self.base.index}..{self.last_index}"
        if index <= self._cache_first:
            # The cache must keep the last entry, for its term and stamp.
            kept = self._reader.read(index - 1, index, 1) if index - 1 > self.base.index else []
            self._cache, self._cache_first = kept, index - len(kept)
        else:
            del self._cache[index - self._cache_first :]
        self._cache_bytes = _bytes_of(self._cache)
        self.last_index = index - 1
        self.saved_index = min(self.saved_index, index - 1)
        while self.memberships[-1][0] >= index:
            self.memberships.pop()

    def unsaved(self) -> tuple[Entry, ...]:
        return tuple(self._cache[max(self.saved_index + 1 - self._cache_first, 0) :])

    def saved(self, entries: Sequence[Entry], commit_index: int) -> None:
        """These are on disk. Ones that were truncated meanwhile do not count: others took their place."""
        for entry in reversed(entries):
            if self.saved_index < entry.index <= self.last_index and self.term_at(entry.index) == entry.term:
                self.saved_index = entry.index
                break
        self._trim(commit_index)

    def compact(self, base: SnapshotMeta) -> None:
        """The disk holds entries from base.index+1 on."""
        if base.index <= self.base.index:
            return
        assert base.index <= self.saved_index, f"compacted to {base.index}, beyond what is saved ({self.saved_index})"
        membership = self.membership_at(base.index)
        self.memberships = [(base.index, membership), *(each for each in self.memberships if each[0] > base.index)]
        self.base = base
        drop = base.index + 1 - self._cache_first
        if drop > 0:
            self._drop(min(drop, len(self._cache)))

    def install(self, base: SnapshotMeta, commit_index: int) -> None:
        """A snapshot took the place of the log up to base.index. What follows is kept where it matches (Raft figure 13).

        The disk has dropped the entry at base.index already, so its term is not asked there: what is committed matches, and what is neither
        committed nor in memory was compared when the snapshot was offered (see `follower`), and did not.
        """
        is_cached = self._cache_first <= base.index <= self.last_index
        if base.index <= commit_index or (is_cached and self.term_at(base.index) == base.term):
            self.saved_index = max(self.saved_index, base.index)
            self.compact(base)
            return
        self.base = base
        self._cache, self._cache_first, self._cache_bytes = [], base.index + 1, 0
        self.saved_index = self.last_index = base.index
        self.memberships = [(base.index, base.membership)]

    def _trim(self, commit_index: int) -> None:
        """Lets a quarter go at once, so that the cost of moving the rest is spread over many appends."""
        limits = self._limits
        if len(self._cache) <= limits.entries_max and self._cache_bytes <= limits.bytes_max:
            return
        allowed = min(self.saved_index, commit_index, self.last_index - 1) + 1 - self._cache_first  # the last one stays for its term
        drop = max(0, min(allowed, len(self._cache) - limits.entries_max * 3 // 4))
        left_bytes = self._cache_bytes - _bytes_of(self._cache[:drop])
        while drop < allowed and left_bytes > limits.bytes_max * 3 // 4:
            left_bytes -= len(self._cache[drop].data)
            drop += 1
        self._drop(drop)

    def _drop(self, count: int) -> None:
        if count > 0:
            self._cache_bytes -= _bytes_of(self._cache[:count])
            del self._cache[:count]
            self._cache_first += count


def _bytes_of(entries: Sequence[Entry]) -> int:
    return sum(map(len, map(_data_of, entries)))


def _within(entries: list[Entry], bytes_max: int) -> list[Entry]:
    """The first ones whose data fits, at least one."""
    if _bytes_of(entries) <= bytes_max:
        return entries
    total = 0
    for place, entry in enumerate(entries):
        total += len(entry.data)
        if total > bytes_max and place > 0:
            return entries[:place]
    return entries
