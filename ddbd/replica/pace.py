"""When the tables have their turn: what takes milliseconds waits for a turn of the reactor that has time for it.

That is a large batch to be applied, and the commit of the transaction that has taken many. Both at once, behind whatever else a turn
brought, would be a turn of 20 ms.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ddbd.replica.tuning import LARGE_BYTES, LONG_TURN_SECONDS, LONG_TURN_SECONDS_MAX

if TYPE_CHECKING:
    from ddbd.replica.driver import Driver


class Pace:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._when_free = driver.world.when_free or partial(driver.world.clock.callLater, 0)
        self._is_late = False  # what is to be applied next has to wait for another turn
        self._is_put_off = False  # it has: not once more
        self._is_commit_due = False

    def hold(self) -> bool:
        """Whether what is to be applied next waits: it is too much for what is left of this turn, or a checkpoint is being ended."""
        self._is_late = not self._is_put_off and self._is_too_much()
        return self._is_late or self._driver.store.tables.holds_writes

    def _is_too_much(self) -> bool:
        age = self._driver.world.turn_seconds()
        return age >= LONG_TURN_SECONDS and (age >= LONG_TURN_SECONDS_MAX or self._driver.core.next_bytes() >= LARGE_BYTES)

    def puts_off(self) -> bool:
        """At the end of a turn: whether something waits for another one only because this one has lasted long."""
        core = self._driver.core
        self._is_put_off = self._is_late and core.commit_index > core.applied_index
        return self._is_put_off

    def applied(self) -> None:
        self._is_put_off = False
        if self._driver.store.tables.is_full and not self._is_commit_due:
            self._is_commit_due = True
            self._when_free(self._commit)

    def _commit(self) -> None:
        self._is_commit_due = False
        if self._driver.is_stopped:
            return
        try:
            self._driver.store.tables.settle()
        except Exception as error:  # noqa: BLE001 - as in the driver's turn
            self._driver.fail(error)
