"""Random schedules: what happens is drawn from numbers, so that a seed or a shrunken list of numbers plays the same run again.

Two phases: faults, in which only safety is asked (by `raft_checks`, after every turn), then healing, after which the cluster must make
progress: one leader, a write that everybody applies, a read.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from raft_cluster import Cluster, Node

from ddbd.raft.core import ProposalDropped, Raft
from ddbd.raft.log import CacheLimits
from ddbd.raft.types import NodeId

Step = tuple[int, int]  # (what, with whom or how)

SMALL = CacheLimits(entries_max=6, bytes_max=200)
HEALING_BEATS = 200


class Chaos:
    def __init__(self, count: int = 3, voters: int | None = None, seed: int = 0) -> None:
        self.cluster = Cluster.of(
            *(count, voters, seed, SMALL),
            append_bytes_max=40,
            append_messages_max=4,
            apply_entries_max=3,
            failback_ticks=15,
            preferred_id="1",
        )
        self.ids = list(self.cluster.nodes)
        self.lives = 0
        self.commands = 0
        self.forgotten: set[tuple[int, NodeId, str]] = set()
        self.frozen: set[NodeId] = set()
        self.actions = [
            *(self.deliver_some, self.deliver_some, self.deliver_some, self.deliver_all, self.deliver_all),
            *(self.tick_all, self.tick_all, self.tick_one, self.tick_long, self.propose, self.propose, self.read),
            *(self.duplicate, self.drop_one, self.cut, self.heal, self.crash, self.restart, self.restart),
            *(self.hold, self.release, self.release, self.compact, self.manage, self.manage, self.change),
            *(self.transfer, self.refuse, self.wipe, self.freeze, self.step_down, self.decline, self.withdraw),
        ]

    def run(self, steps: Sequence[Step]) -> None:
        for what, how in steps:
            self.actions[what % len(self.actions)](how)

    # Who and what.

    def node(self, how: int) -> Node:
        return self.cluster.nodes[self.ids[how % len(self.ids)]]

    def leader(self) -> Raft | None:
        return self.cluster.leader

    # Messages and time.

    def deliver_some(self, how: int) -> None:
        """Out of order."""
        dice = random.Random(how)
        for _ in range(min(4, len(self.cluster.network))):
            if self.cluster.network:
                self.cluster.hand(self.cluster.network.pop(dice.randrange(len(self.cluster.network))))

    def deliver_all(self, how: int) -> None:
        self.cluster.deliver()

    def duplicate(self, how: int) -> None:
        if self.cluster.network:
            self.cluster.network.append(self.cluster.network[how % len(self.cluster.network)])

    def drop_one(self, how: int) -> None:
        if self.cluster.network:
            self.cluster.network.pop(how % len(self.cluster.network))

    def tick_all(self, how: int) -> None:
        self.cluster.tick()

    def tick_one(self, how: int) -> None:
        self.cluster.tick(self.node(how).id)

    def tick_long(self, how: int) -> None:
        self.cluster.tick(self.node(how).id, count=how % 20)

    def cut(self, how: int) -> None:
        """One direction of one link, or a whole node."""
        one, other = self.node(how), self.node(how // 7)
        if how % 3:
            self.cluster.cuts.add((one.id, other.id))
        else:
            self.cluster.cut(one.id)

    def heal(self, how: int) -> None:
        self.cluster.heal()

    # Nodes and disks.

    def crash(self, how: int) -> None:
        self.cluster.crash(self.node(how).id)

    def restart(self, how: int) -> None:
        node = self.node(how)
        if not node.is_up:
            self.cluster.restart(node.id)
            self._still_suspect(node)

    def _still_suspect(self, node: Node) -> None:
        if node.id in self.frozen:
            node.core.freeze()
            self.cluster.turn(node.id)

    def hold(self, how: int) -> None:
        if self.node(how).is_up:
            self.cluster.hold(self.node(how).id)

    def release(self, how: int) -> None:
        if self.node(how).is_up:
            self.cluster.release(self.node(how).id)

    def compact(self, how: int) -> None:
        node = self.node(how)
        if node.is_up:
            self.cluster.compact(node.id, node.core.applied_index - how % 3)

    def wipe(self, how: int) -> None:
        """One at a time: two lost disks of three are more than anybody survives. A lost disk's stream is lost too."""
        node = self.node(how)
        if not self.frozen and self._is_sturdy():
            self.lives += 1
            self.frozen.discard(node.id)
            self.cluster.drop(lambda message: message.sender == node.id)
            self.cluster.wipe(node.id, f"life{self.lives}")

    def _is_sturdy(self) -> bool:
        """Whether a node's state may be lost now: a settled membership of three or more voters, who all have theirs."""
        leader = self.leader()
        if leader is None or leader.leading is None or leader.commit_index < leader.leading.first_index:
            return False
        membership = leader.membership
        is_settled = not membership.is_joint and leader.log.membership_index <= leader.commit_index
        is_newest = all(node.core.term <= leader.term for node in self.cluster.nodes.values())
        all_there = all(membership.life_of(each) == self.cluster.nodes[each].disk.life for each in self.ids)
        return is_settled and is_newest and all_there and len(membership.voters) >= 3

    def freeze(self, how: int) -> None:
        node = self.node(how)
        if node.is_up and not self.frozen and self._is_sturdy():
            self.frozen.add(node.id)
            self._still_suspect(node)

    # What the driver does.

    def propose(self, how: int) -> None:
        leader = self.leader()
        if leader is not None:
            self.commands += 1
            try:
                self.cluster.propose(leader.id, *[b"%d.%d" % (self.commands, place) for place in range(1 + how % 3)])
            except ProposalDropped:
                return

    def read(self, how: int) -> None:
        if self.node(how).is_up:
            self.cluster.read(self.node(how).id)

    def transfer(self, how: int) -> None:
        leader = self.leader()
        if leader is not None:
            self.cluster.transfer(leader.id, self.node(how).id)

    def step_down(self, how: int) -> None:
        node = self.node(how)
        if node.is_up:
            node.core.step_down()
            self.cluster.turn(node.id)

    def refuse(self, how: int) -> None:
        node, peer = self.node(how), self.node(how // 7)
        if node.is_up:
            self.cluster.refuse(node.id, peer.id)

    def change(self, how: int) -> None:
        """Any membership of this cluster's nodes; who is not sound does not become a voter this way."""
        leader = self.leader()
        if leader is None:
            return
        sound = [
            each for each in self.ids if each not in self.frozen and leader.membership.life_of(each) == self.cluster.nodes[each].disk.life
        ]
        voters = [each for place, each in enumerate(sound) if how >> place & 1]
        others = [each for each in self.ids if each not in voters]
        if voters and (not self.frozen or len(voters) >= 3):
            self._propose_membership(leader, voters, others if how & 32 else others[:1])

    def _propose_membership(self, leader: Raft, voters: Sequence[NodeId], learners: Sequence[NodeId], **lives: str) -> None:
        try:
            self.cluster.change(leader.id, voters, learners, **lives)
        except ProposalDropped:
            return

    def decline(self, how: int) -> None:
        node = self.node(how)
        if node.is_up and node.core.pending_snapshot is not None:
            node.core.declined(node.core.pending_snapshot.token)
            self.cluster.turn(node.id)

    def withdraw(self, how: int) -> None:
        leader = self.leader()
        if leader is not None and leader.leading is not None:
            for _, token in list(leader.leading.offers.values()):
                leader.withdraw_snapshot(token)
            self.cluster.turn(leader.id)

    def manage(self, how: int) -> None:
        """Snapshots made and fetched; nodes with a new life demoted, then promoted."""
        for node in self.cluster.up:
            self._fetch(node)
        leader = self.leader()
        if leader is None:
            return
        node = self.cluster.nodes[leader.id]
        for peer in sorted(node.wanted):
            self.cluster.offer(leader.id, peer)
        for peer in self.ids:
            if (
                self.leader() is leader
                and leader.leading is not None
                and peer in leader.leading.progress
                and self.cluster.nodes[peer].is_up
            ):
                self._report(leader, peer)

    def _fetch(self, node: Node) -> None:
        offer = node.core.pending_snapshot
        if offer is None:
            return
        if not self.cluster.nodes[offer.sender].is_up:
            node.core.declined(offer.token)
            self.cluster.turn(node.id)
        elif not node.core.is_saving:
            self.frozen.discard(node.id)
            self.cluster.install(node.id)

    def _report(self, leader: Raft, peer: NodeId) -> None:
        """As the driver's seeding does with a StateReport."""
        assert leader.leading is not None
        if peer in self.frozen and peer not in leader.leading.offers:
            self.cluster.offer(leader.id, peer)
        life, membership = self.cluster.nodes[peer].disk.life, leader.membership
        if life == membership.life_of(peer):
            return
        if (leader.term, peer, life) not in self.forgotten:
            self.forgotten.add((leader.term, peer, life))
            leader.forget_peer(peer)
        voters, learners = set(membership.voters), set(membership.learners)
        if peer in voters:
            if voters != {peer}:
                self._propose_membership(leader, sorted(voters - {peer}), sorted(learners | {peer}))
        elif leader.leading.progress[peer].match_index >= leader.leading.commit_at_tick > 0:
            self._propose_membership(leader, sorted(voters | {peer}), sorted(learners - {peer}), **{f"n{peer}": life})

    # Afterwards.

    def recover(self) -> None:
        """All faults end. Everybody in the membership gets there within a bounded time."""
        self.cluster.heal()
        for node in self.cluster.nodes.values():
            if node.is_up:
                self.cluster.release(node.id)
            else:
                self.cluster.restart(node.id)
                self._still_suspect(node)
        marker, index = b"after all", 0
        for beat in range(HEALING_BEATS):
            self.cluster.beat()
            self.manage(beat)
            self.cluster.settle()
            index = index or self._mark(marker)
            if index and self._is_whole(index):
                break
        else:
            raise AssertionError(f"no progress: {self.state()}")
        assert self.cluster.checks.committed[index][1] == marker
        self._everyone_reads()

    def _mark(self, marker: bytes) -> int:
        leader = self.leader()
        if leader is None or leader.leading is None or leader.commit_index < leader.leading.first_index:
            return 0
        try:
            return self.cluster.propose(leader.id, marker)
        except ProposalDropped:
            return 0

    def _is_whole(self, index: int) -> bool:
        leader = self.leader()
        if leader is None:
            return False
        membership = leader.membership
        at_home = [self.cluster.nodes[each] for each in membership.nodes]
        applied = all(node.core.applied_index >= index for node in at_home)
        sound = all(membership.life_of(node.id) == node.disk.life for node in at_home)
        return applied and sound and not self.frozen & set(membership.nodes) and not membership.is_joint

    def _everyone_reads(self) -> None:
        leader = self.leader()
        assert leader is not None
        for node_id in leader.membership.nodes:
            before = len(self.cluster.nodes[node_id].reads)
            for _ in range(20):
                self.cluster.read(node_id)
                self.cluster.settle()
                self.cluster.beat()
                if len(self.cluster.nodes[node_id].reads) > before:
                    break
            else:
                raise AssertionError(f"{node_id} never reads: {self.state()}")

    def state(self) -> str:
        def one(node: Node) -> str:
            core = node.core
            told = f"{node.id}@{core.term} {core.role.value} of {core.leader_id} last={core.log.last_index} commit={core.commit_index}"
            return f"{told} applied={core.applied_index} base={core.log.base.index} {core.membership} life={node.disk.life!r}"

        return "; ".join(one(node) for node in self.cluster.nodes.values())


def play(seed: int, count: int, steps: int, voters: int | None = None) -> Chaos:
    dice = random.Random(seed)
    chaos = Chaos(count, voters, seed)
    chaos.run([(dice.randrange(1 << 16), dice.randrange(1 << 16)) for _ in range(steps)])
    chaos.recover()
    return chaos
