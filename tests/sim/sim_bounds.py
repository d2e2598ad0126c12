"""More checks from outside: quorums that meet while the membership changes, a leader that only appends, nothing that is kept for ever."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from ddbd.raft.types import Membership, NodeId
from ddbd.storage.memory_tables import Image

if TYPE_CHECKING:
    from sim_model import Model
    from sim_node import Process

FEW = 4  # events of a process between two looks at its log
MANY = 64  # and at what it holds
CALLS_MAX = 5_000  # no run asks for more at once
READS_LEFT_MAX = 200  # the node's own, which ask how old its tables are; they go a minute after nobody answered
BATCH_MAX = 100  # entries of one save, in runs as small as these


def decides(membership: Membership, some: Collection[NodeId]) -> bool:
    """More than half of the voters, and while the membership changes of those before, too. Counted here: the product may count wrong."""
    return all(2 * len({*voters} & {*some}) > len(voters) for voters in (membership.voters, membership.outgoing) if voters)


@cache
def quorums_meet(before: Membership, after: Membership) -> bool:
    """Whether each quorum of the one shares a node with each quorum of the other. Of two sets that share none, one is within the rest."""
    ids = sorted({*before.nodes, *after.nodes})
    for number in range(1 << len(ids)):
        some = [node_id for place, node_id in enumerate(ids) if number >> place & 1]
        rest = [node_id for node_id in ids if node_id not in some]
        if decides(before, some) and decides(after, rest):
            return False
    return True


def configuration_problem(process: Process, committed: int) -> str | None:
    """Raft 6: at most one change is not committed, and no step leads to quorums that could decide without each other."""
    memberships = process.core.log.memberships
    uncommitted = [index for index, _ in memberships if index > committed]
    if len(uncommitted) > 1:
        return f"configuration: the changes at {uncommitted} are all uncommitted"
    for (_, before), (index, after) in pairwise(memberships):
        if before.voters and not quorums_meet(before, after):
            return f"configuration: entry {index} leads from {before} to {after}, and their quorums need not meet"
    return None


def membership_problem(process: Process, model: Model, is_installed: bool = False) -> str | None:
    """A node goes by the membership of the log. One with an empty disk knows of none until an entry or a snapshot tells it."""
    log, index = process.core.log, process.core.commit_index
    ours, theirs = log.membership_at(index), model.membership_at(index)
    if ours != theirs and (ours.voters or is_installed):
        return f"configuration: at {index} it goes by {ours}, the log says {theirs}"
    return None


class Leading:
    """What a leader's log was when it was last looked at: it never overwrites or removes an entry of its own log (Raft figure 3)."""

    def __init__(self) -> None:
        self._term = self._last_index = self._last_term = 0

    def problem(self, process: Process) -> str | None:
        core, log = process.core, process.core.log
        known = (self._last_index, self._last_term) if self._term == core.term else (0, 0)
        self._term, self._last_index, self._last_term = core.term, log.last_index, log.last_term
        index, term = known
        if index <= log.base.index or (index, term) == (log.last_index, log.last_term):
            return None
        if log.term_at(index) != term:
            return f"leader append-only: in term {core.term} it led with entry {index} of term {term}, now its log ends at {log.last_index}"
        return None


def bounds_problem(process: Process) -> str | None:
    """Queues and caches, against the limits that stand in the config."""
    core, driver = process.core, process.replica._driver
    limits, log = process.node.world.config.limits, core.log
    needed = log.last_index - min(log.saved_index, core.commit_index) + BATCH_MAX  # these cannot leave the memory, or at the next save
    if len(log._cache) > limits.cache_entries_max + needed:
        return f"memory: {len(log._cache)} entries in the cache, {needed} of them needed, the limit is {limits.cache_entries_max}"
    for peer, progress in core.leading.progress.items() if core.leading is not None else ():
        if len(progress.inflight) > limits.append_messages_max:
            return f"memory: {len(progress.inflight)} appends in flight to node {peer}, the limit is {limits.append_messages_max}"
    held = {
        "open writes": driver.proposals.open_count,
        "deadlines of writes": len(driver.proposals._deadlines),
        "carried writes": len(driver.carried._writes),
        "deadlines of reads": len(driver.reads._deadlines),
        "reads that are asked for": len(driver.reads._asked),
        "confirmed reads": len(driver.reads._confirmed),
    }
    for what, count in held.items():
        if count > CALLS_MAX:
            return f"memory: {count} {what}"
    return None


def rest_problem(process: Process, model: Model) -> str | None:
    """When all calls are answered, nothing of them is left; the log is no longer than it may be; and the rows are those of the model.

    The chained hash travels with a snapshot, so equal hashes alone would not show that its rows are other ones.
    """
    core, driver, options = process.core, process.replica._driver, process.node.world.options
    left = {
        "open writes": driver.proposals.open_count,
        "open reads": driver.reads._open,
    }
    # Those of an earlier leadership are forgotten when the next one begins; a late copy of one may be in the log and not applied.
    if driver.carried._term == core.term and len(driver.carried._writes) > core.log.last_index - core.applied_index:
        return f"memory: at rest {len(driver.carried._writes)} carried writes are left"
    for what, count in left.items():
        if count:
            return f"memory: at rest {count} {what} are left"
    if len(driver.reads._asked) + len(driver.reads._confirmed) > READS_LEFT_MAX:
        return f"memory: at rest {len(driver.reads._asked)} reads are asked for and {len(driver.reads._confirmed)} confirmed"
    # Whole segments are dropped, however long one is, at a checkpoint that may be the next one; once a snapshot was on offer, later.
    needed_from = driver.compaction._applied_at - options.tail_entries - 2 * options.checkpoint_entries
    headers = [segment.header for segment in process.store.log._segments.values()]
    places = sorted(header.index for header in headers)
    is_young = driver.compaction._applied_at == process.applied_at_start  # no checkpoint yet in this life
    # A log cannot begin with a snapshot's place while entries behind that lie in older segments.
    is_kept = process.carrier.was_used or is_young or driver.compaction._is_under_way or any(header.installed for header in headers)
    if not is_kept and len(places) > 1 and places[1] <= needed_from:
        return f"memory: the log has segments from {places[:2]} on, entries from {needed_from} on are needed"
    ours, theirs = (msgspec.msgpack.decode(tables._backend.image(), type=Image) for tables in (process.store.tables, model.tables))
    if _content(ours) != _content(theirs):
        return f"its tables hold {_content(ours)}, the log says {_content(theirs)}"
    return None


def _content(image: Image) -> object:
    """Without the order in which a node came to know them."""
    tables = sorted((db_id, name, columns, sorted(rows)) for _, db_id, name, columns, rows in image.tables)
    return sorted(image.databases), tables, sorted(image.windows.items()), sorted(image.keys)
