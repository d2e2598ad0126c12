"""Every disk takes 50 ms for an fsync, the whole time: the leader stays, and its heartbeats are on time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from nemesis_cluster import Cluster
from nemesis_faults import Fault
from nemesis_history import OK
from nemesis_plan import Step
from nemesis_round import play

from ddbd.config import Timing

SYNC_SECONDS = 0.05


class SlowDisks(Fault):
    needs = frozenset({"disk"})

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self.before = cluster.statuses()
        for disk in cluster.disks.values():
            disk.command(slow_seconds=SYNC_SECONDS)
        return f"each fsync of each node takes {SYNC_SECONDS} s more"

    def end(self, cluster: Cluster) -> None:
        self.after = cluster.statuses()
        for disk in cluster.disks.values():
            disk.command(slow_seconds=0)


def terms(statuses: dict[int, dict[str, Any]]) -> set[int]:
    assert len(statuses) == 3
    return {status["term"] for status in statuses.values()}


def test_while_every_fsync_takes_50_ms_heartbeats_are_on_time_and_nobody_stands_for_election(tmp_path: Path) -> None:
    fault = SlowDisks("slow disks")
    if (reason := fault.unavailable()) is not None:
        pytest.skip(reason)
    played = play(1, 13.0, tmp_path, [Step(fault, 2.0, 12.0, "seed")], limits={})
    report = played.report(tmp_path)
    assert not played.findings, report
    assert terms(fault.before) == terms(fault.after)
    assert sum(each.is_write and each.outcome == OK for each in played.operations) > 100, report
    turns = {host: status["node"]["reactor"] for host, status in fault.after.items()}
    assert all(told["turn_wall_ms_p99"] < Timing().heartbeat_ms / 2 for told in turns.values()), turns
