"""What the package is made of. The package itself is built and tried by `build`, `try` and `boot` of `deploy/deb`."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import settings

from ddbd.config import load_config

ROOT = Path(__file__).resolve().parents[2]
DEB = ROOT / "deploy/deb"
PINNED = dict(re.findall(r"^([a-z0-9.-]+)==(\S+) \\$", (DEB / "requirements.txt").read_text(), re.MULTILINE))


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-").replace(".", "-")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_every_dependency_is_pinned_at_or_above_its_floor_and_by_hash() -> None:
    """When this fails: the command at the top of deploy/deb/requirements.txt."""
    wanted = [each for each in importlib.metadata.requires("ddbd") or [] if "extra ==" not in each]
    assert len(wanted) > 5
    for requirement in wanted:
        floor = re.search(r">=([0-9.]+)", requirement)
        assert name_of(requirement) in PINNED, f"{requirement} is not pinned"
        assert floor is None or numbers(PINNED[name_of(requirement)]) >= numbers(floor[1]), requirement
    blocks = (DEB / "requirements.txt").read_text().split("\n\n")[-1].split("\\\n    --hash")
    assert len(blocks) > len(PINNED)


def test_h2_is_not_in_the_package() -> None:
    """With it Twisted would offer HTTP/2, which the daemon's channel knows nothing of."""
    assert "h2" not in PINNED


@pytest.mark.parametrize("script", ["build", "try", "postinst", "prerm", "postrm"])
def test_the_scripts_are_scripts(script: str) -> None:
    path = DEB / script
    shell = path.read_text().partition("\n")[0].removeprefix("#!").split()[-1]
    checked = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert path.stat().st_mode & 0o111


@pytest.mark.parametrize(("name", "nodes"), [("one-host.json", 1), ("three-hosts.json", 3)])
def test_the_configs_of_the_package_are_right(name: str, nodes: int) -> None:
    config = load_config(DEB / name)
    assert len(config.nodes) == nodes
    assert config.preferred_id == "1"


def test_the_guide_shows_the_example() -> None:
    shown = re.search(r'^    (\{"nodes".*?\n     "insecure": true\})$', (ROOT / "docs/install.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert shown[1].replace("\n    ", "\n") == (DEB / "three-hosts.json").read_text().strip()


def test_the_package_puts_things_where_the_unit_looks() -> None:
    unit, build = (ROOT / "deploy/systemd/ddbd@.service").read_text(), (DEB / "build").read_text()
    (start,) = settings(unit, "ExecStart")
    assert start.startswith("/usr/lib/ddbd/bin/twistd ")
    assert "home=/usr/lib/ddbd" in build
    for path in ("/etc/ddbd/config.json", "/etc/ddbd/ddbd.env"):
        assert path in unit
    assert "/etc/ddbd/ddbd.env" in build
    assert " /etc/ddbd/config.json\n" not in build, "a node that starts on a config that nobody wrote founds a cluster of one"


def written(folder: Path) -> list[Path]:
    """What the build puts into the package."""
    subprocess.run(
        [sys.executable, "-c", "from ddbd.cli import main; main()", "man", "--write", str(folder)], check=True, capture_output=True
    )
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_package_has_pages_and_completion_of_every_command(tmp_path: Path) -> None:
    names = {path.name for path in written(tmp_path)}
    assert {"ddb.1", "ddb-status.1", "ddb-recover.1"} <= names
    assert {"ddb", "_ddb", "ddb.fish"} <= names
    assert 'man --write "$root/usr/share"' in (DEB / "build").read_text()


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff")
def test_the_manual_page_of_the_daemon_is_set_without_a_warning() -> None:
    page = (DEB / "ddbd.8").read_text()
    found = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
