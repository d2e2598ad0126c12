"""What a node tells of what happened: the sentences, and that they say what was so."""

from __future__ import annotations

import re
from typing import Any

from replica_kit import SMALL, Cluster, MemoryNode, fill, flip, update
from twisted.internet.defer import Deferred

from ddbd.raft.messages import Heartbeat
from ddbd.replica.chronicle import SLOW_CHECKPOINT_SECONDS, SLOW_SAVE_PAUSE_SECONDS, SLOW_SAVE_SECONDS


def told(node: MemoryNode, *kinds: str) -> list[str]:
    return [text for kind, _, text, _ in node.happened if kind in kinds]


def details(node: MemoryNode, kind: str) -> dict[str, Any]:
    """Of the newest one."""
    return [details for each, _, _, details in node.happened if each == kind][-1]


def forget(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        node.happened.clear()


def test_a_first_leader_is_told_with_its_votes_by_itself_and_without_them_by_the_others() -> None:
    cluster = Cluster().set_up()
    (elected,) = told(cluster.nodes["1"], "leader_elected")
    assert re.fullmatch("node 1 was elected by [23] of 3", elected)
    assert told(cluster.nodes["2"], "leader_elected") == ["node 1 leads"]
    assert {kind for node in cluster.nodes.values() for kind, *_ in node.happened} == {"leader_elected"}, "a calm start is no news"


def test_a_leader_that_dies_is_told_with_the_votes_the_time_and_the_writes_that_were_held() -> None:
    cluster = Cluster(failback=False).set_up()
    forget(cluster)
    cluster.nodes["1"].crash()
    writes = [cluster.nodes["2"].insert(f"held-{number}") for number in range(17)]
    cluster.until(lambda: cluster.led_by("2"))
    cluster.done(*writes)
    (lost,) = told(cluster.nodes["2"], "leader_lost")
    (elected,) = told(cluster.nodes["2"], "leader_elected")
    assert lost == "node 1 stopped answering"
    assert re.fullmatch("node 1 stopped answering; node 2 was elected by 2 of 3 in [0-9]+ ms; 17 writes were held, none refused", elected)
    assert details(cluster.nodes["2"], "leader_elected").items() >= {"votes": 2, "voters": 3, "writes_held": 17, "old_leader": "1"}.items()
    assert 0 < details(cluster.nodes["2"], "leader_elected")["ms"] < 200
    (other,) = told(cluster.nodes["3"], "leader_elected")
    assert re.fullmatch("node 1 stopped answering; node 2 was elected in [0-9]+ ms; no write had to wait", other)


def test_a_leader_that_is_cut_off_was_not_heard_for_a_while_and_steps_down() -> None:
    cluster = Cluster(failback=False).set_up()
    forget(cluster)
    cluster.cut_off("1")
    cluster.until(lambda: cluster.nodes["2"].core.is_leader and cluster.nodes["1"].replica.leader_id is None)
    assert told(cluster.nodes["1"], "stepped_down") == ["node 1 stepped down: it did not hear a majority"]
    (lost,) = told(cluster.nodes["2"], "leader_lost")
    silent = re.fullmatch("nothing was heard from node 1 for ([0-9]+) ms", lost)
    assert silent is not None
    assert 450 <= int(silent[1]) <= 1_100
    assert details(cluster.nodes["2"], "leader_elected")["ms"] >= int(silent[1])
    cluster.heal()
    cluster.settle()
    assert told(cluster.nodes["1"], "leader_elected")[-1].startswith(
        "node 1 stepped down: it did not hear a majority; node 2 was elected in"
    )


def test_writes_that_were_refused_meanwhile_are_counted() -> None:
    cluster = Cluster(failback=False).set_up()
    cluster.nodes["1"].crash()
    cluster.nodes["3"].crash()
    cluster.run(1)
    writes = [cluster.nodes["2"].insert(f"late-{number}", timeout=0.5) for number in range(3)]
    cluster.done(*writes)
    waiting = cluster.nodes["2"].insert("waiting", timeout=60)
    cluster.run(0.5)
    cluster.nodes["3"].start()
    cluster.done(waiting)
    assert told(cluster.nodes["2"], "leader_elected")[-1].endswith("; 1 write was held, 3 refused")


def test_leadership_that_is_handed_back_is_a_transfer_and_no_loss() -> None:
    cluster = Cluster().set_up()
    cluster.nodes["1"].crash()
    cluster.until(lambda: cluster.led_by("2"))
    cluster.nodes["1"].start()
    cluster.run(1)
    forget(cluster)
    cluster.until(lambda: cluster.led_by("1"), 30)
    for node in cluster.nodes.values():
        (text,) = told(node, "leadership_transferred")
        assert re.fullmatch("leadership went from node 2 to node 1 in [0-9]+ ms; no write had to wait", text)
        assert told(node, "leader_lost", "stepped_down", "leader_elected") == []


def test_a_leader_that_is_there_again_is_told_so() -> None:
    cluster = Cluster(1)
    cluster.settle()
    node = cluster.nodes["1"]
    node.core.step_down()
    node.driver.wake()
    cluster.until(lambda: len(told(node, "leader_elected")) == 2)
    assert re.fullmatch(
        "node 1 stepped down: it did not hear a majority; node 1 was elected by 1 of 1 again after [0-9]+ ms; no write had to wait",
        told(node, "leader_elected")[-1],
    )


def test_a_leader_that_was_deposed_does_not_say_how_long_the_election_took() -> None:
    cluster = Cluster().set_up()
    old = cluster.nodes["1"]
    term = old.core.term
    old.replica.receive(Heartbeat("1", "2", term + 1, 0))
    cluster.run(0.0)
    assert told(old, "leader_elected")[-1] == (
        f"node 1 stepped down: term {term + 1} has begun without it; node 2 was elected; no write had to wait"
    )


def test_a_follower_that_goes_and_comes_back_is_told_once_each() -> None:
    cluster = Cluster().set_up()
    forget(cluster)
    cluster.nodes["3"].crash()
    cluster.run(3)
    assert told(cluster.nodes["1"], "peer_lost") == ["node 3 stopped answering"]
    cluster.nodes["3"].start()
    cluster.run(3)
    (back,) = told(cluster.nodes["1"], "peer_back")
    assert re.fullmatch(r"node 3 answers again after [23](\.[0-9])? s", back)
    assert details(cluster.nodes["1"], "peer_back")["away_seconds"] >= 2.8


def test_a_peer_whose_network_is_gone_does_not_refuse() -> None:
    cluster = Cluster().set_up()
    forget(cluster)
    cluster.cut_off("3")
    cluster.run(1)
    assert told(cluster.nodes["1"], "peer_lost") == ["node 3 is not heard any more"]
    assert details(cluster.nodes["1"], "peer_lost") == {"refuses": False}


def test_a_peer_that_flickers_is_no_news() -> None:
    cluster = Cluster().set_up()
    forget(cluster)
    for _ in range(20):
        cluster.cut_off("3")
        cluster.run(0.05)
        cluster.heal()
        cluster.run(0.5)
    assert [node.happened for node in cluster.nodes.values()] == [[], [], []]


def test_a_node_that_was_away_for_long_gets_a_snapshot_and_both_sides_say_so() -> None:
    cluster = Cluster(limits=SMALL).set_up()
    cluster.nodes["3"].crash()
    fill(cluster, cluster.nodes["1"], 60)
    cluster.run(5)
    cluster.nodes["3"].start()
    cluster.until(lambda: told(cluster.nodes["1"], "snapshot_sent"), 30)
    (got,) = told(cluster.nodes["3"], "snapshot_installed")
    (sent,) = told(cluster.nodes["1"], "snapshot_sent")
    index = details(cluster.nodes["1"], "snapshot_sent")["index"]
    assert sent == f"node 3 has got a snapshot at index {index}"
    assert got == f"node 3 took a snapshot at index {index} from node 1"


def test_a_node_whose_tables_differ_is_told_and_so_is_its_return() -> None:
    cluster = Cluster().set_up()
    fill(cluster, cluster.nodes["1"], 3)
    cluster.until(cluster.agree)
    flip(cluster.nodes["3"], "fill-0")
    write = cluster.nodes["1"].write(update("fill-0", 1))
    cluster.done(write)
    cluster.until(lambda: told(cluster.nodes["3"], "reseeded"), 60)
    assert told(cluster.nodes["1"], "quarantined") == [
        "node 3's state differs from the majority's; it serves no reads until it is seeded anew"
    ]
    assert len(told(cluster.nodes["3"], "quarantined")) == 1
    assert told(cluster.nodes["3"], "reseeded") == ["node 3 was seeded anew by node 1: it serves reads again"]
    assert told(cluster.nodes["3"], "snapshot_installed") == []


def test_a_node_that_lost_its_disk_stops_voting_and_votes_again() -> None:
    cluster = Cluster().set_up()
    fill(cluster, cluster.nodes["1"], 5)
    cluster.nodes["3"].crash()
    cluster.nodes["3"].wipe()
    cluster.nodes["3"].start()
    cluster.until(lambda: len(told(cluster.nodes["1"], "member_changed")) == 2, 60)
    assert told(cluster.nodes["1"], "member_changed") == [
        "node 3 no longer votes: it lost its data, and listens until it has caught up",
        "node 3 votes again",
    ]
    assert details(cluster.nodes["1"], "member_changed") == {"voters": ["1", "2", "3"], "learners": []}


def test_a_full_disk_and_room_again_are_told() -> None:
    cluster = Cluster().set_up()
    forget(cluster)
    for node in cluster.nodes.values():
        node.store.full = True
    cluster.run(2)
    assert told(cluster.nodes["2"], "disk_full") == [
        "the disk of node 2 is nearly full",
        "disks are nearly full: new rows are refused, deletes go on",
    ]
    for node in cluster.nodes.values():
        node.store.full = False
    cluster.run(2)
    assert told(cluster.nodes["2"], "disk_freed") == ["the disk of node 2 has room again", "new rows are taken again"]


def test_a_slow_disk_is_told_once_a_minute_with_how_often_it_was_slow() -> None:
    cluster = Cluster(1).set_up()
    node = cluster.nodes["1"]
    forget(cluster)
    save, delays = node.store.log.save, [0.0]

    def slow(hard_state: Any, entries: Any) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        cluster.clock.callLater(delays[0], lambda: save(hard_state, entries).chainDeferred(done))
        return done

    node.store.log.save = slow  # type: ignore[method-assign]
    fill(cluster, node, 2)
    assert node.happened == []
    delays[0] = SLOW_SAVE_SECONDS + 0.1
    fill(cluster, node, 3, "slow")
    assert told(node, "slow_disk") == ["the disk is slow: it took 350 ms to save to the log"]
    cluster.run(SLOW_SAVE_PAUSE_SECONDS)
    fill(cluster, node, 1, "again")
    assert details(node, "slow_disk") == {"ms": 350, "slow_saves": 3}


def test_a_checkpoint_that_takes_long_is_told() -> None:
    cluster = Cluster(1, limits=SMALL).set_up()
    node = cluster.nodes["1"]
    node.driver.chronicle.checkpointed(SLOW_CHECKPOINT_SECONDS - 1)
    node.driver.chronicle.checkpointed(SLOW_CHECKPOINT_SECONDS + 2)
    assert told(node, "checkpoint_slow") == ["a checkpoint of the tables took 12 s"]


def test_checkpoints_are_counted_with_the_time_that_they_took() -> None:
    cluster = Cluster(1, limits=SMALL).set_up()
    fill(cluster, cluster.nodes["1"], 30)
    cluster.run(2)
    assert cluster.nodes["1"].driver.compaction.count >= 1
