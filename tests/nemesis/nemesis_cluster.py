"""Three real nodes in namespaces of their own, and what a round asks of them as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nemesis_clock
from nemesis_disk import LazyDisk
from nemesis_network import CLIENTS, Network
from nemesis_node import Node
from nemesis_space import PORT, address_of, enter

from ddbd.cli.client import NodeUnreachable, Reply, call

NODES = 3
ASK_SECONDS = 3.0
LEADER_SECONDS = 1.0

# Small, so that segments are dropped, checkpoints made and snapshots sent in a round of seconds.
LIMITS = {
    "segment_bytes": 32 * 1024,
    "log_tail_entries": 100,
    "checkpoint_entries": 100,
    "cache_entries_max": 50,
    "disk_reserve_bytes": 4 * 1024 * 1024,
}


class Cluster:
    """Used by `with`: nothing of it is left, on whatever road it is left."""

    def __init__(
        self,
        folder: Path,
        seed: str,
        lazy_disks: bool = False,
        fake_clocks: bool = False,
        limits: Mapping[str, int] = LIMITS,
        program: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._program = program
        config = {
            "nodes": [{"id": str(n), "address": f"{address_of(n)}:{PORT}", "isMaster": n == 1} for n in range(1, NODES + 1)],
            "insecure": True,
            "limits": dict(limits),
        }
        config_path = folder / "config.json"
        config_path.write_text(json.dumps(config, indent=1) + "\n")
        self.network = Network(NODES, seed)
        self.disks: dict[int, LazyDisk] = {}
        self.clocks: dict[int, nemesis_clock.FakeClock] = {}
        self.nodes: dict[int, Node] = {}
        # What is asked of the nodes is asked from the clients' namespace.
        self._askers = ThreadPoolExecutor(NODES, "asks", initializer=enter, initargs=(self.network.spaces[CLIENTS].fd,))
        try:
            self._make(config_path, lazy_disks, fake_clocks)
        except BaseException:
            self.close()
            raise

    def _make(self, config_path: Path, lazy_disks: bool, fake_clocks: bool) -> None:
        for host in range(1, NODES + 1):
            home = self.folder / f"node-{host}"
            data_dir = home / "data"
            if lazy_disks:
                self.disks[host] = LazyDisk(home)
                data_dir = self.disks[host].path / "data"
            home.mkdir(exist_ok=True)
            node = self.nodes[host] = Node(
                self.network.spaces[host], config_path, data_dir, self.folder / f"node-{host}.log", self._program
            )
            if fake_clocks:
                clock = self.clocks[host] = nemesis_clock.FakeClock(home / "clock")
                node.environment = clock.environment()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def clients_space(self) -> int:
        return self.network.spaces[CLIENTS].fd

    def start(self) -> None:
        for node in self.nodes.values():
            node.start()

    def ask(self, host: int, path: str, method: str = "GET", body: object = None, seconds: float = ASK_SECONDS) -> Reply | None:
        """The node's answer, whatever it is; None when there is none."""
        return self._askers.submit(self._asked, host, path, method, body, seconds).result()

    def ask_all(self, path: str, seconds: float = ASK_SECONDS) -> dict[int, Reply | None]:
        """All nodes at once."""
        asked = {host: self._askers.submit(self._asked, host, path, "GET", None, seconds) for host in self.nodes}
        return {host: future.result() for host, future in asked.items()}

    def _asked(self, host: int, path: str, method: str, body: object, seconds: float) -> Reply | None:
        try:
            return call(self.nodes[host].address, method, path, body, timeout_seconds=seconds)
        except NodeUnreachable:
            return None

    def unready(self) -> dict[int, str]:
        """Why a node is not in service, for those that are not."""
        replies = self.ask_all("/readyz")
        return {host: "no answer" if reply is None else reply.text for host, reply in replies.items() if reply is None or not reply.ok}

    def statuses(self, seconds: float = ASK_SECONDS) -> dict[int, dict[str, Any]]:
        """Of those that answer."""
        return {host: reply.json() for host, reply in self.ask_all("/status", seconds).items() if reply is not None and reply.ok}

    def leader(self) -> int:
        """As the nodes that can answer tell, the newest term counting; node 1 where nobody knows one."""
        found = [status for status in self.statuses(LEADER_SECONDS).values() if status["master"]]
        newest = max(found, key=lambda status: int(status["term"]), default=None)
        return 1 if newest is None else int(newest["master"]["id"])

    def close(self) -> None:
        self._askers.shutdown()
        for node in self.nodes.values():
            node.close()
        for disk in self.disks.values():
            disk.close()
        self.network.close()
