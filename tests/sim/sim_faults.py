"""What goes wrong, and when: each kind of fault comes again and again, at random moments, until the world is healed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from sim_damage import Damage
from sim_node import Node, Process

if TYPE_CHECKING:
    from sim_world import World


class Faults:
    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = random.Random(f"faults {world.seed}")
        self._is_over = False
        self._held_until = 0.0
        options = world.options
        self.every(options.cut_every, self.cut)
        self.every(options.crash_every, self.crash)
        self.every(options.pause_every, self._pause)
        self.every(options.drain_every, self._drain)
        self.every(options.transfer_every, self._transfer)
        self.every(options.clog_every, self._clog)
        self.every(options.leap_every, self._leap)
        Damage(self, world, self._dice)

    def end(self) -> None:
        self._is_over = True

    def hold(self, seconds: float) -> None:
        """Nothing new goes wrong for so long."""
        self._held_until = self._world.timers.now + seconds

    def every(self, seconds: float, fault: Callable[[], None]) -> None:
        def again() -> None:
            if not self._is_over:
                if self._world.timers.now >= self._held_until:
                    fault()
                self._world.timers.later(self._dice.expovariate(1 / seconds), again)

        if seconds:
            self._world.timers.later(self._dice.expovariate(1 / seconds), again)

    def victim(self) -> Node:
        """Any node, the leader's more often."""
        leader = self._world.leader()
        if leader is not None and self._dice.random() < 0.4:
            return leader.node
        return self._dice.choice(list(self._world.nodes.values()))

    # The network.

    def cut(self) -> None:
        ids, dice, network = list(self._world.nodes), self._dice, self._world.network
        if len(ids) < 2:
            return
        kind = dice.choice(["split", "one way", "pair", "ring", "alone", "alone one way"])
        if kind == "pair":
            a, b = dice.sample(ids, 2)
            cuts = {(a, b), (b, a)}
        elif kind == "one way":
            cuts = {(a, b) for a in ids for b in ids if a != b and dice.random() < 0.3}
        elif kind == "ring":
            # Each reaches so many to either side that with itself it sees a majority, and no two see the same one.
            ring, reach = dice.sample(ids, len(ids)), max(1, len(ids) // 4)
            near = range(-reach, reach + 1)
            reached = {(one, ring[(place + step) % len(ring)]) for place, one in enumerate(ring) for step in near}
            cuts = {(a, b) for a in ids for b in ids if a != b and (a, b) not in reached}
            self._world.sometimes["each node saw another majority"] += bool(cuts)
        else:
            side = {self.victim().id} if kind.startswith("alone") else set(dice.sample(ids, dice.randrange(1, len(ids))))
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

    def _clog(self) -> None:
        """One direction of one link lets nothing through for a while; what was sent meanwhile arrives at its end, all at once."""
        ids, dice = list(self._world.nodes), self._dice
        if len(ids) > 1:
            sender, to = dice.sample(ids, 2)
            seconds = dice.choice([0.3, 1.0, 5.0]) * dice.random()
            self._world.note(f"clogged: {sender}>{to} for {seconds:.3f} s")
            self._world.network.clog(sender, to, seconds)

    # Processes.

    def crash(self) -> None:
        dice = self._dice
        power = dice.random() < self._world.options.power_share
        nodes = list(self._world.nodes.values()) if dice.random() < 0.12 else [self.victim()]
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
        process = self.victim().process
        if process is not None and not process.is_paused:
            self._world.note(f"n{process.node.id}: pauses")
            process.is_paused = True
            self._world.timers.later(self._dice.choice([0.3, 1.0, 4.0]) * self._dice.random(), self._resume, process)

    def _resume(self, process: Process) -> None:
        if process.is_paused:
            self._world.note(f"n{process.node.id}: goes on")
            self._world.sometimes["a process was paused and went on"] += 1
            process.resume()

    def _drain(self) -> None:
        process = self.victim().process
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

    def _leap(self) -> None:
        process = self.victim().process
        if process is not None:
            seconds = self._dice.choice([0.3, 2.0, 3_600.0]) * self._dice.random()
            self._world.note(f"n{process.node.id}: its clock leaps by {seconds:.3f} s")
            self._world.sometimes["a clock leapt"] += 1
            process.clock.leap(seconds)
