"""What the tests of operations share: a small table, and the question whether the nodes hold the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster, LocalNode, eventually

TABLE = "students"
ROWS_A_BATCH = 20


def create_table(cluster: LocalCluster) -> None:
    address = cluster.nodes[cluster.preferred_id].address
    assert call(address, "POST", "/init_database", {"db_name": "DDB0"}).ok
    assert call(address, "POST", "/create_table", {"table_name": TABLE, "columns": ["name", "grade"]}).ok


def insert(node: LocalNode, name: str, count: int = ROWS_A_BATCH, filler: str = "") -> None:
    """One batch of rows `<name>-<number>`, acknowledged."""
    rows = [{"row_id": f"{name}-{number:04d}", "data": {"name": f"{name} {number} {filler}"}} for number in range(count)]
    reply = call(node.address, "POST", "/insert", {"table_name": TABLE, "rows": rows})
    assert reply.ok, f"node {node.id}: {reply.status} {reply.text}"


def rows(node: LocalNode, query: str = "") -> list[dict[str, Any]]:
    reply = call(node.address, "GET", f"/select?table={TABLE}{query}", timeout_seconds=60)
    assert reply.ok, f"node {node.id}: {reply.status} {reply.text}"
    found: list[dict[str, Any]] = reply.json()
    return found


def status(node: LocalNode) -> dict[str, Any]:
    """What the node says of itself, once it answers."""
    return eventually(node.status, f"node {node.id} answers /status")


def wait_voter(node: LocalNode) -> None:
    """Until it may vote and lead: a node that lost its data says `learner` until its promotion."""

    def votes() -> bool:
        found = node.status()
        return found is not None and found["ready"] and found["node"]["role"] in ("follower", "leader")

    eventually(votes, f"node {node.id} is ready and may vote")


def wait_same(nodes: list[LocalNode]) -> None:
    """Until the chained hash is the same at the same applied index on all of them; then their rows, each from its own copy."""

    def same() -> bool:
        states = [(found["applied_index"], found["state"]["hash"]) for found in map(status, nodes)]
        return len(set(states)) == 1 and states[0][1] is not None

    eventually(same, "one state hash on every node")
    first, *others = [rows(node, "&consistency=local") for node in nodes]
    for node, found in zip(nodes[1:], others, strict=True):
        assert found == first, f"node {node.id} differs from node {nodes[0].id}"


def wipe(cluster: LocalCluster, node_id: str) -> None:
    """What a new disk looks like."""
    shutil.rmtree(cluster.data_dir / node_id)


def flip(path: Path, offset: int) -> None:
    """One bit of one byte."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def wait_ended(node: LocalNode) -> int:
    """The exit status, once the process has ended by itself."""
    eventually(lambda: not node.running, f"node {node.id} ends")
    assert node.process is not None
    return int(node.process.wait())
