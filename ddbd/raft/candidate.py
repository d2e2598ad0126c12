"""Elections: asking for pre-votes and votes, and answering them (Raft 5.2, 5.4.1; thesis 9.6).

follower --timeout--> pre-candidate --quorum would vote--> candidate --quorum voted--> leader. A pre-candidate changes nobody's term; it
asks again each tick, since an answer may be lost or a refusal may be a matter of milliseconds. Among equally fit nodes the lowest id goes
first, the others `stagger_ticks` later each; after a split vote the waits are random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbd.raft import follower, leader, quorum
from ddbd.raft.messages import RequestVote, VoteResponse
from ddbd.raft.types import Role, in_order

if TYPE_CHECKING:
    from ddbd.raft.core import Raft


def hurry(raft: Raft) -> None:
    """The leader's process is gone: no timeout needs to pass, only the ones with a lower id go first."""
    if raft.may_campaign:
        raft.timeout_ticks = min(raft.timeout_ticks, raft.elapsed_ticks + follower.rank(raft) * raft.config.stagger_ticks)
        if raft.elapsed_ticks >= raft.timeout_ticks:
            campaign(raft)


def campaign(raft: Raft) -> None:
    """Begins with the question whether it would be in vain."""
    assert raft.leading is None, f"{raft.id} leads term {raft.term} and campaigns"
    if raft.leader_id is not None:
        raft.lost_leader_id = raft.leader_id
    raft.role, raft.leader_id = Role.PRE_CANDIDATE, None
    raft.votes = {raft.id: True}
    _wait(raft)
    if quorum.is_quorum(raft.membership, raft.votes):
        campaign_now(raft, is_transfer=False)
    else:
        _ask(raft, raft.term + 1, pre=True, transfer=False)


def ask_again(raft: Raft) -> None:
    """What was granted before still stands: answers may take longer than a tick."""
    _ask(raft, raft.term + 1, pre=True, transfer=False)


def campaign_now(raft: Raft, is_transfer: bool = True, holds: bool = False) -> None:
    """A real election in a new term. Its requests, and this node's own vote, wait for the disk."""
    raft.held_until_tick = raft.ticks + raft.config.hold_ticks if holds else 0
    if raft.leader_id is not None:
        raft.lost_leader_id = raft.leader_id
    raft.raise_term(raft.term + 1, raft.id)
    raft.role, raft.leader_id = Role.CANDIDATE, None
    raft.votes = {}
    _wait(raft)
    _ask(raft, raft.term, pre=False, transfer=is_transfer)


def _wait(raft: Raft) -> None:
    raft.elapsed_ticks = 0
    timeout = raft.config.election_timeout_ticks
    # Shorter than a follower's: everyone who waits here knows that there is no leader, and a split vote should not cost a second.
    raft.timeout_ticks = raft.dice.randrange(timeout // 2, timeout + 1)


def _ask(raft: Raft, term: int, pre: bool, transfer: bool) -> None:
    log = raft.log
    for peer in raft.membership.nodes:
        if peer != raft.id and raft.membership.is_voter(peer):
            life = raft.membership.life_of(peer)
            raft.send(RequestVote(peer, raft.id, term, log.last_index, log.last_term, pre, transfer, life))


def answer_vote(raft: Raft, message: RequestVote) -> None:
    """Grants at most one real vote a term, to a log that is up-to-date, and only under this disk's life.

    A node that lost its disk forgot its votes and acknowledgements. It votes again for those whose log has its promotion, committed or
    not: that was proposed only after the demotion had been committed, and with it all that the former life could have decided. This
    node's own log is not asked (thesis 4.2.2): it may lag behind, and its vote may be the one that a leader needs.
    """
    is_free = message.pre or raft.vote in (None, message.sender)
    believes = raft.leader_id is not None and not message.pre and raft.vote != message.sender
    granted = (
        message.life == raft.config.life
        and is_free
        and not believes
        and (not message.pre or message.term > raft.term)
        and raft.log.is_up_to_date(message.last_index, message.last_term)
        and not (message.pre and _goes_first(raft, message))
    )
    term = message.term if message.pre and granted else raft.term
    if granted and not message.pre:
        raft.vote = message.sender
        raft.elapsed_ticks = 0
    raft.send(VoteResponse(message.sender, raft.id, term, message.pre, granted))


def _goes_first(raft: Raft, message: RequestVote) -> bool:
    """Whether this node is itself about to win, being as fit and first in order. For a moment only: its own requests may be lost."""
    order = in_order({raft.id, message.sender, *raft.membership.nodes})
    return (
        raft.role in (Role.PRE_CANDIDATE, Role.CANDIDATE)
        and raft.elapsed_ticks < raft.config.stagger_ticks
        and order.index(raft.id) < order.index(message.sender)
        and (message.last_index, message.last_term) == (raft.log.last_index, raft.log.last_term)
    )


def count_vote(raft: Raft, message: VoteResponse) -> None:
    """Answers to another question (an older term, a pre-vote while campaigning) do not count (catalogue: Xraft#33)."""
    if message.pre:
        is_ours = raft.role is Role.PRE_CANDIDATE and (message.term == raft.term + 1 if message.granted else True)
    else:
        is_ours = raft.role is Role.CANDIDATE and message.term == raft.term
    if not is_ours:
        return
    raft.votes[message.sender] = message.granted
    _decide(raft)


def count_own_vote(raft: Raft) -> None:
    raft.votes[raft.id] = True
    _decide(raft)


def _decide(raft: Raft) -> None:
    granted = {node_id for node_id, is_granted in raft.votes.items() if is_granted}
    if quorum.is_quorum(raft.membership, granted):
        if raft.role is Role.PRE_CANDIDATE:
            campaign_now(raft, is_transfer=False)
        else:
            leader.begin(raft)
