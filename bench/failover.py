"""How long is the outage when the master dies? Kills it again and again in a real cluster of three and prints each.

    python bench/failover.py             20 times kill -9
    python bench/failover.py --silent    20 times SIGSTOP, then SIGCONT: a master that says nothing and closes nothing

The outage is the time from the kill to the end of the first acknowledged write that was begun after it, by a client that writes
without a pause through one surviving node with the default timeout. There is one such client on each of the two; the longer outage
counts. What they see as failures is counted. At the end every acknowledged write must be on every node, else the exit status is 1.

Failback is off here, so that each round finds its master where the last one left it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from ddbd.cli import writer
from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster, eventually
from ddbd.cli.signals import ended_by_signals
from ddbd.cli.writer import Ack, Writer
from ddbd.errors import DdbError

TABLE = "writes"
WRITES_BEFORE = 50
OUTAGE_SECONDS_MAX = 30.0


class Failover:
    def __init__(self, cluster: LocalCluster, silent: bool) -> None:
        self.cluster = cluster
        self.silent = silent
        self.acks: list[Ack] = []
        self.failures: list[str] = []

    def prepare(self) -> None:
        self.cluster.start()
        self.cluster.wait_ready()
        address = self.cluster.nodes[self.cluster.wait_master(self.cluster.nodes)].address
        for path, body in (
            ("/init_database", {"db_name": "bench"}),
            ("/create_table", {"table_name": TABLE, "columns": writer.COLUMNS}),
        ):
            reply = call(address, "POST", path, body)
            if not reply.ok:
                raise DdbError(f"{path} was refused: {reply.status} {reply.text}")

    def round(self, number: int) -> float:
        """One death of the master; the longer outage of the two clients, in seconds."""
        master_id = self.cluster.wait_master(self.cluster.nodes)
        writers = [Writer(node.address, TABLE, f"{number:03}-{node.id}") for node in self.cluster.others(master_id)]
        for each in writers:
            each.start()
        try:
            eventually(lambda: all(len(each.acks) >= WRITES_BEFORE for each in writers), "the first writes")
            moment = self.cluster.freeze(master_id) if self.silent else self.cluster.kill(master_id)
            outages = [eventually(partial(each.first_ack_after, moment), "a new write", OUTAGE_SECONDS_MAX) for each in writers]
        finally:
            if self.cluster.nodes[master_id].frozen:
                self.cluster.thaw(master_id)
            for each in writers:
                each.finish()
                self.acks += each.acks
                self.failures += each.failures
        if not self.silent:
            self.cluster.start(master_id)
        self.cluster.wait_ready()
        print(f"{number:3}  node {master_id}  {max(outages) * 1000:8.1f} ms  (the other client {min(outages) * 1000:.1f} ms)", flush=True)
        return max(outages)

    def missing(self) -> int:
        """Acknowledged rows that a node lacks or has with other values, over all nodes."""
        count = 0
        for node in self.cluster.nodes.values():
            rows = call(node.address, "GET", f"/select?table={TABLE}", timeout_seconds=60).json()
            found = {row.pop("row_id"): row for row in rows}
            count += sum(found.get(ack.row_id) != ack.data for ack in self.acks)
        return count


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill the master again and again and measure each outage.")
    parser.add_argument("times", nargs="?", type=int, default=20)
    parser.add_argument("--silent", action="store_true", help="freeze the master (SIGSTOP) instead of killing it")
    options = parser.parse_args()
    with ExitStack() as stack:
        stack.enter_context(ended_by_signals())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ddb-bench-")))
        bench = Failover(stack.enter_context(LocalCluster.on_free_ports(folder, failback=False)), options.silent)
        bench.prepare()
        outages = [bench.round(number) for number in range(1, options.times + 1)]
        missing = bench.missing()
    what = "SIGSTOP" if options.silent else "kill -9"
    milliseconds = [outage * 1000 for outage in outages]
    print(f"{what} of the master, {len(outages)} times: median {statistics.median(milliseconds):.1f} ms, worst {max(milliseconds):.1f} ms")
    print(f"{len(bench.acks):,} writes acknowledged, {missing} of them missing, {len(bench.failures)} failures seen by clients")
    for failure in bench.failures[:5]:
        print(f"  {failure}")
    return 1 if missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DdbError as error:
        sys.exit(error.detail)
