"""Whatever a handler or the router raised -> the reply that a client gets. An error that nobody foresaw is logged under an id.

The id is the client's own (`request_ids`), or one made for this line alone; the client is told it, and nothing else of the error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import RequestRedirect

from ddbd.errors import DdbError, Fatal, NotLeader, Refused
from ddbd.web.backend import Backend
from ddbd.web.problems import CONTENT_TYPE, STATUSES, Problem, internal_problem, problem_of
from ddbd.web.reply import Reply
from ddbd.web.request_ids import NAME, id_of

Headers = list[tuple[bytes, bytes]]


class Faults:
    """`entropy(n)` gives n random bytes, for the ids."""

    log = Logger()

    def __init__(self, backend: Backend, entropy: Callable[[int], bytes]) -> None:
        self._backend = backend
        self._entropy = entropy

    def reply(self, request: Any, failure: Failure) -> Reply:
        problem, headers = self._problem(request, failure)
        if problem.status == 405 and request.method == b"OPTIONS":
            return Reply(204, headers=tuple(headers))
        return Reply(problem.status, problem.body(), CONTENT_TYPE, (*problem.headers, *headers))

    def _problem(self, request: Any, failure: Failure) -> tuple[Problem, Headers]:
        error = failure.value
        if isinstance(error, NotLeader):
            return self._elsewhere(request, error)
        if isinstance(error, DdbError) and not isinstance(error, Fatal) and error.code in STATUSES:
            return problem_of(error), []
        if isinstance(error, MethodNotAllowed):
            methods = sorted({*(error.valid_methods or ()), "OPTIONS"})
            detail = f"this path takes {', '.join(methods)}; use one of them"
            return problem_of(Refused("method_not_allowed", detail)), [(b"Allow", ", ".join(methods).encode("ascii"))]
        if isinstance(error, RequestRedirect | HTTPException):
            detail = (
                "there is nothing at this path; the calls are /insert, /update, /delete_record, /select, /search and /status, among others"
            )
            return problem_of(Refused("not_found", detail)), []
        if isinstance(error, Fatal):
            self._backend.fatal(error)
        problem, headers, log_id = self.internal(request)
        self.log.failure("{method} {path} failed ({log_id})", failure, method=request.method, path=request.path, log_id=log_id)
        return problem, headers

    def internal(self, request: Any) -> tuple[Problem, Headers, str]:
        """With the id of the line in the log; where the client gave none, the header field that tells it this one."""
        given = id_of(request.requestHeaders)
        log_id = given or self._entropy(8).hex().encode("ascii")
        return internal_problem(str(log_id, "ascii")), [] if given else [(NAME, log_id)], str(log_id, "ascii")

    def _elsewhere(self, request: Any, error: NotLeader) -> tuple[Problem, Headers]:
        master = self._backend.config.node(error.leader_id)
        problem = problem_of(error)._replace(more={"master": {"id": master.id, "address": master.address}})
        return problem, [(b"Location", master.url.encode("ascii") + request.uri)]
