"""Several nodes that form a cluster over a network in memory; they can die at any write, come back, and lose their disks."""

from __future__ import annotations

import random
from typing import NamedTuple

from cluster_net import Network, make_config
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ddbd.cluster.formation import Formation
from ddbd.cluster.resource import RaftResource
from ddbd.config import Config
from ddbd.errors import StorageFailed


class Id(NamedTuple):
    cluster_id: str
    node_id: str
    life: str
    formed: bool
    former: tuple[str, ...] = ()


class Disk:
    """An IdentityStore that outlives the process. `plan` says at which write the process dies, and whether before or after it."""

    def __init__(self, world: World, node_id: str) -> None:
        self.world = world
        self.node_id = node_id
        self.content: Id | None = None
        self.writes = 0
        self.plan: tuple[int, str] | None = None

    def read(self) -> Id | None:
        return self.content

    def write(self, cluster_id: str, life: str, formed: bool, former: tuple[str, ...] = ()) -> Id:
        self.writes += 1
        dies = self.plan is not None and self.plan[0] == self.writes
        if dies and self.plan is not None and self.plan[1] == "before":
            self.die()
        self.content = Id(cluster_id, self.node_id, life, formed, former)
        self.world.wrote(self.content)
        if dies:
            self.die()
        return self.content

    def die(self) -> None:
        self.world.kill(self.node_id)
        raise StorageFailed("the power is gone")


class World:
    def __init__(self, count: int = 3, seed: int = 0) -> None:
        self.clock = Clock()
        self.config = make_config(count)
        self.network = Network(self.clock, self.config)
        self.rng = random.Random(seed)
        self.disks = {node_id: Disk(self, node_id) for node_id in self.config.node_ids}
        self.running: dict[str, Formation] = {}
        self.formed: dict[str, Id] = {}
        self.failed: dict[str, Failure] = {}
        self.voters: dict[str, set[str]] = {}  # cluster id -> who was ever formed in it with the empty life
        self.wiped_voters: set[tuple[str, str]] = set()  # (cluster id, node id) of those whose vote was lost with the disk

    def start(self, node_id: str, config: Config | None = None) -> None:
        # The ids drawn differ in each life of each process: the dice of all nodes are one.
        formation = Formation(self.clock, config or self.config, node_id, self.rng, self.network.client(node_id), self.disks[node_id])
        root = RaftResource()
        root.putChild(b"hello", formation.hello_resource)
        root.putChild(b"adopt", formation.adopt_resource)
        self.running[node_id] = formation
        self.network.listen(node_id, root)
        done: Deferred[Id] = formation.start()  # type: ignore[assignment]
        done.addCallbacks(self._formed, self._failed, callbackArgs=(node_id,), errbackArgs=(node_id,))

    def start_all(self) -> None:
        for node_id in self.config.node_ids:
            if node_id not in self.running:
                self.start(node_id)

    def _formed(self, identity: Id, node_id: str) -> None:
        self.formed[node_id] = identity

    def _failed(self, failure: Failure, node_id: str) -> None:
        self.failed[node_id] = failure

    def kill(self, node_id: str) -> None:
        self.formed.pop(node_id, None)
        if node_id in self.running:
            self.network.kill(node_id)
            self.running.pop(node_id).stop()

    def wipe(self, node_id: str) -> None:
        self.kill(node_id)
        content = self.disks[node_id].content
        if content is not None and content.formed and not content.life:
            self.wiped_voters.add((content.cluster_id, node_id))
        self.disks[node_id].content = None

    def wrote(self, identity: Id) -> None:
        """The promise of formation, checked at every write: who has voted and lost its disk never votes in that cluster again."""
        if identity.formed and not identity.life:
            assert (identity.cluster_id, identity.node_id) not in self.wiped_voters, f"{identity.node_id} votes again, with an empty disk"
            self.voters.setdefault(identity.cluster_id, set()).add(identity.node_id)

    def all_formed(self) -> bool:
        return set(self.formed) == set(self.config.node_ids)

    def settle(self, seconds: float = 20) -> None:
        for _ in range(round(seconds / 0.2)):
            if self.all_formed():
                return
            self.network.advance(0.2, step=0.05)
