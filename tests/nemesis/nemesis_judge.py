"""Is what the clients saw, and what the nodes hold at the end, what the contract promises? Pure functions; each returns sentences.

An acknowledged write is in the end on every node; nothing is applied twice; what was said to be not done is not there; the writes' places
in the log agree with real time; no linearizable read is older than what anybody knew before it was asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nemesis_history import NOT_DONE, OK, REFUSED, UNKNOWN, Operation

Row = tuple[str, Any, int]  # row_id, value, version
Dump = Mapping[str, Sequence[Row]]  # table -> rows


def judge(operations: Sequence[Operation], dumps: Mapping[int, Dump]) -> list[str]:
    """`dumps` has each node's own copy after all is calm; without any, what the clients saw is judged alone."""
    found = [*same_everywhere(dumps), *one_place_each(operations), *places_follow_time(operations), *reads_are_fresh(operations)]
    found += scans_are_whole(operations)
    for host, dump in dumps.items():
        each = [*tags_are_there(operations, dump), *counters_add_up(operations, dump), *registers_hold(operations, dump)]
        found += [f"node {host}: {sentence}" for sentence in each]
    return found


def same_everywhere(dumps: Mapping[int, Dump]) -> list[str]:
    if not dumps:
        return []
    (first, one), *others = dumps.items()
    return [
        f"nodes {first} and {host} differ in {table}: {sorted(set(one[table]) ^ set(other[table]))[:4]}"
        for host, other in others
        for table in one
        if list(one[table]) != list(other[table])
    ]


def one_place_each(operations: Iterable[Operation]) -> list[str]:
    """A place in the log belongs to one write, and a value to one place: seen at two, it was applied twice."""
    found: list[str] = []
    owners: dict[int, Operation] = {}
    places: dict[tuple[str, Any], set[int]] = defaultdict(set)
    for operation in operations:
        if operation.outcome != OK:
            continue
        if operation.is_write:
            other = owners.setdefault(operation.version, operation)
            if other is not operation:
                found.append(f"operations {other.number} and {operation.number} both have place {operation.version}")
        if operation.table == "counters":
            continue
        if operation.kind == "scan":
            for _, value, version in operation.value:
                places[operation.table, value].add(version)
        elif operation.kind != "delete" and operation.version:
            places[operation.table, operation.value].add(operation.version)
    found += [f"{value!r} was applied twice, at {sorted(versions)}" for (_, value), versions in places.items() if len(versions) > 1]
    return found


def places_follow_time(operations: Iterable[Operation]) -> list[str]:
    """A write that began after another one was acknowledged comes after it in the log."""
    writes = [operation for operation in operations if operation.is_write and operation.outcome == OK]
    found: list[str] = []
    known: Operation | None = None
    returning = iter(sorted(writes, key=lambda each: each.returned))
    coming = next(returning, None)
    for operation in sorted(writes, key=lambda each: each.called):
        while coming is not None and coming.returned < operation.called:
            if known is None or coming.version > known.version:
                known = coming
            coming = next(returning, None)
        if known is not None and operation.version <= known.version:
            found.append(
                f"operation {operation.number} has place {operation.version}, after {known.number} with {known.version} had returned"
            )
    return found


def reads_are_fresh(operations: Sequence[Operation]) -> list[str]:
    """Per row: no read shows an older state than what was known, to anybody, before it was asked."""
    by_row: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.row_id and operation.kind != "scan":
            by_row[operation.table, operation.row_id].append(operation)
    return [sentence for of_row in by_row.values() for sentence in _fresh(of_row)]


def _fresh(operations: Sequence[Operation]) -> list[str]:
    found: list[str] = []
    deletes = [operation for operation in operations if operation.kind == "delete" and operation.outcome in (OK, UNKNOWN)]
    written = {operation.value: operation for operation in operations if operation.is_write and operation.kind != "delete"}
    returning = iter(sorted((each for each in operations if each.outcome == OK and each.version), key=lambda each: each.returned))
    coming = next(returning, None)
    floor = 0
    for read in sorted((each for each in operations if each.kind == "read" and each.outcome == OK), key=lambda each: each.called):
        while coming is not None and coming.returned < read.called:
            floor = max(floor, coming.version)
            coming = next(returning, None)
        where = f"read {read.number} of {read.row_id} at node {read.node}"
        if read.version and read.version < floor:
            found.append(f"stale: {where} shows version {read.version}, {floor} was known")
        if not read.version and floor and not any(_may_explain(delete, floor, read) for delete in deletes):
            found.append(f"lost: {where} shows no row, version {floor} was known and nobody deleted it since")
        origin = written.get(read.value)
        if (
            read.version
            and read.table == "registers"
            and (origin is None or origin.called > read.returned or origin.outcome in (NOT_DONE, REFUSED))
        ):
            found.append(f"made up: {where} shows {read.value!r}, which nobody had written ({origin})")
    return found


def _may_explain(delete: Operation, floor: int, read: Operation) -> bool:
    return delete.called < read.returned and (delete.outcome == UNKNOWN or delete.version >= floor)


def scans_are_whole(operations: Sequence[Operation]) -> list[str]:
    """A whole select of the tags has all that were acknowledged before it was asked, each once."""
    found: list[str] = []
    tags = sorted(
        (each for each in operations if each.table == "tags" and each.is_write and each.outcome == OK), key=lambda each: each.returned
    )
    called = {each.value: each.called for each in operations if each.table == "tags" and each.is_write}
    for scan in (each for each in operations if each.kind == "scan" and each.outcome == OK):
        values = [value for _, value, _ in scan.value]
        seen = set(values)
        missing = [tag.value for tag in tags if tag.returned < scan.called and tag.value not in seen]
        unborn = [value for value in seen if called.get(value, float("inf")) > scan.returned]
        if missing or unborn or len(values) != len(seen):
            found.append(
                f"stale: select {scan.number} at node {scan.node} lacks {missing[:3]}, has too early {unborn[:3]}, {len(values)} rows"
            )
    return found


def tags_are_there(operations: Sequence[Operation], dump: Dump) -> list[str]:
    rows: dict[Any, list[Row]] = defaultdict(list)
    for row in dump["tags"]:
        rows[row[1]].append(row)
    found = [f"{tag!r} is there {len(copies)} times: {copies}" for tag, copies in rows.items() if len(copies) > 1]
    for operation in operations:
        if operation.table != "tags" or not operation.is_write:
            continue
        there = rows.pop(operation.value, [])
        if operation.outcome == OK and not any(version == operation.version for _, _, version in there):
            found.append(f"LOST: {operation.value!r} was acknowledged with version {operation.version}; there is {there}")
        if operation.outcome in (NOT_DONE, REFUSED) and there:
            found.append(f"{operation.value!r} was refused ({operation.code}) and is there: {there}")
    return found + [f"{tag!r} was written by nobody" for tag in rows]


def counters_add_up(operations: Sequence[Operation], dump: Dump) -> list[str]:
    found: list[str] = []
    for row_id, value, _ in dump["counters"]:
        mine = [each for each in operations if each.table == "counters" and each.row_id == row_id and each.kind == "update"]
        done, perhaps = (sum(each.outcome == outcome for each in mine) for outcome in (OK, UNKNOWN))
        if not done <= value <= done + perhaps:
            found.append(f"counter {row_id} is {value}, {done} increments were acknowledged and {perhaps} are unknown")
    return found


def registers_hold(operations: Sequence[Operation], dump: Dump) -> list[str]:
    """The last acknowledged write of each row is what is there, unless one of unknown outcome came after it."""
    found: list[str] = []
    rows = {row_id: (value, version) for row_id, value, version in dump["registers"]}
    by_row: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.table == "registers" and operation.is_write:
            by_row[operation.row_id].append(operation)
    for row_id in {*rows, *by_row}:
        value, version = rows.get(row_id, (None, 0))
        done = [each for each in by_row[row_id] if each.outcome == OK]
        perhaps = [each for each in by_row[row_id] if each.outcome == UNKNOWN]
        last = max(done, key=lambda each: each.version, default=None)
        if last is not None and last.kind != "delete" and last.version > version and not any(each.kind == "delete" for each in perhaps):
            found.append(
                f"LOST: {row_id} was acknowledged as {last.value!r} with version {last.version}; there is {value!r} with {version}"
            )
        if last is not None and last.kind == "delete" and 0 < version < last.version:
            found.append(f"LOST: {row_id} was deleted at {last.version}; there is {value!r} with {version}")
        if version and not any(each.value == value and (each.outcome == UNKNOWN or each.version == version) for each in [*done, *perhaps]):
            found.append(f"{row_id} is {value!r} with version {version}, which no write made")
    return found
