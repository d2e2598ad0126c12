"""The console before a node that is played: states that a real cluster shows for a moment, or never."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from console_kit import PHONE, Tabs
from console_played import PlayedNode, peer, status
from playwright_or_skip import expect


def say_peers(node: PlayedNode, *peers: dict[str, Any]) -> None:
    node.scene["peers"] = list(peers)
    node.say("peers", {"now": time.time(), "peers": list(peers)})


def test_a_node_that_falls_silent_is_said_to_be_stale_with_ways_to_the_others(tabs: Tabs, played: PlayedNode) -> None:
    with tabs.open(played.url + "#/charts?range=15m") as page:
        page.get_by_text("Node 2 · node 1 leads").wait_for()
        banner = page.locator(".banner", has_text="Stale")
        banner.wait_for()  # nothing was said for some seconds
        assert "trying again" in banner.inner_text()
        links = banner.get_by_role("link").evaluate_all("links => links.map(link => link.href)")
        assert links == ["http://localhost:8080/console/#/charts?range=15m", "http://localhost:8082/console/#/charts?range=15m"]
        assert page.get_by_text("Node 2 · stale").is_visible()
        tabs.shoot(page, "stale")
        say_peers(played, *played.scene["peers"])
        banner.wait_for(state="hidden")


def test_a_stream_that_breaks_is_opened_again(tabs: Tabs, played: PlayedNode) -> None:
    with tabs.open(played.url) as page:
        page.locator("tr[data-node='1']").wait_for()
        played.scene["status"] = status("2", "3", term=9)
        played.scene["peers"] = [peer(i, status(i, "3", term=9)) for i in ("1", "2", "3")]
        played.hang_up()
        page.get_by_text("Node 2 · node 3 leads").wait_for()
        assert "term 9" in page.locator("main .head p").inner_text()


def test_a_node_that_has_no_place_for_one_more_tab_is_asked_again(tabs: Tabs, played: PlayedNode) -> None:
    played.refused = True
    with tabs.open(played.url) as page:
        page.locator(".banner", has_text="Stale").wait_for()
        played.refused = False
        page.locator("tr[data-node='1']").wait_for()


def test_no_leader_and_no_quorum_are_said_above_every_view(tabs: Tabs, played: PlayedNode) -> None:
    with tabs.open(played.url + "#/data") as page:
        page.get_by_text("Node 2 · node 1 leads").wait_for()
        played.say("status", {"now": time.time(), "status": status("2", None)})
        page.get_by_text("No leader", exact=True).wait_for()
        page.evaluate("location.hash = '#/cluster'")
        say_peers(
            played, peer("1", None, error="connection refused"), peer("2", status("2", None)), peer("3", None, error="no answer within 1 s")
        )
        page.get_by_text("No quorum").wait_for()
        assert "1 of 3 voting nodes answer here, 2 are needed" in page.locator("#banners").inner_text()
        assert page.get_by_role("img", name="Nobody leads").is_visible()
        tabs.shoot(page, "no-quorum")


def test_a_state_hash_that_differs_is_flagged(tabs: Tabs, played: PlayedNode) -> None:
    odd = status("3", "1", state={"index": 12_480, "hash": "0000000000000000", "compared_index": None})
    with tabs.open(played.url) as page:
        page.locator("tr[data-node='3']").wait_for()
        assert page.get_by_text("differs").count() == 3
        assert page.locator("tr[data-node='3']").get_by_text("differs").is_hidden()
        say_peers(played, peer("1", status("1", "1")), peer("2", status("2", "1")), peer("3", odd))
        page.locator("tr[data-node='3']").get_by_text("differs").wait_for()
        assert page.locator("tr[data-node='1']").get_by_text("differs").is_hidden()


def test_entries_flow_along_the_picture_and_stand_still_for_who_wants_no_motion(tabs: Tabs, played: PlayedNode) -> None:
    dots = "!(one instanceof CSSTransition) && one.effect.target.matches('.dots')"
    running = f"document.getAnimations().filter((one) => one.playState === 'running' && {dots}).length"
    for motion, moving in (("no-preference", 2), ("reduce", 0)):
        with tabs.open(played.url, reduced_motion=motion) as page:
            page.locator("tr[data-node='3']").wait_for()
            for index in (12_500, 12_540):
                say_peers(played, *(peer(i, status(i, "1", applied_index=index, commit_index=index)) for i in ("1", "2", "3")))
            page.locator(".stream-rate", has_text="/s").first.wait_for()
            assert page.evaluate(running) == moving
            if moving:
                tabs.shoot(page, "flow")


def test_the_timeline_has_the_newest_first_and_details_on_demand(tabs: Tabs, played: PlayedNode) -> None:
    played.happen("node_started", "node 2 started")
    with tabs.open(played.url) as page:
        page.get_by_text("Node 2 started").wait_for()
        played.happen("leader_elected", "node 2 was elected by 2 of 3 in 41 ms", "2", votes=["2", "3"], took_ms=41)
        page.get_by_text("Node 2 was elected").wait_for()
        events = page.locator(".events li")
        assert [line.split("\n")[-1] for line in events.all_inner_texts()] == ["Node 2 was elected by 2 of 3 in 41 ms", "Node 2 started"]
        events.first.locator("summary").click()
        assert "took ms" in events.first.inner_text()
        played.happen("peer_lost", "node 3 does not answer")
        page.get_by_text("Node 3 does not answer").wait_for()
        assert events.nth(1).locator("details").get_attribute("open") is not None, "it stays open when another comes"


def test_the_keyboard_passes_a_long_timeline_in_one_step(tabs: Tabs, played: PlayedNode) -> None:
    for number in range(60):
        played.happen("peer_lost", f"node 3 stopped answering, time {number}")
    with tabs.open(played.url) as page:
        page.get_by_text("time 59").wait_for()
        page.get_by_role("button", name="Copy status as curl").focus()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Skip to the nodes")).to_be_focused()
        tabs.shoot(page, "skip-timeline")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Nodes")).to_be_focused()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('.events') === null")


def test_a_chart_has_a_cursor_for_mouse_and_keys_and_the_same_numbers_as_a_table(tabs: Tabs, played: PlayedNode) -> None:
    with tabs.open(played.url + "#/charts?range=1m") as page:
        plot = page.locator("[data-chart='rates']")
        slider = plot.get_by_role("slider")
        page.locator("[data-chart='rates'] path.line").first.wait_for(state="attached")
        slider.focus()
        page.keyboard.press("Home")
        first = slider.get_attribute("aria-valuetext")
        page.keyboard.press("ArrowRight")
        assert first is not None
        assert "Writes" in first
        assert slider.get_attribute("aria-valuetext") != first
        others = page.locator(".moment").all_inner_texts()
        assert len(set(others)) == 1, "all charts show the same moment"
        page.keyboard.press("Escape")
        assert plot.locator(".moment").inner_text() == "newest"
        slider.hover(position={"x": 40, "y": 40})
        assert plot.locator(".moment").inner_text() != "newest"
        page.get_by_role("button", name="Pause").click()
        assert "hold=" in page.url
        drawn = plot.locator("path.line").first.get_attribute("d")
        now = time.time()
        played.say("sample", {"t": int(now) + 1, "writes": 1e6, "reads": 1e6})
        page.get_by_role("link", name="Table").click()
        assert page.locator("table.numbers tbody tr").count() >= 55
        assert "1,000,000" not in page.locator("table.numbers").inner_text(), "the pause holds in both forms"
        page.get_by_role("link", name="Lines").click()
        assert plot.locator("path.line").first.get_attribute("d") == drawn
        page.reload()
        page.get_by_role("button", name="Go on").wait_for()


def test_every_range_is_drawn(tabs: Tabs, played: PlayedNode) -> None:
    with tabs.open(played.url + "#/charts") as page:
        for name in ("1m", "15m", "1h", "24h", "5m"):
            page.get_by_role("link", name=name, exact=True).click()
            page.wait_for_url(f"**range={name}")
            expect(page.locator("[data-chart='write'] path.line").first).to_have_attribute("d", re.compile(".{300,}"))
            tabs.shoot(page, f"charts-{name}")


def test_of_ten_thousand_tables_some_are_shown_and_each_is_found(tabs: Tabs, played: PlayedNode) -> None:
    tables = [{"name": f"t{n}", "columns": ["a"], "row_count": n} for n in range(10_000)]
    told = {**played.scene["status"], "databases": [{"name": "DDB0", "tables": tables}]}
    played.scene["status"] = told
    played.answers["/status"] = (200, "application/json", json.dumps(told).encode())
    with tabs.open(played.url + "#/data") as page:
        expect(page.locator("table.tables tbody tr")).to_have_count(200)
        expect(page.locator(".database")).to_contain_text("10,000 tables")
        expect(page.locator(".cut")).to_contain_text("The first 200 of 10,000")
        page.keyboard.press("/")
        page.keyboard.type("T999")
        expect(page.locator("table.tables tbody th")).to_have_text(["t999", *(f"t999{n}" for n in range(10))])
        expect(page.locator("input.find")).to_be_focused()
        page.keyboard.type("x")
        expect(page.locator(".cut")).to_contain_text("t999x")


def test_a_table_that_the_feed_has_not_told_of_yet_is_asked_for(tabs: Tabs, played: PlayedNode) -> None:
    told = status("2", "1", databases=[{"name": "DDB0", "tables": [{"name": "new", "columns": ["a"], "row_count": 1}]}])
    played.answers["/status"] = (200, "application/json", json.dumps(told).encode())
    played.answers["/select"] = (200, "application/json", b'[{"row_id":"1","a":7,"_version":5}]')
    with tabs.open(played.url + "#/cluster") as page:
        expect(page.locator("#pulse")).to_contain_text("leads")
        page.evaluate("location.hash = '#/data/DDB0/new'")
        expect(page.locator(".number-of-rows")).to_have_text("1 row, 1 column")


@pytest.mark.parametrize(
    ("staleness", "age"), [("unknown", "of unknown age"), ("300", "about 1 s old at most"), ("7200000", "about 2 h old at most")]
)
def test_without_a_leader_the_own_copy_of_the_node_is_offered(tabs: Tabs, played: PlayedNode, staleness: str, age: str) -> None:
    played.staleness = staleness
    refusal = {"title": "No leader", "detail": "no leader was elected before the timeout", "code": "no_leader"}
    played.answers["/select"] = (503, "application/problem+json", json.dumps(refusal).encode())
    played.local_answers["/select"] = (200, "application/json", b'[{"row_id":"1","name":"Ahmed","grade":"A","_version":5}]')
    with tabs.open(played.url + "#/data/DDB0/students") as page:
        page.get_by_role("link", name="Read this node's own copy").click()
        expect(page.locator("td", has_text="Ahmed")).to_be_visible()
        note = page.get_by_text(f"This node's own copy, {age}.")
        expect(note).to_be_visible()
        assert "consistency=local" in page.url
        tabs.shoot(page, "own-copy")
        played.answers["/select"] = (200, "application/json", b"[]")
        page.get_by_role("link", name="Ask the cluster").click()
        expect(page.get_by_text("No row yet")).to_be_visible()
        expect(note).to_be_hidden()


def test_the_calls_are_shown_from_the_document_and_a_node_without_one_says_so(tabs: Tabs, played: PlayedNode) -> None:
    with tabs.open(played.url + "#/api") as page:
        page.get_by_text("This node does not describe its calls").wait_for()
        assert "docs/http.md" in page.locator("main").inner_text()


def test_the_theme_is_remembered_and_set_before_the_first_paint(tabs: Tabs, played: PlayedNode) -> None:
    with tabs.open(played.url, color_scheme="light") as page:
        colour = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(colour)
        button = page.get_by_role("button", name="Theme")
        button.click()
        button.click()
        assert button.get_attribute("aria-label") == "Theme: dark"
        dark = page.evaluate(colour)
        page.reload()
        assert page.evaluate(colour) == dark != light
        button.click()
        assert page.evaluate(colour) == light, "as the system has it"


def test_a_phone_shows_each_node_as_a_card(tabs: Tabs, played: PlayedNode) -> None:
    with tabs.open(played.url, viewport=PHONE) as page:
        row = page.locator("tr[data-node='2']")
        row.wait_for()
        assert row.bounding_box()["width"] < 345
        assert row.get_by_role("button", name="Make node 2 the leader").is_visible()


def test_nodes_that_were_not_asked_yet_are_no_alarm(tabs: Tabs, played: PlayedNode) -> None:
    quiet = [peer(i, None, error="not asked yet", seen=None) for i in ("1", "3")]
    played.scene["peers"] = [quiet[0], peer("2", status("2", "1")), quiet[1]]
    with tabs.open(played.url) as page:
        row = page.locator("tr[data-node='3']")
        row.get_by_text("asking").first.wait_for()
        assert page.locator(".banner:visible").count() == 0
        assert "not asked yet" not in row.inner_text()
        say_peers(played, peer("1", status("1", "1")), peer("2", status("2", "1")), peer("3", None, error="connection refused"))
        row.get_by_text("no answer").wait_for()
