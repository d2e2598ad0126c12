"""The console's files: where they are, what they are sent with, and what leads to them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from web_client import Node, refused

from ddbd.web.pages import FOLDER, POLICY, TYPES, Console
from ddbd.web.site import CONSOLE

SCRIPT = b"export const answer = 42;\n" * 20


@pytest.fixture
def node(tmp_path: Path) -> Node:
    (tmp_path / "js").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>x</title>")
    (tmp_path / "js" / "app.js").write_bytes(SCRIPT)
    (tmp_path / "index.html~").write_text("an editor's backup")
    return Node(mounted={CONSOLE: Console(tmp_path)})


def test_the_folder_of_the_package_is_served() -> None:
    node = Node(mounted={CONSOLE: Console()})
    assert node.get("/console/").body == (FOLDER / "index.html").read_bytes()
    assert node.get("/console/favicon.svg").header("Content-Type") == "image/svg+xml"
    assert {path.suffix for path in FOLDER.rglob("*") if path.is_file()} <= set(TYPES)


def test_a_page_may_load_and_call_this_node_alone(node: Node) -> None:
    page = node.get("/console/")
    assert (page.status, page.header("Content-Type")) == (200, "text/html; charset=utf-8")
    assert page.header("Content-Security-Policy") == POLICY.decode()
    assert page.header("X-Content-Type-Options") == "nosniff"
    assert page.header("Referrer-Policy") == "no-referrer"
    assert page.header("Cache-Control") == "no-cache", "a new version of the node brings new pages"


def test_a_script_is_a_module_of_the_right_type(node: Node) -> None:
    script = node.get("/console/js/app.js")
    assert (script.status, script.body) == (200, SCRIPT)
    assert script.header("Content-Type") == "text/javascript; charset=utf-8"


def test_what_a_client_has_already_is_not_sent_again(node: Node) -> None:
    etag = node.get("/console/js/app.js").header("ETag")
    assert etag is not None
    again = node.get("/console/js/app.js", If_None_Match=f'"other", W/{etag}')
    assert (again.status, again.body, again.header("ETag")) == (304, b"", etag)
    assert node.get("/console/js/app.js", If_None_Match='"other"').status == 200


@pytest.mark.parametrize("accepts", ["gzip", "br, gzip;q=0.5", "GZIP"])
def test_a_client_that_takes_gzip_gets_it(accepts: str, node: Node) -> None:
    packed = node.get("/console/js/app.js", Accept_Encoding=accepts)
    assert packed.header("Content-Encoding") == "gzip"
    assert packed.header("Vary") == "Accept-Encoding"
    assert gzip.decompress(packed.body) == SCRIPT
    assert packed.header("ETag") != node.get("/console/js/app.js").header("ETag")


@pytest.mark.parametrize("accepts", ["br", "gzip;q=0", "gzip; q=0.000", "identity"])
def test_a_client_that_takes_no_gzip_gets_none(accepts: str, node: Node) -> None:
    plain = node.get("/console/js/app.js", Accept_Encoding=accepts)
    assert (plain.header("Content-Encoding"), plain.body) == (None, SCRIPT)


def test_head_tells_the_length_alone(node: Node) -> None:
    reply = node.call("HEAD", "/console/js/app.js")
    assert (reply.status, reply.header("Content-Length")) == (200, str(len(SCRIPT)))


@pytest.mark.parametrize(
    "target",
    [
        "/console/none.js",
        "/console/index.html~",
        "/console/js",
        "/console/js/",
        "/console/../config.json",
        "/console/%2e%2e/x",
        "/console//",
    ],
)
def test_what_is_no_file_is_not_found(target: str, node: Node) -> None:
    assert (node.get(target).status, node.get(target).code) == (404, "not_found")
    assert (node.get(target).header("Ddb-Node"), node.get(target).header("Cache-Control")) == ("1", "no-store")


def test_pages_are_only_read(node: Node) -> None:
    reply = node.post("/console/", {})
    assert (reply.status, reply.code) == (405, "method_not_allowed")


def test_the_path_without_a_slash_leads_to_the_one_with_it(node: Node) -> None:
    reply = node.get("/console")
    assert (reply.status, reply.header("Location")) == (303, "/console/")


def test_a_browser_at_the_root_is_led_to_the_console(node: Node) -> None:
    reply = node.get("/", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (reply.status, reply.header("Location")) == (303, "/console/")


def test_a_program_at_the_root_is_told_what_there_is(node: Node) -> None:
    assert (node.get("/").status, node.get("/", Accept="*/*").code) == (404, "not_found")


def test_a_node_without_a_console_leads_nobody_there() -> None:
    assert Node().get("/", Accept="text/html").status == 404


def test_a_page_is_served_under_our_name_only(node: Node) -> None:
    assert refused(node, b"GET /console/ HTTP/1.1\r\nHost: evil.example\r\n\r\n") == (421, "misdirected")
