"""What a leader knows of one follower: probe, replicate, snapshot."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ddbd.raft.progress import Pace, Progress

BYTES_MAX = 1_000


def replicating(match: int = 5) -> Progress:
    progress = Progress(match + 1, 0)
    progress.accepted(match)
    return progress


def test_a_probe_is_one_message_and_then_its_answer() -> None:
    progress = Progress(10, 0)
    assert progress.may_send(9, BYTES_MAX)
    progress.sent(12, True)
    assert not progress.may_send(9, BYTES_MAX)
    assert progress.next_index == 10
    assert progress.accepted(12)
    assert (progress.pace, progress.match_index, progress.next_index) == (Pace.REPLICATE, 12, 13)


def test_replicating_is_pipelined_up_to_a_limit() -> None:
    progress = replicating()
    for last in (7, 9):
        assert progress.may_send(2, BYTES_MAX)
        progress.sent(last, True)
    assert not progress.may_send(2, BYTES_MAX)
    assert progress.next_index == 10
    assert progress.accepted(7)
    assert progress.may_send(2, BYTES_MAX)
    progress.sent(9, False)
    assert list(progress.inflight) == [(9, 0)]


def test_the_bytes_in_flight_have_a_limit_of_their_own() -> None:
    progress = replicating()
    progress.sent(7, True, 600)
    assert progress.may_send(9, BYTES_MAX)
    progress.sent(9, True, 600)
    assert not progress.may_send(9, BYTES_MAX), "the limit was passed"
    progress.let_go()
    assert progress.may_send(9, BYTES_MAX)
    progress.sent(11, True, 600)
    progress.accepted(11)
    assert (progress.may_send(9, BYTES_MAX), progress.inflight_bytes) == (True, 0)
    progress.sent(13, True, 2_000)
    progress.to_probe()
    assert progress.inflight_bytes == 0


def test_a_rejected_probe_goes_back_to_the_hint() -> None:
    progress = Progress(10, 0)
    progress.sent(9, False)
    assert not progress.rejected(4, 2)
    assert progress.rejected(9, 3)
    assert (progress.next_index, progress.is_paused) == (4, False)
    assert progress.rejected(3, 99)
    assert progress.next_index == 3


def test_a_gap_turns_replicating_into_probing_from_what_matches() -> None:
    progress = replicating()
    progress.sent(9, True)
    assert not progress.rejected(5, 0)
    assert progress.pace is Pace.REPLICATE
    assert progress.rejected(9, 5)
    assert (progress.pace, progress.next_index, list(progress.inflight)) == (Pace.PROBE, 6, [])


def test_a_refusal_of_what_matches_is_no_news() -> None:
    progress = replicating()
    progress.to_probe()
    progress.sent(5, False)
    assert not progress.rejected(5, 0)
    assert (progress.next_index, progress.is_paused) == (6, True)


def test_refusals_of_what_matches_are_counted_until_it_is_accepted() -> None:
    progress = replicating()
    assert not progress.rejected(5, 0)
    assert not progress.rejected(4, 0)
    assert progress.refusals == 1
    progress.to_probe()
    assert not progress.rejected(5, 0)
    assert progress.refusals == 2
    progress.accepted(5)
    assert progress.refusals == 0


def test_nothing_is_sent_to_a_follower_that_waits_for_a_snapshot() -> None:
    progress = replicating()
    progress.to_snapshot()
    assert not progress.may_send(9, BYTES_MAX)
    assert not progress.rejected(9, 1)
    assert not progress.accepted(4)
    assert progress.pace is Pace.SNAPSHOT
    progress.snapshot_index = 20
    assert progress.accepted(10)
    assert progress.pace is Pace.SNAPSHOT
    assert progress.accepted(20)
    assert (progress.pace, progress.next_index, progress.snapshot_index) == (Pace.REPLICATE, 21, 0)


def test_a_snapshot_of_the_very_first_entry_is_one_too() -> None:
    progress = Progress(1, 0)
    progress.to_snapshot()
    progress.snapshot_index = 1
    assert progress.accepted(1)
    assert (progress.pace, progress.next_index) == (Pace.REPLICATE, 2)


def test_what_does_not_count_moves_only_the_match() -> None:
    progress = replicating()
    assert progress.accepted(8, counts=False)
    assert (progress.match_index, progress.counted_index) == (8, 5)
    assert not progress.accepted(8, counts=False)
    assert progress.accepted(7)
    assert (progress.match_index, progress.counted_index) == (8, 7)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(0, 30))))
def test_the_order_of_indexes_holds_whatever_comes(steps: list[tuple[int, int, int]]) -> None:
    """counted_index <= match_index < next_index, and neither of the first two goes back (catalogue 5)."""
    progress = Progress(10, 0)
    for what, index, other in steps:
        before = (progress.counted_index, progress.match_index)
        if what == 0 and progress.may_send(3, BYTES_MAX):
            progress.sent(progress.next_index - 1 + other, other > 0)
        elif what in (1, 2):
            progress.accepted(index, what == 1)
        elif what == 3:
            progress.rejected(index, other)
        elif what == 4:
            progress.to_snapshot()
            progress.snapshot_index = other
        assert progress.counted_index <= progress.match_index < progress.next_index
        assert before[0] <= progress.counted_index
        assert before[1] <= progress.match_index
