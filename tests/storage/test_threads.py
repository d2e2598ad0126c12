"""The thread for long calls, under a real reactor: order, errors, and what happens to work that is under way at the close."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from storage_kit import FOUNDERS, Client, entry
from twisted.internet import reactor
from twisted.internet.defer import DeferredList

from ddbd.config import Limits
from ddbd.errors import StorageFailed
from ddbd.storage.disk import RealDisk, RealFile
from ddbd.storage.log import DiskLog
from ddbd.storage.syncing import Syncer
from ddbd.storage.tables import SqliteTables
from ddbd.storage.threads import InlineThreads, PoolThreads, Threads, threads_for

WAIT_SECONDS = 30.0  # a hang, not a pace


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = threads_for(reactor, "test")
    assert isinstance(made, PoolThreads)
    yield made
    made.close()


@pytest_twisted.ensureDeferred
async def test_calls_run_in_order_in_one_other_thread_and_are_told_of_in_this_one(threads: Threads) -> None:
    here = threading.get_ident()
    ran: list[tuple[int, int]] = []
    told: list[tuple[int, int]] = []

    def call(number: int) -> int:
        ran.append((number, threading.get_ident()))
        return number

    waiting = [threads.defer(lambda number=number: call(number)) for number in range(20)]  # type: ignore[misc]
    for deferred in waiting:
        deferred.addCallback(lambda number: told.append((number, threading.get_ident())))
    await DeferredList(waiting)
    assert [number for number, _ in ran] == list(range(20))
    assert {thread for _, thread in ran} != {here}
    assert len({thread for _, thread in ran}) == 1
    assert told == [(number, here) for number in range(20)]


@pytest_twisted.ensureDeferred
async def test_error_of_a_call_is_the_callers_and_the_next_call_runs(threads: Threads) -> None:
    def fails() -> None:
        raise OSError(5, "Input/output error")

    failing, fine = threads.defer(fails), threads.defer(lambda: "fine")
    with pytest.raises(OSError, match="Input/output error"):
        await failing
    assert await fine == "fine"


@pytest_twisted.ensureDeferred
async def test_close_waits_for_what_is_under_way_and_for_what_is_queued(threads: Threads) -> None:
    started, closing = threading.Event(), threading.Event()
    done: list[str] = []

    def slow() -> str:
        started.set()
        assert closing.wait(WAIT_SECONDS)
        done.append("slow")
        return "slow"

    waiting = [threads.defer(slow), threads.defer(lambda: done.append("queued"))]
    assert started.wait(WAIT_SECONDS)
    assert done == []
    closing.set()
    threads.close()
    assert done == ["slow", "queued"], "close came back before the work was done"
    assert not waiting[0].called, "a Deferred fires on the reactor's turn, not inside close"
    assert await waiting[0] == "slow"
    await waiting[1]
    threads.close()


def test_no_thread_is_started_before_the_first_call() -> None:
    before = threading.active_count()
    threads_for(reactor, "idle").close()
    assert threading.active_count() == before
    assert isinstance(threads_for(None, "none"), InlineThreads)


class SlowFile(RealFile):
    """A sync in another thread waits until the test lets it go on, and may fail then."""

    go = threading.Event()
    begun = threading.Event()
    error: OSError | None = None

    def sync(self) -> None:
        if threading.current_thread() is threading.main_thread():
            super().sync()
            return
        self.begun.set()
        assert self.go.wait(WAIT_SECONDS)
        if self.error is not None:
            raise self.error
        super().sync()


class SlowDisk(RealDisk):
    def __init__(self, error: OSError | None) -> None:
        self.files: list[SlowFile] = []
        self.error = error

    def create(self, path: str) -> SlowFile:
        super().create(path).close()
        file = SlowFile(path, os.O_RDWR)
        file.go, file.begun, file.error = threading.Event(), threading.Event(), self.error
        self.files.append(file)
        return file


def stalled_log(path: Path, error: OSError | None = None) -> tuple[DiskLog, SlowFile, Any]:
    """A log whose sync of entry 2 is under way in the thread."""
    seconds = iter(range(1_000))
    disk = SlowDisk(error)
    log = DiskLog(
        disk, str(path), Limits(), founders=FOUNDERS, syncer=Syncer(threads_for(reactor, "log-sync"), lambda: float(next(seconds)))
    )
    log.save(None, [entry(1)])  # takes a second by the clock: the next ones go to the thread
    saved = log.save(None, [entry(2)])
    file = disk.files[-1]
    assert file.begun.wait(WAIT_SECONDS)
    return log, file, saved


@pytest_twisted.ensureDeferred
async def test_log_that_is_closed_waits_for_its_sync(tmp_path: Path) -> None:
    log, file, saved = stalled_log(tmp_path)
    assert not saved.called
    file.go.set()
    log.close()
    await saved
    again = DiskLog(RealDisk(), str(tmp_path), Limits(), founders=FOUNDERS)
    assert again.last_index == 2
    again.close()


@pytest_twisted.ensureDeferred
async def test_sync_that_fails_in_the_thread_fails_the_log(tmp_path: Path) -> None:
    log, file, saved = stalled_log(tmp_path, OSError(5, "Input/output error"))
    file.go.set()
    with pytest.raises(StorageFailed, match="fsync failed"):
        await saved
    with pytest.raises(StorageFailed, match="fsync failed"):
        await log.save(None, [entry(3)])
    log.close()


@pytest_twisted.ensureDeferred
async def test_tables_closed_during_a_checkpoint_and_a_snapshot_are_whole_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "tables.db")
    tables = SqliteTables(path, str(tmp_path), Limits(), lambda: 0.0, lambda name: threads_for(reactor, name), FOUNDERS)
    client = Client(tables).start()
    for number in range(100):
        client.insert(f"{number:03}", {"name": "x" * 500})
    checkpoint, snapshot = tables.checkpoint(), tables.snapshot()
    tables.close()
    assert (await checkpoint).index in (0, client.index)
    assert (await snapshot).meta.index == client.index
    again = SqliteTables(path, str(tmp_path), Limits(), lambda: 0.0)
    assert again.applied_index == client.index
    assert again.state_hash(client.index) == tables.state_hash(client.index)
    again.close()
