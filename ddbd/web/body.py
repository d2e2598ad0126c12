"""The body of a streaming load, read as it arrives: one `read()` at a time, and the client is held back while nobody reads.

    body = BodyStream(pause, resume)      the channel feeds it:  feed(data)*  then  end()  or  fail(error)
    while chunk := await body.read(): …   the loader drains it

What is held is at most what the transport had read before the pause took effect: one read of its buffer.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed


class BodyStream:
    """`pause` and `resume` act on the connection. Both may be called more often than needed."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause = pause
        self._resume = resume
        self._held: list[bytes] = []
        self._reader: Deferred[bytes] | None = None  # set only while _held is empty and the body goes on
        self._error: Exception | None = None
        self._ended = False

    def feed(self, data: bytes) -> None:
        if self._error is not None:
            return
        if self._reader is not None:
            reader, self._reader = self._reader, None
            self._pause()
            reader.callback(data)
        else:
            self._held.append(data)
            self._pause()

    def end(self) -> None:
        self._ended = True
        self._wake(succeed(b""))

    def fail(self, error: Exception) -> None:
        """The rest will not come."""
        self._error = error
        self._wake(fail(error))

    def read(self) -> Deferred[bytes]:
        """Some bytes; none at the end."""
        assert self._reader is None, "two reads of one body at a time"
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            return succeed(data)
        if self._error is not None:
            return fail(self._error)
        if self._ended:
            return succeed(b"")
        reader: Deferred[bytes] = Deferred(self._given_up)
        self._reader = reader
        self._resume()  # which may feed at once
        return reader

    def _given_up(self, _: Deferred[bytes]) -> None:
        self._reader = None

    def _wake(self, result: Deferred[bytes]) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            result.chainDeferred(reader)
        elif self._error is not None:
            result.addErrback(lambda _: None)  # whoever reads next gets the error
