"""The judge is judged: histories whose verdict is known, every small history by brute force, and good histories with one answer changed."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from linear_checker import NO, NOT_KNOWN, YES, check
from linear_history import NEVER, OK, REFUSED, UNKNOWN, Operation, load, save
from linear_model import ABSENT, step

HERE = Path(__file__).parent


def op(called: float, returned: float, kind: str, value: Any = None, version: int = 0, **more: Any) -> Operation:
    outcome = more.pop("outcome", REFUSED if "code" in more else OK)
    return Operation(0, "c", kind, "k", called, returned, outcome, value, version, **more)


def history(*operations: Operation) -> list[Operation]:
    return [each._replace(number=number) for number, each in enumerate(operations)]


def unknown(called: float, kind: str, value: Any = None, **more: Any) -> Operation:
    return op(called, NEVER, kind, value, outcome=UNKNOWN, **more)


GOOD = {
    "nothing": [],
    "a read of nothing": [op(0, 1, "read")],
    "one after the other": [op(0, 1, "insert", "a", 1), op(2, 3, "read", "a", 1), op(4, 5, "update", "b", 2), op(6, 7, "read", "b", 2)],
    "two writes at once, read in either order": [
        *(op(0, 9, "upsert", "a", 2), op(0, 9, "upsert", "b", 1)),
        *(op(1, 2, "read", "b", 1), op(3, 4, "read", "a", 2)),
    ],
    "a read during a write may see it or not": [op(0, 9, "insert", "a", 1), op(1, 2, "read"), op(3, 4, "read", "a", 1)],
    "an unknown write that took effect late": [unknown(0, "insert", "a"), op(1, 2, "read"), op(3, 4, "read", "a", 7)],
    "an unknown write that never did": [unknown(0, "insert", "a"), op(1, 2, "read"), op(3, 4, "insert", "b", 2), op(5, 6, "read", "b", 2)],
    "an unknown delete explains a missing row": [op(0, 1, "insert", "a", 1), unknown(2, "delete"), op(3, 4, "read")],
    "a row that is there is refused": [op(0, 1, "insert", "a", 1), op(2, 3, "insert", "b", code="row_exists")],
    "a refusal that only an unknown write explains": [unknown(0, "insert", "a"), op(1, 2, "insert", "b", code="row_exists")],
    "an unknown version is bound by who compares with it": [
        *(unknown(0, "insert", "a"), op(1, 2, "update", "b", 9, if_version=4), op(3, 4, "read", "b", 9)),
    ],
    "compare and set, one wins": [
        *(op(0, 1, "insert", "a", 1), op(2, 5, "update", "b", 2, if_version=1)),
        *(op(2, 5, "update", "c", if_version=1, code="version_mismatch"), op(6, 7, "read", "b", 2)),
    ],
    "versions grow over delete and insert": [op(0, 1, "insert", "a", 1), op(2, 3, "delete", version=2), op(4, 5, "insert", "a", 3)],
    "what touches in time overlaps": [op(0, 1, "insert", "a", 1), op(1, 2, "read")],
}

BAD = {
    "a stale read": [op(0, 1, "insert", "a", 1), op(2, 3, "update", "b", 2), op(4, 5, "read", "a", 1)],
    "a lost write": [op(0, 1, "insert", "a", 1), op(2, 3, "read")],
    "a value that nobody wrote": [op(0, 1, "insert", "a", 1), op(2, 3, "read", "z", 1)],
    "a write that was applied twice": [
        *(op(0, 1, "insert", "a", 1), op(2, 3, "update", "b", 2), op(4, 5, "read", "a", 3)),
    ],
    "a delete that came undone": [op(0, 1, "insert", "a", 1), op(2, 3, "delete", version=2), op(4, 5, "read", "a", 1)],
    "compare and set won twice": [
        *(op(0, 1, "insert", "a", 1), op(2, 5, "update", "b", 2, if_version=1), op(2, 5, "update", "c", 3, if_version=1)),
    ],
    "an unknown write seen, and then not": [unknown(0, "insert", "a"), op(1, 2, "read", "a", 3), op(3, 4, "read")],
    "a version that went down": [op(0, 1, "insert", "a", 5), op(2, 3, "delete", version=6), op(4, 5, "insert", "b", 4)],
    "two clients that saw two writes in two orders": [
        *(op(0, 1, "insert", "0", 1), op(2, 9, "update", "a", 2), op(2, 9, "update", "b", 3)),
        *(op(3, 4, "read", "b", 3), op(5, 6, "read", "a", 2)),
    ],
    "a refusal without a reason": [op(0, 1, "insert", "b", code="row_exists")],
    "a refusal for a row that is there": [op(0, 1, "insert", "a", 1), op(2, 3, "update", "b", code="row_not_found")],
    "a mismatch of what matches": [op(0, 1, "insert", "a", 1), op(2, 3, "update", "b", if_version=1, code="version_mismatch")],
    "a read of the future": [op(0, 1, "read", "a", 1), op(2, 3, "insert", "a", 1)],
    "a row with the wrong version": [op(0, 1, "insert", "a", 1), op(2, 3, "read", "a", 2)],
    "an unknown write from before what was known": [op(0, 1, "insert", "a", 5), unknown(2, "update", "b"), op(3, 4, "read", "b", 4)],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_good(name: str) -> None:
    found = check(history(*GOOD[name]))
    assert found.verdict == YES, found.reason


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_bad(name: str) -> None:
    found = check(history(*BAD[name]))
    assert found.verdict == NO
    assert "no order explains" in found.reason


def test_a_bad_row_among_good_ones_is_found() -> None:
    good = [each._replace(key=f"row {number}") for number, rows in enumerate(GOOD.values()) for each in rows]
    bad = [each._replace(key="row x") for each in BAD["a stale read"]]
    assert check(history(*good)).verdict == YES
    assert "row x" in check(history(*good, *bad)).reason


def test_what_takes_too_many_steps_is_unknown() -> None:
    together = [op(0, 100, "upsert", f"v{number}", number + 1) for number in range(12)]
    assert check(history(*together, op(101, 102, "read")), steps_max=50).verdict == NOT_KNOWN


# Against brute force.


def brute_force(operations: list[Operation]) -> bool:
    """Every subset of the unknown ones, in every order that time allows."""
    known = [each for each in operations if each.outcome != UNKNOWN]
    doubtful = [each for each in operations if each.outcome == UNKNOWN]
    for mask in range(1 << len(doubtful)):
        chosen = known + [each for bit, each in enumerate(doubtful) if mask >> bit & 1]
        for order in permutations(chosen):
            if _follows_time(order) and _is_right(order):
                return True
    return False


def _follows_time(order: tuple[Operation, ...]) -> bool:
    return all(later.returned >= earlier.called for place, earlier in enumerate(order) for later in order[place + 1 :])


def _is_right(order: tuple[Operation, ...]) -> bool:
    row = ABSENT
    for operation in order:
        after = step(row, operation)
        if after is None:
            return False
        row = after
    return True


def any_operation(dice: random.Random) -> Operation:
    called = dice.randrange(6)
    kind = dice.choice(["insert", "upsert", "update", "delete", "read", "read"])
    returned, version = called + dice.randrange(4) + 0.5, dice.randrange(1, 5)
    value = None if kind == "delete" else dice.choice("ab")
    if kind == "read":
        return op(called, returned, "read", value, version) if dice.random() < 0.7 else op(called, returned, "read")
    if_version = dice.randrange(1, 5) if kind in ("update", "delete") and dice.random() < 0.3 else None
    if dice.random() < 0.2:
        return unknown(called, kind, value, if_version=if_version)
    codes = {"insert": ["row_exists"], "upsert": [], "update": ["row_not_found"], "delete": ["row_not_found"]}[kind]
    codes += ["version_mismatch"] if if_version is not None else []
    if codes and dice.random() < 0.3:
        return op(called, returned, kind, value, if_version=if_version, code=dice.choice(codes))
    return op(called, returned, kind, value, version, if_version=if_version)


def test_the_checker_agrees_with_brute_force() -> None:
    dice, verdicts = random.Random(7), Counter[str]()
    for _ in range(1_500):
        operations = history(*(any_operation(dice) for _ in range(dice.randrange(1, 6))))
        expected = YES if brute_force(operations) else NO
        assert check(operations).verdict == expected, "\n".join(map(str, operations))
        verdicts[expected] += 1
    assert verdicts[YES] > 200
    assert verdicts[NO] > 200


# Histories of a register that is right, and what becomes of them.


def played(seed: int, count: int = 300, keys: int = 5, clients: int = 6) -> list[Operation]:
    """Operations take effect at some moment between call and return, one after the other."""
    dice = random.Random(seed)
    moments: list[tuple[float, Operation]] = []
    free = [0.0] * clients
    for number in range(count):
        client = dice.randrange(clients)
        called = free[client] + dice.random()
        at = called + dice.random()
        free[client] = returned = at + dice.random()
        kind = dice.choice(["insert", "upsert", "update", "delete", "read", "read"])
        value = None if kind in ("delete", "read") else f"v{number}"
        moments.append((at, Operation(number, f"c{client}", kind, f"k{dice.randrange(keys)}", called, returned, OK, value)))
    rows = dict.fromkeys((f"k{key}" for key in range(keys)), ABSENT)
    done: list[Operation] = []
    for index, (_, operation) in enumerate(sorted(moments, key=lambda each: each[0]), 1):
        row = rows[operation.key]
        if operation.kind == "read":
            done.append(operation._replace(value=row.value, version=row.version))
            continue
        asked = operation._replace(version=index)
        if operation.kind in ("update", "delete") and row.is_there and dice.random() < 0.4:
            asked = asked._replace(if_version=dice.choice([row.version, row.version + 1]))
        after = step(row, asked)
        if after is None:
            code = "row_exists" if operation.kind == "insert" else "version_mismatch" if row.is_there else "row_not_found"
            done.append(asked._replace(outcome=REFUSED, code=code, version=0))
            continue
        rows[operation.key] = after
        if dice.random() < 0.05:
            asked = asked._replace(outcome=UNKNOWN, returned=NEVER, version=0)
        done.append(asked)
    return done


@pytest.mark.parametrize("seed", range(20))
def test_a_history_of_a_register_that_is_right_is_good(seed: int) -> None:
    found = check(played(seed))
    assert found.verdict == YES, found.reason
    assert found.steps < 20_000


def test_two_thousand_operations_are_judged_in_few_steps() -> None:
    found = check(played(1, count=2_000, keys=50, clients=8))
    assert found.verdict == YES, found.reason
    assert found.steps < 50_000


def test_most_histories_with_one_read_of_another_moment_are_bad() -> None:
    """Where the answer of an earlier read of the row is given to a later one, that began after the row had changed and this was known."""
    found = Counter[str]()
    for seed in range(40):
        operations = played(seed)
        reads = [each for each in operations if each.kind == "read" and each.version]
        later = max(reads, key=lambda each: each.called)
        known = {each.version for each in operations if each.key == later.key and each.returned < later.called and each.outcome == OK}
        stale = [each for each in reads if each.key == later.key and known and each.version < max(known)]
        if stale:
            wrong = later._replace(value=stale[0].value, version=stale[0].version)
            found[check([wrong if each is later else each for each in operations]).verdict] += 1
    assert found[YES] == 0
    assert found[NO] > 20


def test_every_history_with_one_lost_write_that_was_seen_is_bad() -> None:
    for seed in range(20):
        operations = played(seed)
        seen = {each.version for each in operations if each.kind == "read"}
        lost = next(each for each in operations if each.outcome == OK and each.kind != "read" and each.version in seen)
        assert check([each for each in operations if each is not lost]).verdict == NO


def test_a_history_comes_back_from_its_file_and_is_judged_by_the_command(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    operations = played(3)
    save(operations, path)
    assert load(path) == operations
    assert subprocess.run([sys.executable, str(HERE / "judge.py"), str(path)], check=False, capture_output=True).returncode == 0
    save(history(*BAD["a lost write"]), path)
    result = subprocess.run([sys.executable, str(HERE / "judge.py"), str(path)], check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert "no row" in result.stdout or "insert" in result.stdout
