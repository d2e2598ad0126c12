"""One request, as light as it can be and still be taken for twisted.web's: what Klein, and the resources of other rooms, use of it.

Nothing is made before it is asked for: the body as a file, the path's segments, the arguments of the query, a Deferred for the end.

An answer is either one call of `answer` (everything is known: it leaves in one write), or twisted.web's way: setResponseCode, setHeader,
write as often as there is something, finish. Then the head leaves with the first write, and the body in chunks where no Content-Length
was set (in HTTP/1.0, and where `Connection` is set to close, up to the connection's end).
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote_to_bytes

from klein.interfaces import IKleinRequest
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import resource, server
from twisted.web.error import UnsupportedMethod
from twisted.web.iweb import IRequest
from zope.interface import classImplements

from ddbd.errors import DdbError, Refused
from ddbd.web.door import CALL, LOAD, MOUNTED
from ddbd.web.framing import Incoming
from ddbd.web.problems import CONTENT_TYPE, problem_of
from ddbd.web.reply import WITHOUT_BODY, lines_of
from ddbd.web.request_ids import line_of

if TYPE_CHECKING:
    from ddbd.web.body import BodyStream
    from ddbd.web.channel import Channel

CLOSE = b"Connection: close\r\n"

Fields = list[tuple[bytes, bytes]]

logger = Logger()


class Request:
    """`load` is the body of a streaming load while it arrives; else `content` has all of it."""

    load: BodyStream | None = None
    startedWriting = 0
    finished = 0
    is_straight = False  # its handler was called without Klein's router
    call: Deferred[Any] | None = None  # what answers; cancelled when the client goes away
    _content: BytesIO | None = None
    _finish_waiters: list[Deferred[None]] | None = None
    _status = 200

    def __init__(self, channel: Channel, incoming: Incoming) -> None:
        assert incoming.admission is not None, "a request that the door did not let in"
        self.channel = channel
        self._began = channel.site.seconds()
        self.uri, self.path, self.kind = incoming.admission[:3]
        self.method, _, self.clientproto, self.requestHeaders = incoming.head
        self.is_persistent = incoming.is_persistent
        self._pieces = incoming.pieces
        self._fields: dict[bytes, tuple[bytes, bytes]] = {}  # of the answer, by name in lower case

    # What was asked.

    def body(self) -> bytes:
        """All of it, at once."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    @property
    def content(self) -> BytesIO:
        if self._content is None:
            self._content = BytesIO(self.body())
        return self._content

    @property
    def transport(self) -> Any:
        return self.channel.transport

    @property
    def args(self) -> dict[bytes, list[bytes]]:
        return parse_qs(self.uri.partition(b"?")[2], keep_blank_values=True)

    def getHeader(self, name: bytes) -> bytes | None:
        values = self.requestHeaders.getRawHeaders(name)
        return values[-1] if values else None

    def getRequestHostname(self) -> bytes:
        """Of the Host field, which the door has checked."""
        host = self.requestHeaders[b"host"][0]
        return host[: host.index(b"]") + 1] if host.startswith(b"[") else host.partition(b":")[0]

    def getHost(self) -> Any:
        return self.transport.getHost()

    def isSecure(self) -> bool:
        return False

    def find_resource(self, site: Any) -> Any:
        """By the path's segments, as twisted.web does it."""
        self.site = site
        self.sitepath: list[bytes] = []
        self.prepath: list[bytes] = []
        self.postpath = [unquote_to_bytes(segment) for segment in self.path[1:].split(b"/")]
        return resource.getChildForRequest(site.resource, self)

    # The answer, whole.

    def answer(self, status: int, content_type: bytes, lines: bytes, body: bytes) -> None:
        """Nothing was written before. `lines` are the fields, as they go out."""
        channel, self.startedWriting, self._status = self.channel, 1, status
        keep_open = channel.keeps_open(self)
        if not keep_open:
            lines += CLOSE
        fields = self.requestHeaders
        if b"x-request-id" in fields or b"traceparent" in fields:
            lines += line_of(fields)
        channel.write(channel.site.whole_answer(status, content_type, lines, body, self.method == b"HEAD"))
        self._end(keep_open)

    def respond(self, body: bytes) -> None:
        """With what was set before, as the answer or the end of it."""
        if self.startedWriting:
            self.write(body)
            self.finish()
            return
        content_type = self._fields.pop(b"content-type", (b"", b""))[1]
        self.answer(self._status, content_type, lines_of(self._fields.values()), body)

    # The answer, bit by bit.

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        self._status = code

    def setHeader(self, name: bytes, value: bytes) -> None:
        self._fields[name.lower()] = (name, value)

    def write(self, data: bytes) -> None:
        if self.finished:
            return
        if not self.startedWriting:
            self._write_head()
        if not data or not self._is_whole:
            return
        if self._chunked:
            self.channel.write(b"%x\r\n%s\r\n" % (len(data), data))
        else:
            self.channel.write(data)

    def _write_head(self) -> None:
        self.startedWriting = 1
        self._is_whole = self.method != b"HEAD" and self._status not in WITHOUT_BODY
        is_framed = b"content-length" in self._fields or self._status in WITHOUT_BODY
        self._chunked = not is_framed and self.clientproto == b"HTTP/1.1" and b"connection" not in self._fields
        self._keep_open = self.channel.keeps_open(self) and (is_framed or self._chunked)
        lines = lines_of(self._fields.values()) + line_of(self.requestHeaders)
        if self._chunked:
            lines += b"Transfer-Encoding: chunked\r\n"
        if not self._keep_open and b"connection" not in self._fields:
            lines += CLOSE
        self.channel.write(self.channel.site.answer_head(self._status, lines))

    def finish(self) -> None:
        if self.finished:
            return
        if not self.startedWriting:
            if self._status not in WITHOUT_BODY and self.method != b"HEAD":  # there it would be that of the GET, which is not known
                self._fields.setdefault(b"content-length", (b"Content-Length", b"0"))
            self.write(b"")
        if self._chunked and self._is_whole:
            self.channel.write(b"0\r\n\r\n")
        self._end(self._keep_open)

    def _end(self, keep_open: bool) -> None:
        site, kind = self.channel.site, self.kind
        if kind is CALL:
            site.meter.answered(self.method, self.path, self._status, site.seconds() - self._began)
        elif kind is LOAD:
            site.meter.loaded(self.method, self._status, site.seconds() - self._began)
        self.finished = 1
        self.call = None
        if self._finish_waiters is not None:
            waiters, self._finish_waiters = self._finish_waiters, None
            for waiter in waiters:
                waiter.callback(None)
        self.channel.answered(self, keep_open)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Push producers alone."""
        assert streaming, "a producer that is to be pulled"
        self.channel.produce(producer)

    def unregisterProducer(self) -> None:
        self.channel.produce(None)

    def notifyFinish(self) -> Deferred[None]:
        """Fires when the answer is written, errbacks when the client is gone before."""
        waiter: Deferred[None] = Deferred()
        if self._finish_waiters is None:
            self._finish_waiters = []
        self._finish_waiters.append(waiter)
        return waiter

    def lost(self, reason: Failure) -> None:
        """The client is gone."""
        if self.kind is not MOUNTED:
            self.channel.site.meter.abandoned += 1
        self.finished = 1
        call, self.call = self.call, None
        waiters, self._finish_waiters = self._finish_waiters, None
        for waiter in waiters or ():
            waiter.errback(reason)
        if call is not None:
            call.cancel()

    # Resources.

    def render(self, found: Any) -> None:
        """As twisted.web does it, but for its pages."""
        if isinstance(found, resource._UnsafeErrorPage):
            self.refuse(Refused("not_found", "there is nothing at this path; GET /status says what there is"))
            return
        try:
            body = found.render(self)
        except UnsupportedMethod as error:
            self.setHeader(b"Allow", b", ".join(error.allowedMethods))
            self.refuse(Refused("method_not_allowed", "this path does not take the method; the header Allow lists those that it takes"))
            return
        if body is not server.NOT_DONE_YET:
            self.respond(body)

    def refuse(self, error: DdbError) -> None:
        """As the answer; fields that were set before go with it."""
        problem = problem_of(error)
        self._problem(problem.status, problem.headers, problem.body())

    def processingFailed(self, reason: Failure) -> Failure:
        """Whatever a resource let through."""
        problem, headers, log_id = self.channel.site.api.faults.internal(self)
        logger.failure("{method} {path} failed ({log_id})", failure=reason, method=self.method, path=self.path, log_id=log_id)
        if self.startedWriting:
            self.transport.abortConnection()
        else:
            self._problem(problem.status, [*problem.headers, *headers], problem.body())
        return reason

    def _problem(self, status: int, headers: Fields, body: bytes) -> None:
        lines = lines_of([*self._fields.values(), *headers]) + self.channel.site.api.reply_lines()
        self.answer(status, CONTENT_TYPE, lines, body)


# Not by `implementer`: a type checker would miss what nobody here calls (cookies, sessions, conditional requests).
classImplements(Request, IRequest, IKleinRequest)  # type: ignore[misc]
