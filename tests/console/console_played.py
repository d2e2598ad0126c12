"""A node that is played: the console's files, and a feed whose every event the test says.

For states that a real cluster shows for a moment or never: a node that falls silent, a hash that differs, an error text that tries to be
HTML. All other calls are handed to a real node where one is named, else they are 404.
"""

from __future__ import annotations

import copy
import json
import mimetypes
import queue
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import ddbd

FILES = Path(ddbd.__file__).parent / "web" / "console"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
KEPT = {"content-type", "accept", "idempotency-key"}
FIELDS = (
    *("writes", "reads", "write_p50_ms", "write_p99_ms", "read_p50_ms", "read_p99_ms"),
    *("commit_lag", "reactor_ms", "disk_bytes", "disk_free_bytes", "errors"),
)


def status(node_id: str, leader_id: str | None, ids: tuple[str, ...] = ("1", "2", "3"), **more: Any) -> dict[str, Any]:
    """Of a healthy node of a quiet cluster."""
    nodes = [
        {"id": i, "address": f"localhost:{8079 + n}", "is_master": n == 1, "reachable": True, "match_index": 12_480, "lag_entries": 0}
        for n, i in enumerate(ids, 1)
    ]
    addresses = {node["id"]: node["address"] for node in nodes}
    role = "leader" if node_id == leader_id else "follower"
    return {
        "node": {"id": node_id, "address": addresses[node_id], "role": role, "is_master": role == "leader", "reactor": None},
        "master": None if leader_id is None else {"id": leader_id, "address": addresses[leader_id]},
        "term": 4,
        "last_index": 12_480,
        "commit_index": 12_480,
        "applied_index": 12_480,
        "default_database": "DDB0",
        "databases": [{"name": "DDB0", "tables": [{"name": "students", "columns": ["name", "grade"], "row_count": 3}]}],
        "nodes": nodes,
        "ready": leader_id is not None,
        "healthy": True,
        "quarantined": None,
        "state": {"index": 12_480, "hash": "9f86d081884c7d65", "compared_index": None},
        "membership": {"voters": list(ids), "outgoing": [], "learners": []},
        "disk_full": False,
        "seeding": False,
        "hash_format": 3,
        **more,
    }


def peer(node_id: str, told: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    address = f"localhost:{8079 + int(node_id)}" if node_id.isdecimal() else "localhost:8080"
    rates = {"writes": 41.0, "reads": 6.5}
    about = {"id": node_id, "address": address, "answers": told is not None, "ms": 1.24, "error": None, "seen": time.time()}
    return {**about, "status": told, "rates": rates, **more}


def history(seconds: int = 900, step: int = 1) -> dict[str, list[Any]]:
    """Of a node that has been up for as long, with waves to look at."""
    now = int(time.time())
    times = list(range(now - seconds * step + step, now + 1, step))
    waves: dict[str, list[Any]] = {"t": times}
    for place, name in enumerate(FIELDS):
        waves[name] = [round(abs((t * (place + 3)) % 97 - 48) / 7 + 1, 2) for t in times]
    waves["disk_bytes"] = [3_000_000 + 1000 * n for n in range(len(times))]
    waves["errors"] = [0] * len(times)
    return waves


class PlayedNode:
    """Used by `with`. `scene` is what a new tab gets first; `say` sends an event to every tab. Without a word the streams stay open."""

    def __init__(self, behind: str | None = None, self_id: str = "2") -> None:
        self.behind = behind
        ids = ("1", "2", "3")
        self.scene: dict[str, Any] = {
            "self": self_id,
            "status": status(self_id, "1"),
            "peers": [peer(i, status(i, "1")) for i in ids],
            "history": {"1s": history(), "10s": history(8640, 10)},
            "timeline": [],
        }
        self.refused = False  # no feed at all: 503
        self.answers: dict[str, tuple[int, str, bytes]] = {}  # by path: status, content type, body
        self.local_answers: dict[str, tuple[int, str, bytes]] = {}  # of reads with consistency=local
        self.staleness = "unknown"  # what those say of their age
        self._tabs: list[queue.Queue[tuple[str, Any] | None]] = []
        self._number = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.played = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://localhost:{self._server.server_port}/console/"

    def __enter__(self) -> PlayedNode:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.hang_up()
        self._server.shutdown()
        self._server.server_close()

    def say(self, name: str, data: Any) -> None:
        for tab in self._tabs:
            tab.put((name, data))

    def hang_up(self) -> None:
        """Every stream ends."""
        for tab in self._tabs:
            tab.put(None)

    def happen(self, kind: str, text: str, node: str | None = None, **details: Any) -> None:
        number = len(self.scene["timeline"]) + 1
        told = {"id": number, "at": time.time(), "kind": kind, "node": node, "text": text, "details": details}
        self.scene["timeline"].append(told)
        self.say("happened", told)

    def snapshot(self) -> dict[str, Any]:
        return {"now": time.time(), **copy.deepcopy(self.scene)}

    def frames(self) -> Any:
        """What one tab is told, as bytes, for as long as it stays."""
        tab: queue.Queue[tuple[str, Any] | None] = queue.Queue()
        self._tabs.append(tab)
        try:
            yield b"retry: 1000\n\n" + self._frame("snapshot", self.snapshot())
            while (said := tab.get()) is not None:
                yield self._frame(*said)
        finally:
            self._tabs.remove(tab)

    def _frame(self, name: str, data: Any) -> bytes:
        self._number += 1
        return f"id: played-{self._number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    played: PlayedNode


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/console/feed":
            self._feed()
        elif path.startswith("/console/"):
            self._file(FILES / (path.removeprefix("/console/") or "index.html"))
        else:
            self._other()

    def do_POST(self) -> None:
        self._other()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def _feed(self) -> None:
        if self.server.played.refused:
            self._reply(503, "application/problem+json", b'{"title":"Overloaded","detail":"too many feeds","code":"overloaded"}')
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for frame in self.server.played.frames():
            try:
                self.wfile.write(frame)
            except OSError:
                return  # the tab went away

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._reply(404, "text/plain", b"")
            return
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self._reply(200, kind, path.read_bytes())

    def _other(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        played, (path, _, query) = self.server.played, self.path.partition("?")
        is_local = "consistency=local" in query
        said = (played.local_answers if is_local else played.answers).get(path)
        if said is not None:
            self._reply(*said, {"Ddb-Staleness-Ms": played.staleness} if is_local else {})
        elif self.server.played.behind is None:
            self._reply(404, "application/problem+json", b'{"title":"Not found","detail":"nothing is played here","code":"not_found"}')
        else:
            self._carry(self.server.played.behind, body)

    def _carry(self, address: str, body: bytes) -> None:
        connection = HTTPConnection(address, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() in KEPT}
        connection.request(self.command, self.path, body or None, headers)
        reply = connection.getresponse()
        link = reply.headers.get("Link")
        self._reply(reply.status, reply.headers["Content-Type"] or "", reply.read(), {"Link": link} if link else {})
        connection.close()

    def _reply(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
