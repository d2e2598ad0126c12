"""The story that the demo shows: use the cluster, load real data, kill the master, bring it back, count everything."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from ddbd.cli import airports, writer
from ddbd.cli.client import Reply, call, curl_line, to_json
from ddbd.cli.local import LocalCluster, LocalNode, eventually
from ddbd.cli.screen import Screen
from ddbd.cli.writer import Writer
from ddbd.errors import DdbError

BACK_SECONDS = 20.0  # within which the preferred master leads again
WRITES_BEFORE_THE_KILL = 100
VERIFY_SECONDS = 60.0


class Stage:
    def __init__(self, cluster: LocalCluster, screen: Screen) -> None:
        self.cluster = cluster
        self.screen = screen
        self._airports = {row["icao"]: row for row in airports.sample()}
        self._writers: list[Writer] = []
        self._failback = bool(json.loads(cluster.config_path.read_bytes()).get("failback", True))

    def show(self) -> bool:
        """True when everything went as promised. Raises DdbError with one message when it cannot go on."""
        self._start()
        self._use()
        self._load()
        if len(self.cluster.nodes) < 3:
            self.screen.note("With fewer than three nodes nobody can take over; the demo ends its showing here.")
            return self._verify()
        try:
            self._fail_over()
        finally:
            for each in self._writers:
                each.finish()
        return self._verify()

    def _start(self) -> None:
        self.screen.title(f"{len(self.cluster.nodes)} nodes, each a twistd of its own")
        with self.screen.waiting("waiting until every node is ready"):
            self.cluster.start()
            self.cluster.wait_ready()
            if self._failback:
                self.cluster.wait_master([self.cluster.preferred_id])
        self._show_nodes()

    def _show_nodes(self) -> None:
        rows = []
        for node in self.cluster.nodes.values():
            status = node.status()
            role = "?" if status is None else str(status["node"]["role"])
            rows.append([node.id, f"http://{node.address}", role, str(node.pid), str(node.log_path)])
        self.screen.table(["node", "address", "role", "pid", "log"], rows)

    def _nodes(self) -> tuple[LocalNode, LocalNode, LocalNode]:
        """The master and two others; the same node again where there are too few."""
        master = self.cluster.nodes[self.cluster.wait_master(self.cluster.nodes)]
        others = [*self.cluster.others(master.id), master, master]
        return master, others[0], others[1]

    def _use(self) -> None:
        master, second, third = self._nodes()
        self.screen.title("Write through one node, read through another")
        self._ask(master, "/init_database", {"db_name": "DDB0", "user": "root", "password": "rootroot", "host": "localhost:3306"})
        self.screen.note("A call for the master alone, sent to another node, is redirected; curl -L follows:")
        self._ask(second, "/create_table", {"table_name": "students", "columns": ["id", "name", "grade"]}, redirects=True)
        row = {"table_name": "students", "row_id": "1", "data": {"id": "1", "name": "Ahmed", "grade": "A"}, "upsert": True}
        self._ask(second, "/insert", row)
        self._ask(third, "/select?table=students")
        self._ask(third, "/update", {"table_name": "students", "row_id": "1", "new_data": {"grade": "A+"}})
        self._ask(master, "/search?table=students&column=name&value=Ahmed")

    def _load(self) -> None:
        master, second, third = self._nodes()
        self.screen.title(f"{len(self._airports)} real airports in one request, all or nothing")
        self._ask(master, "/create_table", {"table_name": "airports", "columns": airports.COLUMNS})
        body = {
            "table_name": "airports",
            "rows": [{"row_id": icao, "data": data} for icao, data in self._airports.items()],
            "upsert": True,
        }
        path = self.cluster.folder / "airports.json"
        path.write_text(to_json(body), "utf-8")
        self._ask(second, "/insert", body, sent=f"@{path}")
        self._ask(third, "/search?table=airports&column=city&value=Krak%C3%B3w")
        self._ask(second, "/search?table=airports&column=elevation&op=gt&value=8000&limit=2")

    def _ask(self, node: LocalNode, path: str, body: object = None, sent: str | None = None, redirects: bool = False) -> Reply:
        reply = self.screen.ask(node.address, "GET" if body is None else "POST", path, body, sent, redirects)
        if not reply.ok:
            raise DdbError(f"node {node.id} refused {path} with {reply.status}; the demo ends here")
        return reply

    def _fail_over(self) -> None:
        """Two clients write through the other nodes the whole time; neither may see a failure."""
        master, *_ = self._nodes()
        self.screen.title(f"kill -9 the master (node {master.id}) while two clients write through the other nodes")
        self._ask(master, "/create_table", {"table_name": "writes", "columns": writer.COLUMNS})
        others = self.cluster.others(master.id)[:2]
        self._writers = [Writer(node.address, "writes", f"through-{node.id}") for node in others]
        for each in self._writers:
            each.start()
        self._wait_for_writes(WRITES_BEFORE_THE_KILL, "the first writes")
        self.screen.command(["kill", "-9", str(master.pid)])
        killed = self.cluster.kill(master.id)
        outages = [eventually(partial(each.first_ack_after, killed), "a new write") for each in self._writers]
        after = self.cluster.wait_master([node.id for node in others])
        self.screen.good(f"Node {after} took over. Kill to first new acknowledged write: {_milliseconds(min(outages))}.")
        self.screen.command(master.command)
        self.cluster.start(master.id)
        with self.screen.waiting("waiting until it has caught up"):
            self.cluster.wait_ready(master.id)
        self.screen.good(f"Node {master.id} is back and has caught up, while {self._written():,} writes were acknowledged.")
        if self._failback and master.id == self.cluster.preferred_id:
            with self.screen.waiting("waiting until it leads again"):
                self.cluster.wait_master([master.id], BACK_SECONDS)
            self.screen.good(f"Node {master.id} is the preferred master and leads again.")
        self._wait_for_writes(self._written() // 2 + WRITES_BEFORE_THE_KILL, "writes after the return")

    def _written(self) -> int:
        return sum(len(each.acks) for each in self._writers)

    def _wait_for_writes(self, count: int, what: str) -> None:
        """Until the clients together have twice as many as asked for one."""
        eventually(lambda: self._written() >= 2 * count, what)

    def _verify(self) -> bool:
        self.screen.title("Every acknowledged row, on every node")
        failures = [failure for each in self._writers for failure in each.failures]
        written = {ack.row_id: ack.data for each in self._writers for ack in each.acks}
        good = not failures
        for failure in failures[:5]:
            self.screen.bad(f"A client saw a failure: {failure}")
        for node in self.cluster.nodes.values():
            missing = self._missing(node, "airports", self._airports)
            if written:
                missing += self._missing(node, "writes", written)
            good = good and not missing
            for row_id in missing[:5]:
                self.screen.bad(f"Node {node.id} lacks the row {row_id}, or has other values for it.")
            if not missing:
                self.screen.good(f"Node {node.id} has all {len(written) + len(self._airports):,} rows with the values that were written.")
        if written:
            self.screen.note(f"{len(written):,} writes acknowledged, {len(failures)} failed.")
        return good

    def _missing(self, node: LocalNode, table: str, expected: dict[str, Any]) -> list[str]:
        reply = call(node.address, "GET", f"/select?table={table}", timeout_seconds=VERIFY_SECONDS)
        if not reply.ok:
            raise DdbError(f"node {node.id} does not give the table {table}: {reply.status} {reply.text}")
        found = {row.pop("row_id"): row for row in reply.json()}
        return [row_id for row_id, data in expected.items() if found.get(row_id) != data]

    def say_how_to_use(self) -> None:
        master, second, third = self._nodes()
        self.screen.title("The nodes run until Ctrl-C. In another terminal:")
        self.screen.curl(curl_line(second.address, "GET", "/status"))
        self.screen.curl(curl_line(third.address, "GET", "/select?table=students"))
        insert = {"table_name": "students", "row_id": "2", "data": {"id": "2", "name": "Zoë", "grade": "B"}}
        self.screen.curl(curl_line(third.address, "POST", "/insert", insert))
        self.screen.command(["kill", "-9", str(master.pid)])


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"
