"""Is there an order of the operations, each at some moment between its call and its return, in which every answer is right?

The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with the memory of Lowe ("Testing for Linearizability",
2017): what was tried once, as the set of operations placed so far and the state that they led to, is not tried again. Rows do not depend
on each other, so each is searched alone (Horn and Kroening, "Faster Linearizability Checking via P-Compositionality", 2015).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from linear_history import NEVER, OK, UNKNOWN, Operation
from linear_model import ABSENT, Row, step

STEPS_MAX = 2_000_000
YES, NO, NOT_KNOWN = "yes", "no", "unknown"


class Verdict(NamedTuple):
    verdict: str  # yes, no; unknown: given up, which is never a pass
    reason: str = ""
    steps: int = 0


def check(operations: Iterable[Operation], steps_max: int = STEPS_MAX) -> Verdict:
    """All rows. `steps_max` is for each of them."""
    rows: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
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


class Event:
    """A call or a return in time, in a list that loses what is placed and gets it back."""

    __slots__ = ("after", "before", "operation", "place", "returns")

    def __init__(self, operation: Operation | None, place: int) -> None:
        self.operation = operation
        self.place = place
        self.returns: Event | None = None  # of a call; a return has none
        self.before: Event = self
        self.after: Event = self

    def unlink(self) -> None:
        self.before.after, self.after.before = self.after, self.before

    def relink(self) -> None:
        self.before.after = self.after.before = self


def _events(operations: Sequence[Operation]) -> Event:
    """A ring that begins and ends with the returned event."""
    timed: list[tuple[float, int, int, Event]] = []
    for place, operation in enumerate(operations):
        call, back = Event(operation, place), Event(operation, place)
        call.returns = back
        # What returns at the moment of another's call overlaps it.
        timed.append((operation.called, 0, place, call))
        timed.append((operation.returned, 1, place, back))
    ring = Event(None, -1)
    for _, _, _, event in sorted(timed, key=lambda each: each[:3]):
        event.before, event.after = ring.before, ring
        ring.before.after = event
        ring.before = event
    return ring


def check_row(operations: Sequence[Operation], steps_max: int = STEPS_MAX) -> Verdict:
    operations = [each if each.outcome != UNKNOWN else each._replace(returned=NEVER) for each in operations]
    operations = [each for each in operations if each.kind != "read" or each.outcome == OK]
    ring = _events(operations)
    must = sum(1 for each in operations if each.outcome != UNKNOWN)
    row: Row = ABSENT
    placed, known_placed, steps = 0, 0, 0
    path: list[tuple[Event, Row]] = []
    tried: set[tuple[int, Row]] = set()
    best: list[Operation] = []
    event = ring.after
    while known_placed < must:
        steps += 1
        if steps > steps_max:
            return Verdict(NOT_KNOWN, f"row {operations[0].key}: given up after {steps_max:,} steps", steps)
        if event.returns is not None:
            operation = operations[event.place]
            after = step(row, operation)
            if after is not None and (state := (placed | 1 << event.place, after)) not in tried:
                tried.add(state)
                path.append((event, row))
                row, placed = state[1], state[0]
                known_placed += operation.outcome != UNKNOWN
                event.unlink()
                event.returns.unlink()
                if len(path) > len(best):
                    best = [operations[each.place] for each, _ in path]
                event = ring.after
            else:
                event = event.after
            continue
        # A return whose operation is not placed, or the end: the last choice was wrong.
        if not path:
            return Verdict(NO, _explain(operations, best), steps)
        event, row = path.pop()
        placed &= ~(1 << event.place)
        known_placed -= operations[event.place].outcome != UNKNOWN
        assert event.returns is not None
        event.returns.relink()
        event.relink()
        event = event.after
    return Verdict(YES, "", steps)


def _explain(operations: Sequence[Operation], best: Sequence[Operation]) -> str:
    row = ABSENT
    for operation in best:
        after = step(row, operation)
        assert after is not None, "the path was walked before"
        row = after
    done = {each.number for each in best}
    left = sorted((each for each in operations if each.number not in done and each.outcome != UNKNOWN), key=lambda each: each.called)
    state = f"{row.value!r} with version {row.version}" if row.is_there else "no row"
    lines = [
        f"row {operations[0].key}: no order explains the answers. Farthest: {len(best)} of {len(operations)} operations, the last ones",
        *(f"    {each}" for each in best[-5:]),
        f"after which there is {state}; then none of these can come next",
        *(f"    {each}" for each in left[:5]),
    ]
    return "\n".join(lines)
