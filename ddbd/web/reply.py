"""An answer as a value, and how it is sent: whole with its length, or streamed row by row.

A stream is told apart from its end: whatever breaks it after the first byte cuts the connection, so that no client takes half for whole
(in HTTP/1.1 the last chunk is missing; in HTTP/1.0 the connection is reset).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import msgspec

from ddbd.web.problems import reason_phrase

JSON = b"application/json"
WITHOUT_BODY = (204, 304)

Fields = list[tuple[bytes, bytes]]

_encode = msgspec.json.Encoder().encode
_status_lines: dict[int, bytes] = {}


class Stream(Protocol):
    async def write_to(self, request: Any) -> None:
        """Writes everything, as fast as the client takes it. The request is still to be finished."""

    def close(self) -> None: ...


class Reply(NamedTuple):
    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    stream: Stream | None = None


def json_reply(value: Any, status: int = 200) -> Reply:
    return Reply(status, _encode(value) + b"\n")


def head_lines(status: int, fields: Fields) -> bytes:
    """All of a head but its empty line."""
    line = _status_lines.get(status)
    if line is None:
        line = _status_lines[status] = b"HTTP/1.1 %d %s\r\n" % (status, reason_phrase(status))
    return line + b"".join([b"%s: %s\r\n" % field for field in fields])


def set_head(request: Any, reply: Reply, headers: Fields) -> None:
    """`headers` are those of every reply; the reply's own replace them."""
    request.setResponseCode(reply.status)
    if reply.status not in WITHOUT_BODY:
        request.setHeader(b"Content-Type", reply.content_type)
        if reply.stream is None:
            request.setHeader(b"Content-Length", b"%d" % len(reply.body))
    for name, value in (*headers, *reply.headers):
        request.setHeader(name, value)


def send_whole(request: Any, reply: Reply, headers: Fields) -> None:
    """In one write, where the channel is ours."""
    answer = getattr(request, "answer", None)
    if answer is not None:
        if reply.headers:
            own = {name for name, _ in reply.headers}
            headers = [*[field for field in headers if field[0] not in own], *reply.headers]
        answer(reply.status, reply.content_type, headers, reply.body)
        return
    set_head(request, reply, headers)
    request.write(reply.body)
    request.finish()


async def send_stream(request: Any, reply: Reply, headers: Fields) -> None:
    assert reply.stream is not None, "no stream to send"
    set_head(request, reply, headers)
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
