"""Who differs from the majority, from the answers alone. What follows from it is shown with three replicas in `test_trio_quarantine`."""

from __future__ import annotations

import pytest

from ddbd.raft.messages import StateReport
from ddbd.replica.audit import Audit, Verdict

VOTERS = ("1", "2", "3")


def report(sender: str, index: int, state_hash: bytes) -> StateReport:
    return StateReport("1", sender, 1, index, state_hash, "", False, False, index, "")


@pytest.fixture
def audit() -> Audit:
    """Node 1 leads and asks for index 10."""
    made = Audit()
    assert made.begin("1", 10, b"right") == 10
    return made


def test_a_check_stays_at_its_index_until_all_voters_have_answered(audit: Audit) -> None:
    assert audit.begin("1", 20, b"newer") == 10
    audit.reported(report("2", 10, b"right"), VOTERS)
    assert audit.checked_index == 10, "a majority agrees"
    assert audit.begin("1", 20, b"newer") == 10
    audit.reported(report("3", 10, b"right"), VOTERS)
    assert audit.begin("1", 20, b"newer") == 20


def test_a_follower_that_differs_is_named_once(audit: Audit) -> None:
    assert audit.reported(report("3", 10, b"wrong"), VOTERS) == Verdict()
    assert audit.reported(report("2", 10, b"right"), VOTERS) == Verdict({"3": b"wrong"})
    audit = Audit()
    audit.begin("1", 10, b"right")
    audit.reported(report("2", 10, b"right"), VOTERS)
    assert audit.reported(report("3", 10, b"wrong"), VOTERS) == Verdict({"3": b"wrong"})


def test_a_leader_that_differs_is_named_as_well(audit: Audit) -> None:
    audit.reported(report("2", 10, b"other"), VOTERS)
    assert audit.reported(report("3", 10, b"other"), VOTERS).differing == {"1": b"right"}


def test_without_a_majority_there_is_an_alarm_once_all_have_answered(audit: Audit) -> None:
    assert audit.reported(report("2", 10, b"second"), VOTERS) == Verdict()
    assert audit.reported(report("3", 10, b"third"), VOTERS) == Verdict(is_split=True)
    assert audit.is_split
    assert audit.checked_index == 0


def test_the_alarm_ends_when_a_majority_agrees_again(audit: Audit) -> None:
    for sender, state_hash in (("2", b"second"), ("3", b"third")):
        audit.reported(report(sender, 10, state_hash), VOTERS)
    for _ in range(Audit.AGE_MAX + 1):
        audit.begin("1", 20, b"right")
    audit.reported(report("2", 20, b"right"), VOTERS)
    assert not audit.is_split


def test_a_check_that_stays_unanswered_is_given_up_for_a_newer_one(audit: Audit) -> None:
    asked = [audit.begin("1", 20, b"newer") for _ in range(Audit.AGE_MAX + 1)]
    assert asked == [10] * Audit.AGE_MAX + [20]


def test_the_alarm_ends_with_the_leadership(audit: Audit) -> None:
    """The next leader compares anew; a follower that went on saying so would be unhealthy for ever."""
    for sender, state_hash in (("2", b"second"), ("3", b"third")):
        audit.reported(report(sender, 10, state_hash), VOTERS)
    assert audit.is_split
    audit.clear()
    assert not audit.is_split


def test_an_answer_for_another_index_or_without_a_hash_decides_nothing(audit: Audit) -> None:
    assert audit.reported(report("2", 9, b"old"), VOTERS) == Verdict()
    assert audit.reported(report("3", 0, b""), VOTERS) == Verdict()
    assert audit.checked_index == 0
    assert set(audit.reports) == {"2", "3"}


def test_a_learner_is_compared_and_does_not_count(audit: Audit) -> None:
    voters = ("1", "2")
    assert audit.reported(report("3", 10, b"wrong"), voters) == Verdict()
    assert audit.reported(report("2", 10, b"right"), voters) == Verdict({"3": b"wrong"})


def test_a_leader_that_does_not_know_its_own_hash_asks_for_none() -> None:
    assert Audit().begin("1", 10, None) == 0


def test_what_a_former_leader_knew_is_forgotten(audit: Audit) -> None:
    audit.reported(report("2", 10, b"right"), VOTERS)
    audit.clear()
    assert audit.reports == {}
    assert audit.begin("1", 20, b"newer") == 20
