"""The notes that keep a node from starting on a directory, and an identity that knows its former clusters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from storage_kit import FOUNDERS, SMALL

from ddbd.errors import ConfigError, Corrupt, StorageFailed
from ddbd.storage.directory import FORMAT, Identity, load_identity, open_store, read_identity, write_identity
from ddbd.storage.fence import FENCED, RECOVERY, Fence, read_fence, write_fence
from ddbd.storage.memory import memory_store

ME = Identity.of("new", "1", "", True, ("old", "older"))


def test_a_fenced_directory_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    open_store(tmp_path / "d", Identity.of("old", "1", "", True), SMALL, founders=FOUNDERS).close()
    write_fence(tmp_path / "d", Fence("new", "3"))
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"recovered without it, as cluster new \(says node 3\).*start with an empty one"):
            read_identity(tmp_path / "d")
    with pytest.raises(ConfigError, match="recovered without it"):
        open_store(tmp_path / "d", Identity.of("old", "1", "", True), SMALL, founders=FOUNDERS)
    found = load_identity(tmp_path / "d")
    assert found is not None
    assert found.cluster_id == "old"


def test_a_store_knows_its_cluster(tmp_path: Path) -> None:
    store = open_store(tmp_path, ME, SMALL, founders=FOUNDERS)
    assert store.cluster_id() == "new"
    store.close()
    assert memory_store().cluster_id() == "memory"


def test_a_damaged_fence_fences_all_the_same(tmp_path: Path) -> None:
    (tmp_path / FENCED).write_bytes(b"\xff{")
    with pytest.raises(Corrupt, match="start with an empty one"):
        read_identity(tmp_path)


def test_a_fence_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed):
        write_fence(tmp_path / "none", Fence("new", "3"))


def test_no_note_is_no_obstacle(tmp_path: Path) -> None:
    assert read_fence(tmp_path) is None
    assert read_identity(tmp_path) is None


def test_a_directory_in_the_middle_of_a_recovery_is_refused(tmp_path: Path) -> None:
    (tmp_path / RECOVERY).write_text("{}")
    with pytest.raises(ConfigError, match="run ddb recover on it again"):
        read_identity(tmp_path)


def test_former_clusters_come_back_under_the_checksum(tmp_path: Path) -> None:
    write_identity(tmp_path, ME)
    assert read_identity(tmp_path) == ME
    file = tmp_path / "identity.json"
    file.write_text(file.read_text().replace("older", "oldex"))
    with pytest.raises(Corrupt, match="checksum"):
        read_identity(tmp_path)


def test_only_a_recovered_directory_needs_the_newer_format(tmp_path: Path) -> None:
    write_identity(tmp_path, Identity.of("old", "1", "", True))
    content = json.loads((tmp_path / "identity.json").read_text())
    assert content["format"] == 1
    assert "former" not in content
    write_identity(tmp_path, ME)
    assert json.loads((tmp_path / "identity.json").read_text())["format"] == FORMAT == 2
