"""Bugs of snapshots, reads and membership (catalogue 10 to 19)."""

from __future__ import annotations

from typing import Any

from zoo_kinds import Bug, in_simulator
from zoo_plant import edited, replaced, together
from zoo_votes import PARTED

from ddbd.raft import leader
from ddbd.raft import log as raft_log
from ddbd.replica import compaction, reads, seeding
from ddbd.storage import memory

CALM = {
    "preferred": 0,
    "wipe_every": 0.0,
    "change_every": 0.0,
    "rot_every": 0.0,
    "flip_every": 0.0,
    "full_every": 0.0,
    "fsync_fails_every": 0.0,
    "clog_every": 0.0,
    "leap_every": 0.0,
    "drain_every": 0.0,
    "transfer_every": 0.0,
}
# Leaders that go often, slow disks, and clients who ask at once.
READERS = {**CALM, "nodes": 3, "clients": 12, "keys": 1, "crash_every": 0.8, "hints": 1.0, "slow_share": 1.0, "slow_seconds": 0.3}
# A log that is soon compacted, so that whoever was away needs a snapshot.
SHORT_LOG = {"nodes": 3, "tail_entries": 1, "checkpoint_entries": 1, "segment_bytes": 600, "snapshot_fails": 0.0, "snapshot_flips": 0.0}
# Nothing but changes of the membership, under crashes and cuts.
CHANGING = {
    **CALM,
    "nodes": 4,
    "clients": 2,
    "change_every": 0.15,
    "cut_every": 0.6,
    "crash_every": 1.5,
    "delay": 0.03,
    "fault_seconds": 15.0,
}


def _any_life(old: Any) -> Any:
    return lambda store: ""


SNAPSHOTS = (
    Bug(
        "10",
        "the log is cut to what is applied, where the tables hold less on the disk",
        "redisraft #43",
        edited(
            compaction.Compaction, "_checkpointed", ("_durable_index = durable.index", "_durable_index = self._driver.core.applied_index")
        ),
        ("do not belong together", "but the log holds"),
        in_simulator(**SHORT_LOG, preferred=0, crash_every=0.8, power_share=1.0, checkpoint_seconds=0.3),
    ),
    Bug(
        "11",
        "a second snapshot is fetched while one is on its way, and the later to arrive is installed over what came since",
        "etcd #18055",
        together(
            edited(seeding.Seeding, "offered", ("if self._fetching is not None or self.is_stopping:", "if self.is_stopping:")),
            edited(seeding.Seeding, "install", ("if not core.is_frozen and offer.meta.index <= core.commit_index:", "if False:")),
        ),
        ("already applied", "before the log's base", "applied went back"),
        in_simulator(**SHORT_LOG, preferred=0, crash_every=0.8, snapshot_seconds=0.8),
    ),
    Bug(
        "snapshot's membership",
        "a node that installs a snapshot goes on by the membership that it knew before",
        "a corner of the design",
        edited(raft_log.RaftLog, "install", ("    self.memberships = [(base.index, base.membership)]", "    pass")),
        ("it goes by",),
        in_simulator(**SHORT_LOG, wipe_every=1.5, crash_every=1.0),
    ),
)

READS = (
    Bug(
        "12",
        "a leader confirms reads before an entry of its term is committed",
        "etcd #7331, tikv #6340 and #9239, redisraft PR 22",
        edited(leader, "_begin_round", (" or raft.commit_index < leading.first_index", "")),
        ("stale", "linearizable"),
        in_simulator(**READERS),
    ),
    Bug(
        "13",
        "a read index that was not answered is asked for again under the same context, and later reads join it",
        "etcd #20418",
        edited(
            reads.Reads,
            "take",
            (
                "    self._probe = False\n",
                "    self._probe = False\n"
                "    for context, asked in self._asked.items():\n"
                "        if asked.is_repeated:\n"
                "            asked.is_repeated, asked.waiters, self._waiting = False, self._waiting, []\n"
                "            return context\n",
            ),
        ),
        ("stale", "linearizable"),
        in_simulator(
            **{
                **CALM,
                "nodes": 3,
                "clients": 12,
                "keys": 1,
                "delay": 0.03,
                "jitter": 0.06,
                "duplication": 0.5,
                "loss": 0.1,
                "pause_every": 1.0,
            }
        ),
    ),
    Bug(
        "14",
        "the only node of a cluster answers reads at once after a restart, from a commit index that is too old",
        "etcd-io/raft PR 105",
        edited(
            leader,
            "_begin_round",
            (
                "or raft.commit_index < leading.first_index",
                "or (len(raft.membership.voters) > 1 and raft.commit_index < leading.first_index)",
            ),
        ),
        ("stale", "linearizable"),
        in_simulator(**{**READERS, "nodes": 1, "crash_every": 0.5, "wipe_every": 0.0}),
    ),
    Bug(
        "15",
        "a leader that was heard by a quorum within an election timeout answers reads without asking (a lease)",
        "raft-rs LeaseBased, ratis #383; there is no lease here, so it is planted whole",
        edited(
            leader,
            "_maybe_end_round",
            ("if quorum.agreed_value(raft.membership, acknowledged) < leading.round:", "if _is_cut_off(raft, leading):"),
        ),
        ("stale", "linearizable"),
        in_simulator(
            **{
                **READERS,
                "slow_share": 0.0,
                "delay": 0.002,
                "jitter": 0.0,
                "crash_every": 0.0,
                "pause_every": 0.7,
                "cut_every": 0.5,
                "skew": 0.45,
                "fault_seconds": 15.0,
            }
        ),
    ),
    Bug(
        "read in flight",
        "a read joins the round that is under way",
        "a corner of the design",
        edited(
            leader,
            "_queue_reads",
            (
                "        leading.waiting_reads.append((sender, contexts))\n",
                "        if leading.round_reads:\n"
                "            leading.round_reads.append((sender, contexts))\n"
                "            return\n"
                "        leading.waiting_reads.append((sender, contexts))\n",
            ),
        ),
        ("stale", "linearizable"),
        in_simulator(**{**CALM, "nodes": 3, "clients": 12, "keys": 1, "delay": 0.03, "jitter": 0.06, "slow_share": 0.0}),
    ),
)

MEMBERS = (
    Bug(
        "16",
        "a membership is changed in one step, before an entry of the term is committed",
        "Ongaro 2015, in Raft's single-server change",
        edited(
            leader,
            "change_membership",
            (" or raft.commit_index < leading.first_index", ""),
            ("is_joint = target.voters != current.voters", "is_joint = False"),
        ),
        (*PARTED, "their quorums need not meet", "are all uncommitted"),
        in_simulator(**CHANGING),
    ),
    Bug(
        "17",
        "a membership is changed while another change is under way",
        "RethinkDB 2.2.3, redisraft #17",
        edited(
            leader,
            "change_membership",
            ("current.is_joint or raft.log.membership_index > raft.commit_index or ", ""),
        ),
        (*PARTED, "their quorums need not meet", "are all uncommitted"),
        in_simulator(**{**CHANGING, "nodes": 5, "clients": 1, "crash_every": 0.0, "cut_every": 1.5, "fault_seconds": 25.0}),
    ),
    Bug(
        "18",
        "a node that lost its disk comes back as who it was",
        "openraft FAQ, wipe node data",
        replaced(memory.MemoryStore, "life", _any_life),
        PARTED,
        in_simulator(**{**CALM, "nodes": 3, "wipe_every": 1.5, "crash_every": 1.0, "cut_every": 1.0, "hints": 1.0}),
    ),
)
BUGS = (*SNAPSHOTS, *READS, *MEMBERS)
