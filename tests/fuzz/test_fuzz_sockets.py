"""The door of a real node over TCP: malformed requests, and clients as slow as they can be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fuzz_siege
import pytest
from fuzz_requests import case_of
from fuzz_sockets import node_bytes, play_all, times_of
from fuzz_tally import Tally

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster, LocalNode

HEAD_SECONDS, BODY_SECONDS = 2.0, 3.0
LINGER_SECONDS = 2.0  # in which a refused client's bytes are still read
SLACK_SECONDS = 2.5  # of two busy cores
LIMITS = {"body_bytes_max": 32_768, "row_bytes_max": 8_192, "head_bytes_max": 4_096, "head_fields_max": 30}
GROWTH_BYTES_MAX = 96 * 1024 * 1024
TIMED = 500
SIEGE_SECONDS = BODY_SECONDS + 1.0  # the slowest is hung up on once
READ = "/select?table=students&row_id=1"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[LocalNode]:
    limits = {**LIMITS, "head_seconds": HEAD_SECONDS, "body_seconds": BODY_SECONDS}
    with LocalCluster.on_free_ports(tmp_path, 1, limits=limits) as cluster:
        cluster.start()
        cluster.wait_ready()
        node = cluster.nodes["1"]
        assert call(node.address, "POST", "/init_database", {"db_name": "school"}).ok
        assert call(node.address, "POST", "/create_table", {"table_name": "students", "columns": ["id", "name", "grade"]}).ok
        assert call(node.address, "POST", "/insert", {"table_name": "students", "row_id": "1", "data": {"name": "Ahmed"}}).ok
        yield node
        assert node.running, f"the node ended:\n{node.log_tail()}"
        log = node.log_path.read_text()
        assert "Traceback" not in log, log[-3000:]
        assert "Unhandled" not in log, log[-3000:]


def test_malformed_requests_over_tcp_leave_a_node_that_serves(node: LocalNode, requests_count: int, seed: int) -> None:
    count, tally = requests_count // 5, Tally("HTTP over TCP")
    before = node_bytes(node.pid)
    # Other cases than those in memory: the numbers go on behind them.
    asyncio.run(
        play_all(node.port, seed, ((number, case_of(seed, number)) for number in range(requests_count, requests_count + count)), tally)
    )
    # A database of its own: a case may have dropped the table, or made a second database, and then none is the default.
    assert call(node.address, "POST", "/init_database", {"db_name": "later"}).ok
    assert call(node.address, "POST", "/create_table?db=later", {"table_name": "students", "columns": ["name"]}).ok
    assert call(node.address, "POST", "/insert?db=later", {"table_name": "students", "data": {"name": "later"}}).ok
    grown = node_bytes(node.pid) - before
    tally.notes.append(f"the node grew by {grown >> 20} MiB")
    assert grown < GROWTH_BYTES_MAX


@contextlib.contextmanager
def siege(port: int, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, fuzz_siege.__file__, str(port), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def part_ms(times: list[float], percent: int) -> float:
    """Of sorted seconds."""
    return times[len(times) * percent // 100] * 1_000


def test_slow_clients_are_hung_up_on_and_others_are_served(node: LocalNode, siege_count: int) -> None:
    """The ratio is printed, not judged: it belongs to the machine. That the deadlines are absolute is judged."""
    tally = Tally("siege")
    times_of(node.port, READ, TIMED // 5)  # warm
    calm = times_of(node.port, READ, TIMED)
    besieged: list[float] = []
    with siege(node.port, siege_count) as process:
        began = time.monotonic()
        while len(besieged) < TIMED or time.monotonic() - began < SIEGE_SECONDS:
            besieged += times_of(node.port, READ, 50)
        said, _ = process.communicate("")
    besieged.sort()
    told = json.loads(said)
    tally.kinds["held connections"] = siege_count
    tally.outcomes.update(told["ended"])
    tally.notes.append(
        f"p50 {part_ms(calm, 50):.2f} -> {part_ms(besieged, 50):.2f} ms, p99 {part_ms(calm, 99):.2f} -> {part_ms(besieged, 99):.2f} ms, "
        f"ratio {part_ms(besieged, 99) / part_ms(calm, 99):.2f}; longest {told['longest']}"
    )
    for kind, seconds in (("idle", HEAD_SECONDS), ("head", HEAD_SECONDS), ("body", BODY_SECONDS)):
        assert told["ended"][kind], f"nobody was hung up on: {kind}"
        assert told["longest"][kind] < seconds + LINGER_SECONDS + SLACK_SECONDS, f"{kind} lasted {told['longest'][kind]:.1f} s"
