"""The faults of the disk: slow, full, failing, and gone with all that was not synced. The disk itself is `nemesis_lazyfs`."""

from __future__ import annotations

import random
import threading
from typing import ClassVar

from nemesis_cluster import Cluster
from nemesis_faults import Fault, names, wait_in_service
from nemesis_node import Node

from ddbd.cli.local import TookTooLong, eventually

BUILD_SECONDS = 1.0  # of work
LONG_PAGES = 8


class SlowDisk(Fault):
    realm = "disk"
    needs = frozenset({"disk"})

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self._hosts = self.choose(cluster, dice)
        seconds = dice.choice([0.02, 0.1, 0.4])
        for host in self._hosts:
            cluster.disks[host].command(slow_seconds=seconds)
        return f"each fsync of {names(self._hosts)} takes {seconds} s more"

    def end(self, cluster: Cluster) -> None:
        for host in self._hosts:
            cluster.disks[host].command(slow_seconds=0)


class PowerCut(Fault):
    """kill -9, and what was not synced is gone, whole or by sectors."""

    needs = frozenset({"disk"})

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self._hosts = self.choose(cluster, dice)
        how = dice.choice(["lose", "tear"])
        pages = 0
        for host in self._hosts:
            cluster.nodes[host].kill()
        for host in self._hosts:
            pages += cluster.disks[host].command(crash=how, seed=dice.randrange(1 << 30))["lost_pages"]
        return f"power cut of {names(self._hosts)} ({how}), {pages} pages were not synced"

    def end(self, cluster: Cluster) -> None:
        for host in self._hosts:
            cluster.nodes[host].start()


def ended_itself(node: Node, seconds: float) -> bool:
    try:
        eventually(lambda: not node.running, "the end of the process", seconds)
    except TookTooLong:
        return False
    return True


class FailedSync(Fault):
    """fsync answers EIO, once or always: the node must end at once, and come back when the disk is well again.

    What was to be synced is still in the page cache then, and will never be written by itself. `after`: the power goes at once, or once the
    node has built on what it read there, or not at all.
    """

    needs = frozenset({"disk"})
    END_SECONDS: ClassVar[float] = 5.0

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self._host = self.choose(cluster, dice)[0]
        count = self.options["count"]
        self._power = dice.choice(["stays", "goes at once", "goes later"])
        pages = dice.choice([0, LONG_PAGES]) if count > 0 else 0
        self._before = cluster.disks[self._host].command()["failed_syncs"]
        cluster.disks[self._host].command(eio=count, eio_pages=pages)
        how = "always" if count < 0 else f"once, with at least {pages} pages to write"
        return f"fsync of node {self._host} fails {how}; the power {self._power}"

    def end(self, cluster: Cluster) -> None:
        node, disk = cluster.nodes[self._host], cluster.disks[self._host]
        failed = disk.command(eio=0)["failed_syncs"] - self._before
        if failed and not ended_itself(node, self.END_SECONDS):
            self.findings.append(f"node {node.id} goes on {self.END_SECONDS:g} s after {failed} failed fsync")
        if node.running:
            node.kill()  # nothing was synced meanwhile: the leader may have been out of its reach
        else:
            node.reap("disk failed")
        if self._power == "goes at once":
            disk.command(crash="lose")
        node.start()
        if self._power == "goes later":
            wait_in_service(cluster, self._host)
            threading.Event().wait(BUILD_SECONDS)
            node.kill()
            disk.command(crash="lose")
            node.start()


class FullDisk(Fault):
    """So many bytes are left: below the reserve new rows get 507; with nothing left the node may stop in order."""

    needs = frozenset({"disk"})

    def begin(self, cluster: Cluster, dice: random.Random) -> str:
        self._hosts = self.choose(cluster, dice)
        for host in self._hosts:
            cluster.disks[host].command(free_bytes=self.options["free_bytes"])
        return f"{names(self._hosts)}: {self.options['free_bytes']} bytes left on the disk"

    def end(self, cluster: Cluster) -> None:
        for host in self._hosts:
            cluster.disks[host].command(free_bytes=None)
            node = cluster.nodes[host]
            if not node.running:
                node.reap("disk failed")
                node.start()
