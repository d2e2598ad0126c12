"""seed -> which faults, when, on whom. Any nine seeds in a row meet every kind; what overlaps is up to the dice."""

from __future__ import annotations

import random
from dataclasses import dataclass

from nemesis_cuts import Bad, Cut
from nemesis_disk_faults import FailedSync, FullDisk, PowerCut, SlowDisk
from nemesis_faults import (
    BlockedLog,
    Clock,
    CrashLoop,
    Fault,
    FewFiles,
    Flap,
    Kill,
    Pause,
    RollingRestart,
    Stutter,
    Wipe,
)

CALM_SECONDS = 1.5  # at the beginning, and at least so long before the next fault begins
SLOTS = 4  # faults one after another in a round
OVERLAP = 0.6  # the chance that a slot has a second fault, of another realm
RESERVE_BYTES = 4 * 1024 * 1024  # as in the limits of `nemesis_cluster`

JUMPS = ("+1", "-1", "+3600", "-3600", "+864000", "-864000")
RATES = ("+0 x2", "+0 x0.5", "+0 x1.2", "+0 x0.8")


def kinds() -> list[Fault]:
    """Fresh ones, in an order that spreads the realms over the rounds."""
    return [
        Kill("kill one"),
        Cut("cut off the leader", shape="alone", who="leader"),
        Pause("pause one"),
        PowerCut("power cut of one"),
        Bad("delay", who="one", rule={"delay_ms": [5, 40, 120], "jitter_ms": [0, 20, 60]}),
        FailedSync("one fsync fails", count=1),
        Cut("pair cut", shape="pair"),
        Clock("clocks jump", who="all", offsets=JUMPS),
        Kill("kill the leader", who="leader"),
        Bad("loss", who="one", rule={"loss": [0.02, 0.1, 0.3]}),
        FullDisk("disk low", who="majority", free_bytes=RESERVE_BYTES // 2),
        Cut("deaf", shape="deaf"),
        Wipe("data lost"),
        Flap("loose cable", seconds=(0.05, 0.8)),
        RollingRestart("rolling restart"),
        Bad("duplication", who="all", rule={"duplicate": [0.1, 0.5]}),
        PowerCut("power cut of all", who="all"),
        Cut("mute", shape="mute", who="leader"),
        Pause("pause the leader", who="leader"),
        BlockedLog("blocked log", who="all"),
        Cut("ring", shape="ring"),
        FullDisk("disk full", free_bytes=0),
        Kill("kill the majority", who="majority"),
        FewFiles("no descriptors left"),
        Bad("reordering", who="all", rule={"reorder": [0.05, 0.3], "jitter_ms": [5]}),
        SlowDisk("slow disk"),
        Cut("shattered", shape="shattered"),
        Kill("the leader's machine vanishes", who="leader", vanish=True),
        Clock("clocks drift", who="all", offsets=RATES),
        FailedSync("every fsync of the leader fails", count=-1, who="leader"),
        Bad("everything bad", who="all", rule={"delay_ms": [5], "jitter_ms": [20], "loss": [0.02], "duplicate": [0.05], "reorder": [0.05]}),
        Kill("kill all", who="all"),
        Stutter("stutter", seconds=(0.02, 0.3)),
        CrashLoop("crash loop"),
        Cut("clients cut", shape="clients"),
        SlowDisk("slow disk of the leader", who="leader"),
    ]


def kind(name: str) -> Fault:
    return next(fault for fault in kinds() if fault.name == name)


@dataclass
class Step:
    fault: Fault
    begin_seconds: float
    end_seconds: float
    seed: str
    skipped: str | None = None
    said: str = ""

    def __str__(self) -> str:
        what = f"skipped: {self.skipped}" if self.skipped else self.said or "did not begin"
        return f"{self.begin_seconds:5.1f} to {self.end_seconds:5.1f} s  {self.fault.name}: {what}"


def plan(seed: int, seconds: float) -> list[Step]:
    """In order of their beginnings."""
    dice = random.Random(f"plan {seed}")
    deck = kinds()
    slot_seconds = (seconds - CALM_SECONDS) / SLOTS
    steps: list[Step] = []
    for slot in range(SLOTS):
        main = deck[(seed * SLOTS + slot) % len(deck)]
        begin = CALM_SECONDS + slot * slot_seconds
        end = begin + dice.uniform(0.4, 0.75) * slot_seconds
        steps.append(_step(main, begin, end, seed, slot))
        # Data is lost at most once in a round: with a second loss there may be no majority that has it.
        second = dice.choice([fault for fault in kinds() if fault.realm != main.realm and not isinstance(fault, Wipe)])
        begin_second = dice.uniform(begin, end - 0.2 * slot_seconds)
        end_second = dice.uniform(begin_second + 0.2 * slot_seconds, begin + 0.85 * slot_seconds)
        if dice.random() < OVERLAP:
            steps.append(_step(second, begin_second, end_second, seed, slot))
    return sorted(steps, key=lambda step: step.begin_seconds)


def _step(fault: Fault, begin: float, end: float, seed: int, slot: int) -> Step:
    return Step(fault, begin, end, f"{seed} {slot} {fault.name}", fault.unavailable())
