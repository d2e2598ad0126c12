"""Linearizable reads: confirmed after they began, served once applied, never asked twice under one context."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from ddbd.errors import Busy, NoLeader, NotReady
from ddbd.raft.messages import Context
from ddbd.raft.types import ReadState
from ddbd.replica.reads import Reads

NEVER = 1e9


@pytest.fixture
def reads() -> Reads:
    return Reads(nonce=77, open_max=3, repeat_seconds=0.2)


def outcome(deferred: Deferred[None]) -> list[Any]:
    """Empty while it waits; None or the error afterwards."""
    got: list[Any] = []
    deferred.addCallbacks(got.append, lambda failure: got.append(failure.value))
    return got


def taken(reads: Reads, now: float) -> Context:
    context = reads.take(now)
    assert context is not None
    return context


def test_a_read_waits_for_its_confirmation_and_then_until_that_is_applied(reads: Reads) -> None:
    got = outcome(reads.add(NEVER))
    context = taken(reads, 1.0)
    reads.applied(100)
    assert got == []
    reads.confirmed([ReadState(context, 101)])
    reads.applied(100)
    assert got == []
    reads.applied(101)
    assert got == [None]


def test_all_reads_of_a_turn_share_one_context(reads: Reads) -> None:
    got = [outcome(reads.add(NEVER)) for _ in range(3)]
    context = taken(reads, 1.0)
    assert reads.take(1.0) is None
    reads.confirmed([ReadState(context, 5)])
    reads.applied(5)
    assert got == [[None]] * 3


def test_a_read_does_not_join_a_context_that_was_asked_before_it_began(reads: Reads) -> None:
    reads.probe()
    first = taken(reads, 1.0)
    late = outcome(reads.add(NEVER))
    second = taken(reads, 1.1)
    reads.confirmed([ReadState(first, 5)])
    reads.applied(5)
    assert late == []
    reads.confirmed([ReadState(second, 5)])
    reads.applied(5)
    assert late == [None]


def test_contexts_carry_the_life_of_the_process_and_are_never_used_twice(reads: Reads) -> None:
    contexts = []
    for number in range(5):
        reads.probe()
        contexts.append(taken(reads, float(number)))
    assert {nonce for nonce, _ in contexts} == {77}
    assert len(set(contexts)) == 5


def test_after_a_change_of_leader_reads_ask_under_a_new_context_and_the_old_answer_counts_for_nothing(reads: Reads) -> None:
    got = outcome(reads.add(NEVER))
    old = taken(reads, 1.0)
    reads.take_back(1.0)
    new = taken(reads, 1.0)
    assert new != old
    reads.confirmed([ReadState(old, 5)])
    reads.applied(5)
    assert got == []
    reads.confirmed([ReadState(new, 5)])
    reads.applied(5)
    assert got == [None]


def test_a_context_without_an_answer_is_given_up_after_a_while(reads: Reads) -> None:
    got = outcome(reads.add(NEVER))
    old = taken(reads, 1.0)
    reads.expire(1.1)
    assert reads.take(1.1) is None
    reads.expire(1.21)
    assert taken(reads, 1.21) != old
    assert got == []


def test_a_read_ends_at_its_deadline_wherever_it_waits(reads: Reads) -> None:
    waiting = outcome(reads.add(2.0))
    reads.expire(2.0)
    asked = outcome(reads.add(3.0))
    context = taken(reads, 2.9)
    reads.expire(3.0)
    confirmed = outcome(reads.add(4.0))
    reads.confirmed([ReadState(taken(reads, 3.9), 50)])
    reads.expire(4.0)
    for got in (waiting, asked, confirmed):
        assert isinstance(got[0], NoLeader)
    reads.confirmed([ReadState(context, 50)])
    reads.applied(50)
    assert [len(got) for got in (waiting, asked, confirmed)] == [1, 1, 1]


def test_the_age_of_the_tables_counts_from_the_start_of_the_round(reads: Reads) -> None:
    assert reads.fresh_since is None
    reads.probe()
    first = taken(reads, 1.0)
    reads.probe()
    second = taken(reads, 1.1)
    reads.confirmed([ReadState(second, 7), ReadState(first, 8)])
    reads.applied(6)
    assert reads.fresh_since is None
    reads.applied(7)
    assert reads.fresh_since == 1.1
    reads.applied(8)
    assert reads.fresh_since == 1.1, "an older round makes nothing older"


def test_too_many_reads_are_refused_until_one_is_done(reads: Reads) -> None:
    for _ in range(2):
        reads.add(1.0).addErrback(lambda failure: failure.trap(NoLeader))
    outcome(reads.add_index(10, 5, NEVER))
    with pytest.raises(Busy):
        reads.add(NEVER)
    with pytest.raises(Busy):
        reads.add_index(1, 5, NEVER)
    reads.expire(1.0)
    reads.add(NEVER)


def test_a_wait_for_an_index_ends_when_it_is_applied(reads: Reads) -> None:
    at_once = outcome(reads.add_index(5, 5, NEVER))
    later = outcome(reads.add_index(7, 5, NEVER))
    in_vain = outcome(reads.add_index(1_000, 5, 2.0))
    assert at_once == [None]
    reads.applied(6)
    assert later == []
    reads.applied(7)
    assert later == [None]
    reads.expire(2.0)
    assert isinstance(in_vain[0], NoLeader)
    assert "did not apply index 1000" in str(in_vain[0])


def test_waits_that_ended_are_not_kept(reads: Reads) -> None:
    """Without a leader for hours, or for an index that never comes, or done long before a deadline of minutes."""
    for number in range(3_000):
        outcome(reads.add_index(10**12, 5, float(number)))
        outcome(reads.add(float(number)))
        reads.expire(float(number))
    assert len(reads._wanted) < 1_100
    assert len(reads._waiting) < 1_100
    outcome(reads.add_index(10**12, 5, NEVER))
    for _ in range(3_000):
        outcome(reads.add(2 * NEVER))
        reads.confirmed([ReadState(taken(reads, 3_000.0), 1)])
        reads.applied(1)
        reads.expire(3_000.0)
    assert len(reads._deadlines) < 1_100


def test_a_node_that_applies_nothing_for_long_does_not_collect_confirmations(reads: Reads) -> None:
    """It asks at every heartbeat, also for as long as a snapshot is on its way; who waits is served all the same."""
    waits = outcome(reads.add(NEVER))
    reads.confirmed([ReadState(taken(reads, 0.0), 50)])
    for beat in range(5_000):
        reads.probe()
        reads.confirmed([ReadState(taken(reads, beat / 10), 100 + beat)])
        reads.applied(10)
        reads.expire(beat / 10)
    assert len(reads._confirmed) < 2_000
    reads.applied(6_000)
    assert waits == [None]
    assert reads.fresh_since == 499.9


def test_at_the_end_whoever_waits_is_told(reads: Reads) -> None:
    got = [outcome(reads.add(NEVER)), outcome(reads.add_index(9, 5, NEVER))]
    taken(reads, 1.0)
    got.append(outcome(reads.add(NEVER)))
    reads.fail_all(NotReady("this node stopped"))
    assert [len(each) for each in got] == [1, 1, 1]
    assert all(isinstance(each[0], NotReady) for each in got)
    reads.expire(NEVER)


def test_a_client_that_gave_up_its_wait_disturbs_nobody(reads: Reads) -> None:
    gone = reads.add(NEVER)
    failures: list[Any] = []
    gone.addErrback(failures.append)
    gone.cancel()
    stays = outcome(reads.add(NEVER))
    reads.confirmed([ReadState(taken(reads, 1.0), 1)])
    reads.applied(1)
    assert stays == [None]
    assert len(failures) == 1


def test_the_places_of_clients_that_gave_up_are_free_at_once(reads: Reads) -> None:
    """They could have waited for minutes, and meanwhile nobody else would have been let in."""
    for number in range(100):
        gone = reads.add(NEVER) if number % 2 else reads.add_index(1_000, 5, NEVER)
        gone.addErrback(lambda _: None)
        gone.cancel()
    reads.expire(1.0)
    stay = [outcome(reads.add(NEVER)) for _ in range(3)]
    with pytest.raises(Busy):
        reads.add(NEVER)
    reads.confirmed([ReadState(taken(reads, 1.0), 1)])
    reads.applied(1_000)
    assert stay == [[None]] * 3
