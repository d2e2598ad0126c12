"""Rows through the console, at a node that does not lead, and looked at through the plain calls."""

from __future__ import annotations

import json
import re
from typing import Any

from console_kit import Tabs, escape
from playwright_or_skip import expect

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster

ODD_IDS = [" a b ", "/?#&=%25+", "'\"`$(x)\\", "ä😀", "<b>", "../..", "a\nb", "\u202eevil"]


def console(cluster: LocalCluster, route: str) -> str:
    return f"http://{cluster.nodes['2'].address}/console/#/data{route}"


def put(cluster: LocalCluster, table: str, row_id: str, data: dict[str, Any]) -> int:
    reply = call(cluster.nodes["3"].address, "POST", "/insert", {"table_name": table, "row_id": row_id, "data": data, "upsert": True})
    assert reply.ok, reply.text
    return int(reply.json()["version"])


def rows(cluster: LocalCluster, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call(cluster.nodes["3"].address, "GET", f"/select?table={table}").text)
    return found


def field(page: Any, column: str) -> Any:
    return page.get_by_role("dialog").locator(f"[data-column='{column}']")


def fill(page: Any, column: str, kind: str, value: str | None = None) -> None:
    field(page, column).get_by_label(f"Kind of {column}").select_option(kind)
    if value is not None:
        control = field(page, column).locator(".full input, .full textarea, .full select").first
        control.select_option(value) if kind == "boolean" else control.fill(value)


def test_a_database_and_a_table_are_made_and_dropped_with_their_name_typed(cluster: LocalCluster, tabs: Tabs) -> None:
    with tabs.open(console(cluster, "")) as page:
        page.get_by_role("button", name="New database…").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("9lives")
        dialog.get_by_role("button", name="Make it").click()
        expect(dialog.get_by_role("alert")).to_contain_text("invalid_name")
        dialog.get_by_label("Name").fill("SHOP")
        page.keyboard.press("Enter")
        section = page.locator("[data-db='SHOP']")
        expect(section).to_contain_text("No table yet")
        section.get_by_role("button", name="New table, SHOP").click()
        dialog.get_by_label("Name", exact=True).fill("goods")
        dialog.get_by_label("Column name").fill("price")
        dialog.get_by_label("Type").select_option("real")
        dialog.get_by_label("Index").check()
        dialog.get_by_role("button", name="Add a column").click()
        dialog.get_by_label("Column name").nth(1).fill("label")
        tabs.shoot(page, "new-table")
        dialog.get_by_role("button", name="Make the table").click()
        expect(page.get_by_role("heading", name="goods")).to_be_visible()
        expect(page.get_by_text("No row yet")).to_be_visible()
        page.get_by_role("link", name="SHOP").click()
        expect(section).to_contain_text("price")
        expect(section).to_contain_text("real")
        expect(section).to_contain_text("index")
        section.get_by_role("button", name="Drop the table goods").click()
        drop = dialog.get_by_role("button", name="Drop it")
        expect(drop).to_be_disabled()
        dialog.get_by_label("Type goods to go on").fill("good")
        expect(drop).to_be_disabled()
        dialog.get_by_label("Type goods to go on").fill("goods")
        drop.click()
        expect(section).to_contain_text("No table yet")
        section.get_by_role("button", name="Drop, SHOP").click()
        dialog.get_by_label("Type SHOP to go on").fill("SHOP")
        page.keyboard.press("Enter")
        expect(page.get_by_text("There is no database SHOP")).to_be_visible()
        page.get_by_role("link", name="See which there are").click()
        page.get_by_role("button", name="Make default, DDB0").click()
        dialog.get_by_role("button", name="Make it the default").click()
        expect(page.locator("[data-db='DDB0']")).to_contain_text("default")


def test_a_row_is_inserted_edited_and_deleted_and_no_value_changes_its_type(cluster: LocalCluster, table: str, tabs: Tabs) -> None:
    with tabs.open(console(cluster, f"/DDB0/{table}")) as page:
        page.get_by_role("button", name="Insert a row…").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("row_id").fill("r1")
        fill(page, "text_column", "text", "")
        fill(page, "integer_column", "number", "9223372036854775808")
        expect(field(page, "integer_column")).to_contain_text("Integers go from")
        expect(dialog.get_by_role("button", name="Insert")).to_be_disabled()
        fill(page, "integer_column", "number", "9007199254740993")
        fill(page, "real_column", "number", "1.0")
        fill(page, "boolean_column", "boolean", "false")
        fill(page, "json_column", "json", '{"2": 9007199254740995, "1": [1.50, null, ""]}')
        tabs.shoot(page, "insert")
        dialog.get_by_role("button", name="Insert").click()
        line = page.locator("tr[data-row='r1']")
        expect(line).to_contain_text("9007199254740993")
        expect(line).to_contain_text('{"2":9007199254740995,"1":[1.5,null,""]}')
        raw = call(cluster.nodes["3"].address, "GET", f"/select?table={table}&row_id=r1").text
        assert raw.strip() == (
            '[{"row_id":"r1","anything":null,"text_column":"","integer_column":9007199254740993,"real_column":1.0,'
            '"boolean_column":false,"json_column":{"2":9007199254740995,"1":[1.5,null,""]}}]'
        )
        line.get_by_role("link", name="r1").click()
        expect(page).to_have_url(re.compile("row=r1"))
        fill(page, "text_column", "text", "O'Hara")
        dialog.get_by_role("button", name="Save").click()
        expect(line).to_contain_text("O'Hara")
        assert call(cluster.nodes["3"].address, "GET", f"/select?table={table}&row_id=r1").text == raw.replace(
            '"text_column":""', '"text_column":"O\'Hara"'
        )
        line.get_by_role("button", name="Delete the row r1").click()
        dialog.get_by_role("button", name="Delete it").click()
        expect(line).to_have_count(0)
        assert rows(cluster, table) == []


def test_who_was_slower_sees_both_versions_and_chooses(cluster: LocalCluster, table: str, tabs: Tabs) -> None:
    put(cluster, table, "r1", {"text_column": "old", "integer_column": 1, "anything": "same"})
    with tabs.open(console(cluster, f"/DDB0/{table}?row=r1")) as page:
        fill(page, "text_column", "text", "mine")
        fill(page, "integer_column", "number", "2")
        put(cluster, table, "r1", {"text_column": "theirs", "integer_column": 3, "anything": "changed"})
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Save").click()
        conflict = dialog.locator(".conflict")
        expect(conflict).to_contain_text("Somebody else changed this row meanwhile")
        expect(conflict.locator("tbody tr")).to_have_count(3)
        tabs.shoot(page, "conflict")
        assert rows(cluster, table)[0]["text_column"] == "theirs", "nothing is written before the choice"
        conflict.locator("tr", has_text="integer_column").get_by_role("radio").nth(1).check()
        conflict.get_by_role("button", name="Write what is chosen").click()
        expect(dialog).to_have_count(0)
        found = rows(cluster, table)[0]
        assert (found["text_column"], found["integer_column"], found["anything"]) == ("mine", 3, "changed")


def test_a_row_that_was_deleted_while_it_was_edited_can_be_put_back(cluster: LocalCluster, table: str, tabs: Tabs) -> None:
    put(cluster, table, "r1", {"text_column": "old", "integer_column": 7})
    with tabs.open(console(cluster, f"/DDB0/{table}?row=r1")) as page:
        fill(page, "text_column", "text", "mine")
        assert call(cluster.nodes["3"].address, "POST", "/delete_record", {"table_name": table, "row_id": "r1"}).ok
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Save").click()
        expect(dialog).to_contain_text("This row was deleted meanwhile")
        dialog.get_by_role("button", name="Insert it again").click()
        expect(dialog).to_have_count(0)
        found = rows(cluster, table)[0]
        assert (found["text_column"], found["integer_column"]) == ("mine", 7)


def test_a_row_that_changed_is_not_deleted(cluster: LocalCluster, table: str, tabs: Tabs) -> None:
    put(cluster, table, "r1", {"text_column": "old"})
    with tabs.open(console(cluster, f"/DDB0/{table}")) as page:
        page.get_by_role("button", name="Delete the row r1").click()
        put(cluster, table, "r1", {"text_column": "new"})
        page.get_by_role("dialog").get_by_role("button", name="Delete it").click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("version_mismatch")
        assert rows(cluster, table)[0]["text_column"] == "new"


def test_null_the_empty_text_and_a_value_that_is_left_out_are_apart(cluster: LocalCluster, table: str, tabs: Tabs) -> None:
    put(cluster, table, "r1", {"anything": None, "text_column": "", "json_column": {"n": None, "e": ""}})
    with tabs.open(console(cluster, f"/DDB0/{table}")) as page:
        line = page.locator("tr[data-row='r1']")
        expect(line.locator(".value.null")).to_have_count(4)
        expect(line.locator(".value.quoted")).to_have_text('""')
        expect(line.locator(".value.json")).to_have_text('{"n":null,"e":""}')
        line.get_by_role("link", name="r1").click()
        expect(field(page, "anything").get_by_role("button", name="anything is null")).to_be_visible()
        expect(field(page, "text_column").locator("textarea")).to_have_value("")
        escape(page)
        page.get_by_role("button", name="Insert a row…").click()
        expect(field(page, "anything").get_by_role("button", name="anything is left out")).to_be_visible()
        escape(page)
        expect(page).not_to_have_url(re.compile("new="))


def test_pages_and_searches_stand_in_the_address(cluster: LocalCluster, table: str, tabs: Tabs) -> None:
    many = [{"row_id": f"{n:03d}", "data": {"text_column": f"name {n}", "integer_column": n}} for n in range(60)]
    assert call(cluster.nodes["1"].address, "POST", "/insert", {"table_name": table, "rows": many}).ok
    with tabs.open(console(cluster, f"/DDB0/{table}?limit=25")) as page:
        lines = page.locator("table.rows tbody tr")
        expect(lines).to_have_count(25)
        page.get_by_role("link", name="Next page").click()
        expect(lines.first).to_have_attribute("data-row", "025")
        page.get_by_role("link", name="Next page").click()
        expect(lines).to_have_count(10)
        expect(page.locator(".rows-foot")).to_contain_text("Page 3: 10 rows, the last ones")
        page.go_back()
        expect(lines.first).to_have_attribute("data-row", "025")
        page.keyboard.press("/")
        expect(page.get_by_label("Value")).to_be_focused()
        page.get_by_label("Column").select_option("integer_column")
        page.get_by_label("Comparison").select_option("ge")
        page.get_by_label("Value").fill("58")
        page.keyboard.press("Enter")
        expect(lines).to_have_count(2)
        assert "column=integer_column&op=ge&value=58" in page.url
        page.reload()
        expect(lines).to_have_count(2)
        expect(page.get_by_label("Value")).to_have_value("58")
        page.get_by_label("Value").fill("999")
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_text("No row matches")).to_be_visible()
        page.get_by_role("button", name="All rows").click()
        expect(lines).to_have_count(25)


def test_rows_with_odd_ids_are_found_edited_and_deleted(cluster: LocalCluster, table: str, tabs: Tabs) -> None:
    for row_id in ODD_IDS:
        put(cluster, table, row_id, {"text_column": "old"})
    with tabs.open(console(cluster, f"/DDB0/{table}")) as page:
        lines = page.locator("table.rows tbody tr")
        expect(lines).to_have_count(len(ODD_IDS))
        assert sorted(lines.evaluate_all("lines => lines.map(line => line.dataset.row)")) == sorted(ODD_IDS)
        for left in range(len(ODD_IDS), 0, -1):
            row_id = lines.first.get_attribute("data-row")
            lines.first.get_by_role("link").click()
            fill(page, "text_column", "text", f"new {left}")
            page.get_by_role("dialog").get_by_role("button", name="Save").click()
            expect(lines.first).to_contain_text(f"new {left}")
            assert {row["row_id"]: row["text_column"] for row in rows(cluster, table)}[row_id] == f"new {left}"
            lines.first.get_by_role("button", name="Delete the row").click()
            page.get_by_role("dialog").get_by_role("button", name="Delete it").click()
            expect(lines).to_have_count(left - 1)
    assert rows(cluster, table) == []


def test_the_address_of_a_row_with_an_odd_id_leads_to_it(cluster: LocalCluster, table: str, tabs: Tabs) -> None:
    put(cluster, table, ODD_IDS[1], {"text_column": "found"})
    with tabs.open(console(cluster, f"/DDB0/{table}")) as page:
        page.locator("table.rows tbody tr").get_by_role("link").click()
        page.get_by_role("dialog").wait_for()
        page.reload()
        expect(field(page, "text_column").locator("textarea")).to_have_value("found")


def test_a_long_value_is_cut_and_can_be_seen_whole(cluster: LocalCluster, table: str, tabs: Tabs) -> None:
    put(cluster, table, "r1", {"text_column": "word " * 2000, "json_column": list(range(200))})
    with tabs.open(console(cluster, f"/DDB0/{table}")) as page:
        shown = page.locator("tr[data-row='r1'] .value.text")
        assert len(shown.inner_text()) < 200
        page.get_by_role("button", name="all of text_column of r1").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("10,000 characters")
        assert dialog.locator("pre").inner_text() == "word " * 2000
        escape(page)


def test_a_table_that_is_not_there_is_said_so(cluster: LocalCluster, tabs: Tabs) -> None:
    with tabs.open(console(cluster, "/DDB0/nowhere")) as page:
        expect(page.get_by_role("alert").first).to_contain_text("table_not_found")
        expect(page.get_by_text("There is no such table on this node.")).to_be_visible()
