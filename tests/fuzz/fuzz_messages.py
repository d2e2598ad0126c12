"""Messages of peers: of the right types, with numbers, names and entries as no honest node sends them; and frames that were damaged."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args, get_type_hints
from zlib import crc32

import fuzz_bytes
import msgspec

from ddbd.cluster.wire import QUIET_FRAME, TYPES, FrameEncoder
from ddbd.commands import InitDatabase, Insert, Proposal, Register, encode_proposal
from ddbd.config import Limits
from ddbd.raft.messages import AppendEntries, Message
from ddbd.raft.types import Entry, EntryKind, Membership, SnapshotMeta

LIMITS = Limits(frame_bytes_max=1024, message_bytes_max=32 * 1024)
HUGE = (2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1)
OUTSIDE = (-1, -(2**63), 2**63, 2**64 - 1)
IDS = ("1", "2", "3", "4", "", "x" * 300, "\0", "1\n", "../..", "٣")
KINDS = tuple(TYPES.values())


class Draw:
    """Values for the fields of a message. `near` are numbers that mean something to the receiver."""

    def __init__(self, rng: random.Random, near: Sequence[int] = (0, 1, 2, 3, 7), outside: bool = False) -> None:
        self.rng = rng
        self.near = near
        self.outside = outside
        self.stamp = rng.choice((0, 2**40, 2**62))

    def number(self) -> int:
        draw = self.rng.random()
        if draw < 0.75:
            return min(2**63 - 1, max(0, self.rng.choice(self.near) + self.rng.choice((0, 0, 0, 1, -1, 5))))
        return self.rng.choice(OUTSIDE if self.outside and draw > 0.8 else HUGE)

    def of(self, kind: Any) -> Any:
        rng = self.rng
        if kind is bool:
            return rng.random() < 0.5
        if kind is int:
            return self.number()
        if kind is str:
            return rng.choice(IDS)
        if kind is bytes:
            return self.data()
        if kind is EntryKind:
            return rng.choice(list(EntryKind))
        if kind is Membership:
            return self.membership()
        if kind is SnapshotMeta:
            return SnapshotMeta(self.number(), self.number(), self.number(), self.membership())
        return self.several(get_args(kind))

    def several(self, inner: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(self.of(inner[0]) for _ in range(self.rng.choice((0, 1, 2, 5)))) if inner[0] is not Entry else ()
        return tuple(self.of(each) for each in inner)

    def data(self) -> bytes:
        rng, origin = self.rng, self.rng.choice(("1", "2", "3", "9", ""))
        command = rng.choice((InitDatabase("d2"), Insert(None, "t", (("a", {"v": 1}),)), Register(origin, self.number())))
        good = encode_proposal(Proposal(origin, self.number(), self.number(), self.number(), command))
        return rng.choice((b"", rng.randbytes(20), good, good, fuzz_bytes.mutate(rng, good), b"\xdd\xff\xff\xff\xff", b"\x91" * 3_000))

    def membership(self) -> Membership:
        rng = self.rng

        def ids() -> tuple[str, ...]:
            return tuple(rng.choice(IDS[:5]) for _ in range(rng.choice((0, 1, 3))))

        return Membership(ids() or ("1",), ids(), ids(), tuple((each, "life") for each in ids()))

    def entries(self, prev_index: int, prev_term: int, term: int) -> tuple[Entry, ...]:
        """In order, as the wire demands it, most of the time."""
        rng, found, last = self.rng, [], prev_term
        for place in range(rng.choice((0, 1, 2, 6))):
            last = max(last, min(term, last + rng.choice((0, 0, 1)))) if rng.random() < 0.98 else self.number()
            kind = rng.choice((EntryKind.COMMAND, EntryKind.COMMAND, EntryKind.EMPTY, EntryKind.MEMBERSHIP))
            data = (
                self.data()
                if kind is EntryKind.COMMAND or rng.random() < 0.3
                else b""
                if kind is EntryKind.EMPTY
                else self.membership_bytes()
            )
            found.append(Entry(min(prev_index + 1 + place, 2**63 - 1), last, self.stamp + place, kind, data))
        if found and rng.random() < 0.1:
            rng.shuffle(found)
        return tuple(found)

    def membership_bytes(self) -> bytes:
        return self.membership().to_bytes()

    def message(self, kind: type[Message], to: str, sender: str) -> Message:
        hints = get_type_hints(kind)
        values = {name: self.of(hints[name]) for name in kind._fields}
        values.update(to=to, sender=sender)
        if kind is AppendEntries:
            values["entries"] = self.entries(values["prev_index"], values["prev_term"], values["term"])
        return kind(**values)


# Frames.

_HEADER = struct.Struct(">IIHBB")
_GIANTS = (
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\x91" * 900,
)


def seal(body: bytes, kind: int, number: int = 1, flags: int = 3, length: int | None = None) -> bytes:
    """A frame with a checksum that fits, whatever it holds."""
    behind = struct.pack(">IHBB", len(body) if length is None else length, number, flags, kind) + body
    return struct.pack(">I", crc32(behind)) + behind


class Stream(NamedTuple):
    kind: str
    data: bytes
    sent: tuple[Message, ...]  # what an honest reading of it can give
    is_honest: bool  # its checksums are those of these messages


def stream_of(seed: int, number: int) -> Stream:
    """The same one each time."""
    rng = random.Random(f"stream {seed} {number}")
    draw = Draw(rng)
    encoder, messages, frames = FrameEncoder(LIMITS), [], []
    for _ in range(rng.randrange(1, 4)):
        message = draw.message(rng.choice(KINDS), "1", "2")
        messages.append(message)
        frames += encoder.frames(message)
        if rng.random() < 0.2:
            frames.append(QUIET_FRAME)
    how = rng.random()
    if how < 0.5:
        return Stream("damaged frames", fuzz_bytes.mutate(rng, b"".join(frames)), tuple(messages), True)
    if how < 0.65:
        rng.shuffle(frames)
        return Stream("shuffled frames", b"".join(frames[: rng.randrange(len(frames) + 1)]), tuple(messages), True)
    if how < 0.75:
        # Whole frames sent twice say the same thing twice.
        return Stream("replayed frames", b"".join(frame for frame in frames for _ in range(rng.choice((1, 2)))), tuple(messages), True)
    return Stream("sealed lies", _sealed_lie(rng, messages[0]), (), False)


def _sealed_lie(rng: random.Random, message: Message) -> bytes:
    """Everything about the frame is right, but for what it says."""
    kind = rng.choice((*TYPES, 0, 15, 255))
    body = msgspec.msgpack.encode(message)
    if rng.random() < 0.3:
        body = body[:1] + rng.choice(_GIANTS) + body[2:]
    elif rng.random() < 0.7:
        outside = Draw(rng, outside=True)
        fields = list(outside.message(type(message), "1", "2"))
        rng.shuffle(fields)
        body = msgspec.msgpack.encode(fields)
    else:
        body = fuzz_bytes.mutate(rng, body)
    flags, length = rng.choice((3, 3, 3, 1, 2, 0, 7, 255)), rng.choice((None, None, None, 0, 2**32 - 1, len(body) + 1))
    return seal(body[:1000], kind, flags=flags, length=length) + QUIET_FRAME * 2


def lie(rng: random.Random, seen: Sequence[Message], core: Any, to: str, sender: str) -> Message:
    """What a peer that lost its mind may say: something of its own, something overheard and changed, or a next entry that cannot be."""
    log = core.log
    draw = Draw(rng, (core.term, core.term, core.commit_index, log.last_index, log.base.index, 0))
    how = rng.random()
    if how < 0.25:
        prev_index = rng.choice((log.last_index, core.commit_index, log.base.index))
        prev_term = log.term_at(prev_index)
        term = core.term + rng.choice((0, 0, 1))
        return AppendEntries(to, sender, term, prev_index, prev_term, draw.entries(prev_index, prev_term, term), draw.number())
    if not seen or how < 0.6:
        return draw.message(rng.choice(KINDS), to, sender)
    message = rng.choice(seen)._replace(to=to, sender=sender)
    if rng.random() < 0.3:
        return message  # replayed
    name = rng.choice([name for name in message._fields if name not in ("to", "sender")])
    hints = get_type_hints(type(message))
    if isinstance(message, AppendEntries) and name == "entries":
        return message._replace(entries=draw.entries(message.prev_index, message.prev_term, message.term))
    changed: Message = message._replace(**{name: draw.of(hints[name])})
    return changed
