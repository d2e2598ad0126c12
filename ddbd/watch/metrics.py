"""`GET /metrics`: what the node knows of itself, in Prometheus' words and text format.

The client library's own counters and histograms are not used: each costs a lock and some microseconds, on every request. It is asked only
when Prometheus comes, for the text: a collector of our own reads the meter, the status and the timeline then. Everything is at hand, no
disk is asked, and the whole takes some 3 ms (`python bench/meter.py`), most of it the library's.

FAMILIES is the table of all metrics. What is not in it cannot be told, and `docs/metrics.md` is checked against it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ddbd import __version__, turns
from ddbd.answers import Status
from ddbd.meter import BOUNDS, LOAD, METHODS, OTHER_METHOD, STEPS, Meter
from ddbd.turns import Turns
from ddbd.watch.disk import Room
from ddbd.watch.timeline import Timeline

ROLES = ("leader", "follower", "candidate", "learner")
BOUND_PLACES = (
    *range(2 * STEPS, 17 * STEPS, STEPS),
    18 * STEPS,
    20 * STEPS,
)  # of the meter's: 0.4 ms to 6.6 s by powers of two, 26 s, 105 s

Labels = tuple[str, ...]


class Family(NamedTuple):
    kind: str  # counter, gauge or histogram
    help: str
    labels: Labels = ()


FAMILIES: dict[str, Family] = {
    # The node.
    "ddb_build_info": Family("gauge", "Always 1; the labels say what runs.", ("version", "python")),
    "ddb_node_info": Family("gauge", "Always 1; the labels say which node this is.", ("node", "address")),
    "ddb_ready": Family("gauge", "1 when there is a leader and this node has caught up, as /readyz tells."),
    "ddb_healthy": Family("gauge", "0 when an operator must look at this node, as /healthz tells."),
    "ddb_quarantined": Family("gauge", "1 while this node's state differs from the majority's and it serves no reads."),
    "ddb_seeding": Family("gauge", "1 while a snapshot is on its way to this node."),
    "ddb_staleness_seconds": Family("gauge", "How old a local read here can be at most; absent when that is not known."),
    # HTTP.
    "ddb_http_requests_total": Family("counter", "Requests that were answered.", ("method", "call", "status")),
    "ddb_http_request_duration_seconds": Family(
        "histogram", "Of calls that write or read: from the whole request to the written answer.", ("call",)
    ),
    "ddb_http_requests_abandoned_total": Family("counter", "Requests whose client went away before the answer."),
    "ddb_http_connections": Family("gauge", "Open connections of clients; those of peers do not count."),
    "ddb_console_feeds": Family("gauge", "Tabs of the console that watch this node."),
    # Writes.
    "ddb_writes_open": Family("gauge", "Clients' writes that wait at this node; during an election they are held here."),
    "ddb_writes_open_limit": Family("gauge", "At so many open writes further ones are refused as overloaded."),
    "ddb_writes_refused_total": Family("counter", "Writes that were refused as overloaded, or had no answer before their timeout."),
    "ddb_idempotency_keys": Family("gauge", "Idempotency keys that are kept."),
    "ddb_idempotency_keys_limit": Family("gauge", "At so many keys writes with a new one are refused."),
    # Raft.
    "ddb_raft_term": Family("gauge", "Raft's term; it grows at each election."),
    "ddb_raft_role": Family("gauge", "1 for the role that this node has, 0 for the others.", ("role",)),
    "ddb_raft_leader": Family("gauge", "1 for the node that leads as far as this one knows, 0 for the others.", ("node",)),
    "ddb_raft_has_leader": Family("gauge", "1 while this node knows a leader."),
    "ddb_raft_first_index": Family("gauge", "The first entry that this node's log still holds."),
    "ddb_raft_last_index": Family("gauge", "The end of this node's log."),
    "ddb_raft_saved_index": Family("gauge", "Up to here this node's log is on its disk."),
    "ddb_raft_commit_index": Family("gauge", "Up to here a majority has the log, as this node knows."),
    "ddb_raft_applied_index": Family("gauge", "Up to here the log is in this node's tables."),
    "ddb_raft_voters": Family("gauge", "Nodes that vote, by this node's log."),
    "ddb_raft_learners": Family("gauge", "Nodes that listen and do not vote, by this node's log."),
    "ddb_peer_reachable": Family("gauge", "1 while this node hears the peer.", ("peer",)),
    "ddb_peer_match_index": Family("gauge", "How far the node's log agrees with the leader's, as the leader last told.", ("peer",)),
    "ddb_peer_lag_entries": Family("gauge", "By how many entries the node is behind the leader, as the leader last told.", ("peer",)),
    "ddb_events_total": Family("counter", "What happened, by kind, as /timeline tells it.", ("kind",)),
    # The disk.
    "ddb_log_save_duration_seconds": Family("histogram", "What it takes to have a batch in the log on the disk: write and fdatasync."),
    "ddb_checkpoints_total": Family("counter", "Checkpoints of the tables that were done."),
    "ddb_checkpoint_seconds_total": Family("counter", "What they took together."),
    "ddb_log_bytes": Family("gauge", "Bytes that the log takes on the disk."),
    "ddb_tables_bytes": Family("gauge", "Bytes that the tables take on the disk, their write-ahead log included."),
    "ddb_wal_bytes": Family("gauge", "Bytes of SQLite's write-ahead log that are not in the tables' file yet."),
    "ddb_data_bytes": Family("gauge", "Bytes that the whole data directory takes."),
    "ddb_disk_free_bytes": Family("gauge", "Bytes that are free on the disk with the data directory."),
    "ddb_disk_size_bytes": Family("gauge", "The size of that disk."),
    "ddb_disk_owed_bytes": Family("gauge", "Of the free bytes, those that the next checkpoint will take."),
    "ddb_disk_reserve_bytes": Family("gauge", "With less than this free and not owed, new rows are refused."),
    "ddb_disk_full": Family("gauge", "1 while new rows are refused in the whole cluster, as the leader last told."),
    # What there is.
    "ddb_databases": Family("gauge", "Databases."),
    "ddb_tables": Family("gauge", "Tables of all databases."),
    "ddb_rows": Family("gauge", "Rows of all tables."),
    "ddb_scans_open": Family("gauge", "Long reads under way."),
    # The process.
    "ddb_reactor_turn_duration_seconds": Family("histogram", "Turns of the node's one loop, by the wall clock; in one nobody is answered."),
}

FROM_STATUS = {
    "ddb_raft_term": "term",
    "ddb_raft_last_index": "last_index",
    "ddb_raft_commit_index": "commit_index",
    "ddb_raft_applied_index": "applied_index",
    "ddb_writes_open": "writes_open",
    "ddb_writes_open_limit": "writes_open_max",
    "ddb_idempotency_keys": "idempotency_keys",
    "ddb_idempotency_keys_limit": "idempotency_keys_max",
    "ddb_wal_bytes": "wal_bytes",
    "ddb_disk_owed_bytes": "owed_bytes",
    "ddb_scans_open": "scans_open",
    "ddb_ready": "ready",
    "ddb_healthy": "healthy",
    "ddb_quarantined": "quarantined",
    "ddb_seeding": "seeding",
    "ddb_disk_full": "disk_full",
}


class Timed(Protocol):
    """Durations of one kind: how many were in each bucket, and their sum."""

    @property
    def bounds(self) -> Sequence[float]: ...

    @property
    def buckets(self) -> Sequence[int]:
        """One more than there are bounds."""

    @property
    def seconds(self) -> float: ...


class Measured(Protocol):
    """What is counted in a replica and is not in its status."""

    @property
    def saves(self) -> Timed: ...

    @property
    def checkpoints(self) -> tuple[int, float]:
        """How many, and how many seconds they took."""

    @property
    def writes_refused(self) -> int: ...


class Sources(NamedTuple):
    status: Callable[[], Status]
    measured: Callable[[], Measured | None]  # None before the node is part of a cluster
    meter: Meter
    turns: Turns | None
    timeline: Timeline
    room: Callable[[], Room | None]
    connections: Callable[[], int]
    feeds: Callable[[], int]
    reserve_bytes: int


class Metrics(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # CPU, memory, files; it reads /proc, which is no disk

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing is collected to learn what will be."""
        return []

    def collect(self) -> Iterator[Metric]:
        sources, status = self._sources, self._sources.status()
        yield from _node(status)
        yield from _http(sources.meter)
        yield _gauge("ddb_http_connections", sources.connections())
        yield _gauge("ddb_console_feeds", sources.feeds())
        yield from _raft(status)
        yield _labelled("ddb_events_total", {(kind,): count for kind, count in sources.timeline.counts.items()})
        measured = sources.measured()
        if measured is not None:
            yield from _replica(measured)
        yield _gauge("ddb_disk_reserve_bytes", sources.reserve_bytes)
        room = sources.room()
        if room is not None:
            yield from _disk(room)
        yield from _tables(status["databases"])
        if sources.turns is not None:
            yield _histogram("ddb_reactor_turn_duration_seconds", {(): _timed(turns.BOUNDS, sources.turns.buckets, sources.turns.seconds)})


def _node(status: Mapping[str, Any]) -> Iterator[Metric]:
    node = status["node"]
    yield _labelled("ddb_build_info", {(__version__, platform.python_version()): 1})
    yield _labelled("ddb_node_info", {(node["id"], node["address"]): 1})
    for name, key in FROM_STATUS.items():
        if status.get(key) is not None:
            yield _gauge(name, status[key])
    if status.get("staleness_ms") is not None:
        yield _gauge("ddb_staleness_seconds", status["staleness_ms"] / 1000)


def _http(meter: Meter) -> Iterator[Metric]:
    counts: dict[Labels, float] = {}
    for call in meter.calls.values():
        for (method, status), count in call.counts.items():
            key = (METHODS.get(method, OTHER_METHOD), call.name, str(status))
            counts[key] = counts.get(key, 0) + count
    yield _labelled("ddb_http_requests_total", counts)
    # For whoever asks how a node is, a count will do: each histogram is twenty lines, and a line costs 8 us.
    used = [call for call in meter.calls.values() if (call.kind != "other" or call.name == LOAD) and any(call.buckets)]
    bounds = [BOUNDS[place] for place in BOUND_PLACES]
    times: dict[Labels, Times] = {(call.name,): _timed(bounds, _coarse(call.buckets), call.seconds) for call in used}
    yield _histogram("ddb_http_request_duration_seconds", times)
    yield _counter("ddb_http_requests_abandoned_total", meter.abandoned)


def _coarse(buckets: Sequence[int]) -> list[int]:
    """The meter's buckets, up to each bound that is told, and those beyond the last."""
    found, start = [], 0
    for place in BOUND_PLACES:
        found.append(sum(buckets[start : place + 1]))
        start = place + 1
    return [*found, sum(buckets[start:])]


def _raft(status: Mapping[str, Any]) -> Iterator[Metric]:
    master = status["master"]
    leader_id = None if master is None else master["id"]
    yield _labelled("ddb_raft_role", {(role,): float(role == status["node"]["role"]) for role in ROLES})
    yield _labelled("ddb_raft_leader", {(node["id"],): float(node["id"] == leader_id) for node in status["nodes"]})
    yield _gauge("ddb_raft_has_leader", leader_id is not None)
    if "log" in status:
        yield _gauge("ddb_raft_first_index", status["log"]["first_index"])
        yield _gauge("ddb_raft_saved_index", status["log"]["saved_index"])
    if "membership" in status:
        yield _gauge("ddb_raft_voters", len(status["membership"]["voters"]))
        yield _gauge("ddb_raft_learners", len(status["membership"]["learners"]))
    for name, key in (("ddb_peer_match_index", "match_index"), ("ddb_peer_lag_entries", "lag_entries")):
        yield _labelled(name, {(node["id"],): node[key] for node in status["nodes"] if node[key] is not None})
    others = [node for node in status["nodes"] if node["id"] != status["node"]["id"]]
    yield _labelled("ddb_peer_reachable", {(node["id"],): float(bool(node["reachable"])) for node in others})


def _replica(measured: Measured) -> Iterator[Metric]:
    saves = measured.saves
    yield _histogram("ddb_log_save_duration_seconds", {(): _timed(saves.bounds, saves.buckets, saves.seconds)})
    count, seconds = measured.checkpoints
    yield _counter("ddb_checkpoints_total", count)
    yield _counter("ddb_checkpoint_seconds_total", seconds)
    yield _counter("ddb_writes_refused_total", measured.writes_refused)


def _disk(room: Room) -> Iterator[Metric]:
    yield _gauge("ddb_log_bytes", room.log_bytes)
    yield _gauge("ddb_tables_bytes", room.tables_bytes)
    yield _gauge("ddb_data_bytes", room.used_bytes)
    yield _gauge("ddb_disk_free_bytes", room.free_bytes)
    yield _gauge("ddb_disk_size_bytes", room.size_bytes)


def _tables(databases: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    tables = [table for database in databases for table in database["tables"]]
    yield _gauge("ddb_databases", len(databases))
    yield _gauge("ddb_tables", len(tables))
    yield _gauge("ddb_rows", sum(table["row_count"] for table in tables))


# Values as the library has them.


def _gauge(name: str, value: float) -> Metric:
    return GaugeMetricFamily(name, FAMILIES[name].help, value=float(value))


def _counter(name: str, value: float) -> Metric:
    return CounterMetricFamily(name, FAMILIES[name].help, value=value)


def _labelled(name: str, values: Mapping[Labels, float]) -> Metric:
    family = FAMILIES[name]
    maker = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric: Metric = maker(name, family.help, labels=family.labels)
    for labels, value in values.items():
        metric.add_sample(name, dict(zip(family.labels, labels, strict=True)), value)
    return metric


Times = tuple[list[tuple[str, float]], float]


def _timed(bounds: Sequence[float], buckets: Sequence[int], seconds: float) -> Times:
    """Cumulative counts by bound, and the sum."""
    found, total = [], 0
    for bound, count in zip([*[f"{bound:.10g}" for bound in bounds], "+Inf"], buckets, strict=True):
        total += count
        found.append((bound, float(total)))
    return found, seconds


def _histogram(name: str, times: Mapping[Labels, Times]) -> Metric:
    family = FAMILIES[name]
    metric = HistogramMetricFamily(name, family.help, labels=family.labels)
    for labels, (buckets, seconds) in times.items():
        metric.add_metric(labels, buckets=buckets, sum_value=seconds)
    return metric
