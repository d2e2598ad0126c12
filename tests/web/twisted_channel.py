"""A second channel for the same resource and the same door, to compare ours with: twisted.web's own HTTP/1.1 parser and requests, with the
framing and the deadlines that it leaves open. All of the HTTP tests run on both.

What is added to `http.HTTPChannel`, each because it was tried and found missing (Twisted 26.10):

* absolute deadlines for the head and for the body. Twisted's own timeout starts anew with every byte and is switched off;
* the head's limits answered as 431, and whatever is malformed as 400 with a sentence;
* refused: folded fields, Transfer-Encoding in HTTP/1.0 or other than chunked, Content-Length beside it, twice, or of absurd length;
* the door's checks as soon as the head is there; `Expect: 100-continue` is answered by their outcome;
* a refused body stops being kept at once. The answer goes out, then the connection is closed for writing and read for a moment longer:
  a close with unread bytes is a reset, which would take the answer with it.

Phases, each with its own deadline:  HEAD -> BODY -> ANSWER (none) -> IDLE -> HEAD ...   and CLOSING from anywhere.
"""

# mypy: disallow_untyped_calls=False
# Twisted's web server has no types.

from __future__ import annotations

from enum import Enum
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http_headers import Headers
from twisted_request import TwistedRequest, reply_fields

from ddbd.errors import DdbError, Refused
from ddbd.web.door import Fields, Head, Kind
from ddbd.web.problems import CONTENT_TYPE, problem_of, reason_phrase
from ddbd.web.site import Site

IDLE_SECONDS = 60.0  # between two requests of one connection
LINGER_SECONDS = 2.0  # how long a refused client's bytes are read and dropped
LENGTH_DIGITS_MAX = 18


class Phase(Enum):
    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    IDLE = "idle"
    CLOSING = "closing"


class TwistedChannel(http.HTTPChannel):
    """`site` is set by the factory before the connection is made."""

    site: Site
    transport: Any
    _networkProducer: Any
    phase = Phase.HEAD
    counted = True  # against the limit on connections; a peer's is not
    is_surplus = False  # it came when there were as many as are allowed
    _heard = False  # whether a byte of the head in phase HEAD has come
    _timer: IDelayedCall | None = None
    _deadline: float | None = None  # absolute; a timer that fires before it just waits on

    # The life of a connection.

    def connectionMade(self) -> None:
        limits = self.site.limits
        self.MAX_LENGTH = self.totalHeadersSize = limits.head_bytes_max
        self.maxHeaders = limits.head_fields_max
        super().connectionMade()
        self._enter(Phase.HEAD, limits.head_seconds)

    def dataReceived(self, data: bytes) -> None:
        if self.phase is Phase.CLOSING:
            return
        if self.phase is Phase.IDLE and data:
            self._enter(Phase.HEAD, self.site.limits.head_seconds)
        self._heard = True
        super().dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._enter(Phase.CLOSING, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.site.disconnected(self)
        super().connectionLost(reason)

    @property
    def is_busy(self) -> bool:
        return self.phase in (Phase.BODY, Phase.ANSWER, Phase.CLOSING)

    def uncount(self) -> None:
        """This connection is a peer's."""
        if self.counted:
            self.counted = False
            self.site.uncounted()

    # Deadlines.

    def _enter(self, phase: Phase, seconds: float | None) -> None:
        self.phase = phase
        self._expire_in(seconds)

    def _expire_in(self, seconds: float | None) -> None:
        """One timer serves all deadlines: it is moved forward only, and looks again when it fires early."""
        clock = self.site.clock
        if seconds is None:
            self._deadline = None
            return
        self._deadline = clock.seconds() + seconds
        if self._timer is None:
            self._timer = clock.callLater(seconds, self._fired)
        elif self._timer.getTime() > self._deadline:
            self._timer.reset(seconds)

    def _fired(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - self.site.clock.seconds()
        if left > 0:
            self._timer = self.site.clock.callLater(left, self._fired)
        else:
            self._expired()

    def _expired(self) -> None:
        limits = self.site.limits
        if self.phase is Phase.CLOSING:
            self.transport.abortConnection()
        elif self.phase is Phase.IDLE or not self._heard:
            self.loseConnection()
        elif self.phase is Phase.HEAD:
            self.refuse(Refused("request_timeout", f"the head did not arrive within {limits.head_seconds:g} seconds; send it at once"))
        else:
            self.refuse(Refused("request_timeout", f"the body did not arrive within {limits.body_seconds:g} seconds; send it faster"))

    # The head.

    def lineReceived(self, line: bytes) -> None:
        if self.phase is Phase.CLOSING:
            return
        if line[:1] in (b" ", b"\t"):
            self.refuse(Refused("bad_request", "a header field is folded over two lines; write it in one"))
            return
        self._receivedHeaderSize += 2  # the line's end
        if self._receivedHeaderSize + len(line) > self.totalHeadersSize:
            self.lineLengthExceeded(line)
            return
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(Refused("head_too_large", f"the request's head is larger than {self.totalHeadersSize} bytes; send less"))

    def headerReceived(self, line: bytes) -> bool:
        if self.phase is Phase.CLOSING:
            return False
        if self._receivedHeaderCount >= self.maxHeaders:
            self.refuse(Refused("head_too_large", f"the request has more than {self.maxHeaders} header fields; send fewer"))
            return False
        return bool(super().headerReceived(line))

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        """Twisted's hook for the two fields that frame a body."""
        if header == b"Content-Length" and len(data) > LENGTH_DIGITS_MAX:
            return self._bad_framing("Content-Length is too long a number" if data.isdigit() else "Content-Length is no number")
        if header == b"Transfer-Encoding" and (data.lower() != b"chunked" or self._version != b"HTTP/1.1"):
            return self._bad_framing("Transfer-Encoding is not understood; use chunked, in HTTP/1.1")
        return bool(super()._maybeChooseTransferDecoder(header, data))

    def _failChooseTransferDecoder(self) -> bool:
        return self._bad_framing("the length of the body is given twice, or is no number; give one Content-Length, or chunked alone")

    def _bad_framing(self, detail: str) -> bool:
        self.refuse(Refused("bad_request", detail))
        self.length = None
        return False

    def allHeadersReceived(self) -> None:
        if self.phase is Phase.CLOSING:
            return
        request: Any = self.requests[-1]
        fields = Fields({name.lower(): values for name, values in request.requestHeaders.getAllRawHeaders()})
        head = Head(self._command, self._path, self._version, fields)
        try:
            request.admission = self.site.admit(self, head, self.length)
        except DdbError as error:
            self.refuse(error)
            return
        self.persistent = self.checkPersistence(request, self._version)
        request.gotLength(self.length)
        if request.admission.expects_continue and self.length != 0:
            self._send100Continue()
        self._enter(Phase.BODY, self.site.limits.body_seconds)
        if request.admission.kind is Kind.LOAD:
            request.begin_load(self._command, request.admission.target, self._version)

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Twisted splits Connection at spaces; it is a list with commas."""
        values = request.requestHeaders.getRawHeaders(b"Connection") or ()
        tokens = {token.strip().lower() for value in values for token in value.split(b",")}
        if version == b"HTTP/1.1" and b"close" not in tokens:
            return True
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    # The body.

    def rawDataReceived(self, data: bytes) -> None:
        if self.phase is not Phase.CLOSING:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        if self.phase is Phase.CLOSING:
            return
        self._enter(Phase.ANSWER, None)
        super().allContentReceived()

    def pause_body(self) -> None:
        """The reader of a load is busy: neither its time nor its memory is the client's to spend."""
        if self.phase is Phase.BODY:
            self._expire_in(None)
            self._networkProducer.pauseProducing()

    def resume_body(self) -> None:
        if self.phase is Phase.BODY:
            self._expire_in(self.site.limits.body_seconds)
            if not self._waitingForTransport:
                self._networkProducer.resumeProducing()

    # The answer, and the end.

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        headers.removeHeader(b"Server")
        if self.phase is not Phase.ANSWER or self.site.stopping:
            self.persistent = False
            headers.setRawHeaders(b"Connection", [b"close"])
        super().writeHeaders(version, code, reason, headers)

    def requestDone(self, request: Any) -> None:
        if self.phase is Phase.ANSWER:
            if self.persistent:
                self._enter(Phase.IDLE, IDLE_SECONDS)
                self._heard = False
            super().requestDone(request)
        else:
            # Answered before the body was there: what follows cannot be told from a next request any more.
            del self.requests[0]
            self._linger()

    def loseConnection(self) -> None:
        """A client that does not read its answer is not waited for without end."""
        self._enter(Phase.CLOSING, IDLE_SECONDS)
        super().loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted's one answer to whatever it cannot parse."""
        self.refuse(Refused("bad_request", "the request is malformed; send HTTP/1.1 as RFC 9112 has it"))

    def refuse(self, error: DdbError) -> None:
        """Answers with a problem and hangs up. A load that runs already is told, and answers itself."""
        if self.phase is Phase.CLOSING:
            return
        request: Any = self.requests[-1] if self.requests else None
        if request is not None and request.load is not None:
            self._enter(Phase.BODY, None)
            self._networkProducer.pauseProducing()
            request.load.fail(error)
            return
        problem = problem_of(error)
        body = problem.body()
        headers = [(b"Content-Type", CONTENT_TYPE), (b"Content-Length", b"%d" % len(body)), (b"Connection", b"close")]
        lines = [b"%s: %s\r\n" % field for field in (*headers, *problem.headers, *reply_fields(self.site.api))]
        head = b"HTTP/1.1 %d %s\r\n" % (problem.status, reason_phrase(problem.status))
        without_body = getattr(self, "_command", b"") == b"HEAD"
        self.transport.writeSequence([head, *lines, b"\r\n", b"" if without_body else body])
        self._linger()

    def _linger(self) -> None:
        """Everything that still arrives is dropped."""
        self._buffer = b""
        self._networkProducer.unregisterProducer()
        self._networkProducer.resumeProducing()
        self._enter(Phase.CLOSING, LINGER_SECONDS)
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if half_close is None:
            self.transport.loseConnection()
        else:
            half_close()


class TwistedSite(Site):
    protocol = TwistedChannel  # type: ignore[assignment]
    requestFactory = TwistedRequest
