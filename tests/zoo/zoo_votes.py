"""Bugs of elections, of the log and of commits (catalogue 1 to 9)."""

from __future__ import annotations

from zoo_kinds import Bug, in_simulator
from zoo_plant import edited, together

from ddbd.raft import candidate, core, follower, leader

# What follows when two nodes believe in different logs; which of these shows first is chance.
PARTED = (
    *("election safety", "two leaders", "leader completeness", "state-machine safety", "is not that of the others", "QUARANTINED"),
    *("would be replaced", "is committed and on the disks of"),
)
# Few nodes, and messages that come late, twice and out of order.
UNRULY = {
    "nodes": 3,
    "preferred": 0,
    "clients": 3,
    "fault_seconds": 10.0,
    "crash_every": 0.8,
    "cut_every": 1.5,
    "hints": 1.0,
    "duplication": 0.6,
    "jitter": 0.06,
    "in_order": False,
    "drain_every": 0.0,
    "pause_every": 0.0,
    "wipe_every": 0.0,
}
# Messages that take nearly as long as an election timeout: campaigns that end in vain, and whose answers come in the next one.
SLOW_ROAD = {**UNRULY, "clients": 1, "duplication": 0.3, "delay": 0.12, "jitter": 0.35, "crash_every": 1.5, "fault_seconds": 25.0}
# One entry a message, and leaders that die between two of them.
PIECEMEAL = {
    **UNRULY,
    "duplication": 0.0,
    "loss": 0.0,
    "delay": 0.1,
    "jitter": 0.06,
    "append_messages": 1,
    "append_bytes": 1,
    "cut_every": 0.0,
    "crash_every": 0.3,
    "power_share": 0.0,
    "slow_share": 0.0,
    "fault_seconds": 40.0,
    "in_order": True,
    "skew": 0.0,
}

_WAITS = "waits = isinstance(message, _WAIT_FOR_SAVE) or self.term != self._saved_hard_state.term"

BUGS = (
    Bug(
        "1",
        "a vote is answered before term and vote are on the disk",
        "the class of etcd #10000",
        edited(core.Raft, "send", (_WAITS, _WAITS.replace("= ", "= not isinstance(message, VoteResponse) and (", 1) + ")")),
        ("saved are term",),
    ),
    Bug(
        "vote request",
        "a candidate asks for votes before its own vote is on the disk",
        "a corner of the design",
        edited(core.Raft, "send", (_WAITS, _WAITS.replace("= ", "= not isinstance(message, RequestVote) and (", 1) + ")")),
        ("saved are term",),
    ),
    Bug(
        "2",
        "a candidate counts answers to the vote requests of an older term",
        "Xraft#33",
        together(
            edited(core.Raft, "step", ("isinstance(message, VoteResponse) and message.pre)", "isinstance(message, VoteResponse))")),
            edited(candidate, "count_vote", ("raft.role is Role.CANDIDATE and message.term == raft.term", "raft.role is Role.CANDIDATE")),
        ),
        PARTED,
        in_simulator(**SLOW_ROAD),
    ),
    Bug(
        "3",
        "a leader counts the copies of an entry of an older term, and commits it (Raft figure 8)",
        "PySyncObj#169",
        edited(
            leader,
            "_maybe_commit",
            ("if index > raft.commit_index and raft.log.term_at(index) == raft.term:", "if index > raft.commit_index:"),
        ),
        PARTED,
        in_simulator(**PIECEMEAL),
    ),
    Bug(
        "4",
        "a follower takes the leader's commit index also where it is behind its own",
        "PySyncObj#166",
        edited(core.Raft, "commit_to", ("if index > self.commit_index:", "if True:")),
        ("commit went back",),
    ),
    Bug(
        "6",
        "a follower cuts its log to the end of a late, shorter message",
        "RaftOS#26",
        edited(
            follower,
            "_append",
            (
                "    _accept(raft, message, last_new)",
                "    if log.last_index > last_new:\n        log.truncate(last_new + 1)\n    _accept(raft, message, last_new)",
            ),
        ),
        (*PARTED, "left, saved are", "no rest"),
        in_simulator(**UNRULY),
    ),
    Bug(
        "7",
        "a follower commits what it has up to the leader's commit index, though the message does not match its log",
        "scylladb #10578, WRaft#118.2",
        edited(
            follower,
            "_append",
            (
                "        _reject(raft, message)\n",
                "        raft.commit_to(min(message.commit, log.last_index))\n        _reject(raft, message)\n",
            ),
        ),
        (*PARTED, "committed"),
        in_simulator(**UNRULY),
    ),
    Bug(
        "8",
        "entries that follow the start of the log are appended without a look at whether they are there",
        "WRaft#118.1",
        edited(
            follower,
            "_append",
            ("term = log.term_at(entry.index)", "term = None if message.prev_index == log.base.index else log.term_at(entry.index)"),
        ),
        ("appended behind", "log matching"),
        in_simulator(**UNRULY),
    ),
    Bug(
        "9",
        "a node takes the term of the snapshot that it installs",
        "WRaft#118.4",
        edited(follower, "installed", ("    raft.is_frozen = False", "    raft.term = meta.term\n    raft.is_frozen = False")),
        ("term went back",),
        in_simulator(tail_entries=1, checkpoint_entries=1, segment_bytes=600, crash_every=1.0, nodes=3, preferred=0),
    ),
)
