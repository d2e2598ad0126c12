"""The judge of places in the log is judged: histories whose fault is known, good ones played, and good ones with one answer changed."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import pytest
from linear_history import NEVER, OK, UNKNOWN, WRITES, Operation
from linear_index import FINDINGS_MAX, Need, index_findings, unmatched
from linear_played import play


def write(called: float, returned: float, kind: str, key: str, value: Any, version: int, **more: Any) -> Operation:
    outcome = OK if version else UNKNOWN
    return Operation(0, "c", kind, key, called, returned if version else NEVER, outcome, value, version, **more)


def read(called: float, returned: float, key: str, value: Any, version: int, index: int) -> Operation:
    return Operation(0, "c", "read", key, called, returned, OK, value, version, index=index)


def select(called: float, returned: float, index: int, *rows: tuple[str, Any, int], prefix: str = "") -> Operation:
    return Operation(0, "c", "select", prefix, called, returned, OK, list(map(list, rows)), index=index)


def history(*operations: Operation) -> list[Operation]:
    return [each._replace(number=number) for number, each in enumerate(operations)]


A1 = write(0, 1, "insert", "a", "one", 5)
B1 = write(0, 1, "insert", "b", "two", 6)
UNSURE = write(2, 0, "upsert", "a", "new", 0)
GONE = write(2, 0, "delete", "a", None, 0)
PAIR = (write(2, 0, "insert", "c", "half", 0, batch=1), write(2, 0, "insert", "d", "half", 0, batch=1))

GOOD = {
    "nothing": [],
    "all rows at one index": [A1, B1, select(2, 3, 6, ("a", "one", 5), ("b", "two", 6))],
    "a select between two writes at once": [A1, B1, select(0, 1, 5, ("a", "one", 5))],
    "a select of one table": [A1, B1, select(2, 3, 6, ("a", "one", 5), prefix="a")],
    "two reads at one index": [A1, read(2, 3, "a", "one", 5, 5), read(4, 5, "a", "one", 5, 5)],
    "an unknown write that was seen": [A1, UNSURE, select(3, 4, 8, ("a", "new", 8))],
    "an unknown write that was not": [A1, UNSURE, select(3, 4, 8, ("a", "one", 5))],
    "an unknown delete": [A1, GONE, read(3, 4, "a", "one", 5, 6), select(3, 4, 7), select(5, 6, 9)],
    "a delete, and the row again": [
        *(A1, write(2, 3, "delete", "a", None, 7), read(4, 5, "a", None, 0, 7)),
        *(write(6, 7, "insert", "a", "one", 9), select(8, 9, 9, ("a", "one", 9))),
    ],
    "one write of two rows": [
        *(write(0, 1, "insert", "a", 1, 5, batch=1), write(0, 1, "insert", "b", 1, 5, batch=1)),
        select(2, 3, 5, ("a", 1, 5), ("b", 1, 5)),
    ],
    "an unknown write of two rows, before and after": [*PAIR, select(3, 4, 7), select(5, 6, 8, ("c", "half", 8), ("d", "half", 8))],
    "an update of one column": [
        write(0, 1, "insert", "a", {"x": 1}, 5),
        write(2, 3, "update", "a", {"y": 2}, 6),
        select(4, 5, 6, ("a", {"x": 1, "y": 2}, 6)),
    ],
    "what touches in time overlaps": [A1, write(1, 2, "insert", "b", "two", 4)],
    "an unknown write that was called when another one returned": [
        *(A1, write(1, 2, "insert", "b", "two", 9), UNSURE, select(3, 4, 9, ("a", "new", 8), ("b", "two", 9))),
    ],
    "a row of one unknown write or of another": [*PAIR, write(2, 0, "insert", "c", "half", 0), select(5, 6, 8, ("c", "half", 8))],
    "what nobody told an index of": [A1, Operation(0, "c", "read", "a", 2, 3, OK)],
}

BAD = {
    "is not after 5": [
        [A1, write(2, 3, "insert", "b", "two", 4)],
        [A1, write(2, 3, "insert", "b", "two", 5)],
        [A1, select(2, 3, 4)],
        [A1, read(2, 3, "b", None, 0, 5), read(4, 5, "b", None, 0, 4)],
    ],
    "two writes have place 5": [
        [A1, write(0, 1, "insert", "b", "two", 5)],
        [A1._replace(batch=1), write(0, 1, "upsert", "a", "two", 5, batch=1)],
    ],
    "one write of several rows has places [5, 6]": [[A1._replace(batch=1), B1._replace(batch=1)]],
    "nobody wrote it": [
        [A1, B1, select(2, 3, 6, ("b", "two", 6))],
        [A1, read(2, 3, "a", None, 0, 5)],
        [A1, select(2, 3, 7, ("a", "else", 7))],
        [A1, UNSURE, select(0, 1, 8, ("a", "new", 8))],
        [A1, UNSURE, select(3, 4, 7, ("a", "new", 7)), write(5, 6, "upsert", "a", "b", 8), select(7, 8, 9, ("a", "new", 9))],
        [A1, GONE, read(0, 1, "a", None, 0, 5)],
        [A1, GONE, select(3, 4, 7), write(5, 6, "insert", "a", "b", 8), select(7, 8, 9)],
        [A1, GONE, select(3, 4, 7), select(3, 4, 7, ("a", "one", 5))],
        [A1, select(2, 3, 6), write(4, 5, "insert", "b", "two", 7), GONE._replace(called=6), read(7, 8, "a", None, 0, 9)],
        [write(0, 1, "insert", "b", "b", 9), UNSURE, read(3, 4, "a", "new", 8, 9)],
    ],
    "and 5 is read": [
        [A1, write(0, 1, "update", "a", "two", 6), select(2, 3, 6, ("a", "one", 5))],
        [A1, write(0, 1, "delete", "a", None, 6), select(2, 3, 7, ("a", "one", 5))],
        [A1, UNSURE, read(3, 4, "a", "new", 7, 7), read(3, 4, "a", "one", 5, 8)],
    ],
    "another is read": [
        [A1, select(2, 3, 6, ("a", "else", 5))],
        [write(0, 1, "insert", "a", 1, 5), select(2, 3, 6, ("a", True, 5))],
        [A1, write(2, 3, "delete", "a", None, 6), read(4, 5, "a", "one", 6, 6)],
    ],
    "after the index of its read": [[A1, UNSURE, select(3, 4, 6, ("a", "new", 7))]],
    "no row d in #2": [[*PAIR, select(5, 6, 8, ("c", "half", 8))]],
    "row d had version 8 at index 9": [[*PAIR, write(0, 1, "upsert", "d", "old", 3), select(5, 6, 9, ("c", "half", 8), ("d", "old", 3))]],
}


@pytest.mark.parametrize("name", GOOD)
def test_places_that_fit_are_not_reproached(name: str) -> None:
    assert index_findings(history(*GOOD[name])) == []


@pytest.mark.parametrize(("words", "number"), [(words, number) for words in BAD for number in range(len(BAD[words]))])
def test_places_that_do_not_fit_are_found(words: str, number: int) -> None:
    found = index_findings(history(*BAD[words][number]))
    assert any(words in sentence for sentence in found), found


@pytest.mark.parametrize("seed", range(20))
def test_what_was_played_is_not_reproached(seed: int) -> None:
    assert index_findings(play(seed)) == []


def test_no_select_of_what_was_played_may_show_another_row_fewer_rows_or_another_index() -> None:
    """With few unknown writes, so that none of them explains it."""
    changed = 0
    for seed in range(40):
        operations, dice = play(seed, unknown=0.0), random.Random(seed)
        asked = dice.choice([each for each in operations if each.kind == "select" and each.value])
        (key, value, version), *rest = asked.value
        newer = [each for each in operations if each.kind in WRITES and each.version > asked.index and each.called < asked.returned]
        wrongs = [
            asked._replace(value=rest),
            asked._replace(value=[*rest, [key, "else", version]]),
            asked._replace(value=[*rest, [key, value, version - 1]]),
            asked._replace(value=[*asked.value, ["k9", value, version]]),
            asked._replace(index=version - 1),
            *(asked._replace(index=each.version) for each in newer if each.outcome == OK),
        ]
        for wrong in wrongs:
            assert index_findings([wrong if each is asked else each for each in operations]), f"seed {seed}: {asked.value} became {wrong}"
            changed += 1
    assert changed > 200


def test_no_more_is_told_than_can_be_read() -> None:
    reads = [read(2 * number + 2, 2 * number + 3, "a", "else", 5, 6) for number in range(2 * FINDINGS_MAX)]
    assert len(index_findings(history(A1, *reads))) == FINDINGS_MAX


def test_as_many_needs_as_can_be_get_an_offer_of_their_own() -> None:
    """Against every way to deal out the offers."""
    dice = random.Random(5)
    offers = [write(number, 0, "delete", str(number), None, 0) for number in range(6)]
    needs = [Need(number, number, None, "") for number in range(6)]
    for _ in range(300):
        fitting = {(need, offer) for need in range(6) for offer in range(6) if dice.random() < 0.3}

        def fits(need: Need, offer: Operation, fitting: set[tuple[int, int]] = fitting) -> bool:
            return (need.after, int(offer.key)) in fitting

        best = max(sum(pair in fitting for pair in enumerate(deal)) for deal in permutations(range(6)))
        assert len(unmatched(needs, offers, fits)) == 6 - best
