"""An answer as a value, and how it is sent: whole with its length, or streamed row by row.

A stream is told apart from its end: whatever breaks it after the first byte cuts the connection, so that no client takes half for whole
(in HTTP/1.1 the last chunk is missing; in HTTP/1.0 the connection is reset).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import msgspec

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
    headers: tuple[tuple[bytes, bytes], ...] = ()
    stream: Stream | None = None


def json_reply(value: Any, status: int = 200) -> Reply:
    return Reply(status, _encode(value) + b"\n")


def set_head(request: Any, reply: Reply, headers: list[tuple[bytes, bytes]]) -> None:
    """`headers` are those of every reply; the reply's own replace them."""
    request.setResponseCode(reply.status)
    if reply.status not in WITHOUT_BODY:
        request.setHeader(b"Content-Type", reply.content_type)
        if reply.stream is None:
            request.setHeader(b"Content-Length", b"%d" % len(reply.body))
    for name, value in (*headers, *reply.headers):
        request.setHeader(name, value)


async def send(request: Any, reply: Reply, headers: list[tuple[bytes, bytes]]) -> None:
    set_head(request, reply, headers)
    if reply.stream is not None:
        await _send_stream(request, reply.stream)
    else:
        request.write(reply.body)
    request.finish()


async def cut(request: Any) -> None:
    """Returns when the connection is gone."""
    gone = request.notifyFinish()
    request.transport.abortConnection()
    with suppress(Exception):  # whatever the connection ended with
        await gone


async def _send_stream(request: Any, stream: Stream) -> None:
    try:
        if request.method != b"HEAD":
            await stream.write_to(request)
    finally:
        stream.close()
