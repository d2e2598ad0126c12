"""SIGHUP to real nodes: the config is read again, and no client notices more than what was changed."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
from process_kit import create_table, insert, rows, wait_same

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster, LocalNode, eventually, free_ports


def rewrite(cluster: LocalCluster, **more: Any) -> None:
    content = json.loads(cluster.config_path.read_text())
    cluster.config_path.write_text(json.dumps({**content, **more}))


def hang_up(node: LocalNode) -> str:
    """What the node says to it."""

    def answers() -> list[str]:
        return [line for line in node.log_path.read_text().splitlines() if "SIGHUP" in line]

    before = len(answers())
    os.kill(node.pid, signal.SIGHUP)
    return eventually(lambda: answers()[before:], f"node {node.id} says what became of SIGHUP")[0]


def test_a_limit_is_taken_by_one_node_after_the_other_without_a_failed_call(running: LocalCluster) -> None:
    create_table(running)
    insert(running.nodes["1"], "before")
    rewrite(running, limits={"batch_rows_max": 3}, failback=False, log={"format": "json"})
    for node in running.nodes.values():
        said = json.loads(hang_up(node))["message"]
        assert said == "SIGHUP: the config was read again; changed: failback, log, limits.batch_rows_max"
        refused = call(node.address, "POST", "/insert", {"table_name": "students", "rows": [{"data": {}}] * 4})
        assert refused.status == 400
        assert "3" in refused.text
        insert(node, f"after-{node.id}", count=3)
    assert len(rows(running.nodes["2"])) == 20 + 9


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"nodes": [', "config.json"), (json.dumps({"nodes": [{"id": "1", "address": "localhost:1"}]}), "nodes")],
    ids=["broken", "fewer members"],
)
def test_a_file_that_cannot_be_taken_is_one_line_and_the_node_goes_on(running: LocalCluster, text: str, words: str) -> None:
    create_table(running)
    running.config_path.write_text(text)
    said = hang_up(running.nodes["1"])
    assert "the config of before goes on" in said
    assert words in said
    insert(running.nodes["1"], "after")
    assert running.nodes["1"].ready()


def test_a_node_that_moved_is_found_by_the_others_without_their_restart(running: LocalCluster) -> None:
    create_table(running)
    assert running.terminate("3") == 0
    insert(running.nodes["1"], "while-3-is-away")
    content = json.loads(running.config_path.read_text())
    moved = running.nodes["3"]
    moved.address = content["nodes"][2]["address"] = f"localhost:{free_ports(1)[0]}"
    running.config_path.write_text(json.dumps(content))
    for node in running.others("3"):
        assert "address of node 3" in hang_up(node)
    running.start("3")
    running.wait_ready("3")
    wait_same(list(running.nodes.values()))
    status = running.nodes["1"].status()
    assert status is not None
    assert [each["address"] for each in status["nodes"]][2] == moved.address
