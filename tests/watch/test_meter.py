"""What a node counts of its calls, through the real channel."""

from __future__ import annotations

from typing import Any

import pytest
from web_client import Node, refused
from web_twin import config_of

from ddbd.config import Limits
from ddbd.meter import BOUNDS, READS, WRITES, Meter, percentile


def counts(node: Node, call: str) -> dict[Any, int]:
    return node.site.meter.calls[call].counts


def test_each_call_is_counted_by_its_method_and_status() -> None:
    node = Node().with_students()
    node.get("/select?table=students")
    node.get("/select?table=students&row_id=1")
    node.get("/select?table=teachers")
    node.call("HEAD", "/select?table=students")
    assert counts(node, "select") == {(b"GET", 200): 2, (b"GET", 404): 1, (b"HEAD", 200): 1}
    assert counts(node, "insert") == {(b"POST", 200): 1}
    assert node.site.meter.reading("write").total == 3, "two calls of the catalogue, and a row"
    assert node.site.meter.reading("read").total == 4


def test_what_has_no_call_is_counted_as_unknown() -> None:
    node = Node()
    node.get("/nowhere")
    refused(node, b"GET /ping HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
    refused(node, b"nonsense\r\n\r\n")
    assert counts(node, "unknown") == {(b"GET", 404): 1, (b"", 421): 1, (b"", 400): 1}


def test_a_call_takes_from_its_request_to_its_answer() -> None:
    node = Node().with_students()
    before = node.site.meter.reading("read")
    node.twin.holding = True
    connection = node.start("GET", "/select?table=students&row_id=1")
    node.clock.advance(0.25)
    node.twin.held.pop().callback(None)
    assert connection.response().status == 200
    since = node.site.meter.reading("read").since(before)
    assert percentile(since.buckets, 990) == pytest.approx(0.25, rel=0.1)
    assert node.site.meter.calls["select"].seconds == pytest.approx(0.25)


def test_a_client_that_went_away_is_counted_apart() -> None:
    node = Node().with_students()
    node.twin.holding = True
    node.start("GET", "/select?table=students&row_id=1").lose()
    assert node.site.meter.abandoned == 1
    assert counts(node, "select") == {}


def test_a_streaming_load_is_no_write_among_others() -> None:
    """It lasts as long as its sender likes."""
    node = Node().with_students()
    before = node.site.meter.reading("write")
    body = b'{"row_id":"7","data":{"name":"Mona"}}\n'
    assert node.call("POST", "/insert?table=students", body, {"Content-Type": "application/x-ndjson"}).status == 200
    assert node.site.meter.reading("write").since(before).total == 0
    assert counts(node, "load") == {(b"POST", 200): 1}


def test_a_restore_counts_as_a_load() -> None:
    node = Node()
    node.post("/restore", {})
    assert counts(node, "load") == {(b"POST", 400): 1}
    assert counts(node, "restore") == {}


def test_no_path_counts_as_a_load() -> None:
    node = Node()
    for path in ("/load", "//load", "/%6coad"):
        node.get(path)
    assert counts(node, "load") == {}


def test_answers_of_5xx_are_errors_and_others_are_not() -> None:
    node = Node().with_students()
    node.twin.unready = "no leader is known"
    node.get("/readyz")
    node.get("/select?table=teachers")
    assert node.site.meter.reading().errors == 1


def test_what_was_counted_stays_when_another_app_takes_over() -> None:
    node = Node()
    node.get("/ping")
    node.site.serve(node.site.resource, node.site.api)
    assert counts(node, "ping") == {(b"GET", 200): 1}


def test_every_call_that_writes_or_reads_rows_is_one_of_the_app() -> None:
    known = Node(config_of(Limits())).site.meter.calls
    assert set(WRITES) | set(READS) <= set(known)
    assert {call.kind for call in known.values()} == {"write", "read", "other"}


def test_a_value_beyond_all_buckets_is_told_as_the_largest_bound() -> None:
    meter = Meter()
    meter.answered(b"GET", b"/x", 200, 1e6)
    assert percentile(meter.reading().buckets, 500) == BOUNDS[-1]


@pytest.mark.parametrize("seconds", [0.00005, 0.0001, 0.0013, 0.02, 0.9, 7.0])
def test_a_percentile_is_told_with_at_most_9_percent_too_much(seconds: float) -> None:
    meter = Meter()
    meter.answered(b"GET", b"/x", 200, seconds)
    told = percentile(meter.reading().buckets, 500)
    assert told is not None
    assert max(seconds, BOUNDS[0]) <= told <= max(seconds * 1.0906, BOUNDS[0])


def test_nothing_has_no_percentile() -> None:
    assert percentile(Meter().reading().buckets, 500) is None
