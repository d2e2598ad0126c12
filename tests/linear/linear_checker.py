"""Is there an order of the operations, each at some moment between its call and its return, in which every answer is right?

The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with the memory of Lowe ("Testing for Linearizability",
2017): what was tried once, as the set of operations placed so far and the state that they led to, is not tried again. Rows do not depend
on each other, so each is searched alone (Horn and Kroening, "Faster Linearizability Checking via P-Compositionality", 2015).

Versions tell most of the order, and writes of unknown outcome make most of the work. So, without the loss of any verdict:

1. An answer that fits and leaves the row as it is, is taken at once and never taken back: placed here it is in nobody's way.
2. A place is given up as soon as the row's version has passed what some operation that is still to come was told.
3. A write of unknown outcome is placed only if what comes next would come out otherwise without it: else it may as well not have been.
4. What was tried in vain with some of the unknown writes spent is in vain with more of them spent, and with higher versions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from linear_history import NEVER, OK, REFUSED, UNKNOWN, Operation, checked
from linear_model import ABSENT, Columns, Row, canonical, step

STEPS_MAX = 2_000_000
YES, NO, NOT_KNOWN = "yes", "no", "unknown"


class Verdict(NamedTuple):
    verdict: str  # yes, no; unknown: given up, which is never a pass
    reason: str = ""
    steps: int = 0


def check(operations: Iterable[Operation], steps_max: int = STEPS_MAX) -> Verdict:
    """All rows. `steps_max` is for each of them. Selects belong to no row; `linear_index` judges them. Raises Malformed."""
    rows: dict[str, list[Operation]] = defaultdict(list)
    for operation in checked(operations):
        if operation.kind != "select":
            rows[operation.key].append(operation)
    steps, doubt = 0, Verdict(YES)
    for key in sorted(rows):
        found = check_row(rows[key], steps_max)
        steps += found.steps
        if found.verdict == NO:
            return found._replace(steps=steps)
        if found.verdict == NOT_KNOWN:
            doubt = found
    return doubt._replace(steps=steps)


def check_row(operations: Sequence[Operation], steps_max: int = STEPS_MAX) -> Verdict:
    return _Search(operations).run(steps_max)


class _Event:
    """A call or a return in time, in a ring that loses what is placed and gets it back."""

    __slots__ = ("after", "before", "bit", "is_known", "operation", "returns", "seen")

    def __init__(self, seen: Operation | None, bit: int = 0) -> None:
        self.seen = seen  # of the ring itself: None
        self.operation = seen and seen._replace(value=canonical(seen.value, keeps_nulls=seen.kind == "update"))
        self.is_known = seen is not None and seen.outcome != UNKNOWN
        self.bit = bit
        self.returns: _Event | None = None  # of a call; a return has none
        self.before: _Event = self
        self.after: _Event = self

    def unlink(self) -> None:
        self.before.after, self.after.before = self.after, self.before

    def relink(self) -> None:
        self.before.after = self.after.before = self


class _Placed(NamedTuple):
    event: _Event
    row: Row  # before it
    is_choice: bool  # another one could have been placed instead


def _version_passed(operation: Operation) -> float:
    """Once the row's last version is beyond this one, the operation has no place any more."""
    if operation.outcome == UNKNOWN or operation.outcome == REFUSED:
        return NEVER
    if operation.kind == "read":
        return operation.version or NEVER
    return operation.version - 1 if operation.if_version is None else operation.if_version


class _Search:
    def __init__(self, operations: Sequence[Operation]) -> None:
        useful = [each for each in operations if each.kind != "read" or each.outcome == OK]
        known = sorted((each for each in useful if each.outcome != UNKNOWN), key=_version_passed)
        unknown = [each._replace(returned=NEVER) for each in useful if each.outcome == UNKNOWN]
        self.key = operations[0].key if operations else ""
        self.all_known = (1 << len(known)) - 1
        self.limits = [*map(_version_passed, known), NEVER]  # of each bit of `known`
        self.ring = _ring(known, unknown)
        self.row: Row = ABSENT
        self.known = self.unknown = 0  # what is placed, as bits
        self.path: list[_Placed] = []
        self.best: list[_Placed] = []
        self.best_row: Row = ABSENT
        # What was tried: known ones placed, row -> unknown ones spent, last version.
        self.tried: dict[tuple[object, ...], list[tuple[int, int]]] = defaultdict(list)

    def run(self, steps_max: int) -> Verdict:
        event, is_choosing, steps = self.ring.after, False, 0
        while self.known != self.all_known:
            steps += 1
            if steps > steps_max:
                return Verdict(NOT_KNOWN, f"row {self.key}: given up after {steps_max:,} steps", steps)
            if event.returns is not None:
                after = self._after(event, is_choosing)
                if after is None:
                    event = event.after
                else:
                    self._place(event, after, is_choosing)
                    event, is_choosing = self.ring.after, False
            elif not is_choosing and self._is_new():
                event, is_choosing = self.ring.after, True
            else:
                # All that could come next was tried: the last choice was wrong.
                back = self._take_back()
                if back is None:
                    return Verdict(NO, self._explain(), steps)
                event, is_choosing = back.after, True
        return Verdict(YES, "", steps)

    def _after(self, event: _Event, is_choosing: bool) -> Row | None:
        """The row after it, if it is to be placed now."""
        assert event.operation is not None
        if not is_choosing:
            return self.row if event.is_known and step(self.row, event.operation) == self.row else None
        after = step(self.row, event.operation)
        if after is None or after == self.row:
            return None
        placed = self.known | event.bit if event.is_known else self.known
        lowest_missing = (~placed & (placed + 1)).bit_length() - 1
        if self.limits[lowest_missing] < after.last:
            return None
        if self.path and not self.path[-1].event.is_known:
            without = step(self.path[-1].row, event.operation)
            if without is not None and without.last <= after.last and without._replace(last=0) == after._replace(last=0):
                return None
        return after

    def _place(self, event: _Event, after: Row, is_choice: bool) -> None:
        self.path.append(_Placed(event, self.row, is_choice))
        self.row = after
        if event.is_known:
            self.known |= event.bit
        else:
            self.unknown |= event.bit
        event.unlink()
        assert event.returns is not None
        event.returns.unlink()
        if len(self.path) > len(self.best):
            self.best, self.best_row = self.path.copy(), after

    def _take_back(self) -> _Event | None:
        """To the last choice, that is taken back too; None: there was none."""
        while self.path:
            event, self.row, is_choice = self.path.pop()
            if event.is_known:
                self.known ^= event.bit
            else:
                self.unknown ^= event.bit
            assert event.returns is not None
            event.returns.relink()
            event.relink()
            if is_choice:
                return event
        return None

    def _is_new(self) -> bool:
        row = self.row
        tried = self.tried[self.known, row.value, row.version, row.excluded]
        if any(unknown & self.unknown == unknown and last <= row.last for unknown, last in tried):
            return False
        tried.append((self.unknown, row.last))
        return True

    def _explain(self) -> str:
        """Once all is taken back: the farthest that the search came, and why each of the next ones has no place there."""
        done = {id(placed.event) for placed in self.best}
        left: list[_Event] = []
        total, event = len(done), self.ring.after
        while event is not self.ring:
            if event.returns is not None and id(event) not in done:
                total += 1
                left += [event] if event.is_known else []
            event = event.after
        row = self.best_row
        value = dict(row.value) if isinstance(row.value, Columns) else row.value
        version = f"version {row.version}" if row.version > 0 else f"a version of {row.last} or more"
        lines = [
            f"row {self.key}: no order explains the answers. Farthest: {len(done)} of {total} operations, the last ones",
            *(f"    {placed.event.seen}" for placed in self.best[-5:]),
            f"after which there is {f'{value} with {version}' if row.is_there else 'no row'}; then none of these can come next",
            *(f"    {event.seen}{_overtaken(event, row, left)}" for event in left[:5]),
        ]
        return "\n".join(lines)


def _overtaken(event: _Event, row: Row, left: Sequence[_Event]) -> str:
    """Which other one would have no place any more."""
    assert event.operation is not None
    after = step(row, event.operation)
    if after is None or after == row:
        return ""
    late = (each.seen for each in left if each is not event and each.seen and _version_passed(each.seen) < after.last)
    return "".join(f"; #{seen.number} could not follow it" for seen in list(late)[:1])


def _ring(known: Sequence[Operation], unknown: Sequence[Operation]) -> _Event:
    """It begins and ends with the returned event."""
    timed: list[tuple[float, int, int, _Event]] = []
    for operations in (known, unknown):
        for place, operation in enumerate(operations):
            call = _Event(operation, 1 << place)
            call.returns = _Event(operation)
            # What returns at the moment of another's call overlaps it.
            timed.append((operation.called, 0, operation.number, call))
            timed.append((operation.returned, 1, operation.number, call.returns))
    ring = _Event(None)
    for _, _, _, event in sorted(timed, key=lambda each: each[:3]):
        event.before, event.after = ring.before, ring
        ring.before.after = event
        ring.before = event
    return ring
