"""Golden transcripts of whole conversations. When one differs: `pytest tests/raft --rewrite`, and read the diff before you keep it."""

from __future__ import annotations

from pathlib import Path

import pytest
from raft_script import play

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_conversation_is_as_written(path: Path, pytestconfig: pytest.Config) -> None:
    written = path.read_text("utf-8")
    now = play(written)
    if pytestconfig.getoption("--rewrite"):
        path.write_text(now, "utf-8")
    else:
        assert now == written, f"{path.name} differs; see this file's first line"


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 10
