"""The Raft log on disk: append-only segments of records (see `records`), one write and one fdatasync for a batch.

    log/0000000000000007.seg   header (place before it, hard state, generation) | batch | batch | … | zeros

* A batch is never split over segments. One that does not fit begins the next segment, as does one that replaces entries from before this
  segment: then a header's place always tells where the log begins if this segment becomes the first one.
* A segment is allocated whole, so that an fdatasync has no length of file to write; shorter where that would take from the disk's
  reserve. And now and then a batch is written with zeros behind it: space that was allocated and never written has to be noted as written
  by the first sync of it (ext4: in its journal), so one sync in many does that for all that follow. Zeros are what a torn write of them
  leaves, too.
* Compaction unlinks whole segments, oldest first, and syncs the folder after each: no power cut leaves a gap.
* `install` is the header of a new segment, which appears by one rename: the switch is whole or not at all.
* A batch ends with the hard state, once more. So what a flipped bit hits in what was saved has a good record of its batch behind it, and
  is never taken for a torn write; only this repetition can be, and nothing is lost with it.
* A hard state in which only the commit is new is written without a sync; it rides on the next batch's (losing it is safe).
* After the first failure of a write or a sync nothing is known of the file any more: the log refuses all from then on.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from ddbd.config import Limits
from ddbd.errors import Corrupt, StorageFailed
from ddbd.raft.types import Entry, HardState, Membership, SnapshotMeta
from ddbd.storage import records, recovery
from ddbd.storage.disk import Disk
from ddbd.storage.logstate import OFFSET_BITS, LogState
from ddbd.storage.syncing import Syncer
from ddbd.storage.threads import InlineThreads

_OFFSET_MASK = (1 << OFFSET_BITS) - 1
_REWRITE_BYTES = 1024 * 1024  # at once, when a node starts
SEGMENT_BYTES_MIN = 4 * 1024 * 1024  # on a disk that is nearly full
ZEROS_BYTES = 256 * 1024  # written ahead of the records
_READ_SLACK = 1024  # hard states that may lie between two entries


def founders_base(founders: Membership) -> SnapshotMeta:
    """The base of a young log: nothing before the first entry but who may vote on it."""
    return SnapshotMeta(0, 0, 0, founders)


class DiskLog:
    """`storage.Log` on a `Disk`. `entropy(n)` gives n bytes that no client can guess."""

    def __init__(
        self,
        disk: Disk,
        folder: str,
        limits: Limits,
        *,
        founders: Membership = Membership(()),  # noqa: B008 - a frozen value
        syncer: Syncer | None = None,
        progress: Callable[[int], None] = recovery.nobody_waits,
        entropy: Callable[[int], bytes] = os.urandom,
        spare: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        """Opens or begins the log. `spare` says how many bytes may be allocated ahead. Raises Corrupt, StorageFailed."""
        self._disk = disk
        self._folder = folder
        self._segment_bytes = limits.segment_bytes
        self._syncer = syncer or Syncer(InlineThreads(), time.monotonic)
        self._entropy = entropy
        self._spare = spare
        self._failed: str | None = None
        self._saving = False
        self._unsynced = False  # a commit was written and not synced: its batch number is still open
        try:
            self._open(founders, progress)
        except OSError as error:
            raise self._fail("open", error) from error
        self.recovered = self._state.recovered()

    # Opening.

    def _open(self, founders: Membership, progress: Callable[[int], None]) -> None:
        self._disk.make_dir(self._folder)
        found = recovery.replay(self._disk, self._folder, progress)
        self._segments = {segment.number: segment for segment in found.segments}
        self._last_number = max(self._segments, default=0)
        self._use_tail(found.tail)
        if found.state is None:
            self._state = LogState(founders_base(founders), 0, HardState())
            self._begin_segment(self._state.base, 0)
            return
        self._state = found.state
        self._capacity = self._segments[self._last_number].file.size()
        self._repair(found.tail)

    def _use_tail(self, tail: recovery.Tail) -> None:
        self._offset, self._crc, self._batch = tail.offset, tail.crc, tail.batch
        self._written = tail.offset  # up to here this segment was written once, if only with zeros

    def _repair(self, tail: recovery.Tail) -> None:
        """What was read may be in the page cache only: it is written again and synced before anyone builds on it. The sync alone is not
        enough: after an fsync that failed, the kernel takes the pages for clean and writes them no more (Rebello et al., ATC'20).
        A torn batch is cut and ended.
        """
        file = self._segments[self._last_number].file
        for at in range(0, tail.offset, _REWRITE_BYTES):
            file.write(at, file.read(at, min(_REWRITE_BYTES, tail.offset - at)))
        if tail.torn_bytes:
            file.write(tail.offset, bytes(tail.torn_bytes))
        if tail.torn_bytes or not tail.final:
            self._batch = tail.batch if not tail.final else tail.batch + 1
            data, crc = records.encode(records.HARD_STATE, True, self._hard_payload(), self._crc, self._batch, self._salt)
            if self._offset + len(data) <= self._capacity:
                file.write(self._offset, data)
            else:
                recovery.allocate(file, self._offset + len(data), self._offset + len(data))
                self._capacity = self._offset + len(data)
                file.write(self._offset, data)
            self._offset, self._crc = self._offset + len(data), crc
        file.sync()
        self._disk.sync_dir(self._folder)

    @property
    def _salt(self) -> int:
        return self._segments[self._last_number].header.salt

    def _hard_payload(self) -> bytes:
        return records.encode_hard_state(self._state.hard_state)

    # Reading.

    @property
    def last_index(self) -> int:
        return self._state.last_index

    @property
    def base(self) -> SnapshotMeta:
        return self._state.base

    def term(self, index: int) -> int:
        """Of the entry at index, or of the base."""
        return self._state.term(index)

    def read(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        """See `storage.Log`. Raises Corrupt when a record does not hold what was written."""
        state = self._state
        if not state.base.index < low <= high <= state.last_index + 1:
            raise AssertionError(f"read of {low}..{high - 1} in a log of {state.base.index + 1}..{state.last_index}")
        entries: list[Entry] = []
        chunk, chunk_at = b"", 0
        size = 0
        for index in range(low, high):
            position, length = state.position(index), state.lengths[index - state.base.index - 1]
            size += length - records.ENTRY_BYTES
            if entries and size > bytes_max:
                break
            if not chunk_at <= position <= chunk_at + len(chunk) - length:
                chunk, chunk_at = self._read_run(index, high, bytes_max), position
            entries.append(self._entry(index, chunk, position, position - chunk_at))
        return entries

    def _read_run(self, index: int, high: int, bytes_max: int) -> bytes:
        """The bytes from this entry's record to that of the last one that may be wanted, within its segment."""
        state = self._state
        position = state.position(index)
        end = position + state.lengths[index - state.base.index - 1]
        last = min(high - 1, state.last_index_before((position >> OFFSET_BITS) + 1))
        last_end = state.position(last) + state.lengths[last - state.base.index - 1]
        size = max(end - position, min(last_end - position, bytes_max + _READ_SLACK + (last - index + 1) * records.ENTRY_BYTES))
        try:
            return self._segments[position >> OFFSET_BITS].file.read(position & _OFFSET_MASK, size)
        except OSError as error:
            raise self._fail("read", error) from error

    def _entry(self, index: int, chunk: bytes, position: int, start: int) -> Entry:
        number = position >> OFFSET_BITS
        record = records.parse(chunk, start, self._segments[number].header.salt)
        if record is None or record.kind != records.ENTRY:
            raise Corrupt(f"log {recovery.segment_name(number)}: entry {index} at byte {position & _OFFSET_MASK} is damaged")
        entry = records.decode_entry(record.payload)
        if entry.index != index or entry.term != self._state.term(index):
            raise Corrupt(f"log {recovery.segment_name(number)}: entry {entry.index} stands where {index} was written")
        return entry

    # Writing.

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]:
        """See `storage.Log`. Errbacks with StorageFailed, then and ever after."""
        assert not self._saving, "a save while another one is under way"
        if self._failed is not None:
            return fail(StorageFailed(self._failed))
        old = self._state.hard_state
        if hard_state is None and not entries:
            return succeed(None)
        lazy = not entries and hard_state is not None and hard_state[:2] == old[:2]
        try:
            self._write(hard_state, entries, final=not lazy)
        except OSError as error:
            return fail(self._fail("write", error))
        if lazy:
            self._unsynced = True
            return succeed(None)
        self._unsynced = False
        sync = self._segments[self._last_number].file.sync
        if not self._syncer.inline:
            self._saving = True
            return self._syncer.sync_there(sync).addCallbacks(self._saved, self._sync_failed)
        try:
            self._syncer.sync_here(sync)
        except OSError as error:
            return fail(self._fail("fsync", error))
        return succeed(None)

    def _saved(self, _: None) -> None:
        self._saving = False

    def _sync_failed(self, failure: Failure) -> Failure:
        self._saving = False
        return Failure(self._fail("fsync", failure.value or OSError("unknown")))

    def _write(self, hard_state: HardState | None, entries: Sequence[Entry], final: bool) -> None:
        """The record that closes a batch repeats a hard state that it may hold already: without it nothing is lost."""
        if hard_state is not None:
            self._state.hard_state = hard_state
        payload = self._hard_payload()
        hard_records = (hard_state is not None) + final
        size = hard_records * (records.HEAD_BYTES + len(payload)) + len(entries) * records.ENTRY_BYTES + sum([len(e.data) for e in entries])
        self._make_room(size, entries[0].index if entries else None)
        if not self._unsynced:
            self._batch += 1
        crc, salt, before = self._crc, self._salt, b""
        if hard_state is not None:
            before, crc = records.encode(records.HARD_STATE, False, payload, crc, self._batch, salt)
        made, crc = records.encode_entries(entries, crc, self._batch, salt)
        parts = [before, *made]
        if final:
            end, crc = records.encode(records.HARD_STATE, True, payload, crc, self._batch, salt)
            parts.append(end)
        offset = self._offset + size
        if offset > self._written:
            self._written = max(offset, min(self._capacity, offset + ZEROS_BYTES))
            parts.append(bytes(self._written - offset))
        self._segments[self._last_number].file.write(self._offset, b"".join(parts))
        self._state.append(entries, self._last_number << OFFSET_BITS | self._offset + len(before), [len(record) for record in made])
        self._offset, self._crc = offset, crc

    def _make_room(self, size: int, first_index: int | None) -> None:
        current = self._segments[self._last_number]
        replaces = first_index is not None and first_index <= current.header.index
        if self._offset + size <= self._capacity and not replaces:
            return
        before = self._state.last_index if first_index is None else min(self._state.last_index, first_index - 1)
        self._end_batch()
        self._begin_segment(self._place(before), size)

    def _end_batch(self) -> None:
        """A commit that was not synced yet is ended and synced: nothing before a new segment may still be torn.

        Where there is no room for that, the segment grows a little.
        """
        if not self._unsynced:
            return
        data, self._crc = records.encode(records.HARD_STATE, True, self._hard_payload(), self._crc, self._batch, self._salt)
        file = self._segments[self._last_number].file
        file.write(self._offset, data)
        file.sync()
        self._offset += len(data)
        self._unsynced = False

    def _place(self, index: int) -> SnapshotMeta:
        """An entry's place, as a base. Read back from the file: it is wanted once in a segment."""
        if index == self._state.base.index:
            return self._state.base
        entry = self.read(index, index + 1, 0)[0]
        return SnapshotMeta(index, entry.term, entry.stamp, self._state.membership_at(index))

    def _begin_segment(self, place: SnapshotMeta, room_bytes: int, generation: int | None = None, first: int | None = None) -> None:
        """With a generation its header is the record that installs the place. `first` is the oldest segment that is still needed."""
        state = self._state
        number = self._last_number + 1
        first = min(self._segments, default=number) if first is None else first
        salt = int.from_bytes(self._entropy(4), "little")
        installed = generation is not None
        header = records.make_header(
            number, first, salt, place, state.generation if generation is None else generation, state.hard_state, installed
        )
        ahead = min(self._segment_bytes, max(SEGMENT_BYTES_MIN, self._spare()))
        size = max(ahead, room_bytes + 4096 + len(header.membership))
        segment, tail = recovery.create_segment(self._disk, self._folder, size, header, self._crc, self._batch + 1)
        self._segments[number] = segment
        self._last_number = number
        self._capacity = segment.file.size()
        self._use_tail(tail)

    # Dropping.

    def compact(self, index: int) -> int:
        """See `storage.Log`. Raises StorageFailed."""
        self._check()
        assert index <= self._state.last_index, f"compaction to {index} of a log that ends at {self._state.last_index}"
        numbers = sorted(self._segments)
        keep = next((n for n in reversed(numbers) if self._may_begin_with(n, index)), numbers[0])
        place = self._segments[keep].header.place
        if not all(self._may_begin_with(n, place.index) for n in numbers if numbers[0] < n < keep):
            # Half of the drop would leave a log that begins in the wrong place: a header says first what is to go.
            if self._saving:
                return self._state.base.index
            self._begin_dropping(keep)
        if place.index > self._state.base.index:
            self._state.rebase(place)
        self._drop_before(keep)
        return self._state.base.index

    def tail_from(self, bytes_max: int) -> int:
        """See `storage.Log`: in whole segments."""
        index, left = self._state.last_index, bytes_max
        for number in sorted(self._segments, reverse=True):
            left -= self._segments[number].file.size()
            if left < 0:
                break
            index = min(index, self._segments[number].header.index)
        return index

    def _begin_dropping(self, keep: int) -> None:
        try:
            self._end_batch()
            self._begin_segment(self._place(self._state.last_index), 0, first=keep)
        except OSError as error:
            raise self._fail("write", error) from error

    def _may_begin_with(self, number: int, index_max: int) -> bool:
        """Whether all that segments before this one hold is at or before its place, and not needed."""
        place = self._segments[number].header.index
        return place <= index_max and self._state.last_index_before(number) <= place

    def _drop_before(self, keep: int) -> None:
        try:
            for number in sorted(n for n in self._segments if n < keep):
                self._segments.pop(number).file.close()
                self._disk.unlink(f"{self._folder}/{recovery.segment_name(number)}")
                self._disk.sync_dir(self._folder)
        except OSError as error:
            raise self._fail("unlink", error) from error

    def install(self, meta: SnapshotMeta, generation: int) -> None:
        """See `storage.Log`. Raises StorageFailed."""
        self._check()
        assert not self._saving, "an install while a save is under way"
        assert meta.index >= self._state.base.index, f"a snapshot of {meta.index} before the log's base {self._state.base.index}"
        try:
            self._end_batch()
            kept = self._state.keeps_behind(meta)
            self._begin_segment(meta, 0, generation, None if kept else self._last_number + 1)
        except OSError as error:
            raise self._fail("write", error) from error
        self._state.install(meta, generation)
        if not kept:
            self._drop_before(self._last_number)

    def _check(self) -> None:
        if self._failed is not None:
            raise StorageFailed(self._failed)

    def _fail(self, what: str, error: BaseException) -> StorageFailed:
        self._failed = f"{self._folder}: {what} failed: {error}; what is on the disk is unknown until the log is read again"
        return StorageFailed(self._failed)

    def counters(self) -> dict[str, int | float | bool]:
        return {
            "segments": len(self._segments),
            "segment_bytes": sum(segment.file.size() for segment in self._segments.values()),
            "sync_inline": self._syncer.inline,
            "sync_mean_ms": round(self._syncer.mean_seconds * 1000, 3),
        }

    def close(self) -> None:
        self._syncer.close()
        for segment in self._segments.values():
            segment.file.close()
        self._failed = self._failed or f"{self._folder}: closed"
