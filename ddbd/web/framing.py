"""Bytes -> requests, by httptools (llhttp in its strict mode), with the limits and refusals that it leaves open. No reactor, no socket.

    framing.feed(data)      framing.arrived: the requests whose heads are whole, in order      framing.error: why nothing more can be read
    framing.take_known(data), where nothing else is under way: a request whose head is known, or None

What is added, each because it was tried and found missing:

* limits on a head: its bytes, also before it is whole, and its fields; on a body, while it arrives; on what comes between two pieces of a
  body (extensions and trailers of chunks), which llhttp reads without end;
* refused: versions but 1.0 and 1.1, Transfer-Encoding other than chunked or in HTTP/1.0, Content-Length of absurd length;
* `Upgrade` is ignored. llhttp takes what follows such a head for another protocol, and would make the body of it a request of its own. So
  a new parser is fed the head again without the field, and then the rest (see `_go_on`).

A request that comes in one piece, with a head that came twice in a row, to the byte, is not parsed again: the same bytes come to the same,
and its body is told by its length (measured by instructions: a fifth of what an empty call costs the web room, a ninth of a small write).

Nothing but state is made inside of the parser's callbacks: no exception passes through its C code.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from ddbd.config import Limits
from ddbd.errors import DdbError, Refused
from ddbd.web.door import LOAD, Admission, Fields, Head, too_large

SLICE_BYTES = 16 * 1024  # fed at once, so that a limit is noticed soon after it is passed
LENGTH_DIGITS_MAX = 18
KNOWN_BYTES_MAX = 1024  # of a head that is kept to be known again
VERSIONS = {"1.1": b"HTTP/1.1", "1.0": b"HTTP/1.0"}

_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^ ]+ HTTP/1\.[01]\r\n")


class Incoming:
    """A request whose head is whole. `admission` is None where the door, or the framing of the body, refused it."""

    __slots__ = ("admission", "content_length", "head", "is_persistent", "is_whole", "pieces", "received_bytes", "refusal")

    def __init__(self, head: Head, content_length: int | None, is_persistent: bool, admission: Admission | None) -> None:
        self.head = head
        self.content_length = content_length  # None: chunked
        self.is_persistent = is_persistent
        self.admission = admission
        self.refusal: DdbError | None = None
        self.pieces: list[bytes] = []  # of the body, as they came
        self.received_bytes = 0
        self.is_whole = False


class _Known(NamedTuple):
    """A head that came twice in a row, as it came; in one piece with the whole body."""

    head: bytes
    request_bytes: int
    judged: Any


class Framing:
    """One connection's. `admit(head, content_length)` is the door: it raises DdbError, or says what to do with the body."""

    def __init__(self, limits: Limits, admit: Callable[[Head, int | None], Admission]) -> None:
        self._admit = admit
        self._head_bytes_max = limits.head_bytes_max
        self._head_fields_max = limits.head_fields_max
        self._parser = HttpRequestParser(self)
        self.arrived: deque[Incoming] = deque()
        self.error: DdbError | None = None  # answers to `arrived` come first
        self.in_head = False
        self.body: Incoming | None = None  # the request whose body is to come
        self._is_deaf = False  # a request was refused: what follows cannot be told from a next one any more
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._begun = 0  # heads, in this slice
        self._slice_bytes = 0
        self._head_may_be_long = False  # than its limit: it came in more than one slice, or in one that is
        self._head_bytes = 0  # of a head that is not whole, by slices
        self._has_piece = False  # of a body, in this slice
        self._quiet_bytes = 0  # since the last slice with one
        self._is_upgrade = False
        self._is_replay = False
        self._last_raw: Any = None  # the last head that was let in, as it came,
        self._last_judged: Any = None  # and what came of it
        self._is_repeat = False  # the head of this slice was the last one again
        self._known: _Known | None = None

    @property
    def held_bytes(self) -> int:
        """Heads and bodies that came and were not taken from `arrived`, and the head that is not whole."""
        heads = sum(len(name) + sum(map(len, values)) for incoming in self.arrived for name, values in incoming.head.fields.items())
        return self._head_bytes * self.in_head + heads + sum(len(piece) for incoming in self.arrived for piece in incoming.pieces)

    def take_known(self, data: bytes) -> Incoming | None:
        """The request that these bytes are, whole and alone, where its head is known; then they need not be fed."""
        known = self._known
        if known is None or len(data) != known.request_bytes or not data.startswith(known.head) or not self.is_between or self.arrived:
            return None
        incoming = Incoming(*known.judged)
        if incoming.content_length:
            incoming.pieces = [data[len(known.head) :]]
            incoming.received_bytes = incoming.content_length
        incoming.is_whole = True
        return incoming

    def feed(self, data: bytes) -> None:
        if len(data) <= SLICE_BYTES:
            self._feed(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), SLICE_BYTES):
            self._feed(view[start : start + SLICE_BYTES])

    @property
    def is_between(self) -> bool:
        """No request has begun that is not whole, and another one may begin."""
        return not self.in_head and self.body is None and not self._is_deaf

    def _learn(self, data: bytes) -> None:
        """The slice may be one whole request: then its head is known from now on. (No head goes on behind CRLF CRLF, or ends without.)"""
        end = data.find(b"\r\n\r\n") + 4
        _, length, _, admission = self._last_judged
        if length is not None and end + length == len(data) and end <= KNOWN_BYTES_MAX and admission.kind is not LOAD:
            self._known = _Known(data[:end], len(data), self._last_judged)

    def _feed(self, data: bytes | memoryview) -> None:
        if self._is_deaf:
            return
        was_between = not self.in_head and self.body is None
        self._begun, self._slice_bytes, self._has_piece, self._is_repeat = 0, len(data), False, False
        if self.in_head:
            self._head_may_be_long = True
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._go_on(data[upgrade.args[0] :])
        except HttpParserInvalidMethodError:
            self._fail(_bad_method(bytes(data) if was_between and self._begun == 1 else b""))
        except HttpParserError:
            if not self._is_deaf:  # else the parser only minds what follows a Connection: close
                self._fail(Refused("bad_request", "the request is malformed; send HTTP/1.1 as RFC 9112 has it"))
        if self.in_head:
            self._count_head(len(data), was_between)
        elif self.body is not None:
            self._count_quiet(len(data))
        elif self._is_repeat and was_between and isinstance(data, bytes):
            self._learn(data)

    def _count_head(self, size: int, was_between: bool) -> None:
        """A slice may hold the end of another request, which does not count."""
        if self._begun == 0:
            self._head_bytes += size
        else:
            self._head_bytes = size if was_between and self._begun == 1 else 0
        if self._head_bytes > self._head_bytes_max:
            self._fail(self._too_large())

    def _count_quiet(self, size: int) -> None:
        """A slice with a piece of the body in it is not quiet, however small the limit is."""
        self._quiet_bytes = 0 if self._has_piece else self._quiet_bytes + size
        if self._quiet_bytes > self._head_bytes_max:
            self._fail(
                Refused("bad_request", f"more than {self._head_bytes_max} bytes of framing between two pieces of the body; send less")
            )

    def _whole_head_bytes(self) -> int:
        line = len(self._parser.get_method()) + len(self._target) + len(b"  HTTP/1.1\r\n\r\n")
        return line + sum(len(name) + len(value) + len(b": \r\n") for name, value in self._fields)

    def _too_large(self) -> Refused:
        return Refused("head_too_large", f"the request's head is larger than {self._head_bytes_max} bytes; send less")

    def _fail(self, error: DdbError) -> None:
        """Nothing of this connection can be read any more."""
        if self._is_deaf:
            return
        self._is_deaf = True
        if self.body is not None and self.arrived and self.arrived[-1] is self.body:
            self.body.refusal = error
        else:
            self.error = error

    def _go_on(self, rest: bytes | memoryview) -> None:
        """Behind a head with Upgrade."""
        if self._is_deaf or self.body is None:
            return
        body = self.body
        self._is_upgrade = False
        self._parser = HttpRequestParser(self)
        framing = b"Transfer-Encoding: chunked" if body.content_length is None else b"Content-Length: %d" % body.content_length
        end = b"" if body.is_persistent else b"Connection: close\r\n"
        self._is_replay = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%s%s\r\n\r\n" % (end, framing))
        self._is_replay = False
        if body.content_length == 0:
            self.on_message_complete()
        self._feed(rest)

    # What httptools calls.

    def on_message_begin(self) -> None:
        if self._is_replay:
            return
        self.in_head = True
        self._begun += 1
        self._target = b""
        self._fields = []
        self._head_may_be_long = self._slice_bytes > self._head_bytes_max

    def on_url(self, url: bytes) -> None:
        if not self._is_replay:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # else it is a trailer: nobody asks for those
            self._fields.append((name, value))
            if len(self._fields) > self._head_fields_max:
                self._fail(Refused("head_too_large", f"the request has more than {self._head_fields_max} header fields; send fewer"))

    def on_headers_complete(self) -> None:
        if self._is_deaf or self._is_replay:
            return
        self.in_head = False
        parser = self._parser
        raw = (parser.get_method(), self._target, parser.get_http_version(), self._fields)
        if raw == self._last_raw:  # as most clients' heads are, request after request
            self._is_repeat = True
            self._receive(Incoming(*self._last_judged))
            return
        version = VERSIONS.get(raw[2])
        if self._head_may_be_long and self._whole_head_bytes() > self._head_bytes_max:
            self._fail(self._too_large())
            return
        if version is None:
            self._fail(Refused("bad_request", "only HTTP/1.1 and HTTP/1.0 are spoken here"))
            return
        fields = Fields()
        for name, value in self._fields:
            fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
        head = Head(raw[0], raw[1], version, fields)
        try:
            length = _content_length(head, fields)
            judged = (head, length, version == b"HTTP/1.1" and parser.should_keep_alive(), self._admit(head, length))
        except DdbError as error:
            refused = Incoming(head, 0, False, None)
            refused.refusal = error
            self.arrived.append(refused)
            self._is_deaf = True
            return
        self._last_raw, self._last_judged = raw, judged
        self._receive(Incoming(*judged))

    def _receive(self, incoming: Incoming) -> None:
        self.arrived.append(incoming)
        self.body = incoming
        self._is_upgrade = self._parser.should_upgrade()
        self._quiet_bytes = 0

    def on_body(self, data: bytes) -> None:
        body = self.body
        if body is None or self._is_deaf:
            return
        self._has_piece = True
        body.pieces.append(data)
        body.received_bytes += len(data)
        assert body.admission is not None, "a body is read only of what the door let in"
        bytes_max = body.admission.body_bytes_max
        if bytes_max is not None and body.received_bytes > bytes_max:
            body.refusal = too_large(bytes_max)
            body.pieces = []
            self._is_deaf = True

    def on_message_complete(self) -> None:
        body = self.body
        if body is None or self._is_deaf or self._is_replay or self._is_upgrade:
            return
        body.is_whole = True
        self.body = None
        self._is_deaf = not body.is_persistent  # nothing behind it is a request


def _content_length(head: Head, fields: Fields) -> int | None:
    """None for a chunked body. llhttp has refused the two together, either twice, and what is no number. Raises Refused."""
    codings = fields.get(b"transfer-encoding")
    if codings is not None:
        if codings[0].lower() != b"chunked" or head.version != b"HTTP/1.1":
            raise Refused("bad_request", "Transfer-Encoding is not understood; use chunked, in HTTP/1.1")
        return None
    lengths = fields.get(b"content-length")
    if lengths is None:
        return 0
    if len(lengths[0]) > LENGTH_DIGITS_MAX:
        raise Refused("bad_request", "Content-Length is too long a number")
    return int(lengths[0])


def _bad_method(line: bytes) -> Refused:
    if _METHOD.match(line):
        return Refused("method_not_allowed", "HTTP has no such method, or this parser does not know it; use GET, HEAD, POST or OPTIONS")
    return Refused("bad_request", "the request is malformed; send HTTP/1.1 as RFC 9112 has it")
