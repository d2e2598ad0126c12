"""How long is nothing acknowledged when the leader dies by kill -9? Of ddbd by `bench/failover.py`; of etcd by the same clients here.

Two clients write without a pause, each through one survivor; the longer outage counts. Afterwards every acknowledged write must be there.

etcd lets a write that it had handed to the dead leader hang until its own timeout (5 s and two election timeouts). So a second client
beside each gives up after a moment and writes again: that one shows when etcd itself is back, and is what ddbd is compared with.
"""

from __future__ import annotations

import statistics
import time
from base64 import b64decode
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ddbd.cli.client import Client, NodeUnreachable
from ddbd.cli.local import eventually
from ddbd.cli.writer import Ack, Writer

from .book import Book, Sample, Work
from .etcd import Etcd, coded
from .scripts import failover
from .system import ask
from .wrk import LoadFailed

WRITES_BEFORE = 50
OUTAGE_SECONDS_MAX = 30.0
IMPATIENT_SECONDS = 0.1
PATIENT = "failover, median, a client of etcd that waits"
TYPICAL = "failover after kill -9 of the leader, median"
WORST = "failover after kill -9 of the leader, worst"


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


class Outages(NamedTuple):
    """In milliseconds."""

    median: float
    worst: float
    patient: float | None = None  # median for the client that waits


def of_etcd(folder: Path, flags: Sequence[str], times: int) -> Outages:
    etcd = Etcd(folder, flags, "outages-tuned" if flags else "outages")
    try:
        etcd.start()
        acks: list[Ack] = []
        pairs = [_one(etcd, number, acks) for number in range(times)]
        _check(etcd, acks)
    finally:
        etcd.close()
    impatient = [pair[0] * 1000 for pair in pairs]
    return Outages(statistics.median(impatient), max(impatient), statistics.median(pair[1] * 1000 for pair in pairs))


def _one(etcd: Etcd, number: int, acks: list[Ack]) -> tuple[float, float]:
    """Seconds: of the clients that give up soon, and of those that wait."""
    leader = etcd.leader()
    others = [(place, address) for place, address in enumerate(etcd.addresses) if place != leader]
    impatient = [EtcdWriter(address, "", f"{number:03}-{place}-i", IMPATIENT_SECONDS) for place, address in others]
    patient = [EtcdWriter(address, "", f"{number:03}-{place}-p") for place, address in others]
    writers = [*impatient, *patient]
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
    return max(outages[: len(impatient)]), max(outages[len(impatient) :])


def _check(etcd: Etcd, acks: list[Ack]) -> None:
    for address in etcd.addresses:
        answer = ask(address, "/v3/kv/range", {"key": coded("\0"), "range_end": coded("\0"), "keys_only": True})
        found = {b64decode(each["key"]).decode() for each in answer["kvs"]}
        if missing := [ack.row_id for ack in acks if ack.row_id not in found]:
            raise LoadFailed(f"{len(missing)} acknowledged writes are missing at {address}, {missing[0]} the first")


def measure(book: Book, folder: Path, times: int, etcd_times: int, tuned: Sequence[str]) -> None:
    """Rows of their own for the tuned etcd: it stands in etcd's column."""

    def note(name: str, system: str, milliseconds: float | None) -> None:
        if milliseconds is not None:
            book.row(Work("failover", name, "ms ↓", {})).samples[system] = [Sample(milliseconds)]
            print(f"{name:58} {system:7} {milliseconds:12,.1f} ms ↓", flush=True)

    ddbd = Outages(*failover(times))
    for flags in ((), tuned):
        etcd, more = of_etcd(folder, flags, etcd_times), f" (etcd with {' '.join(flags)})" if flags else ""
        for system, found in (("ddbd", ddbd), ("etcd", etcd)):
            note(TYPICAL + more, system, found.median)
            note(WORST + more, system, found.worst)
            note(PATIENT + more, system, found.patient or found.median)
