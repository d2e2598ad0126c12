"""A config that is read again: what a running node takes of it, and what it refuses with one sentence, as a whole."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, globalLogPublisher

from ddbd.config import Config, Limits, load_config
from ddbd.errors import ConfigError
from ddbd.host.reload import LIVE_LIMITS, changes
from ddbd.storage.machine import Machine
from ddbd.tap import Daemon
from ddbd.web.door import Fields, Head


def raw(**more: Any) -> dict[str, Any]:
    nodes = [{"id": str(number), "address": f"localhost:{8079 + number}", "isMaster": number == 1} for number in (1, 2, 3)]
    limits = {"connections_max": 50, **more.pop("limits", {})}  # fewer than any process may have files open for
    return {"nodes": nodes, "limits": limits, **more}


def load(folder: Path, content: object) -> Config:
    path = folder / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_config(path)


def moved(node_id: int, **fields: Any) -> dict[str, Any]:
    content = raw()
    content["nodes"][node_id - 1].update(fields)
    return content


def without(node_id: int) -> dict[str, Any]:
    content = raw()
    del content["nodes"][node_id - 1]
    return content


@pytest.mark.parametrize(
    ("content", "changed"),
    [
        (raw(), []),
        (raw(hosts=["db.example.com"]), ["hosts"]),
        (raw(failback=False), ["failback"]),
        (raw(log={"format": "json"}), ["log"]),
        (raw(insecure=True), ["insecure"]),
        (moved(2, address="localhost:9090"), ["address of node 2"]),
        (moved(3, bind="127.0.0.1"), []),
        (moved(1, isMaster=False), ["isMaster of node 1"]),
        (raw(limits={"body_bytes_max": 1000, "connections_max": 5}), ["limits.body_bytes_max", "limits.connections_max"]),
    ],
)
def test_what_can_change_is_named(content: object, changed: list[str], tmp_path: Path) -> None:
    running = load(tmp_path, raw())
    assert changes(running, load(tmp_path, content), "1") == changed


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (without(3), ["nodes:", "1, 2, 3", "1, 2"]),
        (moved(3, id="4"), ["nodes:", "1, 2, 4"]),
        (moved(1, address="localhost:9090"), ["address of node 1", "port 8080 until it is restarted"]),
        (moved(1, bind="127.0.0.1"), ["bind of node 1", "localhost"]),
        (raw(timing={"tick_ms": 20}), ["timing.tick_ms: 50 until the node is restarted", "20"]),
        (raw(limits={"segment_bytes": 1_000_000}), ["limits.segment_bytes"]),
        (raw(hosts=["db.example.com"], limits={"row_bytes_max": 5}), ["limits.row_bytes_max"]),
    ],
)
def test_what_cannot_change_is_refused_in_one_sentence(content: object, words: list[str], tmp_path: Path) -> None:
    running = load(tmp_path, raw())
    with pytest.raises(ConfigError) as caught:
        changes(running, load(tmp_path, content), "1")
    assert all(word in caught.value.detail for word in [*words, "config.json"]), caught.value.detail
    assert "\n" not in caught.value.detail


def test_limits_that_decide_outcomes_never_change_on_one_node_alone() -> None:
    """The machine names them in its theory."""
    deciding = {
        name for name in Limits.__struct_fields__ if f"limits.{name}`" in (__import__(Machine.__module__, fromlist=["x"]).__doc__ or "")
    }
    assert len(deciding) == 4
    assert not deciding & LIVE_LIMITS
    assert set(Limits.__struct_fields__) >= LIVE_LIMITS


# In a node.


class Node:
    """One that waits for the others, without a socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.reactor: Any = MemoryReactorClock()
        config = load(folder, raw())
        self.daemon = Daemon(self.reactor, config, config.nodes[0], folder / "data", [], random.Random(1))
        Service.startService(self.daemon)

    def reload(self, content: object) -> None:
        (self.folder / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
        globalLogPublisher.addObserver(self._hear)
        try:
            self.daemon.reload()
        finally:
            globalLogPublisher.removeObserver(self._hear)

    def _hear(self, event: Any) -> None:
        self.said.append(str(event["log_format"]).format(**event))

    def takes_host(self, host: bytes) -> bool:
        return _admits(self.daemon._site._door.admit, host)


def _admits(admit: Callable[[Head, int | None], Any], host: bytes) -> bool:
    from ddbd.errors import Refused

    try:
        admit(Head(b"GET", b"/status", b"HTTP/1.1", Fields({b"host": [host]})), None)
    except Refused:
        return False
    return True


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_another_host_is_taken_from_the_next_request_on(node: Node) -> None:
    assert not node.takes_host(b"db.example.com")
    node.reload(raw(hosts=["db.example.com"], limits={"body_bytes_max": 5}))
    assert node.takes_host(b"db.example.com")
    assert node.daemon._site.limits.body_bytes_max == 5
    assert len(node.said) == 1
    assert node.said[0].startswith("SIGHUP: the config was read again; changed: hosts, limits.body_bytes_max")
    node.reload(raw())
    assert not node.takes_host(b"db.example.com")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (raw(hosts=["db.example.com"], timing={"tick_ms": 20}), "timing.tick_ms"),
        ('{"nodes": [', "config.json"),
        (raw(hosts=["db.example.com"], colour="red"), "colour"),
        (raw(hosts=["db.example.com"], limits={"body_bytes_max": 0}), "limits.body_bytes_max"),
    ],
)
def test_one_key_that_cannot_change_and_nothing_is_changed(node: Node, content: object, word: str) -> None:
    before = node.daemon._config
    node.reload(content)
    assert node.daemon._config is before
    assert not node.takes_host(b"db.example.com")
    assert len(node.said) == 1
    assert node.said[0].startswith("SIGHUP: the config of before goes on: ")
    assert word in node.said[0]
    assert "\n" not in node.said[0]


def test_a_file_that_is_gone_changes_nothing(node: Node, tmp_path: Path) -> None:
    (tmp_path / "config.json").unlink()
    globalLogPublisher.addObserver(node._hear)
    node.daemon.reload()
    globalLogPublisher.removeObserver(node._hear)
    assert "cannot be read" in node.said[0]


def test_a_file_named_from_another_folder_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with twistd's `--rundir`."""
    monkeypatch.chdir(tmp_path)
    node = Node(Path("."))
    (tmp_path / "config.json").write_text(json.dumps(raw(hosts=["db.example.com"])))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    node.daemon.reload()
    assert node.takes_host(b"db.example.com")


def test_a_peer_that_moved_is_asked_at_its_new_address(node: Node) -> None:
    node.reload(moved(2, address="localhost:9090"))
    assert dict(node.daemon._formation._nodes)["2"] == "localhost:9090"
    assert [each["address"] for each in node.daemon._standby.status()["nodes"]] == ["localhost:8080", "localhost:9090", "localhost:8082"]


def test_a_node_that_ends_reads_nothing_again(node: Node) -> None:
    node.daemon._is_ending = True
    node.reload(raw(hosts=["db.example.com"]))
    assert node.said == []


def test_logs_change_their_format(node: Node) -> None:
    lines: list[str] = []
    node.daemon.book._write = lines.append
    node.reload(raw(log={"format": "journal"}))
    Logger(namespace="ddbd", observer=node.daemon.book).info("said")
    assert lines == ["<6>said\n"]
