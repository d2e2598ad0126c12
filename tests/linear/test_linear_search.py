"""The judge is judged by brute force on small histories, and on large ones by what must become of them when one answer is changed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from linear_checker import NO, YES, check
from linear_history import NEVER, OK, REFUSED, UNKNOWN, WRITES, Operation
from linear_played import Row, execute, play

SMALL = settings(max_examples=500, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def brute_force(operations: list[Operation]) -> bool:
    """Every order that time allows, with and without each unknown write, and with each version that it can have had.

    It knows no more of the contract than `linear_played.execute`, and of the checker nothing.
    """
    versions_max = max([0, *(each.version for each in operations), *(each.if_version or 0 for each in operations)]) + len(operations)

    def search(left: list[Operation], row: Row, last: int) -> bool:
        if all(each.outcome == UNKNOWN for each in left):
            return True
        must_begin = min(each.returned for each in left)
        for operation in left:
            if operation.called > must_begin:
                continue
            rest = [each for each in left if each is not operation]
            for index in _indexes(operation, last, versions_max):
                answered, after = execute(row, operation, index)
                is_right = answered.outcome == OK if operation.outcome == UNKNOWN else _same(answered, operation)
                if is_right and search(rest, after, last if operation.kind == "read" or answered.outcome == REFUSED else index):
                    return True
        return False

    return search(operations, None, 0)


def _indexes(operation: Operation, last: int, versions_max: int) -> Iterator[int]:
    if operation.outcome == UNKNOWN:
        yield from range(last + 1, versions_max + 1)
    elif operation.kind == "read" or operation.outcome == REFUSED:
        yield versions_max + 1  # it takes none
    elif operation.version > last:
        yield operation.version


def _same(answered: Operation, told: Operation) -> bool:
    if (answered.outcome, answered.code, answered.version) != (told.outcome, told.code, told.version):
        return False
    return told.kind != "read" or answered.value == _without_nulls(told.value)


def _without_nulls(value: Any) -> Any:
    return {name: each for name, each in value.items() if each is not None} if isinstance(value, dict) else value


VALUES = st.sampled_from(["a", "b", "c"])
COLUMNS = st.sampled_from([{"x": "a"}, {"y": "b"}, {"x": "b", "y": "a"}, {"x": None}])
CODES = ["row_exists", "row_not_found", "version_mismatch"]


@st.composite
def histories(draw: st.DrawFn, count_max: int = 6, changes_max: int = 4) -> list[Operation]:
    """What one row answers that is right, but for some changes."""
    values = draw(st.sampled_from([VALUES, COLUMNS]))
    row: Row = None
    operations: list[Operation] = []
    index = 0
    for at in range(draw(st.integers(3, count_max))):
        kind = draw(st.sampled_from([*WRITES, "update", "read", "read"]))
        value = draw(values) if kind in ("insert", "upsert", "update") else None
        if kind == "read":
            value = None
        called, returned = at - draw(st.integers(0, 1)), at + draw(st.integers(0, 2)) + 0.5
        if_version = max(1, index - draw(st.integers(0, 2))) if kind in ("update", "delete") and draw(st.booleans()) else None
        index += draw(st.integers(1, 2))
        answered, row = execute(row, Operation(at, "c", kind, "k", called, returned, OK, value, if_version=if_version), index)
        operations.append(_without_word(answered) if kind != "read" and draw(st.integers(0, 3)) == 0 else answered)
    for _ in range(draw(st.integers(0, changes_max))):
        place = draw(st.integers(0, len(operations) - 1))
        changed = _changed(draw, operations[place], values)
        if not changed.problem():
            operations[place] = changed
    return draw(st.permutations(operations))


def _changed(draw: st.DrawFn, operation: Operation, values: st.SearchStrategy[Any]) -> Operation:
    what = draw(st.sampled_from(["version", "value", "done", "refused", "if_version", "moved", "moved"]))
    if what == "version":
        return operation._replace(version=max(1, operation.version + draw(st.integers(-2, 2))))
    if what == "value" and operation.kind != "delete":
        return operation._replace(value=draw(values))
    if what == "done" and operation.kind in WRITES:
        return operation._replace(outcome=OK, version=draw(st.integers(1, 9)), returned=operation.called + 2, code="")
    if what == "refused" and operation.kind in WRITES:
        return operation._replace(outcome=REFUSED, code=draw(st.sampled_from(CODES)), returned=operation.called + 2, version=0)
    if what == "if_version":
        return operation._replace(if_version=draw(st.one_of(st.none(), st.integers(1, 9))))
    moved = draw(st.integers(-4, 4))
    return operation._replace(called=operation.called + moved, returned=operation.returned + moved)


def _without_word(write: Operation) -> Operation:
    return write._replace(outcome=UNKNOWN, returned=NEVER, version=0, code="")


def agreements(given_histories: st.SearchStrategy[list[Operation]]) -> Counter[str]:
    """How often each verdict was the right one; each time the checker had it too."""
    verdicts: Counter[str] = Counter()

    @SMALL
    @given(given_histories)
    def agrees(operations: list[Operation]) -> None:
        useful = [each for each in operations if each.kind != "read" or each.outcome == OK]
        expected = YES if brute_force(useful) else NO
        verdicts[expected] += 1
        found = check(operations)
        assert found.verdict == expected, "\n".join(map(str, [*operations, found.reason]))

    agrees()
    return verdicts


def test_the_checker_agrees_with_brute_force_on_good_histories_and_changed_ones() -> None:
    verdicts = agreements(histories())
    assert verdicts[YES] > 120
    assert verdicts[NO] > 120


def test_the_checker_agrees_with_brute_force_where_most_writes_are_unknown() -> None:
    def doubt(operations: list[Operation]) -> list[Operation]:
        return [_without_word(each) if each.kind != "read" and each.number % 3 else each for each in operations]

    verdicts = agreements(histories(changes_max=6).map(doubt))
    assert verdicts[YES] > 80
    assert verdicts[NO] > 80


@pytest.mark.parametrize("seed", range(20))
def test_a_history_of_rows_that_are_right_is_good(seed: int) -> None:
    found = check(play(seed))
    assert found.verdict == YES, found.reason
    assert found.steps < 20_000


def test_two_thousand_operations_are_judged_in_few_steps() -> None:
    found = check(play(1, count=2_000, keys=50, clients=8))
    assert found.verdict == YES, found.reason
    assert found.steps < 20_000


def test_sixteen_slow_clients_of_one_row_with_many_unknown_writes_are_judged_in_few_steps() -> None:
    """A search that learns nothing from versions gives up here."""
    for seed in range(5):
        operations = play(seed, count=1_000, keys=1, clients=16, slow=2.0)
        found = check(operations)
        assert found.verdict == YES, found.reason
        assert found.steps < 100_000
        reads = [each for each in operations if each.kind == "read" and each.version]
        stale = reads[-5]._replace(value=reads[5].value, version=reads[5].version)
        found = check([stale if each is reads[-5] else each for each in operations])
        assert found.verdict == NO
        assert found.steps < 1_000_000


Change = Callable[[list[Operation], random.Random], tuple[Operation, Operation] | None]


def _stale_read(operations: list[Operation], dice: random.Random) -> tuple[Operation, Operation] | None:
    """A read gets the answer of an earlier one of the row, that had ended before a write ended before this one began."""
    reads = [each for each in operations if each.kind == "read" and each.version]
    later = dice.choice(reads)
    newest = max((each.version for each in operations if each.key == later.key and each.returned < later.called), default=0)
    stale = [each for each in reads if each.key == later.key and each.version < newest]
    return (later, later._replace(value=stale[0].value, version=stale[0].version)) if stale else None


def _made_up(operations: list[Operation], dice: random.Random) -> tuple[Operation, Operation] | None:
    read = dice.choice([each for each in operations if each.kind == "read" and each.version])
    return read, read._replace(value="made up")


def _version_of_another(operations: list[Operation], dice: random.Random) -> tuple[Operation, Operation] | None:
    """An acknowledged write is told the version that a read showed with another value."""
    seen = dice.choice([each for each in operations if each.kind == "read" and each.version])
    writes = [each for each in operations if each.key == seen.key and each.kind == "upsert" and each.outcome == OK]
    others = [each for each in writes if each.version != seen.version]
    return (others[0], others[0]._replace(version=seen.version)) if others else None


def _missing_row(operations: list[Operation], dice: random.Random) -> tuple[Operation, Operation] | None:
    """A read finds no row where each delete came to its end before, or was called after: so there must be one."""
    deletes = [each for each in operations if each.kind == "delete"]
    for read in (each for each in operations if each.kind == "read" and each.version):
        mine = [each for each in deletes if each.key == read.key]
        known = [each for each in operations if each.key == read.key and each.version and each.returned < read.called]
        newest = max((each.version for each in known), default=0)
        if known and all(each.called > read.returned or (each.outcome != UNKNOWN and each.version < newest) for each in mine):
            return read, read._replace(value=None, version=0)
    return None


def _wrong_refusal(operations: list[Operation], dice: random.Random) -> tuple[Operation, Operation] | None:
    """No write of this row has the version, whose mismatch with itself is claimed."""
    done = [each for each in operations if each.if_version is not None and each.outcome == OK]
    write = dice.choice(done)
    around = [each for each in operations if each.key == write.key and each is not write]
    alone = all(each.returned < write.called or each.called > write.returned for each in around if each.kind in WRITES)
    return (write, write._replace(outcome=REFUSED, code="version_mismatch", version=0)) if alone else None


@pytest.mark.parametrize("change", [_stale_read, _made_up, _version_of_another, _missing_row, _wrong_refusal])
def test_a_good_history_with_one_answer_changed_is_bad(change: Change) -> None:
    changed = 0
    for seed in range(60):
        operations = play(seed, unknown=0.02)
        pair = change(operations, random.Random(seed))
        if pair is None:
            continue
        right, wrong = pair
        found = check([wrong if each is right else each for each in operations])
        assert found.verdict == NO, f"seed {seed}: {right} became {wrong}"
        changed += 1
    assert changed > 10


def test_every_history_with_one_lost_write_that_was_seen_is_bad() -> None:
    for seed in range(20):
        operations = play(seed)
        seen = {each.version for each in operations if each.kind == "read"}
        lost = next(each for each in operations if each.outcome == OK and each.kind in WRITES and each.version in seen)
        assert check([each for each in operations if each is not lost]).verdict == NO
