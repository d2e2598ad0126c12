"""`ddb check`: everything in a data directory that carries a checksum, and what can be made again from the log.

Where the log still begins at entry 1, all entries up to the tables' place are applied again, in memory: the chained hash of effects must
be that of the tables, and so must each row (one that somebody edited has good checksums). Where the log was shortened, or is long, neither
can be told here; the nodes compare their hashes while they run.
"""

from __future__ import annotations

import math
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from ddbd.config import Limits
from ddbd.errors import Fatal
from ddbd.raft.types import Membership
from ddbd.rescue.frozen import FrozenDisk, Held, frozen_tables
from ddbd.rescue.look import BAD, NOTE, OK, Finding, Seen, has_schema, leftovers, look, look_through_tables
from ddbd.storage import Query, recovery
from ddbd.storage.backend import Progress
from ddbd.storage.logstate import OFFSET_BITS, LogState
from ddbd.storage.memory_tables import MemoryTables
from ddbd.storage.records import ENTRY, decode_entry, parse
from ddbd.storage.sqlite import fatal
from ddbd.storage.sqlite_backend import quoted, read_catalogue, table_name
from ddbd.storage.values import load_row

REPLAY_BYTES_MAX = 256 * 1024 * 1024  # of entries that are applied again in memory
BATCH_ENTRIES = 500


def check(path: Path, limits: Limits | None = None) -> list[Finding]:
    """In the order of a start. `limits` are those of the nodes' config. Raises ConfigError where a node runs, or nothing is there."""
    with Held(path):
        seen = look(path)
        look_through_tables(seen)
        _hash_again(seen, limits or Limits())
        leftovers(seen)
    return seen.findings


def _hash_again(seen: Seen, limits: Limits) -> None:
    log, progress, place = seen.log, seen.progress, "hash of effects"
    if log is None or progress is None or seen.is_damaged:
        return
    shown = progress.state_hash.hex() or "none yet"
    size = sum(log.lengths[: progress.index - log.base.index])
    if log.base.index > 0 or size > REPLAY_BYTES_MAX:
        why = f"the log begins at entry {log.base.index + 1}" if log.base.index else f"the log has more than {REPLAY_BYTES_MAX} bytes"
        seen.say(NOTE, place, f"{shown} at entry {progress.index}; it cannot be made again here, for {why}")
        return
    try:
        tables = _applied(seen.path / "log", log, progress.index, limits)
        other = _other_rows(seen.tables_path, progress, tables)
    except Fatal as error:
        seen.say(BAD, place, error.detail)
        return
    again = tables.state_hash(progress.index) or b""
    if again == progress.state_hash and other is None:
        seen.say(OK, place, f"{shown} at entry {progress.index}, made again from the log, and every row with it")
    elif again == progress.state_hash:
        seen.say(BAD, f"{seen.tables_path.parent.name}/tables.db", f"{other} is not what the log makes of it, though its page is whole")
    else:
        why = "the tables are not what the log makes of them (or the limits that decide outcomes are others: name the config)"
        seen.say(BAD, place, f"{shown} at entry {progress.index}, but the log makes {again.hex()}: {why}")


def _other_rows(path: Path, progress: Progress, tables: MemoryTables) -> str | None:
    """The first thing in which the file and what the log makes differ; None where there is nothing. Raises Fatal."""
    connection = frozen_tables(path)
    try:
        with fatal(str(path)):
            if not has_schema(connection):
                return None
            catalogue = read_catalogue(connection, progress)
            if catalogue.listing() != tables.databases():
                return "the catalogue of databases and tables"
            for database in catalogue.databases.values():
                for table in database.tables.values():
                    names = ", ".join(["row_id", *[quoted(column.name) for column in table.columns], "_version"])
                    found = connection.execute(f"SELECT {names} FROM {table_name(table)} ORDER BY row_id")
                    made = (row for rows in tables.scan(Query(database.name, table.name)) for row in rows)
                    for one, two in zip_longest(found, made):
                        if one is None or two is None or _exact(load_row((one[0], one[-1], *one[1:-1]))) != _exact(two):
                            return f"row {str((one or two)[0])[:80]!a} of table {table.name} in database {database.name}"
    finally:
        connection.close()
    return None


def _exact(row: tuple[Any, ...]) -> bytes:
    """1, 1.0 and true are three things."""
    return msgspec.json.encode(row)


def _applied(folder: Path, log: LogState, index: int, limits: Limits) -> MemoryTables:
    founders: Membership | None = log.base.membership if log.base.membership.nodes else None
    tables = MemoryTables(replace(limits, scan_seconds=math.inf), lambda: 0.0, founders=founders)
    disk, files = FrozenDisk(), {}
    try:
        for first in range(1, index + 1, BATCH_ENTRIES):
            batch = []
            for each in range(first, min(index, first + BATCH_ENTRIES - 1) + 1):
                position, length = log.position(each), log.lengths[each - log.base.index - 1]
                number, offset = position >> OFFSET_BITS, position & ((1 << OFFSET_BITS) - 1)
                if number not in files:
                    file = disk.open(str(folder / recovery.segment_name(number)))
                    header = recovery.read_header(recovery.segment_name(number), number, file)
                    files[number] = (file, header.salt)
                file, salt = files[number]
                record = parse(file.read(offset, length), 0, salt)
                assert record is not None and record.kind == ENTRY, f"entry {each} was read before, and cannot be now"  # noqa: PT018
                batch.append(decode_entry(record.payload))
            tables.apply(batch)
    finally:
        for file, _ in files.values():
            file.close()
    return tables
