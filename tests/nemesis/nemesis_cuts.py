"""The faults of the network. The rules are the router's (`nemesis_router`); what is not named goes through untouched."""

from __future__ import annotations

import random
from typing import Any

from nemesis_cluster import Cluster
from nemesis_faults import Fault, names
from nemesis_network import CLIENTS, both_ways

Pairs = list[tuple[int, int]]


class Cut(Fault):
    """Packets vanish in silence. `shape` says between whom; clients still reach every node, but for the last shape."""

    realm = "network"

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        host = self.choose(cluster, dice)[0]
        others = cluster.network.others(host)
        shape = self.options["shape"]
        if shape == "alone":
            pairs, said = both_ways(host, others), f"node {host} is cut off"
        elif shape == "deaf":
            pairs, said = [(other, host) for other in others], f"node {host} hears nobody, and is heard"
        elif shape == "mute":
            pairs, said = [(host, other) for other in others], f"node {host} is heard by nobody, and hears"
        elif shape == "pair":
            other = dice.choice(others)
            pairs, said = both_ways(host, [other]), f"nodes {host} and {other} do not reach each other; both reach the third"
        elif shape == "ring":
            # Each link works in one direction only.
            ring = [host, *others]
            pairs = [(one, ring[place - 1]) for place, one in enumerate(ring)]
            said = f"a ring: {' -> '.join(map(str, ring))} -> {host} is one way"
        elif shape == "shattered":
            hosts = list(cluster.nodes)
            pairs = [(one, other) for one in hosts for other in hosts if one != other]
            said = "nobody reaches anybody"
        else:
            assert shape == "clients", f"there is no cut of shape {shape}"
            pairs, said = both_ways(host, [CLIENTS]), f"the clients do not reach node {host}"
        self._layer = cluster.network.fault(pairs, cut=True)
        return said

    def end(self, cluster: Cluster) -> None:
        cluster.network.mend(self._layer)


class Bad(Fault):
    """All links of some nodes delay, lose, double or reorder, by chance per packet."""

    realm = "network"

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        hosts = self.choose(cluster, dice)
        rule: dict[str, Any] = {field: dice.choice(values) for field, values in self.options["rule"].items()}
        pairs: Pairs = [pair for host in hosts for pair in both_ways(host, set(cluster.network.hosts) - {host})]
        self._layer = cluster.network.fault(pairs, **rule)
        return f"the links of {names(hosts)}: {', '.join(f'{field} {value}' for field, value in rule.items())}"

    def end(self, cluster: Cluster) -> None:
        cluster.network.mend(self._layer)
