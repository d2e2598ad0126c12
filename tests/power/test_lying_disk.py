"""The checks can fail: a disk that says "synced" and did nothing, once, is found out by the same cuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from power_cuts import Cut
from power_disk import Op
from power_record import Recording
from power_trials import Trials, problems

WATCHED = 60  # operations after the lie
VARIANTS = ("dropped", "names", "data", "newest", "log", "tables", "dice-0", "dice-1")

Finder = Callable[[Sequence[Op], int], bool]


def mark_before(ops: Sequence[Op], place: int) -> str:
    return next((op.mark[0] for op in reversed(ops[:place]) if op.kind == "mark"), "")


def next_change(ops: Sequence[Op], place: int) -> Op:
    return next(op for op in ops[place + 1 :] if op.kind != "mark")


LIES: dict[str, Finder] = {
    "identity": lambda ops, at: ops[at].path == "identity.json.tmp",
    "identity's name": lambda ops, at: ops[at].kind == "sync_dir" and ops[at - 1].other == "identity.json",
    "batch of the log": lambda ops, at: ops[at].path.startswith("log/") and next_change(ops, at).kind != "rename",
    "new segment": lambda ops, at: ops[at].path.startswith("log/") and next_change(ops, at).kind == "rename",
    "new segment's name": lambda ops, at: (
        ops[at].path == "log" and ops[at - 1].kind == "rename" and mark_before(ops, at) == "saving"
    ),
    "WAL before a checkpoint": lambda ops, at: ops[at].path.endswith("db-wal") and next_change(ops, at).path.endswith("/sealed.tmp"),
    "seal": lambda ops, at: ops[at].path.endswith("/sealed.tmp"),
    "tables after a checkpoint": lambda ops, at: (
        ops[at].path.endswith("tables.db") and mark_before(ops, at) == "applying" and ops[at + 1].mark and ops[at + 1].mark[0] == "durable"
    ),
    "installed generation's name": lambda ops, at: ops[at].kind == "sync_dir" and ops[at].path == "" and ops[at - 2].path == "incoming.db",
    "mark of suspicion": lambda ops, at: ops[at].kind == "sync_dir" and ops[at - 1].path.endswith("/suspect"),
}  # fmt: skip


def lied(ops: Sequence[Op], place: int) -> list[Op]:
    return [*ops[:place], ops[place]._replace(kind="lie"), *ops[place + 1 :]]


@pytest.mark.parametrize("what", LIES)
def test_lie_about_one_sync_is_found(recording: Recording, trials: Trials, what: str) -> None:
    ops = recording.ops
    places = [at for at, op in enumerate(ops) if op.kind in ("sync", "sync_dir") and LIES[what](ops, at)]
    assert places, f"the script has no sync of {what}"
    at = places[len(places) // 2]
    wanted = [Cut(number, variant) for number in range(at + 1, at + 1 + WATCHED) for variant in VARIANTS]
    found = next(problems(trials, lied(ops, at), wanted), None)
    assert found is not None, f"nobody missed the {ops[at]} (operation {at + 1})"
