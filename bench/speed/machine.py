"""Processes of the peers, and what the machine says about them. A process is ended by its own id, and by the kernel when we die."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

PACKAGES = ("etcd-server", "etcd-client", "mariadb-server", "galera-4", "rsync", "wrk", "curl", "strace")
COMMANDS = ("etcd", "etcdctl", "mariadbd", "mariadb-slap", "rsync", "wrk", "curl", "strace")
NO_START = Path("/usr/sbin/policy-rc.d")  # Debian asks it before it starts a service that was just installed

END_SECONDS = 15.0
QUIET_SHARE = 0.10  # of one core, a process
QUIET_SECONDS_MAX = 5.0

# Run before the program: the kernel ends it when its parent dies, even by kill -9 (prctl 1 is PR_SET_PDEATHSIG).
_LAUNCH = "import ctypes,os,signal,sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); os.execvp(sys.argv[1], sys.argv[1:])"


class Child:
    """One process of a peer. From the main thread: it dies with the thread that started it."""

    def __init__(self, command: Sequence[str], folder: Path, log: Path) -> None:
        self.command = list(command)
        self._folder = folder
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.command[0]} was never started"
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> float:
        """kill -9. Returns the moment just before."""
        moment = time.monotonic()
        assert self.process is not None, f"{self.command[0]} was never started"
        self.process.kill()
        self.process.wait()
        return moment

    def log_tail(self) -> str:
        return self._log.read_text("utf-8", "replace")[-2000:]


def end(children: Iterable[Child]) -> None:
    """SIGTERM to all, SIGKILL to those that do not hear it in time."""
    running = [child.process for child in children if child.process is not None and child.process.poll() is None]
    try:
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + END_SECONDS
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for process in running:
            process.kill()
            process.wait()


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of all of them; one that is gone counts nothing."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def wait_quiet(pids: Sequence[int]) -> None:
    """Until what the last load left behind (checkpoints, compaction) is done, so that it does not burden the next system."""
    pause, deadline = threading.Event(), time.monotonic() + QUIET_SECONDS_MAX
    before = cpu_seconds(pids)
    while time.monotonic() < deadline:
        pause.wait(0.5)
        now = cpu_seconds(pids)
        if now - before < 0.5 * QUIET_SHARE * len(pids):
            return
        before = now


def install() -> None:
    """What is missing, from Debian; as root. Services that come along are not started."""
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if not missing:
        return
    if os.geteuid() != 0:
        sys.exit(f"{', '.join(missing)} is missing; apt-get install --no-install-recommends {' '.join(PACKAGES)}")
    print(f"installing {' '.join(PACKAGES)}", flush=True)
    made = not NO_START.exists()
    if made:
        NO_START.write_text("#!/bin/sh\nexit 101\n")
        NO_START.chmod(0o755)
    try:
        for words in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *PACKAGES]):
            subprocess.run(["apt-get", *words], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=True)
    finally:
        if made:
            NO_START.unlink()


def on_a_real_disk(folder: Path) -> str:
    """The device below the folder. Exits where that is memory: an fsync there costs nothing."""
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [(len(where), device, kind) for device, where, kind in mounts if folder.resolve().is_relative_to(where)]
    _, device, kind = max(inside)
    if kind in ("tmpfs", "ramfs"):
        sys.exit(f"{folder} is {kind}: nothing is durable there; name a folder on a disk with --folder")
    return f"{kind} on {device}"


def described(disk: str) -> str:
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = int(next(line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))) // 2**20
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({model}), {memory} GiB, {disk}, {system}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().partition("\n")[0]
