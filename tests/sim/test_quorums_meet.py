"""The simulator's own arithmetic of quorums, against cases that are plain to see."""

from __future__ import annotations

import pytest
from sim_bounds import quorums_meet

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
