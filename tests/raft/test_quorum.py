"""Majorities of one list of voters, or of two; ids and memberships beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddbd.raft.quorum import agreed_value, is_quorum, majority
from ddbd.raft.types import Membership, in_order

ABC = Membership(("a", "b", "c"))
JOINT = Membership(("a", "d", "e"), ("a", "b", "c"))


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4)])
def test_a_majority_is_more_than_half(count: int, expected: int) -> None:
    assert majority(count) == expected


@pytest.mark.parametrize(("nodes", "expected"), [("", False), ("a", False), ("ab", True), ("abc", True), ("axyz", False)])
def test_only_voters_make_a_quorum(nodes: str, expected: bool) -> None:
    assert is_quorum(ABC, nodes) is expected


@pytest.mark.parametrize(("nodes", "expected"), [("ab", False), ("ade", False), ("abd", True), ("bcde", True), ("bcd", False)])
def test_a_joint_quorum_is_a_majority_of_each(nodes: str, expected: bool) -> None:
    assert is_quorum(JOINT, nodes) is expected


@given(st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 9), min_size=1))
def test_the_agreed_value_is_the_highest_that_a_majority_reached(values: dict[str, int]) -> None:
    agreed = agreed_value(Membership(tuple(values)), values.__getitem__)
    assert sum(value >= agreed for value in values.values()) >= majority(len(values))
    assert sum(value > agreed for value in values.values()) < majority(len(values))


@given(
    st.sets(st.sampled_from("abcdefg"), min_size=1), st.sets(st.sampled_from("abcdefg"), min_size=1), st.sets(st.sampled_from("abcdefg"))
)
def test_two_quorums_always_meet(voters: set[str], outgoing: set[str], nodes: set[str]) -> None:
    """What Raft stands on."""
    membership = Membership(tuple(voters), tuple(outgoing))
    others = (voters | outgoing) - nodes
    assert not (is_quorum(membership, nodes) and is_quorum(membership, others))


def test_ids_are_ordered_by_number_where_all_are_numbers_and_else_as_text() -> None:
    assert in_order(["10", "9", "1"]) == ["1", "9", "10"]
    assert in_order(["b", "10", "9", "a", "²"]) == ["10", "9", "a", "b", "²"]


def test_a_membership_survives_its_bytes() -> None:
    membership = Membership(("1", "2"), ("1",), ("3",), (("3", "life"),))
    assert Membership.from_bytes(membership.to_bytes()) == membership
    assert (membership.life_of("3"), membership.life_of("1")) == ("life", "")
