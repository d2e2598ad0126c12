"""The leader's side of what other nodes carry to it: only proposals that can be applied get into the log, and each of them once.

A node repeats what it hears nothing of. While the leader's disk or its followers are slow, that would fill the log with copies just when
it is slow, so what waits in this leader's log already is not appended again. (Copies in the log are harmless: apply refuses them. They can
still come about when the leader changes.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from ddbd.commands import Applied, Proposal, Register, decode_proposal
from ddbd.errors import DdbError
from ddbd.raft.types import NodeId

Mark = tuple[NodeId, int, int]  # origin, boot, seq; of a registration: origin, 0, nonce


class Foreign(DdbError):
    """What a node carried is not its own, or nothing that can be read."""

    code = "bad_frame"


class Carried:
    def __init__(self) -> None:
        self._term = 0
        self._writes: set[Mark] = set()  # appended in this term, not applied yet
        self._registrations: dict[NodeId, int] = {}  # by nonce

    def fresh(
        self, sender: NodeId, proposals: Sequence[bytes], term: int, registered: Callable[[NodeId], tuple[int, int] | None]
    ) -> dict[Mark, bytes]:
        """Those that are not in the log yet; call `appended` once they are. `registered` tells a node's newest boot and nonce.

        Raises Foreign where they are not the sender's own, or cannot be read: no replica could apply them.
        """
        if term != self._term:
            self._term = term
            self._writes.clear()
            self._registrations.clear()
        marks = self._marks(sender, proposals)
        return {mark: raw for mark, raw in zip(marks, proposals, strict=True) if not self._is_known(mark, registered)}

    def appended(self, marks: Iterable[Mark]) -> None:
        for origin, boot, number in marks:
            if boot:
                self._writes.add((origin, boot, number))
            else:
                self._registrations[origin] = number

    def applied(self, results: Iterable[Applied]) -> None:
        if not self._writes and not self._registrations:
            return
        for result in results:
            if result.seq:
                self._writes.discard((result.origin, result.boot, result.seq))
            else:
                self._registrations.pop(result.origin, None)

    def _is_known(self, mark: Mark, registered: Callable[[NodeId], tuple[int, int] | None]) -> bool:
        """A node that is still being seeded repeats its registration long after it was applied here."""
        origin, boot, nonce = mark
        if boot:
            return mark in self._writes
        there = registered(origin)
        return self._registrations.get(origin) == nonce or (there is not None and there[1] == nonce)

    def _marks(self, sender: NodeId, proposals: Sequence[bytes]) -> list[Mark]:
        try:
            decoded = [decode_proposal(raw) for raw in proposals]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Foreign(f"a proposal that cannot be read: {error}") from error
        strangers = {proposal.origin for proposal in decoded} - {sender}
        if strangers:
            raise Foreign(f"proposals of {', '.join(sorted(strangers))}")
        return [_mark(proposal) for proposal in decoded]


def _mark(proposal: Proposal) -> Mark:
    command = proposal.command
    return (proposal.origin, 0, command.nonce) if isinstance(command, Register) else (proposal.origin, proposal.boot, proposal.seq)
