"""How a node starts and ends: what an operator sees on the terminal, and what is on the disk afterwards."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import ddbd
from ddbd.cli.client import NodeUnreachable, call
from ddbd.cli.local import LocalCluster, eventually, free_ports, local_config, node_environment, twistd_command
from ddbd.storage.directory import FORMAT

START_SECONDS = 30


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """One node that is expected to end by itself."""
    return subprocess.run(
        [*twistd_command(), "-n", "ddb", *options],
        cwd=folder,
        env=node_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )


def assert_one_sentence(result: subprocess.CompletedProcess[str], *words: str) -> None:
    lines = result.stderr.splitlines()
    assert len(lines) == 1, f"not one line on stderr: {result.stderr!r} (stdout: {result.stdout!r})"
    for word in words:
        assert word in lines[0], f"{word!r} is not named: {lines[0]!r}"
    assert "Usage" not in result.stdout + result.stderr
    assert result.returncode == 1, f"exit status {result.returncode}"


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file under the folder with the hash of what is in it."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def write_config(folder: Path, config: object) -> None:
    (folder / "config.json").write_text(json.dumps(config))


def test_three_nodes_start_from_one_folder(tmp_path: Path) -> None:
    """With the defaults: config.json and data/<id> in the working directory, chosen by port, no pid file."""
    ports = free_ports(3)
    home = tmp_path / "home"
    logs = tmp_path / "logs"
    home.mkdir()
    logs.mkdir()
    write_config(home, local_config(ports))
    with LocalCluster(local_config(ports), logs) as cluster:
        for node in cluster.nodes.values():
            launch = f"import os; os.chdir({str(home)!r}); os.execv({twistd_command()[0]!r}, {twistd_command()!r} + "
            node.command = [sys.executable, "-c", f"{launch}['-n', 'ddb', '--port', '{node.port}'])"]
        cluster.start()
        cluster.wait_ready()
        assert sorted(path.name for path in home.iterdir()) == ["config.json", "data"]
        assert sorted(path.name for path in (home / "data").iterdir()) == ["1", "2", "3"]


def test_version_is_that_of_ddbd(tmp_path: Path) -> None:
    result = run(tmp_path, "--version")
    assert result.returncode == 0
    assert ddbd.__version__ in result.stdout
    assert list(tmp_path.iterdir()) == []


NODE = {"id": "1", "address": "localhost:8080"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, ["nodes"]),
        ({"nodes": []}, ["nodes"]),
        ({"nodes": [{"id": "1"}]}, ["address"]),
        ({"nodes": [{"id": 1, "address": "localhost:8080"}]}, ["id"]),
        ({"nodes": [{"id": "1", "address": "localhost"}]}, ["address"]),
        ({"nodes": [NODE], "colour": "red"}, ["colour"]),
        ({"nodes": [NODE, NODE]}, ["id", "twice"]),
        ({"nodes": [{**NODE, "bind": "0.0.0.0"}]}, ["bind", "insecure"]),
        ({"nodes": [NODE], "limits": {"body_bytes_max": 0}}, ["limits.body_bytes_max"]),
    ],
)
def test_a_wrong_config_is_answered_in_one_sentence(config: object, words: list[str], tmp_path: Path) -> None:
    write_config(tmp_path, config)
    assert_one_sentence(run(tmp_path, "--port", "8080"), "config.json", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--config", "nowhere.json", "--port", "8080"], "nowhere.json"),
        (["--port", "9999"], "9999"),
        (["--port", "eighty"], "eighty"),
        (["--node", "7"], "7"),
        ([], "--port"),
    ],
)
def test_a_wrong_option_is_answered_in_one_sentence(options: list[str], word: str, tmp_path: Path) -> None:
    write_config(tmp_path, local_config([8080, 8081, 8082]))
    assert_one_sentence(run(tmp_path, *options), word)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_text_that_is_no_json_is_answered_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"nodes": [')
    assert_one_sentence(run(tmp_path, "--port", "8080"), "config.json")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_port_in_use_is_named_and_nothing_is_touched(tmp_path: Path) -> None:
    ports = free_ports(3)
    write_config(tmp_path, local_config(ports))
    with socket.create_server(("127.0.0.1", ports[0])):
        assert_one_sentence(run(tmp_path, "--port", str(ports[0])), str(ports[0]))
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_the_data_of_another_node_is_refused_and_not_touched(running: LocalCluster, tmp_path: Path) -> None:
    running.close()
    data = running.data_dir / "1"
    before = fingerprint(data)
    result = run(tmp_path, "--node", "2", "--config", str(running.config_path), "--data-dir", str(data))
    assert_one_sentence(result, str(data))
    assert fingerprint(data) == before


def test_the_data_of_a_newer_format_is_refused_and_not_touched(running: LocalCluster, tmp_path: Path) -> None:
    """What a newer version wrote may have keys, and a checksum, that this one does not know."""
    running.close()
    data = running.data_dir / "1"
    identity = data / "identity.json"
    identity.write_text(json.dumps({**json.loads(identity.read_text()), "format": FORMAT + 1, "zone": "b"}))
    before = fingerprint(data)
    result = run(tmp_path, "--node", "1", "--config", str(running.config_path), "--data-dir", str(data))
    assert_one_sentence(result, str(data), f"format {FORMAT + 1}", "newer version")
    assert fingerprint(data) == before


def test_the_data_of_a_running_node_is_refused_and_not_touched(running: LocalCluster, tmp_path: Path) -> None:
    """A second process for the same directory, on another port, so that nothing but the data can stop it."""
    data = running.data_dir / "2"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(local_config(free_ports(3))))
    result = run(tmp_path, "--node", "2", "--config", str(other), "--data-dir", str(data))
    assert_one_sentence(result, str(data))
    assert running.nodes["2"].ready()


def test_nodes_that_were_added_to_the_config_later_are_named(tmp_path: Path) -> None:
    """As after a start with the config that the package brings: this node is a cluster of its own, and says so."""
    config = local_config(free_ports(3))
    with LocalCluster({"nodes": config["nodes"][:1]}, tmp_path) as alone:
        alone.start()
        alone.wait_ready()
    with LocalCluster(config, tmp_path) as cluster:
        cluster.start("1")
        cluster.wait_ready("1")
        assert "the cluster was formed without nodes of this config, which get no data and no vote: 2, 3\n" in cluster.nodes["1"].log_tail()


def test_sigterm_ends_a_follower_with_status_0(running: LocalCluster) -> None:
    assert running.terminate("3") == 0


def test_sigterm_ends_the_leader_with_status_0_after_it_handed_over(running: LocalCluster) -> None:
    """When the process is gone another node leads already: nobody had to notice first."""
    assert running.terminate("1") == 0
    leaders = [node.id for node in running.others("1") if (status := node.status()) and status["node"]["role"] == "leader"]
    assert len(leaders) == 1


def test_sigterm_before_there_is_a_quorum_ends_with_status_0(cluster: LocalCluster) -> None:
    cluster.start("2")
    node = cluster.nodes["2"]
    _wait_until_it_serves(node.address)
    assert not node.ready(), "one of three is no majority"
    assert cluster.terminate("2") == 0


def _wait_until_it_serves(address: str) -> None:
    def serves() -> bool:
        try:
            return call(address, "GET", "/ping").ok
        except NodeUnreachable:
            return False

    eventually(serves, f"{address} answers /ping")
