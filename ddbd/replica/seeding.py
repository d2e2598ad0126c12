"""Who needs a copy of the tables, and how it gets one.

As the leader: makes one snapshot at a time, offers it to every follower that needs one and is heard of, and keeps the log behind it until
nobody fetches it any more. It also brings back nodes that lost their disk: a node that reports another life than the membership knows is
first demoted to learner, then, once it has caught up, promoted under its new life.

As a follower: fetches what is offered and installs it. While a save is under way the installation waits. A fetch goes on through whatever
happens to its connection; it is given up when its sender is gone and another node leads, which then makes an offer of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ddbd.errors import Corrupt, Fatal
from ddbd.raft.core import ProposalDropped, SnapshotOffer
from ddbd.raft.messages import StateReport
from ddbd.raft.types import NodeId
from ddbd.storage import SnapshotFile

if TYPE_CHECKING:
    from ddbd.replica.driver import Driver

LINGER_SECONDS = 30.0  # a snapshot that nobody needs any more is kept this long for a late retry
RETRY_SECONDS = 5.0  # after a snapshot could not be made
FETCH_PAUSE_SECONDS = 1.0  # after a snapshot could not be had: it is offered again at every heartbeat
WITNESS_BEATS = 100  # heartbeats; so long may it take until those who can be asked were seen to agree with a snapshot on offer
DEMOTED_AFTER = 2  # reports in a row from another life: one alone may be a late one, and a demotion costs a vote
SILENT_TICKS = 40  # a follower that was not heard for so long gets no snapshot made


class Seeding:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._wanted: set[NodeId] = set()
        self._snapshot: SnapshotFile | None = None  # the one on offer
        self._making_from: int | None = None  # while one is made: it will not be older than this index
        self._retry_at = 0.0
        self._needed_at = 0.0
        self._fetching: SnapshotOffer | None = None
        self._fetch: Deferred[None] | None = None
        self._fetch_at = 0.0  # no fetch begins before
        self._fetched: tuple[SnapshotOffer, str] | None = None  # waits for its installation
        self.spoilt = ""  # the token of the last offer whose content was not what was promised
        self._forgotten: set[tuple[NodeId, str]] = set()
        self._strange: dict[NodeId, int] = {}  # reports in a row from another life than the membership knows
        self._unvouched_beats = 0  # how long a snapshot on offer has waited for those that could agree with it
        self.is_stopping = False

    @property
    def is_fetching(self) -> bool:
        return self._fetching is not None

    def keep_from(self) -> int | None:
        """The log behind this index must stay: a snapshot at it is on its way. None: nothing is held back."""
        return self._snapshot.meta.index if self._snapshot is not None else self._making_from

    # The leader's side.

    def wanted(self, peers: tuple[NodeId, ...]) -> None:
        self._wanted.update(peers)

    def tick(self, now: float) -> None:
        self._give_up_fetch()
        leading = self._driver.core.leading
        if leading is None:
            self._wanted.clear()
            self._forgotten.clear()
            self._strange.clear()
            self._unvouched_beats = 0
        else:
            heard = {peer for peer, each in leading.progress.items() if leading.ticks - each.acked_tick < SILENT_TICKS}
            if any(peer in leading.offers and peer in heard for peer in leading.progress):
                self._needed_at = now
            self._serve(self._wanted & heard)
        if self._snapshot is not None:
            # A fetch goes on also when another node leads by now.
            fetched_at = self._driver.world.carrier.last_fetched(self._snapshot.token) or 0.0
            if now - max(self._needed_at, fetched_at) > LINGER_SECONDS:
                self._withdraw(self._snapshot)

    def _withdraw(self, snapshot: SnapshotFile) -> None:
        self._driver.core.withdraw_snapshot(snapshot.token)
        self._driver.world.carrier.withdraw(snapshot.token)
        self._driver.store.remove_snapshot(snapshot)
        self._snapshot = None

    def _serve(self, peers: set[NodeId]) -> None:
        is_vouched_for = not peers or self._snapshot is None or self._is_vouched_for(self._snapshot)
        self._unvouched_beats = 0 if is_vouched_for else self._unvouched_beats + 1
        if not peers or self._making_from is not None or self.is_stopping:
            return
        core = self._driver.core
        if self._snapshot is not None:
            if not is_vouched_for:
                self._wait_for_witnesses(peers)
                return
            if self._snapshot.meta.index >= core.log.base.index and not any(self._is_too_old(peer) for peer in peers):
                for peer in peers:
                    core.offer_snapshot(peer, self._snapshot.meta, self._snapshot.token)
                self._wanted -= peers
                self._needed_at = self._driver.world.clock.seconds()
                self._driver.wake()
            return
        if self._driver.world.clock.seconds() < self._retry_at:
            return
        self._making_from = core.applied_index
        self._driver.store.tables.snapshot().addCallback(self._made).addErrback(self._failed)

    def _is_vouched_for(self, snapshot: SnapshotFile) -> bool:
        """A leader whose tables went astray, and who was not found out yet, must not seed others with them: then the wrong state would be
        the majority's. So a majority, or else each voter that can be asked, has to agree with the leader at or behind the snapshot's index
        (the hash is chained). A follower that is all that is left of the majority is seeded without.
        """
        driver, leading = self._driver, self._driver.core.leading
        assert leading is not None, "only a leader seeds others"
        if driver.audit.checked_index >= snapshot.meta.index:
            return True
        return all(
            driver.audit.agreed_index.get(peer, 0) >= snapshot.meta.index
            for peer, progress in leading.progress.items()
            if peer in driver.core.membership.voters
            and progress.match_index >= snapshot.meta.index
            and leading.ticks - progress.acked_tick < SILENT_TICKS
            and not self._is_suspect(peer)
        )

    def _wait_for_witnesses(self, peers: set[NodeId]) -> None:
        """One that does not come to agree in time differs: then nobody knows which of the two states is right."""
        if self._unvouched_beats >= WITNESS_BEATS:
            self._driver.audit.is_split = True
        if self._unvouched_beats == WITNESS_BEATS:
            names = ", ".join(sorted(peers))
            self._driver.world.log_event(
                f"ALARM: the nodes' states differ, no majority agrees; node {names} is not seeded from either; compare their tables"
            )

    def _is_suspect(self, peer: NodeId) -> bool:
        report = self._driver.audit.reports.get(peer)
        return report is not None and report.is_suspect

    def _is_too_old(self, peer: NodeId) -> bool:
        """A quarantined node keeps what it has applied: it needs a snapshot that is not behind."""
        report = self._driver.audit.reports.get(peer)
        return report is not None and report.is_suspect and self._snapshot is not None and self._snapshot.meta.index < report.applied_index

    def _made(self, snapshot: SnapshotFile) -> None:
        self._making_from = None
        if self._driver.is_stopped:
            return
        self._snapshot = snapshot
        self._needed_at = self._driver.world.clock.seconds()
        self._driver.world.carrier.publish(snapshot)
        self._driver.world.log_event(f"made a snapshot at index {snapshot.meta.index} ({snapshot.size_bytes} bytes)")

    def _failed(self, failure: Failure) -> None:
        self._making_from = None
        self._retry_at = self._driver.world.clock.seconds() + RETRY_SECONDS
        if isinstance(failure.value, Fatal):
            self._driver.fail(failure.value)
        elif not self.is_stopping:
            self._driver.world.log_event(f"a snapshot could not be made, it is tried again: {failure.getErrorMessage()}")

    def reported(self, report: StateReport) -> None:
        """Watches for nodes whose disk is another one than the membership knows, and for nodes whose tables are wrong."""
        core = self._driver.core
        leading = core.leading
        if leading is None or report.sender not in leading.progress:
            return
        if self._snapshot is not None and report.spoilt == self._snapshot.token:
            self._driver.world.log_event(
                f"the snapshot at index {self._snapshot.meta.index} is spoilt, says node {report.sender}: another is made"
            )
            self._withdraw(self._snapshot)
        if report.is_suspect and report.sender not in leading.offers:
            self._wanted.add(report.sender)
        membership = core.membership
        if report.life == membership.life_of(report.sender) and report.sender not in membership.learners:
            self._strange.pop(report.sender, None)
            return  # a learner of that life goes on: late reports of an earlier life may have demoted it (simulator: seed 78)
        if (report.sender, report.life) not in self._forgotten:
            self._forgotten.add((report.sender, report.life))
            core.forget_peer(report.sender)
        voters, learners = set(membership.voters), set(membership.learners)
        if report.sender in voters:
            self._strange[report.sender] = self._strange.get(report.sender, 0) + 1
            if self._strange[report.sender] < DEMOTED_AFTER:
                return
            voters.remove(report.sender)
            learners.add(report.sender)
            self._change(voters, learners, {}, f"node {report.sender} lost its data: it listens until it has caught up")
            return
        self._strange.pop(report.sender, None)
        if leading.progress[report.sender].match_index >= leading.commit_at_tick > 0:
            learners.discard(report.sender)
            voters.add(report.sender)
            self._change(voters, learners, {report.sender: report.life}, f"node {report.sender} has caught up: it votes again")

    def _change(self, voters: set[NodeId], learners: set[NodeId], lives: dict[NodeId, str], event: str) -> None:
        if not voters:
            return
        try:
            self._driver.core.propose_membership(voters, learners, lives)
        except ProposalDropped:
            return  # another change is under way, or leadership is young: the next report brings it up again
        self._driver.world.log_event(event)
        self._driver.wake()

    # The follower's side.

    def offered(self, offer: SnapshotOffer) -> None:
        if self._fetching is not None or self.is_stopping:
            return
        if self._driver.world.clock.seconds() < self._fetch_at:
            self._driver.core.declined(offer.token)
            return
        self._fetching = offer
        store = self._driver.store
        path = store.incoming()
        self._driver.world.log_event(f"fetching a snapshot at index {offer.meta.index} from node {offer.sender}")
        self._fetch = self._driver.world.carrier.fetch(offer.sender, offer.token, path)
        self._fetch.addCallback(lambda _: store.check_incoming(offer.meta, path))
        self._fetch.addCallbacks(self._arrived, self._lost, callbackArgs=(offer, path), errbackArgs=(offer,))

    def _arrived(self, _: None, offer: SnapshotOffer, path: str) -> None:
        self._fetch = None
        self._fetched = (offer, path)
        self._driver.wake()

    def _lost(self, failure: Failure, offer: SnapshotOffer) -> None:
        self._fetch = None
        self._fetching = None
        self._driver.core.declined(offer.token)
        if isinstance(failure.value, Corrupt):
            self.spoilt = offer.token
        if isinstance(failure.value, Fatal) and not isinstance(failure.value, Corrupt):
            self._driver.fail(failure.value)
        elif failure.check(CancelledError) is None:
            self._fetch_at = self._driver.world.clock.seconds() + FETCH_PAUSE_SECONDS
            self._driver.world.log_event(f"the snapshot did not arrive, it will be offered again: {failure.getErrorMessage()}")
        self._driver.wake()

    def _give_up_fetch(self) -> None:
        leader_id = self._driver.core.leader_id
        if self._fetch is None or self._fetching is None or leader_id in (None, self._fetching.sender):
            return
        if not self._driver.world.peers.is_reachable(self._fetching.sender):
            self._driver.world.log_event(
                f"node {self._fetching.sender} is gone: its snapshot is given up, node {leader_id} will offer another"
            )
            self._fetch.cancel()

    def install(self) -> None:
        """Once no save is under way."""
        if self._fetched is None or self._driver.core.is_saving:
            return
        (offer, path), self._fetched, self._fetching = self._fetched, None, None
        driver, core = self._driver, self._driver.core
        if not core.is_frozen and offer.meta.index <= core.commit_index:
            core.declined(offer.token)
            return
        try:
            driver.store.install(offer.meta, path)
        except Corrupt as error:
            self.spoilt = offer.token
            core.declined(offer.token)
            driver.world.log_event(f"the snapshot from node {offer.sender} is not what it should be, it will be offered again: {error}")
            return
        driver.chronicle.installed(offer)
        core.installed(offer.meta)
        driver.world.log_event(f"installed a snapshot at index {offer.meta.index}")
        driver.proposals.skipped(driver.store.tables)
        driver.reads.applied(core.applied_index)

    def stop(self) -> None:
        self.is_stopping = True
        if self._fetch is not None:
            self._fetch.cancel()
