"""Select and search: what a read waits for, what it gives, in which format, page by page and as a stream."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from urllib.parse import quote

import pytest
from web_client import PING, Connection, Node, Response, request

from ddbd.errors import NoLeader, NotReady, ScanTimedOut

ROWS = 2_300  # more slices of a scan than are read ahead


@pytest.fixture
def school() -> Node:
    return Node().with_students()


def filled(rows: int = ROWS) -> Node:
    node = Node().with_students()
    batch = [{"row_id": f"r{n:05}", "data": {"id": n, "name": "even" if n % 2 == 0 else "odd"}} for n in range(rows)]
    assert node.post("/insert", {"table_name": "students", "rows": batch}).status == 200
    node.post("/delete_record", {"table_name": "students", "row_id": "1"})
    return node


def run(node: Node) -> None:
    """Every turn that there is something to do in."""
    node.clock.advance(0)


# What a read waits for.


def test_a_read_is_linearizable_by_default(school: Node) -> None:
    school.twin.holding = True
    connection = school.start("GET", "/select?table=students&timeout=4")
    assert (connection.out, school.twin.timeouts[-1]) == (b"", 4)
    school.twin.held[0].callback(None)
    assert connection.response().json[0]["name"] == "Ahmed"


def test_a_read_without_a_quorum_is_503(school: Node) -> None:
    school.twin.errors["read_barrier"] = NoLeader("no quorum answered in time")
    reply = school.get("/select?table=students")
    assert (reply.status, reply.code, reply.header("Retry-After")) == (503, "no_leader", "1")


def test_a_local_read_always_answers_and_says_how_old_it_is(school: Node) -> None:
    school.twin.errors["read_barrier"] = NoLeader("never asked")
    reply = school.get("/select?table=students&consistency=local")
    assert (reply.status, reply.header("Ddb-Staleness-Ms")) == (200, "12")
    school.twin.staleness = None
    assert school.get("/search?table=students&column=id&value=1&consistency=local").header("Ddb-Staleness-Ms") == "unknown"
    assert school.get("/select?table=students&consistency=linearizable").status == 503


def test_a_local_read_of_a_quarantined_node_is_refused(school: Node) -> None:
    school.twin.errors["tables"] = NotReady("this node's state differs")
    assert school.get("/select?table=students&consistency=local").code == "not_ready"
    assert school.get("/select?table=students&row_id=1&consistency=local").code == "not_ready"
    assert school.get("/search?table=students&column=id&value=1&consistency=local&min_index=1").code == "not_ready"


def test_min_index_waits_until_it_is_applied(school: Node) -> None:
    index = school.twin.applied_index
    assert school.get(f"/select?table=students&min_index={index}").header("Ddb-Index") == str(index)
    assert school.get(f"/select?table=students&consistency=local&min_index={index + 1}").status == 503


def test_the_index_of_a_reply_is_that_of_its_rows() -> None:
    node = filled()
    connection = node.start("GET", "/select?table=students")
    index = node.twin.applied_index
    node.post("/insert", {"table_name": "students", "row_id": "later", "data": {}})
    run(node)
    assert connection.response().header("Ddb-Index") == str(index)
    assert len(connection.response().json) == ROWS


# One row.


def test_a_row_has_its_version_as_etag(school: Node) -> None:
    reply = school.get("/select?table=students&row_id=1&versions=true")
    version = reply.json[0]["_version"]
    assert reply.header("ETag") == f'"{version}"'
    assert school.get("/select?table=students&row_id=1").json[0].keys() == {"row_id", "id", "name", "grade"}
    assert school.get("/select?table=students&row_id=none").header("ETag") is None


@pytest.mark.parametrize(("tag", "status"), [('"%d"', 304), ('W/"%d"', 304), ('"0", "%d"', 304), ("*", 304), ('"0"', 200)])
def test_if_none_match_gives_304(school: Node, tag: str, status: int) -> None:
    version = school.get("/select?table=students&versions=true").json[0]["_version"]
    reply = school.get("/select?table=students&row_id=1", If_None_Match=tag.replace("%d", str(version)))
    assert (reply.status, reply.header("ETag")) == (status, f'"{version}"')
    assert (reply.body == b"") == (status == 304)


@pytest.mark.parametrize("row_id", ["a b", "ü", "a/b", "a&b=c", "%", "+", "a\nb", "🙂", '"'])
def test_any_text_is_a_row_id(school: Node, row_id: str) -> None:
    school.post("/insert", {"table_name": "students", "row_id": row_id, "data": {"id": row_id}})
    assert school.get(f"/select?table=students&row_id={quote(row_id, safe='')}").json[0]["id"] == row_id


@pytest.mark.parametrize(
    "target", ["/select?table=students", "/select?table=students&row_id=1", "/search?table=students&column=id&value=1"]
)
def test_columns_come_in_the_order_asked_for(school: Node, target: str) -> None:
    assert school.get(f"{target}&columns=grade,ID").body == b'[{"row_id":"1","grade":"A","id":"1"}]\n'
    assert school.get(f"{target}&columns=row_id").body == b'[{"row_id":"1"}]\n'


# Searches.


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("column=name&value=odd", 5),
        ("column=id&value=7", 1),
        ("column=id&op=lt&value=3", 3),
        ("column=name&op=prefix&value=e", 5),
        ("column=id&op=ne&value=7", 9),
    ],
)
def test_a_search_finds_what_the_op_says(query: str, count: int) -> None:
    found = filled(10).get(f"/search?table=students&{query}").json
    assert len(found) == count
    assert [row["row_id"] for row in found] == sorted(row["row_id"] for row in found)


# Pages.


def pages(node: Node, target: str) -> list[Response]:
    found = []
    link: str | None = target
    while link is not None:
        found.append(node.get(link))
        header = found[-1].header("Link")
        assert header is None or header.endswith('>; rel="next"')
        link = None if header is None else header[1:].partition(">")[0]
        assert link is None or link.startswith("/")
    return found


@pytest.mark.parametrize(("limit", "count"), [(1, 12), (5, 3), (11, 2), (12, 1), (13, 1)])
@pytest.mark.parametrize("query", ["/select?table=students", "/search?table=students&column=id&op=ge&value=0"])
def test_pages_hold_each_row_once_and_the_last_has_no_link(query: str, limit: int, count: int) -> None:
    node = filled(12)
    found = pages(node, f"{query}&limit={limit}")
    assert len(found) == count
    assert [row["id"] for page in found for row in page.json] == list(range(12))
    assert all(len(page.json) == limit for page in found[:-1])


@pytest.mark.parametrize("limit", [499, 500, 501, 999, 1000, 1001, 1500, ROWS - 1, ROWS, ROWS + 1])
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_long_pages_are_exact_too(limit: int, accept: str) -> None:
    node = filled()
    first = node.get(f"/select?table=students&limit={limit}", Accept=accept)
    rows = first.json if accept.endswith("/json") else [json.loads(line) for line in first.body.splitlines()]
    assert [row["id"] for row in rows] == list(range(min(limit, ROWS)))
    assert (first.header("Link") is None) == (limit >= ROWS)
    if limit < ROWS:
        assert f"after=r{limit - 1:05}" in (first.header("Link") or "")


def test_a_link_keeps_every_parameter_and_escapes_the_key(school: Node) -> None:
    school.post("/insert", {"table_name": "students", "rows": [{"row_id": key, "data": {}} for key in ("a&b=ü>", "b")]})
    link = school.get("/select?table=students&limit=2&columns=id&versions=true").header("Link")
    assert link == '</select?table=students&limit=2&columns=id&versions=true&after=a%26b%3D%C3%BC%3E>; rel="next"'


# Formats.


def test_ndjson_is_a_row_a_line(school: Node) -> None:
    reply = school.get("/select?table=students", Accept="application/x-ndjson")
    assert reply.header("Content-Type") == "application/x-ndjson"
    assert reply.body == b'{"row_id":"1","id":"1","name":"Ahmed","grade":"A"}\n'


def test_csv_follows_rfc_4180(school: Node) -> None:
    values = ["", 'a "b"', "a,b", "a\r\nb", None, True, 1, 1.5, [1, "x"], {"a": None}, "=1+1"]
    for number, value in enumerate(values):
        school.post("/insert", {"table_name": "students", "row_id": f"v{number:02}", "data": {"id": value}})
    reply = school.get("/select?table=students&columns=id&after=1", Accept="text/csv")
    assert (reply.header("Content-Type") or "").startswith("text/csv")
    expected = 'v00,""|v01,"a ""b"""|v02,"a,b"|v03,"a\r\nb"|v04,|v05,true|v06,1|v07,1.5|v08,"[1,""x""]"|v09,"{""a"":null}"|v10,=1+1|'
    assert reply.body.decode() == "row_id,id\r\n" + expected.replace("|", "\r\n")
    assert len(list(csv.reader(io.StringIO(reply.body.decode(), newline="")))) == 12


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("text/*", "text/csv; charset=utf-8; header=present"),
        ("application/json;q=0.5, text/csv", "text/csv; charset=utf-8; header=present"),
        ("text/csv;q=0, */*", "application/json"),
        ("application/json;q=0, */*", "application/x-ndjson"),
        ("", "application/json"),
    ],
)
def test_accept_chooses_the_format(school: Node, accept: str, content_type: str) -> None:
    for target in ("/select?table=students", "/select?table=students&row_id=1"):
        assert school.get(target, Accept=accept).header("Content-Type") == content_type


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/*", "nonsense"])
def test_a_format_that_cannot_be_given_is_406(school: Node, accept: str) -> None:
    reply = school.get("/select?table=students", Accept=accept)
    assert (reply.status, reply.code) == (406, "not_acceptable")


# Streams.


def test_a_long_result_is_streamed_one_slice_a_turn() -> None:
    node = filled()
    connection = node.start("GET", "/select?table=students")
    sizes = []
    while not connection.response().complete:
        sizes.append(len(connection.out))
        node.clock.turn()
    assert connection.response().header("Transfer-Encoding") == "chunked"
    assert len(sizes) > 1
    assert sizes == sorted(set(sizes))
    assert [row["id"] for row in connection.response().json] == list(range(ROWS))


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
def test_a_stream_is_the_same_as_the_whole(accept: str) -> None:
    node = filled()
    streamed = node.get("/select?table=students", Accept=accept).body
    halves = [node.get(f"/select?table=students&{page}", Accept=accept).body for page in ("limit=600", "after=r00599")]
    if accept == "application/json":
        assert json.loads(streamed) == json.loads(halves[0]) + json.loads(halves[1])
    else:
        assert streamed == halves[0] + halves[1].removeprefix(b"row_id,id,name,grade\r\n")


def streaming(node: Node) -> Connection:
    connection = node.start("GET", "/select?table=students")
    assert connection.out
    assert not connection.response().complete
    return connection


def test_a_client_that_does_not_read_holds_the_stream_back() -> None:
    node = filled()
    connection = streaming(node)
    connection.channel.pauseProducing()
    before = len(connection.out)
    run(node)
    assert len(connection.out) == before
    connection.channel.resumeProducing()
    run(node)
    assert connection.response().complete


def test_a_client_that_never_reads_is_cut_off() -> None:
    node = filled()
    connection = streaming(node)
    connection.channel.pauseProducing()
    run(node)
    node.clock.advance(31)
    assert connection.wire.disconnected
    assert not connection.response().complete


def test_a_client_that_stops_reading_just_when_its_time_is_over_is_cut_off() -> None:
    node = filled()
    node.twin.tables.scan = lambda query: PassingTime([[("a", 1)]] * 9, lambda: passes())
    connection = streaming(node)

    def passes() -> None:
        """The slice that the deadline falls into is the one that fills the client's buffer."""
        node.clock.rightNow += 31
        connection.channel.pauseProducing()

    run(node)
    assert connection.wire.disconnected
    assert not connection.response().complete


class BrokenScan:
    """Breaks after some slices."""

    def __init__(self, slices: list[Any], error: Exception) -> None:
        self.columns = ("row_id", "_version")
        self.closed = False
        self._slices = slices
        self._error = error

    def __iter__(self) -> Any:
        yield from self._slices
        raise self._error

    def close(self) -> None:
        self.closed = True


class PassingTime(BrokenScan):
    """Calls before its last slice."""

    def __init__(self, slices: list[Any], call: Any) -> None:
        super().__init__(slices, ScanTimedOut("too long"))
        self._call = call

    def __iter__(self) -> Any:
        yield from self._slices[:-1]
        self._call()
        yield self._slices[-1]


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("error", [ScanTimedOut("too long"), RuntimeError("a bug")])
def test_a_result_that_breaks_off_ends_without_its_last_chunk(version: str, error: Exception) -> None:
    node = filled()
    scan = BrokenScan([[("a", 1)], [("b", 1)], [("c", 1)]], error)
    node.twin.tables.scan = lambda query: scan
    connection = node.connect()
    connection.send(request("GET", "/select?table=students&consistency=local").replace(b"HTTP/1.1", version.encode()))
    run(node)
    assert b'"c"' in connection.out
    assert connection.wire.disconnected
    assert not connection.out.endswith((b"0\r\n\r\n", b"]", b"]\n"))
    assert scan.closed


def test_an_error_before_the_first_row_is_a_proper_reply() -> None:
    node = filled(1)
    scan = BrokenScan([[], [], []], ScanTimedOut("too long"))
    node.twin.tables.scan = lambda query: scan
    reply = node.get("/select?table=students")
    assert (reply.status, reply.code, reply.header("Retry-After"), scan.closed) == (503, "scan_timed_out", "1", True)


def test_a_search_that_finds_nothing_for_long_yields_to_others() -> None:
    node = filled(1)
    node.twin.tables.scan = lambda query: BrokenScan([[]] * 20, ScanTimedOut("too long"))
    connection = node.start("GET", "/select?table=students")
    for _ in range(10):
        node.clock.turn()
    assert connection.out == b""
    run(node)
    assert connection.response().status == 503


def test_a_client_that_goes_away_closes_the_scan() -> None:
    node = filled(1)
    scan = BrokenScan([[("a", 1)]] * 9, RuntimeError("read on"))
    node.twin.tables.scan = lambda query: scan
    timers = len(node.clock.getDelayedCalls())
    connection = node.start("GET", "/select?table=students")
    assert b'"a"' in connection.out
    connection.lose()
    run(node)
    assert scan.closed
    assert len(node.clock.getDelayedCalls()) == timers


def test_a_client_that_goes_away_gives_up_its_wait(school: Node) -> None:
    school.twin.holding = True
    connection = school.start("GET", "/select?table=students")
    connection.lose()
    assert school.twin.cancelled == school.twin.held


def test_head_of_a_long_result_opens_and_closes_the_scan() -> None:
    node = filled()
    reply = node.call("HEAD", "/select?table=students&limit=600")
    assert (reply.status, reply.body) == (200, b"")
    assert "after=r00599" in (reply.header("Link") or "")


def test_head_of_a_stream_tells_no_length_and_the_connection_goes_on() -> None:
    node = filled(5_000)
    assert node.start("GET", "/select?table=students").response().header("Transfer-Encoding") == "chunked"
    connection = node.start("HEAD", "/select?table=students")
    assert connection.response(head=True).header("Content-Length") is None, "it is not known, and not 0"
    head = connection.out
    connection.send(PING)
    assert connection.out[len(head) :].startswith(b"HTTP/1.1 200 OK\r\n")
