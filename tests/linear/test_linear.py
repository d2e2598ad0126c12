"""The judge is judged by histories whose verdict is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from linear_checker import NO, NOT_KNOWN, YES, check
from linear_history import NEVER, OK, REFUSED, UNKNOWN, Malformed, Operation, load, save
from linear_played import play

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
    "an update is merged into the row, and null is as good as nothing": [
        *(op(0, 1, "insert", {"a": 1, "b": [2]}, 1), op(2, 3, "update", {"a": None, "c": 3}, 2)),
        *(op(4, 5, "read", {"c": 3, "b": [2], "a": None}, 2), op(6, 7, "read", {"c": 3, "b": [2]}, 2)),
    ],
    "one unknown write after another": [
        *(
            op(0, 1, "insert", "a", 1),
            unknown(2, "delete"),
            unknown(3, "insert", "b"),
            op(4, 5, "read", "b", 3),
            op(6, 7, "upsert", "c", 4),
        ),
    ],
    "an unknown write has room between two versions": [
        *(op(0, 1, "insert", "a", 3), unknown(2, "delete"), op(3, 4, "update", "b", code="row_not_found"), op(5, 6, "upsert", "c", 5)),
    ],
    "a select is no matter of a row": [Operation(0, "c", "select", "", 0, 1, OK, [["k", "a", 1]], index=1)],
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
    "true for 1": [op(0, 1, "insert", 1, 1), op(2, 3, "read", True, 1)],
    "1.0 for 1": [op(0, 1, "insert", {"a": 1}, 1), op(2, 3, "read", {"a": 1.0}, 1)],
    "an update that replaced the row": [
        *(op(0, 1, "insert", {"a": 1, "b": 2}, 1), op(2, 3, "update", {"a": 3}, 2), op(4, 5, "read", {"a": 3}, 2)),
    ],
    "an unknown write without room between two versions": [
        *(op(0, 1, "insert", "a", 3), unknown(2, "delete"), op(3, 4, "update", "b", code="row_not_found"), op(5, 6, "upsert", "c", 4)),
    ],
    "a mismatch with a version that turns out to be it": [
        *(unknown(0, "insert", "a"), op(1, 2, "update", "b", if_version=4, code="version_mismatch"), op(3, 4, "read", "a", 4)),
    ],
    "a mismatch that leaves an unknown version no room": [
        *(unknown(0, "insert", "a"), op(1, 2, "update", "b", if_version=1, code="version_mismatch"), op(3, 4, "upsert", "c", 2)),
    ],
    "an unknown write that was done twice": [
        *(unknown(0, "insert", "a"), op(1, 2, "delete", version=5), op(3, 4, "read", "a", 6), op(5, 6, "delete", version=7)),
        op(7, 8, "read", "a", 8),
    ],
    "an acknowledged write without a version": [op(0, 1, "insert", "a", 0)],
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
    assert check(history(*together, op(101, 102, "read")), steps_max=10).verdict == NOT_KNOWN


def test_a_bad_row_counts_more_than_one_that_was_given_up() -> None:
    together = [op(0, 100, "upsert", f"v{number}", number + 1)._replace(key="a") for number in range(12)]
    bad = [each._replace(key="b") for each in BAD["a stale read"]]
    assert check(history(*together, *bad), steps_max=10).verdict == NO
    assert check(history(*bad, *(each._replace(key="c") for each in together)), steps_max=10).verdict == NO


def test_the_reason_tells_the_way_to_where_it_ends_and_what_cannot_come_next() -> None:
    lines = check(history(*BAD["a stale read"])).reason.splitlines()
    assert lines == [
        "row k: no order explains the answers. Farthest: 1 of 3 operations, the last ones",
        "    #0 c [0.0000, 1.0000] insert k 'a' -> version 1",
        'after which there is "a" with version 1; then none of these can come next',
        "    #1 c [2.0000, 3.0000] update k 'b' -> version 2; #2 could not follow it",
        "    #2 c [4.0000, 5.0000] read k 'a' -> version 1",
    ]


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (op(0, 1, "replace", "a", 1), "kind"),
        (op(0, 1, "insert", "a", outcome="not done"), "left out"),
        (op(2, 1, "insert", "a", 1), "before it was called"),
        (op(0, float("nan"), "insert", "a", 1), "before it was called"),
        (op(0, 1, "insert", "a", -1), "negative"),
        (op(0, 1, "insert", "a", 1, outcome=UNKNOWN), "acknowledged"),
        (op(0, 1, "insert", "a", outcome=REFUSED), "a refusal has a code"),
        (op(0, 1, "insert", "a", 1, outcome=OK, code="row_exists"), "no code"),
        (op(0, 1, "read", "a"), "found no row"),
        (op(0, 1, "insert", "a", 1, if_version=1), "asks for a version"),
    ],
)
def test_what_is_no_history_gets_no_verdict(operation: Operation, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        check([operation])


def judged(path: Path) -> tuple[int, str]:
    """Exit status and output of the command."""
    result = subprocess.run([sys.executable, str(HERE / "judge.py"), str(path)], check=False, capture_output=True, text=True)
    return result.returncode, result.stdout


def test_a_history_comes_back_from_its_file_and_is_judged_by_the_command(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    operations = play(3)
    save(operations, path)
    assert load(path) == operations
    status, said = judged(path)
    assert (status, said.split(": ")[-1]) == (0, "yes\n")
    save(history(*BAD["a lost write"]), path)
    status, said = judged(path)
    assert status == 1
    assert "no order explains" in said


def test_the_command_finds_a_select_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    save(history(op(0, 1, "insert", "a", 1), Operation(0, "c", "select", "", 2, 3, OK, [], index=2)), path)
    status, said = judged(path)
    assert (status, said.splitlines()[0].split(": ")[-1]) == (1, "no")
    assert "no row k in #1 c" in said


@pytest.mark.parametrize("text", ["", "{}", "{", '{"number": 1, "else": 2}', "[1]"])
def test_a_file_without_a_history_is_neither_good_nor_bad(text: str, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(text)
    assert judged(path)[0] == 2
    assert judged(tmp_path / "none")[0] == 2
