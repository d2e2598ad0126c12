"""Each checker can fail: a quiet cluster is told one lie, or one thing in it is changed, and the checker that this concerns says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sim_bounds import FEW, bounds_problem, rest_problem
from sim_clients import Operation, check_history
from sim_history import check_linearizable
from sim_node import Process
from sim_quiet import follower, leader, quiet
from sim_world import Violated, World

from ddbd.commands import Answer, Insert
from ddbd.raft.messages import AppendEntries, AppendResponse, Heartbeat, RequestVote, VoteResponse
from ddbd.raft.types import Entry, EntryKind, HardState, Membership


def _another_leader(world: World) -> None:
    process = leader(world)
    world.checks._leaders[process.core.term] = ("9", 1)
    process.led_term = 0
    world.checks.after(process)


def _an_incomplete_leader(world: World) -> None:
    process, checks = leader(world), world.checks
    checks.committed[-1] = checks.committed[-1]._replace(term=checks.committed[-1].term + 1)
    process.led_term, process.core.term = 0, process.core.term + 1
    checks.after(process)


def _another_entry_at_the_same_place(world: World) -> None:
    process, entry = follower(world), world.checks.committed[-1]
    world.checks.saving(process, [entry._replace(data=b"another")], entry.index)


def _another_commit(world: World) -> None:
    entry = world.checks.committed[-1]
    world.checks._committed_entry(follower(world), entry._replace(data=b"another"))


def _a_commit_with_a_gap(world: World) -> None:
    world.checks._committed_entry(follower(world), Entry(len(world.checks.committed) + 2, 9, 0, EntryKind.EMPTY, b""))


def _a_commit_on_one_disk(world: World) -> None:
    process = leader(world)
    entry = Entry(len(world.checks.committed) + 1, process.core.term, 0, EntryKind.EMPTY, b"")
    world.checks._platters[process.node.id].terms[entry.index] = entry.term
    world.checks._committed_entry(process, entry)


def _a_term_that_goes_back(world: World) -> None:
    process = follower(world)
    process.core.term -= 1
    world.checks.after(process)


def _a_commit_that_goes_back(world: World) -> None:
    process = follower(world)
    process.core.commit_index -= 1
    world.checks.after(process)


def _an_applied_index_that_goes_back(world: World) -> None:
    process = follower(world)
    process.core.applied_index -= 1
    world.checks.after(process)


def _a_match_index_that_goes_back(world: World) -> None:
    process = leader(world)
    progress = process.core.leading.progress[follower(world).node.id]
    progress.match_index -= 1
    world.checks.after(process)


def look(world: World, process: Process) -> None:
    for _ in range(FEW):
        world.checks.after(process)


def _a_leader_that_cuts_its_log(world: World) -> None:
    process = leader(world)
    look(world, process)
    log = process.core.log
    process.core.commit_index = process.seen_commit = log.last_index - 1
    log.truncate(log.last_index)
    look(world, process)


def _a_second_vote_in_a_term(world: World) -> None:
    process = follower(world)
    world.checks.saved(process, HardState(9, "1", 0), [])
    world.checks.saved(process, HardState(9, "2", 0), [])


def _a_term_that_goes_back_on_the_disk(world: World) -> None:
    process = follower(world)
    world.checks.saved(process, HardState(process.core.term - 1, None, 0), [])


def _a_disk_that_forgot_its_vote(world: World) -> None:
    node = follower(world).node
    node.crash(power=False)
    world.checks._platters[node.id].vote = "9"
    node.start()


def _a_disk_that_forgot_entries(world: World) -> None:
    node = follower(world).node
    node.crash(power=False)
    platter = world.checks._platters[node.id]
    platter.terms[platter.last_index + 1] = platter.term
    node.start()


def _a_vote_that_is_not_saved(world: World) -> None:
    world.checks.sent(follower(world), VoteResponse("1", follower(world).node.id, 99, False, True))


def _a_candidacy_that_is_not_saved(world: World) -> None:
    world.checks.sent(follower(world), RequestVote("1", follower(world).node.id, 99, 1, 1, False, False))


def _an_acknowledgement_that_is_not_saved(world: World) -> None:
    process = follower(world)
    world.checks.sent(process, AppendResponse("1", process.node.id, process.core.term, 10_000, False, 0, 0))


def _a_leader_of_a_term_that_is_not_saved(world: World) -> None:
    world.checks.sent(leader(world), AppendEntries("2", "1", 99, 1, 1, (), 0))


def _a_heartbeat_of_a_term_that_is_not_saved(world: World) -> None:
    world.checks.sent(leader(world), Heartbeat("2", "1", 99, 0))


def _two_changes_at_once(world: World) -> None:
    process = leader(world)
    log, voters = process.core.log, process.core.membership.voters
    for number in (1, 2):
        membership = Membership(voters, (), (), ((voters[0], f"life{number}"),))
        log.append([Entry(log.last_index + 1, process.core.term, log.last_stamp, EntryKind.MEMBERSHIP, membership.to_bytes())])
    look(world, process)


def _a_change_in_one_step(world: World) -> None:
    process = leader(world)
    log, voters = process.core.log, process.core.membership.voters
    membership = Membership.of(voters[:1], voters[1:])
    log.append([Entry(log.last_index + 1, process.core.term, log.last_stamp, EntryKind.MEMBERSHIP, membership.to_bytes())])
    look(world, process)


def _another_membership(world: World) -> None:
    process = follower(world)
    process.core.log.memberships[0] = (0, Membership.of("12"))
    look(world, process)


def _another_state(world: World) -> None:
    process = follower(world)
    process.store.tables.rot()
    world.pass_time(2.0)


def _a_state_that_is_accused(world: World) -> None:
    world.checks.event(follower(world), "QUARANTINED: it differs")


def _a_write_applied_twice(world: World) -> None:
    outcomes = next(iter(world.checks.model.outcomes.values()))
    outcomes.append(outcomes[0]._replace(index=outcomes[0].index + 1))
    check_history(world)


def _some_write(world: World) -> Operation:
    """The last of its client that was done, so that nobody explains it away."""
    return next(
        each
        for client in world.clients
        for each in reversed(client.done)
        if isinstance(each.command, Insert) and each.answer is not None and not each.answer.code
    )


def _a_lost_write(world: World) -> None:
    del world.checks.model.outcomes[_some_write(world).tag]
    check_history(world)


def _another_answer(world: World) -> None:
    _some_write(world).answer = Answer("row_not_found", "", {})
    check_history(world)


def _a_refusal_that_was_none(world: World) -> None:
    _some_write(world).is_refused = True
    check_history(world)


def _a_write_before_what_was_seen(world: World) -> None:
    _some_write(world).seen_before = 10_000
    check_history(world)


def _some_read(world: World) -> Operation:
    return next(
        each for client in world.clients for each in client.done if each.command is None and each.row is not None and each.is_linearizable
    )


def _an_old_read(world: World) -> None:
    _some_read(world).seen_before = 10_000
    check_history(world)


def _a_read_of_what_nobody_wrote(world: World) -> None:
    read = _some_read(world)
    read.row = (read.row[0], "nobody's", read.row[2])
    check_history(world)


def _a_read_that_no_order_explains(world: World) -> None:
    read = _some_read(world)
    read.row = (read.row[0], "nobody's", read.row[2])
    check_linearizable(world)


def _a_select_that_lacks_a_row(world: World) -> None:
    _some_read(world).rows.pop()
    check_history(world)


def _a_select_that_no_replay_explains(world: World) -> None:
    _some_read(world).rows.pop()
    check_linearizable(world)


def _a_cluster_without_rest(world: World) -> None:
    follower(world).is_paused = True
    world._rest()


PLANTED: dict[str, tuple[Callable[[World], None], str]] = {
    what.__name__.strip("_"): (what, words)
    for what, words in (
        (_another_leader, "election safety"),
        (_an_incomplete_leader, "leader completeness"),
        (_another_entry_at_the_same_place, "log matching"),
        (_another_commit, "state-machine safety"),
        (_a_commit_with_a_gap, "is committed, "),
        (_a_commit_on_one_disk, "on the disks of"),
        (_a_term_that_goes_back, "term went back"),
        (_a_commit_that_goes_back, "commit went back"),
        (_an_applied_index_that_goes_back, "applied went back"),
        (_a_match_index_that_goes_back, "match index of node"),
        (_a_leader_that_cuts_its_log, "leader append-only"),
        (_a_second_vote_in_a_term, "it votes twice"),
        (_a_term_that_goes_back_on_the_disk, "on the disk"),
        (_a_disk_that_forgot_its_vote, "its disk forgot term"),
        (_a_disk_that_forgot_entries, "its disk forgot entries"),
        (_a_vote_that_is_not_saved, "VoteResponse"),
        (_a_candidacy_that_is_not_saved, "RequestVote"),
        (_an_acknowledgement_that_is_not_saved, "AppendResponse"),
        (_a_leader_of_a_term_that_is_not_saved, "AppendEntries"),
        (_a_heartbeat_of_a_term_that_is_not_saved, "Heartbeat"),
        (_two_changes_at_once, "are all uncommitted"),
        (_a_change_in_one_step, "their quorums need not meet"),
        (_another_membership, "it goes by"),
        (_another_state, "is not that of the others"),
        (_a_state_that_is_accused, "QUARANTINED"),
        (_a_write_applied_twice, "exactly once"),
        (_a_lost_write, "the log says []"),
        (_another_answer, "answered Answer"),
        (_a_refusal_that_was_none, "certainly not done"),
        (_a_write_before_what_was_seen, "is before what was seen"),
        (_an_old_read, "stale"),
        (_a_read_of_what_nobody_wrote, "the log says"),
        (_a_read_that_no_order_explains, "linearizability"),
        (_a_select_that_lacks_a_row, "selected"),
        (_a_select_that_no_replay_explains, "places in the log"),
        (_a_cluster_without_rest, "no rest"),
    )
}


def plant_and_look(plant: Callable[[World], None], world: World) -> None:
    plant(world)
    world._raise()


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_found(name: str) -> None:
    world = quiet()
    plant, words = PLANTED[name]
    with pytest.raises(Violated) as raised:
        plant_and_look(plant, world)
    told = str(raised.value)
    assert words in told.rpartition("\nseed=")[2], told.splitlines()[-1]
    # What a failure must show: the seed, what it turned on, and what happened.
    assert told.startswith("seed=7\nOptions(nodes=3")
    assert "VIOLATED: " in told


def at_rest() -> tuple[World, Process]:
    world = quiet()
    world.come_to_rest()
    return world, leader(world)


def test_at_rest_nothing_is_found() -> None:
    world, process = at_rest()
    assert rest_problem(process, world.checks.model) is None
    assert bounds_problem(process) is None


def test_a_clock_that_changes_its_rate_does_not_jump() -> None:
    clock = leader(quiet(seconds=1.0)).clock
    before = clock.seconds()
    clock.run_at(1.5)
    assert clock.seconds() == pytest.approx(before)


def test_what_is_left_of_a_call_is_found() -> None:
    world, process = at_rest()
    process.replica._driver.reads._open += 1
    assert rest_problem(process, world.checks.model) == "memory: at rest 1 open reads are left"


def test_marks_of_carried_writes_that_stay_are_found() -> None:
    world, process = at_rest()
    carried = process.replica._driver.carried
    carried._term = process.core.term
    carried._writes |= {("2", 3, seq) for seq in range(10)}
    assert rest_problem(process, world.checks.model) == "memory: at rest 10 carried writes are left"


def test_a_log_that_is_never_compacted_is_found() -> None:
    """As if its last checkpoint had been at what is applied now, and had dropped nothing."""
    world = quiet(checkpoint_entries=10_000, segment_bytes=600)
    world.come_to_rest()
    process = leader(world)
    assert rest_problem(process, world.checks.model) is None
    world.options = world.options._replace(tail_entries=1, checkpoint_entries=1)
    process.replica._driver.compaction._applied_at = process.core.applied_index
    assert "are needed" in str(rest_problem(process, world.checks.model))


def test_rows_that_are_other_ones_under_the_same_hash_are_found() -> None:
    world, process = at_rest()
    rows = next(rows for rows in process.store.tables._backend.rows.values() if rows)
    row_id, row = next(iter(rows.items()))
    rows[row_id] = (*row[:-1], "another")
    index = process.core.applied_index
    assert process.store.tables.state_hash(index) == world.checks.model.tables.state_hash(index)
    assert "the log says" in str(rest_problem(process, world.checks.model))


def test_a_cache_without_an_end_is_found() -> None:
    _, process = at_rest()
    log = process.core.log
    log._cache = log._cache * 2_000
    log.saved_index = process.core.commit_index = log.last_index
    assert "entries in the cache" in str(bounds_problem(process))


def test_appends_in_flight_without_an_end_are_found() -> None:
    world, process = at_rest()
    progress = process.core.leading.progress[follower(world).node.id]
    progress.inflight.extend([(1, 1)] * 1_000)
    assert "appends in flight" in str(bounds_problem(process))


def test_deadlines_that_are_never_swept_are_found() -> None:
    _, process = at_rest()
    process.replica._driver.proposals._deadlines += [(0.0, number, None) for number in range(10_000)]  # type: ignore[list-item]
    assert "deadlines of writes" in str(bounds_problem(process))
