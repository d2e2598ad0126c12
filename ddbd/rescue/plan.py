"""Which of the directories that are left knows most, what may be lost at most, and when it must not be done at all.

What was acknowledged is on a majority. Where less than a majority is left, some of it may be on lost nodes alone, and nobody can tell how
much. The best survivor is the one that would have won an election among them: highest term of the last entry, then the longest log (Raft
5.4.1). Whatever another survivor acknowledged in the same or an earlier term is in that log too.

The others, survivors and lost ones alike, come back empty: their logs may hold entries that are no part of the new history, and a log
without such entries cannot be told from one with them where the best one's entries after that were never compared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ddbd.config import Config
from ddbd.errors import ConfigError
from ddbd.raft.quorum import is_quorum, majority
from ddbd.raft.types import Membership, NodeId, in_order
from ddbd.rescue.look import BAD, Seen
from ddbd.storage.fence import RECOVERY

FORMER_MAX = 8  # ids of former clusters that a directory remembers


class Plan(msgspec.Struct, frozen=True):
    """Everything that is going to be done, written down before it is. It is the content of `recovery.json`."""

    node_id: NodeId
    cluster_id: str  # the new one
    former: tuple[str, ...]  # newest first
    index: int  # of the entry that makes this node the only voter
    term: int
    membership: str
    life: str = ""

    @property
    def membership_value(self) -> Membership:
        return Membership.from_bytes(self.membership.encode())


def usable(seen: Seen) -> bool:
    """Whether it can be gone on from: a node of a cluster, and nothing wrong but that a recovery of it was begun."""
    is_whole = all(finding.level != BAD or finding.place == RECOVERY for finding in seen.findings)
    return is_whole and seen.identity is not None and seen.identity.formed and seen.log is not None


def votes(seen: Seen) -> bool:
    """A node that lost its disk and has not got its vote back may lack anything that it once acknowledged."""
    identity, membership = seen.identity, seen.membership
    assert identity is not None and membership is not None, "only usable directories have a vote"  # noqa: PT018
    return membership.is_voter(identity.node_id) and membership.life_of(identity.node_id) == identity.life


def node_of(seen: Seen) -> NodeId:
    return "?" if seen.identity is None else seen.identity.node_id


def row(seen: Seen) -> dict[str, Any]:
    """For a table: what the directory has."""
    log, hard = seen.log, None if seen.log is None else seen.log.hard_state
    wrong = next((finding.what for finding in seen.findings if finding.level == BAD and finding.place != RECOVERY), None)
    if wrong is None and usable(seen) and not votes(seen):
        wrong = "had lost its data and did not vote again yet: it may lack acknowledged writes"
    return {
        "node": node_of(seen),
        "directory": str(seen.path),
        "cluster": None if seen.identity is None else seen.identity.cluster_id[:8],
        "last_index": None if log is None else log.last_index,
        "last_term": None if log is None else log.term(log.last_index),
        "commit": None if hard is None else hard.commit,
        "applied": None if seen.progress is None else seen.progress.index,
        "term": None if hard is None else hard.term,
        "vote": None if hard is None else hard.vote,
        "trouble": wrong,
    }


def rank(seen: Seen) -> tuple[bool, int, int]:
    assert seen.log is not None, "only usable directories are ranked"
    return votes(seen), seen.log.term(seen.log.last_index), seen.log.last_index


def best_of(config: Config, found: Sequence[Seen]) -> Seen:
    """Raises ConfigError where it must not be done, and says what to do instead."""
    good = [seen for seen in found if usable(seen)]
    _check_nodes(config, good)
    begun = [seen for seen in good if seen.is_recovering]
    if len(begun) > 1:
        raise ConfigError(f"{begun[0].path} and {begun[1].path}: a recovery was begun on both; finish the one that you want, by itself")
    if begun:
        return begun[0]
    if not good:
        raise ConfigError("none of these directories can be gone on from; what is wrong with each stands in the table above")
    order = in_order(node_of(seen) for seen in good)
    best = max(good, key=lambda seen: (*rank(seen), -order.index(node_of(seen))))
    _check_quorum(best, good)
    return best


def _check_nodes(config: Config, good: Sequence[Seen]) -> None:
    ids = [node_of(seen) for seen in good]
    for node_id in ids:
        config.node(node_id)
        if ids.count(node_id) > 1:
            raise ConfigError(f"two of the directories are of node {node_id}; one is an old copy: leave it out")
    clusters = {_cluster_of(seen): seen for seen in good}
    if len(clusters) > 1:
        which = ", ".join(f"{seen.path} of {cluster_id}" for cluster_id, seen in clusters.items())
        raise ConfigError(f"the directories belong to different clusters: {which}; leave out those that are none of yours")


def _cluster_of(seen: Seen) -> str:
    """Before the recovery, where one was begun: its own directory may have the new id already, and the others not their fences yet."""
    assert seen.identity is not None, "a usable directory has an identity"
    return read_plan(seen.path).former[0] if seen.is_recovering else seen.identity.cluster_id


def _check_quorum(best: Seen, good: Sequence[Seen]) -> None:
    membership = best.membership
    assert membership is not None, "a usable directory has a log"
    there = {node_of(seen) for seen in good if votes(seen)}
    if is_quorum(membership, there):
        names = ", ".join(in_order(there))
        raise ConfigError(f"nodes {names} are a majority of {', '.join(membership.voters)}: start them, nothing has to be given up")


def plan_for(config: Config, best: Seen, new_id: str) -> Plan:
    """`new_id` is a cluster id that was never used. A plan that was begun is gone on with."""
    if best.is_recovering:
        return read_plan(best.path)
    identity, log = best.identity, best.log
    assert identity is not None and log is not None, "only a usable directory is gone on from"  # noqa: PT018
    learners = [node_id for node_id in config.node_ids if node_id != identity.node_id]
    lives = ((identity.node_id, identity.life),) if identity.life else ()
    membership = Membership.of([identity.node_id], learners)._replace(lives=lives)
    former = (identity.cluster_id, *identity.former)[:FORMER_MAX]
    term = max(log.hard_state.term, log.term(log.last_index)) + 1
    return Plan(identity.node_id, new_id, former, log.last_index + 1, term, membership.to_bytes().decode(), identity.life)


def read_plan(path: Path) -> Plan:
    """Raises ConfigError."""
    try:
        plan = msgspec.json.decode((path / RECOVERY).read_bytes(), type=Plan)
        _ = plan.membership_value
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path}/{RECOVERY}: {error}; it is damaged, and nothing can be said of what was begun") from error
    return plan


def losses(best: Seen, found: Sequence[Seen]) -> list[str]:
    """What the operator has to know before, in sentences."""
    log, membership = best.log, best.membership
    assert log is not None and membership is not None, "a usable directory has a log"  # noqa: PT018
    node_id, last = node_of(best), log.last_index
    committed = f"knows that those up to {log.hard_state.commit} were committed"
    said = [f"node {node_id} has entries up to {last} (term {log.term(last)}), and {committed}"]
    there = {node_of(seen) for seen in found if usable(seen) and votes(seen)}
    lost = [each for each in membership.voters if each not in there]
    if best.is_recovering:
        said.append("what may be lost was said when this recovery was begun; it cannot be told from this log any more")
    elif not votes(best):
        said.append(f"node {node_id} had lost its data before and was catching up: it may lack ANY acknowledged write")
    elif len(lost) < majority(len(membership.voters)) and not membership.is_joint:
        said.append("no acknowledged write is lost: each is on one of these nodes at least, and so on this one")
    else:
        names = " and ".join(lost)
        said.append(
            f"lost for good, at most: what nodes {names} acknowledged behind entry {last} without node {node_id}; nobody can tell how much"
        )
    others = [seen for seen in found if seen is not best and seen.log is not None]
    known = max((seen.log.hard_state.commit for seen in others if seen.log is not None), default=0)
    if known > last:
        said.append(f"entries {last + 1} to {known} WERE committed, by what another directory says, and are lost")
    longer = [(node_of(seen), seen.log.last_index) for seen in others if seen.log is not None and seen.log.last_index > last]
    said += [f"node {other} has entries up to {end}: those behind {last} are given up" for other, end in longer]
    said.append("entries that were not committed are kept too: a write that was answered 504, or not at all, may be there")
    return said
