"""Another system behind the calls that the nemesis makes: a table on PySyncObj, `python other_pysyncobj.py --node 1 --config FILE …`.

An adapter is a program that takes these options, answers the calls of `nemesis_clients` and `nemesis_cluster` at its node's address, and
ends with 0 on SIGTERM. The network, the faults, the clients and the judge stay what they are.

PySyncObj keeps its log in memory unless it is given a file, and its documentation reads from the local copy. Here reads go through the log
(`--reads log`), so that a calm cluster is linearizable, or to the local copy (`--reads local`). No reply has a Ddb-Index: a read's
place in the log is not known here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pysyncobj import SyncObj, SyncObjConf, SyncObjException, replicated

RAFT_PORT = 8090
STATUS_OF = {"": 200, "row_exists": 409, "row_not_found": 404, "version_mismatch": 412}
ANSWER_SECONDS = 3.0


class Tables(SyncObj):  # type: ignore[misc]
    """The state machine. Versions are counted, so they are places in the order of writes."""

    def __init__(self, me: str, others: list[str]) -> None:
        self.rows: dict[tuple[str, str], tuple[Any, int]] = {}
        self.answers: dict[str, tuple[str, int, str]] = {}
        self.count = 0
        super().__init__(me, others, SyncObjConf(raftMinTimeout=0.5, raftMaxTimeout=1.0, appendEntriesPeriod=0.1))

    @replicated  # type: ignore[untyped-decorator]
    def write(self, kind: str, table: str, row_id: str, value: Any, if_version: int | None, key: str) -> tuple[str, int, str]:
        if key in self.answers:
            return self.answers[key]
        self.count += 1
        answer = (self._run(kind, (table, row_id), value, if_version), self.count, row_id)
        if key:
            self.answers[key] = answer
        return answer

    def _run(self, kind: str, place: tuple[str, str], value: Any, if_version: int | None) -> str:
        there = self.rows.get(place)
        if kind == "insert" and there is not None:
            return "row_exists"
        if kind in ("update", "delete") and there is None:
            return "row_not_found"
        if if_version is not None and there is not None and there[1] != if_version:
            return "version_mismatch"
        if kind == "delete":
            del self.rows[place]
        else:
            self.rows[place] = (value, self.count)
        return ""

    @replicated  # type: ignore[untyped-decorator]
    def read(self, table: str, row_id: str | None) -> list[dict[str, Any]]:
        return self.copy(table, row_id)

    def copy(self, table: str, row_id: str | None) -> list[dict[str, Any]]:
        return [
            {"row_id": name, "value": value, "_version": version}
            for (where, name), (value, version) in sorted(self.rows.copy().items())
            if where == table and row_id in (None, name)
        ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tables: Tables
    ids: dict[str, str]  # by address
    reads_are_local: bool

    def log_message(self, format: str, *args: Any) -> None:
        """A line for each call tells nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/readyz":
            self._answer(200 if self.tables.isReady() else 503, {})
        elif url.path == "/status":
            self._answer(200, self._status())
        else:
            self._select(query)

    def _status(self) -> dict[str, Any]:
        status, rows = self.tables.getStatus(), sorted(self.tables.rows.copy().items())
        leader = self.ids.get(str(status["leader"]))
        state = {"index": self.tables.count, "hash": hashlib.sha256(repr(rows).encode()).hexdigest()}
        return {"master": {"id": leader} if leader else None, "term": status["raft_term"], "state": state}

    def _select(self, query: dict[str, str]) -> None:
        table, row_id = query["table"], query.get("row_id")
        if self.reads_are_local or query.get("consistency") == "local":
            self._answer(200, self.tables.copy(table, row_id))
            return
        try:
            self._answer(200, self.tables.read(table, row_id, sync=True, timeout=ANSWER_SECONDS))
        except SyncObjException as error:
            self._answer(503, {"code": "no_leader", "detail": str(error)})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = urlsplit(self.path).path
        if path not in ("/insert", "/update", "/delete_record"):
            self._answer(200, {})  # databases and tables come into being by themselves
            return
        kind = {"/insert": "upsert" if body.get("upsert") else "insert", "/update": "update", "/delete_record": "delete"}[path]
        value = (body.get("data") or body.get("new_data") or {}).get("value")
        row_id = body.get("row_id") or uuid.uuid4().hex
        key = self.headers.get("Idempotency-Key", "")
        try:
            code, version, row_id = self.tables.write(
                kind, body["table_name"], row_id, value, body.get("if_version"), key, sync=True, timeout=ANSWER_SECONDS
            )
        except SyncObjException as error:
            self._answer(504, {"code": "outcome_unknown", "detail": str(error)})
            return
        self._answer(STATUS_OF[code], {"code": code, "version": version, "row_id": row_id})

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", choices=["log", "local"], default="log")
    for name in ("--node", "--config", "--data-dir"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    nodes = json.loads(Path(options.config).read_text())["nodes"]
    hosts = {node["id"]: node["address"].partition(":")[0] for node in nodes}
    raft = {node_id: f"{host}:{RAFT_PORT}" for node_id, host in hosts.items()}
    port = next(int(node["address"].partition(":")[2]) for node in nodes if node["id"] == options.node)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Handler.tables = Tables(raft[options.node], [address for node_id, address in raft.items() if node_id != options.node])
    Handler.ids = {address: node_id for node_id, address in raft.items()}
    Handler.reads_are_local = options.reads == "local"
    ThreadingHTTPServer((hosts[options.node], port), Handler).serve_forever()


if __name__ == "__main__":
    main()
