"""The state machine: entries in, answers out, the same on every replica. No clock, no dice, no I/O but the backend's.

For each entry, in this order: at most two idempotency keys that are too old are forgotten; the proposal window decides whether the
proposal counts at all; a known key gives its stored outcome; else the command runs, and its outcome is stored with its key. Whatever
came of it goes into the chained hash. All entries up to the next `commit` are one transaction.

What all replicas must have alike, because outcomes depend on it: `limits.idempotency_keys_max`, `limits.idempotency_hours`,
`limits.row_bytes_max` and `limits.batch_cells_max`. The nodes' configs must agree on these four; when they do not, the chained hash tells.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from ddbd.commands import Answer, Applied, Proposal, Register, decode_answer, decode_proposal, encode_answer
from ddbd.config import Limits
from ddbd.errors import Corrupt, Refused
from ddbd.raft.types import COMMAND, MEMBERSHIP, Entry, Membership, SnapshotMeta
from ddbd.storage.backend import FORMAT, Backend, Kept, Progress
from ddbd.storage.effects import Effects
from ddbd.storage.windows import Window

HASH_FORMAT = b"ddb1"  # blake2b-128 of the format, the hash before, and MessagePack of (index, effect, answer, keys forgotten)
HASH_BYTES = 16
HASHES_KEPT = 8_192
FORGOTTEN_PER_ENTRY = 2
HOUR_MS = 3_600_000

_encode = msgspec.msgpack.Encoder().encode


class Machine:
    """Raises Corrupt when what the backend holds, or an entry, cannot be."""

    def __init__(self, backend: Backend, limits: Limits, founders: Membership | None = None) -> None:
        """`founders` is the membership before the first entry; it ends with what is loaded."""
        self._backend = backend
        self._limits = limits
        progress, self.catalogue, self.windows = backend.load()
        if progress.format > FORMAT:
            raise Corrupt(f"the tables have format {progress.format}, this node reads up to {FORMAT}; start a newer version")
        self.index = progress.index
        self.term = progress.term
        self.stamp = progress.stamp
        self.membership: Membership | None = progress.membership_value() or founders
        self._membership_bytes = progress.membership or (b"" if founders is None else founders.to_bytes())
        self._hash = progress.state_hash
        self._hashes: OrderedDict[int, bytes] = OrderedDict({self.index: self._hash})
        self._is_begun = False  # a transaction, which `commit` ends
        self._touched: set[str] = set()  # origins whose window changed since the last commit
        self._effects = Effects(backend, self.catalogue, limits)
        self.keys = backend.key_count()
        self._oldest = backend.key_oldest()

    def run(self, entries: Sequence[Entry]) -> list[Applied]:
        """See `storage.Tables`. Needs entries, and a `commit` behind the last of several runs."""
        if not self._is_begun:
            self._is_begun = True
            self._backend.begin()
        applied: list[Applied] = []
        for entry in entries:
            assert entry.index == self.index + 1, f"entry {entry.index} applied after {self.index}"
            result = self._one(entry)
            if result is not None:
                applied.append(result)
        return applied

    def commit(self) -> None:
        """Until then the backend's own connection alone sees what was run."""
        self._is_begun = False
        self._backend.commit(self._progress(), [(origin, self.windows[origin]) for origin in self._touched], self._effects.counted)
        self._touched.clear()
        self._effects.counted.clear()

    def place(self) -> SnapshotMeta:
        return SnapshotMeta(self.index, self.term, self.stamp, self.membership or Membership(()))

    def _progress(self) -> Progress:
        default = self.catalogue.default
        default_id = 0 if default is None else default.id
        return Progress(FORMAT, self.index, self.term, self.stamp, self._membership_bytes, self._hash, default_id)

    def _one(self, entry: Entry) -> Applied | None:
        index, self.term, self.stamp, kind, data = entry
        self.index = index
        forgotten = self._forget_keys(entry.stamp) if self._oldest is not None else 0
        effect: tuple[Any, ...] = ()
        answer: Answer | None = None
        applied: Applied | None = None
        if kind is COMMAND:
            proposal = self._decode(entry)
            effect, answer = self._propose(proposal, entry)
            applied = Applied(index, proposal.origin, proposal.boot, proposal.seq, answer)
        elif kind is MEMBERSHIP:
            self.membership = Membership.from_bytes(data)
            self._membership_bytes = data
            effect = ("membership", data)
        self._chain(index, effect, answer, forgotten)
        return applied

    def _decode(self, entry: Entry) -> Proposal:
        try:
            return decode_proposal(entry.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Corrupt(f"entry {entry.index} holds no command: {error}") from error

    def _chain(self, index: int, effect: tuple[Any, ...], answer: Answer | None, forgotten: int) -> None:
        self._hash = blake2b(HASH_FORMAT + self._hash + _encode((index, effect, answer, forgotten)), digest_size=HASH_BYTES).digest()
        self._hashes[index] = self._hash
        if len(self._hashes) > HASHES_KEPT:
            self._hashes.popitem(last=False)

    def state_hash(self, index: int) -> bytes | None:
        return self._hashes.get(index)

    # One proposal.

    def _propose(self, proposal: Proposal, entry: Entry) -> tuple[tuple[Any, ...], Answer | None]:
        if type(proposal.command) is Register:
            return self._register(proposal.command, entry.index)
        window = self.windows.get(proposal.origin)
        if window is None or not window.accept(proposal.boot, proposal.seq, proposal.floor):
            return (), None
        self._touched.add(proposal.origin)
        if proposal.key:
            return self._keyed(proposal, entry)
        return self._run(proposal, entry.index)

    def _register(self, command: Register, index: int) -> tuple[tuple[Any, ...], Answer | None]:
        window = self.windows.get(command.node)
        if window is not None and window.nonce == command.nonce:
            return (), None
        self.windows[command.node] = Window(index, command.nonce, command.formats)
        self._touched.add(command.node)
        return ("register", command.node, command.nonce), Answer("", "", {"boot": index, "index": index})

    def _run(self, proposal: Proposal, index: int) -> tuple[tuple[Any, ...], Answer]:
        try:
            body, effect = self._effects.run(proposal.command, index)
        except Refused as refused:
            return (), Answer(refused.code, refused.detail, {})
        return effect, Answer("", "", body)

    # Idempotency keys.

    def _keyed(self, proposal: Proposal, entry: Entry) -> tuple[tuple[Any, ...], Answer]:
        kept = self._backend.key_get(proposal.key)
        if kept is not None and not self._too_old(kept.stamp, entry.stamp):
            if kept.fingerprint == proposal.fingerprint:
                return ("again", kept.index), decode_answer(kept.answer)
            detail = "this Idempotency-Key was used with another request; use a new key for a new request"
            return (), Answer("idempotency_mismatch", detail, {})
        if kept is not None:
            self._forget(kept.index)
        if self.keys >= self._limits.idempotency_keys_max:
            detail = f"the table of idempotency keys is full ({self.keys}); send the request without a key, or later"
            return (), Answer("idempotency_full", detail, {})
        effect, answer = self._run(proposal, entry.index)
        self._backend.key_put(proposal.key, Kept(entry.index, proposal.fingerprint, encode_answer(answer), entry.stamp))
        self.keys += 1
        if self._oldest is None:
            self._oldest = (entry.index, entry.stamp)
        return effect, answer

    def _too_old(self, stamp: int, now: int) -> bool:
        return stamp + self._limits.idempotency_hours * HOUR_MS <= now

    def _forget_keys(self, now: int) -> int:
        forgotten = 0
        while forgotten < FORGOTTEN_PER_ENTRY and self._oldest is not None and self._too_old(self._oldest[1], now):
            self._forget(self._oldest[0])
            forgotten += 1
        return forgotten

    def _forget(self, index: int) -> None:
        self._backend.key_delete(index)
        self.keys -= 1
        if self._oldest is not None and self._oldest[0] == index:
            self._oldest = self._backend.key_oldest()
