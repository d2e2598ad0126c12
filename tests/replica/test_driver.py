"""The driver by itself: one node of three, what it is told by hand, what it sends, and when it must end the process."""

from __future__ import annotations

import pytest
from replica_kit import make_config
from replica_lonely import FOUNDERS, Lonely, command, lead, outcome

from ddbd.commands import Answer, Column, CreateTable, InitDatabase, Proposal, Register, decode_proposal, encode_proposal
from ddbd.errors import Corrupt, StorageFailed
from ddbd.raft.messages import (
    AppendResponse,
    Forward,
    Heartbeat,
    HeartbeatResponse,
    RequestVote,
    StateCheck,
    StateReport,
    VoteResponse,
)
from ddbd.raft.types import Entry, EntryKind
from ddbd.replica import Replica
from ddbd.storage.memory import MemoryLog


@pytest.fixture
def lonely() -> Lonely:
    return Lonely()


# What ends the process.


def ended(node: Lonely, kind: type[BaseException]) -> None:
    """Told once; then it is silent, and no timer is left."""
    assert [type(error) for error in node.fatal] == [kind], node.fatal
    assert node.driver.is_stopped
    node.peers.sent.clear()
    node.replica.tick()
    node.receive(Heartbeat("1", "2", 9, 1))
    node.replica.peer_refused("2")
    node.replica.peer_connected("2")
    assert node.peers.sent == []
    assert node.clock.getDelayedCalls() == []
    assert len(node.fatal) == 1


def test_a_save_that_fails_later_ends_the_node() -> None:
    node = Lonely(by_hand=True)
    node.receive(Heartbeat("1", "2", 1, 1))
    node.log.fail()
    ended(node, StorageFailed)


def test_a_save_that_raises_at_once_ends_the_node() -> None:
    node = Lonely(by_hand=True)
    node.receive(Heartbeat("1", "2", 1, 1))
    opened = node.log._open
    node.log.fail()
    assert opened is not None
    second = Lonely()
    second.log._failed = True
    second.receive(Heartbeat("1", "2", 1, 1))
    ended(second, StorageFailed)


def test_an_error_after_a_save_ends_the_node_too() -> None:
    """It is raised in the callback of the save, where nobody would hear of it."""
    node = Lonely(by_hand=True)
    node.peers.breaks_on = VoteResponse
    node.receive(RequestVote("1", "2", 1, 0, 0, False, False))
    node.log.fire()
    ended(node, ValueError)


def test_an_entry_that_cannot_be_applied_ends_the_node(lonely: Lonely) -> None:
    lonely.append(command(1, b"\xc1 no proposal"), commit=1)
    ended(lonely, Corrupt)


def test_a_message_that_breaks_an_invariant_ends_the_node(lonely: Lonely) -> None:
    lonely.receive(Heartbeat("1", "2", 1, 1))
    lonely.receive(Heartbeat("1", "3", 1, 1))
    ended(lonely, AssertionError)


def test_an_error_after_a_refused_connection_ends_the_node_too(lonely: Lonely) -> None:
    """The caller is a failed dial: it must go on dialling, and could only log it."""
    lonely.receive(Heartbeat("1", "2", 1, 1))
    lonely.dice.loaded = True
    lonely.replica.peer_refused("2")
    ended(lonely, ValueError)


# The order of a turn.


def test_a_vote_waits_for_its_save() -> None:
    node = Lonely(by_hand=True)
    node.receive(RequestVote("1", "2", 1, 0, 0, False, False))
    assert node.peers.of(VoteResponse) == []
    node.log.fire()
    assert [each.granted for each in node.peers.of(VoteResponse)] == [True]


def test_heartbeats_are_answered_while_a_save_is_under_way() -> None:
    node = Lonely(by_hand=True)
    node.receive(Heartbeat("1", "2", 1, 1))
    node.log.fire()
    node.turn()
    node.append(command(1, encode_proposal(Proposal("2", 0, 0, 0, Register("2", 5)))), commit=0)
    assert node.log.saving
    node.peers.sent.clear()
    node.receive(Heartbeat("1", "2", 1, 2))
    assert [each.round for each in node.peers.of(HeartbeatResponse)] == [2]
    assert node.peers.of(AppendResponse) == []
    node.log.fire()
    assert [each.index for each in node.peers.of(AppendResponse)] == [1]


def test_what_was_saved_after_the_end_says_nothing_any_more() -> None:
    node = Lonely(by_hand=True)
    node.receive(RequestVote("1", "2", 1, 0, 0, False, False))
    node.replica.halt()
    node.log.fire()
    assert node.peers.sent == []
    assert node.clock.getDelayedCalls() == []


# Writes that are carried.


def test_a_write_is_carried_to_the_leader_and_answered_when_it_comes_back(lonely: Lonely) -> None:
    lonely.follow()
    got = outcome(lonely.replica.propose(InitDatabase("d"), 5.0))
    lonely.turn()
    (forward,) = lonely.peers.of(Forward)
    assert (forward.to, forward.sender) == ("2", "1")
    lonely.append(command(2, forward.proposals[0]), commit=2)
    assert isinstance(got[0], Answer)


def test_large_writes_are_carried_in_several_messages(lonely: Lonely) -> None:
    lonely.follow()
    columns = tuple(Column(f"c{number:04}" + "x" * 50) for number in range(9_000))
    for number in range(4):
        outcome(lonely.replica.propose(CreateTable(None, f"t{number}", columns), 5.0))
    lonely.turn()
    assert [len(each.proposals) for each in lonely.peers.of(Forward)] == [1, 1, 1, 1]


def test_a_write_that_meets_a_handover_is_appended_when_that_comes_to_nothing(lonely: Lonely) -> None:
    """The new leader is told to hand over before the turn in which it would repeat what it had sent to the old one."""
    lonely.follow()
    got = outcome(lonely.replica.propose(InitDatabase("d"), 60.0))
    lonely.turn()
    lead(lonely)
    assert lonely.core.transfer("3")
    lonely.turn()
    for _ in range(lonely.core.config.election_timeout_ticks + 1):
        lonely.replica.tick()
        lonely.receive(HeartbeatResponse("1", "3", 2, 0, 1))
    assert lonely.core.leading.transfer_to is None
    lonely.receive(AppendResponse("1", "3", 2, lonely.core.log.last_index, False, 0, 0))
    lonely.turn()
    assert isinstance(got[0], Answer)


NO_MESSAGEPACK = b"\xc1"
NO_UTF8 = b"\x97\xa1\xff\x00\x00\x00\x00\xa0\xc4\x00"
TOO_DEEP = b"\x97\xa13\x00\x00\x00\x96\xa6insert\xc0\xa1t\x91\x92\xa1a\x81\xa1v" + b"\x91" * 50_000 + b"\x01"


@pytest.mark.parametrize("unreadable", [NO_MESSAGEPACK, NO_UTF8, TOO_DEEP], ids=["no MessagePack", "no UTF-8", "too deep"])
def test_a_leader_survives_whatever_is_carried_to_it(lonely: Lonely, unreadable: bytes) -> None:
    """It would be carried to the next leader as well, and end one after the other."""
    lonely.follow()
    lead(lonely)
    lonely.receive(Forward("1", "3", 2, (unreadable,)))
    assert lonely.fatal == []
    assert len([event for event in lonely.events if "cannot be read" in event]) == 1


def test_what_waits_in_the_leaders_log_is_not_appended_again(lonely: Lonely) -> None:
    """A node repeats what it hears nothing of: copies would fill the log just when it is slow."""
    lonely.follow()
    lead(lonely)
    lonely.turn()
    last = lonely.core.log.last_index
    first, second = (encode_proposal(Proposal("3", 5, seq, 1, InitDatabase("d"))) for seq in (1, 2))
    registers = [encode_proposal(Proposal("3", 0, 0, 0, Register("3", nonce))) for nonce in (7, 8)]
    lonely.receive(Forward("1", "3", 2, (first, registers[0])))
    assert lonely.core.log.last_index == last + 2
    lonely.receive(Forward("1", "3", 2, (first, registers[0], second)))
    assert lonely.core.log.last_index == last + 3
    lonely.receive(Forward("1", "3", 2, (registers[1],)))
    assert lonely.core.log.last_index == last + 4, "another start of the node registers anew"
    lonely.receive(AppendResponse("1", "3", 2, last + 4, False, 0, 0))
    lonely.turn()
    assert lonely.core.applied_index == last + 4
    lonely.receive(Forward("1", "3", 2, (first, registers[1])))
    assert lonely.core.log.last_index == last + 5, "an applied write is forgotten here, and apply refuses the copy; a registration is known"


def test_a_leader_drops_what_it_cannot_read_and_what_is_not_the_senders(lonely: Lonely) -> None:
    """No replica could apply the one; the other would let a node answer for another one."""
    lonely.follow()
    lead(lonely)
    lonely.turn()
    last = lonely.core.log.last_index
    good = encode_proposal(Proposal("3", 5, 1, 1, InitDatabase("d")))
    lonely.receive(Forward("1", "3", 2, (good, b"\xc1")))
    lonely.receive(Forward("1", "2", 2, (good,)))
    assert lonely.core.log.last_index == last
    assert len([event for event in lonely.events if "dropped" in event]) == 2
    lonely.receive(Forward("1", "3", 2, (good,)))
    assert lonely.core.log.last_index == last + 1


def test_a_carried_write_is_not_carried_any_further(lonely: Lonely) -> None:
    lonely.follow()
    lonely.receive(Forward("1", "3", 1, (encode_proposal(Proposal("3", 5, 1, 1, InitDatabase("d"))),)))
    assert lonely.peers.of(Forward) == []


def test_stamps_go_on_from_the_last_one_by_this_nodes_own_clock(lonely: Lonely) -> None:
    lonely.append(Entry(1, 1, 5_000, EntryKind.EMPTY, b""), commit=0)
    lead(lonely)
    lonely.turn()
    lonely.clock.advance(0.25)
    proposal = encode_proposal(Proposal("3", 0, 0, 0, Register("3", 9)))
    lonely.receive(Forward("1", "3", 2, (proposal,)))
    entry = lonely.core.log.entries(lonely.core.log.last_index, lonely.core.log.last_index + 1, 1)[0]
    assert decode_proposal(entry.data).origin == "3"
    assert entry.stamp == 5_250


# What the leader asks.


def test_a_check_is_answered_at_once_and_again_once_it_is_applied(lonely: Lonely) -> None:
    lonely.follow()
    lonely.receive(StateCheck("1", "2", 1, 2, False, 2, ()))
    lonely.append(command(2, encode_proposal(Proposal("2", 0, 0, 0, Register("2", 5)))), commit=2)
    early, late = lonely.peers.of(StateReport)
    assert (early.index, early.state_hash) == (0, b"")
    assert (late.index, late.state_hash) == (2, lonely.store.tables.state_hash(2))
    assert (late.life, late.disk_low, late.is_suspect, late.applied_index) == ("", False, False, 2)


def test_a_check_of_a_former_leader_is_not_answered(lonely: Lonely) -> None:
    lonely.follow()
    lonely.receive(StateCheck("1", "3", 1, 1, True, 1, ()))
    assert lonely.peers.of(StateReport) == []
    assert not lonely.driver.is_disk_full


def test_tables_that_are_not_of_this_log_are_refused() -> None:
    node = Lonely()
    node.append(command(1, encode_proposal(Proposal("2", 0, 0, 0, Register("2", 5)))), commit=1)
    node.store.log = MemoryLog(FOUNDERS)
    with pytest.raises(Corrupt, match="at index 1"):
        Replica(make_config(), "1", node.store, node.driver.world)
