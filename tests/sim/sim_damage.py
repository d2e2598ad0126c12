"""Faults that take a node's data or its vote away: a lost disk, a flipped bit, tables that went astray, a demotion.

They may hit any node at any time, but never so many at once that no majority holds what was acknowledged: no database survives that.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sim_node import Node, Process

from ddbd.raft.core import ProposalDropped
from ddbd.raft.types import NodeId

if TYPE_CHECKING:
    from sim_faults import Faults
    from sim_world import World


class Damage:
    def __init__(self, faults: Faults, world: World, dice: random.Random) -> None:
        self._faults = faults
        self._world = world
        self._dice = dice
        # With no other damage about, no demotion loses anything: then as many as come, also several at once.
        self._spares_voters = bool(world.options.wipe_every or world.options.flip_every or world.options.rot_every)
        self._demotions: list[tuple[int, int, set[NodeId]]] = []  # (index, term, who) of changes that may still come to pass
        options = world.options
        faults.every(options.wipe_every, self._wipe)
        faults.every(options.flip_every, self._flip)
        faults.every(options.rot_every, self._rot)
        faults.every(options.change_every, self._change)
        faults.every(options.full_every, self._fill)
        faults.every(options.fsync_fails_every, self._fail_fsync)

    # How many can be spared.

    def _weak(self) -> set[NodeId]:
        """Whose data or vote is missing, or may be soon."""
        members = self._world.checks.model.membership
        weak = {
            node.id
            for node in self._world.nodes.values()
            if node.is_flipped or node.is_rotten or node.id not in members.voters or node.life != members.life_of(node.id)
        }
        self._demotions = [each for each in self._demotions if not self._is_settled(each[0], each[1])]
        return weak.union(*(who for _, _, who in self._demotions))

    def _is_settled(self, index: int, term: int) -> bool:
        """The change is in force, or another entry took its place."""
        checks = self._world.checks
        if len(checks.committed) < index:
            return False
        return checks.committed[index - 1].term != term or checks.model.membership_index >= index

    def _can_spare(self, more: set[NodeId]) -> bool:
        return len(self._weak() | more) <= (len(self._world.nodes) - 1) // 2

    # What can happen.

    def _wipe(self) -> None:
        node = self._faults.victim()
        if self._can_spare({node.id}):
            node.wipe()
            self._world.restart_later(node)
            if self._dice.random() < 0.5:  # the worst moment for the others to be away
                self._world.timers.later(self._dice.random(), self._dice.choice([self._faults.crash, self._faults.cut]))

    def _flip(self) -> None:
        node = self._faults.victim()
        if node.process is not None and self._can_spare({node.id}):
            node.flip_a_bit()
            self._world.restart_later(node)

    def _rot(self) -> None:
        """While all are there and can compare, none in need of a snapshot: the other faults wait until it must have been found out."""
        node = self._faults.victim()
        if self._world.network.is_calm and self._world.options.tail_entries >= 20 and self._can_spare({node.id}):
            processes = [each.process for each in self._world.nodes.values()]
            behind = len(self._world.checks.committed) - 5
            if all(process is not None and not process.is_paused and process.core.applied_index >= behind for process in processes):
                node.rot()
                self._faults.hold(3.0)

    def _change(self) -> None:
        """Some voters are made learners, perhaps the leader too; caught up, they are made voters again by the leader's own watch."""
        leader = self._world.leader()
        if leader is None or leader.is_paused:
            return
        voters = set(leader.core.membership.voters)
        who = set(self._dice.sample(sorted(voters), min(len(voters), self._dice.choice([1, 1, 2, 3]))))
        if who != voters and (not self._spares_voters or self._can_spare(who)):
            leader.run(self._demote, leader, who)

    def _demote(self, leader: Process, who: set[NodeId]) -> None:
        membership = leader.core.membership
        try:
            index = leader.core.propose_membership(set(membership.voters) - who, set(membership.learners) | who, {})
        except ProposalDropped:
            return
        self._demotions.append((index, leader.core.term, who))
        self._world.note(f"n{leader.node.id}: is told to make learners of {' '.join(sorted(who))}")
        self._world.sometimes["a membership change of several nodes" if len(who) > 1 else "a membership change of one node"] += 1
        leader.replica._driver.wake()

    def _fill(self) -> None:
        """The disk is nearly full for a while; some write may find no space at all."""
        node = self._faults.victim()
        self._world.note(f"n{node.id}: its disk is full")
        node.is_full = True
        if self._dice.random() < 0.3:
            node.disk.fails_next_write = True
        self._world.timers.later(self._dice.choice([0.3, 1.0, 3.0]) * self._dice.random(), self._free, node)

    def _free(self, node: Node) -> None:
        node.is_full = False

    def _fail_fsync(self) -> None:
        node = self._faults.victim()
        if node.process is not None:
            self._world.note(f"n{node.id}: its next fsync fails")
            node.disk.fails_next_sync = True
