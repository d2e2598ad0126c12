"""The same work against ddbd, etcd and MariaDB Galera in turn, as medians and ratios.

    python -m bench.speed                       everything; writes docs/performance.md and its plots
    python -m bench.speed --quick --no-write    small tables, short turns
    python -m bench.speed --only writes,reads   groups: writes reads mixed bulk growth failover channel
    python -m bench.speed --only growth --alone --rows 10000000

Run it from the checkout, on a machine that does nothing else, as root (Debian's packages of the peers are installed where they are
missing, and Galera's nodes run as the user `mysql`). Everything listens on loopback and is ended on every road out.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from ddbd.cli.signals import ended_by_signals
from ddbd.errors import DdbError

from . import durable, large, machine, outages, page, scripts
from .book import Book, Sample, Work
from .daemon import Daemon
from .etcd import TUNED, Etcd
from .galera import Galera
from .report import printed
from .works import Systems, small_works
from .wrk import LoadFailed

GROUPS = ("writes", "reads", "mixed", "bulk", "growth", "failover", "channel")
ROWS, QUICK_ROWS = 1_000_000, 100_000


class Run:
    def __init__(self, options: argparse.Namespace) -> None:
        self.rounds: int = options.rounds
        self.seconds: float = options.seconds
        self.book = Book()
        self._prefix = 0

    def play(self, works: list[Work], systems: Systems) -> None:
        """Round by round, work by work, system by system. Who begins changes from round to round."""
        for number in range(self.rounds):
            for work in works:
                names = list(work.plays)
                turn = number % len(names)
                for name in [*names[turn:], *names[:turn]]:
                    machine.wait_quiet([pid for system in systems.all() for pid in system.pids()])
                    self.play_once(work, name)

    def play_once(self, work: Work, name: str) -> None:
        self._prefix += 1
        row = self.book.row(work)
        try:
            sample = work.plays[name](self.seconds, f"p{self._prefix:04}")
        except (LoadFailed, DdbError) as error:
            row.invalid[name] = str(error)
            print(f"{work.name:58} {name:7} invalid: {error}", flush=True)
            return
        row.samples.setdefault(name, []).append(sample)
        latency = "" if sample.p50_ms is None else f"  p50 {sample.p50_ms:8.2f} ms  p99 {sample.p99_ms:8.2f} ms"
        print(f"{work.name:58} {name:7} {sample.value:12,.1f} {work.unit:7}{latency}", flush=True)


def grow(run: Run, systems: Systems, sizes: tuple[int, ...]) -> None:
    for place, size in enumerate(sizes):
        before = sizes[place - 1] if place else 0
        began = time.monotonic()
        large.fill(systems, before, size, "abcdef"[place])
        print(f"filled up to {size:,} rows in {time.monotonic() - began:.0f} s", flush=True)
        run.play(large.growth_works(systems, size), systems)
    run.play(large.million_works(systems), systems)


def beside_others(run: Run, systems: Systems, groups: list[str], sizes: tuple[int, ...]) -> list[str]:
    """All that is done with the systems side by side. Returns what they are, and what was seen of their syncs."""
    told = []
    with ExitStack() as stack:
        for system in systems.all():
            stack.callback(system.close)
            system.start()
            told.append(f"{system.version()}: three nodes, {durable.checked(system, systems.folder)}")
            print(f"{told[-1]}; {system.agree()} rows", flush=True)
        run.play([work for work in small_works(systems) if work.group in groups], systems)
        if "growth" in groups:
            grow(run, systems, sizes)
        for system in systems.all():
            if len(set(counts := system.agree())) > 1:
                raise LoadFailed(f"the nodes of {system.name} differ: {counts} rows")
    return told


def main() -> int:
    options = parsed()
    groups, sizes = options.only, tuple(size for size in large.SIZES if size <= options.rows)
    machine.install()
    run, began, told = Run(options), time.monotonic(), list[str]()
    with ExitStack() as stack:
        stack.enter_context(ended_by_signals())
        folder = Path(tempfile.mkdtemp(prefix="ddb-speed-", dir=options.folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        about = machine.described(machine.on_a_real_disk(folder))
        print(about, flush=True)
        try:
            if set(groups) - {"failover", "channel"}:
                etcd = None if options.alone else Etcd(folder)
                galera = None if options.alone or options.no_galera else Galera(folder)
                told = beside_others(run, Systems(folder, Daemon(folder), etcd, galera), groups, sizes)
            if "failover" in groups:
                outages.measure(run.book, folder, 3 if options.quick else 20, 2 if options.quick else 5, TUNED)
            if "channel" in groups:
                ratio = Sample(scripts.channel(options.rounds, options.seconds))
                run.book.row(Work("channel", scripts.CHANNEL, "ratio", {})).samples["ddbd"] = [ratio]
        finally:  # a run that breaks off has told as much
            print(printed(run.book))
            print(f"{time.monotonic() - began:.0f} s", flush=True)
    if options.write:
        turns = f"{options.rounds} rounds, turns of {options.seconds:g} s."
        page.write(page.figures(run.book, about, told, turns), page.drawn(run.book, sizes))
    return 1 if any(run.book.invalid()) else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="groups, separated by commas; nothing is written then")
    parser.add_argument("--rounds", type=int, help="turns of each system for each work (3)")
    parser.add_argument("--seconds", type=float, help="for one turn (4)")
    parser.add_argument("--quick", action="store_true", help="one round, one second, small tables")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--no-galera", action="store_true", help="leave MariaDB out")
    parser.add_argument("--alone", action="store_true", help="leave all others out; nothing is written then")
    parser.add_argument("--rows", type=int, help=f"how far the table grows: {', '.join(f'{size:,}' for size in large.SIZES)} ({ROWS:,})")
    parser.add_argument("--folder", default="/var/tmp", help="for the data; on a real disk")
    options = parser.parse_args()
    options.write = not (options.no_write or options.only or options.alone)
    options.only = options.only.split(",") if options.only else list(GROUPS)
    if unknown := set(options.only) - set(GROUPS):
        parser.error(f"unknown groups: {', '.join(sorted(unknown))}")
    options.rows = options.rows or (QUICK_ROWS if options.quick else ROWS)
    if options.rows not in large.SIZES:
        parser.error(f"--rows is {options.rows}; give one of {', '.join(map(str, large.SIZES))}")
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1.0 if options.quick else 4.0)
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DdbError, LoadFailed) as error:
        sys.exit(str(error))
