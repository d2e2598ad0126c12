"""The console before three real nodes: what happens to them is seen while it happens."""

from __future__ import annotations

import json
import re
from typing import Any

from console_kit import Tabs, base_of, copy_curl, escape
from playwright_or_skip import expect

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster


def url(cluster: LocalCluster, node_id: str, route: str = "#/cluster") -> str:
    return f"http://{cluster.nodes[node_id].address}/console/{route}"


def row(page: Any, node_id: str) -> Any:
    return page.locator(f"tr[data-node='{node_id}']")


def test_writes_are_seen_to_flow_from_the_leader_to_the_others(cluster: LocalCluster, table: str, tabs: Tabs) -> None:
    leader = cluster.wait_master(cluster.nodes)
    with tabs.open(url(cluster, "2")) as page:
        expect(row(page, leader)).to_contain_text("leader")
        for node_id in cluster.nodes:
            expect(row(page, node_id)).to_contain_text("ready")
        for number in range(60):
            assert call(cluster.nodes["3"].address, "POST", "/insert", {"table_name": table, "data": {"anything": number}}).ok
        expect(page.locator(".stream-rate", has_text=re.compile(r"[1-9].*/s")).first).to_be_visible()
        expect(page.get_by_role("img", name=f"Node {leader} leads, entries flow from it to node")).to_be_visible()
        tabs.shoot(page, "cluster-live")


def test_the_death_of_the_master_is_seen_in_the_picture_and_in_the_timeline(cluster: LocalCluster, tabs: Tabs) -> None:
    leader = cluster.wait_master(cluster.nodes)
    watcher = next(node_id for node_id in cluster.nodes if node_id != leader)
    others = [node_id for node_id in cluster.nodes if node_id != leader]
    with tabs.open(url(cluster, watcher)) as page:
        expect(row(page, leader)).to_contain_text("leader")
        before = page.locator(".events li").count()
        cluster.kill(leader)
        expect(row(page, leader)).to_contain_text("no answer")
        expect(page.get_by_role("img", name=re.compile(rf"Node [{''.join(others)}] leads.* No answer from node {leader}"))).to_be_visible()
        expect(page.locator(".events li[data-kind='leader_elected']").first).to_contain_text("elected")
        assert page.locator(".events li").count() > before
        expect(row(page, leader).get_by_role("button", name=f"Make node {leader} the leader")).to_be_disabled()
        tabs.shoot(page, "cluster-master-killed")
        cluster.start(leader)
        expect(row(page, leader)).to_contain_text("ready", timeout=40_000)
        expect(page.locator(".events li[data-kind='peer_back']").first).to_be_visible()
    cluster.wait_ready()


def test_leadership_is_handed_over_only_after_a_question_that_says_what_will_happen(cluster: LocalCluster, tabs: Tabs) -> None:
    leader = cluster.wait_master([cluster.preferred_id])  # else it would take leadership back in between
    to = next(node_id for node_id in ("3", "2", "1") if node_id != leader)
    with tabs.open(url(cluster, "1")) as page:
        expect(row(page, to).get_by_role("button", name=f"Make node {to} the leader")).to_be_enabled()
        row(page, to).get_by_role("button", name=f"Make node {to} the leader").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(f"Node {to} becomes the leader")
        expect(dialog).to_contain_text("Writes that arrive meanwhile are held")
        expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        escape(page)
        assert cluster.master_id() == leader, "Esc does nothing"
        row(page, to).get_by_role("button", name=f"Make node {to} the leader").click()
        assert json.loads(re.findall(r"-d '(.*?)'", copy_curl(page, dialog.get_by_role("button", name="Copy as curl")))[0]) == {"to": to}
        dialog.get_by_role("button", name=f"Let node {to} lead").click()
        expect(page.locator(".toast", has_text=f"Node {to} leads now")).to_be_visible()
        expect(row(page, to)).to_contain_text("leader")
        row(page, to).get_by_role("button", name=f"Step node {to} down").click()
        dialog.get_by_role("button", name=f"Step node {to} down").click()
        expect(dialog).to_have_count(0)
        expect(row(page, to)).to_contain_text("follower")


def test_the_console_of_a_node_that_dies_says_so_and_leads_to_the_others(cluster: LocalCluster, tabs: Tabs) -> None:
    leader = cluster.wait_master(cluster.nodes)
    watched = next(node_id for node_id in ("3", "2", "1") if node_id != leader)
    with tabs.open(url(cluster, watched)) as page:
        expect(row(page, leader)).to_contain_text("leader")
        cluster.kill(watched)
        expect(page.locator(".banner", has_text="Stale")).to_be_visible()
        expect(page.locator(".banner").get_by_role("link")).to_have_count(2)
        tabs.errors.clear()  # the browser's own lines on the refused connection
        cluster.start(watched)
        expect(page.locator(".banner", has_text="Stale")).to_be_hidden(timeout=40_000)
        tabs.errors.clear()
        page.evaluate("location.hash = '#/charts'")
        link = page.locator("main .head").get_by_role("link").first
        link.click()
        expect(page.get_by_role("heading", name="Charts")).to_be_visible()
        assert base_of(page.url) != f"http://{cluster.nodes[watched].address}"
    cluster.wait_ready()
