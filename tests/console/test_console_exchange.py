"""Tables in and out by the console, and what "Copy as curl" gives: each line is run with the real curl."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from console_kit import Tabs, copied, copy_curl, escape
from playwright_or_skip import expect

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster

HOSTILE = 'it\'s "$(id)" `id` \\ !! \x1b[31m \u202e ä😀 <b>\r\n-'


def console(cluster: LocalCluster, route: str) -> str:
    return f"http://{cluster.nodes['2'].address}/console/#{route}"


def insert(cluster: LocalCluster, table: str, rows: list[dict[str, Any]]) -> None:
    reply = call(cluster.nodes["1"].address, "POST", "/insert", {"table_name": table, "rows": rows})
    assert reply.ok, reply.text


def select(cluster: LocalCluster, query: str, accept: str = "application/json") -> str:
    line = ["curl", "-sS", "-H", f"Accept: {accept}", f"http://{cluster.nodes['3'].address}/select?{query}"]
    return subprocess.run(line, capture_output=True, check=True).stdout.decode()


def shell(line: str, folder: Path) -> str:
    """As somebody would paste it."""
    assert shutil.which("curl"), "the product is one that can be curled"
    return subprocess.run(
        ["bash", "-c", line.replace("curl ", "curl -sS ", 1)], capture_output=True, check=True, cwd=folder
    ).stdout.decode()


@pytest.mark.parametrize(
    ("choice", "accept", "ending"),
    [("CSV", "text/csv", "csv"), ("NDJSON", "application/x-ndjson", "ndjson"), ("JSON", "application/json", "json")],
)
def test_a_table_is_downloaded_in_each_format(cluster: LocalCluster, table: str, tabs: Tabs, choice: str, accept: str, ending: str) -> None:
    insert(cluster, table, [{"row_id": f"{n:04d}", "data": {"text_column": f'"{n}", ä', "integer_column": 2**60 + n}} for n in range(300)])
    with tabs.open(console(cluster, f"/data/DDB0/{table}")) as page:
        page.get_by_role("button", name="Download…").click()
        page.get_by_role("dialog").get_by_role("radio", name=choice, exact=False).and_(page.locator(f"[value='{choice.lower()}']")).check()
        with page.expect_download() as download:
            page.get_by_role("dialog").get_by_role("button", name="Download", exact=True).click()
        assert download.value.suggested_filename == f"DDB0.{table}.{ending}"
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert Path(download.value.path()).read_bytes().decode() == select(cluster, f"table={table}", accept)


def test_a_file_is_uploaded_and_the_row_that_is_refused_is_named_and_the_load_goes_on(
    cluster: LocalCluster, table: str, tabs: Tabs, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    lines = [f"{n:05d},{n}" for n in range(2500)]
    file.write_text("\n".join(["row_id,integer_column", *lines[:2200], "bad,many", *lines[2200:]]) + "\n")
    with tabs.open(console(cluster, f"/data/DDB0/{table}")) as page:
        page.get_by_role("button", name="Upload…").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("File").set_input_files(str(file))
        dialog.get_by_role("button", name="Upload").click()
        alert = dialog.get_by_role("alert")
        expect(alert).to_contain_text("Row 2,201 of the file.")
        expect(alert).to_contain_text("2,000 rows before are written and stay.")
        expect(dialog.get_by_role("progressbar")).to_be_visible()
        tabs.shoot(page, "upload-refused")
        file.write_text("\n".join(["row_id,integer_column", *lines]) + "\n")
        dialog.get_by_label("File").set_input_files(str(file))
        dialog.get_by_label("Replace rows that are there (upsert)").check()
        dialog.get_by_role("button", name="Upload").click()
        expect(dialog).to_contain_text("Done: 2,500 rows in 3 slices.")
        escape(page)
        expect(page.locator(".number-of-rows")).to_contain_text("2,500 rows")
    assert len(json.loads(select(cluster, f"table={table}"))) == 2500


def test_an_upload_whose_connection_breaks_goes_on_under_the_same_key(
    cluster: LocalCluster, table: str, tabs: Tabs, tmp_path: Path
) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_text("".join(json.dumps({"row_id": f"{n:05d}", "integer_column": n}) + "\n" for n in range(1500)))
    keys: list[str] = []
    with tabs.open(console(cluster, f"/data/DDB0/{table}")) as page:

        def break_once(route: Any) -> None:
            keys.append(route.request.headers["idempotency-key"])
            route.abort("connectionreset") if len(keys) == 1 else route.continue_()

        page.route("**/insert*", break_once)
        page.get_by_role("button", name="Upload…").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("File").set_input_files(str(file))
        dialog.get_by_role("button", name="Upload").click()
        expect(dialog.get_by_role("alert")).to_contain_text("goes on from there")
        dialog.get_by_role("button", name="Go on from there").click()
        expect(dialog).to_contain_text("Done: 1,500 rows")
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_copied_lines_do_what_the_page_would_have_done(cluster: LocalCluster, table: str, tabs: Tabs, tmp_path: Path) -> None:
    row_id = HOSTILE.replace("\r\n", "")
    with tabs.open(console(cluster, f"/data/DDB0/{table}")) as page:
        dialog = page.get_by_role("dialog")
        page.get_by_role("button", name="Insert a row…").click()
        dialog.get_by_label("row_id").fill(row_id)
        text = dialog.locator("[data-column='text_column']")
        text.get_by_label("Kind of text_column").select_option("json")
        text.locator("textarea").fill(json.dumps(HOSTILE))
        line = copy_curl(page, dialog.get_by_role("button", name="Copy as curl"))
        assert line.isascii()
        answer = json.loads(shell(line, tmp_path))
        assert answer["row_id"] == row_id
        escape(page)
        expect(page).not_to_have_url(re.compile("new="))  # a page that is loaded again opens what its address names
        page.reload()
        found = json.loads(shell(copy_curl(page, page.locator("main .head").get_by_role("button", name="Copy as curl")), tmp_path))
        assert [(row["row_id"], row["text_column"]) for row in found] == [(row_id, HOSTILE)]
        page.locator("table.rows tbody tr").get_by_role("link").click()
        found = json.loads(shell(copy_curl(page, dialog.get_by_role("button", name="Copy as curl")), tmp_path))
        assert found[0]["_version"] == answer["version"]
        escape(page)
        page.get_by_label("Column").select_option("text_column")
        page.get_by_label("Comparison").select_option("contains")
        page.get_by_label("Value").fill("`id` \\ !!")
        page.keyboard.press("Enter")
        page.wait_for_url("**op=contains**")
        found = json.loads(shell(copy_curl(page, page.locator("main .head").get_by_role("button", name="Copy as curl")), tmp_path))
        assert len(found) == 1
        page.get_by_role("button", name="Delete the row").click()
        shell(copy_curl(page, dialog.get_by_role("button", name="Copy as curl")), tmp_path)
        assert json.loads(select(cluster, f"table={table}")) == []


def test_the_copied_line_of_an_upload_and_of_a_download_work(cluster: LocalCluster, table: str, tabs: Tabs, tmp_path: Path) -> None:
    file = tmp_path / "it's rows.csv"
    file.write_text("row_id,integer_column\na,1\n")
    with tabs.open(console(cluster, f"/data/DDB0/{table}")) as page:
        dialog = page.get_by_role("dialog")
        page.get_by_role("button", name="Upload…").click()
        dialog.get_by_label("File").set_input_files(str(file))
        answer = json.loads(shell(copy_curl(page, dialog.get_by_role("button", name="Copy as curl")), tmp_path))
        assert answer["rows"] == 1
        escape(page)
        page.get_by_role("button", name="Download…").click()
        assert shell(copy_curl(page, dialog.get_by_role("button", name="Copy as curl")), tmp_path).startswith("row_id,anything,")


def test_a_browser_that_keeps_its_clipboard_shows_the_text_to_be_taken(cluster: LocalCluster, tabs: Tabs) -> None:
    with tabs.open(console(cluster, "/cluster"), permissions=[]) as page:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        page.get_by_role("button", name="Copy status as curl").click()
        area = page.get_by_role("dialog").get_by_label("Text to copy")
        expect(area).to_have_value(f"curl http://{cluster.nodes['2'].address}/status")
        assert page.evaluate("document.activeElement.selectionEnd") > 10


def test_the_state_hash_is_copied_whole(cluster: LocalCluster, tabs: Tabs) -> None:
    with tabs.open(console(cluster, "/cluster")) as page:
        page.get_by_role("button", name="Copy the state hash of node 2").click()
        expect(page.locator(".toast")).to_contain_text("Copied the state hash of node 2.")
        assert len(copied(page)) >= 32
