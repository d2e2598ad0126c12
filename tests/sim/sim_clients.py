"""Clients, one call at a time each, and the check of what they saw.

Every write and read has a place in the log: the index of its entry, or the applied index of the tables it was read from. So the history
is linearizable when each call's place is not before what any call had seen that returned before this one began, and its answer is what
the log says at that place.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure

from ddbd.commands import Answer, AnyCommand, Column, CreateTable, Delete, InitDatabase, Insert, Update
from ddbd.errors import DdbError, Refused, Unavailable
from ddbd.storage import Query

if TYPE_CHECKING:
    from sim_node import Process
    from sim_world import World


class Operation:
    def __init__(self, tag: str, command: AnyCommand | None, row_id: str, key: str) -> None:
        self.tag = tag
        self.command = command  # None: a read
        self.row_id = row_id
        self.key = key
        self.seen_before = 0  # the newest place in the log that any call had seen when this one began
        self.began_without_leader = False
        self.is_linearizable = True
        self.is_unknown = False  # some attempt may have been done
        self.is_refused = False  # certainly not done
        self.answer: Answer | None = None
        self.called = self.returned = 0.0
        self.applied_index = 0  # of a read
        self.row: Any = None
        self.rows: list[Any] = []  # of the whole table, in the same moment


class Client:
    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.name = f"c{number}"
        self.dice = random.Random(f"client {world.seed} {number}")
        self.done: list[Operation] = []
        self.is_stopping = False
        self.is_idle = False
        self._count = 0
        self._current: Operation | None = None
        self._attempt = 0  # counts; a late answer to an earlier one is not listened to
        self._process: Process | None = None
        self._versions: dict[str, int] = {}
        self._setup: list[AnyCommand] = [CreateTable(None, "t", (Column("v"),)), InitDatabase("d")]
        world.timers.later(0.3 * self.dice.random(), self.next)

    def next(self) -> None:
        if self.is_stopping and not self._setup:
            self.is_idle = True
            return
        self._count += 1
        tag = f"{self.name}-{self._count}"
        row_id = f"k{self.dice.randrange(self.world.options.keys)}"
        if self._setup:
            operation = Operation(tag, self._setup.pop(), "", f"key-{tag}")
        elif self.dice.random() < 0.35:
            operation = Operation(tag, None, row_id, "")
        else:
            operation = Operation(tag, self._command(tag, row_id), row_id, f"key-{tag}" if self.dice.random() < 0.4 else "")
        operation.seen_before = self.world.seen_index
        operation.called = self.world.timers.now
        self._current = operation
        self._try()

    def _command(self, tag: str, row_id: str) -> AnyCommand:
        dice, kind = self.dice, self.dice.random()
        version = self._versions.get(row_id) if dice.random() < 0.5 else None
        if kind < 0.3:
            return Insert(None, "t", ((row_id, {"v": tag}),))
        if kind < 0.5:
            return Insert(None, "t", ((row_id, {"v": tag}),), upsert=True)
        if kind < 0.55:
            return Insert(None, "t", ((row_id, {"v": tag}), ("k0x", {"v": tag})), upsert=True, single=False)
        if kind < 0.8:
            return Update(None, "t", row_id, {"v": tag}, version)
        return Delete(None, "t", row_id, version)

    def _try(self) -> None:
        operation = self._current
        assert operation is not None
        self._attempt += 1
        nodes = list(self.world.nodes.values())
        self._process = process = nodes[self.dice.randrange(len(nodes))].process
        if process is None:
            self._again()
            return
        timeout = self.dice.choice([0.2, 1.0, 3.0])
        operation.began_without_leader = process.replica.leader_id is None
        # What is asked of a paused process waits in its sockets.
        process.run(self._ask, process, operation, timeout, self._attempt)
        self.world.timers.later(timeout + 2.0, self.lost, self._attempt)

    def _ask(self, process: Process, operation: Operation, timeout: float, attempt: int) -> None:
        if operation.command is not None:
            asked: Any = process.replica.propose(operation.command, timeout, operation.key, operation.tag.encode())
            asked.addCallbacks(self._written, self._failed, callbackArgs=(attempt,), errbackArgs=(attempt,))
        else:
            replica = process.replica
            operation.is_linearizable = self.dice.random() < 0.8
            waits = replica.read_barrier(timeout) if operation.is_linearizable else replica.wait_applied(operation.seen_before, timeout)
            waits.addCallback(lambda _: self._read(process, operation, attempt))
            waits.addErrback(self._failed, attempt)

    def _read(self, process: Process, operation: Operation, attempt: int) -> None:
        if attempt == self._attempt:
            tables = process.replica.tables
            operation.row = tables.row(None, "t", operation.row_id)
            operation.rows = [row for piece in tables.scan(Query(None, "t")) for row in piece]
            operation.applied_index = tables.applied_index
            self.world.saw(operation.applied_index)
            self._finish(operation)

    def _written(self, answer: Answer, attempt: int) -> None:
        operation = self._current
        if attempt != self._attempt or operation is None:
            return
        operation.answer = answer
        if not answer.code:
            self.world.saw(answer.body.get("index", 0))
            if operation.row_id:
                self._versions[operation.row_id] = answer.body["version"]
            if operation.began_without_leader:
                self.world.sometimes["a write was held until there was a leader"] += 1
        self._finish(operation)

    def _failed(self, failure: Failure, attempt: int) -> None:
        if attempt != self._attempt:
            return
        error = failure.value
        if isinstance(error, Refused) and error.code == "disk_full" and self._current and self._current.command is not None:
            self.world.sometimes["a write was refused because a disk was full"] += 1
            self._unanswered(is_done_perhaps=False)
            return
        if not isinstance(error, DdbError) or (isinstance(error, Refused) and self._current and self._current.is_linearizable):
            self.world.violate(f"{self.name} got {failure.getTraceback()}")
            return
        self.world.note(f"{self.name}: {type(error).__name__}")
        self.world.sometimes[f"a client got {type(error).__name__}"] += 1
        self._unanswered(is_done_perhaps=not isinstance(error, Unavailable))

    def lost(self, attempt: int) -> None:
        """The connection broke, or the client has waited long enough."""
        if attempt == self._attempt and self._current is not None:
            self._unanswered(is_done_perhaps=True)

    def is_waiting_for(self, process: Process) -> bool:
        return self._current is not None and self._process is process

    @property
    def attempt(self) -> int:
        return self._attempt

    def _unanswered(self, is_done_perhaps: bool) -> None:
        operation = self._current
        assert operation is not None
        operation.is_unknown = operation.is_unknown or is_done_perhaps
        if operation.key:
            self.world.sometimes["a write with a key was repeated"] += 1
            self._again()
            return
        operation.is_refused = not operation.is_unknown
        self._finish(operation)

    def _again(self) -> None:
        self._attempt += 1
        self._process = None
        self.world.timers.later(0.02 + 0.1 * self.dice.random(), self._try)

    def _finish(self, operation: Operation) -> None:
        self._attempt += 1
        self._current = self._process = None
        operation.returned = self.world.timers.now
        self.done.append(operation)
        self.world.timers.later(0.15 * self.dice.random() ** 2, self.next)


def check_history(world: World) -> None:
    """Once all is quiet."""
    for client in world.clients:
        for operation in client.done:
            problem = _check_read(world, operation) if operation.command is None else _check_write(world, operation)
            if problem is not None:
                world.violate(f"{operation.tag} ({operation.command or 'read of ' + operation.row_id}): {problem}")


def _check_write(world: World, operation: Operation) -> str | None:
    model = world.checks.model
    outcomes = model.outcomes.get(operation.tag, [])
    effects = [outcome for outcome in outcomes if outcome.is_new]
    if len(effects) > 1:
        return f"exactly once: applied at {[outcome.index for outcome in effects]}"
    if operation.is_refused and outcomes:
        return f"certainly not done, it was said, and it was done: {outcomes}"
    if operation.answer is None:
        return None
    if operation.answer not in [outcome.answer for outcome in outcomes]:
        return f"answered {operation.answer}, the log says {outcomes}"
    if effects[0].index <= operation.seen_before:
        return f"its place {effects[0].index} is before what was seen when it began, {operation.seen_before}"
    return None


def _check_read(world: World, operation: Operation) -> str | None:
    if not operation.applied_index:
        return None  # it got no answer
    if operation.applied_index < operation.seen_before:
        return f"stale: read at {operation.applied_index}, {operation.seen_before} had been seen when it began"
    row = world.checks.model.row_at(operation.row_id, operation.applied_index)
    expected = None if row is None else (operation.row_id, row[1], row[0])
    if operation.row != expected:
        return f"read {operation.row} at {operation.applied_index}, the log says {expected}"
    rows = world.checks.model.rows_at(operation.applied_index)
    if operation.rows != rows:
        return f"selected {operation.rows} at {operation.applied_index}, the log says {rows}"
    return None
