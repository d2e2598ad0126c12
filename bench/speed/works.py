"""The kinds of work on little data: single writes, point reads, a mix, bulk. Each play verifies what it counts.

wrk stops when the time is over: what was on the way then is not counted but may be done, so up to one request a connection more than
what was acknowledged may be found. Less is a lost write, more is a load that was not what it seemed: both make the figure invalid.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ddbd.cli.client import to_json

from .book import Play, Sample, Work
from .daemon import Daemon
from .etcd import BATCH as ETCD_BATCH
from .etcd import Etcd, coded
from .galera import ROW, Galera, insert_file
from .system import PAYLOAD, READ_ROWS, System, targets_of
from .wrk import Load, LoadFailed, wrk

CONNECTIONS = (1, 16, 64, 256)
ROWS_A_SECOND = 20_000  # so large a file is loaded for each second that was asked for
LOAD_SECONDS = 900.0
SLACK_BYTES = 48  # heads differ by some digits and by `Connection: close`; an answer without the row is shorter by more


class Systems:
    """Those that take part. Galera is left out where no work of the run wants it."""

    def __init__(self, folder: Path, ddbd: Daemon, etcd: Etcd | None, galera: Galera | None) -> None:
        self.folder, self.ddbd, self.etcd, self.galera = folder, ddbd, etcd, galera

    def http(self) -> list[Daemon | Etcd]:
        return [self.ddbd, *([self.etcd] if self.etcd else [])]

    def all(self) -> list[System]:
        return [*self.http(), *([self.galera] if self.galera else [])]


def verify(before: int, after: int, acknowledged: int, on_the_way: int) -> None:
    """Raises LoadFailed where the rows that are there are not those that were acknowledged."""
    stored = after - before
    if not acknowledged <= stored <= acknowledged + on_the_way:
        raise LoadFailed(f"{acknowledged} rows were acknowledged, {stored} are there (at most {on_the_way} were on the way)")


def sample_of(load: Load, rows: int = 1) -> Sample:
    return Sample(load.per_second * rows, load.p50_ms, load.p99_ms)


def writing(system: Daemon | Etcd, place: str, connections: int, work: str = "write") -> Play:
    def play(seconds: float, prefix: str) -> Sample:
        before = system.count()
        load = wrk(f"{system.name}_{work}", targets_of(system, place), connections, seconds, prefix).checked()
        verify(before, system.count(), load.answered, connections)
        return sample_of(load)

    return play


def reading(system: Daemon | Etcd, place: str, connections: int, local: bool) -> Play:
    def play(seconds: float, prefix: str) -> Sample:
        targets = targets_of(system, place)
        whole = whole_answer(system, targets[0])
        work = f"{system.name}_read{'_local' if local else ''}"
        load = wrk(work, targets, connections, seconds, prefix, rows=READ_ROWS).checked()
        if load.bytes / load.requests < whole - SLACK_BYTES:
            raise LoadFailed(f"{load.bytes / load.requests:.0f} bytes an answer, {whole} with the row in it")
        return sample_of(load)

    return play


def mixing(system: Daemon | Etcd, place: str, connections: int) -> Play:
    def play(seconds: float, prefix: str) -> Sample:
        before = system.count()
        load = wrk(f"{system.name}_mixed", targets_of(system, place), connections, seconds, prefix, rows=READ_ROWS).checked()
        least = max(0, load.answered // 10 - connections)
        verify(before, system.count(), least, 2 * connections + 1)
        return sample_of(load)

    return play


def whole_answer(system: Daemon | Etcd, address: str) -> int:
    """Bytes of the answer to one read, its head too."""
    key = f"reads0{READ_ROWS // 2:09}"
    if isinstance(system, Daemon):
        return answer_bytes(address, f"GET /select?table=reads&row_id={key}", wanted=PAYLOAD["text"])
    return answer_bytes(address, "POST /v3/kv/range", to_json({"key": coded(key)}), coded(to_json(PAYLOAD)))


def answer_bytes(address: str, call: str, body: str = "", wanted: str = "") -> int:
    """As it comes over the wire. Raises LoadFailed where what is wanted is not in it."""
    host, _, port = address.rpartition(":")
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{call} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{length}\r\n{body}".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    if wanted.encode() not in answer:
        raise LoadFailed(f"{address} does not give what was asked for: {answer[-200:]!r}")
    return len(answer)


# Bulk.


def batches(system: Daemon | Etcd, connections: int) -> Play:
    work, rows = ("ddbd_rows", 1_000) if isinstance(system, Daemon) else ("etcd_txn", ETCD_BATCH)

    def play(seconds: float, prefix: str) -> Sample:
        before = system.count()
        load = wrk(work, targets_of(system, "leader"), connections, seconds, prefix).checked()
        verify(before, system.count(), load.answered * rows, connections * rows)
        return sample_of(load, rows)

    return play


def in_parallel(commands: Sequence[Sequence[str]], inputs: Sequence[Path | None]) -> float:
    """Seconds until the last of them is done. Raises LoadFailed where one fails."""
    began = time.monotonic()
    running = []
    for command, path in zip(commands, inputs, strict=True):
        with (path or Path("/dev/null")).open("rb") as sent:
            running.append(subprocess.Popen(command, stdin=sent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    try:
        for process in running:
            told, _ = process.communicate(timeout=LOAD_SECONDS)
            if process.returncode:
                raise LoadFailed(f"{process.args!r:.100} failed: {told[-300:]!r}")
    finally:
        for process in running:
            process.kill()
            process.wait()
    return time.monotonic() - began


def streaming(systems: Systems, clients: int) -> Play:
    """curl sends a file; the daemon cuts it into slices."""

    def play(seconds: float, prefix: str) -> Sample:
        ddbd, rows = systems.ddbd, file_rows(seconds, clients)
        paths = [systems.folder / f"{prefix}{number}.ndjson" for number in range(clients)]
        for number, path in enumerate(paths):
            write_lines(path, f"{prefix}{number}", rows)
        url = f"http://{ddbd.addresses[ddbd.leader()]}/insert?table=bulk"
        kind = "Content-Type: application/x-ndjson"
        before = ddbd.count()
        took = in_parallel([["curl", "-sS", "--fail", "-H", kind, "-X", "POST", "-T", str(path), url] for path in paths], [None] * clients)
        verify(before, ddbd.count(), rows * clients, 0)
        for path in paths:
            path.unlink()
        return Sample(rows * clients / took)

    return play


def inserting(systems: Systems, galera: Galera, clients: int) -> Play:
    """Galera: `mariadb` sends a file of INSERTs of 1,000 rows each, each its own transaction."""

    def play(seconds: float, prefix: str) -> Sample:
        rows = file_rows(seconds, clients)
        paths = [systems.folder / f"{prefix}{number}.sql" for number in range(clients)]
        for number, path in enumerate(paths):
            insert_file(path, "bulk", f"{prefix}{number}", rows)
        before = galera.count()
        took = in_parallel([[*galera.client(), "bench"]] * clients, list(paths))
        verify(before, galera.count(), rows * clients, 0)
        for path in paths:
            path.unlink()
        return Sample(rows * clients / took)

    return play


def file_rows(seconds: float, clients: int) -> int:
    return max(1, round(ROWS_A_SECOND * seconds / clients / 1_000)) * 1_000


def write_lines(path: Path, stem: str, rows: int, first: int = 0) -> None:
    """Flat rows as a select gives them, each with a name of its own."""
    rest = to_json({key: value for key, value in PAYLOAD.items() if key != "name"})[1:]
    with path.open("w") as out:
        out.writelines(f'{{"row_id":"{stem}{n:09}","name":"n{n:09}",{rest}\n' for n in range(first, first + rows))


def slapping(galera: Galera, statement: str, connections: int, writes: bool) -> Play:
    def play(seconds: float, prefix: str) -> Sample:
        before = galera.count()
        rate, number = galera.slap(statement, connections, seconds)
        if writes:
            verify(before, galera.count(), number, connections)
        return Sample(rate)

    return play


def small_works(systems: Systems) -> list[Work]:
    galera = systems.galera
    insert = f"INSERT INTO writes VALUES (UUID(),{ROW})"
    select = f"SELECT * FROM bench.reads WHERE row_id='reads0{READ_ROWS // 2:09}'"
    works = []
    for place, connections in (*(("leader", number) for number in CONNECTIONS), ("spread", 64), ("spread", 256)):
        plays = {system.name: writing(system, place, connections) for system in systems.http()}
        if galera and place == "leader":
            plays["Galera"] = slapping(galera, insert, connections, True)
        works.append(Work("writes", write_name(place, connections), "/s", plays))
    for local in (False, True):
        for place in ("leader", "follower"):
            plays = {system.name: reading(system, place, 64, local) for system in systems.http()}
            if galera and local and place == "leader":
                plays["Galera"] = slapping(galera, select, 64, False)
            works.append(Work("reads", read_name(place, local), "/s", plays))
    works.append(Work("mixed", "90 % reads, 10 % writes, leader, 64", "/s", {s.name: mixing(s, "leader", 64) for s in systems.http()}))
    for clients in (1, 4):
        plays = {system.name: batches(system, clients) for system in systems.http()}
        if galera:
            plays["Galera"] = inserting(systems, galera, clients)
        works.append(Work("bulk", bulk_name(clients), "rows/s", plays))
    works.append(Work("bulk", "bulk, one stream of NDJSON", "rows/s", {"ddbd": streaming(systems, 1)}))
    return works


def write_name(place: str, connections: int) -> str:
    return f"durable single-row writes, {'all nodes' if place == 'spread' else place}, {connections}"


def read_name(place: str, local: bool) -> str:
    return f"{'local' if local else 'linearizable'} point reads, {place}, 64"


def bulk_name(clients: int) -> str:
    return f"bulk, batches of 1,000 (etcd: {ETCD_BATCH}), {clients} client{'s' if clients > 1 else ''}"
