"""The wheel carries what a node needs: twistd finds the plugin in it, and nothing of the workshop is inside."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import ddbd

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVELS = {"ddbd", "twisted"}


def build(target: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("dist"))) as archive:
        return archive.namelist()


def test_the_wheel_has_the_plugin(wheel_names: list[str]) -> None:
    assert "twisted/plugins/ddb_plugin.py" in wheel_names


def test_the_wheel_leaves_twisted_a_namespace(wheel_names: list[str]) -> None:
    """An __init__.py there would hide the plugin from twistd, or Twisted itself from Python."""
    assert not {"twisted/__init__.py", "twisted/plugins/__init__.py"} & set(wheel_names)


def test_the_wheel_has_every_module_and_no_more(wheel_names: list[str]) -> None:
    expected = {str(path.relative_to(ROOT)) for top in TOP_LEVELS for path in (ROOT / top).rglob("*.py")}
    code = {name for name in wheel_names if name.endswith(".py")}
    assert code == expected


def console_files() -> set[str]:
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "ddbd/web/console").rglob("*") if path.is_file()}
    assert {"ddbd/web/console/index.html", "ddbd/web/console/favicon.svg"} <= files
    return files


def test_the_wheel_has_the_pages_of_the_console(wheel_names: list[str]) -> None:
    assert console_files() <= set(wheel_names)


def test_the_source_archive_has_the_pages_of_the_console(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert console_files() <= names


def test_the_wheel_has_nothing_of_the_workshop(wheel_names: list[str]) -> None:
    foreign = [name for name in wheel_names if name.split("/")[0] not in TOP_LEVELS and ".dist-info/" not in name]
    assert foreign == []
    assert [name for name in wheel_names if name.endswith(("dropin.cache", ".pyc"))] == []


def test_twistd_lists_the_installed_plugin(tmp_path: Path) -> None:
    _installed_version()
    reply = subprocess.run([_beside_python("twistd"), "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in reply.stdout.splitlines() if line.split()[:1] == ["ddb"]] == ["ddb"]


def test_the_installed_command_says_its_version(tmp_path: Path) -> None:
    assert _installed_version() == ddbd.__version__
    reply = subprocess.run([_beside_python("ddb"), "version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert reply.stdout == f"ddb {ddbd.__version__}\n"


def _installed_version() -> str:
    try:
        return importlib.metadata.version("ddbd")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("ddbd is not installed in this environment; tox installs its wheel")


def _beside_python(name: str) -> str:
    return str(Path(sys.executable).parent / name)
