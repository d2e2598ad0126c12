"""`python tests/linear/judge.py history.jsonl`: is the history linearizable, and do the places in the log fit that it was told?

Exit status 0: yes, 1: no, 2: given up, or the file has no history.
"""

from __future__ import annotations

import sys
from pathlib import Path

from linear_checker import NO, YES, check
from linear_history import Malformed, load
from linear_index import index_findings


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__)
        return 2
    try:
        operations = load(Path(arguments[0]))
    except (OSError, Malformed) as error:
        print(f"{arguments[0]}: {error}")
        return 2
    if not operations:
        print(f"{arguments[0]}: no operation; nothing is shown by that")
        return 2
    found, findings = check(operations), index_findings(operations)
    print(f"{len(operations):,} operations, {found.steps:,} steps: {NO if findings else found.verdict}")
    for sentence in filter(None, [found.reason, *findings]):
        print(sentence)
    return 1 if findings else {YES: 0, NO: 1}.get(found.verdict, 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
