"""The commands run on the nodes in memory that the tests of the client use, with a state folder of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

for _room in ("client", "web"):
    sys.path.append(str(Path(__file__).resolve().parent.parent / _room))

from cli_kit import Cluster, Done, run  # noqa: E402 - found by the paths above


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("DDB_NODES", raising=False)
    monkeypatch.delenv("DDB_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def ddb(cluster: Cluster) -> Callable[..., Done]:
    """`ddb("select", "students")` on the cluster in memory."""

    def call(*args: str, **more: Any) -> Done:
        return run(cluster, *args, **more)

    return call
