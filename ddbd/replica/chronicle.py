"""What happens at this node, told in plain sentences to whoever keeps a timeline (`World.happened`).

It only looks. The core says nothing of itself, so changes of leader are read off what it is before and after a turn, and everything else
off the driver's own parts at each heartbeat. Nothing is decided by what stands here; durations are the clock's, and no wall clock is read.

How long an election took is told from the moment at which the old leader was last heard, or its address began to refuse. A follower does
not count votes, so only the elected node tells how many there were. Writes are this node's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ddbd.raft.core import SnapshotOffer
from ddbd.raft.types import NodeId, in_order

if TYPE_CHECKING:
    from ddbd.replica.driver import Driver

LOST_SECONDS = 0.15  # a stream that broke and stands again before is no news
BACK_SECONDS = 1.0  # a peer that goes again before was never back
SLOW_SAVE_SECONDS = 0.25
SLOW_SAVE_PAUSE_SECONDS = 60.0  # between two events about a slow disk
SLOW_CHECKPOINT_SECONDS = 10.0


class _Loss(NamedTuple):
    """The leader is gone."""

    leader_id: NodeId
    term: int
    since: float  # when it was last heard
    why: str
    is_handed: bool  # it lives, and gave leadership up
    refused: int  # writes that this node had refused until then


class Chronicle:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._leader: tuple[NodeId | None, int] = (None, 0)
        self._loss: _Loss | None = None
        self._refused_at: dict[NodeId, float] = {}  # since then a peer's address refuses connections
        self._there: dict[NodeId, bool] = {}  # peers as was last told; who was never there is not in it
        self._changing: dict[NodeId, float] = {}  # since when it is otherwise
        self._lost_at: dict[NodeId, float] = {}
        self._membership = driver.core.membership
        self._offers: dict[NodeId, int] = {}  # to followers: the snapshot's index
        self._is_full = self._is_low = False
        self._slow_at: float | None = None
        self._slow_saves = 0

    def _tell(self, kind: str, node_id: NodeId | None, text: str, **details: object) -> None:
        self._driver.world.happened(kind, node_id, text, **details)

    # Leaders.

    def refused(self, peer: NodeId) -> None:
        self._refused_at.setdefault(peer, self._driver.world.clock.seconds())

    def leader_changed(self, now: float) -> None:
        """Called where the leader or the term is another one than before."""
        core = self._driver.core
        (old_id, old_term), new_id = self._leader, core.leader_id
        self._leader = (new_id, core.term)
        if old_id is not None:
            self._lost(old_id, old_term, now, told=new_id is None)
        if new_id is not None:
            self._found(new_id, now)

    def _lost(self, leader_id: NodeId, term: int, now: float, told: bool) -> None:
        if leader_id == self._driver.node_id:
            why, since = self._why_resigned(term), now
            is_handed = self._driver.transfer_to is not None
            kind = "stepped_down"
        else:
            since, why, is_handed = self._why_gone(leader_id, now)
            kind = "leader_lost"
        self._loss = _Loss(leader_id, term, since, why, is_handed, self._driver.proposals.refused)
        if told and not is_handed:
            self._tell(kind, leader_id, why, term=term, silent_ms=round((now - since) * 1000))

    def _why_resigned(self, term: int) -> str:
        core, node_id, target = self._driver.core, self._driver.node_id, self._driver.transfer_to
        if target is not None:
            return f"node {node_id} handed leadership to node {target}"
        if core.is_frozen:
            return f"node {node_id} stepped down: its state differs from the majority's"
        if core.term > term:
            return f"node {node_id} stepped down: term {core.term} has begun without it"
        return f"node {node_id} stepped down: it did not hear a majority"

    def _why_gone(self, leader_id: NodeId, now: float) -> tuple[float, str, bool]:
        """Since when, why, and whether it gave leadership up by itself."""
        heard, refused = self._driver.world.last_heard(leader_id), self._refused_at.get(leader_id)
        since = min((at for at in (heard, refused) if at is not None), default=now)
        if refused is not None:
            return since, f"node {leader_id} stopped answering", False
        silent_ms = round((now - since) * 1000)
        if silent_ms < self._driver.config.timing.election_timeout_ms / 2:
            return since, f"node {leader_id} gave leadership up", True
        return since, f"nothing was heard from node {leader_id} for {silent_ms} ms", False

    def _found(self, leader_id: NodeId, now: float) -> None:
        core, loss = self._driver.core, self._loss
        self._loss = None
        self._refused_at.pop(leader_id, None)
        details: dict[str, object] = {"term": core.term}
        elected = self._elected(leader_id, details)
        if loss is None:  # the first one that this process knows; an election of long ago, perhaps
            is_own = leader_id == self._driver.node_id
            self._tell("leader_elected", leader_id, elected if is_own else f"node {leader_id} leads", **details)
            return
        writes = self._writes(loss, details)
        milliseconds = round((now - loss.since) * 1000)
        details.update(ms=milliseconds, old_leader=loss.leader_id)
        if loss.leader_id == leader_id:
            self._tell("leader_elected", leader_id, f"{loss.why}; {elected} again after {milliseconds} ms; {writes}", **details)
        elif loss.is_handed:
            text = f"leadership went from node {loss.leader_id} to node {leader_id} in {milliseconds} ms; {writes}"
            self._tell("leadership_transferred", leader_id, text, **details)
        else:
            took = f" in {milliseconds} ms" if now > loss.since else ""  # a leader that was deposed hears of both at once, whatever it took
            self._tell("leader_elected", leader_id, f"{loss.why}; {elected}{took}; {writes}", **details)

    def _elected(self, leader_id: NodeId, details: dict[str, object]) -> str:
        core = self._driver.core
        if leader_id != self._driver.node_id:
            return f"node {leader_id} was elected"
        votes = sum(core.votes.values())
        voters = sum(core.membership.is_voter(node_id) for node_id in core.membership.nodes)
        details.update(votes=votes, voters=voters)
        return f"node {leader_id} was elected by {votes} of {voters}"

    def _writes(self, loss: _Loss, details: dict[str, object]) -> str:
        held, refused = self._driver.proposals.open_count, self._driver.proposals.refused - loss.refused
        details.update(writes_held=held, writes_refused=refused)
        if not held and not refused:
            return "no write had to wait"
        return f"{held} {'write was' if held == 1 else 'writes were'} held, {refused or 'none'} refused"

    # At each heartbeat.

    def tick(self, now: float) -> None:
        for peer in self._driver.config.node_ids:
            if peer != self._driver.node_id:
                self._look_at_peer(peer, now)
        self._look_at_disk()
        self._look_at_membership()
        self._look_at_offers()

    def _look_at_peer(self, peer: NodeId, now: float) -> None:
        is_there, was_there = self._driver.world.peers.is_reachable(peer), self._there.get(peer)
        if is_there:
            self._refused_at.pop(peer, None)
        if is_there == (was_there or False):
            self._changing.pop(peer, None)
        elif was_there is None:
            self._there[peer] = True  # the first time: it is as it should be
        elif now - self._changing.setdefault(peer, now) >= (BACK_SECONDS if is_there else LOST_SECONDS):
            self._there[peer] = is_there
            if is_there:
                away = round(self._changing[peer] - self._lost_at[peer], 1)
                self._tell("peer_back", peer, f"node {peer} answers again after {away:g} s", away_seconds=away)
            else:
                self._lost_at[peer] = self._changing[peer]
                how = "stopped answering" if peer in self._refused_at else "is not heard any more"
                self._tell("peer_lost", peer, f"node {peer} {how}", refuses=peer in self._refused_at)
            del self._changing[peer]

    def _look_at_disk(self) -> None:
        driver = self._driver
        is_full, is_low = driver.is_disk_full, driver.store.disk_low()
        if is_low != self._is_low:
            kind, how = ("disk_full", "is nearly full") if is_low else ("disk_freed", "has room again")
            self._tell(kind, driver.node_id, f"the disk of node {driver.node_id} {how}", rows_are_refused=is_full)
        elif is_full != self._is_full:
            text = "disks are nearly full: new rows are refused, deletes go on" if is_full else "new rows are taken again"
            self._tell("disk_full" if is_full else "disk_freed", None, text, rows_are_refused=is_full)
        self._is_full, self._is_low = is_full, is_low

    def _look_at_membership(self) -> None:
        before, membership = self._membership, self._driver.core.membership
        if membership is before or membership.is_joint:
            return
        self._membership = membership
        for node_id in in_order({*before.nodes, *membership.nodes}):
            if before.is_voter(node_id) == membership.is_voter(node_id):
                continue
            how = "votes again" if membership.is_voter(node_id) else "no longer votes: it lost its data, and listens until it has caught up"
            self._tell(
                "member_changed", node_id, f"node {node_id} {how}", voters=list(membership.voters), learners=list(membership.learners)
            )

    def _look_at_offers(self) -> None:
        leading = self._driver.core.leading
        offers = {} if leading is None else {peer: meta.index for peer, (meta, _) in leading.offers.items()}
        for peer, index in self._offers.items():
            if leading is not None and peer not in offers and peer in leading.progress and leading.progress[peer].match_index >= index:
                self._tell("snapshot_sent", peer, f"node {peer} has got a snapshot at index {index}", index=index)
        self._offers = offers

    # The disk, and wrong tables.

    def saved(self, now: float, seconds: float) -> None:
        if seconds < SLOW_SAVE_SECONDS:
            return
        self._slow_saves += 1
        if self._slow_at is None or now - self._slow_at >= SLOW_SAVE_PAUSE_SECONDS:
            milliseconds, count = round(seconds * 1000), self._slow_saves
            self._slow_at, self._slow_saves = now, 0
            text = f"the disk is slow: it took {milliseconds} ms to save to the log"
            self._tell("slow_disk", self._driver.node_id, text, ms=milliseconds, slow_saves=count)

    def checkpointed(self, seconds: float) -> None:
        if seconds >= SLOW_CHECKPOINT_SECONDS:
            text = f"a checkpoint of the tables took {seconds:.0f} s"
            self._tell("checkpoint_slow", self._driver.node_id, text, seconds=round(seconds, 1))

    def quarantined(self, node_id: NodeId, reason: str) -> None:
        self._tell("quarantined", node_id, f"{reason}; it serves no reads until it is seeded anew")

    def installed(self, offer: SnapshotOffer) -> None:
        """Before the core takes note of it."""
        node_id, index = self._driver.node_id, offer.meta.index
        if self._driver.core.is_frozen:
            text = f"node {node_id} was seeded anew by node {offer.sender}: it serves reads again"
            self._tell("reseeded", node_id, text, index=index, sender=offer.sender)
        else:
            text = f"node {node_id} took a snapshot at index {index} from node {offer.sender}"
            self._tell("snapshot_installed", node_id, text, index=index, sender=offer.sender)
