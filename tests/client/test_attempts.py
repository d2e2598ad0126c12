"""Which node is asked next, how long, and what is said at the end. Each rule of `ddbd.client.attempts`, on both clients."""

from __future__ import annotations

from typing import Any

import pytest
from client_kit import ADDRESSES, BROKEN, LATE, REFUSED, A, B, C, Form, answer, problem

from ddbd.client import (
    BadRequest,
    Conflict,
    NoNodeAnswers,
    OutcomeUnknown,
    Policy,
    Refused,
    Request,
    ServerFault,
    Unavailable,
    VersionMismatch,
)
from ddbd.client.calls import NODE_SECONDS
from ddbd.client.errors import error_class

WRITTEN = answer({"row_id": "1", "version": 7, "index": 7})
NOT_NOW = problem(503, "no_leader", headers={"retry-after": "1"})


def insert(client: Any, **more: Any) -> Any:
    return client.insert("students", {"name": "Ahmed"}, "1", **more)


def test_the_first_node_of_the_list_is_asked_first(form: Form) -> None:
    client = form.script(WRITTEN)
    assert insert(client).version == 7
    assert client.wires.addresses == [A]


@pytest.mark.parametrize("failure", [REFUSED, BROKEN, LATE, NOT_NOW, problem(504, "outcome_unknown"), answer(b"<html>", 502)])
def test_a_node_that_does_not_do_it_is_followed_by_the_next_at_once(form: Form, failure: Any) -> None:
    client = form.script(failure, WRITTEN)
    insert(client)
    assert client.wires.addresses == [A, B]
    assert form.pauses == []


def test_every_attempt_is_the_same_request_byte_for_byte(form: Form) -> None:
    client = form.script(LATE, problem(504, "outcome_unknown"), BROKEN, REFUSED, WRITTEN)
    insert(client)
    first, *others = [request for _, request in client.wires.asked]
    assert first.idempotency_key
    assert others == [first] * 4


def test_the_node_that_answered_is_asked_first_from_then_on(form: Form) -> None:
    client = form.script(REFUSED, WRITTEN, WRITTEN)
    insert(client)
    insert(client)
    assert client.wires.addresses == [A, B, B]


def test_after_a_round_there_is_a_pause_that_doubles_up_to_a_limit(form: Form) -> None:
    client = form.script(*[REFUSED] * 24, WRITTEN)
    insert(client)
    assert form.pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0])


def test_a_pause_has_jitter(form: Form) -> None:
    client = form.script(*[REFUSED] * 3, WRITTEN, dice=0.0)
    insert(client)
    assert form.pauses == pytest.approx([0.025])


def test_a_pause_is_as_long_as_retry_after_asks(form: Form) -> None:
    client = form.script(REFUSED, NOT_NOW, REFUSED, WRITTEN)
    insert(client)
    assert form.pauses == pytest.approx([1.0])


def test_what_retry_after_asked_counts_for_one_round(form: Form) -> None:
    client = form.script(REFUSED, NOT_NOW, REFUSED, *[REFUSED] * 3, WRITTEN)
    insert(client)
    assert form.pauses == pytest.approx([1.0, 0.1])


def test_an_attempt_may_take_twice_as_long_in_each_round(form: Form) -> None:
    client = form.script(*[REFUSED] * 9, WRITTEN)
    insert(client)
    assert client.wires.timeouts == pytest.approx([4.0] * 3 + [8.0] * 3 + [16.0] * 3 + [30.0 - sum(form.pauses)])


def test_no_attempt_goes_beyond_the_deadline(form: Form) -> None:
    client = form.script(WRITTEN, policy=Policy(deadline_seconds=1.5))
    insert(client)
    assert client.wires.timeouts == [1.5]


def test_where_nobody_is_reached_the_error_names_each_node(form: Form) -> None:
    client = form.client(lambda address, request: REFUSED, Policy(deadline_seconds=1.0))
    with pytest.raises(NoNodeAnswers) as caught:
        insert(client)
    assert caught.value.code == "unreachable"
    assert caught.value.detail == "no node answered within 1 s: " + "; ".join(f"{address} refused the connection" for address in ADDRESSES)
    assert caught.value.curl.startswith("curl -sS -H 'Content-Type: application/json' -H 'Idempotency-Key: ")
    assert form.clock.seconds() < 1.0


def test_where_every_node_says_not_now_the_write_was_certainly_not_done(form: Form) -> None:
    client = form.client(lambda address, request: NOT_NOW, Policy(deadline_seconds=5.0))
    with pytest.raises(Unavailable) as caught:
        insert(client)
    assert (caught.value.code, caught.value.status) == ("no_leader", 503)
    assert not isinstance(caught.value, NoNodeAnswers)


@pytest.mark.parametrize("call", [insert, lambda client: client.step_down()], ids=["keyed", "keyless"])
def test_a_write_that_is_not_done_is_not_made_doubtful_at_the_end(form: Form, call: Any) -> None:
    """One node lives, without a leader, and says so after 3 s: an attempt that the deadline cuts off would say nothing."""

    def one_lives(address: str, request: Request) -> Any:
        if address != B:
            return REFUSED
        return LATE if form.clock.seconds() > 15.0 - NODE_SECONDS else NOT_NOW

    with pytest.raises(Unavailable) as caught:
        call(form.client(one_lives, Policy(deadline_seconds=15.0)))
    assert caught.value.status == 503
    assert form.clock.seconds() > 10.0


@pytest.mark.parametrize("deadline_seconds", [15.0, 20.0, 25.0, 30.0, 60.0])
@pytest.mark.parametrize("nodes", [(A,), (A, B), (A, B, C)])
def test_nodes_that_say_no_after_their_time_leave_no_doubt_whatever_the_deadline(form: Form, nodes: Any, deadline_seconds: float) -> None:
    def late(address: str, request: Request) -> Any:
        if form.clock.seconds() > deadline_seconds - NODE_SECONDS:
            return LATE  # its answer would come behind the deadline
        form.clock.advance(NODE_SECONDS)
        return NOT_NOW

    with pytest.raises(Unavailable):
        insert(form.client(late, Policy(deadline_seconds=deadline_seconds), nodes=nodes))


@pytest.mark.parametrize("lost", [BROKEN, LATE, problem(504, "outcome_unknown"), answer(b"<html>", 503), answer(b"", 502)])
def test_one_attempt_that_may_be_done_makes_the_outcome_unknown(form: Form, lost: Any) -> None:
    """A node's later 503 speaks of its own attempt only."""
    steps = iter([lost])
    client = form.client(lambda address, request: next(steps, NOT_NOW), Policy(deadline_seconds=3.0))
    with pytest.raises(OutcomeUnknown) as caught:
        insert(client, key="mine")
    assert caught.value.idempotency_key == "mine"
    assert "repeat it with the same idempotency key, mine" in caught.value.detail


def test_a_read_that_gets_no_answer_is_not_an_unknown_outcome(form: Form) -> None:
    client = form.client(lambda address, request: LATE, Policy(deadline_seconds=1.0))
    with pytest.raises(NoNodeAnswers):
        client.select("students")


def test_a_clear_no_is_not_repeated(form: Form) -> None:
    client = form.script(problem(412, "version_mismatch", "row '1' has version 9, not 7", rows=3))
    with pytest.raises(VersionMismatch) as caught:
        client.update("students", "1", {"name": "x"}, if_version=7)
    assert (caught.value.status, caught.value.detail, caught.value.more) == (412, "row '1' has version 9, not 7", {"rows": 3})
    assert client.wires.addresses == [A]


def test_a_full_table_of_keys_is_not_waited_for(form: Form) -> None:
    client = form.script(problem(503, "idempotency_full"))
    with pytest.raises(Unavailable):
        insert(client)


def test_a_fault_of_one_node_is_tried_at_each_other_one_and_then_told(form: Form) -> None:
    client = form.client(lambda address, request: problem(500, "internal", f"see the log of {address}", address))
    with pytest.raises(ServerFault, match=f"see the log of {C}"):
        insert(client)
    assert client.wires.addresses == [A, B, C]
    healed = form.script(problem(500, "internal"), WRITTEN)
    assert insert(healed).version == 7


def test_what_is_no_node_is_passed_over(form: Form) -> None:
    """Another program at that port answers 200 with a page."""
    client = form.script(answer(b"<html>hello</html>"), answer({"hello": 1}), WRITTEN)
    assert insert(client).version == 7
    assert client.wires.addresses == [A, B, C]


# 307.


def sent_to(target: str, address: str = A) -> Any:
    return problem(307, "not_master", f"{target} leads", address, {"location": f"http://{target}/insert?timeout=3"})


def test_a_redirect_is_followed_to_a_node_of_the_list(form: Form) -> None:
    client = form.script(sent_to(C), WRITTEN)
    insert(client)
    assert client.wires.addresses == [A, C]
    assert client.wires.asked[1][1] == client.wires.asked[0][1], "the same request, not the path that was named"


@pytest.mark.parametrize("target", ["evil.example:80", "localhost:9999", ""])
def test_a_redirect_to_somebody_else_is_not_followed(form: Form, target: str) -> None:
    client = form.script(sent_to(target))
    with pytest.raises(Unavailable, match="none of the nodes that this client was told of"):
        insert(client)
    assert client.wires.addresses == [A]


def test_nodes_that_send_to_each_other_are_left_after_some_rounds(form: Form) -> None:
    sends = {A: sent_to(B, A), B: sent_to(A, B), C: WRITTEN}
    client = form.client(lambda address, request: sends[address])
    assert insert(client).version == 7


def test_a_redirect_to_a_node_that_is_gone_goes_on_with_the_others(form: Form) -> None:
    client = form.script(sent_to(C), REFUSED, WRITTEN)
    insert(client)
    assert client.wires.addresses == [A, C, B]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "new_word", BadRequest),
        (409, "new_word", Conflict),
        (410, "", BadRequest),
        (501, "", ServerFault),
        (409, "row_exists", Refused),
    ],
)
def test_a_code_of_a_newer_node_is_known_by_its_status(status: int, code: str, kind: type[Exception]) -> None:
    assert issubclass(error_class(code, status), kind)


def test_a_clear_fault_after_an_attempt_without_an_answer_does_not_say_that_nothing_was_done(form: Form) -> None:
    client = form.script(LATE, problem(500, "internal"), problem(500, "internal"), problem(500, "internal"))
    with pytest.raises(OutcomeUnknown) as caught:
        insert(client)
    assert caught.value.idempotency_key in caught.value.detail
    full = form.script(BROKEN, problem(503, "idempotency_full"))
    with pytest.raises(OutcomeUnknown):
        insert(full)


@pytest.mark.parametrize("step", [LATE, BROKEN, problem(504, "outcome_unknown"), problem(500, "internal")])
def test_leadership_is_not_handed_over_twice_where_nobody_knows_whether_it_was(form: Form, step: Any) -> None:
    client = form.script(step, answer({"status": "ok", "from": "1", "to": "2", "term": 4}))
    with pytest.raises((OutcomeUnknown, ServerFault)):
        client.step_down()
    assert len(client.wires.addresses) == 1


def test_leadership_is_asked_of_the_next_node_where_the_first_one_certainly_did_nothing(form: Form) -> None:
    client = form.script(REFUSED, NOT_NOW, answer({"status": "ok", "from": "1", "to": "2", "term": 4}))
    assert client.step_down()["to"] == "2"
