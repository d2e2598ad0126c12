"""How long is the reactor held up while everything that is heavy goes on at once? `python bench/lag.py [--seconds S] [--rows N]`.

Three nodes; N rows are loaded, then for S seconds at the same time: a streaming load and batches of 1,000 rows, single writes, selects of
the whole table one after another, checkpoints at every opportunity, and a node that lost its data and is given a snapshot.

What each node says of its own reactor (the longest turns by thread CPU) stands in /status under `node.reactor`; a node that says nothing is
named. From outside, GET /ping goes to each node every few milliseconds: that is wall clock, so it holds what the machine's other
processes took as well, and is an upper bound. An election in all of it is a failure, and so is a node whose turns take more than 20 ms of
thread CPU at p99.9: exit status 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from speed.machine import install, on_a_real_disk
from speed.system import ask
from speed.works import in_parallel, write_lines
from speed.wrk import LoadFailed, wrk

from ddbd.cli.client import Client, NodeUnreachable
from ddbd.cli.local import LocalCluster, LocalNode, eventually
from ddbd.cli.signals import ended_by_signals
from ddbd.errors import DdbError

PROBE_PAUSE_SECONDS = 0.005
LAG_MS_MAX = 20.0
# Small, so that logs are cut and tables are checkpointed all the time, and a node without data is given a snapshot.
LIMITS = {"segment_bytes": 4 * 2**20, "checkpoint_wal_bytes": 2 * 2**20, "log_tail_entries": 100, "log_tail_bytes": 8 * 2**20}


class Probe(threading.Thread):
    """Milliseconds of one GET /ping after another to one node, over one connection."""

    def __init__(self, node: LocalNode) -> None:
        super().__init__(name=f"probe {node.id}", daemon=True)
        self.milliseconds: list[float] = []
        self._address = node.address
        self._finished = threading.Event()

    def run(self) -> None:
        with Client(self._address) as client:
            while not self._finished.wait(PROBE_PAUSE_SECONDS):
                began = time.monotonic()
                try:
                    client.get("/ping")
                except NodeUnreachable:
                    continue  # it is being restarted
                self.milliseconds.append((time.monotonic() - began) * 1000)

    def finish(self) -> None:
        self._finished.set()
        self.join()

    def told(self) -> str:
        found = sorted(self.milliseconds)
        shares = ((f"p{share * 100:g}", found[min(len(found) - 1, int(len(found) * share))]) for share in (0.5, 0.99, 0.999))
        return f"{len(found):,} pings: " + ", ".join(f"{name} {value:.1f} ms" for name, value in shares) + f", longest {found[-1]:.1f} ms"


class Burden(threading.Thread):
    """One kind of load, again and again until the time is over. What went wrong is kept."""

    def __init__(self, name: str, seconds: float, commands: list[list[str]], paths: list[Path | None]) -> None:
        super().__init__(name=name, daemon=True)
        self.times = 0
        self.error = ""
        self._deadline = time.monotonic() + seconds
        self._commands, self._paths = commands, paths

    def run(self) -> None:
        try:
            while time.monotonic() < self._deadline:
                in_parallel(self._commands, self._paths)
                self.times += 1
        except (LoadFailed, subprocess.TimeoutExpired) as error:
            self.error = str(error)


def prepared(cluster: LocalCluster, folder: Path, rows: int) -> str:
    """The leader's address, once it has the rows."""
    cluster.start()
    cluster.wait_ready()
    leader = cluster.nodes[cluster.wait_master([cluster.preferred_id])].address.replace("localhost", "127.0.0.1")
    ask(leader, "/init_database", {"db_name": "bench"})
    for table in ("people", "bulk", "writes"):
        ask(leader, "/create_table", {"table_name": table, "columns": [{"name": "name", "index": True}, "grade", "text"]})
    path = folder / "people.ndjson"
    write_lines(path, "people", rows)
    in_parallel([loading(leader, "people", path)], [None])
    return leader


def loading(address: str, table: str, path: Path) -> list[str]:
    url = f"http://{address}/insert?table={table}&upsert=true"
    return ["curl", "-sS", "--fail", "-o", "/dev/null", "-H", "Content-Type: application/x-ndjson", "-X", "POST", "-T", str(path), url]


def seed_again(cluster: LocalCluster) -> str:
    """The last node loses its data while all goes on; returns what came of it."""
    node_id = list(cluster.nodes)[-1]
    cluster.terminate(node_id)
    shutil.rmtree(cluster.data_dir / node_id)
    began = time.monotonic()
    cluster.start(node_id)
    cluster.wait_ready(node_id, seconds=120)
    return f"node {node_id} lost its data and was ready again after {time.monotonic() - began:.1f} s"


def burdened(cluster: LocalCluster, folder: Path, leader: str, seconds: float, rows: int) -> list[str]:
    """What the burdens did, one line each. Raises LoadFailed where one broke."""
    more = folder / "bulk.ndjson"
    write_lines(more, "bulk", min(rows, 50_000))
    select = ["curl", "-sS", "--fail", "-o", "/dev/null", f"http://{leader}/select?table=people"]
    burdens = [
        Burden("streaming load", seconds, [loading(leader, "bulk", more)], [None]),
        Burden("select of the whole table", seconds, [select], [None]),
    ]
    for burden in burdens:
        burden.start()
    lines: list[str] = []
    turn, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        turn += 1
        batches = wrk("ddbd_rows", [leader], 2, max(1.0, seconds / 6), f"b{turn:04}").checked()
        writes = wrk("ddbd_write", [leader], 64, max(1.0, seconds / 6), f"w{turn:04}").checked()
        lines.append(
            f"batches {batches.per_second * 1000:,.0f} rows/s; single writes {writes.per_second:,.0f}/s, p99 {writes.p99_ms:.1f} ms"
        )
        if turn == 1:
            lines.append(seed_again(cluster))
    for burden in burdens:
        burden.join()
        if burden.error:
            raise LoadFailed(f"{burden.name}: {burden.error}")
        lines.append(f"{burden.name}: {burden.times} times")
    return lines


def reactor_of(node: LocalNode) -> tuple[str, float]:
    """What the node says of its own turns in the last minute, and p99.9 of their thread CPU in milliseconds."""
    found = eventually(node.status, f"/status of node {node.id}")["node"].get("reactor")
    if found is None:
        return "its /status has no node.reactor: it does not tell", 0.0
    return json.dumps(found), float(found["turn_cpu_ms_p999"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--folder", default="/var/tmp", help="for the data; on a real disk")
    options = parser.parse_args()
    install()
    with ExitStack() as stack:
        stack.enter_context(ended_by_signals())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ddb-lag-", dir=options.folder)))
        on_a_real_disk(folder)
        cluster = stack.enter_context(LocalCluster.on_free_ports(folder, limits=LIMITS))
        leader = prepared(cluster, folder, options.rows)
        term = ask(leader, "/status")["term"]
        probes = [Probe(node) for node in cluster.nodes.values()]
        for probe in probes:
            probe.start()
        try:
            lines = burdened(cluster, folder, leader, options.seconds, options.rows)
        finally:
            for probe in probes:
                probe.finish()
        print("\n".join(lines))
        too_long = 0
        for node, probe in zip(cluster.nodes.values(), probes, strict=True):
            print(f"node {node.id}: from outside {probe.told()}")
            told, longest = reactor_of(node)
            print(f"node {node.id}: reactor: {told}")
            too_long += longest > LAG_MS_MAX
        after = ask(leader, "/status")["term"]
    elections = after - term
    print(f"{elections} elections, {too_long} nodes over {LAG_MS_MAX:g} ms of thread CPU a turn at p99.9; the bar is none of either")
    return 1 if elections or too_long else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DdbError, LoadFailed) as error:
        sys.exit(str(error))
