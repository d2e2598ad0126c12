"""The console's feed, in memory: a real site and channel, a fake clock, tabs that read and tabs that do not."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from twisted.internet.defer import Deferred
from web_client import NOW, Connection, Node
from web_twin import config_of

from ddbd.config import Limits
from ddbd.watch.history import FIELDS
from ddbd.watch.timeline import Timeline
from ddbd.web import feed as feed_module
from ddbd.web.feed import LINGER_SECONDS, PING_SECONDS, RING_BYTES_MAX, RING_EVENTS_MAX, STALLED_SECONDS, Feed, Sources
from ddbd.web.pages import Console
from ddbd.web.site import CONSOLE


class Event(NamedTuple):
    id: str
    name: str
    data: Any


class Tab:
    def __init__(self, node: Node, **headers: str) -> None:
        self.connection: Connection = node.start("GET", "/console/feed", headers={k.replace("_", "-"): v for k, v in headers.items()})
        self._read = 0

    @property
    def wire(self) -> Any:
        return self.connection.wire

    @property
    def body(self) -> bytes:
        return self.connection.response().body

    def events(self) -> list[Event]:
        """What came since this was last asked."""
        body = self.body
        new, self._read = body[self._read :], len(body)
        assert new.endswith(b"\n\n") or not new
        found = []
        for block in new.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
            if "data" in fields:
                found.append(Event(fields["id"], fields["event"], json.loads(fields["data"])))
        return found

    def names(self) -> list[str]:
        return [event.name for event in self.events()]

    def stops_reading(self) -> None:
        self.wire.producer.pauseProducing()

    def reads_again(self) -> None:
        self.wire.producer.resumeProducing()


class Watched(Node):
    """A node with a console, whose status and peers the test decides about."""

    def __init__(self, feeds_max: int = 64) -> None:
        self.told: dict[str, Any] = {"node": {"id": "1", "reactor": {"turns": 1}}, "term": 3, "staleness_ms": 12}
        self.others: list[dict[str, Any]] = [{"id": "1"}, {"id": "2"}]
        self.asked: list[Deferred[None]] = []
        self.happened = Timeline(lambda: NOW)
        console = Console()
        super().__init__(config_of(Limits(feeds_max=feeds_max)), mounted={CONSOLE: console})
        sources = Sources("1", lambda: self.told, lambda: self.others, self.ask, self.history, self.happened.events)
        self.feed = Feed(self.clock, lambda: NOW, "b00t", feeds_max, sources)
        console.putChild(b"feed", self.feed)
        self.happened.on_event = lambda event: self.feed.tell_json("happened", event)

    def ask(self) -> Deferred[None]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def history(self) -> dict[str, bytes]:
        return {"1s": b'{"t":[1.0]}', "10s": b'{"t":[]}'}

    def tab(self, **headers: str) -> Tab:
        return Tab(self, **headers)

    def sample(self, number: int = 1) -> None:
        self.feed.tell_json("sample", dict.fromkeys(FIELDS, number))

    def run(self, seconds: float) -> None:
        self.clock.pump([0.25] * int(seconds * 4))


@pytest.fixture
def node() -> Watched:
    return Watched()


def test_a_tab_begins_with_all_there_is(node: Watched) -> None:
    node.happened.record("node_started", "1", "node 1 started")
    tab = node.tab()
    response = tab.connection.response()
    assert response.status == 200
    assert response.header("Content-Type") == "text/event-stream; charset=utf-8"
    assert (response.header("Cache-Control"), response.header("X-Accel-Buffering")) == ("no-store", "no")
    assert response.body.startswith(b"retry: 1000\n\n")
    (event,) = tab.events()
    assert (event.id, event.name) == ("b00t-0", "snapshot")
    assert event.data == {
        "now": NOW,
        "self": "1",
        "status": node.told,
        "peers": node.others,
        "history": {"1s": {"t": [1.0]}, "10s": {"t": []}},
        "timeline": node.happened.events(),
    }


def test_what_happens_goes_to_every_tab_as_the_same_bytes(node: Watched) -> None:
    tabs = [node.tab(), node.tab()]
    for tab in tabs:
        tab.events()
    node.sample(5)
    node.happened.record("peer_lost", "3", "node 3 stopped answering")
    told = [tab.events() for tab in tabs]
    assert told[0] == told[1]
    assert [(event.id, event.name) for event in told[0]] == [("b00t-1", "sample"), ("b00t-2", "happened")]
    assert told[0][0].data == dict.fromkeys(FIELDS, 5)
    assert told[0][1].data["text"] == "node 3 stopped answering"


def test_a_status_is_told_when_it_changed_and_at_most_four_times_a_second(node: Watched) -> None:
    tab = node.tab()
    node.run(2)
    assert "status" not in tab.names()
    for term in range(4, 44):
        node.told = {**node.told, "term": term}
        node.clock.advance(0.05)
    node.run(0.25)
    told = [event for event in tab.events() if event.name == "status"]
    assert 7 <= len(told) <= 9, "2 seconds and a quarter"
    assert told[-1].data == {"now": NOW, "status": node.told}


def test_what_only_grows_older_is_no_change_of_the_status(node: Watched) -> None:
    tab = node.tab()
    tab.events()
    node.told = {**node.told, "staleness_ms": 99, "node": {"id": "1", "reactor": {"turns": 2}}}
    node.run(1)
    assert "status" not in tab.names()
    node.told = {**node.told, "staleness_ms": None}
    node.run(1)
    assert "status" in tab.names()


def test_a_status_that_takes_long_to_make_is_looked_at_less_often() -> None:
    node, looks = Watched(), [0]

    def slow() -> dict[str, Any]:
        looks[0] += 1
        node.clock.rightNow += 0.02  # what it costs; it must not take more than a fiftieth of the time
        return {**node.told, "term": looks[0]}

    node.feed._sources = node.feed._sources._replace(status=slow)
    node.tab()
    before = looks[0]
    node.run(10)
    assert looks[0] - before <= 11


def test_rows_of_peers_that_take_long_to_tell_are_told_less_often() -> None:
    node = Watched()

    def slow() -> list[dict[str, Any]]:
        node.clock.rightNow += 0.1  # must not take more than a fiftieth of the time
        return node.others

    node.feed._sources = node.feed._sources._replace(peers=slow)
    tab = node.tab()
    for _ in range(30):
        node.run(1)
        if not node.asked[-1].called:
            node.asked[-1].callback(None)
    assert 5 <= tab.names().count("peers") <= 7


def test_peers_are_asked_once_a_second_only_while_a_tab_watches(node: Watched) -> None:
    node.run(3)
    assert node.asked == []
    tab = node.tab()
    for _ in range(5):
        node.run(1)
        node.asked[-1].callback(None)
    assert len(node.asked) == 5
    assert tab.names().count("peers") == 5
    tab.connection.lose()
    node.run(5)
    assert len(node.asked) == 5


def test_peers_that_take_their_time_are_not_asked_again_meanwhile(node: Watched) -> None:
    tab = node.tab()
    node.run(5)
    assert (len(node.asked), tab.names().count("peers")) == (1, 0)
    node.asked[0].callback(None)
    (event,) = [event for event in tab.events() if event.name == "peers"]
    assert event.data == {"now": NOW, "peers": node.others}


def test_news_of_peers_that_come_after_the_last_tab_went_are_told_to_nobody(node: Watched) -> None:
    tab = node.tab()
    node.run(1)
    tab.connection.lose()
    node.asked[0].callback(None)
    assert node.feed.tabs == set()


def test_an_idle_feed_is_pinged(node: Watched) -> None:
    tab = node.tab()
    node.run(PING_SECONDS - 1)
    assert b": ping\n\n" not in tab.body
    node.run(1)
    assert tab.body.endswith(b": ping\n\n")


def test_an_idle_feed_lives_on_beyond_every_deadline_of_the_channel(node: Watched) -> None:
    tab = node.tab()
    node.run(600)
    node.sample()
    assert tab.names()[-1] == "sample"
    assert not tab.wire.closed


# Going on.


def test_a_tab_that_comes_back_gets_what_it_missed(node: Watched) -> None:
    tab = node.tab()
    node.sample(1)
    last = tab.events()[-1].id
    tab.connection.lose()
    node.sample(2)
    node.run(1)
    node.sample(3)
    back = node.tab(Last_Event_ID=last)
    assert [(event.name, event.data["t"]) for event in back.events()] == [("sample", 2), ("sample", 3)]
    node.sample(4)
    assert [event.id for event in back.events()] == ["b00t-4"]


def test_a_tab_that_missed_nothing_gets_nothing(node: Watched) -> None:
    node.tab()
    assert node.tab(Last_Event_ID="b00t-0").names() == []


def test_a_tab_whose_place_is_no_longer_in_the_ring_begins_anew(node: Watched) -> None:
    node.tab()
    for number in range(RING_EVENTS_MAX + 1):
        node.sample(number)
    assert node.tab(Last_Event_ID="b00t-0").names() == ["snapshot"]
    assert len(node.tab(Last_Event_ID="b00t-1").names()) == RING_EVENTS_MAX


def test_the_ring_is_bounded_in_bytes(node: Watched) -> None:
    node.tab()
    for _ in range(10):
        node.feed.tell("sample", b'"%s"' % (b"x" * (RING_BYTES_MAX // 4)))
        assert node.feed._ring_bytes == sum(len(event) for _, event in node.feed._ring) <= RING_BYTES_MAX
    assert node.tab(Last_Event_ID="b00t-5").names() == ["snapshot"]


@pytest.mark.parametrize("last", ["other-0", "b00t-", "b00t-x", "b00t-7", "nonsense", "b00t--1", f"b00t-{'9' * 30}", "b00t-²"])
def test_an_id_that_is_none_of_this_life_begins_anew(last: str, node: Watched) -> None:
    node.tab()
    assert node.tab(Last_Event_ID=last).names() == ["snapshot"]


def test_a_tab_that_was_away_for_long_begins_anew_and_nothing_is_encoded_meanwhile(node: Watched) -> None:
    tab = node.tab()
    last = tab.events()[-1].id
    tab.connection.lose()
    node.run(LINGER_SECONDS)
    node.sample()
    assert len(node.feed._ring) == 0
    assert node.clock.getDelayedCalls() == []
    assert node.tab(Last_Event_ID=last).names() == ["snapshot"]


# A tab that does not read.


def test_nothing_is_queued_for_a_tab_that_does_not_read_and_then_it_gets_a_snapshot(node: Watched) -> None:
    slow, quick = node.tab(), node.tab()
    slow.events(), quick.events()
    slow.stops_reading()
    for number in range(20):
        node.sample(number)
    assert slow.events() == []
    assert quick.names() == ["sample"] * 20
    slow.reads_again()
    (event,) = slow.events()
    assert (event.id, event.name) == ("b00t-20", "snapshot")
    node.sample()
    assert slow.names() == ["sample"]


def test_a_tab_that_missed_nothing_while_it_did_not_read_gets_nothing(node: Watched) -> None:
    tab = node.tab()
    tab.events()
    tab.stops_reading()
    tab.reads_again()
    assert tab.events() == []


def test_a_tab_that_does_not_read_for_a_minute_is_cut_off(node: Watched) -> None:
    dead, alive = node.tab(), node.tab()
    dead.stops_reading()
    node.run(STALLED_SECONDS - 1)
    dead.wire.producer.pauseProducing()  # told again by a transport that is full still
    assert not dead.wire.disconnected
    node.run(1)
    assert dead.wire.disconnected
    dead.connection.lose()
    assert len(node.feed.tabs) == 1
    assert not alive.wire.closed


# Limits, and the end.


def test_beyond_the_limit_a_feed_is_refused_with_a_sentence_until_one_ends() -> None:
    node = Watched(feeds_max=2)
    first, _ = node.tab(), node.tab()
    refused = node.tab().connection.response()
    assert (refused.status, refused.code) == (503, "overloaded")
    assert refused.header("Retry-After") is not None
    assert "2 feeds are open" in refused.json["detail"]
    first.connection.lose()
    assert node.tab().names() == ["snapshot"]


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}]
)
def test_a_page_of_another_origin_may_not_watch(headers: dict[str, str], node: Watched) -> None:
    response = node.call("GET", "/console/feed", headers=headers)
    assert (response.status, response.code) == (403, "cross_origin")
    assert node.feed.tabs == set()


def test_the_nodes_own_page_may_watch(node: Watched) -> None:
    assert node.tab(Sec_Fetch_Site="same-origin", Origin="http://localhost:8080").names() == ["snapshot"]


def test_head_and_post_take_no_feed(node: Watched) -> None:
    head = node.call("HEAD", "/console/feed")
    assert (head.status, head.header("Content-Length")) == (200, None), "a stream has no length"
    assert node.post("/console/feed", {}).code == "method_not_allowed"
    assert node.feed.tabs == set()


@pytest.mark.parametrize("target", ["/console/feed/", "/console/feed/..", "/console/feed/x"])
def test_a_path_below_the_feed_is_none(target: str, node: Watched) -> None:
    assert node.get(target).code == "not_found"
    assert node.feed.tabs == set()


def test_a_node_that_stops_ends_every_feed_at_once(node: Watched) -> None:
    reading, stuck = node.tab(), node.tab()
    stuck.stops_reading()
    node.site.stopping = True
    node.feed.stop()
    assert reading.connection.response().complete
    assert stuck.wire.disconnected
    stuck.connection.lose()
    assert not node.site.is_answering()
    assert node.tab().connection.response().code == "not_ready"
    node.run(2)
    assert node.asked == [], "nobody is asked any more"


def test_a_source_that_breaks_ends_the_feeds_and_the_next_tab_begins_anew(node: Watched, caplog: Any) -> None:
    tab = node.tab()
    node.feed._sources = node.feed._sources._replace(ask_peers=lambda: 1 // 0)  # type: ignore[arg-type,return-value]
    node.run(1)
    assert tab.connection.response().complete
    node.feed._sources = node.feed._sources._replace(ask_peers=node.ask)
    assert node.tab(Last_Event_ID="b00t-0").names() == ["snapshot"]


def test_tabs_that_come_together_get_one_snapshot_that_was_made_once(node: Watched) -> None:
    made = []
    node.feed._sources = node.feed._sources._replace(history=lambda: made.append(1) or node.history())
    bodies = {node.tab().body for _ in range(10)}
    assert (len(bodies), len(made)) == (1, 1)
    assert feed_module.RETRY in next(iter(bodies))
