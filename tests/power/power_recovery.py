"""A start after a cut: what the store says of itself, whether the tables are what they must be, and whether life goes on."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace
from power_promises import Found
from power_script import FORMED, FOUNDERS, LIMITS, Driver, Mark, opened, truth

from ddbd.raft.types import Entry, EntryKind, HardState
from ddbd.storage.directory import DiskStore, Identity, read_identity
from ddbd.storage.sqlite import RESERVED_BYTES, read_connection
from ddbd.storage.tables import SqliteTables

Content = dict[str, list[Any]]


class Truth(NamedTuple):
    """The unbroken run: by index, what the chained hash is and what the tables hold."""

    entries: list[Entry]
    hashes: list[bytes]
    contents: list[Content]


class Detected(Exception):
    """SQLite met a bad page: what a read of it would have stopped the node with."""


def content_of(path: str) -> Content:
    """Everything in the tables that a client or the state machine can see, row by row; the structure and the indexes are checked too."""
    connection = read_connection(path)
    try:
        problems = str(connection.execute("PRAGMA integrity_check(3)").fetchall())
        if "error code=" in problems or "failed to get page" in problems:  # of the read itself: 522 is a page's wrong checksum
            raise Detected(problems)
        assert problems == "[('ok',)]", f"the tables are damaged: {problems}"
        content: Content = {}
        for name in ("_progress", "_databases", "_tables", "_windows", "_keys"):
            content[name] = connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()
        for id_, db, *_ in content["_tables"]:
            content[f"t_{db}_{id_}"] = connection.execute(f"SELECT * FROM t_{db}_{id_} ORDER BY row_id").fetchall()
        return content
    finally:
        connection.close()


@lru_cache(1)
def unbroken(folder: str) -> Truth:
    """`folder` is empty, or not there."""
    entries = truth()
    os.makedirs(folder)
    path = f"{folder}/tables.db"
    tables = SqliteTables(path, folder, LIMITS, lambda: 0.0, founders=FOUNDERS)
    hashes, contents = [tables.state_hash(0) or b""], [content_of(path)]
    for entry in entries:
        tables.apply([entry])
        tables.settle()
        hashes.append(tables.state_hash(entry.index) or b"")
        contents.append(content_of(path))
    tables.close()
    return Truth(entries, hashes, contents)


def found_in(store: DiskStore, identity: Identity | None) -> Found:
    recovered = store.log.recovered
    base = store.log.base
    entries = store.log.read(base.index + 1, store.log.last_index + 1, 1 << 30) if store.log.last_index > base.index else []
    at = store.tables.applied_index
    return Found(recovered.hard_state, base, tuple(entries), recovered.generation, at, store.is_suspect(), identity)


def committed(found: Found, entries: list[Entry]) -> list[Entry]:
    """What is left to apply: the log as far as it is the truth."""
    left = []
    for entry in found.entries:
        if entry.index > len(entries) or entry != entries[entry.index - 1]:
            break
        if entry.index > found.applied_index:
            left.append(entry)
    return left


def check_tables(store: DiskStore, agreed: Truth) -> None:
    """The tables hold exactly what an unbroken run holds at the same index."""
    index = store.tables.applied_index
    assert store.tables.state_hash(index) == agreed.hashes[index], f"the state hash at {index} is another one"
    content = content_of(store.tables.path)
    wrong = [name for name in {*content, *agreed.contents[index]} if content.get(name) != agreed.contents[index].get(name)]
    assert not wrong, f"at {index} the tables {wrong} hold something else"
    connection = read_connection(store.tables.path)
    try:
        assert connection.reserve_bytes() == RESERVED_BYTES, "the tables are kept without checksums"
    finally:
        connection.close()


def check_no_leftovers(path: Path, generation: int) -> None:
    # The identity's may stay until the identity is written anew: nobody reads it.
    names = set(os.listdir(path)) - {"ballast", "identity.json.tmp"}
    assert names == {"identity.json", "lock", "log", "outgoing", f"tables-{generation}"}, f"left in the folder: {sorted(names)}"
    assert not os.listdir(path / "outgoing"), "a half snapshot is left"
    strange = [name for name in os.listdir(path / "log") if not name.endswith(".seg")]
    assert not strange, f"left in the log: {strange}"


class Recovered(NamedTuple):
    found: Found
    replayed_to: int


def recover(path: Path, agreed: Truth) -> Recovered:
    """Opens, replays, writes on, closes, opens again. Raises AssertionError, or what the product raises."""
    identity = read_identity(path)
    store = opened(path, identity or FORMED)
    try:
        found = found_in(store, identity)
        check_tables(store, agreed)
        left = committed(found, agreed.entries)
        if left:
            store.tables.apply(left)
            store.tables.settle()
            check_tables(store, agreed)
        replayed_to = store.tables.applied_index
        check_no_leftovers(path, found.generation)
        driver = Driver(path, store, lambda *_: None)
        go_on(driver)
    finally:
        store.close()
    return Recovered(found, replayed_to)


def go_on(driver: Driver) -> None:
    """The next term, one entry more: applied where all before it were."""
    log, tables = driver.store.log, driver.store.tables
    state = driver.hard_state
    last_index = log.last_index
    fresh = Entry(last_index + 1, max(state.term, log.term(last_index)) + 1, 1 << 50, EntryKind.EMPTY, b"")
    driver.save(HardState(fresh.term, "3", state.commit), [fresh])
    if tables.applied_index == last_index:
        driver.apply([fresh])


def check_second_start(path: Path, first: Recovered) -> None:
    """What was recovered, and the one entry more, is there at the next start as well."""
    identity = read_identity(path)
    store = opened(path, identity or FORMED)
    try:
        found = found_in(store, identity)
        assert found.entries[: len(first.found.entries)] == first.found.entries, "the second start has lost entries of the first"
        assert len(found.entries) == len(first.found.entries) + 1, "the second start lost what was written after the first"
        assert store.tables.applied_index >= first.replayed_to or store.tables.applied_index >= found.base.index
        check_no_leftovers(path, found.generation)
    finally:
        store.close()


def recover_and_go_on(path: Path, mark: Mark) -> None:
    """The same life, listened to: for cuts in the middle of a recovery and after it."""
    identity = read_identity(path) or replace(FORMED, logged=False)
    mark("opening", identity)
    store = opened(path, identity)
    try:
        found = found_in(store, identity)
        mark("opened", identity, found)
        driver = Driver(path, store, mark)
        log = truth()
        left = committed(found, log)
        if left:
            driver.apply(left[: len(left) // 2 + 1])
            mark("durable", driver.checkpoint().index)
            if left[len(left) // 2 + 1 :]:
                driver.apply(left[len(left) // 2 + 1 :])
        driver.save(HardState(driver.hard_state.term + 1, "3", driver.hard_state.commit))
        agreed = next((entry.index - 1 for entry in found.entries if entry != log[entry.index - 1]), store.log.last_index)
        if log[agreed : agreed + 3]:  # the leader's next ones; they may replace what was never committed
            driver.save(None, log[agreed : agreed + 3])
            driver.commit(agreed + 2)
            if store.tables.applied_index == agreed:
                driver.apply(log[agreed : agreed + 2])
    finally:
        store.close()
