"""A service manager as a real node meets it: a datagram socket in its environment."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddbd.cli.local import LocalCluster, eventually


class Manager:
    """What systemd is to a service: it reads what it is told."""

    def __init__(self, folder: Path) -> None:
        self.told: list[str] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0ddbd-{folder}")
        self.socket.setblocking(False)
        self.address = f"@ddbd-{folder}"

    def has_heard(self, start: str) -> bool:
        try:
            while True:
                self.told += self.socket.recv(4_096).decode().split("\n")
        except BlockingIOError:
            return any(line.startswith(start) for line in self.told)

    def wait(self, start: str) -> None:
        eventually(lambda: self.has_heard(start), f"the manager hears {start}")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    heard = Manager(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", heard.address)
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    yield heard
    heard.socket.close()


def test_the_first_of_three_hosts_is_ready_though_the_others_are_off(cluster: LocalCluster, manager: Manager) -> None:
    cluster.start("2")
    manager.wait("READY=1")
    manager.wait("STATUS=not ready: ")
    assert not cluster.nodes["2"].ready()
    assert cluster.terminate("2") == 0


def test_a_node_tells_how_it_is_until_it_ends(tmp_path: Path, manager: Manager) -> None:
    with LocalCluster.on_free_ports(tmp_path, count=1) as cluster:
        cluster.start()
        cluster.wait_ready()
        manager.wait("STATUS=leader of 1 node, term 1, index ")
        manager.told.clear()
        manager.wait("WATCHDOG=1")
        assert cluster.terminate("1") == 0
        manager.wait("STOPPING=1")
        log = cluster.nodes["1"].log_path.read_text()
    assert "ready: leader of 1 node" in log


def test_a_restarted_node_is_ready_once_its_log_is_read(tmp_path: Path, manager: Manager) -> None:
    with LocalCluster.on_free_ports(tmp_path, count=1) as cluster:
        cluster.start()
        cluster.wait_ready()
        cluster.kill("1")
        manager.has_heard("")
        manager.told.clear()
        cluster.start()
        manager.wait("READY=1")
        before = manager.told[: manager.told.index("READY=1")]
        assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in before)
        assert any(line.startswith("STATUS=reads its log") for line in before)
