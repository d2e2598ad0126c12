"""Many seeds, on all cores: what they came to, as one tally."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context

from sim_world import Violated, play

CHUNK = 20
SEEDS_FOR_ALL = 200  # so many reach everything that `SOMETIMES` names

# What some run must come to. Where one of these is never reached, the simulator has gone blind there.
SOMETIMES = (
    "a client got NoLeader",
    "a client got NotReady",
    "a client got OutcomeUnknown",
    "a clock leapt",
    "a clock ran at a wild rate",
    "a disk was wiped",
    "a failed fsync stopped a node",
    "a flipped bit was found",
    "a history was judged",
    "a joint membership",
    "a leader knew less than was committed",
    "a link was clogged",
    "a membership change of one node",
    "a membership change of several nodes",
    "a message was doubled",
    "a message was lost",
    "a new life was promoted",
    "a node registered again",
    "a node stopped in good order",
    "a node whose state went astray was quarantined",
    "a node without its disk was demoted",
    "a peer learned that a process is gone",
    "a power cut met unsynced data",
    "a power cut tore what was not synced",
    "a pre-vote was refused",
    "a process was paused and went on",
    "a repeated proposal was refused",
    "a snapshot was damaged on its way",
    "a snapshot was installed",
    "a snapshot's transfer failed",
    "a stored answer was given again",
    "a vote was refused",
    "a write found no space on the disk",
    "a write was held until there was a leader",
    "a write was refused because a disk was full",
    "a write with a key was repeated",
    "an uncommitted tail was replaced",
    "each node saw another majority",
    "leadership was handed over",
    "the log was compacted",
)


@dataclass
class Tally:
    seeds: int = 0
    simulated_seconds: float = 0.0  # of the cluster's time
    cpu_seconds: float = 0.0
    operations: int = 0  # calls of clients that came to an end
    messages: int = 0
    sometimes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)  # transcripts

    def add(self, other: Tally) -> None:
        self.seeds += other.seeds
        self.simulated_seconds += other.simulated_seconds
        self.cpu_seconds += other.cpu_seconds
        self.operations += other.operations
        self.messages += other.messages
        self.sometimes.update(other.sometimes)
        self.failures += other.failures

    @property
    def never(self) -> list[str]:
        """Of `SOMETIMES`, once there were enough seeds to ask for all of it."""
        return [] if self.seeds < SEEDS_FOR_ALL else [name for name in SOMETIMES if not self.sometimes[name]]

    @property
    def speed_up(self) -> float:
        """Cluster seconds a second of one core."""
        return self.simulated_seconds / max(self.cpu_seconds, 1e-9)

    def __str__(self) -> str:
        return (
            f"{self.seeds:,} seeds, {len(self.failures)} failed; {self.simulated_seconds / 3600:.2f} h of cluster time, "
            f"{self.speed_up:.0f} times real time a core; {self.operations:,} calls, {self.messages:,} messages"
        )


def play_all(seeds: range) -> Tally:
    tally = Tally(len(seeds))
    begin = time.process_time()
    for seed in seeds:
        try:
            world = play(seed)
        except Violated as violated:
            tally.failures.append(str(violated))
            continue
        tally.simulated_seconds += world.timers.now
        tally.operations += sum(len(client.done) for client in world.clients)
        tally.messages += world.network.sent
        tally.sometimes.update(world.sometimes)
    tally.cpu_seconds = time.process_time() - begin
    return tally


def chunks(base: int, seeds: int | None = None) -> Iterator[range]:
    """`seeds` of them from `base` on; None: for ever."""
    for first in count(base, CHUNK) if seeds is None else range(base, base + seeds, CHUNK):
        yield range(first, first + CHUNK if seeds is None else min(first + CHUNK, base + seeds))


def pool(jobs: int | None = None) -> ProcessPoolExecutor:
    # `spawn`: the workers inherit nothing, so a seed plays there as it does alone.
    return ProcessPoolExecutor(jobs or os.cpu_count(), get_context("spawn"))


def play_for(seconds: float, base: int, jobs: int | None = None) -> Iterator[Tally]:
    """Chunk after chunk until the time is over."""
    until = time.monotonic() + seconds
    waiting: set[Future[Tally]] = set()
    more = chunks(base)
    with pool(jobs) as workers:
        while waiting or time.monotonic() < until:
            while time.monotonic() < until and len(waiting) < 2 * (jobs or os.cpu_count() or 1):
                waiting.add(workers.submit(play_all, next(more)))
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
