"""The driver: one core, its store, its streams. Turn by turn: step, send, save, apply, answer.

Everything that arrives with one poll of the reactor (messages, writes, reads) only changes state and asks for a turn (but see
`_may_answer_at_once`); the turn then takes one `Ready` after another until there is nothing left to do. So all that came together is one
batch: one append, one fsync, one message a peer. The order inside a turn is the order of `raft.core`: messages that depend on nothing go
first, then the save, then what depends on it.

A `Fatal` error, and any other exception here, ends the process: a replica that does not know its own state must not go on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.python.failure import Failure

from ddbd.commands import FREES_SPACE, AnyCommand, Applied
from ddbd.config import Config
from ddbd.errors import Corrupt, Fatal, Refused
from ddbd.raft.core import ProposalDropped, Raft, Ready
from ddbd.raft.log import CacheLimits, RaftLog
from ddbd.raft.messages import (
    AppendResponse,
    Forward,
    HandOver,
    HandOverRefused,
    HeartbeatResponse,
    Message,
    Quarantine,
    StateCheck,
    StateReport,
)
from ddbd.raft.types import Entry, NodeId
from ddbd.replica.audit import Audit
from ddbd.replica.carried import Carried, Foreign
from ddbd.replica.chronicle import Chronicle
from ddbd.replica.compaction import Compaction
from ddbd.replica.comparing import Comparing
from ddbd.replica.handover import Handover
from ddbd.replica.pace import Pace
from ddbd.replica.promises import World
from ddbd.replica.proposals import FORWARD_BYTES_MAX, Proposals
from ddbd.replica.reads import Reads
from ddbd.replica.saves import Saves
from ddbd.replica.seeding import Seeding
from ddbd.replica.tuning import FEW_ENTRIES, LARGE_BYTES, READIES_MAX, TURN_SECONDS, raft_config
from ddbd.storage import Store

_ACKNOWLEDGEMENTS = (AppendResponse, HeartbeatResponse)


class Driver:
    """Owns the core; nothing else touches it."""

    def __init__(self, config: Config, node_id: NodeId, store: Store, world: World) -> None:
        self.config = config
        self.node_id = node_id
        self.store = store
        self.world = world
        recovered, tables = store.log.recovered, store.tables
        log = RaftLog(
            store.log,
            recovered.base,
            recovered.last_index,
            recovered.memberships,
            CacheLimits(config.limits.cache_entries_max, config.limits.cache_bytes_max),
        )
        if not recovered.base.index <= tables.applied_index <= recovered.last_index:
            raise Corrupt(
                f"the tables are at index {tables.applied_index}, but the log holds {recovered.base.index}..{recovered.last_index}"
            )
        raft = raft_config(config, node_id, store.life())
        self.core = Raft(raft, log, recovered.hard_state, tables.applied_index, world.dice)
        if store.is_suspect():
            self.core.freeze()
        limits = config.limits
        self.proposals = Proposals(node_id, world.dice, limits.proposals_open_max, limits.proposals_open_bytes_max)
        self.carried = Carried()
        self.reads = Reads(world.dice.getrandbits(63), limits.reads_open_max, 2 * config.timing.heartbeat_ms / 1000)
        self.audit = Audit()
        self.comparing = Comparing(self)
        self.handover = Handover(self)
        self.seeding = Seeding(self)
        self.compaction = Compaction(self)
        self.saves = Saves()
        self.pace = Pace(self)
        self.chronicle = Chronicle(self)
        self.is_disk_full = False  # as the leader last told
        self.is_stopped = False
        self.transfer_to: NodeId | None = None  # whom this node hands leadership to, or did when it last led
        self._receivers: dict[type[Message], Callable[[Any], None]] = {  # of the driver's own messages; the core takes all others
            Forward: self._append_carried,
            StateCheck: self.comparing.asked,
            StateReport: self.comparing.reported,
            Quarantine: self.comparing.accused,
            HandOver: self.handover.asked,
            HandOverRefused: self.handover.refused,
        }
        self._stamp_base = (0, 0.0)
        self._stamp_term = 0
        self._soon = world.soon or partial(world.clock.callLater, 0)
        self._is_turn_due = False
        self._is_turning = False
        self._known_leader: tuple[NodeId | None, int] = (None, 0)
        self._is_stream_new = False
        self._ticks = 0
        self.on_leader: Callable[[], None] = lambda: None  # called after each turn in which the leader changed

    # What comes in.

    def wake(self) -> None:
        """Asks for a turn, behind whatever else comes in with this poll."""
        if not self._is_turn_due and not self.is_stopped:
            self._is_turn_due = True
            self._soon(self._called)

    def receive(self, message: Message) -> None:
        """One message from a peer."""
        if self.is_stopped:
            return
        try:
            self._receive(message)
            # The second of two acknowledgements changes nothing any more: half of a leader's messages are such.
            if isinstance(message, _ACKNOWLEDGEMENTS) and self.core.is_idle() and not self._is_leader_news():
                return
        except Exception as error:  # noqa: BLE001 - as in a turn
            self.fail(error)
        if isinstance(message, AppendResponse) and self._may_answer_at_once():
            self._called()
        else:
            self.wake()

    def _may_answer_at_once(self) -> bool:
        """A few entries are committed, and nothing else waits for a turn: then their clients do not wait for the other acknowledgement.

        p50 of a lone write: 1.56 -> 1.46 ms. Larger batches gain more by what they take along than by what they save.
        """
        few = 0 < self.core.commit_index - self.core.applied_index <= FEW_ENTRIES
        return few and not self._is_turn_due and self.core.next_bytes() < LARGE_BYTES

    def _receive(self, message: Message) -> None:
        self._receivers.get(type(message), self.core.step)(message)

    def peer_refused(self, peer: NodeId) -> None:
        """Its address refuses connections: the process is gone."""
        if self.is_stopped:
            return
        self.chronicle.refused(peer)
        try:
            self.core.leader_refused(peer)
        except Exception as error:  # noqa: BLE001 - as in a turn
            self.fail(error)
        self.wake()

    def peer_connected(self, peer: NodeId) -> None:
        """A new stream: what was under way on the old one may be lost."""
        if peer == self.core.leader_id:
            self._is_stream_new = True
        self.core.forget_peer(peer)  # a process that was started on an older copy of its disk has not what it acknowledged
        self.wake()

    def tick(self) -> None:
        """Called by the heartbeat's LoopingCall."""
        if self.is_stopped:
            return
        now = self.world.clock.seconds()
        self._ticks += 1
        self.core.tick()
        self.proposals.expire(now)
        self.reads.expire(now)
        self.handover.look()
        if self._ticks % self.core.config.heartbeat_ticks == 0:
            self.store.tables.settle()
            self.reads.probe()
            self.comparing.ask()
            self.seeding.tick(now)
            self.compaction.tick()
            self.chronicle.tick(now)
        self.wake()

    def accepts(self, command: AnyCommand) -> None:
        """Raises Refused where the command needs space that is not there. A write needs room at the leader and on a majority, not here."""
        if not isinstance(command, FREES_SPACE) and self.is_disk_full:
            raise Refused("disk_full", "the disk is nearly full; only deletes are taken until there is space again")

    # The turn.

    def _called(self) -> None:
        self._is_turn_due = False
        if not self.is_stopped:
            self._turn()

    def _turn(self) -> None:
        self._is_turning = True
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - whatever it is, this replica no longer knows its own state
            self.fail(error)
        self._is_turning = False

    def _run(self) -> None:
        now = self.world.clock.seconds()
        self.seeding.install()
        self._notice_leader(now)
        self._send_own(now)
        for _ in range(READIES_MAX):
            self.core.is_held = self.pace.hold()
            self._handle(self.core.ready())
            if self.is_stopped or not self.core.has_more():
                break
            if self.world.clock.seconds() - now >= TURN_SECONDS:
                self.wake()
                break
        else:
            self.wake()
        if self.is_stopped:
            return
        self.world.peers.flush()
        if self.core.leading is not None:
            self.transfer_to = self.core.leading.transfer_to
        if self.pace.puts_off() or self._is_leader_news():
            self.wake()
        self.core.is_held = self.store.tables.holds_writes  # else an acknowledgement that commits something would look like nothing new

    def _is_leader_news(self) -> bool:
        return self._known_leader != (self.core.leader_id, self.core.term)

    def _notice_leader(self, now: float) -> None:
        """After a change of leader or stream, what was sent before may be lost: it goes again."""
        leader = (self.core.leader_id, self.core.term)
        if leader != self._known_leader:
            self._known_leader = leader
            self.chronicle.leader_changed(now)
            if not self.core.is_leader:
                self.audit.clear()
            if leader[0] is not None:
                self.world.log_event(f"node {leader[0]} leads in term {leader[1]}")
            self.handover.look()
            self.on_leader()
        elif not self._is_stream_new:
            return
        # While leadership is being handed over nothing can be appended: again, once that came to its end.
        self._is_stream_new = self.core.leading is not None and self.core.leading.transfer_to is not None
        if self._is_stream_new:
            return
        if leader[0] is not None:
            self.reads.probe()  # a node that starts is ready once it knows how old its tables are
            self.reads.take_back(now)
            self._carry(self.proposals.take_repeats(now, all_of_them=True), now)

    def _send_own(self, now: float) -> None:
        """This node's writes and reads, on their way to the leader."""
        if self.core.leader_id is None:
            return
        # Wrong tables apply nothing, so they give no answers: their node holds its writes until it is seeded anew.
        if not self.core.is_frozen and (self.core.leading is None or self.core.leading.transfer_to is None):
            repeats = self.proposals.take_repeats(now, all_of_them=False) if not self.core.is_leader else []
            self._carry(repeats + self.proposals.take(now), now)
        context = self.reads.take(now)
        if context is not None:
            self.core.request_reads([context])

    def _carry(self, proposals: list[bytes], now: float) -> None:
        if not proposals:
            return
        if self.core.is_leader:
            try:
                self.core.propose(proposals, self._stamp(now))
            except ProposalDropped:
                self.proposals.take_back(now)
            return
        assert self.core.leader_id is not None, "proposals are carried only to a known leader"
        size, batch = 0, list[bytes]()
        for proposal in proposals:
            if batch and size + len(proposal) > FORWARD_BYTES_MAX:
                self.world.peers.send(Forward(self.core.leader_id, self.node_id, self.core.term, tuple(batch)))
                size, batch = 0, []
            batch.append(proposal)
            size += len(proposal)
        self.world.peers.send(Forward(self.core.leader_id, self.node_id, self.core.term, tuple(batch)))

    def _append_carried(self, message: Forward) -> None:
        if not self.core.is_leader:
            return  # not carried any further; its node sends it again when it knows the leader
        try:
            proposals = self.carried.fresh(message.sender, message.proposals, self.core.term, self.store.tables.registered)
            if proposals:
                self.core.propose(list(proposals.values()), self._stamp(self.world.clock.seconds()))
        except Foreign as error:
            self.world.log_event(f"node {message.sender} carried {error.detail}; they are dropped")
        except ProposalDropped:
            return
        else:
            self.carried.appended(proposals)
            self.core.tell_commit(message.sender)

    def _stamp(self, now: float) -> int:
        """Log time: the last stamp before this leadership plus this node's own monotonic time since."""
        if self._stamp_term != self.core.term:
            self._stamp_term = self.core.term
            self._stamp_base = (self.core.log.last_stamp, now)
        stamp, since = self._stamp_base
        return stamp + int((now - since) * 1000)

    def _handle(self, ready: Ready) -> None:
        for message in ready.messages:
            self.world.peers.send(message)
        if ready.snapshots_wanted:
            self.seeding.wanted(ready.snapshots_wanted)
        if ready.snapshot is not None:
            self.seeding.offered(ready.snapshot)
        if ready.must_save:
            self.world.peers.flush()
            self.saves.began(self.world.clock.seconds())
            saved = self.store.log.save(ready.hard_state, ready.entries)
            if saved.called and saved.result is None:  # as nearly always: a chain of callbacks for it is a tenth of a lone write's turn
                self._saved(None, ready)
            else:
                saved.addCallback(self._saved, ready).addErrback(self.failed)
        else:
            self._send(ready)
        if ready.reads:
            self.reads.confirmed(ready.reads)
        if ready.committed:
            self.world.peers.flush()
            self._apply(ready.committed)
        if ready.reads or ready.committed:
            self.reads.applied(self.core.applied_index)

    def _saved(self, _: None, ready: Ready) -> None:
        if self.is_stopped:
            return
        now = self.world.clock.seconds()
        self.chronicle.saved(now, self.saves.ended(now))
        self.core.saved()
        self._send(ready)
        if ready.after_save:
            self.world.peers.flush()  # an acknowledgement waits for nothing else, least of all for this node's own tables
            self.world.give_way()  # nor does a leader that shares the processors with this node (p50 of a lone write: 1.56 -> 1.34 ms)
        self.compaction.compact()
        if not self._is_turning:  # else the turn under way takes what comes of it
            self.wake()

    def _send(self, ready: Ready) -> None:
        for message in ready.after_save:
            self.world.peers.send(message)

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        tables = self.store.tables
        tables.apply(entries, self._applied)
        assert tables.applied_index == entries[-1].index, f"applied {tables.applied_index}, not {entries[-1].index}"
        self.comparing.applied(tables.applied_index)
        self.pace.applied()

    def _applied(self, results: list[Applied]) -> None:
        tables = self.store.tables
        self.core.applied(tables.applied_index)
        self.carried.applied(results)
        self.proposals.applied(results, tables)

    def quarantine(self, reason: str) -> None:
        """Serve no reads and lead nobody until a snapshot took the place of these tables. Survives a restart."""
        if not self.core.is_frozen:
            self.world.log_event(f"QUARANTINED: {reason}; it serves no reads until it is seeded anew")
            self.store.mark_suspect()
            self.core.freeze()
            self.chronicle.quarantined(self.node_id, reason)

    # The end.

    def failed(self, failure: Failure) -> None:
        """As an errback."""
        self.fail(failure.value or Fatal("a failure without a reason"))

    def fail(self, error: BaseException) -> None:
        """Stops this replica for good, and asks for the end of the process."""
        if self.is_stopped:
            return
        self.halt()
        self.world.on_fatal(error)

    def halt(self) -> None:
        """No more turns, no more messages."""
        self.is_stopped = True
        self.seeding.stop()
