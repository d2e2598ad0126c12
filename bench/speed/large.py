"""A table that grows to a million rows, or ten: what a write and an indexed read cost on the way, then searches, a whole select, a restart,
memory.

Each name of `people` that a search looks for stands once, so its answer is the same however large the table is. etcd has no search: its
reads by key are shown beside.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from ddbd.cli.local import eventually

from .book import Play, Sample, Work
from .daemon import Daemon
from .etcd import Etcd
from .galera import Galera, insert_file
from .machine import resident_mib
from .system import PAYLOAD, System, ask, targets_of
from .works import SLACK_BYTES, Systems, answer_bytes, in_parallel, reading, sample_of, slapping, verify, write_lines, writing
from .wrk import LoadFailed, wrk

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
RESTART_SECONDS = 60.0
SELECT_SECONDS = 120.0
SOUGHT = "n000004711"  # one name


def fill(systems: Systems, first: int, size: int, letter: str) -> None:
    """From so many rows to the size. etcd is loaded by time, so it gets some more than that."""
    rows = size - first
    ddbd, etcd, galera = systems.ddbd, systems.etcd, systems.galera
    path = systems.folder / "people"
    write_lines(path, f"fill{letter}1", rows, first)
    url = f"http://{ddbd.addresses[ddbd.leader()]}/insert?table=people"
    before = ddbd.count()
    in_parallel([["curl", "-sS", "--fail", "-H", "Content-Type: application/x-ndjson", "-X", "POST", "-T", str(path), url]], [None])
    verify(before, ddbd.count(), rows, 0)
    if galera:
        insert_file(path, "people", f"fill{letter}1", rows, first)
        in_parallel([[*galera.client(), "bench"]], [path])
    path.unlink()
    if etcd:
        wanted, number = etcd.count() + rows, 0
        while etcd.count() < wanted:
            number += 1
            wrk("etcd_txn", targets_of(etcd, "leader"), 16, 2, f"{letter}{number:04}").checked()


def growth_works(systems: Systems, size: int) -> list[Work]:
    ddbd, etcd, galera = systems.ddbd, systems.etcd, systems.galera
    writes: dict[str, Play] = {"ddbd": writing(ddbd, "leader", 64, "grow")}
    reads: dict[str, Play] = {"ddbd": searching(ddbd, size)}
    if etcd:
        writes["etcd"] = writing(etcd, "leader", 64)
        reads["etcd"] = reading(etcd, "leader", 64, False)
    if galera:
        name = "CONCAT('m', LPAD(FLOOR(RAND() * 1000000), 9, '0'))"
        writes["Galera"] = slapping(galera, f"INSERT INTO people VALUES (UUID(),{name},'A','{PAYLOAD['text']}')", 64, True)
        reads["Galera"] = slapping(galera, f"SELECT * FROM people WHERE name='n{size // 2:09}'", 64, False)
    return [Work("growth", grown_writes(size), "/s", writes), Work("growth", grown_reads(size), "/s", reads)]


def grown_writes(size: int) -> str:
    return f"single-row writes into {size:,} rows, leader, 64"


def grown_reads(size: int) -> str:
    return f"indexed search in {size:,} rows (etcd: by key), leader, 64"


def searching(ddbd: Daemon, size: int) -> Play:
    def play(seconds: float, prefix: str) -> Sample:
        targets = targets_of(ddbd, "leader")
        whole = answer_bytes(targets[0], f"GET /search?table=people&column=name&value=n{size // 2:09}", wanted=PAYLOAD["text"])
        load = wrk("ddbd_search", targets, 64, seconds, prefix, rows=size).checked()
        if load.bytes / load.requests < whole - SLACK_BYTES:
            raise LoadFailed(f"{load.bytes / load.requests:.0f} bytes an answer, {whole} with the row in it")
        return sample_of(load)

    return play


def million_works(systems: Systems) -> list[Work]:
    ddbd, etcd, galera = systems.ddbd, systems.etcd, systems.galera
    scans: dict[str, Play] = {"ddbd": scanning(ddbd)}
    selects: dict[str, Play] = {"ddbd": selecting(lambda: ddbd_select(ddbd), lambda: ddbd.rows("people"))}
    if galera:
        command = [*galera.client(), "--quick", "-e", "SELECT * FROM people", "bench"]
        scans["Galera"] = scanning_by_sql(galera)
        selects["Galera"] = selecting(lambda: command, lambda: int(galera.sql("SELECT COUNT(*) FROM bench.people")))
    if etcd:
        selects["etcd"] = selecting(lambda: etcd_select(etcd), etcd.count)
    restarts: dict[str, Play] = {"ddbd": restarting_ddbd(ddbd)} | ({"etcd": restarting_etcd(etcd)} if etcd else {})
    memory = {system.name: weighing(system) for system in systems.all()}
    return [
        Work("growth", "search without an index, the whole table, one client", "ms ↓", scans),
        Work("growth", "select of the whole table, one client", "rows/s", selects),
        Work("growth", "restart of a follower until it is ready", "s ↓", restarts),
        Work("growth", "resident memory of the largest node", "MiB ↓", memory),
    ]


def scanning(ddbd: Daemon) -> Play:
    def play(seconds: float, prefix: str) -> Sample:
        address = ddbd.addresses[ddbd.leader()]
        known = ask(address, f"/search?table=people&column=name&value={SOUGHT}")
        began = time.monotonic()
        found = ask(address, f"/search?table=people&column=name&op=contains&value={SOUGHT}")
        took = time.monotonic() - began
        if found != known or not found:
            raise LoadFailed(f"{len(found)} rows by the scan, {len(known)} by the index")
        return Sample(took * 1000)

    return play


def scanning_by_sql(galera: Galera) -> Play:
    def play(seconds: float, prefix: str) -> Sample:
        began = time.monotonic()
        found = galera.sql(f"SELECT * FROM bench.people WHERE name LIKE '%{SOUGHT}%'").count("\n")
        took = time.monotonic() - began
        if not found:
            raise LoadFailed("the scan found nothing")
        return Sample(took * 1000)

    return play


def ddbd_select(ddbd: Daemon) -> list[str]:
    url = f"http://{ddbd.addresses[ddbd.leader()]}/select?table=people"
    return ["curl", "-sS", "--fail", "-H", "Accept: application/x-ndjson", url]


def etcd_select(etcd: Etcd) -> list[str]:
    return ["etcdctl", f"--endpoints=http://{etcd.addresses[etcd.leader()]}", "get", "", "--prefix", "--print-value-only"]


def selecting(command: Callable[[], list[str]], rows: Callable[[], int]) -> Play:
    """Every row as a line to a pipe, counted."""

    def play(seconds: float, prefix: str) -> Sample:
        wanted, words, lines = rows(), command(), 0
        began = time.monotonic()
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while chunk := process.stdout.read(1 << 16):
                lines += chunk.count(b"\n")
        took = time.monotonic() - began
        if process.returncode or lines != wanted:
            raise LoadFailed(f"{words[0]}: status {process.returncode}, {lines} rows of {wanted}")
        return Sample(lines / took)

    return play


def restarting_ddbd(ddbd: Daemon) -> Play:
    def play(seconds: float, prefix: str) -> Sample:
        node_id = ddbd.cluster.others(list(ddbd.cluster.nodes)[ddbd.leader()])[-1].id
        ddbd.cluster.terminate(node_id)
        began = time.monotonic()
        ddbd.cluster.start(node_id)
        ddbd.cluster.wait_ready(node_id, seconds=RESTART_SECONDS)
        return Sample(time.monotonic() - began)

    return play


def restarting_etcd(etcd: Etcd) -> Play:
    def play(seconds: float, prefix: str) -> Sample:
        place = (etcd.leader() + 1) % 3
        etcd.stop(place)
        began = time.monotonic()
        etcd.members[place].start()
        eventually(lambda: etcd.serves(place), "the member of etcd", RESTART_SECONDS)
        return Sample(time.monotonic() - began)

    return play


def weighing(system: System) -> Play:
    return lambda seconds, prefix: Sample(max(resident_mib(pid) for pid in system.pids()))
