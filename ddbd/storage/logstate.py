"""What the log knows in memory: its base, where each entry is, who is a member. The same code replays a log and lives on.

Segments are numbered; an entry's position is `segment << 32 | offset`. Later entries lie behind earlier ones, also after entries were
replaced, so positions only grow along the log.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from ddbd.errors import Corrupt
from ddbd.raft.types import MEMBERSHIP, Entry, HardState, Membership, SnapshotMeta
from ddbd.storage import Recovered

OFFSET_BITS = 32


class LogState:
    def __init__(self, base: SnapshotMeta, generation: int, hard_state: HardState) -> None:
        self.base = base
        self.generation = generation
        self.hard_state = hard_state
        self.memberships: list[tuple[int, Membership]] = []  # of the entries held, by index
        # For the entries base.index+1 .. last_index:
        self.positions = array("Q")
        self.lengths = array("I")  # of the whole record
        self.terms = array("Q")

    @property
    def last_index(self) -> int:
        return self.base.index + len(self.positions)

    def position(self, index: int) -> int:
        return self.positions[index - self.base.index - 1]

    def term(self, index: int) -> int:
        """Of an entry held, or of the base."""
        return self.base.term if index == self.base.index else self.terms[index - self.base.index - 1]

    def membership_at(self, index: int) -> Membership:
        return next((m for place, m in reversed(self.memberships) if place <= index), self.base.membership)

    def add(self, entry: Entry, position: int, length: int) -> None:
        """Appends the entry, or replaces the one at its index and all behind. Raises Corrupt when there would be a gap."""
        self.place(entry.index, entry.term, position, length)
        if entry.kind is MEMBERSHIP:
            self.memberships.append((entry.index, Membership.from_bytes(entry.data)))

    def place(self, index: int, term: int, position: int, length: int) -> None:
        """As `add`, where the entry is no membership."""
        self._make_end(index, term)
        self.positions.append(position)
        self.lengths.append(length)
        self.terms.append(term)

    def _make_end(self, index: int, term: int) -> None:
        """Such an entry is the next one."""
        before = index - self.base.index - 1  # so many entries
        if not 0 <= before <= len(self.positions):
            raise Corrupt(f"the log has entry {index} where {self.base.index + 1} to {self.last_index + 1} can follow")
        if before < len(self.positions):
            self.truncate(index)
        if term < (self.terms[-1] if before else self.base.term):
            raise Corrupt(f"the log's term goes back from {self.term(index - 1)} to {term} at entry {index}")

    def append(self, entries: Sequence[Entry], position: int, lengths: Sequence[int]) -> None:
        """As `add`, for entries in a row whose records lie one behind the other from `position` on."""
        if not entries:
            return
        first, terms = entries[0].index, [entry.term for entry in entries]
        if [entry.index for entry in entries] != list(range(first, first + len(entries))) or terms != sorted(terms):
            raise Corrupt(f"entries {first} to {entries[-1].index} are not in a row, or their terms go back")
        self._make_end(first, terms[0])
        self.extend(list(accumulate(lengths[:-1], initial=position)), lengths, terms)
        self.memberships += [(entry.index, Membership.from_bytes(entry.data)) for entry in entries if entry.kind is MEMBERSHIP]

    def extend(self, positions: Iterable[int], lengths: Iterable[int], terms: Iterable[int]) -> None:
        """As `place`, for entries that follow the last one in a row."""
        self.positions.extend(positions)
        self.lengths.extend(lengths)
        self.terms.extend(terms)

    def truncate(self, index: int) -> None:
        """Forgets the entries from `index` on."""
        keep = index - self.base.index - 1
        del self.positions[keep:], self.lengths[keep:], self.terms[keep:]
        while self.memberships and self.memberships[-1][0] >= index:
            self.memberships.pop()

    def rebase(self, base: SnapshotMeta) -> None:
        """Forgets the entries up to base.index, which are held."""
        drop = base.index - self.base.index
        del self.positions[:drop], self.lengths[:drop], self.terms[:drop]
        self.memberships = [item for item in self.memberships if item[0] > base.index]
        self.base = base

    def install(self, meta: SnapshotMeta, generation: int) -> None:
        """Raft figure 13, rules 6 and 7: what follows the snapshot's place is kept where the log has that very place."""
        if meta.index < self.base.index:
            pass  # read again after compaction went past it: what it kept is still there, behind the base
        elif self.keeps_behind(meta):
            self.rebase(meta)
        else:
            self.truncate(self.base.index + 1)
            self.base = meta
        self.generation = generation

    def keeps_behind(self, meta: SnapshotMeta) -> bool:
        """Whether there are entries behind the snapshot's place that an install keeps."""
        return self.base.index <= meta.index < self.last_index and self.term(meta.index) == meta.term

    def last_index_before(self, segment: int) -> int:
        """The last index that is held in segments before this one; base.index where there is none."""
        return self.base.index + bisect_left(self.positions, segment << OFFSET_BITS)

    def recovered(self) -> Recovered:
        return Recovered(self.hard_state, self.base, self.last_index, tuple(self.memberships), self.generation)
