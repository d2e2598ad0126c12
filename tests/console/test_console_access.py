"""Who sees badly, has no mouse, or holds a phone can use every view."""

from __future__ import annotations

import json
from typing import Any

import pytest
from console_kit import DESK, PHONE, Tabs, axe_script, escape
from playwright_or_skip import expect

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster

TABLE = "seen"
ROWS = [{"row_id": f"r{n}", "data": {"name": f"name {n}", "n": n, "j": {"a": [n]}, "b": n % 2 == 0}} for n in range(30)]
VIEWS = {
    "cluster": "#/cluster",
    "charts": "#/charts?range=1m",
    "numbers": "#/charts?range=1m&as=table",
    "data": "#/data",
    "rows": f"#/data/DDB0/{TABLE}",
    "row": f"#/data/DDB0/{TABLE}?row=r1",
    "new-row": f"#/data/DDB0/{TABLE}?new=1",
    "empty": f"#/data/DDB0/{TABLE}?column=name&value=nobody",
    "api": "#/api",
}
READY = {
    "row": "dialog [data-column]",
    "new-row": "dialog [data-column]",
    "rows": "table.rows tbody tr",
    "empty": ".empty",
    "cluster": "tr[data-node]",
}

WATCH_SHIFTS = """() => {
  window.shift = 0;
  const watch = new PerformanceObserver((list) => list.getEntries().forEach((entry) => { window.shift += entry.value; }));
  watch.observe({type: "layout-shift", buffered: false});
}"""


@pytest.fixture(scope="module", autouse=True)
def seen_table(cluster: LocalCluster) -> None:
    address = cluster.nodes["1"].address
    columns = ["name", {"name": "n", "type": "integer", "index": True}, {"name": "j", "type": "json"}, {"name": "b", "type": "boolean"}]
    assert call(address, "POST", "/create_table", {"table_name": TABLE, "columns": columns}).ok
    assert call(address, "POST", "/insert", {"table_name": TABLE, "rows": ROWS, "upsert": True}).ok


def goto(page: Any, view: str) -> None:
    page.evaluate("address => { location.hash = address; }", VIEWS[view])
    page.locator(READY.get(view, "main h1")).first.wait_for()
    expect(page.locator("#pulse")).to_contain_text("leads")
    expect(page.locator(".loading")).to_have_count(0)


def base(cluster: LocalCluster) -> str:
    return f"http://{cluster.nodes['2'].address}/console/"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_a_serious_finding_of_axe(cluster: LocalCluster, tabs: Tabs, scheme: str) -> None:
    found = {}
    with tabs.open(base(cluster), color_scheme=scheme, reduced_motion="reduce") as page:
        page.evaluate(axe_script())
        for view in VIEWS:
            goto(page, view)
            tabs.shoot(page, f"{view}-{scheme}")
            violations = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations)")
            bad = [
                (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
                for one in violations
                if one["impact"] in ("serious", "critical")
            ]
            if bad:
                found[view] = bad
    assert found == {}, json.dumps(found, indent=1)


def test_axe_finds_what_is_wrong(cluster: LocalCluster, tabs: Tabs) -> None:
    with tabs.open(base(cluster)) as page:
        page.evaluate(axe_script())
        page.evaluate("document.querySelector('main').append(document.createElement('input'))")
        violations = page.evaluate(
            "axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations.map((one) => one.id))"
        )
        assert "label" in violations


def test_no_view_scrolls_sideways_on_a_phone(cluster: LocalCluster, tabs: Tabs) -> None:
    too_wide = {}
    with tabs.open(base(cluster), viewport=PHONE, has_touch=True, is_mobile=True) as page:
        for view in VIEWS:
            goto(page, view)
            tabs.shoot(page, f"{view}-phone")
            width = page.evaluate("Math.max(document.documentElement.scrollWidth, document.querySelector('dialog')?.scrollWidth ?? 0)")
            if width > PHONE["width"]:
                too_wide[view] = width
    assert too_wide == {}


def test_the_longest_names_fit_the_smallest_screen(cluster: LocalCluster, tabs: Tabs) -> None:
    """320 px is what WCAG 1.4.10 asks for."""
    database, long_table, row_id = "D" + "o" * 62, "T" + "b" * 62, "R" * 1024
    address = cluster.nodes["1"].address
    for path, body in (
        ("/init_database", {"db_name": database}),
        ("/create_table", {"db_name": database, "table_name": long_table, "columns": ["c" + "x" * 62]}),
        ("/insert", {"db_name": database, "table_name": long_table, "row_id": row_id, "data": {}}),
        ("/init_database", {"db_name": "DDB0"}),  # the default one again
    ):
        assert call(address, "POST", path, body).ok
    place = f"#/data/{database}/{long_table}"
    with tabs.open(base(cluster), viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True) as page:
        for view, ready in (
            ("#/data", ".database"),
            (f"#/data/{database}", ".database"),
            (place, "table.rows tbody tr"),
            (f"{place}?row={row_id}", "dialog [data-column]"),
            (f"{place}?new=1", "dialog [data-column]"),
        ):
            page.evaluate("address => { location.hash = address; }", view)
            page.locator(ready).first.wait_for()
            expect(page.locator("#pulse")).to_contain_text("leads")
            tabs.shoot(page, f"longest-{view.count('/')}{'-row' if '?' in view else ''}-320")
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, view
            beyond = page.evaluate(
                "[...document.querySelectorAll('h1, h2, .crumbs a')].filter((one) => one.scrollWidth > one.clientWidth + 1"
                " && getComputedStyle(one).display !== 'inline' || one.getBoundingClientRect().right > 320).map((one) => one.textContent)"
            )
            assert beyond == [], view
            pulse, theme = page.locator("#pulse").bounding_box(), page.locator("#theme").bounding_box()
            text = page.evaluate("document.getElementById('pulse-text').getBoundingClientRect().right")
            assert pulse["x"] + pulse["width"] <= theme["x"], view
            assert text <= theme["x"], view
            assert page.evaluate("document.querySelector('dialog[open] .dialog-body')?.clientHeight ?? 640") > 150, view


def test_nothing_jumps_while_rows_are_loaded_again(cluster: LocalCluster, tabs: Tabs) -> None:
    with tabs.open(base(cluster) + VIEWS["rows"], viewport=DESK) as page:
        page.locator("table.rows tbody tr").first.wait_for()
        page.evaluate(WATCH_SHIFTS)
        page.get_by_label("Rows a page").select_option("25")
        expect(page.locator("table.rows tbody tr")).to_have_count(25)
        assert page.evaluate("window.shift") < 0.02


def test_a_row_is_changed_with_the_keyboard_alone(cluster: LocalCluster, tabs: Tabs) -> None:
    with tabs.open(base(cluster)) as page:
        page.locator("tr[data-node]").first.wait_for()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_contain_text("Keyboard shortcuts")
        escape(page)
        for key, heading in (("h", "Charts"), ("c", "Cluster"), ("a", "API"), ("d", "Data")):
            page.keyboard.press("g")
            page.keyboard.press(key)
            expect(page.get_by_role("heading", level=1, name=heading)).to_be_visible()
        tab_to(page, "a", TABLE)
        page.keyboard.press("Enter")
        page.locator("table.rows tbody tr").first.wait_for()
        page.keyboard.press("/")
        page.keyboard.type("name 7")
        page.keyboard.press("Enter")
        expect(page.locator("table.rows tbody tr")).to_have_count(1)
        tab_to(page, "a", "r7")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog").locator("textarea").first).to_be_focused()
        page.keyboard.press("Control+A")
        page.keyboard.type("by keys")
        tab_to(page, "button", "Save")
        page.keyboard.press("Enter")
        expect(page.locator(".toast", has_text="Saved the row r7.")).to_be_visible()
    assert "by keys" in call(cluster.nodes["3"].address, "GET", f"/select?table={TABLE}&row_id=r7").text


def tab_to(page: Any, tag: str, text: str) -> None:
    """Presses Tab until that has the focus, which can be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        tag_now, text_now, outline = page.evaluate(
            "(() => { const e = document.activeElement; return [e.localName, e.textContent, getComputedStyle(e).outlineStyle]; })()"
        )
        assert outline != "none", f"the focus on {tag_now} {text_now[:40]!r} cannot be seen"
        if tag_now == tag and text_now.strip() == text:
            return
    raise AssertionError(f"Tab does not come to {tag} {text!r}")
