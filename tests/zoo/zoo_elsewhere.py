"""Bugs that need a play of their own (catalogue 5, 19 and corners of the design)."""

from __future__ import annotations

from zoo_kinds import Bug, in_simulator
from zoo_plant import edited, replaced, together
from zoo_plays import a_link_is_cut_for_good, a_log_that_nobody_reads, a_majority_is_wiped
from zoo_votes import UNRULY

from ddbd import logsink
from ddbd.cluster import formation
from ddbd.raft import candidate, core, leader, progress

BUGS = (
    Bug(
        "5",
        "a late answer moves the match index back",
        "PySyncObj#167, RaftOS#25",
        edited(
            progress.Progress,
            "accepted",
            ("if index > self.match_index:", "if True:"),
            ("if counts and index > self.counted_index:", "if counts:"),
        ),
        ("match index of node",),
        in_simulator(**UNRULY),
    ),
    Bug(
        "19",
        "no vote is asked for in advance, no leader steps down that no quorum hears, and no vote is refused because a leader is heard",
        "Cloudflare, 2020-11-02: 6 h 33 min",
        together(
            edited(candidate, "campaign", ("if quorum.is_quorum(raft.membership, raft.votes):", "if True:")),
            edited(leader, "_is_cut_off", ("return leading.ticks -", "return False and leading.ticks -")),
            replaced(core.Raft, "hears_leader", lambda old: property(lambda raft: False)),
        ),
        ("no stable leader", "no progress"),
        a_link_is_cut_for_good,
    ),
    Bug(
        "27",
        "log lines are written by the thread of the event loop, whether their reader takes them or not",
        "etcd #22214",
        edited(logsink.LogSink, "write", ("    with self._changed:\n", "    self._stream.write(text)\n    with self._changed:\n")),
        ("the event loop waits",),
        a_log_that_nobody_reads,
    ),
    Bug(
        "wiped majority",
        "a cluster forms when a majority of its nodes says that it is empty",
        "a corner of the design",
        edited(formation, "verdict", ("    if silent:", "    if len(hellos) + 1 <= len(nodes) // 2:")),
        ("clusters formed",),
        a_majority_is_wiped,
    ),
)
