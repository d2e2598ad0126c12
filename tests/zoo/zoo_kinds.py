"""What a planted bug is, and what it means to find it.

A bug is looked for by playing seeds, one after another, with the bug planted. Most are played by the simulator (`tests/sim`); what lives
elsewhere has a play of its own, which calls the real code, and where there is one the very check that a room's tests make. A seed finds
the bug when the play raises; then the same seed is played without the bug and must pass, so that the bug and not the seed is at fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from zoo_plant import Plant, module_of

sim_world: Any = module_of("sim", "sim_world")
sim_options: Any = module_of("sim", "sim_options")
sim_damage: Any = module_of("sim", "sim_damage")

Options = Any  # sim_options.Options
Play = Callable[[int], None]  # raises where something is wrong

SEEDS_MAX = 500


def in_simulator(**options: Any) -> Play:
    """The simulator, with the mix of faults that the seed draws; `options` are fixed, so that the fault which the bug needs is there."""

    def play(seed: int) -> None:
        sim_world.play(seed, sim_options.draw(seed)._replace(**options))

    return play


class Bug(NamedTuple):
    name: str  # the number in the catalogue, or the name of a corner of the design
    planted: str  # one sentence
    real: str  # where it was real
    plant: Plant
    catches: tuple[str, ...]  # what finds it: words of the check, any of these
    play: Play = in_simulator()
    seeds_max: int = SEEDS_MAX


class Absent(NamedTuple):
    """A bug of the catalogue that cannot exist here."""

    name: str
    why: str


class Find(NamedTuple):
    """What one seed came to."""

    caught: str  # the check's words; empty: nothing was found
    is_expected: bool


def hunt(bug: Bug, seed: int) -> Find:
    """Plays one seed with the bug planted."""
    with bug.plant():
        problem = failure_of(bug.play, seed)
    if problem is None:
        return Find("", False)
    return Find(_short(problem), any(word in problem for word in bug.catches))


def failure_of(play: Play, seed: int) -> str | None:
    """The check's last words, None where all is well. A process that cannot start on what it finds on its disk ends a run, too."""
    try:
        play(seed)
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - whatever a planted bug makes the code raise
        return _problem_of(error)
    return None


def _problem_of(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, sim_world.Violated):
        return text.rpartition("\nseed=")[2].partition(": ")[2]
    return f"{type(error).__name__}: {text}"


def _short(problem: str) -> str:
    """One line of it: the first; where that begins a traceback, also the last."""
    lines = [line.strip() for line in problem.splitlines() if line.strip()] or [problem]
    line = lines[0] if "Traceback" not in lines[0] else f"{lines[0].partition('Traceback')[0]}{lines[-1]}"
    return line[:160]
