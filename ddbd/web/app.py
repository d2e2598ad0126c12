"""The calls: one route each, and a handler that parses, makes one call, and shapes the answer. The contract is the table of them.

What goes wrong is raised and comes out as a problem (`problems`); an error that nobody foresaw is logged under a random id, and the client
is told the id alone. A client that goes away cancels its call, which gives up the wait and closes the scan, but never undoes a write.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial, wraps
from typing import Any, NamedTuple, cast

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ddbd.answers import Status
from ddbd.commands import Answer, AnyCommand
from ddbd.config import Limits
from ddbd.errors import DdbError, NotLeader, Refused
from ddbd.web import reads, shape
from ddbd.web.backend import Backend
from ddbd.web.backup import backup
from ddbd.web.canonical import decode_object, quoted
from ddbd.web.clock import Clock
from ddbd.web.door import load_type
from ddbd.web.drive import drive
from ddbd.web.faults import Faults
from ddbd.web.fingerprint import fingerprint_of, key_of
from ddbd.web.ids import RowIds
from ddbd.web.kinds import Body
from ddbd.web.load import load
from ddbd.web.openapi import Document
from ddbd.web.parameters import AT_MASTER, LOAD, TIMELINE, WRITE, Parameters
from ddbd.web.problems import CONTENT_TYPE, problem_of
from ddbd.web.reply import Common, Reply, answered_later, common, cut, json_reply, send_stream, send_whole, set_head
from ddbd.web.restore import restore
from ddbd.web.routes import failed
from ddbd.web.watching import METRICS_TYPE, Watch

NO_LOAD = "; a streaming load is one by its Content-Type, text/csv or application/x-ndjson"  # curl sends another unless told

Handler = Callable[["Api", Any], Awaitable[Reply]]


class Write(NamedTuple):
    """What every write brings along."""

    given: shape.Given
    timeout_seconds: float
    forward: bool
    key: str
    fingerprint: bytes


class Options(NamedTuple):
    """What the query string of a write says."""

    db: str | None
    timeout_seconds: float
    forward: bool


def write_options(limits: Limits) -> Callable[[bytes, str], Options]:
    """Reads the query string of a write; raises Refused. Most clients send the same few for ever."""

    @lru_cache(maxsize=256)
    def read(query: bytes, hint: str) -> Options:
        parameters = Parameters(query, WRITE, limits, hint)
        return Options(parameters.get("db"), parameters.timeout_seconds, parameters.get("forward"))

    return read


def answering(handler: Handler) -> Callable[[Api, Any], Deferred[None]]:
    """A handler's reply is sent, or the problem that its error comes to. A client that went away gets neither."""

    async def answer(self: Api, request: Any) -> None:
        try:
            reply = await handler(self, request)
            if reply.stream is None:
                self._send(request, reply)
            else:
                await send_stream(request, reply, self.common(), self._index_of(reply))
        except CancelledError:
            if not request.finished:
                await self.refuse(request, Failure())
        except Exception:  # noqa: BLE001 - each error of a handler has its place in the table of problems
            await self.refuse(request, Failure())

    @wraps(handler)
    def start(self: Api, request: Any) -> Deferred[None]:
        return drive(answer(self, request))

    return start


def writing(handler: Callable[[Api, Any], Any]) -> Callable[[Api, Any], Any]:
    """As `answering`, for what clients send most: no coroutine, and nothing to wait for. `_written` sends the reply."""

    @wraps(handler)
    def start(self: Api, request: Any) -> Any:
        try:
            return handler(self, request)
        except Exception:  # noqa: BLE001 - as in `answering`
            return Deferred.fromCoroutine(self.refuse(request, Failure()))

    return start


class Api:
    """`entropy(n)` gives n random bytes, for the ids of errors; `now` is the wall clock, and dates backups."""

    app = Klein()
    app.url_map.merge_slashes = False  # it would redirect, to whatever host the client named

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        ids: RowIds,
        entropy: Callable[[int], bytes],
        now: Callable[[], float],
        watch: Watch,
    ) -> None:
        self.backend = backend
        self.watch = watch
        self.faults = Faults(backend, entropy)
        self.clock = clock
        self._ids = ids
        self._now = now
        self.reconfigure(backend.config.limits)
        self._common_term = -1
        self._common = common(backend.node_id, 0)

    def reconfigure(self, limits: Limits) -> None:
        """And what is made of them."""
        self._limits = limits
        self._options = write_options(limits)
        self._points = reads.Points(limits)
        self._document: Document | None = None

    # Tables.

    @app.route("/init_database", methods=["POST"])
    @answering
    async def init_database(self, request: Any) -> Reply:
        write = self._write(request)
        return await self._propose_at_master(write, shape.init_database(write.given))

    @app.route("/drop_database", methods=["POST"])
    @answering
    async def drop_database(self, request: Any) -> Reply:
        write = self._write(request)
        return await self._propose_at_master(write, shape.drop_database(write.given))

    @app.route("/create_table", methods=["POST"])
    @answering
    async def create_table(self, request: Any) -> Reply:
        write = self._write(request)
        return await self._propose_at_master(write, shape.create_table(write.given))

    @app.route("/delete_table", methods=["POST"])
    @answering
    async def delete_table(self, request: Any) -> Reply:
        write = self._write(request)
        return await self._propose_at_master(write, shape.delete_table(write.given))

    # Rows.

    @app.route("/insert", methods=["POST"])
    @writing
    def insert(self, request: Any) -> Any:
        if load_type(_content_types(request)) is not None:
            return self._load(request)
        write = self._write(request, NO_LOAD)
        return self._submit(request, write, shape.insert(write.given, self._ids))

    @app.route("/update", methods=["POST"])
    @writing
    def update(self, request: Any) -> Any:
        write = self._write(request)
        return self._submit(request, write, shape.update(write.given))

    @app.route("/delete_record", methods=["POST"])
    @writing
    def delete_record(self, request: Any) -> Any:
        write = self._write(request)
        return self._submit(request, write, shape.delete_record(write.given))

    @app.route("/select", methods=["GET"])
    def select(self, request: Any) -> Deferred[None] | None:
        """One row takes the short way: no coroutine, and of this node's own copy no Deferred either."""
        try:
            wanted = self._points.one_row(request)
            if wanted is None:
                return self._select(request)
            if wanted.point.local:
                self._send(request, wanted.reply(self.backend))
                return None
            barrier = self.backend.read_barrier(wanted.point.timeout_seconds)
        except Exception:  # noqa: BLE001 - as in `answering`
            return Deferred.fromCoroutine(self.refuse(request, Failure()))
        return barrier.addCallback(self._send_one, request, wanted).addErrback(self._refuse_later, request)

    def _send_one(self, _: None, request: Any, wanted: reads.OneRow) -> None:
        self._send(request, wanted.reply(self.backend))

    def _refuse_later(self, failure: Failure, request: Any) -> Any:
        if request.finished and failure.check(CancelledError):
            return None
        return Deferred.fromCoroutine(self.refuse(request, failure))

    @answering
    async def _select(self, request: Any) -> Reply:
        return await reads.read(self.backend, self.clock, reads.select_read(request, self._limits))

    @app.route("/search", methods=["GET"])
    @answering
    async def search(self, request: Any) -> Reply:
        return await reads.read(self.backend, self.clock, reads.search_read(request, self._limits))

    # All of it.

    @app.route("/backup", methods=["GET"])
    @answering
    async def backup(self, request: Any) -> Reply:
        return await backup(self.backend, self.clock, self._now(), request)

    @app.route("/restore", methods=["POST"])
    @answering
    async def restore(self, request: Any) -> Reply:
        return json_reply(await restore(self.backend, self.clock, request))

    # The nodes.

    @app.route("/step_down", methods=["POST"])
    @answering
    async def step_down(self, request: Any) -> Reply:
        return await self._hand_over(request, shape.STEP_DOWN)

    @app.route("/transfer", methods=["POST"])
    @answering
    async def transfer(self, request: Any) -> Reply:
        return await self._hand_over(request, shape.TRANSFER)

    @app.route("/ping", methods=["GET"])
    @answering
    async def ping(self, request: Any) -> Reply:
        return json_reply({"status": "ok", "node": self.backend.node_id})

    @app.route("/healthz", methods=["GET"])
    @answering
    async def healthz(self, request: Any) -> Reply:
        return _health("unhealthy", self.backend.unhealthy_reason())

    @app.route("/readyz", methods=["GET"])
    @answering
    async def readyz(self, request: Any) -> Reply:
        return _health("not_ready", self.backend.unready_reason())

    @app.route("/status", methods=["GET"])
    @answering
    async def status(self, request: Any) -> Reply:
        return json_reply(self.told_status())

    def told_status(self) -> Status:
        """What /status answers."""
        return cast("Status", {**self.backend.status(), "rates": self.watch.rates()})

    @app.route("/openapi.json", methods=["GET"])
    @answering
    async def openapi(self, request: Any) -> Reply:
        if self._document is None:
            self._document = Document(self.app, self.backend.config)
        return self._document.reply(request.requestHeaders.getRawHeaders(b"If-None-Match") or ())

    @app.route("/timeline", methods=["GET"])
    @answering
    async def timeline(self, request: Any) -> Reply:
        parameters = Parameters(request.uri.partition(b"?")[2], TIMELINE, self._limits)
        return json_reply(self.watch.timeline(parameters.get("limit")))

    @app.route("/metrics", methods=["GET"])
    @answering
    async def metrics(self, request: Any) -> Reply:
        return Reply(200, self.watch.metrics(), METRICS_TYPE)

    # Writing.

    def _write(self, request: Any, hint: str = "") -> Write:
        """Raises Refused. The fingerprint is of what came, before ids are filled in."""
        path, _, query = request.uri.partition(b"?")
        options, key = self._options(query, hint), key_of(request, self._limits)
        body = request.content.read()
        values = decode_object(body, self._limits.json_depth_max)
        given = shape.Given(values, len(body), options.db, self._limits)
        fingerprint = fingerprint_of(request.method, path, query, body) if key else b""
        return Write(given, options.timeout_seconds, options.forward, key, fingerprint)

    def _submit(self, request: Any, write: Write, command: AnyCommand) -> Any:
        self.backend.submit(command, write.timeout_seconds, write.key, write.fingerprint, partial(self._written, request))
        return answered_later(request)

    def _written(self, request: Any, outcome: Answer | DdbError) -> None:
        if request.finished:
            return  # the client is gone
        try:
            self._send(request, _told(outcome))
        except Exception:  # noqa: BLE001 - as in `answering`
            Deferred.fromCoroutine(self.refuse(request, Failure())).addErrback(failed, request)

    async def _propose_at_master(self, write: Write, command: AnyCommand) -> Reply:
        """Held while there is no leader, like any write; at another node the client is sent to the leader."""
        deadline = self.clock.seconds() + write.timeout_seconds
        if not write.forward:
            await self._must_lead(deadline)
        seconds = max(0.0, deadline - self.clock.seconds())
        return _told(await self.backend.propose(command, seconds, write.key, write.fingerprint))

    async def _must_lead(self, deadline: float) -> None:
        """Raises NotLeader."""
        leader_id = await self.backend.wait_leader(max(0.0, deadline - self.clock.seconds()))
        if leader_id != self.backend.node_id:
            raise NotLeader(leader_id)

    async def _hand_over(self, request: Any, body: Body) -> Reply:
        parameters = Parameters(request.uri.partition(b"?")[2], AT_MASTER, self._limits)
        deadline, forward = self.clock.seconds() + parameters.timeout_seconds, parameters.get("forward")
        values = body.read(decode_object(request.content.read(), self._limits.json_depth_max), self._limits)
        target, ids = values.get("to"), self.backend.config.node_ids
        if target is not None and target not in ids:
            raise Refused("invalid_value", f"to is {quoted(target)}, and no node is called so; give one of {', '.join(ids)}")
        if forward:
            await self.backend.wait_leader(max(0.0, deadline - self.clock.seconds()))
        else:
            await self._must_lead(deadline)
        return json_reply(await self.backend.hand_over(target, max(0.0, deadline - self.clock.seconds())))

    @answering
    async def _load(self, request: Any) -> Reply:
        parameters = Parameters(request.uri.partition(b"?")[2], LOAD, self._limits)
        key = key_of(request, self._limits)
        content_type = load_type(_content_types(request)) or b""
        return json_reply(await load(self.backend, self.clock, self._ids, request, parameters, content_type, key))

    # Fields of each reply, and errors.

    def common(self) -> Common:
        term = self.backend.term
        if term != self._common_term:
            self._common, self._common_term = common(self.backend.node_id, term), term
        return self._common

    def reply_lines(self) -> bytes:
        """What the channel puts into a reply of its own."""
        return b"%sDdb-Index: %d\r\n" % (self.common().lines, self.backend.applied_index)

    def _index_of(self, reply: Reply) -> int:
        return self.backend.applied_index if reply.index is None else reply.index

    def _send(self, request: Any, reply: Reply) -> None:
        send_whole(request, reply, self.common(), self._index_of(reply))

    @app.handle_errors(Exception)
    def unrouted(self, request: Any, failure: Failure) -> bytes:
        """What Klein's router raises. Klein writes what is returned, and finishes the request."""
        reply = self.faults.reply(request, failure)
        set_head(request, reply, self.common(), self._index_of(reply))
        return reply.body

    async def refuse(self, request: Any, failure: Failure) -> None:
        reply = self.faults.reply(request, failure)
        if request.finished:
            return  # the client is gone
        if request.startedWriting:
            await cut(request)
        else:
            self._send(request, reply)


def _told(outcome: Answer | DdbError) -> Reply:
    if isinstance(outcome, DdbError):
        raise outcome
    if outcome.code:
        raise Refused(outcome.code, outcome.detail)
    return json_reply(outcome.body)


def _content_types(request: Any) -> Sequence[bytes]:
    values: Sequence[bytes] = request.requestHeaders.getRawHeaders(b"Content-Type") or ()
    return values


def _health(code: str, reason: str | None) -> Reply:
    if reason is None:
        return json_reply({"status": "ok"})
    problem = problem_of(Refused(code, reason))
    return Reply(problem.status, problem.body(), CONTENT_TYPE, tuple(problem.headers))
