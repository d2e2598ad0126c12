"""Streams between nodes in memory: real Site, real Agent, a Clock."""

from __future__ import annotations

import random

import pytest
from cluster_net import Network, make_config
from twisted.internet.task import Clock

from ddbd.cluster.resource import RaftResource
from ddbd.cluster.streams import Past, Streams
from ddbd.raft.messages import AppendEntries, Heartbeat, Message, TimeoutNow
from ddbd.raft.types import Entry, EntryKind


class World:
    def __init__(self, count: int = 3) -> None:
        self.clock = Clock()
        self.config = make_config(count)
        self.network = Network(self.clock, self.config)
        self.received: dict[str, list[Message]] = {}
        self.refused: dict[str, list[str]] = {}
        self.connected: dict[str, list[str]] = {}
        self.streams: dict[str, Streams] = {}
        self.superseded: list[tuple[str, str, str]] = []  # (who, who told it, the newer cluster)

    def start(self, node_id: str, cluster_id: str = "c1", former: tuple[str, ...] = (), dials: bool = True) -> Streams:
        self.received[node_id], self.refused[node_id], self.connected[node_id] = [], [], []
        streams = Streams(
            self.clock,
            self.config,
            node_id,
            cluster_id,
            random.Random(node_id),
            self.network.client(node_id),
            self.received[node_id].append,
            self.refused[node_id].append,
            self.connected[node_id].append,
            past=Past(former, lambda teller, cluster: self.superseded.append((node_id, teller, cluster))),
        )
        root = RaftResource()
        root.putChild(b"stream", streams.resource)
        self.network.listen(node_id, root)
        self.streams[node_id] = streams
        if dials:
            streams.start()
        return streams

    def say(self, node_id: str, *messages: Message) -> None:
        """In one turn of that node's driver."""
        for message in messages:
            self.streams[node_id].send(message)
        self.streams[node_id].flush()

    def kill(self, node_id: str) -> None:
        """The process dies: nothing of it runs on, but the test's own objects must be told."""
        self.network.silent.discard(node_id)
        self.streams.pop(node_id).stop()  # first: a dead process does not dial again when its streams break
        self.network.kill(node_id)


@pytest.fixture
def world() -> World:
    return World()


def all_started(world: World) -> None:
    for node_id in world.config.node_ids:
        world.start(node_id)
    world.network.advance(1)
    for refused in world.refused.values():
        refused.clear()  # those that dialled before their peer was up


def test_message_reaches_its_peer_and_nobody_else(world: World) -> None:
    all_started(world)
    world.say("1", Heartbeat("2", "1", 1, 7))
    world.network.flush()
    assert world.received == {"1": [], "2": [Heartbeat("2", "1", 1, 7)], "3": []}


def test_what_is_sent_waits_for_the_flush_and_leaves_no_timer_behind(world: World) -> None:
    all_started(world)
    timers = len(world.clock.getDelayedCalls())
    for number in (7, 8):
        world.streams["1"].send(Heartbeat("2", "1", 1, number))
    assert len(world.clock.getDelayedCalls()) == timers, "a timer for each turn would cost the reactor another one"
    world.network.advance(0.01)
    assert world.received["2"] == []
    world.streams["1"].flush()
    world.network.flush()
    assert world.received["2"] == [Heartbeat("2", "1", 1, 7), Heartbeat("2", "1", 1, 8)]


def test_peers_are_reachable_once_streams_stand(world: World) -> None:
    all_started(world)
    assert all(state.reachable and state.connected_out for streams in world.streams.values() for state in streams.peers().values())


def test_a_killed_peer_is_reported_as_refused_at_the_first_redial(world: World) -> None:
    all_started(world)
    world.kill("1")
    world.network.flush()
    assert world.refused["2"] == ["1"]
    assert world.refused["3"] == ["1"]
    assert not world.streams["2"].is_reachable("1")
    assert world.streams["2"].is_reachable("3")


def test_each_refusal_is_reported(world: World) -> None:
    all_started(world)
    world.kill("1")
    world.network.advance(0.1)
    soon = len(world.refused["2"])
    world.network.advance(5)
    assert soon >= 3
    assert len(world.refused["2"]) >= soon + 9  # at least every half second


def test_waits_between_dials_grow_to_half_a_second(world: World) -> None:
    world.start("2")
    world.network.advance(10)
    dials = world.network.dials.count(("2", "1"))
    assert 20 <= dials <= 50


def test_a_peer_that_comes_back_is_found(world: World) -> None:
    all_started(world)
    world.kill("1")
    world.network.advance(3)
    world.start("1")
    world.network.advance(0.6)
    world.say("2", Heartbeat("1", "2", 1, 7))
    world.say("1", Heartbeat("2", "1", 1, 8))
    world.network.advance(0.01)
    assert world.received["1"] == [Heartbeat("1", "2", 1, 7)]
    assert world.received["2"] == [Heartbeat("2", "1", 1, 8)]


def test_a_peer_that_dials_us_is_dialled_without_the_rest_of_the_wait(world: World) -> None:
    all_started(world)
    world.kill("1")
    world.network.advance(20)
    world.start("1")
    world.network.advance(0.02)
    assert all(state.connected_in and state.connected_out for state in world.streams["1"].peers().values())


def test_a_broken_stream_is_dialled_again_at_once_and_refuses_nothing(world: World) -> None:
    all_started(world)
    world.network.cut("1", "2")
    world.network.flush()
    assert world.streams["2"].is_reachable("1")
    assert world.streams["1"].is_reachable("2")
    assert world.refused["2"] == []


def test_a_silent_peer_is_dialled_again_after_an_election_timeout_and_never_called_gone(world: World) -> None:
    all_started(world)
    before = len(world.network.dials)
    world.network.silent.add("1")
    world.network.advance(0.4)
    assert len(world.network.dials) == before
    world.network.advance(1)
    assert {("2", "1"), ("3", "1")} <= set(world.network.dials[before:])
    assert world.refused["2"] == []
    assert not world.streams["2"].is_reachable("1")


def test_streams_stand_again_soon_after_the_network_healed(world: World) -> None:
    all_started(world)
    world.network.silent.add("1")
    world.network.advance(15)
    world.network.silent.clear()
    world.network.advance(1)
    assert all(state.reachable for state in world.streams["1"].peers().values())
    world.say("1", Heartbeat("2", "1", 1, 7))
    world.network.advance(0.01)
    assert world.received["2"] == [Heartbeat("2", "1", 1, 7)]


def test_a_quiet_cluster_keeps_its_streams(world: World) -> None:
    all_started(world)
    before = len(world.network.dials)
    world.network.advance(20)
    assert len(world.network.dials) == before


def test_a_process_that_was_stopped_reads_before_it_believes_its_timers(world: World) -> None:
    all_started(world)
    before = len(world.network.dials)
    world.clock.advance(3)  # all timers are due, and nothing was read meanwhile
    world.network.flush()
    world.network.advance(0.5)
    assert len(world.network.dials) == before


def test_a_large_append_arrives_whole_with_heartbeats_around_it(world: World) -> None:
    all_started(world)
    large = AppendEntries("2", "1", 1, 0, 0, (Entry(1, 1, 0, EntryKind.COMMAND, b"x" * 1_000_000),), 0)
    world.say("1", large, Heartbeat("2", "1", 1, 1))
    world.network.advance(0.01)
    assert world.received["2"] == [Heartbeat("2", "1", 1, 1), large]


def test_another_cluster_is_refused_and_never_talked_to(world: World) -> None:
    world.start("1", "c1")
    world.start("2", "other")
    world.network.advance(5)
    world.say("1", Heartbeat("2", "1", 1, 1))
    world.network.advance(0.1)
    assert world.received["2"] == []
    assert not world.streams["2"].peers()["1"].connected_in


def test_a_message_under_another_name_ends_the_stream(world: World) -> None:
    all_started(world)
    world.say("1", Heartbeat("2", "3", 1, 1))
    world.network.advance(0.01)
    assert world.received["2"] == []
    world.network.advance(1)
    assert world.streams["2"].is_reachable("1")


def test_messages_to_nobody_are_dropped(world: World) -> None:
    all_started(world)
    world.say("1", TimeoutNow("9", "1", 1), TimeoutNow("1", "1", 1))
    world.network.advance(0.1)
    assert world.received == {"1": [], "2": [], "3": []}


def test_a_stopped_node_dials_no_more_and_serves_no_stream(world: World) -> None:
    all_started(world)
    stopped: list[object] = []
    world.streams["1"].stop().addCallback(stopped.append)
    world.network.advance(0.1)
    before = [dial for dial in world.network.dials if dial[0] == "1"]
    world.network.advance(3)
    assert stopped == [None]
    assert [dial for dial in world.network.dials if dial[0] == "1"] == before
    assert not world.streams["2"].is_reachable("1")


def test_a_peer_whose_request_waits_is_not_held_up_by_the_others(world: World) -> None:
    all_started(world)
    world.network.silent.add("3")
    world.say("1", Heartbeat("3", "1", 1, 1), Heartbeat("2", "1", 1, 1))
    world.network.advance(0.01)
    assert world.received["2"] == [Heartbeat("2", "1", 1, 1)]


def test_a_driver_that_raises_loses_neither_stream_nor_the_next_message() -> None:
    world = World(2)
    world.start("1")
    world.start("2")
    world.network.advance(1)

    class Bomb(list[Message]):
        def append(self, message: Message) -> None:
            super().append(message)
            raise RuntimeError("a bug")

    bomb = Bomb()
    second = Streams(
        world.clock,
        world.config,
        "2",
        "c1",
        random.Random(0),
        world.network.client("2"),
        bomb.append,
        world.refused["2"].append,
        world.connected["2"].append,
    )
    world.streams["2"].stop()
    second.start()
    world.network.advance(0.1)
    for count in (1, 2):
        world.say("1", Heartbeat("2", "1", 1, count))
        world.network.advance(0.1)
    assert [message.round for message in bomb if isinstance(message, Heartbeat)] == [1, 2]
    assert world.network.dials.count(("2", "1")) == 2  # the first node's and the second's


@pytest.mark.parametrize("first", ["1", "2"])
def test_a_node_of_before_a_recovery_is_told_whoever_dials_first(world: World, first: str) -> None:
    nodes = {"1": ("c1", ()), "2": ("c2", ("c0", "c1"))}
    second = "2" if first == "1" else "1"
    for node_id in (first, second):
        cluster_id, former = nodes[node_id]
        world.start(node_id, cluster_id, former)
    world.network.advance(1)
    assert set(world.superseded) == {("1", "2", "c2")}
    assert world.connected == {"1": [], "2": []}


@pytest.mark.parametrize("dials", ["1", "2"])
def test_each_direction_alone_is_enough_to_tell_it(world: World, dials: str) -> None:
    world.start("1", "c1", dials=dials == "1")
    world.start("2", "c2", ("c1",), dials=dials == "2")
    world.network.advance(1)
    assert set(world.superseded) == {("1", "2", "c2")}


def test_clusters_that_have_nothing_in_common_tell_each_other_nothing(world: World) -> None:
    world.start("1", "c1", ("c0",))
    world.start("2", "c2", ("c3",))
    world.network.advance(1)
    assert world.superseded == []
