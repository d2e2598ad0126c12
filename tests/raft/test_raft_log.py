"""The log by itself: its end in memory, its older part read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raft_cluster import Disk

from ddbd.raft.log import CacheLimits, RaftLog
from ddbd.raft.types import Entry, EntryKind, Membership, SnapshotMeta

THREE = Membership.of(["1", "2", "3"])
BIG = 1 << 20


def entry(index: int, term: int = 1, stamp: int = 0, data: bytes = b"x") -> Entry:
    return Entry(index, term, stamp, EntryKind.COMMAND, data)


def change(index: int, *voters: str) -> Entry:
    return Entry(index, 1, 0, EntryKind.MEMBERSHIP, Membership.of(voters).to_bytes())


class Kept:
    """A log and its disk, saved together."""

    def __init__(self, *entries: Entry, limits: CacheLimits = CacheLimits()) -> None:  # noqa: B008 - frozen
        self.disk = Disk(THREE)
        self.log = RaftLog(self.disk, self.disk.base, 0, (), limits)
        self.append(*entries)
        self.save()

    def append(self, *entries: Entry) -> None:
        self.log.append(entries)

    def save(self, commit: int = BIG) -> None:
        entries = self.log.unsaved()
        self.disk.save(None, entries)
        self.log.saved(entries, commit)

    def reopen(self) -> RaftLog:
        return RaftLog(self.disk, self.disk.base, self.disk.last_index, self.disk.memberships())


def test_an_empty_log_ends_at_its_base() -> None:
    log = Kept().log
    assert (log.last_index, log.last_term, log.last_stamp, log.saved_index, log.unsaved()) == (0, 0, 0, 0, ())
    assert (log.term_at(0), log.term_at(1), log.membership) == (0, None, THREE)
    log.saved((), 0)
    assert log.saved_index == 0


def test_appended_entries_are_unsaved_until_the_disk_has_them() -> None:
    kept = Kept(entry(1))
    kept.append(entry(2), entry(3))
    assert [each.index for each in kept.log.unsaved()] == [2, 3]
    kept.save()
    assert (kept.log.saved_index, kept.log.unsaved()) == (3, ())


@pytest.mark.parametrize("wrong", [entry(3), entry(1), entry(2, term=0), entry(2, stamp=-1)])
def test_an_entry_that_does_not_follow_is_a_broken_invariant(wrong: Entry) -> None:
    with pytest.raises(AssertionError):
        Kept(entry(1)).append(wrong)


def test_a_save_of_entries_that_were_replaced_meanwhile_counts_only_where_they_are_the_same() -> None:
    kept = Kept(entry(1))
    kept.append(entry(2), entry(3))
    saving = kept.log.unsaved()
    kept.log.truncate(3)
    kept.append(entry(3, term=2))
    kept.log.saved(saving, 0)
    assert kept.log.saved_index == 2
    assert [each.term for each in kept.log.unsaved()] == [2]


def test_a_save_of_entries_that_are_gone_counts_for_nothing() -> None:
    kept = Kept(entry(1))
    kept.append(entry(2))
    saving = kept.log.unsaved()
    kept.log.truncate(2)
    kept.log.saved(saving, 0)
    assert kept.log.saved_index == 1


@pytest.mark.parametrize("index", [0, 5])
def test_only_what_is_there_can_be_truncated(index: int) -> None:
    with pytest.raises(AssertionError):
        Kept(entry(1), entry(2)).log.truncate(index)


def test_truncating_below_the_memory_reads_the_new_end_back() -> None:
    kept = Kept(*[entry(index, term=index) for index in range(1, 6)])
    log = kept.reopen()
    log.truncate(3)
    assert (log.last_index, log.last_term, log.saved_index) == (2, 2, 2)
    log.truncate(1)
    assert (log.last_index, log.last_term) == (0, 0)


def test_truncating_takes_a_membership_back() -> None:
    kept = Kept(entry(1), change(2, "1", "2"), change(3, "1"))
    assert (kept.log.membership, kept.log.membership_index) == (Membership.of(["1"]), 3)
    assert kept.log.membership_at(2) == Membership.of(["1", "2"])
    kept.log.truncate(3)
    assert kept.log.membership == Membership.of(["1", "2"])
    kept.log.truncate(2)
    assert (kept.log.membership, kept.log.membership_index) == (THREE, 0)


def test_entries_come_from_memory_and_disk_within_the_bytes_allowed() -> None:
    kept = Kept(*[entry(index, data=b"12345") for index in range(1, 11)])
    log = kept.reopen()
    assert [each.index for each in log.entries(1, 11, BIG)] == list(range(1, 10))
    assert [each.index for each in log.entries(1, 11, 12)] == [1, 2]
    assert [each.index for each in log.entries(10, 11, 1)] == [10]
    assert [each.index for each in kept.log.entries(3, 11, 11)] == [3, 4]
    assert [each.index for each in kept.log.entries(3, 11, 1)] == [3]
    assert kept.log.entries(11, 11, BIG) == []
    for low, high in ((0, 3), (3, 12)):
        with pytest.raises(AssertionError):
            kept.log.entries(low, high, BIG)


@pytest.mark.parametrize(
    ("term", "high", "low", "expected"), [(1, 6, 0, 2), (3, 6, 0, 4), (9, 6, 0, 6), (0, 6, 0, 0), (0, 6, 3, 3), (0, 2, 5, 2)]
)
def test_the_last_entry_of_a_term_is_found_from_behind(term: int, high: int, low: int, expected: int) -> None:
    log = Kept(*[entry(index + 1, term) for index, term in enumerate([1, 1, 2, 2, 4, 4])]).log
    assert log.last_of_term_at_most(term, high, low) == expected


def test_the_memory_is_bounded_but_keeps_what_is_unsaved_uncommitted_or_last() -> None:
    for commit, cached in ((10, 3), (2, 8), (0, 10)):
        kept = Kept(limits=CacheLimits(4, BIG))
        kept.append(*[entry(index) for index in range(1, 11)])
        kept.save(commit)
        assert len(kept.log._cache) == cached
    kept = Kept(limits=CacheLimits(4, BIG))
    kept.append(*[entry(index) for index in range(1, 11)])
    kept.disk.save(None, kept.log.unsaved()[:5])
    kept.log.saved(kept.log.unsaved()[:5], 10)
    assert [each.index for each in kept.log.unsaved()] == [6, 7, 8, 9, 10]
    kept = Kept(limits=CacheLimits(BIG, 40))
    kept.append(*[entry(index, data=b"0123456789") for index in range(1, 11)])
    kept.save()
    assert kept.log._cache_bytes == 30
    kept = Kept(limits=CacheLimits(BIG, 1))
    kept.append(entry(1, data=b"0123456789"))
    kept.save()
    assert kept.log.last_term == 1


def test_compaction_drops_the_start_and_keeps_its_term_and_membership() -> None:
    kept = Kept(entry(1), change(2, "1", "2"), entry(3), change(4, "1"), entry(5))
    kept.log.compact(SnapshotMeta(3, 1, 0, Membership.of(["1", "2"])))
    assert kept.log.memberships == [(3, Membership.of(["1", "2"])), (4, Membership.of(["1"]))]
    assert (kept.log.term_at(3), kept.log.term_at(2), kept.log.last_index) == (1, None, 5)
    kept.log.compact(SnapshotMeta(2, 1, 0, THREE))
    assert kept.log.base.index == 3
    kept.log.compact(SnapshotMeta(5, 1, 7, THREE))
    assert (kept.log.last_index, kept.log.last_term, kept.log.last_stamp) == (5, 1, 7)
    kept.append(entry(6, stamp=7))
    with pytest.raises(AssertionError, match="beyond what is saved"):
        kept.log.compact(SnapshotMeta(6, 1, 7, THREE))


def test_compacting_what_already_left_the_memory_changes_only_the_base() -> None:
    kept = Kept(*[entry(index) for index in range(1, 6)])
    log = kept.reopen()
    log.compact(SnapshotMeta(2, 1, 0, THREE))
    assert (log.base.index, log.last_index, log._cache_first) == (2, 5, 5)


@pytest.mark.parametrize(
    ("index", "term", "commit", "last_index"),
    [(3, 1, 0, 5), (3, 2, 0, 3), (9, 2, 0, 9), (3, 2, 3, 5), (5, 1, 0, 5)],
)
def test_a_snapshot_keeps_what_follows_it_where_it_matches(index: int, term: int, commit: int, last_index: int) -> None:
    """Raft figure 13."""
    log = Kept(*[entry(each) for each in range(1, 6)]).log
    log.install(SnapshotMeta(index, term, 0, THREE), commit)
    assert (log.base.index, log.last_index, log.saved_index >= index) == (index, last_index, True)


def test_a_snapshot_brings_its_membership_where_the_log_does_not_match() -> None:
    """What the dropped entries said of it is no longer in force, be it from before the snapshot or behind it."""
    for term, expected in ((2, Membership.of("14")), (1, Membership.of("13"))):
        log = Kept(entry(1), change(2, "1", "2"), entry(3), change(4, "1", "3")).log
        log.install(SnapshotMeta(3, term, 0, Membership.of("14")), 0)
        assert log.membership == expected
    ahead = Kept(change(1, "1", "2")).log
    ahead.install(SnapshotMeta(9, 2, 0, Membership.of("14")), 1)
    assert ahead.membership == Membership.of("14")


def test_a_snapshot_vouches_for_entries_that_were_not_saved_yet() -> None:
    """They are in the tables, which are on the disk; only what follows is still to be saved."""
    kept = Kept(entry(1))
    kept.append(entry(2), entry(3), entry(4))
    kept.log.install(SnapshotMeta(3, 1, 0, THREE), 0)
    assert (kept.log.base.index, kept.log.saved_index) == (3, 3)
    assert kept.log.unsaved() == (entry(4),)


def test_the_last_entry_of_a_term_is_not_looked_for_beyond_a_thousand_entries() -> None:
    log = Kept(*[entry(index, term=1 if index <= 500 else 3) for index in range(1, 2_001)]).log
    assert log.last_of_term_at_most(1, 2_000, 0) == 1_000
    assert log.last_of_term_at_most(1, 1_500, 0) == 500
    assert log.last_of_term_at_most(1, 1_501, 0) == 501


def test_a_log_that_ends_before_its_base_cannot_be() -> None:
    with pytest.raises(AssertionError):
        RaftLog(Disk(THREE), SnapshotMeta(5, 1, 0, THREE), 4)


@given(st.lists(st.integers(0, 5), max_size=60))
def test_the_log_is_a_list_with_a_cache(steps: list[int]) -> None:
    """Against a plain list of terms, whatever was appended, saved, truncated, compacted and opened again."""
    kept = Kept(limits=CacheLimits(3, 20))
    terms: list[int] = []
    base = 0
    for number, step in enumerate(steps):
        log = kept.log
        if step <= 1:
            terms.append(number)
            kept.append(entry(len(terms), number, data=b"1234"))
        elif step == 2:
            kept.save(commit=number % 7)
        elif step == 3 and len(terms) > base:
            del terms[max(base, len(terms) - 1 - number % 3) :]
            log.truncate(len(terms) + 1)
            terms.append(number)  # only what a newer leader has there takes their place
            kept.append(entry(len(terms), number))
        elif step == 4 and log.saved_index > base:
            base = log.saved_index
            meta = SnapshotMeta(base, terms[base - 1], 0, THREE)
            if kept.disk.last_index >= base:
                kept.disk.compact(meta)
                log.compact(meta)
        elif step == 5:
            kept.save()
            kept.log = kept.reopen()
        assert kept.log.last_index == len(terms)
        assert kept.log.last_term == (terms[-1] if terms else 0)
        assert [kept.log.term_at(index + 1) for index in range(base, len(terms))] == terms[base:]
