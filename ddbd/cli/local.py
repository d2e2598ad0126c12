"""A cluster of real processes on this machine: the demo, the benchmarks and the process tests all start theirs here.

Each node is one `twistd -n ddb` in a session of its own, so that a Ctrl-C in the terminal reaches only us and we end the nodes in order.
Nothing is left behind: `close()` ends them on every road out, and the kernel ends them when we are killed ourselves (on Linux).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import ddbd
from ddbd.cli.client import NodeUnreachable, call
from ddbd.errors import DdbError

READY_SECONDS = 30.0
END_SECONDS = 10.0  # from SIGTERM to SIGKILL
POLL_SECONDS = 0.02
LOG_TAIL_LINES = 20
CALL_SECONDS = 2.0  # for a question to a node that may be frozen

# Run before twistd: the kernel ends the node when its parent dies, even by kill -9 (prctl 1 is PR_SET_PDEATHSIG).
_LAUNCH = """
import ctypes, os, signal, sys
prctl = getattr(ctypes.CDLL(None), "prctl", None)
if prctl is not None:
    prctl(1, signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
"""

Result = TypeVar("Result")


class TookTooLong(DdbError):
    """What was waited for did not come."""

    code = "took_too_long"


class NodeFailed(DdbError):
    """A node ended, or did not become ready; the detail has the end of its log."""

    code = "node_failed"


def eventually(check: Callable[[], Result | None], what: str, seconds: float = READY_SECONDS) -> Result:
    """The first true answer of `check`, asked again and again. The one place that waits for others by the clock."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TookTooLong(f"{what}: not within {seconds:g} s")
        pause.wait(POLL_SECONDS)


def port_is_free(port: int) -> bool:
    """Nothing listens there, neither on IPv4 nor on IPv6 (`localhost` can be both)."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            probe = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue  # no IPv6 on this machine
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno not in (None, 99):  # EADDRNOTAVAIL: IPv6 is there but has no ::1
                    return False
    return True


def free_ports(count: int, start: int | None = None) -> list[int]:
    """Ports where nothing listens; below the range that the kernel lends to clients, so that a killed node finds its own again."""
    port = random.randrange(20_000, 30_000) if start is None else start
    found: list[int] = []
    while len(found) < count:
        if port > 32_000:
            raise DdbError("there are not enough free ports below 32000 on this machine")
        if port_is_free(port):
            found.append(port)
        port += 1
    return found


def local_config(ports: Iterable[int], **more: object) -> dict[str, Any]:
    """The shape of config.json for nodes on this machine; the first one is the preferred master."""
    nodes = [{"id": str(number), "address": f"localhost:{port}", "isMaster": number == 1} for number, port in enumerate(ports, 1)]
    return {"nodes": nodes, **more}


def twistd_command() -> list[str]:
    """The `twistd` beside this interpreter; the same by its module where there is no such script."""
    script = Path(sys.executable).parent / "twistd"
    return [str(script)] if script.exists() else [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


def node_environment() -> dict[str, str]:
    """Nodes run the code that this process runs, also from a checkout that is not installed."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a node starts as an installed one does, without compiling a hundred files
    root = Path(ddbd.__file__).parent.parent
    if (root / "pyproject.toml").exists():
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), environment.get("PYTHONPATH")]))
    return environment


@dataclass
class LocalNode:
    id: str
    address: str
    command: list[str]
    log_path: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    frozen: bool = False

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, f"node {self.id} was never started"
        return self.process.pid

    def log_tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log_path.read_text("utf-8", "replace").splitlines()
            return "\n".join(lines[-LOG_TAIL_LINES:])
        return ""

    def ready(self) -> bool:
        with contextlib.suppress(NodeUnreachable):
            return call(self.address, "GET", "/readyz", timeout_seconds=CALL_SECONDS).ok
        return False

    def status(self) -> dict[str, Any] | None:
        """The node's /status; None when it does not answer."""
        with contextlib.suppress(NodeUnreachable):
            reply = call(self.address, "GET", "/status", timeout_seconds=CALL_SECONDS)
            if reply.ok:
                answer: dict[str, Any] = reply.json()
                return answer
        return None


class LocalCluster:
    """The nodes of one config, as processes of this machine. Used by `with`, so that they end whatever happens."""

    def __init__(self, config: Mapping[str, Any], folder: Path, config_path: Path | None = None, data_dir: Path | None = None) -> None:
        """`folder` takes the logs; the config and the data (`data_dir`/<id>) too where they are not named."""
        self.folder = folder
        self.config_path = config_path or folder / "config.json"
        self.data_dir = data_dir or folder / "data"
        if config_path is None:
            self.config_path.write_text(json.dumps(config, indent=1) + "\n")
        self.nodes = {entry["id"]: self._node(entry["id"], entry["address"]) for entry in config["nodes"]}
        marked = [entry["id"] for entry in config["nodes"] if entry.get("isMaster")]
        self.preferred_id: str = (marked or _in_order(self.nodes))[0]

    @classmethod
    def on_free_ports(cls, folder: Path, count: int = 3, **more: object) -> LocalCluster:
        return cls(local_config(free_ports(count), **more), folder)

    def _node(self, node_id: str, address: str) -> LocalNode:
        options = ["--node", node_id, "--config", str(self.config_path), "--data-dir", str(self.data_dir / node_id)]
        return LocalNode(node_id, address, [*twistd_command(), "-n", "ddb", *options], self.folder / f"node-{node_id}.log")

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self, *node_ids: str) -> None:
        """Starts the named nodes, or all of them. From the main thread: the nodes die with the thread that started them."""
        for node in self._named(node_ids):
            assert not node.running, f"node {node.id} runs already"
            with node.log_path.open("ab") as log:
                node.process = subprocess.Popen(
                    [sys.executable, "-c", _LAUNCH, *node.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env=node_environment(),
                    start_new_session=True,
                )

    def wait_ready(self, *node_ids: str, seconds: float = READY_SECONDS) -> None:
        """Raises NodeFailed, with the end of the log, for a node that ended or is not ready in time."""
        waiting = self._named(node_ids)

        def all_ready() -> bool:
            for node in waiting:
                if not node.running:
                    status = None if node.process is None else node.process.poll()
                    raise NodeFailed(f"node {node.id} ({node.address}) ended with status {status}{_quoted(node.log_tail())}")
            return all(node.ready() for node in waiting)

        try:
            eventually(all_ready, "ready", seconds)
        except TookTooLong:
            node = next((node for node in waiting if not node.ready()), waiting[0])
            raise NodeFailed(f"node {node.id} ({node.address}) was not ready within {seconds:g} s{_quoted(node.log_tail())}") from None

    def _named(self, node_ids: Iterable[str]) -> list[LocalNode]:
        return [self.nodes[node_id] for node_id in node_ids] or list(self.nodes.values())

    def kill(self, *node_ids: str) -> float:
        """kill -9, all of them in one go. Returns the moment (time.monotonic) just before."""
        nodes = self._named(node_ids)
        moment = time.monotonic()
        for node in nodes:
            os.kill(node.pid, signal.SIGKILL)
        for node in nodes:
            assert node.process is not None
            node.process.wait()
        return moment

    def freeze(self, node_id: str) -> float:
        """SIGSTOP: the node is silent, its connections stay open. Returns the moment just before."""
        moment = time.monotonic()
        os.kill(self.nodes[node_id].pid, signal.SIGSTOP)
        self.nodes[node_id].frozen = True
        return moment

    def thaw(self, node_id: str) -> None:
        os.kill(self.nodes[node_id].pid, signal.SIGCONT)
        self.nodes[node_id].frozen = False

    def terminate(self, node_id: str, seconds: float = END_SECONDS) -> int:
        """SIGTERM; returns the exit status. Raises subprocess.TimeoutExpired."""
        process = self.nodes[node_id].process
        assert process is not None, f"node {node_id} was never started"
        process.terminate()
        return process.wait(seconds)

    def master_id(self) -> str | None:
        """The master as the nodes tell, the highest term counting; None when none of them knows one."""
        awake = [node for node in self.nodes.values() if node.running and not node.frozen]
        found = [status for node in awake if (status := node.status()) and status["master"]]
        newest = max(found, key=lambda status: int(status["term"]), default=None)
        return None if newest is None else str(newest["master"]["id"])

    def wait_master(self, among: Iterable[str], seconds: float = READY_SECONDS) -> str:
        """The id of the master, once it is one of these."""
        ids = set(among)

        def found() -> str | None:
            master_id = self.master_id()
            return master_id if master_id in ids else None

        return eventually(found, f"a master among {', '.join(sorted(ids))}", seconds)

    def others(self, *node_ids: str) -> list[LocalNode]:
        return [node for node in self.nodes.values() if node.id not in node_ids]

    def close(self) -> None:
        """Ends every node that still runs: SIGTERM to all, SIGKILL to those that do not hear it in time."""
        running = [node.process for node in self.nodes.values() if node.process is not None and node.process.poll() is None]
        try:
            for process in running:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)  # a frozen one must be able to hear it
            deadline = time.monotonic() + END_SECONDS
            for process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for process in running:
                process.kill()
                process.wait()


def _quoted(log_tail: str) -> str:
    if not log_tail:
        return "; its log is empty"
    return "; the end of its log:\n" + "\n".join(f"  {line}" for line in log_tail.splitlines())


def _in_order(node_ids: Iterable[str]) -> list[str]:
    """As the daemon has it: by number where all are numbers."""
    given = list(node_ids)
    return sorted(given, key=int) if all(node_id.isdecimal() and node_id.isascii() for node_id in given) else sorted(given)
