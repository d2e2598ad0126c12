"""What Prometheus is told, and that dashboard, alerts and the page about it speak of nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from replica_kit import Cluster, fill
from web_client import Node, refused

from ddbd.meter import BOUNDS, Meter
from ddbd.replica.standby import Standby
from ddbd.turns import Turns
from ddbd.watch.disk import Room
from ddbd.watch.metrics import FAMILIES, Metrics, Sources
from ddbd.watch.timeline import Timeline
from ddbd.web.watching import METRICS_TYPE, unwatched

ROOT = Path(__file__).resolve().parent.parent.parent
ROOM = Room(free_bytes=900, size_bytes=1_000, log_bytes=30, tables_bytes=60, used_bytes=100)
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_start_time_seconds"}
PROCESS |= {"process_open_fds", "process_max_fds"}


def turns() -> Turns:
    """With one turn of 2 ms."""
    now = [0.0]
    found = Turns(lambda *_: [], lambda: now[0], lambda: 0.0)
    now[0] += 0.002
    found.poll(0)
    return found


def sources_of(cluster: Cluster, node_id: str, meter: Meter) -> Sources:
    replica = cluster.nodes[node_id].replica
    timeline = Timeline(lambda: 1.0)
    timeline.record("peer_lost", "3", "node 3 stopped answering")
    return Sources(replica.status, lambda: replica, meter, turns(), timeline, lambda: ROOM, lambda: 4, lambda: 2, 64)


def families(text: bytes) -> dict[str, Metric]:
    """By the name that stands in the table; counters are parsed without their suffix."""
    found = {}
    for metric in text_string_to_metric_families(text.decode()):
        found[f"{metric.name}_total" if metric.type == "counter" else metric.name] = metric
    return found


def value(told: dict[str, Metric], name: str, **labels: str) -> float:
    (found,) = [sample.value for sample in told[name].samples if sample.name == name and sample.labels == labels]
    return found


@pytest.fixture(scope="module")
def text() -> bytes:
    cluster = Cluster().set_up()
    fill(cluster, cluster.nodes["1"], 3)
    cluster.run(1)
    meter = Meter()
    meter.know([b"/insert", b"/select", b"/ping"])
    for seconds in (0.0002, 0.003, 0.003, 500.0):
        meter.answered(b"POST", b"/insert", 200, seconds)
    meter.answered(b"PROPFIND", b"/insert", 405, 0.001)
    meter.answered(b"PATCH", b"/insert", 405, 0.001)
    meter.refused(400)
    meter.answered(b"GET", b"/ping", 200, 0.001)
    meter.abandoned = 2
    cluster.nodes["2"].store.tables.counters = lambda: {  # type: ignore[method-assign]
        "idempotency_keys": 0,
        "idempotency_keys_max": 10,
        "tables_bytes": 1,
        "wal_bytes": 7,
        "owed_bytes": 5,
        "scans_open": 0,
    }
    return Metrics(sources_of(cluster, "2", meter)).text()


def test_all_metrics_of_the_table_are_told_as_the_table_has_them_and_no_others(text: bytes) -> None:
    told = families(text)
    assert set(told) - PROCESS == set(FAMILIES)
    assert {name: (metric.type, metric.documentation) for name, metric in told.items() if name in FAMILIES} == {
        name: (family.kind, family.help) for name, family in FAMILIES.items()
    }
    for name, family in FAMILIES.items():
        for sample in told[name].samples:
            assert set(sample.labels) - {"le"} == set(family.labels), name


def test_names_and_units_are_those_of_prometheus_conventions() -> None:
    for name, family in FAMILIES.items():
        assert re.fullmatch("ddb_[a-z]+(_[a-z]+)*", name)
        assert name.endswith("_total") == (family.kind == "counter"), name
        assert not re.search("_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", name), f"{name}: seconds and bytes"
        assert family.kind != "histogram" or name.endswith("_seconds"), name
        assert family.help.endswith("."), name


def test_the_numbers_are_those_of_the_node(text: bytes) -> None:
    told = families(text)
    assert value(told, "ddb_raft_role", role="follower") == 1
    assert value(told, "ddb_raft_role", role="leader") == 0
    assert value(told, "ddb_raft_leader", node="1") == 1
    assert (value(told, "ddb_raft_has_leader"), value(told, "ddb_raft_voters")) == (1, 3)
    assert value(told, "ddb_raft_last_index") == value(told, "ddb_raft_applied_index") > 5
    assert (value(told, "ddb_peer_lag_entries", peer="2"), value(told, "ddb_peer_reachable", peer="3")) == (0, 1)
    assert (value(told, "ddb_databases"), value(told, "ddb_tables"), value(told, "ddb_rows")) == (1, 1, 3)
    assert value(told, "ddb_disk_owed_bytes") == 5
    assert (value(told, "ddb_disk_free_bytes"), value(told, "ddb_wal_bytes"), value(told, "ddb_log_bytes")) == (900, 7, 30)
    assert (value(told, "ddb_http_connections"), value(told, "ddb_console_feeds")) == (4, 2)
    assert value(told, "ddb_events_total", kind="peer_lost") == 1
    assert value(told, "ddb_http_requests_total", method="POST", call="insert", status="200") == 4
    assert value(told, "ddb_http_requests_total", method="other", call="insert", status="405") == 2
    assert value(told, "ddb_http_requests_total", method="other", call="unknown", status="400") == 1
    assert value(told, "ddb_http_requests_abandoned_total") == 2
    saves = {sample.name: sample.value for sample in told["ddb_log_save_duration_seconds"].samples if "le" not in sample.labels}
    assert saves["ddb_log_save_duration_seconds_count"] > 3


def test_a_histogram_is_cumulative_and_misses_nothing(text: bytes) -> None:
    samples = families(text)["ddb_http_request_duration_seconds"].samples
    buckets = [(s.labels["le"], s.value) for s in samples if s.name.endswith("_bucket") and s.labels["call"] == "insert"]
    assert [bound for bound, _ in buckets[:3]] == ["0.0004", "0.0008", "0.0016"]
    assert dict(buckets)["0.0004"] == 1
    assert dict(buckets)["0.0032"] == 5
    assert buckets[-2:] == [(f"{BOUNDS[-1]:.10g}", 5.0), ("+Inf", 6.0)]
    assert [count for _, count in buckets] == sorted(count for _, count in buckets)
    (total,) = [s.value for s in samples if s.name.endswith("_sum")]
    assert total == pytest.approx(500.0082)
    assert {sample.labels["call"] for sample in samples} == {"insert"}, "what is not used, and what is no data call, has none"


def test_a_node_that_waits_for_its_cluster_tells_what_it_knows() -> None:
    cluster = Cluster(3)
    standby = Standby(cluster.config, "1")
    sources = sources_of(cluster, "1", Meter())._replace(status=standby.status, measured=lambda: None, turns=None, room=lambda: None)
    told = families(Metrics(sources).text())
    assert (value(told, "ddb_ready"), value(told, "ddb_raft_has_leader")) == (0, 0)
    assert {"ddb_log_save_duration_seconds", "ddb_disk_free_bytes", "ddb_raft_saved_index", "ddb_staleness_seconds"} & set(told) == set()


def test_promtool_finds_nothing_to_say(text: bytes) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here; it is in Debian's package prometheus")
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    rules = subprocess.run([promtool, "check", "rules", str(ROOT / "deploy/prometheus/alerts.yml")], capture_output=True)
    assert rules.returncode == 0, rules.stderr


# The call.


def test_the_call_answers_in_prometheus_text_format_under_our_name_only() -> None:
    node = Node(watch=unwatched()._replace(metrics=lambda: b"ddb_x 1.0\n"))
    reply = node.get("/metrics")
    assert (reply.status, reply.header("Content-Type"), reply.body) == (200, METRICS_TYPE.decode(), b"ddb_x 1.0\n")
    assert refused(node, b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n") == (421, "misdirected")


# What is made of it.


def names_in(expression: str) -> set[str]:
    """Metrics of ours and of the process; of a histogram the name of its family."""
    found = re.findall(r"\b(?:ddb|process)_[a-z_]+", re.sub(r'"[^"]*"', "", expression))
    return {re.sub("_(bucket|sum|count)$", "", name) if name not in FAMILIES else name for name in found}


def expressions(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel.get("targets", [])]


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/ddbd.json").read_text("utf-8"))
    asked = [expression for panel in dashboard["panels"] for expression in expressions(panel)]
    asked += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    asked += [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]
    assert len(asked) > 25
    assert all(names_in(expression) for expression in asked)
    assert {name for expression in asked for name in names_in(expression)} <= set(FAMILIES) | PROCESS
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert all(panel["title"] and panel["datasource"]["uid"] == "${datasource}" for panel in dashboard["panels"])


def test_no_two_panels_of_the_dashboard_lie_on_each_other() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/ddbd.json").read_text("utf-8"))
    places: set[tuple[int, int]] = set()
    for at in (panel["gridPos"] for panel in dashboard["panels"]):
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places
        assert at["x"] + at["w"] <= 24
        places |= cells


def alerts() -> dict[str, str]:
    text = (ROOT / "deploy/prometheus/alerts.yml").read_text("utf-8")
    return {block.split("\n")[0].strip(): block for block in text.split("- alert: ")[1:]}


@pytest.mark.parametrize(
    "name",
    [
        *("DdbNoLeader", "DdbNodeDown", "DdbNodeNotReady", "DdbNodeLagging", "DdbManyElections", "DdbDiskLow", "DdbDiskFull"),
        *("DdbQuarantined", "DdbStatesDiffer", "DdbSlowDisk", "DdbReactorStalls", "DdbErrors", "DdbIdempotencyNearlyFull"),
    ],
)
def test_an_alert_asks_for_metrics_that_there_are_and_says_what_to_do(name: str) -> None:
    block = alerts()[name]
    for part in ("expr:", "labels: {severity: ", "summary: ", "description: "):
        assert part in block, f"{name} has no {part}"
    expression = block[block.index("expr:") : block.index("labels:")]
    asked = names_in(expression)
    assert asked <= set(FAMILIES)
    assert asked or "up{" in expression
    for kind in re.findall('kind="([a-z_]+)"', expression):
        assert kind in Timeline(lambda: 0.0).counts


def test_every_alert_is_tested() -> None:
    text = (ROOT / "deploy/prometheus/alerts.yml").read_text("utf-8")
    assert len(alerts()) == text.count("- alert: ") == 13


def test_the_page_about_metrics_is_the_table() -> None:
    rows = re.findall(r"^\| `(ddb_[a-z_]+)` \| (\w+) \| (.*?) \| (.*) \|$", (ROOT / "docs/metrics.md").read_text("utf-8"), re.MULTILINE)
    assert rows == [
        (name, family.kind, ", ".join(f"`{label}`" for label in family.labels), family.help) for name, family in FAMILIES.items()
    ]


def test_what_the_page_asks_is_there_to_be_asked() -> None:
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    asked = {name for expression in re.findall(r"`([^`]+\([^`]+)`", page) for name in names_in(expression)}
    assert asked
    assert asked <= set(FAMILIES) | PROCESS
