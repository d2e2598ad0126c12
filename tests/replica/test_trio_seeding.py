"""Three replicas: nodes that lost their data or were away for long."""

from __future__ import annotations

import pytest
from replica_kit import SMALL, Cluster, MemoryNode, fill, flip, insert, lines, update

from ddbd.errors import OutcomeUnknown
from ddbd.raft.messages import AppendEntries, StateReport


@pytest.fixture
def trio() -> Cluster:
    """Keeps little of its log."""
    return Cluster(limits=SMALL).set_up()


def is_whole(trio: Cluster) -> bool:
    """All three vote, and no change is under way."""
    core = trio.nodes["1"].core
    return core.membership.voters == ("1", "2", "3") and not core.membership.is_joint and core.commit_index >= core.log.membership_index


def former_life_of(node_id: str, leader: MemoryNode) -> StateReport:
    """As the node reported before it was wiped."""
    return StateReport(leader.id, node_id, leader.core.term, 0, b"", "", False, False, 0, "")


# Away for long.


def test_a_node_that_was_away_long_catches_up_by_a_snapshot(trio: Cluster) -> None:
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 100)
    trio.run(1.0)
    assert trio.nodes["1"].core.log.base.index > 30, "the log of the leader no longer reaches back"
    trio.nodes["3"].start()
    trio.settle()
    assert len(lines(trio.nodes["3"].events, "installed a snapshot")) == 1
    trio.until(trio.agree)
    fill(trio, trio.nodes["3"], 3, "later")


def test_a_node_that_was_away_for_a_moment_catches_up_from_the_log(trio: Cluster) -> None:
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 5)
    trio.nodes["3"].start()
    trio.settle()
    trio.until(trio.agree)
    assert lines(trio.nodes["3"].events, "snapshot") == []


def test_a_leader_whose_state_another_node_disputes_seeds_nobody(trio: Cluster) -> None:
    """Else its state would be the majority's, right or wrong (simulator: seed 237)."""
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 100)
    trio.run(1.0)
    flip(trio.nodes["1"], "fill-50")
    changed = trio.nodes["2"].write(update("fill-50", 2))
    trio.done(changed)
    trio.nodes["3"].start()
    trio.run(15.0)
    assert lines(trio.nodes["3"].events, "installed") == []
    assert len(lines(trio.nodes["1"].events, "ALARM")) == 1
    assert not trio.nodes["1"].replica.status()["healthy"]


def test_the_last_follower_of_a_majority_is_seeded_though_nobody_can_vouch_for_the_leader(trio: Cluster) -> None:
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 100)
    trio.run(1.0)
    trio.nodes["2"].crash()
    trio.nodes["3"].start()
    trio.until(lambda: lines(trio.nodes["3"].events, "installed"))
    fill(trio, trio.nodes["3"], 3, "later")


def test_all_who_can_vouch_for_the_leader_are_enough_where_they_are_no_majority() -> None:
    """Three of five run, and the third of them needs a snapshot: without it nothing is ever committed again (simulator: seed 80361)."""
    five = Cluster(5, limits=SMALL).set_up()
    for node_id in ("3", "5"):
        five.nodes[node_id].crash()
    fill(five, five.nodes["2"], 100)
    five.run(1.0)
    five.nodes["4"].crash()
    five.nodes["3"].start()
    five.until(lambda: lines(five.nodes["3"].events, "installed"), 5.0)
    fill(five, five.nodes["3"], 3, "later")


def test_a_wait_for_witnesses_begins_anew_for_another_follower(trio: Cluster) -> None:
    """Else the alarm would come for a snapshot that nobody was asked about yet."""
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 100)
    trio.run(1.0)
    leader = trio.nodes["1"]
    leader.driver.audit.AGE_MAX = 10**9  # no check comes to an end any more, so nobody vouches
    trio.nodes["3"].start()
    trio.until(lambda: lines(leader.events, "made a snapshot"))
    trio.run(5.0)
    trio.nodes["3"].crash()
    trio.run(20.0)
    trio.nodes["3"].start()
    trio.run(5.0)
    assert lines(leader.events, "ALARM") == []


def test_a_snapshot_that_is_spoilt_on_its_senders_disk_is_made_anew(trio: Cluster) -> None:
    """Else it would be fetched again and again."""
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 100)
    trio.nodes["3"].start()
    trio.nodes["3"].carrier.fetch_seconds = 1.0
    published = trio.nodes["1"].carrier.published
    trio.until(lambda: published)
    (token,) = published
    published[token] = published[token][:-1]
    trio.until(lambda: lines(trio.nodes["3"].events, "installed"))
    assert len(lines(trio.nodes["1"].events, "is spoilt, says node 3")) == 1
    assert token not in published
    trio.until(trio.agree)


def test_a_snapshot_is_kept_as_long_as_it_is_fetched_also_when_another_node_leads(trio: Cluster) -> None:
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 100)
    sender = trio.nodes["1"]
    trio.nodes["3"].start()
    trio.until(lambda: sender.carrier.published)
    trio.nodes["3"].crash()
    sender.core.step_down()
    trio.until(lambda: trio.leader is trio.nodes["2"].core or not sender.core.is_leader)
    for _ in range(8):
        sender.carrier.fetched_at = trio.clock.seconds()
        trio.run(5.0)
    assert sender.carrier.published
    trio.run(35.0)
    assert not sender.carrier.published


def test_the_log_behind_a_snapshot_on_its_way_is_kept_however_long_that_takes(trio: Cluster) -> None:
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 100)
    trio.nodes["3"].start()
    trio.nodes["3"].carrier.fetch_seconds = 60.0
    trio.until(lambda: lines(trio.nodes["3"].events, "fetching"))
    at = trio.nodes["1"].driver.seeding.keep_from()
    for number in range(5):
        fill(trio, trio.nodes["2"], 40, f"during-{number}")
        trio.run(10.0)
    assert trio.nodes["1"].core.log.base.index <= at < trio.nodes["1"].core.applied_index - 100
    trio.settle(30.0)
    assert len(lines(trio.nodes["3"].events, "fetching")) == 1
    trio.until(trio.agree)
    trio.run(35.0)
    fill(trio, trio.nodes["2"], 40, "after")
    assert trio.nodes["1"].core.log.base.index > at
    assert trio.nodes["1"].carrier.published == {}
    assert trio.nodes["1"].store.files == {}


def test_a_fetch_that_fails_is_tried_again(trio: Cluster) -> None:
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 100)
    trio.nodes["3"].start()
    trio.nodes["3"].carrier.fails = 2
    trio.settle()
    assert len(lines(trio.nodes["3"].events, "did not arrive")) == 2
    trio.until(trio.agree)


def test_a_leader_that_dies_while_its_snapshot_is_fetched_is_followed_by_one_that_makes_another(trio: Cluster) -> None:
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 100)
    trio.nodes["3"].start()
    trio.nodes["3"].carrier.fetch_seconds = 1.0
    trio.until(lambda: lines(trio.nodes["3"].events, "fetching"))
    trio.nodes["1"].crash()
    trio.settle()
    assert trio.led_by("2")
    assert "from node 2" in lines(trio.nodes["3"].events, "fetching")[-1]
    trio.until(trio.agree)


def test_a_write_whose_entry_came_by_a_snapshot_gets_its_stored_answer_by_its_key(trio: Cluster) -> None:
    """The node is cut off with writes under way; they are done without it, and the log does not reach back."""
    away = trio.nodes["3"]
    trio.cuts |= {("1", "3"), ("2", "3")}  # it is not heard by anyone soon, but what it sends arrives
    keyed = away.write(insert("keyed", 1), timeout=60.0, key="k")
    plain = away.write(insert("plain", 1), timeout=60.0)
    trio.run(0.2)
    fill(trio, trio.nodes["2"], 100)
    trio.run(1.0)
    trio.heal()
    trio.done(keyed, plain)
    assert lines(away.events, "installed a snapshot")
    assert keyed.is_ok
    assert isinstance(plain.error, OutcomeUnknown)
    again = trio.nodes["1"].write(insert("keyed", 1), key="k")
    trio.done(again)
    assert again.value == keyed.value


def test_entries_flow_to_a_follower_while_another_one_fetches(trio: Cluster) -> None:
    trio.nodes["3"].crash()
    fill(trio, trio.nodes["2"], 100)
    trio.nodes["3"].start()
    trio.nodes["3"].carrier.fetch_seconds = 5.0
    trio.until(lambda: lines(trio.nodes["3"].events, "fetching"))
    trio.seen.clear()
    written = trio.nodes["2"].insert("meanwhile")
    trio.done(written)
    assert written.seconds < 0.02
    assert not [each for each in trio.seen if isinstance(each, AppendEntries) and each.to == "3" and each.entries]


# Wiped.


def test_a_wiped_node_comes_back_as_a_voter(trio: Cluster) -> None:
    fill(trio, trio.nodes["1"], 50)
    trio.nodes["3"].crash()
    trio.nodes["3"].wipe()
    trio.nodes["3"].start()
    trio.until(lambda: trio.nodes["1"].core.membership.learners == ("3",))
    trio.until(lambda: is_whole(trio))
    assert trio.nodes["1"].core.membership.life_of("3") == trio.nodes["3"].store.life() != ""
    trio.settle()
    trio.until(trio.agree)
    trio.nodes["2"].crash()
    fill(trio, trio.nodes["3"], 1, "with its vote")


def test_one_late_report_of_a_former_life_demotes_nobody(trio: Cluster) -> None:
    """It was sent before the wipe and arrives after the promotion (simulator: seed 2273)."""
    trio.nodes["3"].crash()
    trio.nodes["3"].wipe()
    trio.nodes["3"].start()
    trio.until(lambda: trio.nodes["1"].core.membership.learners == ("3",))
    trio.until(lambda: is_whole(trio))
    leader = trio.nodes["1"]
    at, late = leader.core.log.membership_index, former_life_of("3", leader)
    leader.driver.seeding.reported(late)
    trio.run(2.0)
    assert leader.core.log.membership_index == at
    assert is_whole(trio)
    for _ in range(2):  # nothing but the former life is heard: it is what the disk holds
        leader.driver.seeding.reported(late)
    trio.until(lambda: leader.core.log.membership_index > at)


def test_a_wiped_node_casts_no_vote_and_counts_for_no_commit_before_it_is_promoted(trio: Cluster) -> None:
    trio.nodes["2"].crash()
    fill(trio, trio.nodes["1"], 3)
    trio.nodes["3"].crash()
    trio.nodes["3"].wipe()
    trio.nodes["3"].start()
    written = trio.nodes["1"].insert("only one disk has it", timeout=2.0)
    trio.done(written)
    assert written.error is not None
    assert trio.nodes["3"].replica.status()["node"]["role"] == "learner"
    trio.run(2.0)
    assert trio.leader is None
    trio.nodes["2"].start()
    trio.settle()
    trio.until(lambda: trio.leader.core.membership.life_of("3") != "")  # type: ignore[union-attr]


def test_the_preferred_master_that_was_wiped_leads_again(trio: Cluster) -> None:
    fill(trio, trio.nodes["1"], 50)
    trio.nodes["1"].crash()
    trio.nodes["1"].wipe()
    trio.nodes["1"].start()
    trio.until(lambda: trio.led_by("1"), 20.0)
    fill(trio, trio.nodes["1"], 1, "again")
    trio.until(trio.agree)


def test_a_node_that_is_wiped_twice_comes_back_twice(trio: Cluster) -> None:
    for _ in range(2):
        trio.nodes["3"].crash()
        trio.nodes["3"].wipe()
        trio.nodes["3"].start()
        trio.until(lambda: trio.nodes["1"].core.membership.life_of("3") == trio.nodes["3"].store.life())
        trio.until(lambda: is_whole(trio))
    trio.settle()
    trio.until(trio.agree)
