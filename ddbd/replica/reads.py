"""Linearizable reads: a read waits for a read index that was confirmed after it began, then until this node has applied that far.

All reads of one turn share one context, and a context is never asked twice (catalogue: etcd #20418): when the leader changed or nothing
came back in time, its reads join a new one. Each confirmed context also tells how old this node's tables can be: not older than its start.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from ddbd.errors import Busy, DdbError, NoLeader
from ddbd.raft.messages import Context
from ddbd.raft.types import ReadState

IDLE_MAX = 1_000  # waits that are over and still in a queue, beyond as many as are open
LATE_SECONDS = 10.0  # how long an answer to a context that was asked again is still good for something


@dataclass(slots=True, eq=False)
class Waiter:
    """One read."""

    deadline: float
    late: str = "no quorum confirmed the read before its timeout; consistency=local reads this node's own copy"
    gave_up: Callable[[], None] = lambda: None  # called when its client went away
    done: Deferred[None] = field(init=False)
    is_done: bool = False

    def __post_init__(self) -> None:
        self.done = Deferred(self._cancelled)

    def _cancelled(self, _: Deferred[None]) -> None:
        if not self.is_done:
            self.is_done = True
            self.gave_up()

    def finish(self, error: DdbError | None = None) -> None:
        if not self.is_done:
            self.is_done = True
            if error is None:
                self.done.callback(None)
            else:
                self.done.errback(error)


@dataclass(slots=True)
class Asked:
    """A context that was sent to the leader."""

    started: float
    waiters: list[Waiter]
    is_repeated: bool = False  # its reads wait under a later context as well

    @property
    def is_awaited(self) -> bool:
        return any(not waiter.is_done for waiter in self.waiters)


class Reads:
    def __init__(self, nonce: int, open_max: int, repeat_seconds: float) -> None:
        self._nonce = nonce  # of this process life: contexts of an earlier one mean nothing here
        self._count = 0
        self.open_max = open_max
        self._open = 0
        self._repeat_seconds = repeat_seconds
        self._waiting: list[Waiter] = []
        self._asked: dict[Context, Asked] = {}  # in order of start
        self._confirmed: list[tuple[int, int, Asked]] = []  # a heap by index
        self._wanted: list[tuple[int, int, Waiter]] = []  # wait_applied, a heap by index
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._probe = False
        self.fresh_since: float | None = None  # the tables hold all that was committed before this moment

    def add(self, deadline: float) -> Deferred[None]:
        """Raises Busy where too many reads wait."""
        waiter = self._waiter(deadline)
        self._waiting.append(waiter)
        return waiter.done

    def add_index(self, index: int, applied_index: int, deadline: float) -> Deferred[None]:
        waiter = self._waiter(deadline)
        waiter.late = f"this node did not apply index {index} before the timeout; wait longer, or ask for an index that a write answered"
        if index <= applied_index:
            self._open -= 1
            waiter.finish()
        else:
            heapq.heappush(self._wanted, (index, self._tie(), waiter))
        return waiter.done

    def _waiter(self, deadline: float) -> Waiter:
        if self._open >= self.open_max:
            raise Busy(f"{self._open} reads are waiting on this node; try again in a moment")
        self._open += 1
        waiter = Waiter(deadline, gave_up=self._gave_up)
        heapq.heappush(self._deadlines, (deadline, self._tie(), waiter))
        return waiter

    def _gave_up(self) -> None:
        """Its place is free at once: it might have waited for minutes, and with many like it nobody could read."""
        self._open -= 1

    def _tie(self) -> int:
        self._count += 1
        return self._count

    def probe(self) -> None:
        """Asks in the next turn even when no read waits, so that the age of the tables is known."""
        self._probe = True

    def take(self, now: float) -> Context | None:
        """The context to ask for all reads that wait now. Call it only while a leader is known."""
        if not self._waiting and not self._probe:
            return None
        self._probe = False
        context = (self._nonce, self._tie())
        self._asked[context] = Asked(now, self._waiting)
        self._waiting = []
        return context

    def take_back(self, before: float) -> None:
        """Contexts that were asked before that moment are given up; their reads join the next one."""
        while self._asked:
            context, asked = next(iter(self._asked.items()))
            if asked.started > before:
                break
            del self._asked[context]
            self._repeat(asked)

    def _repeat(self, asked: Asked) -> None:
        if not asked.is_repeated:
            asked.is_repeated = True
            self._waiting.extend(waiter for waiter in asked.waiters if not waiter.is_done)

    def _ask_again(self, now: float) -> None:
        """Reads without an answer join another context. A late answer to the first one still counts, for it was asked after they began:
        where the round trips take longer than the wait here, they would otherwise never be served (simulator: seed 2995)."""
        for context, asked in list(self._asked.items()):
            if asked.started > now - self._repeat_seconds:
                break
            self._repeat(asked)
            if asked.started <= now - LATE_SECONDS:
                del self._asked[context]

    def confirmed(self, states: Sequence[ReadState]) -> None:
        for state in states:
            asked = self._asked.pop(state.context, None)
            if asked is not None:
                heapq.heappush(self._confirmed, (state.index, self._tie(), asked))

    def applied(self, applied_index: int) -> None:
        """Serves what may be served now."""
        while self._confirmed and self._confirmed[0][0] <= applied_index:
            asked = heapq.heappop(self._confirmed)[2]
            self.fresh_since = max(self.fresh_since or asked.started, asked.started)
            for waiter in asked.waiters:
                self._finish(waiter)
        while self._wanted and self._wanted[0][0] <= applied_index:
            self._finish(heapq.heappop(self._wanted)[2])

    def expire(self, now: float) -> None:
        self._ask_again(now)
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][2].is_done):
            waiter = heapq.heappop(self._deadlines)[2]
            if not waiter.is_done:  # an error for each read that was served would cost a twentieth of it
                self._finish(waiter, NoLeader(waiter.late))
        self._sweep()

    def _sweep(self) -> None:
        """Waits that are over leave the queues before their deadline, or before an index that may never come, once they are many."""
        idle_max = self._open + IDLE_MAX
        if len(self._deadlines) > idle_max:
            self._deadlines = [each for each in self._deadlines if not each[2].is_done]
            heapq.heapify(self._deadlines)
        if len(self._wanted) > idle_max:
            self._wanted = [each for each in self._wanted if not each[2].is_done]
            heapq.heapify(self._wanted)
        if len(self._confirmed) > idle_max:
            # Of the rounds that nobody waits for, the newest alone tells something new about the age of the tables.
            newest = max(each[2].started for each in self._confirmed)
            self._confirmed = [each for each in self._confirmed if each[2].started == newest or each[2].is_awaited]
            heapq.heapify(self._confirmed)
        if len(self._waiting) > idle_max:
            self._waiting = [waiter for waiter in self._waiting if not waiter.is_done]

    def fail_all(self, error: DdbError) -> None:
        for _, _, waiter in self._deadlines:
            self._finish(waiter, error)
        self._deadlines, self._waiting, self._asked, self._confirmed, self._wanted = [], [], {}, [], []

    def _finish(self, waiter: Waiter, error: DdbError | None = None) -> None:
        if not waiter.is_done:
            self._open -= 1
            waiter.finish(error)
