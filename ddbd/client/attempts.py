"""Which node is asked next, how long, and when to give up: a state machine without clock, dice or socket.

    attempts = Attempts(call, nodes, policy, now, random)
    step = attempts.next(now)       Send(address, timeout_seconds) or Pause(seconds); raises the error when it is time to give up
    attempts.failed(…)              no answer came
    attempts.answered(answer)       Result(value), or None: go on with next(). Raises what a clear no comes to

The rules, in the order in which they matter:

- Every write has an idempotency key, so every write may be sent again: it is applied once, whichever node answers in the end.
- Refused, broken off, too late, 502, 503, 504, or no answer of a node at all: the next node is asked at once. When all were asked, a pause
  that doubles, or what `Retry-After` asks for if that is longer; then another round, in which each attempt may take twice as long.
- A node that answered 500 has a fault of its own: each node is asked once, and then it is the answer.
- 307 is followed to a node of the list only. The list is the caller's; an answer that names somebody else is no reason to go there.
- The deadline is the caller's. At its end the error says what is known: nobody was reached; certainly not done; or nobody knows.
- A write that no node took so far begins no attempt that the deadline would cut off: "certainly not done" is worth more than the last 3 s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from ddbd.client.calls import NODE_SECONDS, Call
from ddbd.client.errors import BadAnswer, ClientError, DiskFull, NoNodeAnswers, OutcomeUnknown, ServerFault, Unavailable, error_class
from ddbd.client.http import Answer, Problem
from ddbd.client.nodes import Nodes

T = TypeVar("T")

REDIRECTS_MAX = 3
ATTEMPT_SECONDS_MIN = 0.05  # less than this before the deadline is no attempt
ON_THE_WAY_SECONDS = 0.3  # from a node that gave a call up to its client
RETRY_AFTER_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Policy:
    """`attempt_seconds` is above the 3 s after which a node itself gives up (`calls.NODE_SECONDS`), so that its answer comes first."""

    deadline_seconds: float = 30.0  # of a whole call, with all its attempts
    attempt_seconds: float = 4.0  # of one attempt in the first round; doubled with each round
    attempt_seconds_max: float = 30.0
    pause_seconds: float = 0.05  # after the first round; doubled with each round
    pause_seconds_max: float = 1.0


@dataclass(frozen=True, slots=True)
class Send:
    address: str
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    value: T


class SendFailed(Exception):
    """No whole answer. `may_be_done`: the request may have reached the node."""

    def __init__(self, reason: str, may_be_done: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_be_done = may_be_done


class Attempts(Generic[T]):
    def __init__(self, call: Call[T], nodes: Nodes, policy: Policy, now: float, random: Callable[[], float]) -> None:
        self._call = call
        self._nodes = nodes
        self._policy = policy
        self._random = random
        self._deadline = now + policy.deadline_seconds
        self._queue = deque(nodes.in_order())
        self._round = 0
        self._redirects = 0
        self._faults = 0
        self._retry_after_seconds = 0.0  # the longest that was asked for in this round
        self._may_be_done = False  # by an attempt of this call
        self._is_unanswered = False  # one that may be done, and of which nothing was heard
        self._reasons: dict[str, str] = {}  # by address, of the last attempt there
        self._problem: Problem | None = None  # the last "not now"
        self._last_address = nodes.first

    def next(self, now: float) -> Send | Pause:
        """Raises ClientError when the deadline does not allow another attempt."""
        left = self._deadline - now
        if left < ATTEMPT_SECONDS_MIN or (self._queue and left < self._seconds_min()):
            raise self._give_up()
        if self._queue:
            self._last_address = self._queue.popleft()
            patience = min(self._policy.attempt_seconds * 2.0**self._round, self._policy.attempt_seconds_max)
            return Send(self._last_address, min(patience, left))
        pause = self._pause_seconds()
        if pause + self._seconds_min() > left:
            raise self._give_up()
        self._queue.extend(self._nodes.in_order())
        self._round += 1
        self._retry_after_seconds = 0.0
        return Pause(pause)

    def _seconds_min(self) -> float:
        """Less than this before the deadline is no further attempt. A write that is certainly not done so far stays so: an attempt that the
        deadline would cut off before the node's own answer could only make it doubtful. Who has little time wants it used for attempts.
        """
        is_clear = self._call.request.is_write and self._problem is not None and not self._may_be_done
        return min(NODE_SECONDS + ON_THE_WAY_SECONDS, self._policy.deadline_seconds / 4) if is_clear else ATTEMPT_SECONDS_MIN

    def left_seconds(self, now: float) -> float:
        """For an answer whose head is there: all of it comes before the deadline, or it is given up."""
        return max(self._deadline - now, ATTEMPT_SECONDS_MIN)

    def _pause_seconds(self) -> float:
        """With jitter, so that many clients do not come back in step."""
        longest = min(self._policy.pause_seconds * 2.0**self._round, self._policy.pause_seconds_max)
        return max(longest * (0.5 + self._random() / 2), self._retry_after_seconds)

    def failed(self, address: str, reason: str, may_be_done: bool) -> None:
        """Raises OutcomeUnknown where the request must not be sent again: it may be done, and has no key."""
        self._failed(address, reason, may_be_done)
        self._is_unanswered = self._is_unanswered or may_be_done
        request = self._call.request
        if may_be_done and not request.is_keyed:
            detail = f"it may be done or not: {address} {reason}; see who leads before it is asked again"
            raise OutcomeUnknown(detail, idempotency_key="", curl=request.curl(address))

    def _failed(self, address: str, reason: str, may_be_done: bool) -> None:
        self._reasons[address] = reason
        self._may_be_done = self._may_be_done or may_be_done
        self._nodes.failed(address)

    def answered(self, answer: Answer) -> Result[T] | None:
        """Raises ClientError for a clear no."""
        if 200 <= answer.status < 300:
            return self._read(answer)
        if answer.status in (307, 308):
            self._follow(answer)
            return None
        problem = Problem.of(answer)
        if problem.status in (502, 503, 504) and problem.code != "idempotency_full":
            self._not_now(answer, problem)
            return None
        if problem.status == 500:
            self._faults += 1
            self._failed(answer.address, problem.detail, True)
            if self._call.request.is_keyed and self._faults < len(self._nodes.addresses):
                return None
        self._nodes.answered(answer.address)
        raise self._error(error_class(problem.code, problem.status), problem, answer.address)

    def _read(self, answer: Answer) -> Result[T] | None:
        try:
            value = self._call.read(answer)
        except BadAnswer as error:
            self.failed(answer.address, error.detail.removeprefix(f"{answer.address} "), True)
            return None
        self._nodes.answered(answer.address)
        return Result(value)

    def _not_now(self, answer: Answer, problem: Problem) -> None:
        # Only a node's own 503 promises that nothing was done; a proxy in between may have lost an answer.
        self._problem = problem
        self.failed(answer.address, problem.detail, problem.status != 503 or not problem.code)
        wait = answer.headers.get("retry-after", "")
        if wait.isascii() and wait.isdecimal():
            self._retry_after_seconds = max(self._retry_after_seconds, min(float(wait), RETRY_AFTER_SECONDS_MAX))

    def _follow(self, answer: Answer) -> None:
        target = urlsplit(answer.headers.get("location", "")).netloc.lower()
        problem = Problem.of(answer)
        self._redirects += 1
        if self._redirects > REDIRECTS_MAX:
            self.failed(answer.address, "sends from node to node without end", False)
        elif target not in self._nodes:
            detail = f"{answer.address} sends on to {target or 'nowhere'}, which is none of the nodes that this client was told of; name it"
            raise self._error(Unavailable, Problem(answer.status, problem.code or "not_master", detail), answer.address)
        else:
            self._queue.appendleft(target)

    def _error(self, kind: type[ClientError], problem: Problem, address: str) -> ClientError:
        detail = problem.detail or f"{address} answered {problem.status}"
        curl, key = self._call.request.curl(address), self._call.request.idempotency_key
        if self._is_unanswered and key is not None and issubclass(kind, (ServerFault, Unavailable, DiskFull)):
            # This answer is of another attempt than the one that may have done it.
            detail = f"the write may be done or not: {detail}; repeat it with the same idempotency key, {key}"
            return OutcomeUnknown(detail, idempotency_key=key, status=problem.status, curl=curl)
        return kind(detail, code=problem.code, status=problem.status, curl=curl, more=problem.more)

    def _give_up(self) -> ClientError:
        curl = self._call.request.curl(self._last_address)
        seconds = f"{self._policy.deadline_seconds:g} s"
        said = "; ".join(f"{address} {reason}" for address, reason in self._reasons.items()) or "there was no time for one attempt"
        key = self._call.request.idempotency_key
        if self._may_be_done and key is not None:
            detail = f"the write may be done or not: no answer within {seconds} ({said}); repeat it with the same idempotency key, {key}"
            status = None if self._problem is None else self._problem.status
            return OutcomeUnknown(detail, idempotency_key=key, status=status, curl=curl)
        if self._problem is not None:
            problem = self._problem
            return Unavailable(f"no node could do it within {seconds}: {said}", code=problem.code, status=problem.status, curl=curl)
        if self._faults:
            return ServerFault(f"no node could do it within {seconds}: {said}", status=500, curl=curl)
        return NoNodeAnswers(f"no node answered within {seconds}: {said}", curl=curl)
