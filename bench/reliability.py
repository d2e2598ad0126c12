"""Runs what attacks ddbd, and writes the figures into docs/reliability.md: `python bench/reliability.py`, `--soak` for hours of it.

Each suite says in one closing line what it tried; the figures are read from there. Where a suite fails, nothing is written. With
`--logs FOLDER` the lines are kept in FOLDER/SUITE.log, and a suite whose file is there already is not run again: so hours of it need not
be one run. The first line of such a file is the commit that it is of, and the table says where one is not the newest.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: written by bench/reliability.py -->\n", "<!-- end of figures -->\n"


class Suite(NamedTuple):
    name: str
    command: list[str]
    soak: list[str]  # in place of the last words of the command
    closing: str  # the lines that tell


class Figure(NamedTuple):
    what: str
    suite: str
    pattern: str
    shown: str  # with the pattern's groups
    others: str


FUZZ = ["-m", "pytest", "tests/fuzz", "--fuzz-messages=10000", "--fuzz-requests=10000"]
SIEGE = ["-m", "pytest", "tests/fuzz/test_fuzz_sockets.py", "-k", "slow_clients", "--fuzz-siege=1000"]  # by itself: it is about time
FUZZ_SOAK = ["--fuzz-requests=100000", "--fuzz-messages=100000"]
SUITES = [
    Suite("sim", ["-m", "pytest", "tests/sim", "--seeds=2000"], ["--seeds=20000"], r"^simulator: .*"),
    Suite("power", ["-m", "pytest", "tests/power", "-q"], ["--power-points=all"], r"^power loss: .*"),
    Suite("zoo", ["tests/zoo/search.py", "--report"], ["--report"], r".*planted bugs found.*"),
    Suite("fuzz", FUZZ, FUZZ_SOAK, r"^fuzz .*"),
    Suite("siege", SIEGE, SIEGE[-1:], r"^fuzz siege: .*"),
    Suite("nemesis", ["-m", "pytest", "tests/nemesis", "--rounds=12"], ["--rounds=80"], r"^nemesis: .*"),
    Suite("kill", ["bench/failover.py", "20"], ["200"], r"^(kill|[0-9,]+ writes).*"),
    Suite("coverage", ["-m", "tox", "-e", "coverage"], ["coverage"], r"^TOTAL .*"),
    Suite("mutants", ["bench/mutants.py", "--sample=150"], ["--seed=1"], r"^killed \d+ of .*"),
]

FIGURES = [
    Figure(
        "clusters simulated, all faults on",
        "sim",
        r"simulator: ([\d,]+) seeds, (\d+) failed",
        "{0}, {1} failed",
        "FoundationDB: tens of thousands a night, on a large cluster",
    ),
    Figure(
        "cluster time simulated, speed",
        "sim",
        r"failed; ([\d.]+) h of cluster time, (\d+) times",
        "{0} h, {1} times real time a core",
        "FoundationDB: about 10 times; TigerBeetle: about 1,000 times, on 1,024 cores around the clock",
    ),
    Figure("calls judged for linearizability, simulated", "sim", r"core; ([\d,]+) calls", "{0}", "porcupine's own corpus: 8,506"),
    Figure(
        "power cuts at a write or fsync, recovered",
        "power",
        r"power loss: (\d+) cuts tried, (\d+) different",
        "{0} ({1} different disks, those with a flipped bit among them)",
        "etcd: lost unsynced writes (LazyFS) on a single node",
    ),
    Figure(
        "flipped bits at rest, of one node",
        "power",
        r"(\d+) flipped bits: (\d+) detected, (\d+) harmless; none served",
        "{0}: {1} detected, {2} hit what nothing reads; none served",
        "NATS 2.12.1 (Jepsen): flipped bits on one of five nodes lost 49.7 % of its messages",
    ),
    Figure(
        "planted bugs found",
        "zoo",
        r"(\d+) of (\d+) planted bugs found; seeds to the first find: median ([\d.]+), at most (\d+)",
        "{0} of {1}; seeds needed: median {2}, at most {3}",
        "etcd: 17 real bugs of 2022 to 2025 with reproductions",
    ),
    Figure(
        "rounds of real processes under a nemesis",
        "nemesis",
        r"nemesis: (\d+) rounds, (\d+) faults of (\d+) kinds \((\d+) kinds skipped\), ([\d,]+) operations, ([\d,]+) writes acknowledged, "
        r"(\d+) findings",
        "{0} rounds of 25 s, {1} faults of {2} kinds ({3} kinds skipped), {4} operations, {5} writes acknowledged, {6} findings",
        "CockroachDB: 80 Jepsen tests of 300 s each night, on 5 machines",
    ),
    Figure(
        "the longest time without an acknowledged write meanwhile; back in service after the last fault",
        "nemesis",
        r"acknowledged write ([\d.]+) s, all nodes back ([\d.]+) s",
        "{0} s (faults of the majority among them); {1} s at the latest",
        "TigerBeetle's Vortex: a bound of 180 s",
    ),
    Figure(
        "malformed HTTP requests, in memory and over TCP",
        "fuzz",
        r"(?s)fuzz HTTP in memory: (\d+) tried.*fuzz HTTP over TCP: (\d+) tried",
        "{0} and {1}",
        "etcd: 18 fuzzers, which found 8 bugs; rqlite: none",
    ),
    Figure(
        "malformed frames, lying peers, damaged files",
        "fuzz",
        r"(?s)fuzz files: (\d+) tried.*fuzz frames: (\d+) tried.*fuzz lies of peers: (\d+) tried",
        "{1}, {2} and {0}",
        "the same fuzzers of etcd",
    ),
    Figure(
        "load held: idle and dripping connections, and what good requests wait meanwhile",
        "siege",
        r"fuzz siege: (\d+) tried.*p99 ([\d.]+) -> ([\d.]+) ms, ratio ([\d.]+)",
        "{0} connections; p99 {1} ms in calm, {2} ms besieged ({3} times)",
        "rqlite: no timeouts are set",
    ),
    Figure("memory of a node over the malformed requests", "fuzz", r"the node grew by (-?\d+) MiB", "{0} MiB more", "not published"),
    Figure(
        "kill -9 of the master under load",
        "kill",
        r"kill -9 of the master, (\d+) times: median ([\d.]+) ms, worst ([\d.]+) ms",
        "{0} times; no write for {1} ms at the median, {2} ms at the worst",
        "not published by etcd or rqlite",
    ),
    Figure("acknowledged writes lost by that", "kill", r"([\d,]+) writes acknowledged, (\d+) of them missing", "{1} of {0}", ""),
    Figure(
        "branch coverage of raft/, storage/ and the wire",
        "coverage",
        r"TOTAL +(\d+) +\d+ +(\d+) +\d+ +([\d.]+)%",
        "{2} % of {0} statements and {1} branches",
        "SQLite: 100 % (branch, and MC/DC)",
    ),
    Figure(
        "wrong lines in raft/ that its tests notice",
        "mutants",
        r"killed (\d+) of (\d+) \(([\d.]+) %\)",
        "{0} of {1} mutants killed ({2} %)",
        "not published",
    ),
]


def lines_of(suite: Suite, is_soak: bool, logs: Path | None) -> tuple[str, str]:
    """(the commit that was tried, what the suite told)"""
    if logs is None:
        return commit(), run(suite, is_soak)
    log = logs / f"{suite.name}.log"
    if not log.exists():
        logs.mkdir(parents=True, exist_ok=True)
        log.write_text(f"{commit()}\n{run(suite, is_soak)}\n", "utf-8")
    tried, _, told = log.read_text("utf-8").partition("\n")
    return tried, closing_lines(suite, told)


def commit() -> str:
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def closing_lines(suite: Suite, output: str) -> str:
    return "\n".join(line for line in output.splitlines() if re.match(suite.closing, line))


def run(suite: Suite, is_soak: bool) -> str:
    command = [sys.executable, *suite.command]
    if is_soak:
        command[-1:] = suite.soak
    print(f"{suite.name}: {' '.join(command[1:])}", flush=True)
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = closing_lines(suite, done.stdout)
    print(lines, f"    {time.monotonic() - began:.0f} s", sep="\n", flush=True)
    if done.returncode:
        sys.exit(f"{done.stdout[-4000:]}\n{suite.name} failed; nothing is written")
    return lines


def table(told: dict[str, tuple[str, str]]) -> str:
    newest = commit()
    older = ", ".join(f"{name} of {tried}" for name, (tried, _) in told.items() if tried != newest)
    rows = [f"| {each.what} | {_shown(each, told[each.suite][1])} | {each.others} |" for each in FIGURES if each.suite in told]
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    return "\n".join(
        [
            f"Commit {newest}{f' ({older})' if older else ''}, {time.strftime('%Y-%m-%d')}, {machine}:",
            "",
            "| what | ddbd | what others publish |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _shown(figure: Figure, told: str) -> str:
    if not told:
        return "not tried"  # the machine lacks the means
    found = re.search(figure.pattern, told)
    if found is None:
        sys.exit(f"{figure.suite} does not tell its {figure.what!r} any more:\n{told}")
    return figure.shown.format(*found.groups())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--soak", action="store_true", help="the long form of each suite")
    parser.add_argument("--logs", type=Path, help="keep what each suite tells there, and do not run again what is there already")
    parser.add_argument("suites", nargs="*", choices=[[], *(suite.name for suite in SUITES)], help="only these, and nothing is written")
    options = parser.parse_args()
    chosen = [suite for suite in SUITES if not options.suites or suite.name in options.suites]
    told = {suite.name: lines_of(suite, options.soak, options.logs) for suite in chosen}
    print(table(told))
    if not options.suites:
        text = PAGE.read_text("utf-8")
        begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
        PAGE.write_text(text[:begin] + table(told) + text[end:], "utf-8")


if __name__ == "__main__":
    main()
