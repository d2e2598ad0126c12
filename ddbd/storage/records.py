"""The bytes of the log: one record for each entry or hard state, and a header record at the start of each segment.

    magic:2 kind:1 flags:1 | crc:4 | size:4 prev:4 batch:8 | payload:size

`crc` covers everything else in the record, so that each record can be judged alone; `prev` is the crc of the record before it (also
over the border of segments), so that none can be missing in between. `batch` counts the syncs: all records that were written between
two fsyncs share a number, and the last one of them is `final`. What a power cut tears is therefore of one batch only; damage with a later
batch behind it was done to bytes that had been on the platter.

The crc starts from the segment's salt, which no client can know: a row that imitates a record is never taken for one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from ddbd.errors import Corrupt
from ddbd.raft.types import MEMBERSHIP, Entry, EntryKind, HardState, Membership, SnapshotMeta

FORMAT = 1  # of segments; a node refuses a higher one

SEGMENT = 1
HARD_STATE = 2
ENTRY = 3

FINAL = 1  # flag: the last record of its batch

MAGIC = b"\xd5\xab"  # no single flipped bit makes one of these bytes zero
_FRONT = struct.Struct("<2sBBIIIQ")
_REST = struct.Struct("<IIQ")
_ENTRY = struct.Struct("<QQQB")
_REST_AND_ENTRY = struct.Struct("<IIQQQQB")
_FRONT_AND_ENTRY = struct.Struct("<4sIIIQQQQB")
HEAD_BYTES = _FRONT.size
ENTRY_BYTES = HEAD_BYTES + _ENTRY.size  # of an entry's record beyond its data
SECTOR_BYTES = 512


class Record(NamedTuple):
    kind: int
    final: bool
    crc: int
    prev: int
    batch: int
    start: int
    end: int
    payload: memoryview  # of what was parsed: nothing is copied where a log of a hundred thousand entries is read through


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What recovery needs when this segment is the first one: the place before it, the hard state, the tables.

    An `installed` header is the record that switches to a snapshot: the place becomes the log's base.
    """

    format: int
    number: int
    first: int  # the segment that the log began with when this one was made; what is older was dropped, or is to be
    salt: int
    index: int
    term: int
    stamp: int
    membership: bytes
    generation: int
    installed: bool
    hard_term: int
    hard_vote: str | None
    hard_commit: int

    @property
    def place(self) -> SnapshotMeta:
        return SnapshotMeta(self.index, self.term, self.stamp, Membership.from_bytes(self.membership))

    @property
    def hard_state(self) -> HardState:
        return HardState(self.hard_term, self.hard_vote, self.hard_commit)


def make_header(
    number: int, first: int, salt: int, place: SnapshotMeta, generation: int, hard_state: HardState, installed: bool = False
) -> Header:
    return Header(
        FORMAT, number, first, salt, place.index, place.term, place.stamp, place.membership.to_bytes(), generation, installed, *hard_state
    )


def encode(kind: int, final: bool, payload: bytes, prev: int, batch: int, salt: int) -> tuple[bytes, int]:
    """(the record's bytes, its crc)."""
    front = b"%s%c%c" % (MAGIC, kind, FINAL if final else 0)
    rest = _REST.pack(len(payload), prev, batch) + payload
    crc = zlib.crc32(rest, zlib.crc32(front, salt))
    return front + crc.to_bytes(4, "little") + rest, crc


def encode_entries(entries: Iterable[Entry], prev: int, batch: int, salt: int) -> tuple[list[bytes], int]:
    """The records of entries in a row, none of them final, as `encode` makes them; and the last one's crc."""
    front = b"%s%c%c" % (MAGIC, ENTRY, 0)
    seed, crc32, pack = zlib.crc32(front, salt), zlib.crc32, _REST_AND_ENTRY.pack
    made = []
    for index, term, stamp, kind, data in entries:
        rest = pack(len(data) + _ENTRY.size, prev, batch, index, term, stamp, kind) + data
        prev = crc32(rest, seed)
        made.append(front + prev.to_bytes(4, "little") + rest)
    return made, prev


def parse(data: bytes | memoryview, start: int, salt: int) -> Record | None:
    """The record at `start`, or None where no whole, good one is."""
    if len(data) - start < HEAD_BYTES:
        return None
    magic, kind, flags, crc, size, prev, batch = _FRONT.unpack_from(data, start)
    end = start + HEAD_BYTES + size
    if magic != MAGIC or end > len(data):
        return None
    view = memoryview(data)
    if zlib.crc32(view[start + 8 : end], zlib.crc32(view[start : start + 4], salt)) != crc:
        return None
    return Record(kind, bool(flags & FINAL), crc, prev, batch, start, end, view[start + HEAD_BYTES : end])


class Place(NamedTuple):
    """Where a walk through the log's records is, and what the next record continues."""

    offset: int
    crc: int
    batch: int  # of the record before it
    final: bool  # whether that one ended its batch
    last_index: int  # of the entries
    last_term: int


class Run(NamedTuple):
    """Entries in a row, none of them a membership: where each begins, how long its record is, its term; and the last hard state."""

    starts: list[int]
    lengths: list[int]
    terms: list[int]
    hard_state: HardState | None
    end: Place


def walk(data: bytes, place: Place, salt: int) -> Run:
    """As far as good records of entries and hard states follow each other. Of what stops it `parse` tells more. Raises Corrupt.

    It does what `parse` does, without a call and an object for each record: a segment can hold 400,000 (measured: 4.0 to 1.4 us each).
    """
    starts, lengths, terms = list[int](), list[int](), list[int]()
    hard_state = None
    offset, last_crc, last_batch, final, last_index, last_term = place
    seeds = {
        MAGIC + bytes((kind, flags)): zlib.crc32(MAGIC + bytes((kind, flags)), salt) for kind in (HARD_STATE, ENTRY) for flags in (0, FINAL)
    }
    view, size, crc32, unpack = memoryview(data), len(data), zlib.crc32, _FRONT_AND_ENTRY.unpack_from
    while offset + ENTRY_BYTES <= size:  # behind a short hard state this looks into the next record, or into zeros
        front, crc, length, prev, batch, index, term, _, kind = unpack(data, offset)
        seed, end = seeds.get(front), offset + HEAD_BYTES + length
        if seed is None or end > size or prev != last_crc or batch != (last_batch + 1 if final else last_batch):
            break
        if crc32(view[offset + 8 : end], seed) != crc:
            break
        if front[2] == HARD_STATE:
            hard_state = decode_hard_state(view[offset + HEAD_BYTES : end])
        elif index != last_index + 1 or term < last_term or kind == MEMBERSHIP or end - offset < ENTRY_BYTES:
            break
        else:
            starts.append(offset)
            lengths.append(end - offset)
            terms.append(term)
            last_index, last_term = index, term
        last_crc, last_batch, final, offset = crc, batch, front[3] == FINAL, end
    return Run(starts, lengths, terms, hard_state, Place(offset, last_crc, last_batch, final, last_index, last_term))


def size_at(data: bytes, start: int) -> int:
    """What the record there says of its length; 0 where none begins."""
    if len(data) - start < HEAD_BYTES or data[start : start + 2] != MAGIC:
        return 0
    return HEAD_BYTES + int(_FRONT.unpack_from(data, start)[4])


_header_encoder = msgspec.msgpack.Encoder()
_header_decoder = msgspec.msgpack.Decoder(Header)
_hard_decoder = msgspec.msgpack.Decoder(tuple[int, str | None, int])


def encode_header(header: Header) -> bytes:
    return _header_encoder.encode(header)


def decode_header(payload: bytes | memoryview) -> Header:
    """Raises Corrupt for what a good crc and a known format cannot be."""
    try:
        number_format = msgspec.msgpack.decode(payload)[0]
        if isinstance(number_format, int) and number_format > FORMAT:
            raise Corrupt(f"the log has format {number_format}, this node reads up to {FORMAT}; start a newer version on it")
        return _header_decoder.decode(payload)
    except (msgspec.DecodeError, TypeError, IndexError, KeyError) as error:
        raise Corrupt(f"a segment of the log has an impossible header: {error}") from error


def encode_hard_state(state: HardState) -> bytes:
    return _header_encoder.encode((state.term, state.vote, state.commit))


def decode_hard_state(payload: bytes | memoryview) -> HardState:
    """Raises Corrupt for what a good crc cannot be, as `place_of`."""
    try:
        return HardState(*_hard_decoder.decode(payload))
    except msgspec.DecodeError as error:
        raise Corrupt(f"a record of the log holds an impossible hard state: {error}") from error


def decode_entry(payload: bytes | memoryview) -> Entry:
    index, term, stamp, kind = _ENTRY.unpack_from(payload)
    return Entry(index, term, stamp, EntryKind(kind), bytes(payload[_ENTRY.size :]))


def place_of(payload: memoryview) -> tuple[int, int, int]:
    """(index, term, kind) of an entry."""
    if len(payload) < _ENTRY.size:
        raise Corrupt(f"a record of the log holds {len(payload)} bytes, and an entry has {_ENTRY.size} at least")
    index, term, _, kind = _ENTRY.unpack_from(payload)
    return index, term, kind


def judge_tail(data: bytes, start: int, batch: int, salt: int) -> str | None:
    """Why the bytes from `start`, where no good record is, cannot be a torn write; None when they can.

    `batch` is the one that was being written there. A power cut may keep any sectors of it, so good records of the same batch behind a
    hole of unwritten sectors are torn too. Good records of a later batch, or of the same one without a hole, mean damage.
    """
    place = data.find(MAGIC, start + 1)
    hole_checked = False
    while place >= 0:
        record = parse(data, place, salt)
        if record is None:
            place = data.find(MAGIC, place + 1)
            continue
        if record.batch > batch:
            return f"the record at byte {start} is bad, and a good one of a later batch is at byte {place}"
        if record.batch == batch and not hole_checked:
            if not _has_hole(data, start, place):
                return f"the record at byte {start} is bad, and a good one is behind it at byte {place}"
            hole_checked = True
        place = data.find(MAGIC, record.end)
    return None


def _has_hole(data: bytes, start: int, end: int) -> bool:
    """Whether a sector that ends within start..end has only zeros from `start` on: it was never written."""
    sector_end = (start // SECTOR_BYTES + 1) * SECTOR_BYTES
    while sector_end <= end:
        begin = max(start, sector_end - SECTOR_BYTES)
        if data.count(0, begin, sector_end) == sector_end - begin:
            return True
        sector_end += SECTOR_BYTES
    return False
