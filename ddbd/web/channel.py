"""One connection: what `framing` reads, one call at a time, its deadlines, and the end.

* Deadlines for the head and for the body are absolute. A timer that every byte starts anew would let a client hold on for ever.
* Requests that were sent ahead (pipelining) wait their turn, and the client is not read from meanwhile; nor while it does not read itself.
  Answers that come at once take SERVE_SECONDS of a turn of the reactor: a thousand of them, sent in one piece, must not make an election.
* A large body waits for a turn of the reactor that has time to read it; its client is not read from meanwhile either.
* A refused body stops being kept at once. The answer goes out, then the connection is closed for writing and read for a moment longer:
  a close with unread bytes is a reset, which would take the answer with it.
* An answer that is whole leaves in one write.

Phases, each with its own deadline:  HEAD -> BODY -> ANSWER (none) -> IDLE -> HEAD ...   and CLOSING from anywhere.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ddbd.errors import DdbError, Refused
from ddbd.web.body import BodyStream
from ddbd.web.deadline import Deadline
from ddbd.web.door import LOAD, Admission, Head
from ddbd.web.framing import Framing, Incoming
from ddbd.web.problems import CONTENT_TYPE, problem_of
from ddbd.web.reply import lines_of
from ddbd.web.request import Request
from ddbd.web.request_ids import line_of

if TYPE_CHECKING:
    from ddbd.web.site import Site

logger = Logger()

IDLE_SECONDS = 60.0  # between two requests of one connection
SERVE_SECONDS = 0.005  # of one turn, for what one client sent ahead
LARGE_BYTES = 16 * 1024  # of a body that takes a millisecond to read, and more: for a turn that has time
LINGER_SECONDS = 2.0  # how long a refused client's bytes are read and dropped

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(Enum):
    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    IDLE = "idle"
    CLOSING = "closing"


# In Python 3.11 a member that is looked up by its class takes eight times as long as a global, and these are ten times a request.
HEAD, BODY, ANSWER, IDLE, CLOSING = Phase
BUSY = (BODY, ANSWER, CLOSING)


@implementer(IPushProducer)
class Channel(Protocol):
    """`site` is set by the factory before the connection is made. As a producer it stands between the transport and whoever writes."""

    site: Site
    transport: Any
    counted = True  # against the limit on connections; a peer's is not
    is_surplus = False  # it came when there were as many as are allowed

    def __init__(self) -> None:
        self.phase = HEAD
        self._heard = False  # whether anything of the next head has come
        self._current: Request | None = None  # being answered
        self._load: Incoming | None = None  # its body, where that still arrives
        self._continued: Incoming | None = None  # whom the 100 was sent to
        self._is_serving = False
        self._is_resting = False  # what was sent, or what was sent ahead, has a turn with more time in it
        self._is_full = False  # the transport's buffer: the client does not read
        self._is_reading = True
        self._is_load_held = False
        self._producer: Any = None  # of the answer under way

    # The life of a connection.

    def connectionMade(self) -> None:
        self._framing = Framing(self.site.limits, self._admit)
        self._deadline = Deadline(self.site.clock, self._expired)
        # Not by its attributes: what wraps a transport (TLS) shows those of the one inside, and the bytes would go round it.
        self._is_plain = isinstance(self.transport, Connection) and not self.transport.TLS
        self.transport.registerProducer(self, True)
        no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if no_delay is not None:
            no_delay(True)
        self._enter(HEAD, self.site.limits.head_seconds)

    def dataReceived(self, data: bytes) -> None:
        if self.phase is IDLE and not self._is_full and len(data) < LARGE_BYTES and (known := self._framing.take_known(data)) is not None:
            self._deadline.at = None
            self._start(known)
            return
        if self.phase is CLOSING:
            return
        self._heard = True
        self._framing.feed(data)
        self._serve()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.phase = CLOSING
        self._deadline.end()
        self.site.disconnected(self)
        current, self._current = self._current, None
        if current is not None:
            current.lost(reason)
        self._framing.arrived.clear()

    def _admit(self, head: Head, content_length: int | None) -> Admission:
        return self.site.admit(self, head, content_length)

    def uncount(self) -> None:
        """This connection is a peer's."""
        if self.counted:
            self.counted = False
            self.site.uncounted()

    @property
    def is_busy(self) -> bool:
        """Whether the client waits for an answer, or has not taken all of it yet."""
        return self._is_full or self.phase in BUSY

    @property
    def held_bytes(self) -> int:
        """Of what the client sent and nobody has taken yet."""
        return self._framing.held_bytes

    # Deadlines.

    def _enter(self, phase: Phase, seconds: float) -> None:
        self.phase = phase
        self._deadline.set(seconds)

    def _expired(self) -> None:
        limits = self.site.limits
        if self.phase is CLOSING:
            self.transport.abortConnection()
        elif self.phase is IDLE or not self._heard:
            self._close()
        elif self.phase is HEAD:
            self.refuse(Refused("request_timeout", f"the head did not arrive within {limits.head_seconds:g} seconds; send it at once"))
        else:
            self.refuse(Refused("request_timeout", f"the body did not arrive within {limits.body_seconds:g} seconds; send it faster"))

    # Calls, one at a time.

    def _serve(self, is_free: bool = False) -> None:
        """Starts what can be started. Answers that come at once are no recursion: a thousand requests may have been sent ahead.

        `is_free`: the turn has time for one that is large.
        """
        if self._is_serving or self._is_resting:
            return
        self._is_serving = True
        arrived, clock, began = self._framing.arrived, self.site.clock, None
        if self._load is not None:
            self._feed_load(self._load)
        while arrived and self._current is None and not self._is_full and self.phase is not CLOSING:
            if began is None:
                began = clock.seconds()
            elif clock.seconds() - began > SERVE_SECONDS:
                self._rest()
                break
            incoming = arrived[0]
            if incoming.refusal is not None:
                self.refuse(incoming.refusal)
            elif self._is_load(incoming):
                self._start(arrived.popleft())
            elif incoming.is_whole:
                if incoming.received_bytes >= LARGE_BYTES and not is_free:
                    self._rest()
                    break
                is_free = False
                self._start(arrived.popleft())
            else:
                self._ask_for(incoming)
                break
        self._is_serving = False
        self._settle()

    def _rest(self) -> None:
        self._is_resting = True
        self.site.when_free(self._serve_rest)

    def _serve_rest(self) -> None:
        self._is_resting = False
        if self.phase is CLOSING:
            return
        try:
            self._serve(is_free=True)
        except Exception:  # noqa: BLE001 - as the reactor does where bytes that came are not borne: nobody else would close it here
            logger.failure("a request that had waited for its turn failed")
            self.transport.abortConnection()

    def _is_load(self, incoming: Incoming) -> bool:
        return incoming.admission is not None and incoming.admission.kind is LOAD

    def _ask_for(self, incoming: Incoming) -> None:
        """The body is still to come."""
        if incoming.admission is not None and incoming.admission.expects_continue and self._continued is not incoming:
            self._continued = incoming
            if not incoming.received_bytes:
                self.write(CONTINUE)

    def _start(self, incoming: Incoming) -> None:
        request = self._current = Request(self, incoming)
        self.phase = ANSWER
        if request.kind is LOAD:
            self._ask_for(incoming)
            request.load = BodyStream(self._hold_load, self._release_load)
            self._load = incoming
            self.phase = BODY
            self._deadline.set(self.site.limits.body_seconds)
            self._feed_load(incoming)
        self.site.process(request)

    def _settle(self) -> None:
        """The phase that follows from what there is, and whether the client is read from."""
        if self.phase is CLOSING:
            return
        framing = self._framing
        if framing.error is not None and not framing.arrived and (self._current is None or self._load is not None):
            self.refuse(framing.error)
            return
        if self._current is not None or self._is_resting:
            if self._load is None:
                self.phase, self._deadline.at = ANSWER, None
        elif framing.body is not None:
            if self.phase is not BODY:
                self._enter(BODY, self.site.limits.body_seconds)
        elif framing.in_head:
            if self.phase is not HEAD:
                self._enter(HEAD, self.site.limits.head_seconds)
        elif self.phase is not IDLE and self.phase is not HEAD:
            self._enter(IDLE, IDLE_SECONDS)
        self._read_on()

    def _read_on(self) -> None:
        if self._load is not None:
            wanted = not (self._is_full or self._is_load_held)
        else:
            wanted = not (self._is_full or (self._framing.arrived and (self._current is not None or self._is_resting)))
        if wanted != self._is_reading:
            self._is_reading = wanted
            if wanted:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    # The body of a load.

    def _feed_load(self, incoming: Incoming) -> None:
        """What came of it, to whoever reads it."""
        request = self._current
        assert request is not None, "a load's body without its call"
        load = request.load
        assert load is not None, "a load without a stream"
        pieces, incoming.pieces = incoming.pieces, []
        if incoming.is_whole:
            self._load = None
        if pieces:
            load.feed(b"".join(pieces))
        if incoming.is_whole:
            load.end()

    def _hold_load(self) -> None:
        """The reader of a load is busy: neither its time nor its memory is the client's to spend."""
        if self._load is not None:
            self._is_load_held = True
            self._deadline.set(None)
            self._read_on()

    def _release_load(self) -> None:
        if self._load is not None:
            self._is_load_held = False
            self._deadline.set(self.site.limits.body_seconds)
            self._read_on()

    # The transport, as its producer, and the answer's own one.

    def pauseProducing(self) -> None:
        self._is_full = True
        self._read_on()
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        self._is_full = False
        if self._producer is not None:
            self._producer.resumeProducing()
        self._serve()

    def stopProducing(self) -> None:
        if self._producer is not None:
            self._producer.stopProducing()

    def produce(self, producer: Any) -> None:
        """None: nobody writes any more."""
        self._producer = producer
        if producer is not None and self._is_full:
            producer.pauseProducing()

    # The answer, and the end.

    def write(self, data: bytes) -> None:
        """Into the socket at once, where the transport has nothing that must go first.

        The transport's own write asks the poller for an event, answers that, and takes the wish back: three system calls for one, and a
        turn of the reactor later. What does not go at once goes that way, and so does news of a connection that is gone.
        """
        transport = self.transport
        if self._is_plain and not transport._tempDataLen and not transport.dataBuffer and transport.connected:
            try:
                sent = transport.socket.send(data)
            except OSError:
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        transport.write(data)

    def keeps_open(self, request: Request) -> bool:
        """Whether the connection goes on behind this answer. Not where its body is still on the way: that cannot be told from a request."""
        return request.is_persistent and self._load is None and not self.site.stopping

    def answered(self, request: Request, keep_open: bool) -> None:
        """All of the answer was written."""
        self._current = None
        self._producer = None
        if self.phase is CLOSING:
            return
        if self._load is not None:
            self._load = None
            self._linger()
        elif not keep_open:
            self._close()
        else:
            framing, self._heard = self._framing, False
            if framing.arrived:
                self._serve()
            elif framing.is_between and self._is_reading and not (self._is_full or self._is_serving):  # nearly always
                self._enter(IDLE, IDLE_SECONDS)
            elif not self._is_serving:
                self._settle()

    def _close(self) -> None:
        """A client that does not read its answer is not waited for without end."""
        self._enter(CLOSING, IDLE_SECONDS)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def refuse(self, error: DdbError) -> None:
        """Answers with a problem and hangs up. A load that runs already is told, and answers itself."""
        if self.phase is CLOSING:
            return
        current = self._current
        if current is not None and current.load is not None:
            self._deadline.set(None)
            self._is_load_held = True
            self._read_on()
            current.load.fail(error)
            return
        problem, arrived = problem_of(error), self._framing.arrived
        self.site.meter.refused(problem.status)
        without_body = bool(arrived) and arrived[0].head.method == b"HEAD"
        fields = [*problem.headers, (b"Connection", b"close")]
        if problem.status == 405:
            fields.append((b"Allow", b"GET, HEAD, OPTIONS, POST"))  # of any path: this method was not even parsed
        lines = lines_of(fields) + self.site.api.reply_lines()
        if arrived:
            lines += line_of(arrived[0].head.fields)
        self.write(self.site.whole_answer(problem.status, CONTENT_TYPE, lines, problem.body(), without_body))
        self._linger()

    def _linger(self) -> None:
        """Everything that still arrives is dropped."""
        self._enter(CLOSING, LINGER_SECONDS)
        self._framing.arrived.clear()
        self.transport.unregisterProducer()
        self.transport.resumeProducing()
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if half_close is None:
            self.transport.loseConnection()
        else:
            half_close()
