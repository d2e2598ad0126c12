"""The simulator's own arithmetic of quorums, against cases that are plain to see."""

from __future__ import annotations

import pytest
from sim_bounds import decides, quorums_meet

from ddbd.raft.types import Membership


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Membership.of("123"), Membership.of("123"), True),
        (Membership.of("123"), Membership.of("1234"), True),
        (Membership.of("123"), Membership.of("145"), False),
        (Membership.of("1234"), Membership.of("12"), True),
        (Membership.of("1234"), Membership.of("1"), False),
        (Membership.of("123"), Membership(("1", "4", "5"), ("1", "2", "3")), True),
        (Membership(("1", "4", "5"), ("1", "2", "3")), Membership.of("145"), True),
        (Membership.of("12"), Membership.of("34"), False),
    ],
)
def test_quorums_meet_as_by_counting(before: Membership, after: Membership, expected: bool) -> None:
    assert quorums_meet(before, after) is expected


@pytest.mark.parametrize(
    ("membership", "some", "expected"),
    [
        (Membership.of("123"), "12", True),
        (Membership.of("123"), "1", False),
        (Membership.of("1234"), "12", False),
        (Membership.of("1234"), "123", True),
        (Membership.of("12", "3"), "13", False),
        (Membership(("1", "4", "5"), ("1", "2", "3")), "45", False),
        (Membership(("1", "4", "5"), ("1", "2", "3")), "1245", True),
        (Membership(("1", "4", "5"), ("1", "2", "3")), "12", False),
    ],
)
def test_what_decides_is_counted_here(membership: Membership, some: str, expected: bool) -> None:
    """By hand, and not with the product's own arithmetic: a bug of that would blind the checks that use it."""
    assert decides(membership, some) is expected
