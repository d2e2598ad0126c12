"""A backup of a cluster that is written to, and a restore into another one while a node of it dies. The real command."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from process_kit import TABLE, create_table, insert, rows, wait_same
from test_recovered import ddb

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster


def filled(cluster: LocalCluster, batches: int) -> None:
    create_table(cluster)
    for number in range(batches):
        made = [{"row_id": f"{number:03}-{n:04}", "data": {"name": "x" * 50, "grade": 2**63 - 1 - n}} for n in range(1_000)]
        assert call(cluster.nodes["2"].address, "POST", "/insert", {"table_name": TABLE, "rows": made}).ok


def test_a_backup_comes_back_in_another_cluster_also_over_the_death_of_the_node_that_took_it(running: LocalCluster, tmp_path: Path) -> None:
    filled(running, 30)
    file = tmp_path / "all.backup"
    stopped = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not stopped.is_set():
            name = f"meanwhile{len(written)}"
            insert(running.nodes["3"], name, count=1)
            written.append(name)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = ddb(running, "backup", str(file), "-o", "json")
    finally:
        stopped.set()
        writer.join()
    assert made.returncode == 0, made.stderr
    assert written
    verified = ddb(running, "backup", "--verify", str(file), "-o", "json")
    assert verified.returncode == 0, verified.stderr
    saved = json.loads(verified.stdout)["rows"]
    assert 30_000 <= saved <= 30_000 + len(written)
    assert ddb(running, "backup", str(file)).returncode == 2, "a file that is there is not replaced"

    folder = tmp_path / "other"
    folder.mkdir()
    with LocalCluster.on_free_ports(folder) as other:
        other.start()
        other.wait_ready()
        results: list[Any] = []
        restoring = threading.Thread(target=lambda: results.append(ddb(other, "restore", str(file), "--yes", "-o", "json")))
        restoring.start()
        first = next(node for node in other.nodes.values())
        while restoring.is_alive() and not any(
            database["name"].startswith("restore_") and any(table["row_count"] > 2_000 for table in database["tables"])
            for database in (first.status() or {"databases": []})["databases"]
        ):
            restoring.join(0.02)
        other.kill(first.id)  # the node that the upload goes to, and the master
        restoring.join()
        [result] = results
        assert result.returncode == 0, result.stderr
        [restored] = json.loads(result.stdout)
        assert (restored["db"], restored["rows"]) == ("DDB0", saved)
        found = rows(other.nodes["2"])
        assert len(found) == saved
        assert found[0]["grade"] == 2**63 - 1
        status = other.nodes["2"].status()
        assert status is not None
        assert [database["name"] for database in status["databases"]] == ["DDB0"]
        assert status["default_database"] == "DDB0"
        other.start(first.id)
        other.wait_ready()
        wait_same(list(other.nodes.values()))

        assert ddb(other, "restore", str(file), "--yes").returncode == 6, "it is there, and --replace was not given"
        cut = tmp_path / "cut.backup"
        cut.write_bytes(file.read_bytes()[:-100])
        bad = ddb(other, "restore", str(cut), "--replace", "--yes")
        assert bad.returncode == 1
        assert "no whole backup" in bad.stderr
        again = ddb(other, "restore", str(file), "--db", "ddb0", "--as", "second", "--yes", "-o", "json")
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)[0]["content"] == restored["content"]
