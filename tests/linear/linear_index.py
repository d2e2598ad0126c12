"""The log's own word: each acknowledged write and each linearizable read was told its place in the log. Do the places fit?

They do when they agree with real time, and when the acknowledged writes, done again in the order of their places, give what was read at
each place. This needs no search, so it judges what belongs to no single row as well: selects of many rows, and writes of several.
Refusals are left to the search of `linear_checker`: they tell no place.

A write of unknown outcome may explain what the acknowledged ones do not: a row that none of them wrote, or one that is gone. Each such
thing needs a write of its own, that was called in time and fits between what is known.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from linear_history import OK, READS, UNKNOWN, WRITES, Operation, checked
from linear_model import Columns, canonical

FINDINGS_MAX = 20
MERGED = object()  # the value after an update of some columns: what it was merged into is not looked up


class Fact(NamedTuple):
    """At `index` the row was as it was since `version`; version 0: there was none."""

    key: str
    index: int  # type: ignore[assignment]  # it hides the method of tuples
    version: int
    value: Any
    seen_in: Operation


class Need(NamedTuple):
    """Some write of unknown outcome has its place in (after, until]. One that was called later has a later place."""

    after: int
    until: int
    value: Any  # None: a delete
    why: str


def index_findings(operations: Iterable[Operation]) -> list[str]:
    """Sentences, at most FINDINGS_MAX; none: the places fit. Raises Malformed."""
    history = checked(operations)
    found = [*_follow_time(history), *_one_write_each(history), *_replayed(history)]
    return found[:FINDINGS_MAX]


def _place(operation: Operation) -> int:
    return operation.version if operation.kind in WRITES else operation.index


def _follow_time(history: Sequence[Operation]) -> Iterator[str]:
    """Over all rows: what began after another had returned has a later place; a read may have the same."""
    told = [each for each in history if each.outcome == OK and _place(each)]
    returning = sorted(told, key=lambda each: each.returned)
    newest: Operation | None = None
    past = 0
    for operation in sorted(told, key=lambda each: each.called):
        while returning[past].returned < operation.called:
            if newest is None or _place(returning[past]) > _place(newest):
                newest = returning[past]
            past += 1
        if newest is not None and _place(operation) < _place(newest) + (operation.kind in WRITES):
            yield f"its place {_place(operation)} is not after {_place(newest)}, which was known: {operation}; before: {newest}"


def _one_write_each(history: Sequence[Operation]) -> Iterator[str]:
    owners: dict[int, Operation] = {}
    for operation in history:
        if operation.kind not in WRITES or operation.outcome != OK:
            continue
        other = owners.setdefault(operation.version, operation)
        if other is not operation and (not operation.batch or other.batch != operation.batch or other.key == operation.key):
            yield f"two writes have place {operation.version}: {other}; {operation}"
    versions: dict[int, set[int]] = defaultdict(set)
    for operation in history:
        if operation.batch and operation.outcome == OK:
            versions[operation.batch].add(operation.version)
    yield from (f"one write of several rows has places {sorted(found)}" for found in versions.values() if len(found) > 1)


def _replayed(history: Sequence[Operation]) -> Iterator[str]:
    facts: dict[str, list[Fact]] = defaultdict(list)
    writes: dict[str, list[Operation]] = defaultdict(list)
    for operation in _batches_bound(history):
        if operation.kind in WRITES:
            writes[operation.key].append(operation)
    for operation in history:
        if operation.kind in READS and operation.outcome == OK and operation.index:
            for fact in _told(operation, writes):
                facts[fact.key].append(fact)
    floors = _Floors(history)
    for key in sorted(facts):
        yield from _row_replayed(facts[key], writes[key], floors)


def _batches_bound(history: Sequence[Operation]) -> Iterator[Operation]:
    """A write of several rows is done or not done: where one row of an unknown one was seen, all of it was done, and at one place."""
    writers = Counter((each.key, _value_after(each)) for each in history if each.kind in WRITES)
    seen: dict[tuple[str, Any], int] = {}
    for operation in history:
        if operation.kind in READS and operation.outcome == OK and operation.index:
            seen.update(((fact.key, fact.value), fact.version) for fact in _told(operation, ()) if fact.version)
    places: dict[int, int] = {}
    for operation in history:
        what = operation.key, _value_after(operation) if operation.kind in WRITES else None
        if operation.batch and operation.outcome == UNKNOWN and writers[what] == 1 and what in seen:
            places[operation.batch] = seen[what]
    for operation in history:
        is_bound = operation.outcome == UNKNOWN and operation.batch in places
        yield operation._replace(outcome=OK, version=places[operation.batch]) if is_bound else operation


def _told(operation: Operation, keys: Iterable[str]) -> Iterator[Fact]:
    """A select tells of the rows that it has, and that there are no others."""
    if operation.kind == "read":
        yield Fact(operation.key, operation.index, operation.version, canonical(operation.value), operation)
        return
    shown = {key: (version, canonical(value)) for key, value, version in operation.value or ()}
    for key, (version, value) in shown.items():
        yield Fact(key, operation.index, version, value, operation)
    for key in keys:
        if key.startswith(operation.key) and key not in shown:
            yield Fact(key, operation.index, 0, None, operation)


class _Floors:
    """The greatest place that was known before a moment: what is called then comes after it."""

    def __init__(self, history: Sequence[Operation]) -> None:
        told = sorted((each for each in history if each.outcome == OK and _place(each)), key=lambda each: each.returned)
        self._moments = [each.returned for each in told]
        self._places = [0]
        for each in told:
            self._places.append(max(self._places[-1], _place(each)))

    def at(self, moment: float) -> int:
        """Of what had returned before it: what returns at the same moment overlaps."""
        past = bisect_right(self._moments, moment)
        while past and self._moments[past - 1] == moment:
            past -= 1
        return self._places[past]


def _row_replayed(facts: Sequence[Fact], writes: Sequence[Operation], floors: _Floors) -> Iterator[str]:
    changes: dict[int, Any] = {each.version: _value_after(each) for each in writes if each.outcome == OK}
    needs: list[Need] = []
    for fact in sorted((each for each in facts if each.version), key=lambda each: each.seen_in.returned):
        if fact.version > fact.index:
            yield f"row {fact.key} has version {fact.version}, which is after the index of its read: {fact.seen_in}"
        elif fact.version not in changes:
            changes[fact.version] = fact.value
            needs.append(Need(fact.version - 1, fact.version, fact.value, f"row {fact.key} of {fact.seen_in}"))
        elif changes[fact.version] is not MERGED and changes[fact.version] != fact.value:
            yield f"row {fact.key} was {changes[fact.version]} with version {fact.version}, and another is read: {fact.seen_in}"
    versions = sorted(changes)
    present: dict[int, int] = {}  # version -> the greatest index at which it was seen
    for fact in facts:
        newest = _newest(versions, fact.index)
        if fact.version:
            present[fact.version] = max(present.get(fact.version, 0), fact.index)
            if newest != fact.version:
                yield f"row {fact.key} had version {newest} at index {fact.index}, and {fact.version} is read: {fact.seen_in}"
    gone: dict[int, Need] = {}  # version -> the delete after it, for which the earliest select that misses it asks
    for fact in sorted((each for each in facts if not each.version), key=lambda each: each.index):
        newest = _newest(versions, fact.index)
        if not newest or changes[newest] is None:
            continue
        why = f"no row {fact.key} in {fact.seen_in}, though version {newest} was written"
        before = gone.get(newest)
        until = fact.index if before is None else before.until
        gone[newest] = Need(max(newest, present.get(newest, 0)), until, None, why)
    yield from _unexplained([*needs, *gone.values()], [each for each in writes if each.outcome == UNKNOWN], floors)


def _value_after(write: Operation) -> Any:
    if write.kind == "delete":
        return None
    value = canonical(write.value)
    return MERGED if write.kind == "update" and isinstance(value, Columns) else value


def _newest(versions: Sequence[int], index: int) -> int:
    place = bisect_right(versions, index)
    return versions[place - 1] if place else 0


def _unexplained(needs: Sequence[Need], unknown: Sequence[Operation], floors: _Floors) -> Iterator[str]:
    def fits(need: Need, write: Operation) -> bool:
        value = _value_after(write)
        is_right = value is None if need.value is None else value is MERGED or value == need.value
        return is_right and max(need.after, floors.at(write.called)) < need.until

    for need in unmatched(needs, unknown, fits):
        yield f"nobody wrote it, or it was undone: {need.why}"


def unmatched(needs: Sequence[Need], offers: Sequence[Operation], fits: Callable[[Need, Operation], bool]) -> list[Need]:
    """Needs that get no offer of their own, where as many as can be do (a maximum matching, by augmenting paths)."""
    needs_of: dict[int, int] = {}  # offer -> the need that has it
    offers_of: dict[int, int] = {}

    def path_from(need: int) -> dict[int, int] | None:
        """Offer -> the need that would take it; the last one is free. Breadth first."""
        takers: dict[int, int] = {}
        waiting = [need]
        for taker in waiting:  # it grows
            for offer in range(len(offers)):
                if offer in takers or not fits(needs[taker], offers[offer]):
                    continue
                takers[offer] = taker
                if offer not in needs_of:
                    return takers
                waiting.append(needs_of[offer])
        return None

    left: list[Need] = []
    for number, need in enumerate(needs):
        takers = path_from(number)
        if takers is None:
            left.append(need)
            continue
        offer: int | None = next(reversed(takers))
        while offer is not None:
            taker = takers[offer]
            given_up = offers_of.get(taker)
            needs_of[offer], offers_of[taker] = taker, offer
            offer = given_up
    return left
