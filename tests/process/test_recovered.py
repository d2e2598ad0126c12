"""A quorum is lost for good: the survivor goes on with all that it had, nodes of before are turned away. Real nodes, the real command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from process_kit import create_table, insert, rows, status, wait_ended, wait_same, wait_voter, wipe

from ddbd.cli.local import LocalCluster, eventually, node_environment
from ddbd.storage.fence import FENCED


def ddb(cluster: LocalCluster, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from ddbd.cli import main; main()", *words, "--config", str(cluster.config_path)]
    environment = node_environment()
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=cluster.folder, check=False)


def recovered(cluster: LocalCluster, node_id: str) -> subprocess.CompletedProcess[str]:
    result = ddb(cluster, "recover", str(cluster.data_dir / node_id), "--yes-i-lose-data")
    assert result.returncode == 0, result.stderr
    return result


def test_one_survivor_goes_on_and_the_lost_nodes_are_turned_away_for_good(running: LocalCluster) -> None:
    """The two lost nodes are a majority of the old cluster: both come back with their data, and neither ever serves again."""
    create_table(running)
    insert(running.nodes["1"], "before")
    wait_same(list(running.nodes.values()))
    data = running.data_dir / "3"

    refused = ddb(running, "recover", str(data), "--yes-i-lose-data")
    assert refused.returncode == 1
    assert "runs at" in refused.stderr
    running.kill("1", "2")
    insert_fails = ddb(running, "recover", str(data), "--yes-i-lose-data")
    assert "node 3 runs at" in insert_fails.stderr, "a node that is alone is stopped first, too"
    running.kill("3")

    dry = ddb(running, "recover", str(data), "--dry-run", "-o", "json")
    assert dry.returncode == 0, dry.stderr
    [said] = json.loads(dry.stdout)
    assert (said["node"], said["trouble"]) == ("3", None)
    assert "lost for good, at most: what nodes 1 and 2 acknowledged behind entry" in dry.stderr
    assert "nothing was changed" in dry.stderr
    unasked = ddb(running, "recover", str(data))
    assert unasked.returncode == 2
    assert "add --yes-i-lose-data" in unasked.stderr

    recovered(running, "3")
    running.start("3")
    survivor = running.nodes["3"]
    running.wait_ready("3")
    assert len(rows(survivor)) == 20, "what was acknowledged and was here is here"
    insert(survivor, "after")

    running.start("1", "2")
    for node_id in ("1", "2"):
        assert wait_ended(running.nodes[node_id]) == 1
        assert "was recovered without it" in running.nodes[node_id].log_tail()
        assert (running.data_dir / node_id / FENCED).exists()
    running.kill("3")
    running.start("1", "2")  # now nobody could tell them; they know
    for node_id in ("1", "2"):
        assert wait_ended(running.nodes[node_id]) == 1
        assert "start with an empty one" in running.nodes[node_id].log_tail()
    running.start("3")
    running.wait_ready("3")

    for node_id in ("1", "2"):
        wipe(running, node_id)
        running.start(node_id)
        wait_voter(running.nodes[node_id])
    # While the change is under way the former voters, 1 and 3, must still agree as well: then nobody could lead without node 3.
    settled = {"voters": ["1", "2", "3"], "outgoing": [], "learners": []}
    nodes = list(running.nodes.values())
    eventually(lambda: all(status(node)["membership"] == settled for node in nodes), "all three vote again, and all of them know it")
    running.kill("3")
    insert(running.nodes["2"], "without")
    assert len(rows(running.nodes["1"])) == 60
    running.start("3")
    running.wait_ready()
    wait_same(list(running.nodes.values()))


def test_a_lost_node_that_was_cut_off_while_it_was_recovered_is_ended_when_they_meet(running: LocalCluster, tmp_path: Path) -> None:
    """It never asked at its start: the streams tell it."""
    create_table(running)
    insert(running.nodes["1"], "before")
    wait_same(list(running.nodes.values()))
    running.kill("1", "2", "3")
    recovered(running, "3")
    running.start("1")  # alone, it finds nobody that could tell it, and starts
    eventually(lambda: "membership" in status(running.nodes["1"]), "node 1 runs its old history")
    running.start("3")
    assert wait_ended(running.nodes["1"]) == 1
    assert (running.data_dir / "1" / FENCED).exists()
    running.wait_ready("3")
    checked = ddb(running, "check", str(running.data_dir / "3"))
    assert checked.returncode != 0
    assert "a node is running on this directory" in checked.stderr
    assert running.terminate("3") == 0
    checked = ddb(running, "check", str(running.data_dir / "3"), "-o", "json")
    assert checked.returncode == 0, checked.stderr
    assert {finding["level"] for finding in json.loads(checked.stdout)} == {"ok"}
