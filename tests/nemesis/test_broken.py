"""Whole rounds with something broken on purpose: a nemesis that finds nothing there would find nothing anywhere."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from nemesis_cluster import Cluster
from nemesis_faults import Fault, Kill
from nemesis_history import load
from nemesis_plan import Step
from nemesis_round import Round, play

MIB = 1024 * 1024


class LyingDisks(Fault):
    """Every disk answers fsync and writes nothing; then the power goes."""

    needs = frozenset({"disk"})

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        for disk in cluster.disks.values():
            disk.command(lie=True)
        return "fsync lies"

    def end(self, cluster: Cluster) -> None:
        for host, node in cluster.nodes.items():
            node.kill()
            cluster.disks[host].command(crash="lose")
        for node in cluster.nodes.values():
            node.start()


class KilledForGood(Kill):
    def end(self, cluster: Cluster) -> None:
        """Nobody starts it again."""


def round_with(fault: Fault, folder: Path) -> Round:
    reason = fault.unavailable()
    if reason is not None:
        pytest.skip(reason)
    # One segment and no checkpoint: else the nodes see by themselves that their disks lied, and refuse to start.
    limits = {"segment_bytes": 32 * MIB, "disk_reserve_bytes": 4 * MIB, "checkpoint_wal_bytes": 1024 * MIB, "checkpoint_entries": 1_000_000}
    return play(1, 8.0, folder, [Step(fault, 2.0, 6.0, "seed")], back_seconds=10.0, limits=limits)


def test_acknowledged_writes_that_a_lying_disk_lost_are_found(tmp_path: Path) -> None:
    played = round_with(LyingDisks("lying disks"), tmp_path)
    # What is left is counted only when all nodes are back. That the place of a lost write was given to another one is told in any case.
    is_counted = not any("all nodes back in service" in finding for finding in played.findings)
    told = "LOST" if is_counted else "both have place"
    assert any(told in finding for finding in played.findings), played.report(tmp_path)


def test_a_node_that_does_not_come_back_is_found(tmp_path: Path) -> None:
    played = round_with(KilledForGood("killed for good"), tmp_path)
    report = played.report(tmp_path)
    assert any("all nodes back in service: not within 10 s" in finding for finding in played.findings), report
    assert "again: pytest tests/nemesis --seed 1 --round-seconds 8" in report
    assert (tmp_path / "report.txt").read_text() == report + "\n"
    assert load(tmp_path / "history.jsonl") == played.operations
