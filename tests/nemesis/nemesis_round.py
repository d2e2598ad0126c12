"""One round: a fresh cluster, a checked workload, the plan's faults, and the verdict.

A round that fails leaves its folder: the nodes' logs and data, `history.jsonl`, and `report.txt` with the seed, the faults and the verdict.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from nemesis_clients import COUNTERS, TABLES, Workload
from nemesis_cluster import LIMITS, NODES, Cluster
from nemesis_history import OK, Operation, save
from nemesis_judge import Dump, judge
from nemesis_linear import linearizable
from nemesis_plan import Step, plan

from ddbd.cli.local import TookTooLong, eventually

START_SECONDS = 60.0
BACK_SECONDS = 60.0  # from the end of the last fault until every node is in service, with all that the others have
CALM_SECONDS = 2.0  # of work after that
FINISH_SECONDS = 20.0  # for writes that are repeated until they are acknowledged

# What a soak must have come to at least once, else it was too kind: corner -> the means that it needs, and how a node's log says it.
CORNERS = {
    "a leader was replaced": ("", r"leads in term ([2-9]|\d\d)"),
    "a snapshot was installed": ("", r"installed a snapshot"),
    "a node that had lost its data votes again": ("", r"it votes again"),
    "a failed fsync ended a node": ("disk", r"stops: .*fsync failed"),
    "a write was refused because a disk was full": ("disk", ""),
    "unsynced pages were lost": ("disk", ""),
    "a write was repeated after an attempt of unknown outcome": ("", ""),
    **{f"packets were {what}": ("", "") for what in ("cut", "lost", "duplicated", "reordered", "delayed")},
}

EXITS = {"killed": {-9}, "stopped": {0}, "disk failed": {1}, "had no descriptor left": {1}}


@dataclass
class Round:
    seed: int
    seconds: float
    steps: list[Step] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    back_seconds: float = 0.0
    back_seconds_max: float = BACK_SECONDS
    longest_gap: tuple[float, float] = (0.0, 0.0)  # (seconds, moment) without an acknowledged write on any node
    packets: dict[str, int] = field(default_factory=dict)
    begun: float = 0.0  # time.monotonic() when the plan began
    reached: set[str] = field(default_factory=set)  # of CORNERS

    def report(self, folder: Path) -> str:
        outcomes = Counter(operation.outcome for operation in self.operations)
        lines = [
            f"seed {self.seed}, {self.seconds:g} s: {len(self.operations)} operations ({dict(outcomes)}), packets {self.packets}",
            *(f"  {step}; {self._acknowledged(step)} writes acknowledged meanwhile" for step in self.steps),
            f"  the longest time without an acknowledged write: {self.longest_gap[0]:.1f} s, from {self.longest_gap[1]:.1f} s on",
            f"  all nodes in service {self.back_seconds:.1f} s after the last fault",
            *(f"  FOUND: {finding}" for finding in self.findings),
        ]
        if self.findings:
            lines += [f"  logs and history: {folder}", f"  again: pytest tests/nemesis --seed {self.seed} --round-seconds {self.seconds:g}"]
        return "\n".join(lines)

    def _acknowledged(self, step: Step) -> int:
        begin, end = self.begun + step.begin_seconds, self.begun + step.end_seconds
        return sum(begin < each.called and each.returned < end for each in self.operations if each.is_write and each.outcome == OK)


def play(
    seed: int,
    seconds: float,
    folder: Path,
    steps: Sequence[Step] | None = None,
    back_seconds: float = BACK_SECONDS,
    limits: Mapping[str, int] = LIMITS,
    program: Sequence[str] = (),
) -> Round:
    """`steps` stands in for the plan of the seed, `program` for the daemon. The report is in the folder as well."""
    played = Round(seed, seconds, list(plan(seed, seconds) if steps is None else steps), back_seconds_max=back_seconds)
    needs = {need for step in played.steps if not step.skipped for need in step.fault.needs}
    with Cluster(folder, f"net {seed}", "disk" in needs, "clock" in needs, limits, program) as cluster:
        try:
            _play(played, cluster)
        except (TookTooLong, AssertionError) as error:
            played.findings.append(f"{error}; not in service: {cluster.unready()}")
            played.findings += [*judge(played.operations, {}), *linearizable(played.operations, folder)]
        for step in played.steps:
            played.findings += step.fault.findings
        _look_at_nodes(played, cluster)
    save(played.operations, folder / "history.jsonl")
    (folder / "report.txt").write_text(played.report(folder) + "\n")
    return played


def _play(played: Round, cluster: Cluster) -> None:
    cluster.start()
    eventually(lambda: not cluster.unready(), "the start of the cluster", START_SECONDS)
    begun = _make_tables(cluster)
    workload = Workload(NODES, cluster.clients_space, f"clients {played.seed}")
    workload.start()
    try:
        _conduct(played, cluster)
        ended = time.monotonic()
        eventually(lambda: not cluster.unready(), "all nodes back in service", played.back_seconds_max)
        _progress(workload, time.monotonic(), played.back_seconds_max)
        played.back_seconds = time.monotonic() - ended
        threading.Event().wait(CALM_SECONDS)
    finally:
        played.findings += workload.stop(FINISH_SECONDS)
        played.operations = begun + workload.history.operations
        played.longest_gap = _longest_gap(played.operations)
        played.packets = dict(cluster.network.counts)
    eventually(lambda: _is_level(cluster), "the same state on all nodes", played.back_seconds_max)
    played.findings += judge(played.operations, {host: _dump(cluster, host) for host in cluster.nodes})
    played.findings += linearizable(played.operations, cluster.folder)


def _make_tables(cluster: Cluster) -> list[Operation]:
    """Returns how the counters began: part of the history."""
    calls: list[tuple[str, dict[str, object]]] = [("/init_database", {"db_name": "nemesis"})]
    calls += [("/create_table", {"table_name": table, "columns": columns}) for table, columns in TABLES.items()]
    calls += [("/insert", {"table_name": "counters", "row_id": f"c{n}", "data": {"value": 0}}) for n in range(COUNTERS)]
    begun: list[Operation] = []
    for path, body in calls:
        called = time.monotonic()
        reply = cluster.ask(1, path, "POST", body, seconds=START_SECONDS)
        assert reply is not None, f"{path}: no answer"
        assert reply.ok, f"{path}: {reply.status} {reply.text}"
        if path == "/insert":
            fields = {"called": called, "returned": time.monotonic(), "outcome": OK, "version": reply.json()["version"]}
            begun.append(Operation(-len(begun), "setup", "insert", "counters", str(body["row_id"]), 0, **fields))
    return begun


def _conduct(played: Round, cluster: Cluster) -> None:
    """Each step begins and ends at its time; what comes late (a rolling restart takes its time) moves all that follows."""
    begun = played.begun = time.monotonic()
    late = 0.0
    turns = [(step.begin_seconds, True, step) for step in played.steps] + [(step.end_seconds, False, step) for step in played.steps]
    turns.sort(key=lambda turn: turn[:2])
    pause = threading.Event()
    for moment, is_begin, step in turns:
        if step.skipped:
            continue
        pause.wait(max(0.0, begun + moment + late - time.monotonic()))
        late = max(late, time.monotonic() - begun - moment)
        if is_begin:
            step.begin_seconds = time.monotonic() - begun
            step.said = step.fault.begin(cluster, random.Random(step.seed))
        else:
            step.fault.end(cluster)
            step.end_seconds = time.monotonic() - begun
    pause.wait(max(0.0, begun + played.seconds + late - time.monotonic()))
    cluster.network.calm()


def _longest_gap(operations: Sequence[Operation]) -> tuple[float, float]:
    """From the first acknowledged write to the last; the moment counts from the first."""
    moments = sorted(each.returned for each in operations if each.is_write and each.outcome == OK)
    return max(((after - before, before - moments[0]) for before, after in pairwise(moments)), default=(0.0, 0.0))


def _progress(workload: Workload, since: float, seconds: float) -> None:
    """Through every node a write is acknowledged again."""

    def all_nodes() -> bool:
        operations = list(workload.history.operations)
        served = {each.node for each in operations if each.is_write and each.outcome == OK and each.returned > since}
        return len(served) == NODES

    eventually(all_nodes, "a write through every node", seconds)


def _is_level(cluster: Cluster) -> bool:
    """All have applied the same, and the hash of what they have applied is the same."""
    statuses = cluster.statuses()
    states = {(status["state"]["index"], status["state"]["hash"]) for status in statuses.values()}
    return len(statuses) == NODES and len(states) == 1 and all(status["state"]["hash"] for status in statuses.values())


def _dump(cluster: Cluster, host: int) -> Dump:
    """The node's own copy."""
    found = {}
    for table in TABLES:
        reply = cluster.ask(host, f"/select?table={table}&columns=value&versions=true&consistency=local", seconds=START_SECONDS)
        assert reply is not None, f"node {host} does not answer"
        assert reply.ok, f"node {host}: {reply.status} {reply.text}"
        found[table] = [(row["row_id"], row["value"], row["_version"]) for row in reply.json()]
    return found


def _look_at_nodes(played: Round, cluster: Cluster) -> None:
    """They end in order; each earlier end was of the expected kind; the logs are clean."""
    for node in cluster.nodes.values():
        if node.running:
            node.stop()
        elif node.process is not None:
            node.reap("should have been running")
        for expected, status in node.exits:
            if status not in EXITS.get(expected, ()):
                played.findings.append(f"node {node.id}: {expected}, and ended with status {status}")
        node.sink.close()
        played.findings += [f"node {node.id} says: {lines}" for lines in node.bad_lines()]
        log = node.log_path.read_text("utf-8", "replace")
        played.reached |= {corner for corner, (_, pattern) in CORNERS.items() if pattern and re.search(pattern, log)}
    played.reached |= {f"packets were {what}" for what, count in played.packets.items() if count} & CORNERS.keys()
    if any(each.was_full for each in played.operations):
        played.reached.add("a write was refused because a disk was full")
    if any(each.was_unknown and each.outcome == OK for each in played.operations):
        played.reached.add("a write was repeated after an attempt of unknown outcome")
    if any(re.search(r", [1-9]\d* pages were not synced", step.said) for step in played.steps):
        played.reached.add("unsynced pages were lost")
