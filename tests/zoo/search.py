"""Looks for seeds that find the planted bugs: `python tests/zoo/search.py [--jobs 2] [NAME …]`; `--report` tells what is known.

Writes `found.json` beside it: bug -> seed, seeds tried, what caught it. The tests replay those seeds, so after a change of the simulator
or the product that moves them this is the one command that renews them. Seeds are tried in order from 0; the first that finds the bug
and passes without it is the one.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from zoo_bugs import ABSENT, BUGS
from zoo_kinds import failure_of, hunt

FOUND = Path(__file__).parent / "found.json"


def search(name: str) -> dict[str, Any] | None:
    """The first seed that finds the bug and passes without it; None when none of `seeds_max` does."""
    bug = BUGS[name]
    other: list[str] = []
    try:
        with bug.plant():
            pass
    except AssertionError as error:
        sys.stderr.write(f"{name}: cannot be planted: {error}\n")
        return None
    for seed in range(bug.seeds_max):
        find = hunt(bug, seed)
        if find.caught and not find.is_expected:
            other.append(f"seed {seed}: {find.caught}")
        elif find.caught and failure_of(bug.play, seed) is None:
            return {"seed": seed, "seeds": seed + 1, "caught": find.caught}
    if other:
        sys.stderr.write(f"{name}: caught by something else: {other[:5]}\n")
    return None


def report(found: dict[str, Any]) -> str:
    lines = ["| bug | planted | where it was real | seeds | caught by |", "|---|---|---|---|---|"]
    for bug in BUGS.values():
        known = found.get(bug.name)
        seeds, caught = (str(known["seeds"]), known["caught"]) if known else (f"not in {bug.seeds_max}", "")
        lines.append(f"| {bug.name} | {bug.planted} | {bug.real} | {seeds} | {caught.replace('|', '/')} |")
    lines += [f"| {absent.name} | cannot exist here: {absent.why} | | | |" for absent in ABSENT]
    counted = [bug for bug in BUGS.values() if bug.name in found]
    seeds_of = sorted(found[bug.name]["seeds"] for bug in counted)
    lines += ["", f"{len(counted)} of {len(BUGS)} planted bugs found"]
    if seeds_of:
        lines[-1] += f"; seeds to the first find: median {median(seeds_of):g}, at most {seeds_of[-1]}"
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="which bugs; all without")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="only tell what is known")
    options = parser.parse_args(argv)
    found = json.loads(FOUND.read_text("utf-8")) if FOUND.exists() else {}
    if not options.report:
        names = options.names or list(BUGS)
        with ProcessPoolExecutor(options.jobs) as pool:
            for name, result in zip(names, pool.map(search, names), strict=True):
                found.pop(name, None)
                if result is not None:
                    found[name] = result
                found = {known: found[known] for known in BUGS if known in found}
                FOUND.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
                sys.stdout.write(f"{name}: {result}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{report(found)}\n")
    return 0 if all(name in found for name in options.names or BUGS) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
