"""The writes of one node, from the door to the answer: held, sent, answered; and the three ends that there are."""

from __future__ import annotations

import gc
import random
import weakref
from itertools import pairwise
from typing import Any

import pytest
from replica_kit import insert

from ddbd.commands import Answer, Applied, Proposal, Register, decode_proposal
from ddbd.errors import Busy, DdbError, NoLeader, NotReady, OutcomeUnknown
from ddbd.replica.proposals import REPEAT_SECONDS, REPEAT_SECONDS_MAX, Proposals

OK = Answer("", "", {"row_id": "a"})
NEVER = 1e9


class Windows:
    """What the tables would know of node 1."""

    def __init__(self) -> None:
        self.registration: tuple[int, int] | None = None
        self.floor = 0
        self.ranges: list[tuple[int, int]] = []

    def registered(self, origin: str) -> tuple[int, int] | None:
        return self.registration

    def open_sequences(self, origin: str) -> tuple[int, int, list[tuple[int, int]]]:
        assert self.registration is not None
        return self.registration[0], self.floor, self.ranges


class Node:
    """Proposals with what stands around them."""

    def __init__(self, open_max: int = 100, open_bytes_max: int = 10_000) -> None:
        self.proposals = Proposals("1", random.Random(1), open_max, open_bytes_max)
        self.windows = Windows()
        self.now = 0.0

    def add(self, row_id: str = "a", deadline: float = NEVER, key: str = "", value: Any = None) -> list[Any]:
        """What the client is told, once it is."""
        got: list[Any] = []
        self.proposals.add(insert(row_id, value), key, b"f" if key else b"", deadline, got.append)
        return got

    def take(self) -> list[Proposal]:
        return [decode_proposal(data) for data in self.proposals.take(self.now)]

    def repeats(self, all_of_them: bool = False) -> list[int]:
        return [decode_proposal(data).seq for data in self.proposals.take_repeats(self.now, all_of_them)]

    def register(self, boot: int = 10) -> None:
        (proposal,) = self.take()
        assert isinstance(proposal.command, Register)
        self.registered(boot, proposal.command.nonce)

    def registered(self, boot: int, nonce: int) -> None:
        """A registration of this node is applied."""
        self.windows.registration = (boot, nonce)
        self.proposals.applied([Applied(boot, "1", 0, 0, OK)], self.windows)

    def applied(self, seq: int, boot: int = 10, answer: Answer | None = OK, origin: str = "1") -> None:
        self.proposals.applied([Applied(99, origin, boot, seq, answer)], self.windows)

    def expire(self, now: float) -> None:
        self.now = now
        self.proposals.expire(now)


@pytest.fixture
def node() -> Node:
    """Registered under boot 10."""
    made = Node()
    made.register()
    return made


def test_a_write_is_held_until_the_node_has_registered() -> None:
    node = Node()
    node.add()
    (proposal,) = node.take()
    assert isinstance(proposal.command, Register)
    assert node.take() == [], "a registration under way is not repeated at once"
    node.now = REPEAT_SECONDS
    (again,) = node.take()
    assert again == proposal
    node.registered(10, proposal.command.nonce)
    assert [(each.boot, each.seq) for each in node.take()] == [(10, 1)]


def test_a_write_is_sent_once_and_answered_when_it_is_applied(node: Node) -> None:
    got = node.add()
    (proposal,) = node.take()
    assert proposal == Proposal("1", 10, 1, 1, insert("a"))
    assert node.take() == []
    assert got == []
    node.applied(1)
    assert got == [OK]
    assert node.proposals.open_count == 0


def test_the_floor_is_the_lowest_write_that_waits(node: Node) -> None:
    for row_id in "abc":
        node.add(row_id)
    assert [(each.seq, each.floor) for each in node.take()] == [(1, 1), (2, 1), (3, 1)]
    node.applied(1)
    node.add("d")
    assert [(each.seq, each.floor) for each in node.take()] == [(4, 2)]


def test_what_another_node_wrote_answers_nobody_here(node: Node) -> None:
    got = node.add()
    node.take()
    node.applied(1, origin="2")
    node.applied(1, boot=9)
    node.applied(1, answer=None)
    assert got == []
    node.applied(1)
    node.applied(1)
    assert got == [OK]


def test_a_held_write_was_certainly_not_done_at_its_deadline(node: Node) -> None:
    got = node.add(deadline=1.0)
    node.expire(0.99)
    assert got == []
    node.expire(1.0)
    assert isinstance(got[0], NoLeader)
    assert node.take() == []


def test_a_sent_write_is_unknown_at_its_deadline_and_falls_below_the_floor(node: Node) -> None:
    got = node.add(deadline=1.0)
    node.take()
    node.expire(1.0)
    assert isinstance(got[0], OutcomeUnknown)
    node.applied(1)
    assert len(got) == 1
    node.add("b")
    assert [(each.seq, each.floor) for each in node.take()] == [(2, 2)]


def test_a_sent_write_is_repeated_after_a_silence_that_doubles(node: Node) -> None:
    node.add()
    node.take()
    times: list[float] = []
    while node.now < 40.0:
        node.now = round(node.now + 0.05, 2)
        if node.repeats():
            times.append(node.now)
    gaps = [later - earlier for earlier, later in pairwise([0.0, *times])]
    assert gaps[:6] == pytest.approx([0.5, 1.0, 2.0, 4.0, REPEAT_SECONDS_MAX, REPEAT_SECONDS_MAX], abs=0.11)


def test_all_sent_writes_are_repeated_in_order_after_a_change_of_leader_or_stream(node: Node) -> None:
    for row_id in "abc":
        node.add(row_id)
    node.take()
    node.applied(2)
    again = [decode_proposal(data) for data in node.proposals.take_repeats(node.now, all_of_them=True)]
    assert [(each.seq, each.floor) for each in again] == [(1, 1), (3, 1)]
    assert node.repeats() == []
    node.now += REPEAT_SECONDS
    assert node.repeats() == [1, 3]


def test_a_registration_is_repeated_at_once_after_a_change_of_leader() -> None:
    node = Node()
    assert len(node.take()) == 1
    assert node.take() == []
    assert node.repeats(all_of_them=True) == []
    assert len(node.take()) == 1


def test_what_could_not_be_appended_goes_at_the_next_chance(node: Node) -> None:
    node.add()
    node.take()
    node.proposals.take_back(node.now)
    assert node.repeats() == [1]


def test_a_late_registration_of_an_earlier_life_makes_the_node_register_anew_and_hold_again(node: Node) -> None:
    """All under the old boot is refused for ever, so the writes go under a new one, in their old order, and are certainly not done yet."""
    got = [node.add(row_id, deadline=deadline) for row_id, deadline in (("a", 5.0), ("b", NEVER), ("c", NEVER))]
    node.take()
    node.applied(2)
    node.registered(20, nonce=666)
    assert not node.proposals.is_registered
    node.applied(1, boot=10)
    assert got[0] == []
    node.now = REPEAT_SECONDS
    (proposal,) = node.take()
    assert isinstance(proposal.command, Register)
    assert proposal.command.nonce != 666
    node.expire(5.0)
    assert isinstance(got[0][0], NoLeader)
    node.registered(21, proposal.command.nonce)
    (again,) = node.take()
    assert (again.boot, again.floor, again.command) == (21, again.seq, insert("c"))
    node.applied(again.seq, boot=21)
    assert got[1:] == [[OK], [OK]]


def test_a_foreign_registration_before_the_own_one_is_waited_out() -> None:
    node = Node()
    node.add()
    (proposal,) = node.take()
    node.registered(5, nonce=666)
    assert not node.proposals.is_registered
    assert isinstance(proposal.command, Register)
    node.registered(6, proposal.command.nonce)
    assert [each.boot for each in node.take()] == [6]


# A snapshot took the place of entries.


def test_a_snapshot_that_holds_a_write_with_a_key_lets_it_ask_again_for_its_answer(node: Node) -> None:
    keyed, other = node.add("a", key="k"), node.add("b")
    node.take()
    node.windows.ranges = [(1, 1)]
    node.proposals.skipped(node.windows)
    assert keyed == []
    (again,) = node.take()
    assert (again.seq, again.floor, again.key, again.fingerprint) == (3, 2, "k", b"f")
    node.applied(3)
    node.applied(2)
    assert (keyed, other) == ([OK], [OK])


def test_a_snapshot_that_holds_a_write_without_a_key_leaves_it_unknown(node: Node) -> None:
    done, not_done = node.add("a"), node.add("b")
    node.take()
    node.windows.ranges = [(1, 1)]
    node.proposals.skipped(node.windows)
    assert isinstance(done[0], OutcomeUnknown)
    assert not_done == []
    assert node.proposals.open_count == 1


def test_a_write_that_a_snapshot_holds_is_never_said_to_be_not_done(node: Node) -> None:
    """It is held again to ask for its answer; at its deadline, or when the node stops, it is unknown."""
    late, stopped = node.add("a", key="k", deadline=1.0), node.add("b", key="l")
    node.take()
    node.windows.ranges = [(1, 2)]
    node.proposals.skipped(node.windows)
    node.expire(1.0)
    assert isinstance(late[0], OutcomeUnknown)
    node.proposals.fail_all(lambda: OutcomeUnknown("stopped"))
    assert isinstance(stopped[0], OutcomeUnknown)


def test_a_late_registration_that_came_by_a_snapshot_hides_what_was_done_under_the_old_boot(node: Node) -> None:
    """Their window is gone, so a repetition could be a second time: without a key unknown, with one asked again."""
    plain, keyed, held = node.add("a"), node.add("b", key="k"), node.add("c")
    assert len(node.take()) == 3
    held = node.add("d")
    node.windows.registration = (20, 666)
    node.proposals.skipped(node.windows)
    assert isinstance(plain[0], OutcomeUnknown)
    assert keyed == []
    assert held == []
    node.now = REPEAT_SECONDS
    node.register(21)
    assert [each.key for each in node.take()] == ["k", ""]


def test_the_own_registration_repeated_under_a_later_boot_hides_it_as_well(node: Node) -> None:
    """A late registration of an earlier life, and behind it a second copy of this life's: the window is new, the nonce is not."""
    plain, keyed = node.add("a"), node.add("b", key="k")
    assert len(node.take()) == 2
    assert node.windows.registration is not None
    node.windows.registration = (21, node.windows.registration[1])
    node.proposals.skipped(node.windows)
    assert isinstance(plain[0], OutcomeUnknown)
    assert keyed == []
    assert [(each.boot, each.key) for each in node.take()] == [(21, "k")]


def test_a_registration_that_came_by_a_snapshot_is_learned() -> None:
    node = Node()
    node.add()
    (proposal,) = node.take()
    assert isinstance(proposal.command, Register)
    node.windows.registration = (7, proposal.command.nonce)
    node.proposals.skipped(node.windows)
    assert [each.boot for each in node.take()] == [7]


# Limits, and the end.


def test_too_many_open_writes_are_refused_until_one_is_done() -> None:
    node = Node(open_max=2)
    node.register()
    node.add("a")
    node.add("b")
    with pytest.raises(Busy):
        node.add("c")
    node.take()
    with pytest.raises(Busy):
        node.add("c")
    node.applied(1)
    node.add("c")


def test_too_many_bytes_of_open_writes_are_refused_while_they_are_held_too() -> None:
    """An election must not fill the memory."""
    node = Node(open_bytes_max=1_000)
    node.register()
    held = node.add("a", value="x" * 1_000, deadline=1.0)
    with pytest.raises(Busy):
        node.add("b")
    node.expire(1.0)
    assert isinstance(held[0], NoLeader)
    node.add("c", value="x" * 1_000)
    node.take()
    with pytest.raises(Busy):
        node.add("d")
    node.applied(1)
    node.add("e")


def test_what_is_done_is_not_kept_until_its_deadline(node: Node) -> None:
    """A client may name a timeout of minutes, and write thousands of rows a second."""
    node.add("waits", deadline=60.0)
    node.take()
    for number in range(5_000):
        node.add(str(number), deadline=300.0)
        (proposal,) = node.take()
        node.applied(proposal.seq)
        node.expire(0.0)
    assert len(node.proposals._deadlines) < 2_000


def test_a_stopping_node_takes_no_new_writes_and_still_answers_the_old_ones(node: Node) -> None:
    got = node.add()
    node.proposals.is_stopping = True
    with pytest.raises(NotReady):
        node.add("b")
    assert len(node.take()) == 1
    node.applied(1)
    assert got == [OK]


def test_at_the_end_a_held_write_was_not_done_and_a_sent_one_is_unknown(node: Node) -> None:
    sent = node.add("a")
    node.take()
    held = node.add("b")
    node.proposals.fail_all(lambda: OutcomeUnknown("stopped"))
    assert isinstance(sent[0], OutcomeUnknown)
    assert isinstance(held[0], NotReady)
    assert node.proposals.open_count == 0
    node.expire(NEVER)
    assert (len(sent), len(held)) == (1, 1)


def test_an_answer_may_lead_to_the_next_write_at_once(node: Node) -> None:
    node.proposals.add(insert("a"), "", b"", NEVER, lambda _: node.add("b"))
    node.take()
    node.applied(1)
    assert [each.command for each in node.take()] == [insert("b")]


def test_a_write_that_is_over_keeps_nothing_of_its_client(node: Node) -> None:
    """It stays in the queue of deadlines until an earlier one has passed."""

    class Client:
        def told(self, _: object) -> None:
            pass

    node.add("earlier", deadline=1.0)
    client = Client()
    gone = weakref.ref(client)
    node.proposals.add(insert("a"), "", b"", NEVER, client.told)
    del client
    node.take()
    node.applied(2)
    gc.collect()
    assert gone() is None


def test_an_error_of_a_client_does_not_stop_the_others(node: Node) -> None:
    def broken(_: object) -> None:
        raise DdbError("a bug in a handler")

    node.proposals.add(insert("a"), "", b"", NEVER, broken)
    second = node.add("b")
    node.take()
    node.proposals.applied([Applied(1, "1", 10, 1, OK), Applied(2, "1", 10, 2, OK)], node.windows)
    assert second == [OK]
