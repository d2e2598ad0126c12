"""ddbd, as `ddb demo` starts it: the code of this checkout, three nodes."""

from __future__ import annotations

from pathlib import Path

import ddbd
from ddbd.cli.local import LocalCluster, eventually

from .system import PAYLOAD, READ_ROWS, ask, new_folder

COLUMNS = ["name", "grade", "text"]
INDEXED = [{"name": "name", "index": True}, "grade", "text"]
BATCH = 1_000


class Daemon:
    name = "ddbd"

    def __init__(self, parent: Path) -> None:
        self.cluster = LocalCluster.on_free_ports(new_folder(parent, "ddbd"))
        # By number, not by name: localhost may mean ::1 to one program and 127.0.0.1 to another.
        self.addresses = [f"127.0.0.1:{node.port}" for node in self.cluster.nodes.values()]

    def start(self) -> None:
        self.cluster.start()
        self.cluster.wait_ready()
        self.cluster.wait_master([self.cluster.preferred_id])  # so that leadership does not move in the middle
        leader = self.addresses[self.leader()]
        ask(leader, "/init_database", {"db_name": "bench"})
        for table in ("writes", "reads", "bulk"):
            ask(leader, "/create_table", {"table_name": table, "columns": COLUMNS})
        ask(leader, "/create_table", {"table_name": "people", "columns": INDEXED})
        for first in range(0, READ_ROWS, BATCH):
            rows = [{"row_id": f"reads0{number:09}", "data": PAYLOAD} for number in range(first, first + BATCH)]
            ask(leader, "/insert", {"table_name": "reads", "rows": rows})
        status = ask(leader, "/status")
        assert len(status["membership"]["voters"]) == 3, f"three voters are wanted: {status['membership']}"

    def close(self) -> None:
        self.cluster.close()

    def version(self) -> str:
        return f"ddbd {ddbd.__version__}"

    def pids(self) -> list[int]:
        return [node.pid for node in self.cluster.nodes.values() if node.running]

    def leader(self) -> int:
        return list(self.cluster.nodes).index(self.cluster.wait_master(self.cluster.nodes))

    def count(self) -> int:
        return self._rows(self.addresses[self.leader()])

    def rows(self, table: str) -> int:
        databases = ask(self.addresses[self.leader()], "/status")["databases"]
        return sum(each["row_count"] for database in databases for each in database["tables"] if each["name"] == table)

    def agree(self) -> list[int]:
        applied = ask(self.addresses[self.leader()], "/status")["applied_index"]
        for address in self.addresses:
            eventually(lambda address=address: ask(address, "/status")["applied_index"] >= applied, "the same index")  # type: ignore[misc]
        return [self._rows(address) for address in self.addresses]

    def _rows(self, address: str) -> int:
        databases = ask(address, "/status")["databases"]
        return sum(table["row_count"] for database in databases for table in database["tables"])
