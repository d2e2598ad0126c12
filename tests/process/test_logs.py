"""What a real node writes into its log, in each format, and what it never does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster

SECRETS = {"user": "u-7d1f0a", "password": "p-93c2e5", "host": "h-5b8e44.example"}


@pytest.mark.parametrize("form", ["human", "json", "journal"])
def test_every_line_of_a_run_has_its_format_and_none_has_a_password(form: str, tmp_path: Path) -> None:
    with LocalCluster.on_free_ports(tmp_path, count=1, log={"format": form, "level": "debug"}) as cluster:
        cluster.start()
        cluster.wait_ready()
        node = cluster.nodes["1"]
        assert call(node.address, "POST", "/init_database", {"db_name": "DDB0", **SECRETS}).ok
        assert call(node.address, "POST", "/init_database", {"db_name": "no name", **SECRETS}).status == 400
        assert call(node.address, "POST", "/init_database", {"db_name": "DDB0", **SECRETS, "port": 1}).status == 400
        assert cluster.terminate("1") == 0
        log = node.log_path.read_text()
    assert [secret for secret in SECRETS.values() if secret in log] == []
    lines = log.splitlines()
    assert "node 1 of 1 serves" in log
    assert "node 1 has stopped" in log
    if form == "json":
        assert {json.loads(line)["node"] for line in lines} == {"1"}
    elif form == "journal":
        assert all(line[0] == "<" and line[1] in "234567" and line[2] == ">" for line in lines)
    else:
        assert all(line[:2] == "20" and line[23] == "Z" for line in lines)


def test_a_node_says_what_matters_and_nothing_of_its_reactor(tmp_path: Path) -> None:
    with LocalCluster.on_free_ports(tmp_path, count=1, limits={"connections_max": 50}) as cluster:
        cluster.start()
        cluster.wait_ready()
        assert cluster.terminate("1") == 0
        said = [line.split(maxsplit=2)[2] for line in cluster.nodes["1"].log_path.read_text().splitlines()]
    assert said[0].startswith("ddbd ")
    assert said[-1] == "node 1 has stopped"
    assert [line for line in said if "factory" in line.lower() or "reactor" in line or "Main loop" in line or "Port" in line] == []
    assert len(said) <= 8
