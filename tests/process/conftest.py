"""Real processes on free ports, one folder for each test; nothing of them is left when the test ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddbd.cli.local import LocalCluster


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """A shell that starts tests behind its back (`&`) has them ignore SIGINT, and so would every process that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes on this machine, not yet started. Their logs are shown when the test fails."""
    with LocalCluster.on_free_ports(tmp_path) as nodes:
        yield nodes
        for node in nodes.nodes.values():
            sys.stdout.write(f"--- node {node.id} ({node.address})\n{node.log_tail()}\n")


@pytest.fixture
def running(cluster: LocalCluster) -> LocalCluster:
    """The same, ready, with the preferred master leading."""
    cluster.start()
    cluster.wait_ready()
    cluster.wait_master([cluster.preferred_id])
    return cluster
