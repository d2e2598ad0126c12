"""Any history of commands: disk and memory give the same answers, hashes and rows, also over restarts in between."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from storage_kit import HOUR_MS, SMALL, Client, fired, rows
from test_tables import VALUES, Time

from ddbd.commands import (
    Column,
    CreateTable,
    Delete,
    DeleteTable,
    DropDatabase,
    InitDatabase,
    Insert,
    StageDatabase,
    SwitchDatabases,
    Update,
    encode_proposal,
)
from ddbd.storage import Query
from ddbd.storage.memory_tables import MemoryTables
from ddbd.storage.tables import SqliteTables

dbs = st.sampled_from([None, "d", "D", "e"])
tables = st.sampled_from(["t", "T", "u"])
ids = st.sampled_from(["1", "2", "é", "\0", "10"])
names = st.sampled_from(["name", "NAME", "grade", "none"])
data = st.dictionaries(names, st.sampled_from(VALUES), max_size=2)
keys = st.sampled_from(["", "", "a", "b", "c", "d", "e", "f"])
versions = st.none() | st.integers(1, 30)


class Twins(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.disk = self.opened()
        self.memory = MemoryTables(SMALL, Time())
        self.client = Client(self.disk, self.memory).start()

    def opened(self) -> SqliteTables:
        return SqliteTables(str(self.folder / "t.db"), str(self.folder), SMALL, Time())

    def do(self, command: Any, key: str = "") -> None:
        self.client.apply(encode_proposal(self.client.proposal(command, key, repr(command).encode())))

    @rule(name=st.sampled_from(["d", "D", "e"]), drop=st.booleans())
    def database(self, name: str, drop: bool) -> None:
        self.do(DropDatabase(name) if drop else InitDatabase(name))

    @rule(name=st.sampled_from(["d", "s", "S"]))
    def stage(self, name: str) -> None:
        self.do(StageDatabase(name))

    @rule(
        pairs=st.lists(st.tuples(st.sampled_from(["s", "e", "d"]), st.sampled_from(["D", "e", "x", "1"])), max_size=2),
        replace=st.booleans(),
        default=st.sampled_from([None, "X", "d"]),
        key=keys,
    )
    def switch(self, pairs: list[tuple[str, str]], replace: bool, default: str | None, key: str) -> None:
        self.do(SwitchDatabases(tuple(pairs), replace, default), key)

    @rule(db=dbs, table=tables, indexed=st.booleans())
    def create(self, db: str | None, table: str, indexed: bool) -> None:
        self.do(CreateTable(db, table, (Column("name", "any", indexed), Column("grade"))))

    @rule(db=dbs, table=tables)
    def delete_table(self, db: str | None, table: str) -> None:
        self.do(DeleteTable(db, table))

    @rule(db=dbs, table=tables, held=st.lists(st.tuples(ids, data), min_size=1, max_size=4), upsert=st.booleans(), key=keys)
    def insert(self, db: str | None, table: str, held: list[Any], upsert: bool, key: str) -> None:
        self.do(Insert(db, table, tuple(held), upsert, single=len(held) == 1), key)

    @rule(db=dbs, table=tables, row_id=ids, new_data=data, version=versions, key=keys)
    def update(self, db: str | None, table: str, row_id: str, new_data: Any, version: int | None, key: str) -> None:
        self.do(Update(db, table, row_id, new_data, version), key)

    @rule(db=dbs, table=tables, row_id=ids, version=versions, key=keys)
    def delete(self, db: str | None, table: str, row_id: str, version: int | None, key: str) -> None:
        self.do(Delete(db, table, row_id, version), key)

    @rule(seq=st.integers(0, 40), floor=st.integers(0, 40))
    def proposal_out_of_order(self, seq: int, floor: int) -> None:
        proposal = self.client.proposal(InitDatabase("d"), seq=seq)
        self.client.apply(encode_proposal(proposal))
        self.client.floor = max(self.client.floor, min(floor, self.client.seq))

    @rule(hours=st.sampled_from([1, 12, 24]))
    def time_passes(self, hours: int) -> None:
        self.client.stamp += hours * HOUR_MS

    @rule()
    def restart(self) -> None:
        self.disk.close()
        self.disk = self.opened()
        fired(self.memory.checkpoint())
        self.memory = self.memory.crash()
        self.client.tables = (self.disk, self.memory)

    @rule()
    def checkpoint(self) -> None:
        fired(self.disk.checkpoint())

    @invariant()
    def alike(self) -> None:
        if not hasattr(self, "disk"):
            return
        both = (self.disk, self.memory)
        assert self.disk.databases() == self.memory.databases()
        assert self.disk.default_database == self.memory.default_database
        assert self.disk.open_sequences("1") == self.memory.open_sequences("1")
        assert len({tables.counters()["idempotency_keys"] for tables in both}) == 1
        for db, infos in self.disk.databases():
            for info in infos:
                held = [repr(rows(tables.scan(Query(db, info.name)))) for tables in both]
                assert held[0] == held[1]
                assert info.row_count == len(rows(self.memory.scan(Query(db, info.name))))

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            self.disk.close()
            shutil.rmtree(self.folder)


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
