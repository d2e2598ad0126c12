"""Reading the log's segments when a node starts.

A segment gets its final name only after its header was synced, and the next one is begun only after the last batch of this one was. So:

* all segments but the newest must be good to the end: the next header names the crc of the record before it;
* the newest may end in a torn write (see `records.judge_tail`), which is cut; any other damage is Corrupt;
* leftovers under temporary names were never part of the log.

Cutting writes zeros over the torn bytes and then a record of its own, so that the next recovery sees a finished batch there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from ddbd.errors import Corrupt
from ddbd.raft.types import MEMBERSHIP
from ddbd.storage import records
from ddbd.storage.disk import Disk, DiskFile
from ddbd.storage.logstate import OFFSET_BITS, LogState

HEADER_BYTES_MAX = 64 * 1024  # far above a header with the longest membership
PIECE_BYTES = 1024 * 1024
_ZEROS = bytes(PIECE_BYTES)

_NAME = re.compile(r"(\d{16})\.seg")


def segment_name(number: int) -> str:
    return f"{number:016d}.seg"


class Segment(NamedTuple):
    number: int
    file: DiskFile
    header: records.Header


class Tail(NamedTuple):
    """Where the next record goes, and what it continues."""

    offset: int
    crc: int
    batch: int  # of the last good record
    final: bool  # whether that record ended its batch
    torn_bytes: int  # behind `offset`, to be cut


def nobody_waits(bytes_read: int) -> None:
    """Nobody wants to know how far it is."""


class Window:
    """A segment's file, read in pieces: whole, it would be so much memory that is touched for the first time, which takes longer."""

    def __init__(self, file: DiskFile, progress: Callable[[int], None] = nobody_waits) -> None:
        self._file = file
        self._progress = progress
        self.size = file.size()
        self.start = 0  # where the piece lies in the file
        self.piece = file.read(0, PIECE_BYTES)

    def record(self, offset: int, salt: int) -> records.Record | None:
        """Its places are counted from `start`."""
        found = records.parse(self.piece, offset - self.start, salt)
        if found is None and offset > self.start and self.start + len(self.piece) < self.size:
            self._progress(offset - self.start)
            self.start, self.piece = offset, self._file.read(offset, PIECE_BYTES)
            found = records.parse(self.piece, 0, salt)
        size = records.size_at(self.piece, offset - self.start) if found is None else 0
        if PIECE_BYTES < size <= self.size - offset:
            self.start, self.piece = offset, self._file.read(offset, size)
            found = records.parse(self.piece, 0, salt)
        return found

    def bytes_from(self, offset: int) -> int:
        """How many bytes from there to the last one that is no zero."""
        last = offset
        for start in range(offset, self.size, PIECE_BYTES):
            piece = self._file.read(start, PIECE_BYTES)
            if piece != _ZEROS and (kept := piece.rstrip(b"\0")):
                last = start + len(kept)
        return last - offset


class Replay:
    """Reads segment after segment into `state`. `progress` is told how many bytes were read, at every piece."""

    def __init__(self, progress: Callable[[int], None] = nobody_waits) -> None:
        self._progress = progress
        self._read_bytes = 0
        self.state: LogState | None = None
        self.segments: list[Segment] = []
        self.tail = Tail(0, 0, 0, True, 0)

    def segment(self, name: str, number: int, file: DiskFile, newest: bool) -> None:
        header, record = _header(name, number, file.read(0, HEADER_BYTES_MAX))
        window = Window(file, self._advance)
        self.segments.append(Segment(number, file, header))
        self._follow(name, header, record)
        offset, crc, batch, final = record.end, record.crc, record.batch, True
        while True:
            offset, crc, batch, final = self._walk(window, number, header.salt, (offset, crc, batch, final))
            found = window.record(offset, header.salt)
            if found is None:
                break
            if found.prev != crc or found.batch != (batch + 1 if final else batch):
                raise Corrupt(f"log {name}: the record at byte {offset} does not follow the one before it")
            self._take(name, number, found, window.start)
            offset, crc, batch, final = window.start + found.end, found.crc, found.batch, found.final
        torn_bytes = window.bytes_from(offset)
        if torn_bytes > 0:
            self._judge(name, file.read(0, window.size), offset, batch if not final else batch + 1, header.salt, newest)
        elif newest is False and not final:
            raise Corrupt(f"log {name}: the last batch has no end, and a later segment follows")
        self.tail = Tail(offset, crc, batch, final, torn_bytes)
        self._advance(offset - window.start)

    def _walk(self, window: Window, number: int, salt: int, at: tuple[int, int, int, bool]) -> tuple[int, int, int, bool]:
        """Over what needs no closer look, in the window's piece. (offset, crc, batch, final), before and behind."""
        assert self.state is not None
        state, start, (offset, crc, batch, final) = self.state, window.start, at
        here = records.Place(offset - start, crc, batch, final, state.last_index, state.term(state.last_index))
        run = records.walk(window.piece, here, salt)
        piece_at = number << OFFSET_BITS | start
        state.extend([piece_at + each for each in run.starts], run.lengths, run.terms)
        if run.hard_state is not None:
            state.hard_state = run.hard_state
        end = run.end
        return start + end.offset, end.crc, end.batch, end.final

    def _advance(self, bytes_read: int) -> None:
        self._read_bytes += bytes_read
        self._progress(self._read_bytes)

    def _follow(self, name: str, header: records.Header, record: records.Record) -> None:
        """The header continues what came before, or begins the log."""
        if self.state is None:
            self.state = LogState(header.place, header.generation, header.hard_state)
            return
        if header.number != self.segments[-2].number + 1:
            raise Corrupt(f"log {name}: the segment before it is missing")
        if record.prev != self.tail.crc or record.batch != self.tail.batch + 1:
            raise Corrupt(f"log {name}: the segment before it lacks its last records")
        if header.installed:
            self.state.install(header.place, header.generation)
        elif not self.state.base.index <= header.index <= self.state.last_index or self.state.term(header.index) != header.term:
            raise Corrupt(f"log {name}: it follows entry {header.index} of term {header.term}, which the log does not hold")
        self.state.hard_state = header.hard_state

    def _take(self, name: str, number: int, record: records.Record, at: int) -> None:
        """Its places are counted from `at`."""
        assert self.state is not None
        if record.kind == records.ENTRY:
            index, term, kind = records.place_of(record.payload)
            place = number << OFFSET_BITS | at + record.start
            if kind == MEMBERSHIP:
                self.state.add(records.decode_entry(record.payload), place, record.end - record.start)
            else:
                self.state.place(index, term, place, record.end - record.start)
        elif record.kind == records.HARD_STATE:
            self.state.hard_state = records.decode_hard_state(record.payload)
        else:
            raise Corrupt(f"log {name}: a record of the unknown kind {record.kind} at byte {at + record.start}")

    def _judge(self, name: str, data: bytes, offset: int, batch: int, salt: int, newest: bool) -> None:
        if not newest:
            raise Corrupt(f"log {name}: the record at byte {offset} is bad, and a later segment follows")
        why = records.judge_tail(data, offset, batch, salt)
        if why is not None:
            raise Corrupt(f"log {name}: {why}; restore this node from its peers")


def replay(disk: Disk, folder: str, progress: Callable[[int], None] = nobody_waits) -> Replay:
    """Reads the whole log; the state is None in a folder without one. Raises Corrupt; OSError passes through."""
    result = Replay(progress)
    names = disk.listdir(folder)
    leftovers = [name for name in names if name.endswith(".tmp")]
    for name in leftovers:
        disk.unlink(f"{folder}/{name}")
    files = {int(match[1]): disk.open(f"{folder}/{match[0]}") for match in map(_NAME.fullmatch, names) if match}
    try:
        _replay_files(disk, folder, files, result)
    except BaseException:
        for file in files.values():
            file.close()
        raise
    return result


def _replay_files(disk: Disk, folder: str, files: dict[int, DiskFile], result: Replay) -> None:
    first = max((_first_of(segment_name(number), number, file) for number, file in files.items()), default=0)
    for number in sorted(files):
        if number < first:  # the power went while these were dropped
            files.pop(number).close()
            disk.unlink(f"{folder}/{segment_name(number)}")
            disk.sync_dir(folder)
    for number, file in files.items():
        result.segment(segment_name(number), number, file, newest=number == max(files))


def _first_of(name: str, number: int, file: DiskFile) -> int:
    return read_header(name, number, file).first


def read_header(name: str, number: int, file: DiskFile) -> records.Header:
    """Raises Corrupt."""
    return _header(name, number, file.read(0, HEADER_BYTES_MAX))[0]


def _header(name: str, number: int, data: bytes) -> tuple[records.Header, records.Record]:
    record = records.parse(data, 0, 0)
    if record is None or record.kind != records.SEGMENT:
        raise Corrupt(f"log {name}: the header is damaged; restore this node from its peers")
    header = records.decode_header(record.payload)
    if header.number != number:
        raise Corrupt(f"log {name}: the header says segment {header.number}")
    return header, record


def create_segment(disk: Disk, folder: str, size_bytes: int, header: records.Header, prev: int, batch: int) -> tuple[Segment, Tail]:
    """A new segment, whole under its final name or not there at all."""
    data, crc = records.encode(records.SEGMENT, True, records.encode_header(header), prev, batch, 0)
    name = segment_name(header.number)
    file = disk.create(f"{folder}/{name}.tmp")
    allocate(file, size_bytes, len(data))
    file.write(0, data)
    file.sync()
    disk.rename(f"{folder}/{name}.tmp", f"{folder}/{name}")
    disk.sync_dir(folder)
    return Segment(header.number, file, header), Tail(len(data), crc, batch, True, 0)


def allocate(file: DiskFile, size_bytes: int, needed_bytes: int) -> None:
    """Less than a whole segment where the disk has no room for it: the log must go on while the reserve lasts."""
    while True:
        try:
            file.allocate(size_bytes)
        except OSError:
            if size_bytes <= needed_bytes:
                raise
            size_bytes = max(needed_bytes, size_bytes // 4)
        else:
            return
