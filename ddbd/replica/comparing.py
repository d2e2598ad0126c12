"""The conversation behind `audit`: the leader asks at each heartbeat, a node answers once it has applied that far.

The answers also say how a node is: the life of its disk, whether the disk is nearly full, whether its tables are suspect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbd.raft.messages import Quarantine, StateCheck, StateReport

if TYPE_CHECKING:
    from ddbd.replica.driver import Driver


class Comparing:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._asked: StateCheck | None = None  # not answered with a hash yet
        self.told: StateCheck | None = None  # the leader's last word

    # The leader's side.

    def ask(self) -> None:
        """At each heartbeat."""
        driver, core = self._driver, self._driver.core
        if core.leading is None:
            return
        tables, audit = driver.store.tables, driver.audit
        index = audit.begin(driver.node_id, tables.applied_index, tables.state_hash(tables.applied_index))
        core.unfit = frozenset(peer for peer, report in audit.reports.items() if report.is_suspect or report.disk_low)
        driver.is_disk_full = self._is_disk_full()
        matches = (
            (driver.node_id, core.log.saved_index),
            *((peer, progress.match_index) for peer, progress in core.leading.progress.items()),
        )
        self.told = StateCheck("", driver.node_id, core.term, index, driver.is_disk_full, core.log.last_index, matches)
        for peer in core.leading.progress:
            driver.world.peers.send(self.told._replace(to=peer))

    def reported(self, report: StateReport) -> None:
        """One answer."""
        driver, core = self._driver, self._driver.core
        if core.leading is None or report.term != core.term:
            return
        was_split = driver.audit.is_split
        verdict = driver.audit.reported(report, core.membership.voters)
        if verdict.is_split and not was_split:
            driver.world.log_event("ALARM: the nodes' states differ, no majority agrees; compare their tables before you trust any of them")
            driver.world.happened("states_differ", None, "the nodes' states differ, and no majority agrees")
        for node_id, state_hash in verdict.differing.items():
            if node_id == report.sender and report.is_suspect:
                continue  # it knows
            if node_id == driver.node_id:
                driver.quarantine("this node's state differs from the majority's")
                return
            driver.world.log_event(f"node {node_id} differs from the majority at index {report.index}: it is quarantined and seeded anew")
            driver.chronicle.quarantined(node_id, f"node {node_id}'s state differs from the majority's")
            driver.world.peers.send(Quarantine(node_id, driver.node_id, core.term, report.index, state_hash))
        driver.seeding.reported(report)

    def _is_disk_full(self) -> bool:
        """Whether the cluster takes no rows now. A write needs room here and on a majority; what still fits goes to deletes and elections.

        Of several that have room one can lead. A new leader does not know them yet: it goes by its predecessor's word until they told. To
        hand over blindly was tried: where all disks are full leadership then wanders for ever, and nobody ever says that they are.
        """
        driver, core, reports = self._driver, self._driver.core, self._driver.audit.reports
        low = {peer for peer, report in reports.items() if report.disk_low}
        if driver.store.disk_low():
            low.add(driver.node_id)
        voters = core.membership.voters
        if 2 * len(low & set(voters)) >= len(voters):
            return True
        if driver.node_id not in low or driver.handover.begin(among=reports):
            return False
        is_known = all(peer in reports for peer in voters if peer != driver.node_id and driver.handover.hears(peer))
        return is_known or driver.is_disk_full

    # Everyone's side.

    def asked(self, check: StateCheck) -> None:
        if check.sender == self._driver.core.leader_id and check.term == self._driver.core.term:
            self._asked = self.told = check
            self._driver.is_disk_full = check.disk_full
            self._report(check)

    def accused(self, message: Quarantine) -> None:
        """A word that was on its way while this node was seeded anew is about tables that are no more."""
        driver = self._driver
        is_meant = driver.store.tables.state_hash(message.index) == message.state_hash
        if is_meant and message.sender == driver.core.leader_id and message.term == driver.core.term:
            driver.quarantine(f"node {message.sender} says that this node's state differs from the majority's at index {message.index}")

    def applied(self, applied_index: int) -> None:
        if self._asked is not None and applied_index >= self._asked.index:
            self._report(self._asked)

    def _report(self, check: StateCheck) -> None:
        """At once, with the hash where the index is applied; and again when it is."""
        driver = self._driver
        tables = driver.store.tables
        state_hash = None
        if check.index <= tables.applied_index:
            self._asked = None
            state_hash = tables.state_hash(check.index)
        report = StateReport(
            to=check.sender,
            sender=driver.node_id,
            term=check.term,
            index=0 if state_hash is None else check.index,
            state_hash=state_hash or b"",
            life=driver.store.life(),
            disk_low=driver.store.disk_low(),
            is_suspect=driver.core.is_frozen,
            applied_index=tables.applied_index,
            spoilt=driver.seeding.spoilt,
        )
        driver.world.peers.send(report)
