"""How long is nothing acknowledged when the leader dies by kill -9? Of ddbd by `bench/failover.py`; of etcd by the same clients here.

Two clients write without a pause, each through one survivor; the longer outage counts. Afterwards every acknowledged write must be there.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from base64 import b64decode
from functools import partial
from pathlib import Path

from ddbd.cli.client import Client, NodeUnreachable
from ddbd.cli.local import eventually
from ddbd.cli.writer import Ack, Writer

from .book import Book, Sample, Work
from .etcd import Etcd, coded
from .system import ask
from .wrk import LoadFailed

SCRIPT = Path(__file__).resolve().parent.parent / "failover.py"
WRITES_BEFORE = 50
OUTAGE_SECONDS_MAX = 30.0
RUN_SECONDS_MAX = 900.0
NAME = "kill -9 of the leader until a write is acknowledged (less is better)"
WORST = "the same, the worst"


class EtcdWriter(Writer):
    """The same client, in etcd's tongue."""

    def _write(self, client: Client, number: int) -> bool:
        key = f"{self.name}-{number:08}"
        begun = time.monotonic()
        try:
            reply = client.post("/v3/kv/put", {"key": coded(key), "value": coded(f"{number} für alle")})
        except NodeUnreachable as error:
            self.failures.append(error.detail)
            return False
        if not reply.ok:
            self.failures.append(f"{self.address} answered {reply.status}: {reply.text}")
            return False
        self.acks.append(Ack(key, {}, begun, time.monotonic()))
        return True


def of_etcd(folder: Path, flags: list[str], times: int) -> list[float]:
    """Seconds, one for each death."""
    etcd = Etcd(folder, flags, "outages-tuned" if flags else "outages")
    try:
        etcd.start()
        acks: list[Ack] = []
        outages = [_one(etcd, number, acks) for number in range(times)]
        _check(etcd, acks)
    finally:
        etcd.close()
    return outages


def _one(etcd: Etcd, number: int, acks: list[Ack]) -> float:
    leader = etcd.leader()
    others = [address for address in etcd.addresses if address != etcd.addresses[leader]]
    writers = [EtcdWriter(address, "", f"{number:03}-{place}") for place, address in enumerate(others)]
    for each in writers:
        each.start()
    try:
        eventually(lambda: all(len(each.acks) >= WRITES_BEFORE for each in writers), "the first writes")
        moment = etcd.members[leader].kill()
        outages = [eventually(partial(each.first_ack_after, moment), "a new write", OUTAGE_SECONDS_MAX) for each in writers]
    finally:
        for each in writers:
            each.finish()
            acks += each.acks
    etcd.members[leader].start()
    eventually(lambda: etcd.ready() and etcd.serves(leader), "three members of etcd again")
    return max(outages)


def _check(etcd: Etcd, acks: list[Ack]) -> None:
    for address in etcd.addresses:
        answer = ask(address, "/v3/kv/range", {"key": coded("\0"), "range_end": coded("\0"), "keys_only": True})
        found = {b64decode(each["key"]).decode() for each in answer["kvs"]}
        if missing := [ack.row_id for ack in acks if ack.row_id not in found]:
            raise LoadFailed(f"{len(missing)} acknowledged writes are missing at {address}, {missing[0]} the first")


def of_ddbd(times: int) -> tuple[float, float]:
    """Median and worst in milliseconds. The script itself fails where an acknowledged write is missing."""
    done = subprocess.run([sys.executable, str(SCRIPT), str(times)], capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False)
    found = re.search(r"median ([\d.]+) ms, worst ([\d.]+) ms", done.stdout)
    if done.returncode or not found:
        raise LoadFailed(f"bench/failover.py: status {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return float(found[1]), float(found[2])


def measure(book: Book, folder: Path, times: int, etcd_times: int, tuned: list[str]) -> None:
    typical, worst = book.row(Work("failover", NAME, "ms", {})), book.row(Work("failover", WORST, "ms", {}))

    def note(system: str, median: float, longest: float) -> None:
        typical.samples[system], worst.samples[system] = [Sample(median)], [Sample(longest)]
        print(f"failover, {system:12} median {median:8.1f} ms, worst {longest:8.1f} ms", flush=True)

    note("ddbd", *of_ddbd(times))
    for system, flags in (("etcd", []), ("etcd tuned", tuned)):
        outages = sorted(outage * 1000 for outage in of_etcd(folder, flags, etcd_times))
        note(system, outages[len(outages) // 2], outages[-1])
