"""A cluster without faults, for the tests of the checkers."""

from __future__ import annotations

from typing import Any

from sim_node import Process
from sim_options import draw
from sim_world import World

CALM = {
    name: 0.0
    for name, value in draw(0)._asdict().items()
    if name.endswith("_every") or name in ("loss", "duplication", "slow_share", "skew", "jitter")
    if isinstance(value, float)
}


def quiet(clients: int = 3, seconds: float = 4.0, **more: Any) -> World:
    options = draw(7)._replace(**CALM, nodes=3, clients=clients, keys=2, preferred=0, delay=0.002, tail_entries=200, append_messages=256)
    world = World(7, options._replace(**more))
    world.run_quietly(seconds)
    assert world.problem is None, world.problem
    return world


def leader(world: World) -> Process:
    found = world.leader()
    assert found is not None
    return found


def follower(world: World) -> Process:
    return next(node.process for node in world.nodes.values() if node.process is not None and not node.process.core.is_leader)
