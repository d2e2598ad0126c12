"""Text that tries to be HTML, wherever users or nodes can put text: it is shown, and does nothing."""

from __future__ import annotations

import json
import time
from typing import Any

from console_kit import Tabs, escape
from console_played import PlayedNode, peer, status
from playwright_or_skip import expect

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster

EVIL = "<img src=x onerror=window.hit=1><script>window.hit=1</script><svg onload=window.hit=1>\"'><b>bold</b>&amp;{{7*7}}${1}"


def assert_harmless(page: Any) -> None:
    assert page.evaluate("window.hit") is None
    assert page.locator("body img, body iframe, body script, body b:text-is('bold'), body object").count() == 0


def test_no_cell_no_row_id_and_no_error_becomes_html(cluster: LocalCluster, table: str, tabs: Tabs) -> None:
    data = {"anything": EVIL, "text_column": EVIL, "json_column": {EVIL: [EVIL, {"__proto__": EVIL}]}}
    reply = call(cluster.nodes["1"].address, "POST", "/insert", {"table_name": table, "row_id": EVIL, "data": data})
    assert reply.ok, reply.text
    with tabs.open(f"http://{cluster.nodes['2'].address}/console/#/data/DDB0/{table}") as page:
        expect(page.locator("table.rows tbody tr")).to_contain_text("<img src=x onerror")
        assert_harmless(page)
        page.locator("table.rows tbody th a").click()
        expect(page.get_by_role("dialog").locator("[data-column='text_column'] textarea")).to_have_value(EVIL)
        assert_harmless(page)
        escape(page)
        page.get_by_role("button", name="Delete the row").click()
        expect(page.get_by_role("dialog")).to_contain_text("<script>")
        assert_harmless(page)
        escape(page)
        page.get_by_role("button", name="Insert a row…").click()
        page.get_by_role("dialog").get_by_label("row_id").fill(EVIL)
        page.get_by_role("dialog").get_by_role("button", name="Insert", exact=True).click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("row_exists")
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("<img")
        assert_harmless(page)


def test_no_address_of_the_page_becomes_html(cluster: LocalCluster, tabs: Tabs) -> None:
    name = "%3Cimg%20src%3Dx%20onerror%3Dwindow.hit%3D1%3E"
    routes = (
        *(f"#/data/{name}", f"#/data/{name}/{name}", f"#/data/DDB0/t?column={name}&value={name}", f"#/charts?range={name}"),
        *(f"#/api?q={name}", f"#/{name}", "#/data/%E0%A4%A"),
    )
    with tabs.open(f"http://{cluster.nodes['2'].address}/console/") as page:
        for route in routes:
            page.evaluate("route => { location.hash = route; }", route)
            page.get_by_role("heading", level=1).wait_for()
            assert_harmless(page)


def test_nothing_that_a_node_tells_becomes_html(played: PlayedNode, tabs: Tabs) -> None:
    """A node may be another version, or no node at all: its words are text too."""
    evil = status("2", "1", waiting=EVIL)
    evil["databases"] = [{"name": EVIL, "tables": [{"name": EVIL, "columns": [EVIL], "types": [EVIL], "indexed": [EVIL], "row_count": 3}]}]
    evil["state"]["hash"] = EVIL
    played.scene["status"] = evil
    played.scene["peers"] = [
        peer("1", status("1", "1"), address="javascript:window.hit=1"),
        peer("2", evil, address=EVIL),
        peer("3", None, address="x:1/../@evil", error=EVIL),
        peer(EVIL, status("3", "1")),
    ]
    played.happen(EVIL, EVIL, EVIL, **{EVIL: [EVIL]})
    with tabs.open(played.url) as page:
        expect(page.locator(".events li")).to_contain_text("<img")
        played.say("peers", {"now": time.time(), "peers": played.scene["peers"]})
        expect(page.locator("tr[data-node='3']")).to_contain_text("onerror")
        page.locator(".events summary").click()
        assert_harmless(page)
        assert page.locator("a[href^='javascript']").count() == 0
        tabs.shoot(page, "hostile")
        page.evaluate("location.hash = '#/data'")
        expect(page.locator("section.database")).to_contain_text("<img")
        assert_harmless(page)
        played.say("peers", {"now": time.time(), "peers": played.scene["peers"]})
        page.evaluate("location.hash = '#/charts'")
        page.get_by_role("heading", name="Charts").wait_for()
        assert_harmless(page)


def test_no_word_of_the_description_of_the_calls_becomes_html(played: PlayedNode, tabs: Tabs) -> None:
    parameter = {
        "name": EVIL,
        "in": "query",
        "required": True,
        "description": EVIL,
        "schema": {"type": "string", "enum": [EVIL]},
        "example": EVIL,
    }
    call_ = {"tags": [EVIL], "summary": EVIL, "description": EVIL, "parameters": [parameter], "responses": {"200": {"description": EVIL}}}
    document = {"info": {"title": EVIL, "version": EVIL}, "paths": {"/" + EVIL: {"get": call_}}}
    played.answers["/openapi.json"] = (200, "application/json", json.dumps(document).encode())
    with tabs.open(played.url + "#/api") as page:
        page.locator("details.call > summary").click()
        expect(page.locator(".call-body")).to_contain_text("<img")
        assert_harmless(page)
