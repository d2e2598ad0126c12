"""The power goes again while a node recovers, or after a process that was killed came back: what it then saw was not all synced."""

from __future__ import annotations

from power_cuts import cuts_of, one_of_each
from power_disk import PowerDisk
from power_promises import promises_at
from power_record import Again, Recording, played
from power_trials import Trials, problems
from test_power_loss import assert_none


def disk_before(recording: Recording, again: Again) -> PowerDisk:
    """A power cut leaves a disk that is at rest; a killed process leaves one with all its unsynced changes."""
    return played(recording.ops[: again.number]) if again.image is None else PowerDisk(again.image)


def test_second_cut_takes_nothing_that_was_promised(recording: Recording, trials: Trials, again_number: int, every_cut: bool) -> None:
    again = recording.again[again_number]
    wanted = [cut for cut, _ in cuts_of(again.ops, disk_before(recording, again))]
    if not every_cut:
        wanted = one_of_each(wanted)
    before = trials.points
    found = list(problems(trials, again.ops, wanted, disk_before(recording, again), promises_at(recording.ops, again.number)))
    assert trials.points - before == len(wanted) >= 40
    assert_none([f"first cut {again.number}:{again.variant}, then {problem}" for problem in found])


def test_recoveries_begin_from_cuts_and_from_kills(recording: Recording) -> None:
    assert {again.image is None for again in recording.again} == {True, False}
    assert len({again.number for again in recording.again}) == len(recording.again)
