"""How long turns take, with clocks that the test winds; and a real reactor's poller."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ddbd.turns import FREE_SECONDS, SHARE_SECONDS_MAX, SLOT_SECONDS, SLOTS, Histogram, Turns, bucket_end, bucket_of, probe


class Loop:
    """A reactor whose polls and turns take as long as they are told to."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.asleep = 0.0
        self.turns = Turns(self._poll, lambda: self.wall, lambda: self.cpu)

    def _poll(self, timeout: float, *more: Any) -> tuple[float, Any]:
        self.wall += self.asleep
        return timeout, more

    def turn(self, cpu: float, wall: float | None = None, asleep: float = 0.0, timeout: float = 1.0) -> None:
        self.asleep = asleep
        self.turns.poll(timeout, 1)
        self.cpu += cpu
        self.wall += cpu if wall is None else wall

    def told(self) -> dict[str, Any]:
        self.asleep = 0.0
        self.turns.poll(0.0)
        return self.turns.told()


@pytest.mark.parametrize("value", [0, 1, 15, 16, 31, 32, 33, 1_000, 19_999, 20_000, 123_456, 10**9])
def test_bucket_ends_at_most_a_sixteenth_above_what_is_in_it(value: int) -> None:
    end = bucket_end(bucket_of(value))
    assert value <= end <= value + value // 16
    assert bucket_of(end + 1) == bucket_of(end) + 1


def test_percentile_of_nothing_is_nothing() -> None:
    assert Histogram().percentile(999) == 0.0


def test_one_long_turn_of_a_thousand_is_the_longest_and_not_the_percentile() -> None:
    loop = Loop()
    for _ in range(998):
        loop.turn(0.0001)
    loop.turn(0.050, wall=0.090)
    told = loop.told()
    assert told["turns"] == 1000, "with the one before the first poll"
    assert (told["turn_cpu_ms_p999"], told["turn_wall_ms_p999"]) == (1.0, 1.0)
    assert 50 <= told["turn_cpu_ms_max"] <= 51
    assert told["turn_wall_ms_max"] == 90.0


def test_two_long_turns_of_a_thousand_are_seen_in_the_percentile() -> None:
    loop = Loop()
    for _ in range(997):
        loop.turn(0.0001)
    loop.turn(0.030)
    loop.turn(0.050)
    told = loop.told()
    assert told["turn_cpu_ms_p99"] == 1.0
    assert 30 <= told["turn_cpu_ms_p999"] <= 32


def test_a_turn_is_told_with_at_most_a_millisecond_of_the_turns_before_it() -> None:
    loop = Loop()
    for _ in range(100):
        loop.turn(0.0009)
        loop.turn(0.005)
    assert 5 <= loop.told()["turn_cpu_ms_max"] < 6


def test_waiting_for_the_disk_is_wall_clock_only() -> None:
    loop = Loop()
    loop.turn(0.002, wall=0.080)
    told = loop.told()
    assert (told["turn_cpu_ms_max"], told["turn_wall_ms_max"]) == (2.0, 80.0)


def test_sleep_is_no_turn_and_too_much_of_it_is_late() -> None:
    loop = Loop()
    loop.turn(0.0, asleep=0.4, timeout=0.5)
    loop.turn(0.0, asleep=0.525, timeout=0.5)
    loop.turn(0.0, asleep=5.0, timeout=-1.0)
    told = loop.told()
    assert (told["turn_wall_ms_max"], told["late_ms_max"]) == (0.0, 25.0)


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    loop = Loop()
    loop.turn(0.5)
    for _ in range(SLOTS):
        loop.turn(0.001, asleep=SLOT_SECONDS)
    told = loop.told()
    assert told["turn_cpu_ms_max"] < 3
    assert told["turns"] <= SLOTS + 1
    loop.turn(0.0, asleep=3_600.0, timeout=-1.0)
    assert loop.turns.told() == dict.fromkeys(told, 0)


class Played:
    """What of a reactor the probe needs."""

    def __init__(self) -> None:
        self._poller = select.epoll()
        self._selectables: dict[int, object] = {}
        self.done: list[tuple[object, int, int]] = []

    def _doReadOrWrite(self, selectable: object, fd: int, event: int) -> None:
        self.done.append((selectable, fd, event))
        self._selectables.clear()  # as if what it read had closed all others


@contextmanager
def readable(reactor: Played, count: int) -> Iterator[dict[object, int]]:
    """So many sockets with something to read, each with its number."""
    ready: dict[object, int] = {}
    with ExitStack() as stack:
        for _ in range(count):
            here, there = (stack.enter_context(each) for each in socket.socketpair())
            reactor._poller.register(here.fileno(), select.EPOLLIN)
            reactor._selectables[here.fileno()] = here
            ready[here] = here.fileno()
            there.send(b"x")
        yield ready


def test_the_probe_stands_in_an_epoll_reactor_and_the_poller_goes_on_working() -> None:
    reactor = Played()
    poller: Any = reactor._poller
    turns = probe(reactor)
    assert turns is not None
    stands: Any = reactor._poller
    with open("/dev/null") as readable, pytest.raises(PermissionError):
        stands.register(readable.fileno(), select.EPOLLIN)
    assert stands.poll(0.0, 1) == ()
    assert turns.told()["turns"] == 1
    poller.close()


def test_each_event_goes_to_whom_it_is_for_unless_one_before_it_closed_that() -> None:
    reactor = Played()
    poller: Any = reactor._poller
    probe(reactor)
    stands: Any = reactor._poller
    with readable(reactor, 2) as ready:
        assert stands.poll(1.0, 2) == ()
    ((selectable, fd, event),) = reactor.done
    assert selectable in ready
    assert (fd, event) == (ready[selectable], select.EPOLLIN)
    poller.close()


class Asking(Played):
    """Each event asks for a call soon."""

    turns: Turns

    def _doReadOrWrite(self, selectable: object, fd: int, event: int) -> None:
        self.done.append((selectable, fd, event))
        self.turns.soon(self.called)

    def called(self) -> None:
        self.done.append(("called", 0, 0))
        self.turns.soon(self.called)


def test_what_is_to_be_done_soon_is_done_behind_all_events_of_the_poll() -> None:
    reactor = Asking()
    poller: Any = reactor._poller
    turns = probe(reactor)
    assert turns is not None
    reactor.turns = turns
    stands: Any = reactor._poller
    with readable(reactor, 2):
        stands.poll(1.0, 2)
    assert [selectable == "called" for selectable, _, _ in reactor.done] == [False, False, True, True]
    stands.poll(3_600.0, 2)
    assert len(reactor.done) == 6, "what such a call asks for is done in the next turn, which comes without sleep"
    poller.close()


class Broken(Asking):
    def _doReadOrWrite(self, selectable: object, fd: int, event: int) -> None:
        super()._doReadOrWrite(selectable, fd, event)
        raise ZeroDivisionError


def test_what_is_to_be_done_soon_is_done_even_where_an_event_breaks_off() -> None:
    reactor = Broken()
    poller: Any = reactor._poller
    turns = probe(reactor)
    assert turns is not None
    reactor.turns = turns
    stands: Any = reactor._poller
    with readable(reactor, 1) as ready, pytest.raises(ZeroDivisionError):
        stands.poll(1.0, 1)
    assert [selectable for selectable, _, _ in reactor.done] == [*ready, "called"]
    poller.close()


class Working(Loop):
    """Pieces of work that take their time, and what each turn did."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.slept: list[float] = []

    def _poll(self, timeout: float, *more: Any) -> tuple[float, Any]:
        self.slept.append(timeout)
        return super()._poll(timeout, *more)

    def piece(self, name: str, seconds: float, again: bool = False) -> Callable[[], None]:
        def work() -> None:
            self.done.append(name)
            self.wall += seconds
            if again:
                self.turns.when_free(work)

        return work

    def go(self, events_seconds: float = 0.0) -> str:
        """One turn; what it did behind its events."""
        self.done = []
        self.turns.poll(60.0)
        self.wall += events_seconds
        self.turns.end()
        return " ".join(self.done)


def test_long_work_comes_while_the_turn_has_time_and_no_turn_sleeps_before_it() -> None:
    loop = Working()
    for name in "abc":
        loop.turns.when_free(loop.piece(name, FREE_SECONDS * 0.6))
    assert [loop.go(), loop.go(FREE_SECONDS / 4), loop.go()] == ["a b", "c", ""]
    assert loop.slept == [0.0, 0.0, 60.0]


def test_what_comes_soon_comes_first_and_long_work_waits_where_that_took_long() -> None:
    loop = Working()
    loop.turns.when_free(loop.piece("long", 0.0))
    loop.turns.soon(loop.piece("soon", FREE_SECONDS))
    assert [loop.go(), loop.go()] == ["soon", "long"]


def test_long_work_that_a_turn_had_no_time_for_comes_first_in_the_next_one() -> None:
    """Of two turns one: neither keeps the other away, however much there is of either."""
    loop = Working()

    def soon() -> None:
        loop.piece("soon", 2 * FREE_SECONDS)()
        loop.turns.soon(soon)

    loop.turns.soon(soon)
    loop.turns.when_free(loop.piece("long", 2 * FREE_SECONDS, again=True))
    assert [loop.go() for _ in range(4)] == ["soon", "long soon", "soon", "long soon"]


def test_long_work_has_as_much_of_a_turn_as_the_events_had() -> None:
    """256 clients with small requests fill a turn; whoever reads a whole table beside them must come to an end."""
    loop = Working()
    for name in "abcdefgh":
        loop.turns.when_free(loop.piece(name, FREE_SECONDS, again=True))
    assert loop.go(3.5 * FREE_SECONDS) == "a b c d"
    assert loop.go(3.5 * FREE_SECONDS) == "e f g h"
    loop.turns.soon(loop.piece("soon", FREE_SECONDS))
    assert loop.go(3.5 * FREE_SECONDS) == "soon a b c"
    assert len(loop.go(100 * FREE_SECONDS).split()) == SHARE_SECONDS_MAX / FREE_SECONDS


def test_long_work_that_asks_again_waits_for_another_turn_behind_the_others() -> None:
    loop = Working()
    loop.turns.when_free(loop.piece("a", 0.0, again=True))
    assert [loop.go(), loop.go()] == ["a", "a"]
    for name in "bc":
        loop.turns.when_free(loop.piece(name, 2 * FREE_SECONDS, again=True))
    assert [loop.go() for _ in range(4)] == ["a b", "c", "a b", "c"], "none is left out"


def test_work_that_breaks_off_takes_none_of_the_others_along() -> None:
    loop = Working()

    def breaks() -> None:
        raise ZeroDivisionError

    for ask in (loop.turns.when_free, loop.turns.soon):
        ask(breaks)
        ask(loop.piece(ask.__name__, 0.0))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            loop.go()
    assert [loop.go(), loop.go()] == ["when_free", ""]
    assert loop.slept[-2:] == [0.0, 60.0]


def test_another_reactor_tells_nothing() -> None:
    assert probe(SimpleNamespace()) is None
