"""`ddb` as its user has it: real nodes, real terminals (a pty), kill -9 in the middle of everything."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from process_kit import TABLE, create_table

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster, TookTooLong, eventually, node_environment
from ddbd.client import Client

DDB = [sys.executable, "-c", "from ddbd.cli import main; main()"]
SECONDS = 60.0
SHOWN_SECONDS = 20.0


@pytest.fixture
def environment(running: LocalCluster, tmp_path: Path) -> dict[str, str]:
    return {**node_environment(), "DDB_CONFIG": str(running.config_path), "XDG_STATE_HOME": str(tmp_path / "state"), "TERM": "xterm"}


def ddb(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DDB, *words], capture_output=True, text=True, env=environment, timeout=SECONDS)


def rows_of(cluster: LocalCluster) -> list[dict[str, Any]]:
    with Client(cluster.config_path) as client:
        return [*client.select_rows(TABLE)]


def write_rows(path: Path, count: int) -> Path:
    path.write_text("name\n" + "".join(f"row {number} {'x' * 80}\n" for number in range(count)))
    return path


def names(rows: Sequence[dict[str, Any]]) -> list[int]:
    return sorted(int(row["name"].split()[1]) for row in rows)


@contextmanager
def started(environment: dict[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*DDB, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def test_an_import_survives_the_death_of_the_leader_and_then_its_own(
    running: LocalCluster, environment: dict[str, str], tmp_path: Path
) -> None:
    """The rows have no ids: whatever is done twice would be seen."""
    create_table(running)
    count = 20_000
    file = str(write_rows(tmp_path / "rows.csv", count))
    with started(environment, "import", TABLE, file, "-q") as process:
        eventually(lambda: len(rows_of(running)) >= 2_000, "the first batches")
        running.kill("1")
        there = len(rows_of(running))
        eventually(lambda: len(rows_of(running)) >= there + 2_000, "batches after the failover")
        process.send_signal(signal.SIGKILL)
        process.wait(SECONDS)
        assert process.returncode == -signal.SIGKILL, "it was still at work"
    done = ddb(environment, "import", TABLE, file, "-q", "-o", "ndjson")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("going on behind row ")
    assert names(rows_of(running)) == [*range(count)]


def test_an_export_survives_the_death_of_the_node_that_it_reads(running: LocalCluster, environment: dict[str, str], tmp_path: Path) -> None:
    create_table(running)
    count = 20_000
    with Client(running.config_path) as client:
        client.load(TABLE, ({"row_id": f"{number:06}", "name": f"row {number} {'x' * 200}"} for number in range(count)))
    out = tmp_path / "rows.ndjson"
    part = tmp_path / "rows.ndjson.part"
    with started(environment, "export", TABLE, str(out), "-q") as process:
        eventually(lambda: part.exists() and part.stat().st_size > 0, "the first rows")
        os.kill(process.pid, signal.SIGSTOP)
        running.kill("1")
        os.kill(process.pid, signal.SIGCONT)
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said
    assert out.read_text().count("\n") == count
    running.start("1")
    running.wait_ready()
    whole = ddb(environment, "export", TABLE, "-q")
    assert whole.stdout == out.read_text()


def test_health_tells_by_its_status_whether_there_is_a_quorum(running: LocalCluster, environment: dict[str, str]) -> None:
    assert ddb(environment, "health").returncode == 0
    running.kill("3")
    one_gone = ddb(environment, "health", "-o", "json")
    assert one_gone.returncode == 0
    assert '"health":"unreachable"' in one_gone.stdout
    running.kill("2")
    eventually(lambda: ddb(environment, "health").returncode == 1, "the last node has noticed")
    lonely = ddb(environment, "insert", TABLE, "name=x", "--timeout", "1")
    assert lonely.returncode in (3, 4, 5)
    assert lonely.stderr.count("\n") == 1


def test_the_printed_curl_line_does_what_the_command_would(running: LocalCluster, environment: dict[str, str]) -> None:
    create_table(running)
    line = ddb(environment, "insert", TABLE, "row_id=it's", 'name=a "b" $c', "--curl").stdout
    if subprocess.run(["sh", "-c", "command -v curl"], capture_output=True).returncode:
        pytest.skip("curl is not installed on this machine")
    sent = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert '"row_id":"it\'s"' in sent.stdout, sent.stderr
    assert rows_of(running) == [{"row_id": "it's", "name": 'a "b" $c', "grade": None}]


# On a terminal.


class Terminal:
    """A program on a pty, and what it has shown, without the terminal's own codes."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.execve(DDB[0], [*DDB, *words], environment)
        self.raw = b""
        self._mark = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._file, 65536)
            except OSError:
                return
            self.raw += data
            for _ in range(data.count(b"\x1b[6n")):
                os.write(self._file, b"\x1b[1;1R")  # where the cursor is, as a terminal answers

    @property
    def shown(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]", "", self.raw.decode("utf-8", "replace"))

    def type(self, text: str) -> None:
        """What is waited for next must come after it."""
        self._mark = len(self.shown)
        os.write(self._file, text.encode())

    def wait_for(self, text: str) -> None:
        try:
            eventually(lambda: text in self.shown[self._mark :], f"{text!r} on the terminal", SHOWN_SECONDS)
        except TookTooLong as error:
            raise AssertionError(f"{error.detail}; it shows {self.shown[-1000:]!r}") from error

    def end(self) -> int:
        """The exit status."""
        _, status = os.waitpid(self.pid, 0)
        self._reader.join(5)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        os.close(self._file)


@contextmanager
def terminal(environment: dict[str, str], *words: str) -> Iterator[Terminal]:
    found = Terminal(environment, *words)
    try:
        yield found
    finally:
        try:
            os.kill(found.pid, signal.SIGKILL)
            os.waitpid(found.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it has ended, and was waited for
        found.close()


def test_a_session_at_a_terminal_outlives_the_leader(running: LocalCluster, environment: dict[str, str], tmp_path: Path) -> None:
    create_table(running)
    with terminal(environment, "shell") as shell:
        shell.wait_for("n1[leader] DDB0>")
        shell.type(f'insert {TABLE} row_id=1 name="Ahmed"\r')
        shell.wait_for("inserted row 1")
        shell.wait_for("DDB0>")
        shell.type("sel\t")
        shell.wait_for("select")
        shell.type(f" {TABLE[:4]}\t")
        shell.wait_for(TABLE)
        shell.type(" where name = Ahmed\r")
        shell.wait_for("row_id")
        shell.type("nonsense\r")
        shell.wait_for("nonsense is no command; .help lists them")
        running.kill("1")
        shell.type(f"insert {TABLE} row_id=2 name=after\r")
        shell.wait_for("inserted row 2")
        shell.wait_for("DDB0>")
        shell.type("half a line\x03")
        shell.wait_for("DDB0>")
        shell.type("drop_database DDB0\r")
        shell.wait_for("[y/N]")
        shell.type("n\r")
        shell.wait_for("left as it was")
        shell.wait_for("DDB0>")
        shell.type("\x04")
        assert shell.end() == 0
    assert [row["row_id"] for row in rows_of(running)] == ["1", "2"]
    history = tmp_path / "state" / "ddb" / "history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert f"insert {TABLE} row_id=2" in history.read_text()


def test_ctrl_c_gives_up_a_query_and_keeps_the_session(running: LocalCluster, environment: dict[str, str]) -> None:
    create_table(running)
    with terminal(environment, "shell", "--timeout", "60") as shell:
        shell.wait_for("DDB0>")
        running.kill("2", "3")
        shell.type(f"insert {TABLE} name=x\r")
        address = running.nodes["1"].address
        eventually(lambda: call(address, "GET", "/status").json()["writes_open"] == 1, "the line runs", SHOWN_SECONDS)
        shell.type("\x03")
        shell.wait_for("given up; a write that was on its way may be done all the same")
        shell.wait_for("DDB0>")
        os.kill(shell.pid, signal.SIGINT)  # as where Ctrl-C comes while the prompt begins or ends
        shell.wait_for("DDB0>")
        shell.type("\x04")
        assert shell.end() == 0


def test_a_terminal_gets_a_table_a_question_and_a_bar(running: LocalCluster, environment: dict[str, str], tmp_path: Path) -> None:
    create_table(running)
    with terminal(environment, "status") as screen:
        assert screen.end() == 0
        assert "node 1 (" in screen.shown
        assert "\t" not in screen.shown
    with terminal(environment, "delete-table", TABLE) as screen:
        screen.wait_for(f"Delete the table {TABLE} with all its rows? [y/N]: ")
        screen.type("\r")
        assert screen.end() == 1
        assert "ddb: left as it was" in screen.shown
    with terminal(environment, "import", TABLE, str(write_rows(tmp_path / "rows.csv", 3_000))) as screen:
        assert screen.end() == 0
        assert "3,000 rows" in screen.shown
        assert "━" in screen.shown
