"""The writes of this node's clients, from the door to the answer: held, sent to the leader, repeated, applied at most once.

A write is `held` until this node has registered (its boot is the index of that entry, so a boot never repeats) and a leader is known.
Then it gets a sequence number and is `sent`. It is sent again when the leader changes, when the stream to it is new, and after a silence.
Apply refuses what it has seen (`Proposal`), so repeating is safe, and this node knows exactly what became of each write: it applies the
same log. Only three ends are possible:

- the answer, when this node applies it;
- NoLeader at the deadline while it was held: it never left, so it is certainly not done;
- OutcomeUnknown at the deadline once it was sent. Its number then falls below the floor, and a copy that is still on its way is refused as
  soon as a later write of this node is applied.

Should another registration of this node surface (one from before a restart that was long on its way), all that was sent and not applied is
refused for ever under the old boot. So it goes back to held, and this node registers anew.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec
from twisted.logger import Logger

from ddbd.commands import Answer, AnyCommand, Applied, Proposal, Register, Tell, encode_proposal
from ddbd.errors import Busy, DdbError, NoLeader, NotReady, OutcomeUnknown
from ddbd.raft.types import NodeId
from ddbd.replica.promises import Dice

FORWARD_BYTES_MAX = 1024 * 1024  # of proposals in one message to the leader
REPEAT_SECONDS = 0.5  # of silence before a write is sent again; doubles each time
REPEAT_SECONDS_MAX = 8.0
NOTHING = msgspec.Raw(b"")
IDLE_MAX = 1_000  # writes that are over and still in the queue of deadlines, beyond as many as are open

logger = Logger()


class Windows(Protocol):
    """What the tables know of this node's proposals."""

    def registered(self, origin: str) -> tuple[int, int] | None: ...

    def open_sequences(self, origin: str) -> tuple[int, int, list[tuple[int, int]]]: ...


def _nobody(_: Answer | DdbError) -> None: ...


class Write:
    """One client's write under way."""

    __slots__ = ("command", "deadline", "fingerprint", "is_done", "is_in_doubt", "key", "repeat_at", "repeat_seconds", "seq", "tell")

    def __init__(self, command: AnyCommand, key: str, fingerprint: bytes, deadline: float, tell: Tell) -> None:
        self.command: Any = msgspec.Raw(msgspec.msgpack.encode(command))  # stands in a Proposal as it is
        self.key = key
        self.fingerprint = fingerprint
        self.deadline = deadline
        self.tell = tell
        self.seq: int | None = None  # None while held
        self.repeat_at = 0.0
        self.repeat_seconds = REPEAT_SECONDS  # of the silence before `repeat_at`
        self.is_in_doubt = False  # while held: it was sent before, and may have been done
        self.is_done = False


class Proposals:
    """Invariant: every write that is not done is in exactly one of `_held` and `_sent`."""

    def __init__(self, node_id: NodeId, dice: Dice, open_max: int, open_bytes_max: int) -> None:
        self._node_id = node_id
        self._dice = dice
        self.open_max = open_max
        self.open_bytes_max = open_bytes_max
        self._nonce = dice.getrandbits(63)
        self._boot: int | None = None  # None until registered
        self._next_seq = 1
        self._held: deque[Write] = deque()
        self._sent: dict[int, Write] = {}  # in order of seq
        self._deadlines: list[tuple[float, int, Write]] = []
        self._count = 0  # breaks ties in the heap
        self._open_bytes = 0  # of the commands of all that is held or sent
        self._register_at = 0.0
        self._register_seconds = REPEAT_SECONDS
        self._repeat_check_at = 0.0
        self.is_stopping = False
        self.refused = 0  # writes that were turned away or given up here, since the start

    @property
    def open_count(self) -> int:
        return len(self._held) + len(self._sent)

    @property
    def is_registered(self) -> bool:
        return self._boot is not None

    def add(self, command: AnyCommand, key: str, fingerprint: bytes, deadline: float, tell: Tell) -> None:
        """Raises Busy where too many writes are open, NotReady where the node stops; then nobody is told."""
        if self.is_stopping:
            raise NotReady("this node is stopping; send the call to another one")
        if len(self._held) + len(self._sent) >= self.open_max or self._open_bytes >= self.open_bytes_max:
            self.refused += 1
            raise Busy(f"{self.open_count} writes are under way on this node; try again in a moment")
        write = Write(command, key, fingerprint, deadline, tell)
        self._held.append(write)
        self._open_bytes += len(write.command)
        self._count += 1
        heapq.heappush(self._deadlines, (deadline, self._count, write))

    # To the leader.

    def take(self, now: float) -> list[bytes]:
        """What should go to the leader now: the registration, or else the held writes. Call it only while a leader is known."""
        if self._boot is None:
            if now < self._register_at:
                return []
            self._register_at = now + self._register_seconds
            self._register_seconds = min(2 * self._register_seconds, REPEAT_SECONDS_MAX)
            return [encode_proposal(Proposal(self._node_id, 0, 0, 0, Register(self._node_id, self._nonce)))]
        taken: list[bytes] = []
        sent, seq, boot, repeat_at = self._sent, self._next_seq, self._boot, now + REPEAT_SECONDS
        floor = next(iter(sent), seq)
        for write in self._held:
            write.seq, write.repeat_at = seq, repeat_at
            sent[seq] = write
            taken.append(self._encode(write, boot, seq, floor))
            seq += 1
        self._next_seq = seq
        self._held.clear()
        return taken

    def take_back(self, now: float) -> None:
        """What `take` gave could not be appended (leadership is changing): it is sent again as soon as there is a leader."""
        self._register_at = now
        for write in self._sent.values():
            write.repeat_at = now

    def take_repeats(self, now: float, all_of_them: bool) -> list[bytes]:
        """Sent writes that nothing was heard of: all of them after a change of leader or stream, else those that were silent long."""
        if all_of_them:
            self._register_at, self._register_seconds = 0.0, REPEAT_SECONDS
            for write in self._sent.values():
                write.repeat_seconds = REPEAT_SECONDS / 2
            return self._encode_again(list(self._sent.items()), now)
        if now < self._repeat_check_at:
            return []
        self._repeat_check_at = now + REPEAT_SECONDS / 5
        return self._encode_again([(seq, write) for seq, write in self._sent.items() if write.repeat_at <= now], now)

    def _encode_again(self, writes: list[tuple[int, Write]], now: float) -> list[bytes]:
        if not writes:
            return []
        boot, floor = self._boot, next(iter(self._sent))
        assert boot is not None, "writes leave only under a boot"
        for _, write in writes:
            write.repeat_seconds = min(2 * write.repeat_seconds, REPEAT_SECONDS_MAX)
            write.repeat_at = now + write.repeat_seconds
        return [self._encode(write, boot, seq, floor) for seq, write in writes]

    def _encode(self, write: Write, boot: int, seq: int, floor: int) -> bytes:
        """`floor` is the lowest number that is not done."""
        return encode_proposal(Proposal(self._node_id, boot, seq, floor, write.command, write.key, write.fingerprint))

    # From the log.

    def applied(self, results: Iterable[Applied], windows: Windows) -> None:
        """Entries were applied here. Answers go to whoever waits."""
        saw_registration = False
        for result in results:
            if result.origin != self._node_id:
                continue
            if result.seq == 0:
                saw_registration = True
            elif result.boot == self._boot and result.answer is not None:
                write = self._sent.pop(result.seq, None)
                if write is not None:
                    self._finish(write, result.answer)
        if saw_registration:
            self._learn_boot(windows, are_all_known=True)

    def _learn_boot(self, windows: Windows, are_all_known: bool) -> None:
        """`are_all_known`: every write that was applied under the old boot has been answered."""
        registered = windows.registered(self._node_id)
        if registered is None:
            return
        boot, nonce = registered
        if nonce == self._nonce:
            if self._boot not in (None, boot) and not are_all_known:
                self._doubt(list(self._sent.values()))  # a second copy of the registration came behind one of an earlier life
            self._boot = boot
        elif self._boot is not None:
            # A registration from an earlier life came late and took this one's place.
            self._nonce = self._dice.getrandbits(63)
            self._boot = None
            self._register_seconds = REPEAT_SECONDS
            if are_all_known:
                self._hold_again(list(self._sent.values()))
            else:
                self._doubt(list(self._sent.values()))

    def _hold_again(self, writes: list[Write]) -> None:
        for write in reversed(writes):
            assert write.seq is not None, "only sent writes are held again"
            del self._sent[write.seq]
            write.seq = None
            write.repeat_seconds = REPEAT_SECONDS
            self._held.appendleft(write)

    def skipped(self, windows: Windows) -> None:
        """A snapshot took the place of entries that this node has not applied: ask its windows what became of the writes."""
        self._learn_boot(windows, are_all_known=False)
        if self._boot is None:
            return
        boot, _, ranges = windows.open_sequences(self._node_id)
        if boot != self._boot:
            return
        self._doubt([write for seq, write in self._sent.items() if any(low <= seq <= high for low, high in ranges)])

    def _doubt(self, writes: list[Write]) -> None:
        """They were done, or may have been. With a key the stored answer comes back to a new proposal; without one it is gone."""
        self._hold_again([write for write in writes if write.key])
        for write in writes:
            write.is_in_doubt = True
            if not write.key:
                assert write.seq is not None, "a sent write has a number"
                del self._sent[write.seq]
                self._finish(
                    write, OutcomeUnknown("the write may have been done while this node was away; its answer is lost, read the row")
                )

    # Time.

    def expire(self, now: float) -> None:
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][2].is_done):
            write = heapq.heappop(self._deadlines)[2]
            if write.is_done:
                continue
            self.refused += 1
            if write.seq is None:
                self._held.remove(write)
            else:
                del self._sent[write.seq]
            if write.seq is None and not write.is_in_doubt:
                self._finish(write, NoLeader("there was no leader to take the write before its timeout; it was not done"))
            else:
                unknown = "no answer before the timeout; the write may be done: repeat it with the same Idempotency-Key"
                self._finish(write, OutcomeUnknown(unknown))
        if len(self._deadlines) > self.open_count + IDLE_MAX:
            self._deadlines = [each for each in self._deadlines if not each[2].is_done]
            heapq.heapify(self._deadlines)

    def fail_all(self, error: Callable[[], DdbError]) -> None:
        """The node stops: whoever still waits is told."""
        for write in [*self._held, *self._sent.values()]:
            is_held = write.seq is None and not write.is_in_doubt
            self._finish(write, NotReady("this node stopped; the write was not done") if is_held else error())
        self._held.clear()
        self._sent.clear()

    def _finish(self, write: Write, outcome: Answer | DdbError) -> None:
        write.is_done = True
        self._open_bytes -= len(write.command)
        tell, write.tell = write.tell, _nobody  # it stays in the queue of deadlines for a while: who was told need not
        write.command = NOTHING
        try:
            tell(outcome)
        except Exception:  # noqa: BLE001 - a bug in a client's handler is no reason to doubt this replica
            logger.failure("whoever was told what became of a write failed")
