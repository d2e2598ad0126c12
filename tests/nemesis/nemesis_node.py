"""One real node, a `twistd -n ddb` inside its namespace, what is done to its process, and its log.

The node's standard output is a pipe that a thread of ours copies to a file, so that the sink of its log can be blocked. The kernel kills
the node when the test dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from nemesis_space import PORT, Space

from ddbd.cli.local import node_environment, twistd_command

END_SECONDS = 20.0  # from SIGTERM to the end of the process; longer is a finding
FILL_TRIES, FILL_PAUSE_SECONDS = 4, 0.1

# Run before twistd: into the namespace (setns), and die with the test (prctl 1 is PR_SET_PDEATHSIG).
_LAUNCH = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.setns(int(sys.argv[1]), 0x40000000) or libc.prctl(1, signal.SIGKILL):
    sys.exit("cannot enter the namespace: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[2], sys.argv[2:])
"""

# What no node may say. An alarm or a quarantine is right only after a bit flip, which is not among the faults here.
_BAD_LINES = re.compile(r"Traceback|QUARANTINED|is quarantined|ALARM|Unhandled|broken invariant|AssertionError")


class Node:
    def __init__(self, space: Space, config_path: Path, data_dir: Path, log_path: Path, program: Sequence[str] = ()) -> None:
        """`program` stands in for the daemon: another system behind the same calls (see `other_pysyncobj`)."""
        self.host = space.host
        self.id = str(space.host)
        self.address = f"{space.address}:{PORT}"
        self.space = space
        self.data_dir = data_dir
        self.log_path = log_path
        self.environment: dict[str, str] = {}  # on top of the usual
        self.exits: list[tuple[str, int]] = []  # (what was expected, exit status)
        self.process: subprocess.Popen[bytes] | None = None
        self.sink = LogSink(log_path)
        options = ["--node", self.id, "--config", str(config_path), "--data-dir", str(data_dir)]
        self._command = [*(program or (*twistd_command(), "-n", "ddb")), *options]

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, f"node {self.id} was never started"
        return self.process.pid

    def start(self) -> None:
        """From the main thread: the node dies with the thread that started it."""
        assert not self.running, f"node {self.id} runs already"
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _LAUNCH, str(self.space.fd), *self._command],
            stdin=subprocess.DEVNULL,
            stdout=self.sink.write_fd,
            stderr=self.sink.write_fd,
            cwd=self.log_path.parent,
            env={**node_environment(), **self.environment},
            pass_fds=[self.space.fd],
            start_new_session=True,
        )

    def kill(self) -> None:
        """kill -9. Returns when the process is gone, and its files with it."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
        self.reap("killed")

    def stop(self) -> None:
        """SIGTERM, as an operator ends a node."""
        assert self.process is not None, f"node {self.id} was never started"
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)
        self.reap("stopped")

    def reap(self, expected: str) -> None:
        assert self.process is not None, f"node {self.id} was never started"
        self.exits.append((expected, self.process.wait()))
        self.process = None

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    def limit_files(self, more: int | None) -> None:
        """So many descriptors more than it has now; None gives it back what it may have at most."""
        if not self.running:
            return
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        used = max(int(name) for name in os.listdir(f"/proc/{self.pid}/fd")) + 1
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (hard if more is None else min(used + more, hard), hard))

    def waits_for_its_log(self) -> bool:
        return self.running and waits_for_a_pipe(self.pid)

    def bad_lines(self) -> list[str]:
        """Each with what follows it, for the report."""
        lines = self.log_path.read_text("utf-8", "replace").splitlines()
        return ["\n  ".join(lines[place : place + 12]) for place, line in enumerate(lines) if _BAD_LINES.search(line)]

    def close(self) -> None:
        if self.running:
            self.kill()
        self.sink.close()


def waits_for_a_pipe(pid: int) -> bool:
    """Whether the process's main thread, for a node the reactor's, is inside a write to a pipe that is full."""
    return "pipe_write" in Path(f"/proc/{pid}/wchan").read_text()


class LogSink:
    """Reads what the node says, unless it is blocked: then the pipe is full, and the node's next word waits."""

    def __init__(self, path: Path) -> None:
        self._read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, 4096)
        self._flow = threading.Event()
        self._flow.set()
        self._file = path.open("ab", buffering=0)
        self._copier = threading.Thread(target=self._copy, name=f"copies {path.name}", daemon=True)
        self._copier.start()

    def _copy(self) -> None:
        """Until nobody can write any more."""
        while True:
            self._flow.wait()
            if select.select([self._read_fd], [], [], 0.2)[0] and self._flow.is_set():
                data = os.read(self._read_fd, 65536)
                if not data:
                    return
                self._file.write(data)

    def block(self) -> None:
        """By a description of its own: what is set on the shared one would be set for the node as well."""
        self._flow.clear()
        fd = os.open(f"/proc/self/fd/{self.write_fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        pause = threading.Event()
        try:
            for _ in range(FILL_TRIES):  # the copier may still have one read under way
                with contextlib.suppress(BlockingIOError):
                    while True:
                        os.write(fd, b"\n")
                pause.wait(FILL_PAUSE_SECONDS)
        finally:
            os.close(fd)

    def unblock(self) -> None:
        self._flow.set()

    def close(self) -> None:
        """Once the node has ended: what is still in the pipe is copied first. A second time does nothing."""
        if self._file.closed:
            return
        self._flow.set()
        os.close(self.write_fd)
        self._copier.join()
        os.close(self._read_fd)
        self._file.close()
