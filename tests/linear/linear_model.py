"""One row as the contract has it: absent, or a value with a version; versions only grow, also over delete and insert.

A write of unknown outcome has a version that nobody was told: it is any one that is greater than what was before, until somebody sees it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from linear_history import OK, REFUSED, UNKNOWN, Operation

ANY = -1  # a version that nobody was told yet


class Row(NamedTuple):
    value: Any  # hashable
    version: int  # 0: there is no row
    last: int  # versions up to this one are taken

    @property
    def is_there(self) -> bool:
        return self.version != 0


ABSENT = Row(None, 0, 0)


def step(row: Row, operation: Operation) -> Row | None:
    """The row after the operation; None: it cannot have had this outcome here."""
    if operation.kind == "read":
        return _read(row, operation)
    if operation.outcome == REFUSED:
        return row if _refuses(row, operation) else None
    after = _write(row, operation)
    if after is None and operation.outcome == UNKNOWN:
        return row  # it would have been refused, and nobody was told
    return after


def _read(row: Row, operation: Operation) -> Row | None:
    if not operation.version:
        return None if row.is_there else row
    if not row.is_there or row.value != operation.value:
        return None
    return _bind(row, operation.version)


def _bind(row: Row, version: int) -> Row | None:
    """The row, where it can have this version."""
    if row.version == version:
        return row
    return Row(row.value, version, version) if row.version == ANY and version > row.last else None


def _write(row: Row, operation: Operation) -> Row | None:
    before: Row | None = row
    if operation.kind == "insert" and row.is_there:
        return None
    if operation.kind in ("update", "delete") and not row.is_there:
        return None
    if operation.if_version is not None:
        before = _bind(row, operation.if_version)
    if before is None:
        return None
    version = operation.version if operation.outcome == OK else ANY
    if version != ANY and version <= before.last:
        return None
    last = before.last if version == ANY else version
    return Row(None, 0, last) if operation.kind == "delete" else Row(operation.value, version, last)


def _refuses(row: Row, operation: Operation) -> bool:
    if operation.code == "row_exists":
        return operation.kind == "insert" and row.is_there
    if operation.code == "row_not_found":
        return operation.kind in ("update", "delete") and not row.is_there
    if operation.code == "version_mismatch":
        return operation.if_version is not None and row.is_there and row.version != operation.if_version
    return False
