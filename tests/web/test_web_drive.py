"""A coroutine run by hand: what it gives, what it raises, and what a cancel does to what it waits for."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ddbd.web.drive import drive


def outcome(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "nothing yet"
    return found[0].value if isinstance(found[0], Failure) else found[0]


async def wait_for(deferred: Deferred[Any]) -> Any:
    return await deferred


def test_what_is_awaited_comes_back() -> None:
    waited: Deferred[int] = Deferred()
    done = drive(wait_for(waited))
    assert not done.called
    waited.callback(5)
    assert outcome(done) == 5


def test_an_error_of_what_is_awaited_is_raised_there() -> None:
    waited: Deferred[int] = Deferred()
    done = drive(wait_for(waited))
    waited.errback(ValueError("no"))
    assert isinstance(outcome(done), ValueError)


def test_a_cancel_cancels_what_is_awaited() -> None:
    waited: Deferred[int] = Deferred()
    done = drive(wait_for(waited))
    done.cancel()
    assert waited.called
    assert isinstance(outcome(done), CancelledError)


@pytest.mark.parametrize("ends_well", [True, False])
def test_a_coroutine_that_goes_on_after_a_cancel_ends_without_a_word(ends_well: bool) -> None:
    first: Deferred[int] = Deferred()
    second: Deferred[int] = Deferred()
    ended: list[bool] = []

    async def stubborn() -> None:
        try:
            await first
        except CancelledError:
            await second
        ended.append(True)
        if not ends_well:
            raise ValueError("late")

    done = drive(stubborn())
    done.cancel()
    assert isinstance(outcome(done), CancelledError)
    second.callback(1)
    assert ended == [True]
    assert outcome(second) is None, "the error of a late end reaches nobody"
