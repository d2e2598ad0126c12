"""What comes of the bytes does not hang on the pieces that they come in: a head that is known again is as good as one that is parsed."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from ddbd.config import Limits
from ddbd.errors import DdbError
from ddbd.web.door import CALL, LOAD, Admission, Head
from ddbd.web.framing import KNOWN_BYTES_MAX, SLICE_BYTES, Framing, Incoming

ONLY_OUR_CHANNEL = True
END = b"\r\n\r\n"
GET = b"GET /ping HTTP/1.1\r\nHost: localhost" + END
HELD = 4096  # bytes of a body that this door lets in


def post(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join((b"POST /insert HTTP/1.1", b"Host: localhost", b"Content-Length: %d" % len(body), *fields)) + END + body


PIECES = (
    GET,
    GET,
    b"\r\n" + GET,
    GET + b"\r\n",
    GET + GET,
    post(b'{"a":1}'),
    post(b'{"b":2}'),
    post(b"x\r\n\r\nGET"),
    post(b"y" + END + b"POS"),
    post(b"\n" * 7) + b"\r\n",
    post(b""),
    post(b"12345678", b"X-Long: " + b"x" * KNOWN_BYTES_MAX),
    post(b"1234567", b"Upgrade: other", b"Connection: upgrade"),
    post(b"1234567", b"Expect: 100-continue"),
    post(b"1" * HELD),
    b"POST /insert HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked" + END + b"3\r\nabc\r\n0" + END,
    b"HEAD /ping?x=1 HTTP/1.1\r\nHost: localhost" + END,
)
LAST = (
    post(b"1" * (HELD + 1)),
    b"GET /ping HTTP/1.1\r\nConnection: close" + END + GET,
    b"GET  /" + END,
    b"GET /ping HTTP/1.0\r\nConnection: keep-alive" + END,
    b"nonsense" + END,
    b"POST /insert HTTP/1.1\r\nHost: localhost\nContent-Length: 4\r\n\n\r\n\r\n",
    b"POST /insert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\nabc" + END,
)


def admit(head: Head, content_length: int | None) -> Admission:
    return Admission(head.target, head.target, CALL, HELD, False)


def framing() -> Framing:
    return Framing(Limits(), admit)


def give(made: Framing, data: bytes) -> list[Incoming]:
    """As a channel does that answers each request before it reads on. What arrived by it."""
    known = made.take_known(data)
    if known is not None:
        return [known]
    made.feed(data)
    arrived = [incoming for incoming in made.arrived if incoming.is_whole]
    if made.body is None:
        made.arrived.clear()
    return arrived


def known_of(incoming: Incoming) -> tuple[Any, ...]:
    return incoming.head, incoming.content_length, incoming.is_persistent


def heard(made: Framing) -> list[Any]:
    """All that a channel reads of it."""
    taken: list[Any] = []
    while made.arrived:
        incoming = made.arrived.popleft()
        refusal: DdbError | None = incoming.refusal
        taken.append((*known_of(incoming), incoming.is_whole, b"".join(incoming.pieces), incoming.received_bytes, refusal))
    return [*taken, made.in_head, made.body is None, made.error is None]


def same(one: list[Any], other: list[Any]) -> bool:
    """Refusals are told by what they say."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("seed", range(300))
def test_whole_requests_in_a_row_are_what_they_are_byte_by_byte(seed: int) -> None:
    dice = random.Random(seed)
    kinds = dice.sample(PIECES, 3)
    pieces = [dice.choice(kinds) for _ in range(12)] + [dice.choice(LAST)]
    whole, bytewise = framing(), framing()
    for piece in pieces:
        known = whole.take_known(piece)
        if known is None:
            whole.feed(piece)
        else:
            whole.arrived.append(known)
        for byte in range(len(piece)):
            bytewise.feed(piece[byte : byte + 1])
        assert same(heard(whole), heard(bytewise))


@pytest.mark.parametrize("seed", range(100))
def test_requests_cut_anywhere_are_what_they_are_byte_by_byte(seed: int) -> None:
    dice = random.Random(seed)
    kinds = dice.sample(PIECES, 2)
    data = b"".join(dice.choice(kinds) for _ in range(12))
    cuts = sorted(
        {
            0,
            len(data),
            *(dice.randrange(len(data)) for _ in range(6)),
            *(at + 1 for at in range(len(data)) if data[: at + 1].endswith(b"}")),
        }
    )
    cut, bytewise = framing(), framing()
    for low, high in pairwise(cuts):
        cut.feed(data[low:high])
        for byte in range(low, high):
            bytewise.feed(data[byte : byte + 1])
        assert same(heard(cut), heard(bytewise))


class Counted(Framing):
    """Counts the heads that its parser read."""

    parsed = 0

    def on_headers_complete(self) -> None:
        self.parsed += 1
        super().on_headers_complete()


def test_a_head_is_parsed_twice_and_then_known() -> None:
    made = Counted(Limits(), admit)
    for number in range(10):
        [incoming] = give(made, post(b'{"a":%d}' % number))
        assert incoming.is_whole
        assert b"".join(incoming.pieces) == b'{"a":%d}' % number
    assert made.parsed == 2
    give(made, post(b'{"a":10}'))
    assert made.parsed == 3, "another length is another head"
    give(made, post(b'{"a":9}'))
    assert made.parsed == 3, "and the one before is known still"


def test_the_head_of_a_streaming_load_is_parsed_each_time() -> None:
    made = Counted(Limits(), lambda head, length: Admission(head.target, head.target, LOAD, None, False))
    for _ in range(5):
        give(made, post(b"1234567"))
    assert made.parsed == 5


def test_a_known_head_behind_a_request_that_waits_is_not_taken() -> None:
    made = framing()
    for _ in range(3):
        give(made, GET)
    made.feed(post(b'{"a":1}'))
    assert made.take_known(GET) is None


@pytest.mark.parametrize(
    "request_bytes",
    [post(b"1234567", b"X: " + b"x" * KNOWN_BYTES_MAX), post(b"1234567", b"Upgrade: other", b"Connection: upgrade"), GET + GET],
)
def test_what_is_long_or_no_single_request_is_parsed_each_time(request_bytes: bytes) -> None:
    made = Counted(Limits(), admit)
    for _ in range(5):
        give(made, request_bytes)
    assert made.parsed >= 5


def test_a_known_head_in_the_middle_of_a_body_is_the_body() -> None:
    made = framing()
    for _ in range(3):
        give(made, GET)
    give(made, post(GET)[: -len(GET)])
    [incoming] = give(made, GET)
    assert incoming.pieces == [GET]


def test_the_end_of_a_body_and_a_head_behind_it_are_no_head() -> None:
    made, request_bytes = framing(), post(b'{"a":1}')
    piece = request_bytes[-3:] + request_bytes
    for _ in range(3):
        assert give(made, request_bytes[:-3]) == []
        assert len(give(made, piece)) == 2
    assert give(made, piece) == []
    assert made.error is not None


def test_a_known_head_in_the_middle_of_a_head_is_a_part_of_it() -> None:
    made = framing()
    for _ in range(3):
        give(made, GET)
    give(made, b"GET /other HTTP/1.1\r\nHost: localhost\r\nA: ")
    assert [incoming.head.target for incoming in give(made, GET)] == [b"/other"]


def test_a_known_head_behind_a_last_request_is_not_heard() -> None:
    made = framing()
    for _ in range(3):
        give(made, GET)
    assert len(give(made, b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close" + END)) == 1
    assert give(made, GET) == []


def test_whole_requests_that_come_as_the_slices_of_a_large_piece_are_read() -> None:
    made = Framing(Limits(), lambda head, length: Admission(head.target, head.target, CALL, None, False))
    head = len(post(b"1" * (SLICE_BYTES - 100))) - (SLICE_BYTES - 100)
    request_bytes = post(b"1" * (SLICE_BYTES - head))
    assert len(request_bytes) == SLICE_BYTES
    made.feed(request_bytes * 4)
    assert [b"".join(incoming.pieces) for incoming in made.arrived] == 4 * [b"1" * (SLICE_BYTES - head)]
