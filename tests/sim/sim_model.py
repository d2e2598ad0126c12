"""What the committed log means, worked out outside of the nodes.

The twin of the tables applies each entry once, as it is committed, and gives the state hash that every node must have. A small model of
its own says what each command should come to, in a dict and a few lines, so that a mistake of the state machine itself shows too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import NamedTuple

from ddbd.commands import Answer, AnyCommand, Delete, Insert, Register, Update, decode_proposal
from ddbd.config import Limits
from ddbd.raft.types import Entry, EntryKind, Membership
from ddbd.storage.memory_tables import MemoryTables

Row = tuple[int, str]  # (version, value)


class Outcome(NamedTuple):
    index: int  # type: ignore[assignment]
    answer: Answer
    is_new: bool  # not a stored answer that was given again


class Model:
    def __init__(self, limits: Limits, founders: Membership, sometimes: Counter[str]) -> None:
        self.tables = MemoryTables(limits, lambda: 0.0, None, founders)
        self.outcomes: dict[str, list[Outcome]] = {}  # by the tag of the operation
        self.membership = founders
        self.membership_index = 0
        self._memberships = [(0, founders)]  # each from its entry on, joint ones too
        self._sometimes = sometimes
        self._rows: dict[str, Row] = {}
        self._history: dict[str, list[tuple[int, Row | None]]] = {}
        self._keys: dict[str, int] = {}  # idempotency key -> index
        self._origins: set[str] = set()

    def row_at(self, row_id: str, index: int) -> Row | None:
        history = self._history.get(row_id, [])
        place = bisect_right(history, index, key=lambda change: change[0])
        return history[place - 1][1] if place else None

    def rows_at(self, index: int) -> list[tuple[str, str, int]]:
        found = ((row_id, self.row_at(row_id, index)) for row_id in sorted(self._history))
        return [(row_id, row[1], row[0]) for row_id, row in found if row is not None]

    def apply(self, entry: Entry) -> str | None:
        """Returns what is wrong."""
        results = self.tables.apply([entry])
        if entry.kind is EntryKind.MEMBERSHIP:
            self._note_membership(Membership.from_bytes(entry.data), entry.index)
        if entry.kind is not EntryKind.COMMAND:
            return None
        proposal = decode_proposal(entry.data)
        if isinstance(proposal.command, Register):
            if proposal.command.node in self._origins and results[0].answer is not None:
                self._sometimes["a node registered again"] += 1
            self._origins.add(proposal.command.node)
            return None
        tag = proposal.fingerprint.decode()
        answer = results[0].answer
        if answer is None:
            self._sometimes["a repeated proposal was refused"] += 1
            return None
        is_new = not (proposal.key and proposal.key in self._keys)
        self.outcomes.setdefault(tag, []).append(Outcome(entry.index, answer, is_new))
        if not is_new:
            self._sometimes["a stored answer was given again"] += 1
            return None
        if proposal.key:
            self._keys[proposal.key] = entry.index
        return self._check(proposal.command, entry.index, answer)

    def membership_at(self, index: int) -> Membership:
        return self._memberships[bisect_right(self._memberships, index, key=lambda change: change[0]) - 1][1]

    def _note_membership(self, membership: Membership, index: int) -> None:
        self._memberships.append((index, membership))
        if membership.is_joint:
            self._sometimes["a joint membership"] += 1
        else:
            self.membership_index = index
            if len(membership.voters) < len(self.membership.voters):
                self._sometimes["a node without its disk was demoted"] += 1
            if membership.lives != self.membership.lives:
                self._sometimes["a new life was promoted"] += 1
            self.membership = membership

    def _check(self, command: AnyCommand, index: int, answer: Answer) -> str | None:
        if not isinstance(command, Insert | Update | Delete):
            return None
        expected = self._run(command, index)
        if answer.code != expected:
            return f"entry {index}: {command} was answered {answer}, not {expected or 'ok'}"
        if not expected and (answer.body["index"], answer.body["version"]) != (index, index):
            return f"entry {index}: {command} was answered with {answer.body}"
        return None

    def _run(self, command: Insert | Update | Delete, index: int) -> str:
        if isinstance(command, Insert):
            ids = [row_id for row_id, _ in command.rows]
            if not command.upsert and any(row_id in self._rows for row_id in ids):
                return "row_exists"
            for row_id, data in command.rows:
                self._put(row_id, index, (index, data["v"]))
            return ""
        row = self._rows.get(command.row_id)
        if row is None:
            return "row_not_found"
        if command.if_version not in (None, row[0]):
            return "version_mismatch"
        self._put(command.row_id, index, (index, command.new_data["v"]) if isinstance(command, Update) else None)
        return ""

    def _put(self, row_id: str, index: int, row: Row | None) -> None:
        self._history.setdefault(row_id, []).append((index, row))
        if row is None:
            del self._rows[row_id]
        else:
            self._rows[row_id] = row
