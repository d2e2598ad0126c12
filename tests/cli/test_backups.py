"""`backup` and `restore` against nodes that are played: what they leave behind when the node goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_kit import Cluster, run
from client_kit import BROKEN, REFUSED, Opened, Wires, answer, problem

HEAD = answer(b"", ddb_backup_lines="6")


class Streams(Wires):
    """A backup comes in pieces; one that is an error is raised."""

    def __init__(self, *pieces: Any) -> None:
        super().__init__(lambda address, request: HEAD)
        self.opened = Opened(HEAD, list(pieces))

    def open(self, address: str, request: Any, timeout_seconds: float) -> Any:
        self.asked.append((address, request))
        if request.path in ("/ping", "/readyz"):
            return Opened(answer(), [b'{"status":"ok","node":"1"}'])
        return self.opened


class Played:
    """What `run` asks of a cluster: its wires."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires


def test_a_node_that_dies_in_the_middle_of_a_backup_leaves_nothing(tmp_path: Path) -> None:
    wires = Streams(b'{"ddbd_backup":1,', BROKEN)
    done = run(Played(wires), "backup", "out.ddb", "-q")  # type: ignore[arg-type]
    assert (done.status, done.err) == (
        3,
        "ddb: the backup broke off: the node broke off the connection; nothing was kept, take it again\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == []
    assert wires.opened.closed > 0


def test_a_backup_without_its_end_is_not_kept(tmp_path: Path) -> None:
    done = run(Played(Streams(b'{"ddbd_backup":1,')), "backup", "out.ddb", "-q")  # type: ignore[arg-type]
    assert (done.status != 0, done.err.count("\n")) == (True, 1)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_backup_that_no_node_gives_is_told(tmp_path: Path) -> None:
    done = run(Played(Wires(lambda address, request: REFUSED)), "backup", "out.ddb", "-q", "--timeout", "0.2")  # type: ignore[arg-type]
    assert (done.status, done.err.count("\n")) == (3, 1)
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize(("words", "status"), [([], 3), (["--local"], 0)])
def test_a_backup_waits_no_longer_for_a_leader_than_any_other_call(
    ddb: Any, cluster: Cluster, tmp_path: Path, words: list[str], status: int
) -> None:
    """The hour that it has is for the copy."""
    whole = cluster.node.get("/backup").body
    missing = problem(503, "no_leader", "no leader is known")

    def play(address: str, request: Any) -> Any:
        if request.path == "/ping":
            return answer()
        return answer(whole, address=address) if "consistency=local" in request.path else missing

    cluster.wires._play = play
    done = ddb("backup", "out.ddb", "-q", "--timeout", "0.3", *words)
    assert done.status == status
    assert ("no leader is known; see ddb health" in done.err) == bool(status)
    assert (tmp_path / "out.ddb").exists() != bool(status)


def test_a_backup_needs_a_name(tmp_path: Path) -> None:
    done = run(Played(Streams()), "backup", "-")  # type: ignore[arg-type]
    assert (done.status, done.err.count("\n"), [*tmp_path.iterdir()]) == (2, 1, [])


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = run(Played(Streams()), "backup", "none/out.ddb", "-q")  # type: ignore[arg-type]
    assert (done.status, done.err) == (1, "ddb: none/out.ddb.part: No such file or directory; nothing was kept\n")


def test_the_curl_of_a_restore_can_be_pasted_whatever_the_file_is_called(tmp_path: Path) -> None:
    done = run(Played(Wires(lambda address, request: REFUSED)), "restore", "it's here.ddb", "--curl")  # type: ignore[arg-type]
    assert done.out == "curl -f -T 'it'\"'\"'s here.ddb' -X POST http://localhost:8080/restore\n"
