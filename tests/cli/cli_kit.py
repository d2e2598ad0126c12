"""`ddb` in this process, on three nodes in memory that share one node's tables; any of them can be down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner
from client_kit import ADDRESSES, MemoryNodes, Wires, answer

from ddbd.cli import main
from ddbd.cli.frame import Settings
from ddbd.client import Request


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cluster(MemoryNodes):
    """With a /status as real nodes have it, and the calls that only they have."""

    def __init__(self) -> None:
        super().__init__()
        self.leader = "1"
        self.voters: list[str] | None = ["1", "2", "3"]
        self.not_ready: set[str] = set()
        self.unhealthy: set[str] = set()
        self.wires = Wires(self)

    def __call__(self, address: str, request: Request) -> Any:
        path = request.path.partition("?")[0]
        if address not in self.down and path in ("/status", "/step_down", "/transfer", "/timeline"):
            return answer(getattr(self, path[1:])(address, request), address=address)
        return super().__call__(address, request)

    def status(self, address: str, request: Request) -> dict[str, Any]:
        node_id = str(ADDRESSES.index(address) + 1)
        tables = self.node.twin.tables
        databases = [
            {"name": name, "tables": [{"name": t.name, "columns": [c.name for c in t.columns], "row_count": t.row_count} for t in infos]}
            for name, infos in tables.databases()
        ]
        is_leader = node_id == self.leader
        leader_address = ADDRESSES[int(self.leader) - 1] if self.leader else None
        return {
            "node": {"id": node_id, "address": address, "role": "leader" if is_leader else "follower", "is_master": is_leader},
            "master": {"id": self.leader, "address": leader_address} if self.leader else None,
            "term": 3,
            "applied_index": tables.applied_index,
            "default_database": tables.default_database,
            "databases": databases,
            "nodes": [
                {
                    "id": str(n),
                    "address": a,
                    "is_master": str(n) == self.leader,
                    "reachable": a not in self.down,
                    "match_index": 7,
                    "lag_entries": 0,
                }
                for n, a in enumerate(ADDRESSES, 1)
            ],
            "ready": address not in self.not_ready and bool(self.leader),
            "healthy": address not in self.unhealthy,
            "tables_bytes": 4096,
            **({"membership": {"voters": self.voters, "outgoing": [], "learners": []}} if self.voters is not None else {}),
        }

    def step_down(self, address: str, request: Request) -> dict[str, Any]:
        before, self.leader = self.leader, "2"
        return {"status": "ok", "from": before, "to": "2", "term": 4}

    def transfer(self, address: str, request: Request) -> dict[str, Any]:
        before, self.leader = self.leader, json.loads(request.body or b"")["to"]
        return {"status": "ok", "from": before, "to": self.leader, "term": 4}

    def timeline(self, address: str, request: Request) -> list[dict[str, Any]]:
        return [{"id": 1, "at": 1_700_000_000.25, "kind": "leader_elected", "node": "2", "text": "node 2 was elected", "details": {}}]

    def rows(self, table: str = "students") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.node.get(f"/select?table={table}").json
        return found


def run(cluster: Cluster | None, *args: str, input: str | bytes | None = None) -> Done:
    settings = Settings(host_config=Path("none")) if cluster is None else Settings(nodes=",".join(ADDRESSES), transport=cluster.wires)
    result = CliRunner().invoke(main, args, obj=settings, input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout_bytes.decode(), result.stderr)  # click's own text has other line ends
