"""Manual pages and completion scripts are made of the commands, whole and well formed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ddbd.cli.commands import COMMANDS
from ddbd.cli.errors import MEANINGS
from ddbd.cli.manual import SHELLS


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("share")
    script = "from ddbd.cli import main; main()"
    subprocess.run([sys.executable, "-c", script, "man", "--write", str(folder)], check=True, capture_output=True)
    return folder


def test_there_is_a_page_for_ddb_and_for_each_command(share: Path) -> None:
    assert {path.name for path in (share / "man" / "man1").iterdir()} == {"ddb.1", *(f"ddb-{name}.1" for name in COMMANDS)}
    assert all((share / place).stat().st_size > 100 for place in SHELLS.values())


def test_the_page_of_ddb_names_every_command_every_variable_and_every_exit_status(share: Path) -> None:
    text = (share / "man" / "man1" / "ddb.1").read_text().replace("\\-", "-")
    for word in (*(f"ddb-{name} (1)" for name in COMMANDS), "DDB_CONFIG", "DDB_NODES", "XDG_STATE_HOME", *(f".B {n}" for n in MEANINGS)):
        assert word in text


def test_a_page_has_its_command_s_options(share: Path) -> None:
    text = (share / "man" / "man1" / "ddb-import.1").read_text().replace("\\-", "-")
    for word in ("--row-id COLUMN", "--skip-refused", "--curl", ".SH SYNOPSIS", ".B ddb import", "[OPTIONS] TABLE FILE"):
        assert word in text


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed on this machine")
def test_groff_finds_nothing_wrong_with_a_page(share: Path) -> None:
    for path in sorted((share / "man" / "man1").iterdir()):
        done = subprocess.run(["groff", "-man", "-Tascii", "-ww", "-z", str(path)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), path.name


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed on this machine")
def test_bash_completes_commands_and_options(share: Path, tmp_path: Path) -> None:
    ddb = tmp_path / "ddb"
    ddb.write_text(f"#!{sys.executable}\nfrom ddbd.cli import main\nmain()\n")
    ddb.chmod(0o755)
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(root)}
    script = f". {share / SHELLS['bash']}; COMP_WORDS=(ddb {{words}}); COMP_CWORD={{n}}; _ddb_completion ddb; echo ${{{{COMPREPLY[@]}}}}"
    for words, number, offered in [("st", 1, "status step-down"), ("import --sk", 2, "--skip-refused"), ("select -o n", 3, "ndjson")]:
        line = script.format(words=words, n=number)
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment)
        assert done.stdout.split() == offered.split(), done.stderr


def test_pages_and_scripts_are_printed_too(ddb: Any) -> None:
    assert ddb("man").out.startswith('.TH "DDB" "1"')
    assert ddb("man", "health").out.startswith('.TH "DDB-HEALTH" "1"')
    assert ddb("man", "nope").status == 2
    for shell in SHELLS:
        assert "_DDB_COMPLETE" in ddb("completion", shell).out
