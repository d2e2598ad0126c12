"""The console's feed, the timeline and the metrics of real nodes."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

from process_kit import create_table, insert
from prometheus_client.parser import text_string_to_metric_families

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster, LocalNode

SECONDS = 30.0


class Tab:
    """One feed, read event by event."""

    def __init__(self, node: LocalNode, **headers: str) -> None:
        connection = http.client.HTTPConnection("localhost", node.port, timeout=SECONDS)
        connection.request("GET", "/console/feed", headers={name.replace("_", "-"): value for name, value in headers.items()})
        self.response = connection.getresponse()
        self.last_id = ""

    def events(self) -> Iterator[tuple[str, Any]]:
        fields: dict[str, str] = {}
        for line in self.response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                self.last_id = fields["id"]
                yield fields["event"], json.loads(fields["data"])
                fields = {}

    def until(self, event: str, **wanted: Any) -> Any:
        """The next such event."""
        for name, data in self.events():
            if name == event and all(data.get(key) == value for key, value in wanted.items()):
                return data
        raise AssertionError(f"the feed ended before {event} {wanted}")

    def until_answers(self, node_id: str, answers: bool) -> Any:
        """That node's row, once it says so."""
        while True:
            (row,) = [row for row in self.until("peers")["peers"] if row["id"] == node_id]
            if row["answers"] is answers:
                return row


def test_a_tab_sees_the_master_die_and_another_one_take_its_place(running: LocalCluster) -> None:
    create_table(running)
    tab = Tab(running.nodes["2"])
    snapshot = tab.until("snapshot")
    assert (snapshot["self"], snapshot["status"]["master"]["id"]) == ("2", running.preferred_id)
    assert [row["id"] for row in snapshot["peers"]] == ["1", "2", "3"]
    tab.until_answers("1", True)
    running.kill("1")
    elected = tab.until("happened", kind="leader_elected")
    writes = r"(no write had to wait|\d+ writes? (was|were) held, none refused)"
    assert re.fullmatch(rf"node 1 stopped answering; node [23] was elected( by 2 of 3)? in \d+ ms; {writes}", elected["text"])
    gone = tab.until_answers("1", False)
    assert gone["error"].endswith("refuses connections")
    assert gone["status"]["node"]["id"] == "1", "its last word"
    told = call(running.nodes["2"].address, "GET", "/timeline").json()
    assert elected in told


def test_a_tab_that_lost_its_connection_goes_on_where_it_was(running: LocalCluster) -> None:
    tab = Tab(running.nodes["3"])
    first = tab.until("sample")
    tab.response.close()
    back = Tab(running.nodes["3"], Last_Event_ID=tab.last_id)
    name, data = next(iter(back.events()))
    assert name != "snapshot"
    assert data.get("t", first["t"] + 1) > first["t"]


def test_a_node_that_ends_ends_its_feeds_whole_and_waits_for_no_tab_that_does_not_read(running: LocalCluster) -> None:
    node = running.nodes["3"]
    reading = Tab(node)
    reading.until("snapshot")
    with socket.create_connection(("localhost", node.port), timeout=SECONDS) as stuck:
        stuck.sendall(f"GET /console/feed HTTP/1.1\r\nHost: localhost:{node.port}\r\n\r\n".encode())
        assert stuck.recv(15) == b"HTTP/1.1 200 OK"
        assert running.terminate("3") == 0
    assert list(reading.events()) is not None  # IncompleteRead where the last chunk is missing
    assert reading.response.isclosed()


def test_metrics_of_a_real_node_count_what_it_did(running: LocalCluster) -> None:
    create_table(running)
    for number in range(5):
        insert(running.nodes["2"], f"batch-{number}", 10)
    text = call(running.nodes["2"].address, "GET", "/metrics").text
    told = {sample.name: sample for metric in text_string_to_metric_families(text) for sample in metric.samples}
    inserts = re.search(r'^ddb_http_requests_total\{call="insert",method="POST",status="200"\} (\S+)$', text, re.MULTILINE)
    assert inserts is not None
    assert float(inserts[1]) == 5
    assert told["ddb_rows"].value == 50
    assert told["ddb_log_save_duration_seconds_count"].value > 5
    assert told["process_resident_memory_bytes"].value > 1_000_000
