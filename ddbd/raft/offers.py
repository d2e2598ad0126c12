"""A leader's offers of snapshots to followers whose entries are compacted (Raft 7). The bytes are fetched apart, by the offer's token.

An offer is repeated at every heartbeat until the follower has it: the message may be lost, and the follower may have declined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbd.raft.messages import InstallSnapshot
from ddbd.raft.progress import REPLICATE
from ddbd.raft.types import NodeId, SnapshotMeta

if TYPE_CHECKING:
    from ddbd.raft.core import Raft
    from ddbd.raft.leader import Leading


def offer(raft: Raft, leading: Leading, peer: NodeId, meta: SnapshotMeta, token: str) -> None:
    progress = leading.progress.get(peer)
    if progress is not None:
        if progress.pace is not REPLICATE:  # there it only needs other tables: it goes on getting the log
            progress.to_snapshot()
            progress.snapshot_index = meta.index
        leading.offers[peer] = (meta, token)
        raft.send(InstallSnapshot(peer, raft.id, raft.term, meta, token))


def withdraw(raft: Raft, leading: Leading, token: str) -> None:
    for peer in [peer for peer, (_, offered) in leading.offers.items() if offered == token]:
        del leading.offers[peer]
        leading.progress[peer].to_snapshot()
        raft.snapshots_wanted.append(peer)


def repeat(raft: Raft, leading: Leading) -> None:
    for peer, (meta, token) in leading.offers.items():
        raft.send(InstallSnapshot(peer, raft.id, raft.term, meta, token))
