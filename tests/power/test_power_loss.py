"""The power goes at every write, sync and change of a name; whatever of the unsynced came through, nothing that was promised is lost."""

from __future__ import annotations

from collections import Counter

import pytest
from power_cuts import FAMILIES, Cut, cuts_of, family, one_of_each
from power_record import Recording
from power_trials import PROBLEMS_SHOWN, Trials, problems, recorded

PARTS = 6
POINTS_MIN = 2_000  # of the usual run
CUT_AGAIN = "pytest tests/power --power-cut"


def chosen(recording: Recording, every_cut: bool) -> list[Cut]:
    cuts = [cut for cut, _ in cuts_of(recording.ops)]
    return cuts if every_cut else one_of_each(cuts)


def assert_none(found: list[str]) -> None:
    more = f"\n… and {len(found) - PROBLEMS_SHOWN} more" if len(found) > PROBLEMS_SHOWN else ""
    assert not found, "\n".join(found[:PROBLEMS_SHOWN]) + more + f"\n(one again: {CUT_AGAIN} NUMBER:VARIANT)"


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", FAMILIES)
def test_power_cut_takes_nothing_that_was_promised(
    recording: Recording, trials: Trials, every_cut: bool, kind: str, part: int, pytestconfig: pytest.Config
) -> None:
    size = -(-len(recording.ops) // PARTS)
    wanted = [cut for cut in chosen(recording, every_cut) if family(cut.variant) == kind and (cut.number - 1) // size == part]
    if (only := pytestconfig.getoption("--power-cut", None)) is not None:
        number, _, variant = only.partition(":")
        wanted = [cut for cut, _ in cuts_of(recording.ops) if cut == Cut(int(number), variant) and (kind, part) == (FAMILIES[0], 0)]
        assert wanted or (kind, part) != (FAMILIES[0], 0), f"the script has no cut {only}"
    before = trials.points
    found = list(problems(trials, recording.ops, wanted))
    assert trials.points - before == len(wanted), "not every cut was tried"
    assert_none(found)


def test_script_has_every_kind_of_place_in_number(recording: Recording, every_cut: bool) -> None:
    cuts = chosen(recording, every_cut)
    assert len(cuts) >= POINTS_MIN, "the script became shorter"
    by_family = Counter(family(cut.variant) for cut in cuts)
    assert min(by_family[name] for name in FAMILIES) >= 200, by_family
    marks = Counter(op.mark[0] for op in recording.ops if op.kind == "mark")
    assert {"opened", "saved", "applying", "durable", "compacting", "suspect", "installing", "installed"} <= marks.keys()
    # How many operations there are of each kind, in the log and around the tables.
    kinds = Counter((op.kind, op.path.partition("/")[0].rstrip("0123456789")) for op in recording.ops if op.kind != "mark")
    for place in [("write", "log"), ("sync", "log"), ("sync_dir", "log"), ("unlink", "log"), ("rename", "log"), ("allocate", "log")]:
        assert kinds[place] >= 4, f"{place}: {kinds[place]}"
    for place in [("write", "tables-"), ("sync", "tables-"), ("truncate", "tables-"), ("rename", "incoming.db"), ("write", "outgoing")]:
        assert kinds[place] >= 2, f"{place}: {kinds[place]}"


def test_recording_is_the_same_each_time(recording: Recording, scratch: str) -> None:
    """So that the number of a cut in a failure names the same one tomorrow."""
    again = recorded(f"{scratch}/again", 0)
    assert [op for op in again.ops if op.kind != "mark"] == [op for op in recording.ops if op.kind != "mark"]
