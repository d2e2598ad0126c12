"""Leadership that an operator hands over: who waits for it, and what came of it.

A wish begins at any node. The leader begins a transfer (thesis 3.10); another node carries the wish to the leader, and both see what
comes of it as everybody does: a leader of a newer term. Only a refusal is told to the node that carried it. A wish without a target tries
the fit nodes one after the other, the one with the longest log first; each try lasts an election timeout at most, and meanwhile writes
are held. What an operator asked for is held against the preferred master (`raft.leader`).

An end is one of three: there is a new leader and it is the one that was wished for; leadership certainly stayed, or somebody else has it
(NotHandedOver); or nobody knows, since a node was told to campaign and may still do it (OutcomeUnknown).
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from ddbd.answers import Handed
from ddbd.errors import Busy, DdbError, NoLeader, NotHandedOver, OutcomeUnknown
from ddbd.raft.messages import HandOver, HandOverRefused
from ddbd.raft.types import NodeId

if TYPE_CHECKING:
    from ddbd.replica.driver import Driver

HANDOVER_FORMAT = 2  # of the nodes (`commands.FORMAT`) that know the messages of a wish
WISHES_MAX = 100  # open at a node; beyond: Busy
CARRIED_SECONDS = 10.0  # how long a wish of another node is looked after


class Wish:
    """`done` is None where another node waits for it."""

    def __init__(self, target: NodeId | None, leader_id: NodeId, term: int, deadline: float) -> None:
        self.target = target
        self.leader_id = leader_id  # when it began
        self.term = term  # likewise
        self.deadline = deadline
        self.done: Deferred[Handed] | None = None
        self.carried: HandOver | None = None
        self.tried: set[NodeId] = set()
        self.is_unknown = False  # somebody was told to campaign, and nothing came of it yet


class Handover:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._wishes: dict[int, Wish] = {}  # by number
        self._number = driver.world.dice.getrandbits(32)  # a refusal that was meant for a former life of this process fails no wish

    def fit(self) -> list[NodeId]:
        """Who could lead, the one with the longest log first. Of a leader."""
        core, leading = self._driver.core, self._driver.core.leading
        assert leading is not None, "only a leader knows who is fit"
        others = [peer for peer in core.membership.voters if peer != core.id and peer not in core.unfit and self.hears(peer)]
        return sorted(others, key=lambda peer: leading.progress[peer].match_index, reverse=True)

    def hears(self, peer: NodeId) -> bool:
        """Whether this leader heard the peer lately."""
        core, leading = self._driver.core, self._driver.core.leading
        return leading is not None and leading.ticks - leading.progress[peer].acked_tick <= core.config.election_timeout_ticks

    def begin(self, among: Container[NodeId] | None = None) -> bool:
        """Gives leadership to the fittest of those that were heard lately. Returns whether that is under way now."""
        core, leading = self._driver.core, self._driver.core.leading
        if leading is None:
            return False
        if leading.transfer_to is not None:
            return True
        best = next((peer for peer in self.fit() if among is None or peer in among), None)
        if best is None or not core.transfer(best):
            return False
        self._driver.wake()
        return True

    # What comes in.

    def ask(self, target: NodeId | None, deadline: float) -> Deferred[Handed]:
        """Of a client of this node. Raises Busy, NoLeader."""
        core = self._driver.core
        if core.leader_id is None:
            raise NoLeader("there is no leader that could hand leadership over; try again in a moment")
        self._assert_room()
        wish = Wish(target, core.leader_id, core.term, deadline)
        wish.done = Deferred()
        done, number = wish.done, self._add(wish)
        if target == core.leader_id:
            self._succeed(number, wish, target)
        elif core.is_leader:
            self._try(number, wish)
        else:
            self._driver.world.peers.send(HandOver(core.leader_id, core.id, core.term, target or "", number))
        self._driver.wake()
        return done

    def asked(self, message: HandOver) -> None:
        """Of another node's client. Not carried any further: a sender that is wrong about the leader sees that for itself.

        Nor is one of another term obeyed: its sender has judged it by a newer leader, and told its client.
        """
        core = self._driver.core
        if not core.is_leader or message.term != core.term or message.target == core.id or len(self._wishes) >= WISHES_MAX:
            return
        wish = Wish(message.target or None, core.id, core.term, self._driver.world.clock.seconds() + CARRIED_SECONDS)
        wish.carried = message
        self._try(self._add(wish), wish)

    def refused(self, message: HandOverRefused) -> None:
        wish = self._wishes.get(message.number)
        if wish is not None and wish.leader_id == message.sender:
            self._fail(message.number, wish, (OutcomeUnknown if message.is_unknown else NotHandedOver)(message.reason))

    # What comes of it.

    def look(self) -> None:
        """At each tick, and whenever the leader is another one."""
        core, now = self._driver.core, self._driver.world.clock.seconds()
        for number, wish in list(self._wishes.items()):
            if core.term > wish.term:
                if core.leader_id is not None:
                    self._judge(number, wish, core.leader_id)
            elif core.leading is not None and core.leading.transfer_to is None:
                wish.is_unknown = wish.is_unknown or core.leading.is_ordered
                self._try(number, wish)
            if number in self._wishes and now >= wish.deadline:
                wish.is_unknown = True
                self._fail(number, wish, self._error(wish, "no other node took leadership over before the timeout"))

    def fail_all(self, error: DdbError) -> None:
        """The node stops."""
        for number, wish in list(self._wishes.items()):
            self._fail(number, wish, error)

    def _try(self, number: int, wish: Wish) -> None:
        """The next one, where there is one. Another transfer that is under way is waited for."""
        core, leading = self._driver.core, self._driver.core.leading
        assert leading is not None, "only a leader hands leadership over"
        if leading.transfer_to is not None:
            return
        fit = [peer for peer in self.fit() if peer not in wish.tried and wish.target in (None, peer)]
        if fit and core.transfer(fit[0], holds=True):
            wish.tried.add(fit[0])
            self._driver.world.log_event(f"an operator has node {core.id} hand leadership to node {fit[0]}")
            self._driver.wake()
            return
        self._fail(number, wish, self._error(wish, f"{_nobody(wish)}; node {core.id} leads on"))

    def _judge(self, number: int, wish: Wish, leader_id: NodeId) -> None:
        if leader_id == wish.target or (wish.target is None and leader_id != wish.leader_id):
            self._succeed(number, wish, leader_id)
        else:  # by a newer term than the one in which somebody was told to campaign: that is over
            nobody = "no other node took leadership over" if wish.target is None else f"node {wish.target} took no leadership over"
            self._fail(number, wish, NotHandedOver(f"{nobody}: node {leader_id} was elected"))

    # Wishes.

    def _assert_room(self) -> None:
        if len(self._wishes) >= WISHES_MAX:
            raise Busy(f"{len(self._wishes)} calls wait already for leadership to be handed over; try again in a moment")

    def _add(self, wish: Wish) -> int:
        self._number += 1
        self._wishes[self._number] = wish
        return self._number

    def _error(self, wish: Wish, sentence: str) -> DdbError:
        if wish.is_unknown:
            return OutcomeUnknown(f"{sentence}, but one was told to and may still do it; see /status")
        return NotHandedOver(sentence)

    def _succeed(self, number: int, wish: Wish, leader_id: NodeId) -> None:
        del self._wishes[number]
        if wish.done is not None:
            wish.done.callback({"status": "ok", "from": wish.leader_id, "to": leader_id, "term": self._driver.core.term})

    def _fail(self, number: int, wish: Wish, error: DdbError) -> None:
        del self._wishes[number]
        if wish.done is not None:
            wish.done.errback(error)
        elif wish.carried is not None and not self._driver.is_stopped:
            carried, core = wish.carried, self._driver.core
            refusal = HandOverRefused(carried.sender, core.id, core.term, carried.number, wish.is_unknown, error.detail)
            self._driver.world.peers.send(refusal)
            self._driver.wake()


def _nobody(wish: Wish) -> str:
    if wish.target is None:
        return "no other node took leadership over in time" if wish.tried else "no other node votes, is heard and is fit to lead"
    return f"node {wish.target} " + ("did not take over in time" if wish.tried else "does not vote, is not heard or is not fit to lead")
