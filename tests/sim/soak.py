"""`python tests/sim/soak.py --minutes 60`: plays fresh seeds for so long, on all cores. Exit status 1 when one fails, or
when all together never come to something interesting.

Each failure is written to the folder `sim-failures` under the name of its seed; `tox -e sim -- --seed N` plays it again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from sim_many import Tally, play_for

FAILURES = Path("sim-failures")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed-base", type=int, default=int(time.time()) * 1_000, help="the first seed (default: by the date)")
    parser.add_argument("--jobs", type=int, default=None, help="processes (default: one a core)")
    options = parser.parse_args()
    total = Tally()
    for tally in play_for(60 * options.minutes, options.seed_base, options.jobs):
        total.add(tally)
        for failure in tally.failures:
            _keep(failure)
        print(f"\r{total}", end="", flush=True)
    print()
    for name, times in sorted(total.sometimes.items()):
        print(f"{times:10,} {name}")
    for name in total.never:
        print(f"NEVER: {name}")
    return 1 if total.failures or total.never else 0


def _keep(failure: str) -> None:
    FAILURES.mkdir(exist_ok=True)
    seed = failure.split("\n", 1)[0].removeprefix("seed=")
    (FAILURES / f"{seed}.txt").write_text(failure)
    print(f"\rFAILED: {failure.splitlines()[-1]}; see {FAILURES / seed}.txt")


if __name__ == "__main__":
    sys.exit(main())
