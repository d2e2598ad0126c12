"""The namespaces of the nodes and of the clients, and the handle of the router between them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nemesis_space import Space

Pair = tuple[int, int]

CLIENTS = 100  # the host of all clients, and of the judge


class Network:
    """Each `fault` lies over the earlier ones until it is mended; `calm` ends all. The hosts are 1, 2, 3 … for the nodes, and CLIENTS."""

    def __init__(self, nodes: int, seed: str) -> None:
        """Raises OSError where the machine does not let us; see `nemesis_space.unavailable`."""
        self.hosts = (*range(1, nodes + 1), CLIENTS)
        self.spaces = {host: Space(host) for host in self.hosts}
        self._layers: dict[int, tuple[list[Pair], dict[str, Any]]] = {}
        self._layer = 0
        self._lock = threading.Lock()
        self.counts: dict[str, int] = {}
        fds = [space.tun_fd for space in self.spaces.values()]
        words = [f"{host}={space.tun_fd}" for host, space in self.spaces.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-S", str(Path(__file__).with_name("nemesis_router.py")), seed, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=fds,
        )
        self._send()

    def others(self, host: int) -> list[int]:
        """The other nodes; the clients are none."""
        return [each for each in self.hosts if each not in (host, CLIENTS)]

    def fault(self, pairs: Iterable[Pair], **rule: Any) -> int:
        """For the directions (source, target). Returns what `mend` takes."""
        with self._lock:
            self._layer += 1
            self._layers[self._layer] = (list(pairs), rule)
            self._send()
            return self._layer

    def mend(self, layer: int) -> None:
        with self._lock:
            self._layers.pop(layer, None)
            self._send()

    def calm(self) -> None:
        with self._lock:
            self._layers.clear()
            self._send()

    def _send(self) -> None:
        """Returns when the router has them."""
        rules: dict[Pair, dict[str, Any]] = {}
        for pairs, rule in self._layers.values():
            for pair in pairs:
                rules[pair] = {**rules.get(pair, {}), **rule}
        table = [[source, target, rule] for (source, target), rule in rules.items()]
        assert self._process.stdin is not None, "the router has no standard input"
        assert self._process.stdout is not None, "the router has no standard output"
        self._process.stdin.write(json.dumps(table).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the router has ended with status {self._process.poll()}"
        self.counts = json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin is not None, "the router has no standard input"
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        for space in self.spaces.values():
            space.close()


def both_ways(one: int, others: Iterable[int]) -> list[Pair]:
    return [pair for other in others for pair in ((one, other), (other, one))]
