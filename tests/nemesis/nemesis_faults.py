"""The faults of processes, clocks and logs, and the base of all: what each one does to the cluster, and how it is taken back.

`begin` returns a sentence for the report, `end` takes everything back and starts again what was killed. A fault that finds something
wrong by itself (a node that goes on after a failed fsync) adds it to `findings`. Two faults overlap only when their realms differ: both
would otherwise want to start the same node.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import nemesis_clock
import nemesis_disk
import nemesis_space
from nemesis_cluster import Cluster
from nemesis_network import both_ways

from ddbd.cli.local import TookTooLong, eventually

READY_SECONDS = 15.0  # between two steps of a rolling restart; the bound that counts is the round's
CUT_SECONDS = 1.5  # longer than an election timeout
LOOKS, LOOK_SECONDS = 4, 0.1


class Fault:
    realm: ClassVar[str] = "life"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = options
        self.findings: list[str] = []

    def unavailable(self) -> str | None:
        """Why this machine cannot do it; None when it can."""
        means: dict[str, Callable[[], str | None]] = {"disk": nemesis_disk.unavailable, "clock": nemesis_clock.unavailable}
        reasons = [nemesis_space.unavailable(), *(means[need]() for need in sorted(self.needs))]
        return next((reason for reason in reasons if reason is not None), None)

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        raise NotImplementedError

    def end(self, cluster: Cluster) -> None:
        raise NotImplementedError

    def choose(self, cluster: Cluster, dice: random.Random) -> list[int]:
        """The dice are thrown the same number of times whoever leads."""
        hosts = list(cluster.nodes)
        dice.shuffle(hosts)
        who = self.options.get("who", "one")
        if who == "leader":
            return [cluster.leader()]
        return hosts[: {"one": 1, "majority": len(hosts) // 2 + 1, "all": len(hosts)}[who]]


def names(hosts: list[int]) -> str:
    return ("node " if len(hosts) == 1 else "nodes ") + ", ".join(map(str, hosts))


def wait_in_service(cluster: Cluster, host: int) -> None:
    """Or not, where another fault is under way: the bound that judges is the round's."""
    with contextlib.suppress(TookTooLong):
        eventually(lambda: host not in cluster.unready(), "in service", READY_SECONDS)


class Kill(Fault):
    """kill -9; its machine stays and refuses connections. With `vanish` the machine is gone as well: nothing answers."""

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self._hosts = self.choose(cluster, dice)
        if self.options.get("vanish"):
            pairs = [pair for host in self._hosts for pair in both_ways(host, set(cluster.network.hosts) - {host})]
            self._layer = cluster.network.fault(pairs, cut=True)
        for host in self._hosts:
            cluster.nodes[host].kill()
        return f"kill -9 of {names(self._hosts)}"

    def end(self, cluster: Cluster) -> None:
        if self.options.get("vanish"):
            cluster.network.mend(self._layer)
        for host in self._hosts:
            cluster.nodes[host].start()


class Pause(Fault):
    """SIGSTOP: silent, with its connections open."""

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self._hosts = self.choose(cluster, dice)
        for host in self._hosts:
            cluster.nodes[host].signal(signal.SIGSTOP)
        return f"SIGSTOP of {names(self._hosts)}"

    def end(self, cluster: Cluster) -> None:
        for host in self._hosts:
            cluster.nodes[host].signal(signal.SIGCONT)


class CrashLoop(Fault):
    """kill -9 again and again, each time a little after the start: also while it opens its data."""

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        node = cluster.nodes[self.choose(cluster, dice)[0]]
        moments = [dice.uniform(0.3, 2.0) for _ in range(3)]
        for moment in moments:
            node.kill()
            node.start()
            threading.Event().wait(moment)
        return f"node {node.id} was killed {len(moments)} times, {', '.join(f'{moment:.1f} s' for moment in moments)} after its starts"

    def end(self, cluster: Cluster) -> None:
        pass


class Wipe(Fault):
    """The node loses all that it had. It comes back under a life of its own and has a vote again once it has caught up."""

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self._host = self.choose(cluster, dice)[0]
        node = cluster.nodes[self._host]
        node.kill()
        shutil.rmtree(node.data_dir)
        return f"node {self._host} has lost its data"

    def end(self, cluster: Cluster) -> None:
        cluster.nodes[self._host].start()


class Again(Fault):
    """Base of what is done and undone again and again, by a thread of its own."""

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._toggle, args=(cluster, random.Random(dice.random())), name=self.name)
        self._host = self.choose(cluster, dice)[0]
        self._thread.start()
        return f"{self.name}: node {self._host}"

    def _toggle(self, cluster: Cluster, dice: random.Random) -> None:
        low, high = self.options["seconds"]
        while not self._over.is_set():
            self.do(cluster)
            self._over.wait(dice.uniform(low, high))
            self.undo(cluster)
            self._over.wait(dice.uniform(low, high))

    def end(self, cluster: Cluster) -> None:
        self._over.set()
        self._thread.join()

    def do(self, cluster: Cluster) -> None:
        raise NotImplementedError

    def undo(self, cluster: Cluster) -> None:
        raise NotImplementedError


class Stutter(Again):
    """A processor that others use: stopped and continued all the time."""

    def do(self, cluster: Cluster) -> None:
        cluster.nodes[self._host].signal(signal.SIGSTOP)

    def undo(self, cluster: Cluster) -> None:
        cluster.nodes[self._host].signal(signal.SIGCONT)


class Flap(Again):
    """A cable that is loose."""

    realm = "network"

    def do(self, cluster: Cluster) -> None:
        self._layer = cluster.network.fault(both_ways(self._host, cluster.network.others(self._host)), cut=True)

    def undo(self, cluster: Cluster) -> None:
        cluster.network.mend(self._layer)


class RollingRestart(Fault):
    """SIGTERM to one after another, each in service again before the next one goes."""

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        hosts = list(cluster.nodes)
        dice.shuffle(hosts)
        for host in hosts:
            wait_in_service(cluster, host)  # it may have been started a moment ago: Python itself dies of a SIGTERM while it starts
            cluster.nodes[host].stop()
            cluster.nodes[host].start()
            wait_in_service(cluster, host)
        return f"rolling restart in the order {', '.join(map(str, hosts))}"

    def end(self, cluster: Cluster) -> None:
        pass


class FewFiles(Fault):
    """Hardly any descriptor left: new connections cannot be accepted, files not be opened."""

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self._hosts = self.choose(cluster, dice)
        more = dice.randrange(3)
        for host in self._hosts:
            cluster.nodes[host].limit_files(more)
        return f"{names(self._hosts)} may open {more} more files"

    def end(self, cluster: Cluster) -> None:
        for host in self._hosts:
            node = cluster.nodes[host]
            if node.running:
                node.limit_files(None)
            else:
                node.reap("had no descriptor left")
                node.start()


class BlockedLog(Fault):
    """Nobody reads the node's log, its pipe is full, and then the leader is cut off for a moment: everybody has something to say."""

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self._hosts = self.choose(cluster, dice)
        for host in self._hosts:
            cluster.nodes[host].sink.block()
        leader = cluster.leader()
        layer = cluster.network.fault(both_ways(leader, cluster.network.others(leader)), cut=True)
        threading.Event().wait(CUT_SECONDS)
        cluster.network.mend(layer)
        stuck = set(self._hosts)
        for _ in range(LOOKS):
            stuck &= {host for host in self._hosts if cluster.nodes[host].waits_for_its_log()}
            threading.Event().wait(LOOK_SECONDS)
        self.findings += [f"node {host} does nothing but wait for its log" for host in sorted(stuck)]
        return f"the log of {names(self._hosts)} is blocked, and node {leader} was cut off for {CUT_SECONDS:g} s"

    def end(self, cluster: Cluster) -> None:
        for host in self._hosts:
            cluster.nodes[host].sink.unblock()


class Clock(Fault):
    """The wall clock of a node jumps, or runs at another rate."""

    realm = "clock"
    needs = frozenset({"clock"})

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self._hosts = self.choose(cluster, dice)
        offsets = self.options["offsets"]
        said = []
        for host in self._hosts:
            offset = dice.choice(offsets)
            cluster.clocks[host].set(offset)
            said.append(f"the clock of node {host}: {offset}")
        return "; ".join(said)

    def end(self, cluster: Cluster) -> None:
        for host in self._hosts:
            cluster.clocks[host].set("+0")
