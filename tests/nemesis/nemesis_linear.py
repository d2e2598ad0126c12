"""The rows' history in the words of the linearizability checker (`tests/linear`), which looks for an order that explains all answers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import linear_checker
import linear_history
from nemesis_history import NOT_DONE, OK, Operation

HISTORY = "linear.jsonl"


def in_its_words(operations: Iterable[Operation]) -> list[linear_history.Operation]:
    """Of the tags only whole selects tell something, and those are judged apart."""
    return [
        linear_history.Operation(
            number=each.number,
            client=each.client,
            kind=each.kind,
            key=f"{each.table}/{each.row_id}",
            called=each.called,
            returned=each.returned,
            outcome=each.outcome,
            value=each.value,
            version=each.version if each.outcome == OK else 0,
            if_version=each.if_version,
            code=each.code,
        )
        for each in operations
        if each.table in ("registers", "counters") and each.outcome != NOT_DONE
    ]


def linearizable(operations: Iterable[Operation], folder: Path) -> list[str]:
    """A sentence when it is not, or when the search was given up. The history is left in the folder, for `tests/linear/judge.py`."""
    translated = in_its_words(operations)
    linear_history.save(translated, folder / HISTORY)
    verdict = linear_checker.check(translated)
    return [] if verdict.verdict == linear_checker.YES else [f"linearizable: {verdict.verdict}: {verdict.reason}"]
