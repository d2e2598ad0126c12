"""What of the core's types is on disk and on the wire: numbers that never change, and a membership as bytes."""

from __future__ import annotations

import pytest

from ddbd.raft.types import EntryKind, Membership


@pytest.mark.parametrize(
    "membership",
    [
        Membership(()),
        Membership.of(["10", "2", "1"], ["3"]),
        Membership(("1", "2"), ("2", "3"), ("4",), (("2", "second life"),)),
    ],
)
def test_a_membership_comes_back_as_it_went(membership: Membership) -> None:
    assert Membership.from_bytes(membership.to_bytes()) == membership


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"7",
        b"[]",
        b"[[], [], []]",
        b"[[], [], [], [], []]",
        b"[7, [], [], []]",
        b'["12", [], [], []]',
        b'[["1"], "2", [], []]',
        b'[["1"], [], "3", []]',
        b"[[1], [], [], []]",
        b'[["1"], [null], [], []]',
        b'[["1"], [], [["3"]], []]',
        b'[["1"], [], [], ["life"]]',
        b'[["1"], [], [], [["1"]]]',
        b'[["1"], [], [], [["1", 2]]]',
        b'[["1"], [], [], [["1", "a", "b"]]]',
    ],
)
def test_bytes_of_another_shape_are_no_membership(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Membership.from_bytes(data)


def test_bytes_nested_without_end_are_no_membership() -> None:
    with pytest.raises(ValueError, match="another shape"):
        Membership.from_bytes(b"[" * 100_000)


def test_the_numbers_of_the_kinds_of_entries_are_those_on_the_disks() -> None:
    assert {kind.name: kind.value for kind in EntryKind} == {"COMMAND": 0, "MEMBERSHIP": 1, "EMPTY": 2}
