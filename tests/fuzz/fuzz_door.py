"""Cases against whole nodes in memory, and everything that must hold behind each of them.

A node is the real Site over a backend that commits at once (`web_twin`). Limits are small, so that their ends are met often. What the door
let into the log is applied a second time, by the tables on disk: both must come to the same state hash.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import fuzz_bytes
from fuzz_answers import Answer, answers_of, check_answer
from fuzz_requests import LOADS, SMUGGLED_DB, Case
from fuzz_tally import Tally
from web_client import PING, Connection, Node
from web_twin import config_of

from ddbd.commands import AnyCommand, InitDatabase, Proposal, Register, decode_proposal, encode_proposal
from ddbd.config import Limits
from ddbd.raft.types import Entry, EntryKind
from ddbd.storage.tables import SqliteTables
from ddbd.storage.threads import threads_for

LIMITS = Limits(
    body_bytes_max=32 * 1024,
    row_bytes_max=8 * 1024,
    row_id_bytes_max=100,
    columns_max=20,
    batch_rows_max=10,
    head_bytes_max=4 * 1024,
    head_fields_max=30,
    disk_reserve_bytes=0,
)
CASES_A_NODE = 300
REGISTRATION = encode_proposal(Proposal("1", 0, 0, 0, Register("1", 1)))
TYPED = [{"name": name, "type": kind} for name, kind in (("t", "text"), ("i", "integer"), ("r", "real"), ("b", "boolean"), ("j", "json"))]


class Watched:
    """One node, with a second look at what reaches its backend."""

    def __init__(self, flavour: str) -> None:
        self.node = Node(config_of(LIMITS), leader_id="2" if flavour == "follower" else "1")
        self.entries: list[Entry] = []
        twin = self.node.twin
        apply = twin.tables.apply

        def applied(entries: list[Entry]) -> Any:
            self.entries.extend(entries)
            return apply(entries)

        twin.tables.apply = applied
        # The twin registered before anyone could watch.
        self.entries.append(Entry(1, twin.term, 1_000, EntryKind.COMMAND, REGISTRATION))
        if flavour != "bare":
            self._fill()
        for _ in range(4):
            self.node.clock.advance(60)  # the connections of the filling are over
        self.open_before = self.node.site.connections  # the kit does not lose them
        self.looked_at = len(twin.commands)

    def _fill(self) -> None:
        node = self.node
        leader, node.twin.leader_id = node.twin.leader_id, "1"
        node.with_students()
        assert node.post("/create_table", {"table_name": "typed", "columns": TYPED}).status == 200
        node.twin.leader_id = leader

    def content(self) -> Any:
        tables = self.node.twin.tables
        return tables.databases(), tables.default_database

    def second_opinion(self) -> None:
        """The tables on disk come to the same state."""
        twin = self.node.twin
        with tempfile.TemporaryDirectory() as folder:
            tables = SqliteTables(str(Path(folder) / "tables.db"), folder, LIMITS, lambda: 0.0, lambda name: threads_for(None, name), None)
            try:
                tables.apply(self.entries)
                index = tables.applied_index
                assert index == twin.applied_index
                assert tables.state_hash(index) == twin.tables.state_hash(index), f"the tables differ at index {index}"
            finally:
                tables.close()


class Fuzzer:
    def __init__(self, seed: int, tally: Tally) -> None:
        self.seed = seed
        self.tally = tally
        self.codes: set[str] = set()
        self.held_bytes_max = 0
        self._nodes: list[Watched] = []

    def play(self, number: int, case: Case) -> None:
        """Raises AssertionError where something does not hold."""
        if number % CASES_A_NODE == 0 or not self._nodes:
            self.finish()
            self._nodes = [Watched(flavour) for flavour in ("leader", "leader", "leader", "follower", "bare")]
        rng = random.Random(f"delivery {self.seed} {number}")
        watched = rng.choice(self._nodes)
        before, index = watched.content(), watched.node.twin.applied_index
        connection = self._deliver(watched, rng, case)
        answers = answers_of(connection.out, b"HEAD" in case.data)
        for answer in answers:
            check_answer(answer)
            self._count(answer)
        self.tally.kinds[case.kind] += 1
        if not answers:
            self.tally.outcomes["closed in silence"] += 1
        self._check_effects(watched, case, answers, before, index)
        self._check_ping(watched.node)

    def finish(self) -> None:
        for watched in self._nodes:
            watched.second_opinion()

    def _deliver(self, watched: Watched, rng: random.Random, case: Case) -> Connection:
        node = watched.node
        connection = node.connect()
        for piece in fuzz_bytes.reads(rng, case.data):
            if connection.wire.producerState == "paused":
                node.clock.advance(0)
            if connection.wire.disconnecting or connection.wire.disconnected or connection.wire.producerState == "paused":
                break
            connection.send(piece)
            self._check_held(connection)
            if rng.random() < 0.2:
                node.clock.advance(0)
        node.clock.advance(0)
        if rng.random() < 0.1:
            connection.lose()
        else:
            # Whatever the connection waits for, a deadline ends it.
            for _ in range(4):
                node.clock.advance(60)
            assert connection.wire.disconnecting or connection.wire.disconnected, "no deadline ended the connection"
            connection.lose()
        assert node.site.connections == watched.open_before, "a connection that is gone is still counted"
        assert not node.clock.getDelayedCalls(), f"timers are left: {node.clock.getDelayedCalls()}"
        return connection

    def _check_held(self, connection: Connection) -> None:
        channel = connection.channel
        self.held_bytes_max = max(self.held_bytes_max, channel.held_bytes)

    def _count(self, answer: Answer) -> None:
        code = answer.code or ""
        if code:
            self.codes.add(code)
        self.tally.outcomes[f"{answer.status} {code}".strip()] += 1

    def _check_effects(self, watched: Watched, case: Case, answers: list[Answer], before: Any, index: int) -> None:
        twin = watched.node.twin
        commands = twin.commands[watched.looked_at :]
        watched.looked_at = len(twin.commands)
        for command in commands:
            check_command(command)
        successes = [answer for answer in answers if 200 <= answer.status < 300]
        if case.refuse:
            assert not successes, f"answered {successes[0].status}, though it is wrong by construction"
            if case.kind not in ("unstorable", "large head", "large body"):
                assert not commands, f"proposed {commands[0]}, though it is wrong by construction"
        done = [answer for answer in successes if answer.method_may_write]
        is_load = any(kind in case.data for kind in LOADS)
        if not done and not is_load and case.kind not in ("bytes", "pipeline"):
            # A load that was refused has committed the slices before; an answer may also be lost with its connection.
            lost = len(commands) > len(answers)
            assert lost or watched.content() == before, "a refused request changed the tables"
        if not commands:
            assert twin.applied_index == index

    def _check_ping(self, node: Node) -> None:
        connection = node.connect()
        connection.send(PING)
        assert connection.response().status == 200
        connection.lose()


def check_command(command: AnyCommand) -> None:
    """Canonical: the log gives back the same value, and each replica can hold it."""
    proposal = Proposal("1", 1, 1, 0, command, "key", b"f")
    assert decode_proposal(encode_proposal(proposal)) == proposal
    assert command != InitDatabase(SMUGGLED_DB), "a request that was hidden in a body was run"
    for _, data in getattr(command, "rows", ()):
        check_value(data)
    check_value(getattr(command, "new_data", {}))


def check_value(value: Any) -> None:
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()  # refuses NaN, infinities and lone surrogates
    _check_inside(value, 0)


def _check_inside(value: Any, depth: int) -> None:
    assert depth <= LIMITS.json_depth_max, "a value is nested too deeply"
    if isinstance(value, int):
        assert -(2**63) <= value < 2**63, f"{value} is outside of 64 bits"
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_inside(inner, depth + 1)
