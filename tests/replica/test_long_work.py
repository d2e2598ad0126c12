"""What takes its time beside the writes: checkpoints that let the log be cut, and snapshots for whoever needs more than the log."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from replica_kit import SMALL, Cluster, MemoryNode, Outcome, fill, lines
from twisted.internet.defer import Deferred, fail, succeed

from ddbd.answers import Counters
from ddbd.config import Limits
from ddbd.errors import StorageFailed
from ddbd.raft.types import Membership, SnapshotMeta
from ddbd.replica.compaction import EARLY_WAL_BYTES, LOW_WAL_BYTES, REST_SECONDS, URGENT_WAL_BYTES
from ddbd.storage import SnapshotFile
from ddbd.storage.memory import MemoryLog, MemoryStore
from ddbd.storage.memory_tables import MemoryTables


class SlowTables(MemoryTables):
    """Checkpoints and snapshots show one instant, and end when the test says so. `errors` are what the next ones come to."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_slow = False
        self.open: list[tuple[Deferred[Any], Any]] = []
        self.errors: list[Exception] = []
        self.begun = 0
        self.wal_bytes = self.scans_open = 0
        self.checkpoints: list[bool] = []  # whether each was urgent
        self.syncs: list[Deferred[None]] = []
        self.has_failed = False
        self.settled_at: list[int] = []  # the applied index of each time

    def counters(self) -> Counters:
        return {**super().counters(), "wal_bytes": self.wal_bytes, "scans_open": self.scans_open}

    def checkpoint(self, urgent: bool = False) -> Deferred[SnapshotMeta]:
        self.checkpoints.append(urgent)
        if self.scans_open and not urgent:
            return succeed(SnapshotMeta(0, 0, 0, Membership(())))  # held back
        self.scans_open = self.wal_bytes = 0
        return self._later(super().checkpoint())

    def settle(self) -> None:
        if self.has_failed:
            raise StorageFailed("the tables cannot be committed")
        self.settled_at.append(self.applied_index)

    def sync_early(self) -> Deferred[None]:
        self.syncs.append(Deferred())
        return self.syncs[-1]

    def snapshot(self) -> Deferred[SnapshotFile]:
        self.begun += 1
        if self.errors:
            return fail(self.errors.pop())
        return self._later(super().snapshot())

    def _later(self, made: Deferred[Any]) -> Deferred[Any]:
        if not self.is_slow:
            return made
        done: Deferred[Any] = Deferred()
        made.addCallback(lambda value: self.open.append((done, value)))
        return done

    def end(self) -> None:
        opened, self.open = self.open, []
        for done, value in opened:
            done.callback(value)


class SlowStore(MemoryStore):
    tables: SlowTables

    def _make_tables(self, image: bytes) -> SlowTables:
        return SlowTables(self._limits, self._clock, self.files, self._founders if self._founders.nodes else None, image)


class BrokenLog(MemoryLog):
    def compact(self, index: int) -> int:
        raise StorageFailed("the log cannot be cut")


@pytest.fixture
def trio() -> Cluster:
    return Cluster(limits=SMALL, store_class=SlowStore).set_up()


def tables(node: MemoryNode) -> SlowTables:
    found = node.store.tables
    assert isinstance(found, SlowTables)
    return found


def lagging(trio: Cluster) -> MemoryNode:
    """Node 3 was away for longer than the log reaches back."""
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 100)
    return trio.nodes["3"]


# Compaction.


def test_a_tail_of_the_log_is_kept_behind_what_the_tables_hold_durably(trio: Cluster) -> None:
    fill(trio, trio.nodes["1"], 100)
    trio.run(0.5)
    for node in trio.running:
        base, applied = node.core.log.base.index, node.store.tables.applied_index
        assert 0 < base <= applied - SMALL.log_tail_entries
        assert base >= applied - SMALL.log_tail_entries - SMALL.checkpoint_entries - 5
        assert node.store.log.base.index == base


def test_a_tail_of_few_entries_that_are_large_is_cut_as_well() -> None:
    trio = Cluster(limits=replace(SMALL, log_tail_entries=1_000, log_tail_bytes=1_000)).set_up()
    fill(trio, trio.nodes["1"], 100)
    trio.run(0.5)
    for node in trio.running:
        assert node.core.log.base.index >= node.store.tables.applied_index - SMALL.checkpoint_entries - 20


@pytest.mark.parametrize("low", [False, True])
def test_a_wal_that_is_still_short_is_moved_into_the_tables_only_where_the_disk_is_nearly_full(low: bool) -> None:
    trio = Cluster(limits=Limits(), store_class=SlowStore).set_up()
    node, others = trio.nodes["1"], [trio.nodes["2"], trio.nodes["3"]]
    node.store.full = low
    for each in trio.running:
        tables(each).wal_bytes = LOW_WAL_BYTES
    fill(trio, node, 5)
    trio.run(0.5)
    assert tables(node).wal_bytes == (0 if low else LOW_WAL_BYTES)
    assert [tables(other).wal_bytes for other in others] == [LOW_WAL_BYTES] * 2
    fill(trio, node, 5, "again")
    tables(node).wal_bytes = LOW_WAL_BYTES - 1
    trio.run(0.5)
    assert tables(node).wal_bytes == LOW_WAL_BYTES - 1


@pytest.mark.parametrize(
    ("low", "wal_bytes", "urgent"), [(True, URGENT_WAL_BYTES, True), (True, URGENT_WAL_BYTES - 1, False), (False, 1 << 40, False)]
)
def test_scans_that_hold_the_wal_are_ended_only_before_they_fill_the_disk(low: bool, wal_bytes: int, urgent: bool) -> None:
    trio = Cluster(limits=Limits(), store_class=SlowStore).set_up()
    node = trio.nodes["1"]
    held = tables(node)
    node.store.full, held.scans_open = low, 1
    began = trio.clock.seconds()
    for number in range(40):
        held.wal_bytes = wal_bytes if held.scans_open else 0
        fill(trio, node, 1, f"fill{number}")
        trio.run(0.1)
    seconds = trio.clock.seconds() - began
    assert not held.checkpoints[0], "the first one may get through"
    if urgent:
        assert held.checkpoints == [False, True]
    else:
        assert not any(held.checkpoints)
        assert 2 <= len(held.checkpoints) <= seconds / REST_SECONDS + 1, "no storm of them: what holds one back holds the next one, too"


def test_what_the_tables_hold_open_is_committed_at_the_next_heartbeat(trio: Cluster) -> None:
    fill(trio, trio.nodes["1"], 3)
    for _ in range(3):
        trio.run(trio.config.timing.heartbeat_ms / 1000)
    for node in trio.running:
        assert tables(node).settled_at[-1] == node.store.tables.applied_index


def test_a_commit_that_fails_at_a_heartbeat_is_the_heartbeats_end(trio: Cluster) -> None:
    """Which ends the node (`cluster.heartbeat`)."""
    node = trio.nodes["1"]
    tables(node).has_failed = True
    with pytest.raises(StorageFailed):
        [node.replica.tick() for _ in range(trio.config.timing.heartbeat_ms // trio.config.timing.tick_ms)]


def test_the_wal_is_synced_bit_by_bit_before_a_checkpoint_needs_it() -> None:
    trio = Cluster(limits=Limits(), store_class=SlowStore).set_up()
    node = trio.nodes["1"]
    made = tables(node)

    def grown_to(wal_bytes: int) -> int:
        made.wal_bytes = wal_bytes
        fill(trio, node, 1, f"fill{wal_bytes}")
        trio.run(0.5)
        return len(made.syncs)

    assert grown_to(EARLY_WAL_BYTES - 1) == 0
    assert grown_to(EARLY_WAL_BYTES) == 1
    assert grown_to(5 * EARLY_WAL_BYTES) == 1, "one at a time"
    made.syncs[0].callback(None)
    assert grown_to(5 * EARLY_WAL_BYTES + 1) == 2
    made.syncs[1].callback(None)
    assert grown_to(6 * EARLY_WAL_BYTES) == 2
    assert made.checkpoints == []
    assert grown_to(Limits().checkpoint_wal_bytes) == 2
    assert made.checkpoints == [False]
    assert grown_to(EARLY_WAL_BYTES // 2) == 2, "a WAL that is copied begins anew"
    assert grown_to(EARLY_WAL_BYTES * 3 // 2) == 3


def test_a_node_whose_wal_cannot_be_synced_ends() -> None:
    trio = Cluster(limits=Limits(), store_class=SlowStore).set_up()
    node = trio.nodes["2"]
    tables(node).wal_bytes = EARLY_WAL_BYTES
    fill(trio, trio.nodes["1"], 1)
    trio.run(0.5)
    tables(node).syncs[0].errback(StorageFailed("the WAL cannot be synced"))
    assert [type(error) for error in node.fatal] == [StorageFailed]


def test_nothing_is_cut_while_the_checkpoint_has_not_ended(trio: Cluster) -> None:
    slow = tables(trio.nodes["1"])
    slow.is_slow = True
    before = trio.nodes["1"].core.log.base.index
    fill(trio, trio.nodes["1"], 100)
    trio.run(0.5)
    assert trio.nodes["1"].core.log.base.index == before
    assert len(slow.open) == 1, "one at a time"
    durable = slow.open[0][1].index
    slow.end()
    assert trio.nodes["1"].core.log.base.index == durable - SMALL.log_tail_entries


def test_nothing_is_applied_while_a_checkpoint_is_being_ended_and_the_leader_goes_on_leading(trio: Cluster) -> None:
    leader = trio.nodes["1"]
    slow, term = tables(leader), leader.core.term
    slow.is_slow = True
    fill(trio, leader, SMALL.checkpoint_entries + 1)
    trio.until(lambda: slow.open)
    slow.holds_writes = True
    before = slow.applied_index
    written = leader.insert("late", timeout=60.0)
    trio.run(3 * trio.config.timing.election_timeout_ms / 1000)
    assert (slow.applied_index, written.is_done) == (before, False)
    assert tables(trio.nodes["2"]).applied_index > before
    assert (leader.core.is_leader, leader.core.term) == (True, term)
    slow.holds_writes = False
    slow.end()
    trio.clock.advance(0)
    assert written.is_done


def test_the_log_is_cut_although_a_save_is_under_way_whenever_one_looks() -> None:
    """On a busy slow disk the next save begins as soon as the last one ends."""

    class ByHand(SlowStore):
        def __init__(self, limits: Limits, clock: Any, founders: Any, **more: Any) -> None:
            super().__init__(limits, clock, founders, log=MemoryLog(founders, by_hand=True), **more)

    one = Cluster(count=1, limits=SMALL, store_class=ByHand)
    node = one.nodes["1"]
    written: list[Outcome] = []
    for number in range(400):
        written.append(node.insert(str(number), timeout=60.0))
        one.run(0.025)
        if node.store.log.saving:
            written.append(node.insert(f"{number}b", timeout=60.0))
            node.store.log.fire()
            one.clock.advance(0)
    assert node.store.log.saving
    assert sum(each.is_done for each in written) > 300
    assert node.core.log.base.index > 300


def test_a_log_that_cannot_be_cut_ends_the_node() -> None:
    class Broken(SlowStore):
        def __init__(self, limits: Limits, clock: Any, founders: Any, **more: Any) -> None:
            super().__init__(limits, clock, founders, log=BrokenLog(founders), **more)

    one = Cluster(count=1, limits=SMALL, store_class=Broken).set_up()
    for number in range(40):
        one.nodes["1"].insert(str(number))
        one.run(0.02)
    assert [type(error) for error in one.nodes["1"].fatal] == [StorageFailed]


def test_a_checkpoint_that_ends_after_the_node_touches_nothing(trio: Cluster) -> None:
    node = trio.nodes["3"]
    slow, log = tables(node), node.store.log
    slow.is_slow = True
    fill(trio, trio.nodes["1"], 50)
    trio.run(0.3)
    assert slow.open
    node.crash()
    before = log.base
    slow.end()
    assert log.base == before


# Snapshots.


def test_the_log_is_kept_from_the_moment_at_which_a_snapshot_is_begun(trio: Cluster) -> None:
    """A copy of large tables takes minutes; cut meanwhile, the log would not go on where it ends, and the next copy had the same fate."""
    leader, away = trio.nodes["1"], lagging(trio)
    slow = tables(leader)
    slow.is_slow = True
    away.start()
    trio.until(lambda: slow.begun)
    slow.is_slow = False
    at = leader.core.applied_index
    fill(trio, trio.nodes["2"], 100, "meanwhile")
    trio.run(0.5)
    assert leader.core.log.base.index <= at
    slow.end()
    trio.settle()
    trio.until(trio.agree)
    assert slow.begun == 1
    assert len(lines(away.events, "installed")) == 1


def test_one_snapshot_serves_all_who_need_one(trio: Cluster) -> None:
    five = Cluster(count=5, limits=SMALL, store_class=SlowStore).set_up()
    for node_id in ("4", "5"):
        five.nodes[node_id].crash()
    fill(five, five.nodes["2"], 100)
    for node_id in ("4", "5"):
        five.nodes[node_id].start()
    five.settle()
    assert tables(five.nodes["1"]).begun == 1
    five.until(five.agree)


def test_no_snapshot_is_made_for_a_node_that_is_not_there(trio: Cluster) -> None:
    lagging(trio)
    trio.run(5.0)
    assert tables(trio.nodes["1"]).begun == 0


def test_a_snapshot_that_cannot_be_made_is_tried_again_after_a_pause(trio: Cluster) -> None:
    leader, away = trio.nodes["1"], lagging(trio)
    slow = tables(leader)
    slow.errors = [OSError("no space"), OSError("no space")]
    away.start()
    trio.run(1.0)
    assert slow.begun == 1
    assert len(lines(leader.events, "could not be made")) == 1
    trio.settle(15.0)
    assert slow.begun == 3
    assert leader.fatal == []


def test_tables_that_cannot_be_read_for_a_snapshot_end_the_node(trio: Cluster) -> None:
    leader, away = trio.nodes["1"], lagging(trio)
    tables(leader).errors = [StorageFailed("a bad page")]
    away.start()
    trio.until(lambda: leader.fatal)


def test_a_snapshot_that_ends_after_the_node_is_not_published(trio: Cluster) -> None:
    leader, away = trio.nodes["1"], lagging(trio)
    slow, carrier = tables(leader), leader.carrier
    slow.is_slow = True
    away.start()
    trio.until(lambda: slow.begun)
    leader.crash()
    slow.end()
    assert carrier.published == {}
    trio.settle()


def test_a_snapshot_is_withdrawn_when_nobody_needs_it_any_more(trio: Cluster) -> None:
    leader, away = trio.nodes["1"], lagging(trio)
    away.start()
    trio.settle()
    assert len(leader.carrier.published) == 1
    trio.run(35.0)
    assert leader.carrier.published == {}
    assert leader.store.files == {}
    assert leader.driver.seeding.keep_from() is None


def test_a_node_that_stops_gives_up_its_fetch(trio: Cluster) -> None:
    away = lagging(trio)
    away.start()
    trio.until(lambda: away.driver.seeding.is_fetching)
    away.replica.halt()
    assert not away.driver.seeding.is_fetching
    trio.run(1.0)
    assert lines(away.events, "installed") == []
    assert lines(away.events, "did not arrive") == []


def test_a_snapshot_of_something_else_is_refused_and_offered_again(trio: Cluster) -> None:
    leader, away = trio.nodes["1"], lagging(trio)
    away.start()
    trio.until(lambda: leader.carrier.published)
    ((token, good),) = leader.carrier.published.items()
    leader.carrier.published[token] = b"garbage"
    trio.until(lambda: lines(away.events, "cannot be read"))
    assert away.store.tables.applied_index < 50, "nothing was installed"
    leader.carrier.published[token] = good
    trio.settle()
    assert away.fatal == []
    assert len(lines(away.events, "fetching")) < 5, "there is a pause between two tries"
