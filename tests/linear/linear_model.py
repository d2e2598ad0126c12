"""One row as the contract has it: absent, or a value with a version; versions only grow, also over delete and insert.

A version is an index of the log, so it is a whole number that no other write of the row has. A write of unknown outcome has one that
nobody was told: any one that is greater than what was before, until somebody sees it. Its lowest is what all that follows has to pass.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from linear_history import OK, REFUSED, UNKNOWN, Operation

ANY = -1  # a version that nobody was told yet


class Columns(tuple[tuple[str, str], ...]):
    """Sorted pairs of a name and JSON text. A column that is missing is null."""

    __slots__ = ()

    def without_nulls(self) -> Columns:
        return Columns(pair for pair in self if pair[1] != "null")

    def merged(self, new: Columns) -> Columns:
        return Columns(sorted((dict(self) | dict(new)).items())).without_nulls()


class Row(NamedTuple):
    value: Any  # hashable
    version: int  # 0: there is no row
    last: int  # what comes next has a greater version: the row's, or the lowest that the last write can have had
    excluded: frozenset[int] = frozenset()  # where the version is ANY: what it is not, as some comparison told

    @property
    def is_there(self) -> bool:
        return self.version != 0


ABSENT = Row(None, 0, 0)


def canonical(value: Any, keeps_nulls: bool = False) -> Any:
    """Hashable, and equal only where the types are: 1, 1.0 and true are three values."""
    if isinstance(value, dict):
        columns = Columns(sorted((name, json.dumps(each, sort_keys=True)) for name, each in value.items()))
        return columns if keeps_nulls else columns.without_nulls()
    return json.dumps(value, sort_keys=True)


def step(row: Row, operation: Operation) -> Row | None:
    """The row after the operation, whose value is canonical; None: it cannot have had this outcome here.

    One of unknown outcome that would be refused here is None too: it is as if it had not been done.
    """
    if operation.kind == "read":
        return _read(row, operation)
    if operation.outcome == REFUSED:
        return _refused(row, operation)
    return _write(row, operation)


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
    can_have = row.version == ANY and version >= row.last and version not in row.excluded
    return Row(row.value, version, version) if can_have else None


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
    if operation.outcome == OK and operation.version <= before.last:
        return None
    version, last = (ANY, before.last + 1) if operation.outcome == UNKNOWN else (operation.version, operation.version)
    if operation.kind == "delete":
        return Row(None, 0, last)
    is_merge = operation.kind == "update" and isinstance(before.value, Columns) and isinstance(operation.value, Columns)
    return Row(before.value.merged(operation.value) if is_merge else operation.value, version, last)


def _refused(row: Row, operation: Operation) -> Row | None:
    if operation.code == "row_exists":
        return row if operation.kind == "insert" and row.is_there else None
    if operation.code == "row_not_found":
        return row if operation.kind in ("update", "delete") and not row.is_there else None
    if operation.code == "version_mismatch" and operation.if_version is not None and row.is_there:
        return _has_not(row, operation.if_version)
    return None


def _has_not(row: Row, version: int) -> Row | None:
    if row.version != ANY:
        return row if row.version != version else None
    if version < row.last or version in row.excluded:
        return row
    excluded, last = row.excluded | {version}, row.last
    while last in excluded:
        last += 1
    return Row(row.value, ANY, last, excluded)
