"""The wire format: what goes in comes out, however it is cut; what is damaged never does."""

from __future__ import annotations

import contextlib
import itertools
import struct
import typing
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddbd.cluster.wire import (
    NUMBER_MAX,
    OPEN_MESSAGES_MAX,
    QUIET_FRAME,
    TYPES,
    FrameDecoder,
    FrameEncoder,
    WireError,
    decode,
    encode,
)
from ddbd.config import Limits
from ddbd.raft import messages
from ddbd.raft.messages import AppendEntries, Forward, Heartbeat, InstallSnapshot, Message, ReadRequest, TimeoutNow
from ddbd.raft.types import Entry, EntryKind, Membership, SnapshotMeta

SMALL = Limits(frame_bytes_max=1024, message_bytes_max=16 * 1024)

numbers = st.integers(0, NUMBER_MAX) | st.integers(0, 300)
ids = st.text("abc123.-_", min_size=1, max_size=8)


@st.composite
def appends(draw: st.DrawFn) -> AppendEntries:
    prev_index, prev_term = draw(st.integers(0, 2**62)), draw(st.integers(0, 2**40))
    term, stamp, entries = prev_term, draw(st.integers(0, 2**50)), []
    for place in range(draw(st.integers(0, 6))):
        term += draw(st.integers(0, 3))
        stamp += draw(st.integers(0, 1000))
        kind = draw(st.sampled_from(EntryKind))
        data = Membership.of(draw(st.sets(ids, min_size=1))).to_bytes() if kind is EntryKind.MEMBERSHIP else draw(st.binary(max_size=1500))
        entries.append(Entry(prev_index + 1 + place, term, stamp, kind, data))
    return AppendEntries(draw(ids), draw(ids), term + draw(st.integers(0, 2)), prev_index, prev_term, tuple(entries), draw(numbers))


def others(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{name: _field(hint) for name, hint in typing.get_type_hints(kind).items()})


def _field(hint: Any) -> st.SearchStrategy[Any]:
    if hint is int:
        return numbers
    if hint is str:
        return ids
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        return others(hint)
    if typing.get_origin(hint) is tuple:
        first, *rest = typing.get_args(hint)
        if rest == [...]:
            return st.lists(_field(first), max_size=4).map(tuple)
        return st.tuples(_field(first), *map(_field, rest))
    return st.binary(max_size=3000) if hint is bytes else st.from_type(hint)


any_message = st.one_of(appends(), *[others(kind) for kind in TYPES.values() if kind is not AppendEntries])


def frames_of(sent: Sequence[Message], limits: Limits = SMALL) -> list[bytes]:
    encoder = FrameEncoder(limits)
    return [frame for message in sent for frame in encoder.frames(message)]


def entry(index: int, term: int = 1, stamp: int = 0, data: bytes = b"x") -> Entry:
    return Entry(index, term, stamp, EntryKind.COMMAND, data)


def test_every_message_class_has_a_number() -> None:
    assert set(TYPES.values()) == set(typing.get_args(messages.Message))


@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: kind.__name__)
def test_every_message_comes_back_as_it_went(kind: type[Message]) -> None:
    strategy: st.SearchStrategy[Message] = appends() if kind is AppendEntries else others(kind)

    @settings(max_examples=40)
    @given(strategy)
    def check(message: Message) -> None:
        (back,) = FrameDecoder(SMALL).feed(b"".join(frames_of([message])))
        assert back == message
        assert type(back) is type(message)

    check()


@given(st.lists(any_message, max_size=5), st.lists(st.integers(0, 20_000), max_size=12))
def test_any_cut_of_the_bytes_gives_the_same_messages(sent: list[Message], cuts: list[int]) -> None:
    data = b"".join(frames_of(sent))
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    decoder = FrameDecoder(SMALL)
    got = [message for low, high in itertools.pairwise(places) for message in decoder.feed(data[low:high])]
    assert got == sent
    assert decoder.held_bytes == 0


def test_bytes_one_by_one_give_the_same_messages() -> None:
    sent: list[Message] = [Heartbeat("1", "2", 3, 4), Forward("1", "2", 3, (b"x" * 5000, b"y")), TimeoutNow("1", "2", 9)]
    decoder = FrameDecoder(SMALL)
    assert [message for byte in b"".join(frames_of(sent)) for message in decoder.feed(bytes([byte]))] == sent


@given(st.binary(max_size=3000))
def test_arbitrary_bytes_raise_wire_error_or_nothing_and_stay_bounded(data: bytes) -> None:
    decoder = FrameDecoder(SMALL)
    try:
        decoder.feed(data)
    except WireError:
        assert decoder.held_bytes == 0
    assert decoder.held_bytes <= SMALL.frame_bytes_max


@given(st.sampled_from(sorted(TYPES)) | st.integers(0, 300), st.binary(max_size=200))
def test_an_arbitrary_body_raises_wire_error_or_is_a_message(kind: int, body: bytes) -> None:
    with contextlib.suppress(WireError):
        assert isinstance(decode(kind, body), TYPES[kind])


@given(any_message, st.data())
def test_a_flipped_bit_never_passes_for_a_message(message: Message, data: st.DataObject) -> None:
    stream = bytearray(b"".join(frames_of([message])))
    place = data.draw(st.integers(0, 8 * len(stream) - 1))
    stream[place // 8] ^= 1 << (place % 8)
    decoder = FrameDecoder(SMALL)
    try:
        got = decoder.feed(bytes(stream))
    except WireError:
        return
    # A length that grew waits for bytes that belong to the next frames, and fails on them.
    assert got == []
    with pytest.raises(WireError):
        decoder.feed(b"".join(frames_of([Heartbeat("1", "2", 3, 4)])) * 60)


def test_small_messages_pass_between_the_pieces_of_a_large_one() -> None:
    encoder, decoder = FrameEncoder(SMALL), FrameDecoder(SMALL)
    large, small = Forward("1", "2", 3, (b"x" * 5000,)), Heartbeat("1", "2", 3, 4)
    pieces = encoder.frames(large)
    got = [message for piece in pieces for frame in (*encoder.frames(small), piece) for message in decoder.feed(frame)]
    assert got == [small] * len(pieces) + [large]


@pytest.mark.parametrize("order", [[0, 2], [0, 1, 1], [0, 2, 1], [1, 2], [0, 0]], ids=str)
def test_pieces_missing_doubled_or_out_of_place_are_refused(order: list[int]) -> None:
    pieces = frames_of([Forward("1", "2", 3, (b"x" * 2500,))])
    assert len(pieces) == 3
    with pytest.raises(WireError):
        FrameDecoder(SMALL).feed(b"".join(pieces[place] for place in order))


def test_quiet_frames_say_nothing() -> None:
    assert FrameDecoder(SMALL).feed(QUIET_FRAME * 3) == []


def test_a_decoder_that_was_lied_to_is_finished() -> None:
    decoder = FrameDecoder(SMALL)
    with pytest.raises(WireError):
        decoder.feed(b"\xff" * 100)
    with pytest.raises(WireError, match="given up"):
        decoder.feed(QUIET_FRAME)


def test_a_frame_over_the_limit_is_refused_by_its_head() -> None:
    (frame,) = frames_of([Forward("1", "2", 3, (b"x" * 5000,))], Limits())
    with pytest.raises(WireError, match="frame_bytes_max"):
        FrameDecoder(SMALL).feed(frame[:12])


def test_a_message_over_the_limit_is_neither_sent_nor_collected() -> None:
    large = Forward("1", "2", 3, (b"x" * 20_000,))
    with pytest.raises(WireError, match="message_bytes_max"):
        FrameEncoder(SMALL).frames(large)
    frames = FrameEncoder(Limits(frame_bytes_max=1024)).frames(large)
    decoder = FrameDecoder(SMALL)
    held: list[int] = []
    with pytest.raises(WireError, match="message_bytes_max"):
        held.extend(decoder.held_bytes for frame in frames if decoder.feed(frame) == [])
    assert max(held) <= SMALL.message_bytes_max
    assert decoder.held_bytes == 0


def test_too_many_messages_in_pieces_are_refused() -> None:
    encoder, decoder = FrameEncoder(SMALL), FrameDecoder(SMALL)
    firsts = [encoder.frames(Forward("1", "2", 3, (b"x" * 3000,)))[0] for _ in range(OPEN_MESSAGES_MAX + 1)]
    decoder.feed(b"".join(firsts[:-1]))
    with pytest.raises(WireError, match="in pieces at once"):
        decoder.feed(firsts[-1])


def body_of(*fields: object) -> bytes:
    return msgspec.msgpack.encode(list(fields))


@pytest.mark.parametrize(
    "fields",
    [
        ("1", "2", -1, 4),
        ("1", "2", 2**63, 4),
        ("1", "2", 2**64 - 1, 4),
        ("1", "2", 3.0, 4),
        ("1", "2", True, 4),
        ("1", "2", "3", 4),
        ("1", "2", None, 4),
        ("1", b"2", 3, 4),
        (1, "2", 3, 4),
        ("1", "2", 3),
        ("1", "2", 3, 4, 5),
        ("1", "2", [3], 4),
    ],
    ids=str,
)
def test_wrong_types_and_numbers_are_refused(fields: tuple[object, ...]) -> None:
    with pytest.raises(WireError):
        decode(5, body_of(*fields))


NUMBERS = [(kind, name) for kind in TYPES.values() for name, hint in typing.get_type_hints(kind).items() if hint is int]


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("number", [-1, 2**63])
def test_each_number_of_each_message_is_looked_at(kind: type[Any], name: str, number: int) -> None:
    plain: dict[Any, object] = {int: 7, str: "1", bool: False, bytes: b"x", SnapshotMeta: SnapshotMeta(1, 1, 1, Membership(("1",)))}
    message = kind(**{field: plain.get(hint, ()) for field, hint in typing.get_type_hints(kind).items()})
    assert decode(*encode(message)) == message
    with pytest.raises(WireError, match="outside"):
        decode(*encode(message._replace(**{name: number})))


def test_numbers_inside_contexts_and_snapshots_are_checked_too() -> None:
    meta = SnapshotMeta(1, 1, 2**63, Membership(("1",)))
    for message in (ReadRequest("1", "2", 3, ((1, 2**63),)), InstallSnapshot("1", "2", 3, meta, "t")):
        with pytest.raises(WireError, match="outside"):
            decode(*encode(message))


@pytest.mark.parametrize(
    "entries",
    [
        (entry(11), entry(13)),
        (entry(12),),
        (entry(11), entry(11)),
        (entry(11, term=2), entry(12, term=1)),
        (entry(11, stamp=5), entry(12, stamp=4)),
        (entry(11, stamp=-1),),
        (entry(11, stamp=2**63),),
        (entry(11, term=8),),
        (entry(11, term=0),),
    ],
    ids=str,
)
def test_entries_with_gaps_or_falling_numbers_are_refused(entries: tuple[Entry, ...]) -> None:
    with pytest.raises(WireError):
        decode(*encode(AppendEntries("1", "2", 7, 10, 1, entries, 0)))


def test_an_unknown_kind_of_entry_is_refused() -> None:
    with pytest.raises(WireError):
        decode(3, body_of("1", "2", 7, 10, 1, [[11, 1, 0, 99, b""]], 0))


def test_a_type_that_does_not_exist_is_refused() -> None:
    with pytest.raises(WireError, match="no message of type 200"):
        decode(200, b"")


# Frames and entries that nobody sends.


def crafted(piece: bytes, number: int, flags: int, kind: int, chain: int = 0) -> tuple[bytes, int]:
    """A frame with a good checksum, and that checksum."""
    behind = struct.pack(">IHBB", len(piece), number, flags, kind) + piece
    crc = crc32(behind, chain)
    return struct.pack(">I", crc) + behind, crc


def test_a_frame_that_says_nothing_has_no_body() -> None:
    assert FrameDecoder(SMALL).feed(crafted(b"", 0, 3, 0)[0]) == []
    with pytest.raises(WireError, match="quiet frame has a body"):
        FrameDecoder(SMALL).feed(crafted(b"x", 0, 3, 0)[0])


@pytest.mark.parametrize(("flags", "kind", "piece"), [(4, 5, b"x"), (0, 6, b"x"), (0, 5, b""), (2, 5, b""), (6, 5, b"x")])
def test_a_piece_with_unknown_flags_another_type_or_no_content_is_refused(flags: int, kind: int, piece: bytes) -> None:
    decoder = FrameDecoder(SMALL)
    first, chain = crafted(b"\x94", 1, 1, 5)
    assert decoder.feed(first) == []
    with pytest.raises(WireError, match="unknown flags, another type than its message, or no content"):
        decoder.feed(crafted(piece, 1, flags, kind, chain)[0])


def test_messages_in_pieces_hold_no_more_than_twice_the_longest_one_together() -> None:
    encoder, decoder = FrameEncoder(SMALL), FrameDecoder(SMALL)
    begun = [encoder.frames(Forward("1", "2", 3, (b"x" * 15_000,)))[:-1] for _ in range(3)]
    for frames in begun[:2]:
        decoder.feed(b"".join(frames))
    assert decoder.held_bytes <= 2 * SMALL.message_bytes_max
    with pytest.raises(WireError, match="hold more than 32768 bytes"):
        decoder.feed(b"".join(begun[2]))
    assert decoder.held_bytes == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "entry 11 is no membership"),
        (b"7", "entry 11 is no membership"),
        (b"[" * 100_000, "entry 11 is no membership"),
        (b"[[1], [], [], []]", "names something else than nodes"),
        (Membership(()).to_bytes(), "entry 11 is a membership without voters"),
    ],
    ids=["empty", "number", "deep", "numbers for names", "no voters"],
)
def test_an_entry_that_is_no_membership_for_anyone_is_refused(data: bytes, why: str) -> None:
    entries = (Entry(11, 7, 0, EntryKind.MEMBERSHIP, data),)
    body = body_of("1", "2", 7, 10, 1, [list(each) for each in entries], 0)
    with pytest.raises(WireError, match=why):
        decode(3, body)
