"""One call to a node over HTTP, and the curl line that does the same.

`call` opens a connection, follows a redirect to the master, and closes. `Client` keeps its connection and follows nothing: it is for
those who write much. Neither repeats a request by itself; what went wrong on the way is raised as `NodeUnreachable`, and the write may
then have been done.
"""

from __future__ import annotations

import http.client
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlencode, urlsplit

from ddbd.errors import DdbError

TIMEOUT_SECONDS = 15.0  # above the server's own 10 s, so that its answer comes first
REDIRECTS_MAX = 3


class NodeUnreachable(DdbError):
    """No answer: refused, broken off, or too late. A write may have been done."""

    code = "unreachable"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in small letters
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace").strip()

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection to one node, opened again when it broke. Not for several threads at once."""

    def __init__(self, address: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.address = address
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout_seconds)

    def get(self, path: str, **query: str) -> Reply:
        return self.request("GET", with_query(path, query))

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        return self.request("POST", path, body, headers)

    def request(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        data = None if body is None else to_json(body).encode()
        fields = {} if data is None else {"Content-Type": "application/json"}
        try:
            self._connection.request(method, path, data, {**fields, **(headers or {})})
            reply = self._connection.getresponse()
            return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            reason = str(error) or type(error).__name__
            raise NodeUnreachable(f"{method} http://{self.address}{path}: {reason}") from error

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def call(address: str, method: str, path: str, body: object = None, timeout_seconds: float = TIMEOUT_SECONDS) -> Reply:
    """One request on a connection of its own; a 307 is followed, as `curl -L` does."""
    for _ in range(REDIRECTS_MAX + 1):
        with Client(address, timeout_seconds) as client:
            reply = client.request(method, path, body)
        if reply.status != 307:
            return reply
        target = urlsplit(reply.headers.get("location", ""))
        address = target.netloc or address
        path = f"{target.path}?{target.query}" if target.query else target.path
    return reply


def with_query(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def curl_line(address: str, method: str, path: str, body: object = None, redirects: bool = False) -> str:
    """The line for a shell that does the same; a body of text is sent as it is, `@FILE` names a file."""
    words = ["curl", "-sL" if redirects else "-s"]
    if isinstance(body, str) and body.startswith("@"):
        words += ["--data-binary", body]  # -d would strip the line ends of the file
    elif body is not None:
        words += ["-d", to_json(body)]
    elif method != "GET":
        words += ["-X", method]
    return shlex.join([*words, f"http://{address}{path}"])
