"""The network between the namespaces, as a process of its own: it reads IP packets from the TUN devices and decides what becomes of each.

    python nemesis_router.py SEED HOST=FD ...

A line of JSON on standard input, `[[source, target, {rule}], ...]`, replaces all rules; the answer is a line with the counts so far.
A direction without a rule is perfect. A rule has `cut` (true or not), `loss`, `duplicate` and `reorder` (chances per packet), `delay_ms`
and `jitter_ms`.
Only the standard library is used, so that it starts at once.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import sys
import time
from typing import Any

Pair = tuple[int, int]

QUEUE_PACKETS_MAX = 50_000  # beyond: dropped, as a switch does
READS_MAX = 64  # packets from one device in a row
REORDER_SECONDS = 0.05  # how long a packet is held back, at most, so that others overtake it
FIELDS = {"cut": False, "loss": 0.0, "duplicate": 0.0, "reorder": 0.0, "delay_ms": 0.0, "jitter_ms": 0.0}


class Rules:
    """What becomes of a packet, as a function of the rules and the dice."""

    def __init__(self, seed: str) -> None:
        self._dice = random.Random(seed)
        self._rules: dict[Pair, dict[str, Any]] = {}
        self._last_due: dict[Pair, float] = {}  # delay alone keeps the order
        self.counts = {"passed": 0, "cut": 0, "lost": 0, "duplicated": 0, "reordered": 0, "delayed": 0, "overflowed": 0}

    def replace(self, table: list[tuple[int, int, dict[str, Any]]]) -> None:
        for _, _, rule in table:
            unknown = set(rule) - set(FIELDS)
            if unknown:
                raise ValueError(f"a rule has no {', '.join(sorted(unknown))}; it has {', '.join(FIELDS)}")
        self._rules = {(source, target): {**FIELDS, **rule} for source, target, rule in table}
        self._last_due = {}

    def fates(self, pair: Pair, now: float) -> list[float]:
        """The moments at which the packet arrives: none when it is lost, two when it is doubled."""
        rule = self._rules.get(pair)
        if rule is None:
            self.counts["passed"] += 1
            return [now]
        if rule["cut"]:
            self.counts["cut"] += 1
            return []
        dice = self._dice
        if dice.random() < rule["loss"]:
            self.counts["lost"] += 1
            return []
        due = now + (rule["delay_ms"] + dice.random() * rule["jitter_ms"]) / 1000
        due = self._last_due[pair] = max(due, self._last_due.get(pair, 0.0))
        self.counts["passed"] += 1
        self.counts["delayed"] += due > now
        if dice.random() < rule["reorder"]:
            self.counts["reordered"] += 1
            due += dice.random() * REORDER_SECONDS
        dues = [due]
        if dice.random() < rule["duplicate"]:
            self.counts["duplicated"] += 1
            dues.append(due + dice.random() * REORDER_SECONDS)
        return dues


class Router:
    def __init__(self, rules: Rules, devices: dict[int, int]) -> None:
        """`devices`: host -> descriptor of its TUN device."""
        self.rules = rules
        self._devices = devices
        self._queue: list[tuple[float, int, int, bytes]] = []  # (due, serial, descriptor, packet)
        self._serial = 0

    def take(self, source: int, packet: bytes) -> None:
        if len(packet) < 20 or packet[0] >> 4 != 4:
            return  # IPv6 looks for routers; there are none
        target = packet[19]
        fd = self._devices.get(target)
        if fd is None:
            return
        now = time.monotonic()
        for due in self.rules.fates((source, target), now):
            if due <= now:
                self._deliver(fd, packet)
            elif len(self._queue) >= QUEUE_PACKETS_MAX:
                self.rules.counts["overflowed"] += 1
            else:
                self._serial += 1
                heapq.heappush(self._queue, (due, self._serial, fd, packet))

    def deliver_due(self) -> float | None:
        """Returns the seconds until the next one is due."""
        while self._queue:
            wait = self._queue[0][0] - time.monotonic()
            if wait > 0:
                return wait
            _, _, fd, packet = heapq.heappop(self._queue)
            self._deliver(fd, packet)
        return None

    def _deliver(self, fd: int, packet: bytes) -> None:
        try:
            os.write(fd, packet)
        except OSError:  # the device's queue is full, or its namespace has gone
            self.rules.counts["overflowed"] += 1


def main() -> None:
    devices = {int(host): int(fd) for host, fd in (word.split("=") for word in sys.argv[2:])}
    rules = Rules(sys.argv[1])
    router = Router(rules, devices)
    hosts = {fd: host for host, fd in devices.items()}
    poll = select.epoll()
    for fd in [*hosts, 0]:
        poll.register(fd, select.EPOLLIN)
    commands = b""
    while True:
        wait = router.deliver_due()
        for fd, _ in poll.poll(None if wait is None else wait):
            if fd != 0:
                _drain(router, hosts[fd], fd)
                continue
            data = os.read(0, 65536)
            if not data:
                return  # whoever started us is gone
            *lines, commands = (commands + data).split(b"\n")
            for line in lines:
                rules.replace(json.loads(line))
                os.write(1, json.dumps(rules.counts).encode() + b"\n")


def _drain(router: Router, host: int, fd: int) -> None:
    for _ in range(READS_MAX):
        try:
            packet = os.read(fd, 65536)
        except BlockingIOError:
            return
        router.take(host, packet)


if __name__ == "__main__":
    main()
