"""Nodes that come back with an empty disk, or after so long that the log no longer reaches back to them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from process_kit import TABLE, create_table, insert, rows, status, wait_ended, wait_same, wait_voter, wipe

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster, eventually

# A log that forgets soon: a segment holds a few batches, and a checkpoint comes after a few entries.
SHORT_LOG = {"segment_bytes": 64 * 1024, "log_tail_entries": 8, "checkpoint_entries": 8}
FILLER = "x" * 500  # 20 rows fill a sixth of a segment
BATCHES = 24


@pytest.mark.parametrize(("lost", "other"), [("3", "2"), ("1", "3")], ids=["follower", "leader"])
def test_a_wiped_node_comes_back_and_its_acknowledgement_counts_again(running: LocalCluster, lost: str, other: str) -> None:
    """With one of the two others dead, no write is acknowledged without the node that lost its disk."""
    create_table(running)
    insert(running.nodes["2"], "before")
    running.kill(lost)
    wipe(running, lost)
    insert(running.nodes[other], "away")
    running.start(lost)
    wait_voter(running.nodes[lost])

    running.kill(other)
    insert(running.nodes[lost], "after")
    left = running.others(other)
    wait_same(left)
    assert len(rows(running.nodes[lost])) == 60

    running.start(other)
    running.wait_ready(other)
    wait_same(list(running.nodes.values()))


def test_a_wiped_node_is_a_learner_while_there_is_nobody_to_make_it_a_voter(running: LocalCluster) -> None:
    """It forgot its votes and what it acknowledged: with one old node it makes no majority, and no write is acknowledged."""
    create_table(running)
    insert(running.nodes["1"], "before")
    running.kill("2", "3")
    wipe(running, "3")
    running.start("3")
    lost = running.nodes["3"]
    eventually(lambda: "membership" in status(lost), "node 3 has joined again")
    row = {"table_name": TABLE, "row_id": "lonely", "data": {"name": "nobody"}}
    assert call(running.nodes["1"].address, "POST", "/insert?timeout=1", row).status in (503, 504)
    assert status(lost)["node"]["role"] == "learner"
    assert not lost.ready()

    running.start("2")
    wait_voter(lost)
    running.wait_ready()
    wait_same(list(running.nodes.values()))


def test_a_node_whose_log_is_gone_beside_its_identity_does_not_start(running: LocalCluster) -> None:
    """As an empty founder it would vote once more in terms in which it voted, and forget what it acknowledged."""
    create_table(running)
    insert(running.nodes["1"], "before")
    running.kill("3")
    data = running.data_dir / "3"
    for item in [data / "log", *data.glob("tables-*")]:
        shutil.rmtree(item)
    running.start("3")
    assert wait_ended(running.nodes["3"]) == 1
    assert running.nodes["3"].log_path.read_text().splitlines()[-1].startswith(f"ddb: {data}/log: the log is missing")


@pytest.fixture
def forgetful(tmp_path: Path) -> LocalCluster:
    """Three nodes whose log is short. Ended by the test."""
    return LocalCluster.on_free_ports(tmp_path, limits=SHORT_LOG)


@pytest.mark.parametrize("is_wiped", [False, True], ids=["away", "wiped"])
def test_a_node_that_the_log_no_longer_reaches_is_seeded_by_a_snapshot(forgetful: LocalCluster, is_wiped: bool) -> None:
    """And the tables that it got this way are still right after its next restart."""
    with forgetful as cluster:
        cluster.start()
        cluster.wait_ready()
        create_table(cluster)
        away, master = cluster.nodes["3"], cluster.nodes["1"]
        insert(away, "before")
        last_index = status(away)["applied_index"]
        cluster.kill("3")
        if is_wiped:
            wipe(cluster, "3")
        for number in range(BATCHES):
            insert(master, f"away-{number}", filler=FILLER)
        eventually(lambda: status(master)["log"]["first_index"] > last_index + 1, "the log is compacted beyond node 3")

        cluster.start("3")
        wait_voter(away)
        assert "installed a snapshot" in away.log_path.read_text()
        wait_same(list(cluster.nodes.values()))
        assert len(rows(away)) == 20 + 20 * BATCHES
        generations = [path.name for path in (cluster.data_dir / "3").glob("tables-*")]
        assert generations == ["tables-1"], "the tables from before are gone"

        assert cluster.terminate("3") == 0
        insert(master, "later")
        cluster.start("3")
        wait_voter(away)
        wait_same(list(cluster.nodes.values()))
        assert away.log_path.read_text().count("installed a snapshot") == 1, "the restart needed no second one"
