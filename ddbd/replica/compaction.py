"""Keeping the log short: a checkpoint makes what is applied durable in the tables; the log before it, less a tail, may go.

The tail serves followers that were away for a moment; a snapshot on its way holds back whatever lies behind it, however long it takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.failure import Failure

from ddbd.raft.types import SnapshotMeta

if TYPE_CHECKING:
    from ddbd.replica.driver import Driver


EARLY_WAL_BYTES = 4 * 1024 * 1024  # so much more of the WAL is synced ahead of the checkpoint that will need it
LOW_WAL_BYTES = 1024 * 1024  # on a disk that is nearly full
URGENT_WAL_BYTES = 8 * 1024 * 1024  # there: scans that hold the WAL are ended, or deletes alone would fill the rest of the disk
REST_SECONDS = 1.0  # after a checkpoint that was held back; the next one may be, too


class Compaction:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._is_under_way = False
        self._began = 0.0
        self.count = 0  # of checkpoints that were done
        self.seconds = 0.0  # that they took
        self._applied_at = driver.core.applied_index  # at the last checkpoint
        self._moved_to = 0  # the place of the newest checkpoint that was not held back
        self._is_held = False
        self._is_syncing = False
        self._synced_bytes = 0  # of the WAL that is there now
        self._rests_until = 0.0
        self._durable_index: int | None = None  # up to here the log may go, once no save is under way

    def tick(self) -> None:
        """At each heartbeat."""
        now = self._driver.world.clock.seconds()
        if self._is_under_way or self._driver.seeding.is_fetching or now < self._rests_until:
            return
        if self._driver.store.tables.applied_index <= self._applied_at:
            return  # an idle node asks nobody how long its WAL is
        counters, is_low = self._driver.store.tables.counters(), self._driver.store.disk_low()
        wal_bytes = counters.get("wal_bytes", 0)
        if not self._is_due(wal_bytes, is_low):
            self._sync_early(wal_bytes)
            return
        self._is_under_way = True
        self._began = now
        self._applied_at = self._driver.core.applied_index
        urgent = is_low and self._is_held and wal_bytes >= URGENT_WAL_BYTES and counters.get("scans_open", 0) > 0
        if urgent:
            self._driver.world.log_event("the disk is nearly full: long scans are ended, so that their space can be used again")
        self._driver.store.tables.checkpoint(urgent).addCallback(self._checkpointed).addErrback(self._failed)

    def _sync_early(self, wal_bytes: int) -> None:
        """Tens of megabytes that a checkpoint syncs at once keep the log's own syncs waiting (p99 of writes: 172 -> 20 ms)."""
        self._synced_bytes = min(self._synced_bytes, wal_bytes)  # a checkpoint came in between
        if not self._is_syncing and wal_bytes - self._synced_bytes >= EARLY_WAL_BYTES:
            self._is_syncing, self._synced_bytes = True, wal_bytes
            self._driver.store.tables.sync_early().addCallback(self._synced).addErrback(self._failed)

    def _synced(self, _: None) -> None:
        self._is_syncing = False

    def _is_due(self, wal_bytes: int, is_low: bool) -> bool:
        limits, tables = self._driver.config.limits, self._driver.store.tables
        if tables.applied_index - self._applied_at >= limits.checkpoint_entries:
            return True
        # On a disk that is nearly full the WAL is kept from growing, and what it owes the tables is paid while there is room.
        wal_bytes_max = min(LOW_WAL_BYTES, limits.checkpoint_wal_bytes) if is_low else limits.checkpoint_wal_bytes
        return wal_bytes >= wal_bytes_max

    def _checkpointed(self, durable: SnapshotMeta) -> None:
        self._is_under_way = False
        now = self._driver.world.clock.seconds()
        seconds = now - self._began
        self._is_held = durable.index <= self._moved_to
        self._moved_to = max(self._moved_to, durable.index)
        if self._is_held:
            self._rests_until = now + REST_SECONDS
        self.count, self.seconds = self.count + 1, self.seconds + seconds
        self._driver.chronicle.checkpointed(seconds)
        self._durable_index = durable.index
        self.compact()
        self._driver.wake()  # what was held back may be applied

    def compact(self) -> None:
        """Between two saves. On a slow disk one is nearly always under way, so the driver asks after each of them."""
        driver, durable_index = self._driver, self._durable_index
        if durable_index is None or driver.is_stopped or driver.core.is_saving:
            return
        self._durable_index = None
        if driver.seeding.is_fetching:
            return  # the next checkpoint takes it along
        limits = driver.config.limits
        # A hundred thousand entries may be a few megabytes, or more than the tables and the disk.
        index = max(durable_index - limits.log_tail_entries, min(durable_index, driver.store.log.tail_from(limits.log_tail_bytes)))
        keep_from = driver.seeding.keep_from()
        if keep_from is not None:
            index = min(index, keep_from)
        if index > driver.core.log.base.index:
            driver.store.log.compact(index)
            driver.core.compact(driver.store.log.base)

    def _failed(self, failure: Failure) -> None:
        self._is_under_way = False
        if not self._driver.is_stopped:
            self._driver.failed(failure)
