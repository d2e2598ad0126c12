"""What an operator asks of a cluster: `status`, `nodes`, `health`, `timeline`; and what he has it do: `step-down`, `transfer`.

The first three ask every node at once and wait 2 s for those that are silent, so that they answer also when nobody leads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from ddbd.cli.errors import UNAVAILABLE, CliError
from ddbd.cli.frame import Frame, command, yes_option
from ddbd.client import NodeReport


@command("status")
def status(frame: Frame) -> None:
    """Show who leads and how far the others are.

    In JSON: the whole answer of one node, of the highest term and the leader where it answers. docs/operations.md explains each field.
    """
    show_status(frame)


def show_status(frame: Frame) -> None:
    found = newest(frame.survey())
    if frame.output.form in ("json", "ndjson"):
        frame.show_one(found)
        return
    if frame.output.for_people:
        frame.output.line(headline(found))
    leader_id = leader_of(found)
    frame.show(
        (
            {
                "node": node["id"],
                "address": node["address"],
                "role": _role(found, node["id"], leader_id),
                "reachable": node["reachable"],
                "match_index": node["match_index"],
                "lag_entries": node["lag_entries"],
            }
            for node in found["nodes"]
        ),
        null="-",
    )


def _role(found: dict[str, Any], node_id: str, leader_id: str | None) -> str:
    if node_id == leader_id:
        return "leader"
    membership = found.get("membership", {"voters": [], "outgoing": []})  # it is not there before the cluster has formed
    return "follower" if node_id in (*membership["voters"], *membership["outgoing"]) else "learner"


def leader_of(found: dict[str, Any]) -> str | None:
    return None if found["master"] is None else str(found["master"]["id"])


def headline(found: dict[str, Any]) -> str:
    leader = found["master"]
    who = "nobody leads" if leader is None else f"node {leader['id']} ({leader['address']}) leads"
    database = found.get("default_database")
    return f"{who} in term {found['term']}, index {found['applied_index']}; default database: {database or 'none yet'}"


def newest(reports: Sequence[NodeReport]) -> dict[str, Any]:
    """The status to believe: of the highest term, and there the leader's own. Raises CliError when no node answers."""
    answers = [report.status for report in reports if report.status is not None]
    if not answers:
        raise CliError(f"{'; '.join(map(silence, reports))}; start the nodes, or name others with --nodes or --config", UNAVAILABLE)
    return max(answers, key=lambda found: (found["term"], found["node"]["is_master"], found["applied_index"]))


def silence(report: NodeReport) -> str:
    """Why a node gave no status, without its address twice."""
    error = report.error or "did not answer"
    return error if report.address in error else f"{report.address}: {error}"


@command("nodes")
def nodes(frame: Frame) -> None:
    """Show what each node says of itself."""
    show_nodes(frame)


def show_nodes(frame: Frame) -> None:
    reports = frame.survey()
    ids = _ids(reports)
    frame.show((_node_row(report, ids) for report in reports), null="-")
    if not any(report.answers for report in reports):
        raise CliError("no node answers; start them, or name others with --nodes or --config", UNAVAILABLE)


def _ids(reports: Sequence[NodeReport]) -> dict[str, str]:
    """By address, as the nodes that answer have them: one that does not answer has its name all the same."""
    return {node["address"]: node["id"] for report in reports for node in (report.status or {}).get("nodes", ())}


def _node_row(report: NodeReport, ids: Mapping[str, str]) -> dict[str, Any]:
    found = report.status or {}
    node = found.get("node", {})
    lag = next((other["lag_entries"] for other in found.get("nodes", ()) if other["id"] == node.get("id")), None)
    return {
        "node": node.get("id", ids.get(report.address)),
        "address": report.address,
        "role": node.get("role", "unreachable"),
        "ready": report.ready,
        "term": found.get("term"),
        "applied_index": found.get("applied_index"),
        "lag_entries": lag,
        "tables_bytes": found.get("tables_bytes"),
        "ms": round(report.seconds * 1000, 1),
        "error": report.error,
    }


@command("health")
@click.option("--strict", is_flag=True, help="Exit with 1 when any node is not well, not only when too few are.")
def health(frame: Frame, strict: bool) -> None:
    """Check every node; exit with 1 when a quorum is missing.

    A cluster has its quorum when some node is ready: it knows a leader that a majority still follows, and has caught up with it.
    """
    show_health(frame, strict)


def show_health(frame: Frame, strict: bool) -> None:
    reports = frame.survey()
    ids = _ids(reports)
    frame.show((_health_row(report, ids) for report in reports), null="-")
    well = [report for report in reports if report.ready and (report.status or {}).get("healthy")]
    ready = [report for report in reports if report.ready]
    verdict = f"{len(well)} of {len(reports)} nodes are well"
    if not ready:
        raise CliError(f"the quorum is missing: no node is ready, {sum(r.answers for r in reports)} of {len(reports)} answer")
    if strict and len(well) < len(reports):
        raise CliError(verdict)
    frame.tell(verdict)


def _health_row(report: NodeReport, ids: Mapping[str, str]) -> dict[str, Any]:
    found = report.status or {}
    if not report.answers:
        word = "unreachable"
    elif not report.ready:
        word = "not ready"
    else:
        word = "well" if found.get("healthy") else "unhealthy"
    return {
        "node": found.get("node", {}).get("id", ids.get(report.address)),
        "address": report.address,
        "health": word,
        "ms": round(report.seconds * 1000, 1),
        "error": report.error,
    }


@command("step-down")
@yes_option
def step_down(frame: Frame, yes: bool) -> None:
    """Have the leader hand over to the best follower.

    Writes are held meanwhile. The preferred master takes leadership back only after a while; see docs/operations.md.
    """
    ask_first(frame, "another node", yes)
    say_who_leads(frame, frame.client.step_down())


@command("transfer")
@click.argument("node_id")
@yes_option
def transfer(frame: Frame, node_id: str, yes: bool) -> None:
    """Have the leader hand over to the node with the id NODE_ID.

    Writes are held meanwhile. The preferred master takes leadership back only after a while; see docs/operations.md.
    """
    ask_first(frame, f"node {node_id}", yes)
    say_who_leads(frame, frame.client.transfer(node_id))


def ask_first(frame: Frame, successor: str, yes: bool) -> None:
    if yes or frame.curl:
        return
    leader_id = leader_of(newest(frame.survey()))
    frame.confirm(f"Node {leader_id or '?'} leads. Hand leadership to {successor}?", yes)


def say_who_leads(frame: Frame, answer: dict[str, Any]) -> None:
    if frame.output.for_people:
        before = f"; it was node {answer['from']}" if answer.get("from") not in (None, answer.get("to")) else ""
        frame.output.line(f"node {answer.get('to')} leads in term {answer.get('term')}{before}")
    else:
        frame.show_one(answer)


@command("timeline")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="The newest so many.")
def timeline(frame: Frame, limit: int) -> None:
    """Show what happened in the cluster: elections, nodes lost and back, full disks."""
    show_timeline(frame, limit)


def show_timeline(frame: Frame, limit: int) -> None:
    events = frame.client.timeline(limit)
    if frame.output.form in ("json", "ndjson"):
        frame.show(events)
    else:
        frame.show(({**event, "at": moment(event["at"])} for event in events), ["at", "node", "kind", "text"])


def moment(seconds: float) -> str:
    """In UTC, so that the lines of two machines can be compared."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
