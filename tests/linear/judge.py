"""`python tests/linear/judge.py history.jsonl`: is the history linearizable? Exit status 0: yes, 1: no, 2: given up."""

from __future__ import annotations

import sys
from pathlib import Path

from linear_checker import NO, YES, check
from linear_history import load


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    operations = load(Path(sys.argv[1]))
    found = check(operations)
    print(f"{len(operations):,} operations, {found.steps:,} steps: {found.verdict}")
    if found.reason:
        print(found.reason)
    return {YES: 0, NO: 1}.get(found.verdict, 2)


if __name__ == "__main__":
    sys.exit(main())
