"""What one seed turns on: each run draws its own mix of faults, sizes and limits (swarm testing)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

from ddbd.config import Config, Limits, Node, Timing


class Options(NamedTuple):
    nodes: int
    clients: int
    keys: int
    fault_seconds: float
    # The network.
    delay: float
    jitter: float
    loss: float
    duplication: float
    in_order: bool  # as a stream keeps them
    cut_every: float  # seconds on average; 0: never
    clog_every: float
    # Processes.
    crash_every: float
    power_share: float  # of the crashes
    pause_every: float
    drain_every: float
    wipe_every: float
    transfer_every: float
    change_every: float  # of the membership
    leap_every: float  # of a process's clock, forwards
    hints: float  # how often peers learn by a refused connection that a process is gone
    skew: float
    wild_rates: bool  # clocks at half to twice their speed, until the healing: nothing may go wrong, though nobody may lead either
    # Disks.
    slow_share: float
    slow_seconds: float
    fsync_fails_every: float
    forgets: bool  # a failed fsync marks its pages clean
    flip_every: float  # a bit in the log of a stopped node
    rot_every: float  # a node's tables go another way than the others'
    full_every: float
    cut_in_operation: float  # the share of power cuts that come in the middle of a disk operation
    snapshot_seconds: float
    snapshot_fails: float
    snapshot_flips: float  # a bit on its way
    checkpoint_seconds: float
    # The daemon's own.
    tail_entries: int
    checkpoint_entries: int
    segment_bytes: int
    cache_entries: int
    append_messages: int
    append_bytes: int
    failback_ms: int
    preferred: int  # the place of the preferred master


def draw(seed: int) -> Options:
    dice = random.Random(f"options {seed}")

    def maybe(share: float, low: float, high: float) -> float:
        return round(dice.uniform(low, high), 3) if dice.random() < share else 0.0

    nodes = dice.choice([1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5, 5, 6, 7])
    calm = dice.random() < 0.05
    few = 0.0 if calm else 1.0
    delay = dice.choice([0.0005, 0.002, 0.002, 0.01, 0.01, 0.03, 0.1])
    # One entry a round trip of 0.2 s is less than a dozen impatient clients repeat: such a cluster never comes to rest.
    append_messages = dice.choice([8, 256] if delay >= 0.1 else [1, 2, 8, 256])
    return Options(
        nodes=nodes,
        clients=dice.choice([2, 3, 4, 5, 12]),
        keys=dice.randrange(1, 6),
        fault_seconds=dice.uniform(4, 10),
        delay=delay,
        jitter=dice.choice([0.0, 0.001, 0.01, 0.06]),
        loss=few * maybe(0.4, 0.0, 0.15),
        duplication=few * maybe(0.3, 0.0, 0.2),
        in_order=dice.random() < 0.4,
        cut_every=few * maybe(0.6, 0.7, 4),
        clog_every=few * maybe(0.3, 0.5, 4),
        crash_every=few * maybe(0.7, 0.7, 4),
        power_share=dice.choice([0.0, 0.5, 1.0]),
        pause_every=few * maybe(0.3, 1, 4),
        drain_every=few * maybe(0.2, 1.5, 5),
        wipe_every=few * maybe(0.3, 1.5, 5),
        transfer_every=few * maybe(0.25, 0.3, 2),
        change_every=few * maybe(0.25, 0.5, 4),
        leap_every=few * maybe(0.2, 0.5, 4),
        hints=dice.choice([0.0, 0.7, 1.0]),
        skew=dice.choice([0.0, 0.0, 0.02, 0.2]),
        wild_rates=random.Random(f"rates {seed}").random() < 0.15,
        slow_share=dice.choice([0.0, 0.0, 0.3, 1.0]),
        slow_seconds=dice.choice([0.005, 0.05, 0.3]),
        fsync_fails_every=few * maybe(0.2, 1, 5),
        forgets=random.Random(f"forgets {seed}").random() < 0.5,
        flip_every=few * maybe(0.2, 1, 5),
        rot_every=few * maybe(0.2, 1, 5),
        full_every=few * maybe(0.2, 1, 5),
        cut_in_operation=dice.choice([0.0, 0.5]),
        snapshot_seconds=dice.choice([0.0, 0.05, 0.8]),
        snapshot_fails=dice.choice([0.0, 0.0, 0.3]),
        snapshot_flips=dice.choice([0.0, 0.0, 0.4]),
        checkpoint_seconds=dice.choice([0.0, 0.02, 0.3]),
        tail_entries=dice.choice([1, 5, 20, 200]),
        checkpoint_entries=dice.choice([1, 5, 30, 100]),
        segment_bytes=dice.choice([600, 2_000, 8_000]),
        cache_entries=dice.choice([4, 20, 1_000]),
        append_messages=append_messages,
        append_bytes=dice.choice([1, 300, 3_000, 1_000_000]),
        failback_ms=dice.choice([200, 1_000, 2_000]),
        preferred=dice.randrange(nodes),
    )


def config_of(options: Options) -> Config:
    ids = [str(place + 1) for place in range(options.nodes)]
    nodes = [Node(i, f"n{i}:1", place == options.preferred, f"n{i}", 1, f"n{i}") for place, i in enumerate(ids)]
    limits = Limits(
        log_tail_entries=options.tail_entries,
        checkpoint_entries=options.checkpoint_entries,
        segment_bytes=options.segment_bytes,
        cache_entries_max=options.cache_entries,
        append_messages_max=options.append_messages,
        append_bytes_max=options.append_bytes,
    )
    timing = Timing(failback_quiet_ms=options.failback_ms, failback_quiet_ms_max=4_000)
    return Config(nodes=tuple(nodes), path=Path("sim.json"), insecure=True, timing=timing, limits=limits)
