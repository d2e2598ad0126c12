"""The history in the words of the linearizability checker (`tests/linear`), which looks for an order that explains all answers, and does
the log again by the places that it told: so selects of many rows are judged as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import linear_checker
import linear_history
import linear_index
from nemesis_history import NOT_DONE, OK, Operation

HISTORY = "linear.jsonl"


def in_its_words(operations: Iterable[Operation]) -> list[linear_history.Operation]:
    """What was certainly not done says nothing."""
    return [
        linear_history.Operation(
            number=each.number,
            client=each.client,
            kind="select" if each.kind == "scan" else each.kind,
            key=_key(each),
            called=each.called,
            returned=each.returned,
            outcome=each.outcome,
            value=[[f"{each.table}/{value}", value, version] for _, value, version in each.value] if each.kind == "scan" else each.value,
            version=each.version if each.outcome == OK else 0,
            if_version=each.if_version,
            code=each.code,
            node=str(each.node),
            index=0 if each.is_write else each.index,
        )
        for each in operations
        if each.outcome != NOT_DONE
    ]


def _key(operation: Operation) -> str:
    """A tag is named by its value: that is its own, and the row_id may be the server's."""
    if operation.kind == "scan":
        return f"{operation.table}/"
    return f"{operation.table}/{operation.value if operation.table == 'tags' else operation.row_id}"


def linearizable(operations: Iterable[Operation], folder: Path) -> list[str]:
    """Sentences when it is not, or when the search was given up. The history is left in the folder, for `tests/linear/judge.py`."""
    translated = in_its_words(operations)
    linear_history.save(translated, folder / HISTORY)
    verdict = linear_checker.check(translated)
    found = [] if verdict.verdict == linear_checker.YES else [f"linearizable: {verdict.verdict}: {verdict.reason}"]
    return found + [f"places in the log: {sentence}" for sentence in linear_index.index_findings(translated)]
