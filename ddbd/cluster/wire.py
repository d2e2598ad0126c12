"""Messages <-> bytes, with limits. No reactor, no sockets: bytes in, messages out.

A stream is a row of frames. A frame is a header of twelve bytes and a piece of at most `frame_bytes_max` in all:

    crc32 u32 | length u32 | message number u16 | flags u8 | type u8 | piece        (big-endian)

The checksum covers everything behind itself. A message that fits into one frame has both flags, FIRST and LAST. A longer one goes in
several frames with one message number, so that other, smaller messages can pass between its pieces; the checksum of each piece goes on
from the one before, so a piece that is missing, doubled or out of place is as detectable as a flipped bit. Type 0 is the frame that
says nothing: it keeps a quiet stream alive.

The pieces joined are MessagePack: the fields of the NamedTuple in order, decoded by msgspec against the type, strictly. The numbers of
the types are on the wire: never change or reuse one, and raise WIRE_FORMAT (it is compared in the handshake) when fields change.

What a decoder keeps is bounded: less than one frame of unread bytes, at most OPEN_MESSAGES_MAX messages in pieces, each of at most
`message_bytes_max`, together at most twice that. Whatever is malformed, too large, of a wrong type, or has a number outside 0..2^63-1
raises WireError, and the decoder is finished: there is no way to find the next frame in a stream that lied once. Close it and redial.

Measured: an AppendEntries of 64 entries of 150 bytes takes 6 to 8 µs to encode and 20 to 28 µs to decode, its CRC (3 to 5 µs a side)
and checks included. So nothing is cached: the lookup would cost more than it saves.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, get_type_hints
from zlib import crc32

import msgspec

from ddbd.config import Limits
from ddbd.errors import DdbError
from ddbd.raft.messages import (
    AppendEntries,
    AppendResponse,
    Forward,
    HandOver,
    HandOverRefused,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    Quarantine,
    ReadRequest,
    ReadResponse,
    RequestVote,
    StateCheck,
    StateReport,
    TakeOver,
    TimeoutNow,
    VoteResponse,
)
from ddbd.raft.types import MEMBERSHIP, Membership

WIRE_FORMAT = 1
NUMBER_MAX = 2**63 - 1  # terms, indexes and stamps are signed 64-bit numbers on disk
OPEN_MESSAGES_MAX = 4
FRAME_BYTES_MIN = 1024  # a smaller frame_bytes_max is read as this: the header would weigh more than the piece

TYPES: dict[int, type[Message]] = {
    1: RequestVote,
    2: VoteResponse,
    3: AppendEntries,
    4: AppendResponse,
    5: Heartbeat,
    6: HeartbeatResponse,
    7: InstallSnapshot,
    8: TimeoutNow,
    9: ReadRequest,
    10: ReadResponse,
    11: Forward,
    12: StateCheck,
    13: StateReport,
    14: Quarantine,
    15: TakeOver,
    16: HandOver,
    17: HandOverRefused,
}

_HEADER = struct.Struct(">IIHBB")
_HEAD_BYTES, _unpack_header = _HEADER.size, _HEADER.unpack_from
_BEHIND_CRC = struct.Struct(">IHBB")
_CRC = struct.Struct(">I")
_FIRST, _LAST = 1, 2
_WHOLE = _FIRST | _LAST
_QUIET = 0

_numbers: dict[type[Any], int] = {kind: number for number, kind in TYPES.items()}
_decoders = {number: msgspec.msgpack.Decoder(kind, strict=True) for number, kind in TYPES.items()}
_encoder = msgspec.msgpack.Encoder()


def _taker_of_numbers(kind: type[Message]) -> Callable[[Message], tuple[int, ...]] | None:
    """What takes a message's numbers out of it; None where there are some inside of its fields."""
    hints = list(get_type_hints(kind).values())
    if not {int, str, bytes, bool, tuple[bytes, ...]}.issuperset(hints):
        return None
    first, *others = [place for place, hint in enumerate(hints) if hint is int]  # each has a term at least
    return itemgetter(first, first, *others)  # one twice: of a single one no tuple would come


_numbers_of = {number: _taker_of_numbers(kind) for number, kind in TYPES.items()}


class WireError(DdbError):
    """The bytes are no stream of ours, or a message is too large for one."""

    code = "bad_frame"


def frame_bytes_max(limits: Limits) -> int:
    """The longest frame, header included."""
    return max(limits.frame_bytes_max, FRAME_BYTES_MIN)


def _frame(piece: bytes, number: int, flags: int, kind: int, chain: int) -> tuple[bytes, int]:
    behind = _BEHIND_CRC.pack(len(piece), number, flags, kind) + piece
    crc = crc32(behind, chain)
    return _CRC.pack(crc) + behind, crc


QUIET_FRAME = _frame(b"", 0, _WHOLE, _QUIET, 0)[0]


class FrameEncoder:
    """Message -> frames. One for each stream: it counts the messages."""

    def __init__(self, limits: Limits) -> None:
        self._piece_bytes_max = frame_bytes_max(limits) - _HEAD_BYTES
        self._message_bytes_max = limits.message_bytes_max
        self._number = 0  # 0..65535, round and round

    def frames(self, message: Message) -> list[bytes]:
        """The frames of a message in order. Others may go between them. Raises WireError when it is over message_bytes_max."""
        body = _encoder.encode(message)
        size = len(body)
        if size > self._message_bytes_max:
            raise WireError(f"a {type(message).__name__} of {size} bytes is over message_bytes_max ({self._message_bytes_max})")
        kind = _numbers[type(message)]
        self._number = number = (self._number + 1) & 0xFFFF
        if size <= self._piece_bytes_max:
            return [_frame(body, number, _WHOLE, kind, 0)[0]]
        return list(self._pieces(body, number, kind))

    def _pieces(self, body: bytes, number: int, kind: int) -> Iterator[bytes]:
        step, chain = self._piece_bytes_max, 0
        for start in range(0, len(body), step):
            flags = (_FIRST if start == 0 else 0) | (_LAST if start + step >= len(body) else 0)
            frame, chain = _frame(body[start : start + step], number, flags, kind, chain)
            yield frame


class _Open:
    """A message of which some pieces are still to come."""

    __slots__ = ("body", "chain", "kind")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.body = bytearray()  # one buffer: a list of pieces of two bytes would weigh twenty times its content
        self.chain = 0  # the checksum so far


class FrameDecoder:
    """Bytes, cut anywhere -> messages. One for each stream."""

    def __init__(self, limits: Limits) -> None:
        self._frame_bytes_max = frame_bytes_max(limits)
        self._message_bytes_max = limits.message_bytes_max
        self._held_bytes_max = 2 * limits.message_bytes_max
        self._rest = b""  # less than one frame
        self._open: dict[int, _Open] = {}  # at most OPEN_MESSAGES_MAX
        self._held_bytes = 0  # the pieces of all open messages; <= _held_bytes_max
        self._dead = False

    @property
    def held_bytes(self) -> int:
        """What is kept between two calls of feed."""
        return len(self._rest) + self._held_bytes

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now, in order. Raises WireError; messages before the bad frame in `data` are lost with it."""
        if self._dead:
            raise WireError("the stream was given up at an earlier bad frame")
        try:
            return self._feed(self._rest + data if self._rest else data)
        except WireError:
            self._dead, self._rest, self._held_bytes = True, b"", 0
            self._open.clear()
            raise

    def _feed(self, data: bytes) -> list[Message]:
        messages: list[Message] = []
        view, at, end = memoryview(data), 0, len(data)
        while (start := at + _HEAD_BYTES) <= end:
            crc, length, number, flags, kind = _unpack_header(view, at)
            stop = start + length
            if stop - at > self._frame_bytes_max:
                raise WireError(f"a frame of {stop - at} bytes is over frame_bytes_max ({self._frame_bytes_max})")
            if stop > end:
                break
            chain = 0 if flags & _FIRST else self._chain(number)
            if crc32(view[at + 4 : stop], chain) != crc:
                raise WireError("a frame's checksum does not fit")
            if flags != _WHOLE:
                self._take_piece(number, flags, kind, crc, view[start:stop], messages)
            elif kind != _QUIET:
                messages.append(decode(kind, view[start:stop]))
            elif length:
                raise WireError("a quiet frame has a body")
            at = stop
        self._rest = bytes(view[at:]) if at < end else b""
        return messages

    def _chain(self, number: int) -> int:
        held = self._open.get(number)
        if held is None:
            raise WireError("a piece came of a message whose first piece did not")
        return held.chain

    def _take_piece(self, number: int, flags: int, kind: int, crc: int, piece: memoryview, messages: list[Message]) -> None:
        held = self._opened(number, kind) if flags & _FIRST else self._open[number]
        if flags & ~_WHOLE or held.kind != kind or not piece:
            raise WireError("a piece has unknown flags, another type than its message, or no content")
        held.body += piece
        held.chain = crc
        self._held_bytes += len(piece)
        if len(held.body) > self._message_bytes_max:
            raise WireError(f"a message in pieces is over message_bytes_max ({self._message_bytes_max})")
        if self._held_bytes > self._held_bytes_max:
            raise WireError(f"messages in pieces hold more than {self._held_bytes_max} bytes")
        if flags & _LAST:
            del self._open[number]
            self._held_bytes -= len(held.body)
            messages.append(decode(kind, held.body))

    def _opened(self, number: int, kind: int) -> _Open:
        if number in self._open:
            raise WireError("a message began twice")
        if len(self._open) >= OPEN_MESSAGES_MAX:
            raise WireError(f"more than {OPEN_MESSAGES_MAX} messages are in pieces at once")
        self._open[number] = held = _Open(kind)
        return held


def encode(message: Message) -> tuple[int, bytes]:
    """(type number, body) of a message, without frames."""
    return _numbers[type(message)], _encoder.encode(message)


def decode(kind: int, body: bytes | bytearray | memoryview) -> Message:
    """The message of a type number and a body. Raises WireError."""
    decoder = _decoders.get(kind)
    if decoder is None:
        raise WireError(f"there is no message of type {kind}")
    try:
        message: Message = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise WireError(f"a {TYPES[kind].__name__} cannot be read: {error}") from None
    numbers_of = _numbers_of[kind]
    if numbers_of is not None:
        _check_range(numbers_of(message))
    elif type(message) is AppendEntries:
        _check_append(message)
    else:
        _check_numbers(message)
    return message


def _check_range(numbers: tuple[int, ...]) -> None:
    if min(numbers) < 0 or max(numbers) > NUMBER_MAX:
        raise WireError(f"a number is outside 0 .. 2^63-1, among {', '.join(map(str, numbers))}")


def _check_numbers(value: object) -> None:
    # msgspec has checked the types, so what is nested here is bounded by the message's own type.
    if isinstance(value, int):
        _check_range((value,))
    elif isinstance(value, tuple):
        for item in value:
            _check_numbers(item)


def _check_append(message: AppendEntries) -> None:
    """The entries continue prev_index without a gap and with rising terms (Raft 5.3), so the core need not doubt a list's shape."""
    index, term, stamp = message.prev_index, message.prev_term, 0
    _check_range((message.term, index, term, message.commit))
    for entry_index, entry_term, entry_stamp, kind, data in message.entries:
        index += 1
        if entry_index != index:
            raise WireError(f"entry {entry_index} stands where {index} belongs")
        if entry_term < term:
            raise WireError(f"entry {index} goes back from term {term} to {entry_term}")
        if entry_stamp < stamp:
            raise WireError(f"entry {index} goes back from stamp {stamp} to {entry_stamp}")
        if kind is MEMBERSHIP:
            _check_membership(entry_index, data)
        term, stamp = entry_term, entry_stamp
    # Each of the three only rises, from 0 at least: the last ones are the largest.
    if index > NUMBER_MAX or term > message.term or stamp > NUMBER_MAX:
        raise WireError(f"the entries end at index {index}, term {term}, stamp {stamp}: outside 0 .. 2^63-1, or above the message's term")


def _check_membership(index: int, data: bytes) -> None:
    """The one kind of entry that the core itself reads, as soon as it is appended."""
    try:
        membership = Membership.from_bytes(data)
    except ValueError as error:
        raise WireError(f"entry {index} is no membership: {error}") from None
    if not membership.voters:
        raise WireError(f"entry {index} is a membership without voters")
