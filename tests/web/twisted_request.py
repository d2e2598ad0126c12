"""One request on a `TwistedChannel`: twisted.web's, with a body that is limited while it arrives, and no HTML of Twisted's anywhere.

A call's body is kept in memory (the limit is far below what a file would pay for) and the resource is asked when it is whole. A load's
resource is asked at the end of the head and reads `load` as the bytes come.
"""

# mypy: disallow_untyped_calls=False
# Twisted's web server has no types.

from __future__ import annotations

from io import BytesIO
from typing import Any

from twisted.python.failure import Failure
from twisted.web import http, resource, server
from twisted.web.error import UnsupportedMethod

from ddbd.errors import DdbError, Refused
from ddbd.web.body import BodyStream
from ddbd.web.door import Admission, Kind, too_large
from ddbd.web.problems import CONTENT_TYPE, problem_of


class TwistedRequest(server.Request):
    """What the web room's own resource uses: method, uri, path, content, load, requestHeaders, and IRequest's way of answering."""

    channel: Any
    content: Any
    transport: Any
    defaultContentType = None
    admission: Admission
    load: BodyStream | None = None
    _received_bytes = 0

    # The body.

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    def parseCookies(self) -> None:
        """There are none."""

    def handleContentChunk(self, data: bytes) -> None:
        if self.load is not None:
            self.load.feed(data)
            return
        self._received_bytes += len(data)
        bytes_max = self.admission.body_bytes_max
        if bytes_max is not None and self._received_bytes > bytes_max:
            self.channel.refuse(too_large(bytes_max))
        elif not self.content.closed:
            self.content.write(data)

    def begin_load(self, command: bytes, target: bytes, version: bytes) -> None:
        self.load = BodyStream(self.channel.pause_body, self.channel.resume_body)
        self._begin(command, target, version)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.load is not None:
            self.load.end()
            return
        self.content.seek(0)
        self._begin(command, self.admission.target, version)

    def _begin(self, command: bytes, target: bytes, version: bytes) -> None:
        self.method, self.uri, self.clientproto = command, target, version
        self.path, _, query = target.partition(b"?")
        self.args = http.parse_qs(query, True) if self.admission.kind is Kind.MOUNTED else {}
        self.process()

    # The answer.

    def render(self, resrc: Any) -> None:
        if isinstance(resrc, resource._UnsafeErrorPage):
            self.refuse(Refused("not_found", "there is nothing at this path; GET /status says what there is"))
            return
        try:
            body = resrc.render(self)
        except UnsupportedMethod as error:
            self.setHeader(b"Allow", b", ".join(error.allowedMethods))
            self.refuse(Refused("method_not_allowed", "this path does not take the method; the header Allow lists those that it takes"))
            return
        if body is not server.NOT_DONE_YET:
            self.setHeader(b"Content-Length", b"%d" % len(body))
            self.write(body)
            self.finish()

    def processingFailed(self, reason: Failure) -> Failure:
        """Whatever a resource let through."""
        problem, _, log_id = self.channel.site.api.faults.internal(self)
        self._log.failure("{method} {path} failed ({log_id})", failure=reason, method=self.method, path=self.path, log_id=log_id)
        if self.startedWriting:
            self.transport.abortConnection()
        else:
            self._answer(problem.status, problem.headers, problem.body())
        return reason

    def refuse(self, error: DdbError) -> None:
        problem = problem_of(error)
        self._answer(problem.status, problem.headers, problem.body())

    def _answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.setResponseCode(status)
        self.setHeader(b"Content-Type", CONTENT_TYPE)
        self.setHeader(b"Content-Length", b"%d" % len(body))
        for name, value in (*headers, *reply_fields(self.channel.site.api)):
            self.setHeader(name, value)
        self.write(body)
        self.finish()


def reply_fields(api: Any) -> list[tuple[bytes, bytes]]:
    return [*api.common().fields, (b"Ddb-Index", b"%d" % api.backend.applied_index)]
