"""All airports of the world, loaded through one follower while the master is killed and brought back.

Afterwards every row on every node equals the file, type for type.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import airportsdata

from ddbd.cli.client import Client, Reply, call
from ddbd.cli.local import LocalCluster, eventually

SINGLES = 4_000  # rows that are inserted one by one
CLIENTS = 8
BATCH_ROWS = 500
LOAD_SECONDS = 90.0


class Load:
    """Rows and slices of rows, taken from one list by several clients. Nothing is repeated: an error is an error."""

    def __init__(self, address: str, bodies: list[dict[str, Any]]) -> None:
        self.address = address
        self.done = 0  # rows acknowledged
        self.failures: list[str] = []
        self._bodies = iter(bodies)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with Client(self.address) as client:
            for body in self._taken():
                reply = client.post("/insert", body)
                self._count(body, reply)

    def _taken(self) -> Iterator[dict[str, Any]]:
        while True:
            with self._lock:
                body = next(self._bodies, None)
            if body is None:
                return
            yield body

    def _count(self, body: dict[str, Any], reply: Reply) -> None:
        with self._lock:
            if reply.ok:
                self.done += len(body.get("rows", [body]))
            else:
                self.failures.append(f"{reply.status} {reply.text[:300]}")

    def reached(self, rows: int) -> bool:
        assert self.failures == []
        return self.done >= rows

    @property
    def ended(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)


def bodies(table: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The first rows one by one, the others in batches, the batches spread evenly among the single ones."""
    rows = [{"row_id": icao, "data": data} for icao, data in table.items()]
    singles = [{"table_name": "airports", **row} for row in rows[:SINGLES]]
    rest = rows[SINGLES:]
    batches = [{"table_name": "airports", "rows": rest[at : at + BATCH_ROWS]} for at in range(0, len(rest), BATCH_ROWS)]
    stride = len(singles) // len(batches)
    mixed: list[dict[str, Any]] = []
    for number, batch in enumerate(batches):
        mixed += [*singles[number * stride : (number + 1) * stride], batch]
    return [*mixed, *singles[len(batches) * stride :]]


def world() -> dict[str, dict[str, Any]]:
    return {icao: dict(row) for icao, row in airportsdata.load("ICAO").items()}


def typed(row: dict[str, Any]) -> str:
    """Text in which 3435.0 and 3435, or "1" and 1, are not the same."""
    return json.dumps(row, sort_keys=True, ensure_ascii=False)


def test_all_airports_survive_the_death_of_the_master(running: LocalCluster) -> None:
    table = world()
    assert len(table) > 28_000
    columns = list(next(iter(table.values())))
    master = running.nodes["1"].address
    assert call(master, "POST", "/init_database", {"db_name": "world"}).ok
    assert call(master, "POST", "/create_table", {"table_name": "airports", "columns": columns}).ok

    load = Load(running.nodes["2"].address, bodies(table))
    load.start()
    eventually(partial(load.reached, 5_000), "the first 5,000 rows", LOAD_SECONDS)
    running.kill("1")
    eventually(partial(load.reached, 15_000), "15,000 rows after the master died", LOAD_SECONDS)
    running.start("1")
    running.wait_ready("1")
    eventually(lambda: load.ended, "the end of the load", LOAD_SECONDS)

    assert load.failures == []
    assert load.done == len(table), "every row was acknowledged"
    running.wait_ready()
    expected = [typed({"row_id": icao, **table[icao]}) for icao in sorted(table)]
    for node in running.nodes.values():
        reply = call(node.address, "GET", "/select?table=airports", timeout_seconds=60)
        assert reply.ok, f"node {node.id}: {reply.status} {reply.text[:300]}"
        assert [typed(row) for row in reply.json()] == expected, f"node {node.id} differs from the file"


def test_a_search_finds_the_same_on_every_node(running: LocalCluster) -> None:
    table = world()
    some = {icao: row for icao, row in table.items() if row["country"] in ("IS", "PL", "CH")}
    columns = list(next(iter(table.values())))
    master = running.nodes["1"].address
    assert call(master, "POST", "/init_database", {"db_name": "world"}).ok
    assert call(master, "POST", "/create_table", {"table_name": "airports", "columns": columns}).ok
    body = {"table_name": "airports", "rows": [{"row_id": icao, "data": row} for icao, row in some.items()]}
    assert call(running.nodes["3"].address, "POST", "/insert", body).ok

    krakow = [icao for icao in sorted(some) if some[icao]["city"] == "Kraków"]
    high = [icao for icao in sorted(some) if some[icao]["elevation"] > 3000]
    assert krakow
    assert high
    for node in running.nodes.values():
        with Client(node.address) as client:
            found = client.get("/search", table="airports", column="city", value="Kraków")
            assert [row["row_id"] for row in found.json()] == krakow
            found = client.get("/search", table="airports", column="elevation", value="3000", op="gt")
            assert [row["row_id"] for row in found.json()] == high
