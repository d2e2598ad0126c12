"""An answer as a value, and how it is sent: whole with its length, or streamed row by row.

A stream is told apart from its end: whatever breaks it after the first byte cuts the connection, so that no client takes half for whole
(in HTTP/1.1 the last chunk is missing; in HTTP/1.0 the connection is reset).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple, Protocol

import msgspec
from twisted.web.server import NOT_DONE_YET

from ddbd.web.problems import reason_phrase

JSON = b"application/json"
WITHOUT_BODY = (204, 304)

_encode = msgspec.json.Encoder().encode


class Stream(Protocol):
    async def write_to(self, request: Any) -> None:
        """Writes everything, as fast as the client takes it. The request is still to be finished."""

    def close(self) -> None: ...


class Reply(NamedTuple):
    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()  # its own, beside those of every reply
    stream: Stream | None = None
    index: int | None = None  # type: ignore[assignment]  # what the answer is of; None: what this node has applied when it is sent


def matches(if_none_match: Iterable[bytes], etag: bytes) -> bool:
    """RFC 9110, 13.1.2: by the weak comparison."""
    tags = [tag.strip().removeprefix(b"W/") for value in if_none_match for tag in value.split(b",")]
    return b"*" in tags or etag in tags


def age(staleness_ms: int | None) -> tuple[bytes, bytes]:
    """The field that says how old an answer of this node's own copy can be."""
    return b"Ddb-Staleness-Ms", b"unknown" if staleness_ms is None else b"%d" % staleness_ms


class Common(NamedTuple):
    """The fields of every reply, but for Ddb-Index, which moves with each write."""

    fields: tuple[tuple[bytes, bytes], ...]
    lines: bytes


def json_reply(value: Any, status: int = 200) -> Reply:
    return Reply(status, _encode(value) + b"\n")


@cache
def status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %s\r\n" % (status, reason_phrase(status))


def lines_of(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%s: %s\r\n" % field for field in fields])


def common(node_id: str, term: int) -> Common:
    fields = (
        (b"Ddb-Node", node_id.encode("ascii")),
        (b"Ddb-Term", b"%d" % term),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
    )
    return Common(fields, lines_of(fields))


def set_head(request: Any, reply: Reply, common: Common, index: int) -> None:
    request.setResponseCode(reply.status)
    if reply.status not in WITHOUT_BODY:
        request.setHeader(b"Content-Type", reply.content_type)
        if reply.stream is None:
            request.setHeader(b"Content-Length", b"%d" % len(reply.body))
    for name, value in (*common.fields, (b"Ddb-Index", b"%d" % index), *reply.headers):
        request.setHeader(name, value)


def send_whole(request: Any, reply: Reply, common: Common, index: int) -> None:
    """In one write, where the channel is ours."""
    answer = getattr(request, "answer", None)
    if answer is not None:
        lines = b"%sDdb-Index: %d\r\n" % (common.lines, index)
        answer(reply.status, reply.content_type, lines + lines_of(reply.headers) if reply.headers else lines, reply.body)
        return
    set_head(request, reply, common, index)
    request.write(reply.body)
    request.finish()


def answered_later(request: Any) -> Any:
    """What a handler gives that began something which will answer. Klein would end the request there and then: it gets a Deferred."""
    if getattr(request, "is_straight", False):
        return NOT_DONE_YET
    return request.notifyFinish().addErrback(lambda _: None)  # the client is gone


async def send_stream(request: Any, reply: Reply, common: Common, index: int) -> None:
    assert reply.stream is not None, "no stream to send"
    set_head(request, reply, common, index)
    try:
        if request.method != b"HEAD":
            await reply.stream.write_to(request)
    finally:
        reply.stream.close()
    request.finish()


async def cut(request: Any) -> None:
    """Returns when the connection is gone."""
    gone = request.notifyFinish()
    request.transport.abortConnection()
    with suppress(Exception):  # whatever the connection ended with
        await gone
