"""`ddb recover`: going on with one node after a quorum was lost for good. One directory is changed, the other ones are fenced.

    1. recovery.json    the whole plan; from here on no node starts on the directory before the last step
    2. the log          one entry more: a membership in which this node votes alone and all others listen; in a term that nobody had
    3. identity.json    another cluster id, and the former ones: whoever still uses one of those is turned away, and fenced (see `cluster`)
    4. fenced.json      in the other directories that were given
    5. recovery.json    is removed

Each step is on the platter before the next one begins, and done again it changes nothing more. So after a power cut anywhere the directory
is as it was (before 1), or refuses to start and is finished by running this again, or is done.

Why another cluster id: under the old one, two lost nodes that came back would be a majority with another history. Under the new one nobody
listens to them. Why a term that nobody had: the entry must not be mistaken for one that an old leader wrote at its index. Nothing is
removed from the log or the tables: entries that were not committed are kept, for they may have been acknowledged by lost nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from ddbd.config import Limits
from ddbd.errors import Corrupt, StorageFailed
from ddbd.raft.types import Entry, EntryKind, HardState
from ddbd.rescue.plan import Plan
from ddbd.storage.directory import FORMAT, Identity, write_identity
from ddbd.storage.disk import Disk, RealDisk, write_atomically
from ddbd.storage.fence import RECOVERY, Fence, write_fence
from ddbd.storage.log import DiskLog


def carry_out(plan: Plan, path: Path, identity: Identity, others: Sequence[Path], limits: Limits, disk: Disk | None = None) -> None:
    """The locks of all directories are held. `identity` is the one that is there now. Raises Corrupt, StorageFailed."""
    disk = disk or RealDisk()
    try:
        write_atomically(disk, str(path), RECOVERY, msgspec.json.encode(plan) + b"\n")
        _append(plan, path, limits, disk)
        write_identity(path, replace(identity, format=FORMAT, cluster_id=plan.cluster_id, former=plan.former), disk)
        for other in others:
            write_fence(other, Fence(plan.cluster_id, plan.node_id), disk)
        disk.unlink(f"{path}/{RECOVERY}")
        disk.sync_dir(str(path))
    except OSError as error:
        raise StorageFailed(f"{path}: {error}; the recovery is not finished: run it again") from error


def _append(plan: Plan, path: Path, limits: Limits, disk: Disk) -> None:
    """Where the entry is there already, a run before this one wrote it."""
    log = DiskLog(disk, str(path / "log"), limits)
    try:
        if log.last_index == plan.index and log.term(plan.index) == plan.term:
            return
        if log.last_index != plan.index - 1:
            raise Corrupt(f"{path}/log: it ends at entry {log.last_index}, and the recovery was begun behind {plan.index - 1}")
        stamp = log.base.stamp if log.last_index == log.base.index else log.read(log.last_index, log.last_index + 1, 0)[0].stamp
        entry = Entry(plan.index, plan.term, stamp, EntryKind.MEMBERSHIP, plan.membership.encode())
        hard_state = HardState(plan.term, plan.node_id, log.recovered.hard_state.commit)
        done: list[Any] = []
        log.save(hard_state, [entry]).addBoth(done.append)
        if done != [None]:
            raise StorageFailed(f"{path}/log: the entry could not be written: {done[0].getErrorMessage()}")
    finally:
        log.close()
