"""Each planted bug is found by the seed that is known to find it, and without the bug the same seed passes.

The seeds are in `found.json`; `python tests/zoo/search.py` looks for them anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from search import report
from zoo_bugs import ABSENT, BUGS
from zoo_kinds import failure_of, hunt
from zoo_plant import edited, replaced

FOUND = json.loads((Path(__file__).parent / "found.json").read_text("utf-8"))
CATALOGUE = 27

RENEW = "where the simulator or the product changed, `python tests/zoo/search.py` looks for a seed that finds it"


def test_every_bug_of_the_catalogue_is_planted_or_said_to_be_absent() -> None:
    named = [*BUGS, *(absent.name for absent in ABSENT)]
    assert sorted(int(name) for name in named if name.isdecimal()) == list(range(1, CATALOGUE + 1))
    assert len(set(named)) == len(named)


def test_every_planted_bug_was_found() -> None:
    assert [name for name in BUGS if name not in FOUND] == [], RENEW
    assert [name for name in FOUND if name not in BUGS] == [], RENEW


@pytest.mark.parametrize("name", sorted(set(BUGS) & set(FOUND)))
def test_a_planted_bug_is_found(name: str) -> None:
    bug, seed = BUGS[name], FOUND[name]["seed"]
    find = hunt(bug, seed)
    assert find.caught, f"seed {seed} does not find bug {name} ({bug.planted}); {RENEW}"
    assert find.is_expected, f"seed {seed} finds something else than {bug.catches}: {find.caught}"
    problem = failure_of(bug.play, seed)
    assert problem is None, f"seed {seed} fails without the bug: {problem}"


class Product:
    def total(self, count: int) -> int:
        return count + 1


def test_an_edit_changes_one_place_and_is_taken_back() -> None:
    with edited(Product, "total", ("count + 1", "count + 2"))():
        assert Product().total(1) == 3
    assert Product().total(1) == 2


def test_an_edit_is_taken_back_when_the_play_raises() -> None:
    with pytest.raises(ValueError, match="play"), edited(Product, "total", ("count + 1", "count + 2"))():
        raise ValueError("play")
    assert Product().total(1) == 2


def test_an_edit_of_what_is_not_there_once_is_refused() -> None:
    with pytest.raises(AssertionError, match="0 times"), edited(Product, "total", ("count - 1", "count"))():
        pass
    with pytest.raises(AssertionError, match="2 times"), edited(Product, "total", ("count", "number"))():
        pass


def test_what_is_replaced_must_stand_in_the_class_that_is_named() -> None:
    class Child(Product):
        pass

    with pytest.raises(AssertionError, match="inherited"), replaced(Child, "total", lambda old: old)():
        pass


def test_the_report_counts_what_is_known() -> None:
    known = {"seed": 4, "seeds": 5, "caught": "a | b"}
    lines = report({"1": known}).splitlines()
    assert lines[-1] == f"1 of {len(BUGS)} planted bugs found; seeds to the first find: median 5, at most 5"
    assert lines[2].endswith("| 5 | a / b |")
    assert lines[3].endswith(f"| not in {BUGS['2'].seeds_max} |  |")


def test_a_bug_that_nothing_finds_is_not_reported_as_found() -> None:
    harmless = BUGS["1"]._replace(plant=replaced(Product, "total", lambda old: old), play=lambda seed: None)
    assert hunt(harmless, 0).caught == ""


def test_a_bug_that_something_else_finds_is_not_taken_for_found() -> None:
    def stumble(seed: int) -> None:
        raise ValueError("another thing")

    find = hunt(BUGS["1"]._replace(plant=replaced(Product, "total", lambda old: old), play=stumble), 0)
    assert (find.caught, find.is_expected) == ("ValueError: another thing", False)
