"""`ddb recover`: the best survivor is found, nothing is done where it must not be, and a power cut at any step leaves it to be finished."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rescue_kit import CLUSTER, FOUNDERS, SMALL, fingerprint, flip, make
from storage_kit import CrashDisk, CrashFile, PowerCut

from ddbd.config import Config, Node
from ddbd.errors import ConfigError, Corrupt, StorageFailed
from ddbd.raft.types import HardState, Membership
from ddbd.rescue.check import check
from ddbd.rescue.look import BAD, Seen, look
from ddbd.rescue.plan import best_of, losses, plan_for, read_plan, row
from ddbd.rescue.recover import carry_out
from ddbd.storage.directory import Identity, load_identity, open_store, read_identity
from ddbd.storage.fence import FENCED, RECOVERY, Fence, write_fence

NEW = "e" * 32


def config(count: int = 3) -> Config:
    nodes = [Node(str(n), f"localhost:{8079 + n}", n == 1, "localhost", 8079 + n, "localhost") for n in range(1, count + 1)]
    return Config(tuple(nodes), Path("config.json"), limits=SMALL)


def seen(*paths: Path) -> list[Seen]:
    return [look(path) for path in paths]


def recovered(found: Sequence[Seen], count: int = 3) -> Seen:
    best = best_of(config(count), found)
    plan = plan_for(config(count), best, NEW)
    assert best.identity is not None
    carry_out(plan, best.path, best.identity, [each.path for each in found if each is not best], SMALL)
    return best


def test_the_survivor_votes_alone_under_a_new_cluster_id_and_keeps_everything(tmp_path: Path) -> None:
    entries = make(tmp_path / "3", "3", applied=150)
    recovered(seen(tmp_path / "3"))
    identity = read_identity(tmp_path / "3")
    assert identity == Identity(2, NEW, "3", "", True, True, (CLUSTER,))
    store = open_store(tmp_path / "3", identity, SMALL, founders=FOUNDERS)
    last = len(entries) + 1
    assert store.log.recovered.hard_state == HardState(3, "3", 150)
    assert store.log.recovered.last_index == last
    assert store.log.recovered.memberships == ((last, Membership.of(["3"], ["1", "2"])),)
    assert store.log.read(1, last, 10**9) == entries
    assert store.tables.applied_index == 150
    store.close()
    assert [finding for finding in check(tmp_path / "3", SMALL) if finding.level == BAD] == []


def test_a_node_that_was_seeded_anew_keeps_its_life(tmp_path: Path) -> None:
    lives = Membership(("1", "2", "3"), (), (), (("3", "fresh"),))
    make(tmp_path / "3", "3", life="fresh", founders=lives)
    recovered(seen(tmp_path / "3"))
    membership = look(tmp_path / "3").membership
    assert membership is not None
    assert membership.life_of("3") == "fresh"


def test_the_best_is_of_the_highest_last_term_then_of_the_longest_log_then_of_the_lowest_id(tmp_path: Path) -> None:
    many = Membership.of(list("1234567"))
    for name, node_id, rows, term in (("long", "1", 90, 2), ("late", "2", 50, 4), ("same", "4", 50, 4), ("short", "3", 40, 4)):
        make(tmp_path / name, node_id, rows=rows, term=term, founders=many)
    names = ["short", "same", "long"]
    assert best_of(config(7), seen(*(tmp_path / name for name in names))).path.name == "same"
    assert best_of(config(7), seen(tmp_path / "late", tmp_path / "same", tmp_path / "long")).path.name == "late"
    assert best_of(config(7), seen(tmp_path / "long", tmp_path / "short")).path.name == "short"


def test_a_majority_is_told_to_start_instead(tmp_path: Path) -> None:
    for node_id in ("1", "3"):
        make(tmp_path / node_id, node_id)
    before = fingerprint(tmp_path)
    with pytest.raises(ConfigError, match=r"nodes 1, 3 are a majority of 1, 2, 3: start them"):
        best_of(config(), seen(tmp_path / "1", tmp_path / "3"))
    assert fingerprint(tmp_path) == before


def test_a_damaged_directory_is_no_survivor_and_the_other_one_is_gone_on_from(tmp_path: Path) -> None:
    for node_id in ("1", "3"):
        make(tmp_path / node_id, node_id, rows=150 if node_id == "1" else 100)
    segment = sorted((tmp_path / "1" / "log").iterdir())[0]
    flip(segment, 500)
    found = seen(tmp_path / "1", tmp_path / "3")
    assert best_of(config(), found).path.name == "3"
    assert "log" in str(row(found[0])["trouble"])
    recovered(found)
    with pytest.raises(ConfigError, match="recovered without it"):
        read_identity(tmp_path / "1")


def test_a_node_that_had_not_its_vote_back_is_the_last_choice(tmp_path: Path) -> None:
    make(tmp_path / "2", "2", rows=200, life="young", founders=Membership.of(list("12345")))
    make(tmp_path / "3", "3", rows=100, founders=Membership.of(list("12345")))
    assert best_of(config(5), seen(tmp_path / "2", tmp_path / "3")).path.name == "3"
    alone = seen(tmp_path / "2")
    assert best_of(config(5), alone).path.name == "2"
    assert any("may lack ANY acknowledged write" in said for said in losses(alone[0], alone))
    assert "did not vote again yet" in row(alone[0])["trouble"]


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda path: write_fence(path, Fence("x", "1")), "none of these directories"),
        (lambda path: (path / "tables-0" / "suspect").touch(), "none of these directories"),
        (lambda path: shutil.rmtree(path / "log"), "none of these directories"),
        (lambda path: (path / RECOVERY).write_text("{"), "damaged"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused(tmp_path: Path, harm: Any, sentence: str) -> None:
    make(tmp_path / "3", "3")
    harm(tmp_path / "3")
    before = fingerprint(tmp_path)
    with pytest.raises(ConfigError, match=sentence):
        recovered(seen(tmp_path / "3"))
    assert fingerprint(tmp_path) == before


def test_directories_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "a", "1")
    make(tmp_path / "b", "2", cluster_id="d" * 32)
    make(tmp_path / "c", "1")
    make(tmp_path / "d", "9")
    refusals = {"ab": "different clusters", "ac": "two of the directories are of node 1", "d": "no node has the id"}
    for names, sentence in refusals.items():
        with pytest.raises(ConfigError, match=sentence):
            best_of(config(), seen(*(tmp_path / name for name in names)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="none of these"):
        best_of(config(), seen(tmp_path / "empty"))


def test_what_may_be_lost_is_said(tmp_path: Path) -> None:
    make(tmp_path / "3", "3", rows=100, commit=90)
    make(tmp_path / "1", "1", rows=150)
    flip(tmp_path / "1" / "tables-0" / "tables.db", 30)
    best, other = seen(tmp_path / "3", tmp_path / "1")
    assert other.log is not None
    said = " | ".join(losses(best, [best, other]))
    assert "entries up to 103 (term 2), and knows that those up to 90 were committed" in said
    assert "lost for good, at most: what nodes 1 and 2 acknowledged behind entry 103 without node 3" in said
    assert "entries 104 to 153 WERE committed" in said
    assert "node 1 has entries up to 153" in said


def test_with_an_even_number_a_half_knows_all_that_was_acknowledged(tmp_path: Path) -> None:
    four = Membership.of(["1", "2", "3", "4"])
    for node_id in ("1", "2"):
        make(tmp_path / node_id, node_id, founders=four)
    found = seen(tmp_path / "1", tmp_path / "2")
    assert any("no acknowledged write is lost" in said for said in losses(best_of(config(4), found), found))


def test_a_second_recovery_remembers_both_former_ids(tmp_path: Path) -> None:
    make(tmp_path / "3", "3")
    recovered(seen(tmp_path / "3"))
    two = seen(tmp_path / "3")
    with pytest.raises(ConfigError, match="nodes 3 are a majority of 3"):
        best_of(config(), two)
    plan = plan_for(config(), two[0], "f" * 32)
    assert plan.former == (NEW, CLUSTER)
    assert plan.term == 4


def load(folder: Path) -> CrashDisk:
    """The folder's files on a disk that can be cut off."""
    disk = CrashDisk()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            file = disk.names[str(path)] = CrashFile(disk)
            file.data = bytearray(path.read_bytes())
            file.platter = bytearray(file.data)
    disk.synced_names = dict(disk.names)
    return disk


def store_to(disk: CrashDisk, folder: Path, target: Path) -> None:
    for name, file in disk.names.items():
        path = target / Path(name).relative_to(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)


@pytest.mark.parametrize("seed", range(4))
def test_a_power_cut_at_any_step_leaves_the_directory_as_it_was_or_to_be_finished(tmp_path: Path, seed: int) -> None:
    source = tmp_path / "source"
    entries = make(source / "3", "3", rows=60)
    make(source / "1", "1", rows=60, founders=Membership.of(list("12345")))
    shutil.rmtree(source / "1" / "tables-0")  # it is no survivor
    (source / "1" / "log" / "0000000000000001.seg").unlink()
    dice = random.Random(seed)
    whole = load(source)
    best = look(source / "3")
    assert best.identity is not None
    plan = plan_for(config(), best, NEW)
    carry_out(plan, source / "3", best.identity, [source / "1"], SMALL, whole)
    outcomes = set()
    for steps in range(whole.steps + 1):
        disk = load(source)
        disk.steps_left = steps
        with contextlib.suppress(PowerCut):
            carry_out(plan, source / "3", best.identity, [source / "1"], SMALL, disk)
        left = tmp_path / f"after-{steps}"
        store_to(disk.crash(dice if seed else None), source, left)
        outcomes.add(_finish(left, entries, plan.cluster_id))
    assert outcomes == {"untouched", "begun", "done"}


def _finish(left: Path, entries: Sequence[Any], new_id: str) -> str:
    """What a start finds after the cut; then the recovery is run again."""
    path = left / "3"
    if (path / RECOVERY).exists():
        with pytest.raises(ConfigError, match="run ddb recover on it again"):
            read_identity(path)
        state = "begun"
    else:
        identity = read_identity(path)
        assert identity is not None
        state = "done" if identity.cluster_id == new_id else "untouched"
        log = look(path).log
        assert log is not None
        assert (log.last_index == len(entries) + 1) == (state == "done"), "the entry stands only under the new id, or where no node starts"
        if state == "done":
            assert (left / "1" / FENCED).exists()
    if state != "done":
        best = best_of(config(), seen(path))
        plan = plan_for(config(), best, "9" * 32)
        assert (plan.cluster_id == new_id) == (state == "begun"), "what was begun is gone on with"
        assert best.identity is not None
        carry_out(plan, path, best.identity, [left / "1"], SMALL)
    assert not (path / RECOVERY).exists()
    identity = load_identity(path)
    assert identity is not None
    assert identity.former == (CLUSTER,)
    log = look(path).log
    assert log is not None
    assert log.last_index == len(entries) + 1, "the entry was written once"
    assert [finding for finding in check(path, SMALL) if finding.level == BAD] == []
    return state


def test_a_begun_recovery_is_gone_on_with_its_own_plan_alone(tmp_path: Path) -> None:
    for node_id in ("1", "3"):
        make(tmp_path / node_id, node_id)
        best = look(tmp_path / node_id)
        plan = plan_for(config(), best, node_id * 32)
        (tmp_path / node_id / RECOVERY).write_bytes(msgspec.json.encode(plan))
        assert read_plan(tmp_path / node_id) == plan
    with pytest.raises(ConfigError, match="begun on both"):
        best_of(config(), seen(tmp_path / "1", tmp_path / "3"))
    assert plan_for(config(), best_of(config(), seen(tmp_path / "3")), NEW).cluster_id == "3" * 32


def test_a_recovery_that_was_cut_is_finished_by_the_same_words_whatever_of_it_was_done(tmp_path: Path) -> None:
    """Two of five are left: between the survivor's new id and the other's fence the two seem to be of different clusters."""
    founders = Membership.of(list("12345"))
    source = tmp_path / "source"
    for node_id in ("1", "3"):
        make(source / node_id, node_id, rows=20, founders=founders)
    best = best_of(config(5), seen(source / "1", source / "3"))
    plan = plan_for(config(5), best, NEW)
    others = [source / node_id for node_id in ("1", "3") if source / node_id != best.path]
    whole = load(source)
    assert best.identity is not None
    carry_out(plan, best.path, best.identity, others, SMALL, whole)
    begun = 0
    for steps in range(whole.steps + 1):
        disk = load(source)
        disk.steps_left = steps
        with contextlib.suppress(PowerCut):
            carry_out(plan, best.path, best.identity, others, SMALL, disk)
        left = tmp_path / f"after-{steps}"
        store_to(disk.crash(None), source, left)
        path = left / best.path.name
        if not (path / RECOVERY).exists():
            continue
        begun += 1
        found = seen(left / "1", left / "3")
        again = best_of(config(5), found)
        assert again.path == path
        assert plan_for(config(5), again, "9" * 32).cluster_id == NEW
        assert not any("no acknowledged write is lost" in sentence for sentence in losses(again, found)), "nobody can know that any more"
        assert again.identity is not None
        carry_out(plan, path, again.identity, [left / other.name for other in others], SMALL)
        assert all((left / other.name / FENCED).exists() for other in others)
    assert begun > 3


def test_a_log_that_went_on_since_the_plan_was_made_is_not_touched(tmp_path: Path) -> None:
    make(tmp_path / "3", "3", rows=50)
    best = look(tmp_path / "3")
    plan = plan_for(config(), best, NEW)
    shutil.rmtree(tmp_path / "3")
    make(tmp_path / "3", "3", rows=80)
    assert best.identity is not None
    with pytest.raises(Corrupt, match="it ends at entry 83"):
        carry_out(plan, tmp_path / "3", best.identity, [], SMALL)


def test_a_disk_that_fails_leaves_it_to_be_run_again(tmp_path: Path) -> None:
    make(tmp_path / "3", "3", rows=50)
    best = look(tmp_path / "3")
    plan = plan_for(config(), best, NEW)
    assert best.identity is not None
    for kind in ("write", "sync", "rename", "sync_dir"):
        disk = load(tmp_path)
        disk.fail_next = kind
        with pytest.raises(StorageFailed, match="run it again"):
            carry_out(plan, tmp_path / "3", best.identity, [], SMALL, disk)
    assert os.listdir(tmp_path) == ["3"]
