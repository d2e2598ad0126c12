"""A fresh cluster forms once, whoever dies when; an empty node among nodes with history never votes."""

from __future__ import annotations

import random

import msgspec
import pytest
from cluster_net import make_config
from formation_world import Id, World
from twisted.internet.defer import CancelledError

from ddbd.cluster.formation import Superseded
from ddbd.cluster.peers import WholeBody
from ddbd.cluster.resource import peer_headers
from ddbd.cluster.verdict import Wait, verdict
from ddbd.errors import ConfigError


def formed_world(count: int = 3) -> World:
    world = World(count)
    world.start_all()
    world.settle()
    assert world.all_formed()
    return world


def cluster_ids(world: World) -> set[str]:
    return {identity.cluster_id for identity in world.formed.values()}


@pytest.mark.parametrize("count", [2, 3, 5])
def test_empty_nodes_form_one_cluster_and_all_vote(count: int) -> None:
    world = formed_world(count)
    assert len(cluster_ids(world)) == 1
    assert {identity.life for identity in world.formed.values()} == {""}


def test_one_node_forms_at_once() -> None:
    world = World(1)
    world.start("1")
    assert world.formed["1"].life == ""


def test_nothing_forms_while_one_node_is_missing() -> None:
    world = World()
    for node_id in ("1", "2"):
        world.start(node_id)
    world.network.advance(30, step=0.1)
    assert world.formed == {}
    assert [disk.content for disk in world.disks.values()] == [None, None, None]
    world.start("3")
    world.settle()
    assert world.all_formed()


def test_the_reasons_why_nodes_are_missing_make_one_sentence() -> None:
    nodes = tuple((node_id, f"localhost:808{node_id}") for node_id in "123")
    said = verdict("1", nodes, None, {"2": "Connection was refused by other side: 111.", "3": "no answer in 2 s"})
    assert isinstance(said, Wait)
    assert said.why.endswith("still missing: node 2: Connection was refused by other side: 111; node 3: no answer in 2 s")


def test_a_formed_node_starts_without_asking_anybody() -> None:
    world = formed_world()
    before = world.disks["2"].content
    for node_id in world.config.node_ids:
        world.kill(node_id)
    world.start("2")
    assert world.formed["2"] == before


def test_a_wiped_node_joins_with_a_life_of_its_own_each_time() -> None:
    for wiped in ("1", "2", "3"):
        world = formed_world()
        lives = set()
        for _ in range(3):
            world.wipe(wiped)
            world.start(wiped)
            world.settle()
            lives.add(world.formed[wiped].life)
        assert len(cluster_ids(world)) == 1
        assert len(lives) == 3
        assert "" not in lives


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", [1, 2])
@pytest.mark.parametrize("node_id", ["1", "2", "3"])
def test_a_node_that_dies_at_any_write_and_comes_back_is_a_founder_like_the_others(node_id: str, write: int, when: str) -> None:
    world = World()
    world.disks[node_id].plan = (write, when)
    world.start_all()
    world.settle(3)
    assert node_id not in world.running
    world.start(node_id)
    world.settle()
    assert world.all_formed()
    assert len(cluster_ids(world)) == 1
    assert {identity.life for identity in world.formed.values()} == {""}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", [1, 2])
@pytest.mark.parametrize("node_id", ["1", "2", "3"])
def test_a_node_that_dies_at_any_write_and_is_wiped_ends_in_the_one_cluster(node_id: str, write: int, when: str) -> None:
    world = World()
    world.disks[node_id].plan = (write, when)
    world.start_all()
    world.settle(0.2)
    world.settle(3)
    world.wipe(node_id)
    world.start(node_id)
    world.settle()
    assert world.all_formed()
    assert len(cluster_ids(world)) == 1


def test_a_founder_wiped_before_anything_formed_hands_out_a_new_id() -> None:
    world = World()
    world.disks["1"].plan = (2, "before")  # all have adopted; formed is not written
    world.start_all()
    world.settle(3)
    old = world.disks["2"].content
    assert old is not None
    assert not old.formed
    world.wipe("1")
    world.start("1")
    world.settle()
    assert world.all_formed()
    assert cluster_ids(world) != {old.cluster_id}
    assert {identity.life for identity in world.formed.values()} == {""}


def test_lists_that_differ_form_nothing_and_are_named(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    other = make_config(3)
    moved = msgspec.structs.replace(other.nodes[1], address="127.0.0.1:8082")
    for node_id in ("1", "2"):
        world.start(node_id)
    world.start("3", msgspec.structs.replace(other, nodes=(other.nodes[0], moved, other.nodes[2])))
    world.settle(5)
    assert world.formed == {}
    assert [disk.content for disk in world.disks.values()] == [None, None, None]
    world.kill("3")
    world.start("3")
    world.settle()
    assert world.all_formed()


def test_the_directory_of_another_node_is_refused() -> None:
    world = World()
    world.disks["1"].content = Id("c", "2", "", True)
    world.start("1")
    assert world.failed["1"].check(ConfigError)


def test_nodes_of_two_clusters_are_joined_by_nobody() -> None:
    world = World()
    world.disks["1"].content = Id("a", "1", "", True)
    world.disks["2"].content = Id("b", "2", "", True)
    world.start_all()
    world.settle(5)
    assert world.disks["3"].content is None


def test_an_unformed_node_that_finds_another_cluster_joins_it_without_a_vote() -> None:
    world = formed_world()
    world.kill("3")
    world.disks["3"].content = Id("old", "3", "", False)
    world.start("3")
    world.settle()
    assert len(cluster_ids(world)) == 1
    assert world.formed["3"].life != ""


def test_a_founder_whose_disk_went_back_in_time_does_not_vote() -> None:
    world = formed_world()
    world.kill("1")
    world.disks["1"].content = world.disks["1"].content._replace(formed=False)  # type: ignore[union-attr]
    world.start("1")
    world.settle()
    assert world.formed["1"].life != ""


def test_a_stopped_formation_says_so_and_asks_no_more() -> None:
    world = World()
    world.start("1")
    world.network.advance(1)
    world.kill("1")
    before = len(world.network.dials)
    world.network.advance(5)
    assert world.failed["1"].check(CancelledError)
    assert len(world.network.dials) == before


def adopt(world: World, sender: str, **change: object) -> tuple[int, dict[str, object]]:
    """What node 2 answers to an adoption."""
    hello = ask(world, sender, "GET", "hello", None)[1]
    nodes = [[node.id, node.address] for node in world.config.nodes]
    body = {"cluster_id": "abc", "founder": sender, "nodes": nodes, "boot": hello["boot"], **change}
    return ask(world, sender, "POST", "adopt", msgspec.json.encode(body))


def ask(world: World, sender: str, method: str, call: str, data: bytes | None) -> tuple[int, dict[str, object]]:
    answers, bodies = [], []
    headers = peer_headers(sender, "2", None)
    client = world.network.client(sender)
    url = f"http://localhost:8082/raft/{call}"
    client.request(method, url, headers=headers, data=WholeBody(data) if data is not None else None, reactor=world.clock).addCallback(
        answers.append
    )
    world.network.flush()
    answers[0].content().addCallback(bodies.append)
    return answers[0].code, msgspec.json.decode(bodies[0])


def test_an_adoption_is_for_one_life_of_a_process() -> None:
    world = World()
    world.start("2")
    hello = ask(world, "1", "GET", "hello", None)[1]
    world.kill("2")
    world.start("2")
    assert adopt(world, "1", boot=hello["boot"])[1]["code"] == "other_boot"
    assert world.disks["2"].content is None


def test_adopting_twice_is_once() -> None:
    world = World()
    world.start("2")
    assert adopt(world, "1") == adopt(world, "1") == (200, {"cluster_id": "abc"})
    assert world.disks["2"].writes == 1


def test_answers_older_than_an_adoption_are_not_acted_on() -> None:
    world = World()
    world.disks["1"].content = Id("old", "1", "", True)
    world.disks["2"].content = Id("old", "2", "", False)
    world.network.silent.add("3")
    world.start("1")
    world.start("2")
    world.network.advance(1)  # node 1 has said that it is formed; node 3's answer is still waited for
    world.wipe("1")
    assert adopt(world, "1", cluster_id="new")[0] == 200
    world.network.advance(5)
    assert world.disks["2"].content == Id("new", "2", "", False)


def test_only_the_lowest_id_founds() -> None:
    world = World()
    world.start("2")
    assert adopt(world, "3")[1]["code"] == "not_founder"
    assert adopt(world, "1", founder="3")[1]["code"] == "not_founder"


def test_adoptions_with_another_list_or_to_a_formed_node_are_refused() -> None:
    world = formed_world()
    assert adopt(world, "1", nodes=[["1", "a:1"], ["2", "b:2"]])[1]["code"] == "other_nodes"
    assert adopt(world, "1")[1]["code"] == "already_formed"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 5000, b"x" * 100_000, b'{"cluster_id": 3}'], ids=lambda body: repr(body[:12]))
def test_bodies_that_are_no_adoption_are_refused(body: bytes) -> None:
    world = World()
    world.start("2")
    assert ask(world, "1", "POST", "adopt", body)[0] == 400


def chaos(world: World, rng: random.Random, wipeable: list[str]) -> None:
    """One step of bad luck."""
    node_id = rng.choice(world.config.node_ids)
    luck = rng.random()
    if luck < 0.04:
        world.kill(node_id)
    elif luck < 0.05 and wipeable:
        world.wipe(rng.choice(wipeable))
    elif luck < 0.30 and node_id not in world.running:
        if rng.random() < 0.3:
            world.disks[node_id].plan = (world.disks[node_id].writes + 1, rng.choice(["before", "after"]))
        world.start(node_id)
    elif luck < 0.34:
        world.network.silent ^= {node_id}
    elif luck < 0.45 and world.network.links:
        link = rng.choice(world.network.links)
        world.network.links.remove(link)
        link.break_off()
    for link in rng.sample(world.network.links, len(world.network.links) // 2):
        link.move()
    world.clock.advance(rng.choice([0, 0.001, 0.05, 0.3]))


@pytest.mark.parametrize("seed", range(120))
def test_whatever_dies_is_lost_or_wiped_one_cluster_forms(seed: int) -> None:
    rng = random.Random(seed)
    world = World(rng.choice([2, 3, 3, 3, 5]), seed)
    count = len(world.config.nodes)
    wipeable = rng.sample(list(world.config.node_ids), (count - 1) // 2)  # a minority may lose its disk, as often as it likes
    for _ in range(300):
        chaos(world, rng, wipeable)
    world.network.silent.clear()
    for disk in world.disks.values():
        disk.plan = None
    world.start_all()
    world.settle(60)
    assert world.all_formed()
    assert len(cluster_ids(world)) == 1
    quorate = [cluster_id for cluster_id, voters in world.voters.items() if len(voters) > count // 2]
    assert len(quorate) <= 1


def recovered_world() -> World:
    """Node 3 was recovered alone, as cluster `new`."""
    world = formed_world()
    for node_id in world.config.node_ids:
        world.kill(node_id)
    old = world.disks["3"].content
    assert old is not None
    world.disks["3"].content = old._replace(cluster_id="new", former=(old.cluster_id,))
    world.start("3")
    world.network.advance(1, step=0.1)
    assert world.formed["3"].cluster_id == "new"
    return world


def test_a_node_of_before_a_recovery_does_not_start_again() -> None:
    world = recovered_world()
    for node_id in ("1", "2"):
        world.start(node_id)
    world.network.advance(2, step=0.1)
    assert set(world.formed) == {"3"}
    for node_id in ("1", "2"):
        error = world.failed[node_id].value
        assert isinstance(error, Superseded)
        assert (error.node_id, error.cluster_id) == ("3", "new")


def test_a_node_of_before_a_recovery_starts_where_nobody_can_tell_it() -> None:
    """No protocol can do more: it does not wait for nodes that are down."""
    world = recovered_world()
    world.kill("3")
    world.start("1")
    world.network.advance(3, step=0.1)
    assert world.formed["1"].former == ()


def test_an_empty_node_that_joins_a_recovered_cluster_knows_its_former_ids_too() -> None:
    world = recovered_world()
    world.disks["1"].content = None
    world.start("1")
    world.network.advance(3, step=0.1)
    assert world.formed["1"].cluster_id == "new"
    assert world.formed["1"].former == world.formed["3"].former
    assert world.formed["1"].life
    world.kill("3")
    world.start("2")
    world.network.advance(2, step=0.1)
    assert isinstance(world.failed["2"].value, Superseded)
