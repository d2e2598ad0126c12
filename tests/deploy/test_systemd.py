"""The unit: systemd takes it without a word, finds it tight, and a real node works behind its filters.

Where `systemd-analyze` is not there these tests are skipped; not in CI, where they must run (Debian's package `systemd`).
"""

from __future__ import annotations

import ctypes.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import allowed, settings

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster, twistd_command

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy/systemd/ddbd@.service"
EXPOSURE_TENTHS_MAX = 15
IN_CI = os.environ.get("CI", "").lower() in ("1", "true")

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None and not IN_CI, reason="no systemd-analyze (Debian: systemd)")
needs_seccomp = pytest.mark.skipif(ctypes.util.find_library("seccomp") is None and not IN_CI, reason="no libseccomp (Debian: libseccomp2)")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a twistd that is there: systemd looks for it."""
    text = UNIT.read_text().replace("/usr/lib/ddbd/bin/twistd", twistd_command()[0])
    for name in ("ddbd@.service", "ddbd@1.service"):
        (tmp_path / name).write_text(text)
    return tmp_path / "ddbd@1.service"


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60)


@needs_systemd
def test_systemd_takes_the_unit_without_a_word(unit: Path) -> None:
    """A key that it does not know is but a warning, with exit status 0."""
    found = analyze("verify", "--man=no", str(unit))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@needs_systemd
def test_a_key_that_systemd_does_not_know_is_noticed(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("[Install]", "ProtectEverything=yes\n[Install]"))
    assert "ProtectEverything" in analyze("verify", "--man=no", str(unit)).stderr


@needs_systemd
def test_the_unit_is_tight(unit: Path) -> None:
    found = analyze("security", "--offline=true", f"--threshold={EXPOSURE_TENTHS_MAX}", "--no-pager", str(unit))
    assert found.returncode == 0, found.stdout[-300:] + found.stderr


@needs_systemd
@pytest.mark.parametrize("name", ["slow-disk.conf"])
def test_a_drop_in_is_taken_too(name: str, unit: Path) -> None:
    folder = unit.parent / "ddbd@1.service.d"
    folder.mkdir()
    shutil.copy(UNIT.parent / name, folder)
    found = analyze("verify", "--man=no", str(unit))
    assert (found.returncode, found.stderr) == (0, "")


@needs_systemd
def test_the_filter_leaves_out_what_a_node_never_does() -> None:
    names = allowed(UNIT.read_text())
    assert {"read", "fdatasync", "futex", "epoll_wait", "prlimit64"} <= names
    assert not {"mount", "ptrace", "setuid", "chown", "bpf", "reboot", "init_module"} & names


@needs_systemd
@needs_seccomp
def test_a_node_works_behind_the_filters_of_the_unit(tmp_path: Path) -> None:
    """With writes, checkpoints, scans and reloads; a call that is refused would show as an error in the log, or as its end."""
    with LocalCluster.on_free_ports(tmp_path, count=1, limits={"connections_max": 50, "checkpoint_entries": 5}) as cluster:
        node = cluster.nodes["1"]
        node.command = [sys.executable, str(Path(__file__).with_name("sandbox.py")), str(UNIT), *node.command]
        cluster.start()
        cluster.wait_ready()
        assert re.search(r"^Seccomp:\s+2$", Path(f"/proc/{node.pid}/status").read_text(), re.MULTILINE), "it is behind filters"
        assert call(node.address, "POST", "/init_database", {"db_name": "DDB0"}).ok
        assert call(node.address, "POST", "/create_table", {"table_name": "t", "columns": ["a"]}).ok
        for _ in range(20):
            rows = [{"data": {"a": "x" * 1_000}} for _ in range(50)]
            assert call(node.address, "POST", "/insert", {"table_name": "t", "rows": rows}).ok
        assert len(call(node.address, "GET", "/select?table=t").json()) == 1_000
        assert cluster.terminate("1") == 0
        said = node.log_path.read_text()
    assert " error " not in said
    assert " critical " not in said


def test_the_filters_refuse_what_they_say(tmp_path: Path) -> None:
    """Else the test before says nothing."""
    if shutil.which("systemd-analyze") is None or ctypes.util.find_library("seccomp") is None:
        assert not IN_CI
        pytest.skip("no systemd-analyze or no libseccomp")
    tries = """
import mmap, os, socket
def told(what):
    try: what()
    except OSError as error: return error.errno
    return 0
print(told(lambda: os.setuid(os.getuid())), told(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
      told(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)), told(lambda: socket.socket(socket.AF_INET).close()))
"""
    found = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("sandbox.py")), str(UNIT), sys.executable, "-c", tries],
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == ["1", "97", "1", "0"], found.stderr


def test_the_limit_on_files_fits_the_limit_on_connections() -> None:
    from ddbd.config import Limits
    from ddbd.listen import fit_files

    files = int(settings(UNIT.read_text(), "LimitNOFILE")[0])
    assert fit_files(Limits().connections_max, files, files) == (files, Limits().connections_max)


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None and not IN_CI, reason="no systemd-sysusers (Debian: systemd)")
def test_the_user_is_made_once(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", f"--root={tmp_path}", str(UNIT.parent / "ddbd.sysusers.conf")]
    for _ in range(2):
        assert subprocess.run(command, capture_output=True).returncode == 0
    assert re.findall(r"^ddbd:.*:/var/lib/ddbd:/usr/sbin/nologin$", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)
    assert settings(UNIT.read_text(), "User") == ["ddbd"]
