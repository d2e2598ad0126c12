"""Both clients under load while nodes die: no call fails, no acknowledged write is lost, and none is done twice."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from process_kit import TABLE, create_table, rows

from ddbd.cli.local import LocalCluster, eventually, node_environment
from ddbd.client import Client, Policy

CALL_SECONDS = 20.0
THREADS = 4
COUNTER = "counter"


class Worker(threading.Thread):
    """Inserts rows without an id (twice would be seen) and counts up one row by compare-and-set (twice would be seen there too)."""

    def __init__(self, client: Client, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.client = client
        self.acknowledged: dict[str, str] = {}  # row_id -> name
        self.counted = 0
        self.failures: list[str] = []
        self._finished = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._finished.is_set():
            number += 1
            try:
                written = self.client.insert(TABLE, {"name": f"{self.name} {number}"})
                self.acknowledged[written.row_id] = f"{self.name} {number}"
                self._count()
            except Exception as error:  # noqa: BLE001 - told to the test
                self.failures.append(repr(error))

    def _count(self) -> None:
        """One row of its own, so that every mismatch is a write that was done twice."""
        row_id = f"{COUNTER} {self.name}"
        found = self.client.get(TABLE, row_id)
        assert found is not None
        self.client.update(TABLE, row_id, {"grade": found.row["grade"] + 1}, if_version=found.version)
        self.counted += 1

    def finish(self) -> None:
        self._finished.set()
        self.join()


def working(client: Client) -> Iterator[list[Worker]]:
    workers = [Worker(client, f"w{number}") for number in range(THREADS)]
    for worker in workers:
        client.insert(TABLE, {"grade": 0}, f"{COUNTER} {worker.name}")
        worker.start()
    yield workers
    for worker in workers:
        worker.finish()


def wait_for_more(workers: list[Worker], more: int = 15) -> None:
    goals = [(worker, worker.counted + more) for worker in workers]
    eventually(lambda: all(worker.counted >= goal for worker, goal in goals), f"{more} more rows of each thread")


def test_no_write_is_lost_and_none_is_done_twice_when_nodes_die_under_load(running: LocalCluster) -> None:
    create_table(running)
    addresses = [node.address for node in running.nodes.values()]
    with Client(addresses, Policy(CALL_SECONDS)) as client:
        working_ = working(client)
        workers = next(working_)
        wait_for_more(workers)
        for victim in ("1", "2"):
            running.kill(victim)
            wait_for_more(workers)
            running.start(victim)
            running.wait_ready()
            wait_for_more(workers)
        next(working_, None)
        failures = [failure for worker in workers for failure in worker.failures]
        assert failures == []
        found = {row["row_id"]: row for row in client.select_rows(TABLE)}
        counters = {row_id: found.pop(row_id)["grade"] for row_id in list(found) if row_id.startswith(COUNTER)}
        assert counters == {f"{COUNTER} {worker.name}": worker.counted for worker in workers}
        acknowledged = {row_id: name for worker in workers for row_id, name in worker.acknowledged.items()}
        assert {row_id: row["name"] for row_id, row in found.items()} == acknowledged, "each acknowledged row once, and no other"


def test_a_frozen_leader_costs_one_attempt_and_no_error(running: LocalCluster) -> None:
    """It is silent and its connections stay open: only the attempt's own limit tells."""
    create_table(running)
    addresses = [node.address for node in running.nodes.values()]
    with Client(addresses, Policy(CALL_SECONDS, attempt_seconds=1.0)) as client:
        client.insert(TABLE, {"name": "before"}, "1")
        running.freeze("1")
        client.insert(TABLE, {"name": "while it is frozen"}, "2")
        assert client.nodes.first != running.nodes["1"].address
        running.thaw("1")
    running.wait_ready()
    assert [row["row_id"] for row in rows(running.nodes["2"])] == ["1", "2"]


TWISTED = """
import json, sys
from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults
from ddbd.client import AsyncClient, Policy

async def worker(client, name, acknowledged):
    for number in range(150):
        written = await client.insert("students", {"name": f"{name} {number}"})
        acknowledged[written.row_id] = f"{name} {number}"
        if number == 30 and name == "w0":
            print("on the way", flush=True)

async def main(reactor):
    acknowledged = {}
    async with AsyncClient(sys.argv[1], Policy(20.0), reactor=reactor) as client:
        await gatherResults([Deferred.fromCoroutine(worker(client, f"w{n}", acknowledged)) for n in range(8)])
        loaded = await client.load("students", ({"name": f"l{n}"} for n in range(3000)))
        found = {row["row_id"]: row["name"] async for row in client.select_rows("students")}
    assert loaded.rows == 3000
    of_load = [name for name in found.values() if name.startswith("l")]
    assert sorted(of_load) == sorted(f"l{n}" for n in range(3000))
    assert {i: n for i, n in found.items() if not n.startswith("l")} == acknowledged
    print(json.dumps(len(acknowledged)))

task.react(main)
"""


def test_the_client_for_twisted_goes_on_when_the_leader_dies(running: LocalCluster, tmp_path: Path) -> None:
    """In a process of its own: it has its own reactor."""
    create_table(running)
    addresses = ",".join(node.address for node in running.nodes.values())
    with subprocess.Popen(
        [sys.executable, "-c", TWISTED, addresses], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=node_environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on the way\n"
        running.kill("1")
        rest = process.stdout.read()
    assert process.returncode == 0, rest
    assert json.loads(rest) == 8 * 150


def test_a_program_with_the_blocking_client_imports_no_reactor() -> None:
    script = "import sys, ddbd.client; sys.exit(any(name.partition('.')[0] == 'twisted' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], env=node_environment()).returncode == 0


# docs/client.md.

PAGE = Path(__file__).resolve().parents[2] / "docs" / "client.md"


def test_the_examples_of_the_page_about_the_client_run_as_they_stand_there(running: LocalCluster) -> None:
    text = PAGE.read_text("utf-8")
    for port, node in zip((8080, 8081, 8082), running.nodes.values(), strict=True):
        text = text.replace(f"localhost:{port}", node.address)
    example = doctest.DocTestParser().get_doctest(text.partition("```python")[0], {}, PAGE.name, str(PAGE), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    runner.run(example, out=said.append)
    assert said == [], "".join(said)
    assert runner.tries > 20
    script = text.partition("```python")[2].partition("```")[0]
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=node_environment())
    assert answer.stdout == "{'row_id': 'n1', 'name': 'Nour', 'age': None}\n", answer.stderr
