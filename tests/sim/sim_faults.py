"""What goes wrong, and when: each kind of fault comes again and again, at random moments, until the world is healed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from sim_node import Node, Process

if TYPE_CHECKING:
    from sim_world import World


class Faults:
    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = random.Random(f"faults {world.seed}")
        self._is_over = False
        options = world.options
        self._every(options.cut_every, self._cut)
        self._every(options.crash_every, self._crash)
        self._every(options.pause_every, self._pause)
        self._every(options.drain_every, self._drain)
        self._every(options.wipe_every, self._wipe)
        self._every(options.transfer_every, self._transfer)
        self._every(options.fsync_fails_every, self._fail_fsync)

    def end(self) -> None:
        self._is_over = True

    def _every(self, seconds: float, fault: Callable[[], None]) -> None:
        def again() -> None:
            if not self._is_over:
                fault()
                self._world.timers.later(self._dice.expovariate(1 / seconds), again)

        if seconds:
            self._world.timers.later(self._dice.expovariate(1 / seconds), again)

    def _victim(self) -> Node:
        """Any node, the leader's more often."""
        leader = self._world.leader()
        if leader is not None and self._dice.random() < 0.4:
            return leader.node
        return self._dice.choice(list(self._world.nodes.values()))

    # The network.

    def _cut(self) -> None:
        ids, dice, network = list(self._world.nodes), self._dice, self._world.network
        if len(ids) < 2:
            return
        kind = dice.choice(["split", "one way", "pair", "alone", "alone one way"])
        if kind == "pair":
            a, b = dice.sample(ids, 2)
            cuts = {(a, b), (b, a)}
        elif kind == "one way":
            cuts = {(a, b) for a in ids for b in ids if a != b and dice.random() < 0.3}
        else:
            side = {self._victim().id} if kind.startswith("alone") else set(dice.sample(ids, dice.randrange(1, len(ids))))
            cuts = {(a, b) for a in ids for b in ids if (a in side) != (b in side)}
            if kind == "alone one way":
                outwards = dice.random() < 0.5
                cuts = {(a, b) for a, b in cuts if (a in side) == outwards}
        self._world.note(f"cut ({kind}): {' '.join(f'{a}>{b}' for a, b in sorted(cuts))}")
        network.cuts = cuts
        self._world.timers.later(dice.choice([0.2, 1.0, 3.0]) * dice.random(), self._join, cuts)

    def _join(self, cuts: set[tuple[str, str]]) -> None:
        if self._world.network.cuts is cuts:
            self._world.note("joined")
            self._world.network.cuts = set()
            self._world.reconnect()

    # Processes.

    def _crash(self) -> None:
        dice = self._dice
        power = dice.random() < self._world.options.power_share
        nodes = list(self._world.nodes.values()) if dice.random() < 0.12 else [self._victim()]
        for node in nodes:
            if node.process is None:
                continue
            if power and dice.random() < self._world.options.cut_in_operation:
                node.disk.steps_left = dice.randrange(8)
                self._world.timers.later(0.5, self._cut_power, node, node.process)
            else:
                node.crash(power)
                self._world.restart_later(node)

    def _cut_power(self, node: Node, process: Process) -> None:
        if node.process is process:
            node.crash(power=True)
            self._world.restart_later(node)

    def _pause(self) -> None:
        process = self._victim().process
        if process is not None and not process.is_paused:
            self._world.note(f"n{process.node.id}: pauses")
            process.is_paused = True
            self._world.timers.later(self._dice.choice([0.3, 1.0, 4.0]) * self._dice.random(), self._resume, process)

    def _resume(self, process: Process) -> None:
        if process.is_paused:
            self._world.note(f"n{process.node.id}: goes on")
            process.resume()

    def _drain(self) -> None:
        process = self._victim().process
        if process is not None and not process.is_paused:
            self._world.note(f"n{process.node.id}: is told to stop")
            process.run(self._begin_drain, process)

    def _begin_drain(self, process: Process) -> None:
        if process.replica._drained is None:
            process.replica.drain().addCallback(lambda _: self._world.timers.later(0, process.run, self._drained, process))

    def _drained(self, process: Process) -> None:
        process.replica.halt()
        self._world.sometimes["a node stopped in good order"] += 1
        self._world.timers.later(0, self._end, process)

    def _end(self, process: Process) -> None:
        if process.node.process is process:
            process.node.crash(power=False)
            self._world.restart_later(process.node)

    def _transfer(self) -> None:
        leader = self._world.leader()
        if leader is not None and not leader.is_paused:
            target = self._dice.choice(list(self._world.nodes))
            self._world.note(f"n{leader.node.id}: is told to hand over to {target}")
            leader.run(self._begin_transfer, leader, target)

    def _begin_transfer(self, leader: Process, target: str) -> None:
        if leader.core.transfer(target):
            leader.replica._driver.wake()

    # Disks.

    def _wipe(self) -> None:
        node = self._victim()
        members = self._world.checks.model.membership
        seeding = {each.id for each in self._world.nodes.values() if not _is_seeded(each, members.life_of(each.id), members.voters)}
        if len(seeding | {node.id}) <= (len(self._world.nodes) - 1) // 2:
            node.wipe()
            self._world.restart_later(node)
            if self._dice.random() < 0.5:  # the worst moment for the others to be away
                self._world.timers.later(self._dice.random(), self._dice.choice([self._crash, self._cut]))

    def _fail_fsync(self) -> None:
        node = self._victim()
        if node.process is not None:
            self._world.note(f"n{node.id}: its next fsync fails")
            node.disk.fails_next_sync = True


def _is_seeded(node: Node, life: str, voters: tuple[str, ...]) -> bool:
    return node.id in voters and node.life == life
