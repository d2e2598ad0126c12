"""Every curl line of the README and of docs/, in the order in which it stands there, against a running cluster.

The lines are read, not run: what `curl` would send is sent by `http.client`, so that a machine without curl can test them.
"""

from __future__ import annotations

import http.client
import json
import shlex
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from ddbd.cli.local import LocalCluster, LocalNode

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "docs/http.md", "docs/operations.md"]
DOCUMENTED_PORTS = {8080: "1", 8081: "2", 8082: "3"}  # of config.json
LOAD_CSV = b"row_id,name,grade\r\n5,Nour,B\r\n6,Omar,A\r\n"  # the file that docs/http.md loads


class Curl(NamedTuple):
    line: str
    url: str
    method: str
    body: str | None
    headers: dict[str, str]
    follows: bool
    output: str | None  # the file after `>`


def curl_lines(text: str) -> list[str]:
    """The indented lines that begin with curl, each with what its backslashes join to it."""
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.startswith("    curl ")]


def parse(line: str) -> Curl:
    """Raises ValueError for an option that this reader does not know: it would test something else than what stands there."""
    words = iter(shlex.split(line)[1:])
    url, body, headers, follows, output = "", None, dict[str, str](), False, None
    for word in words:
        if word in ("-d", "--data-binary"):
            body = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(":")
            headers[name] = value.strip()
        elif word == "-L":
            follows = True
        elif word == ">":
            output = next(words)
        elif word.startswith("http://"):
            url = word
        elif word != "-s":
            raise ValueError(f"{word!r} in {line!r}")
    return Curl(line, url, "GET" if body is None else "POST", body, headers, follows, output)


class Shell:
    """Sends what curl would send, to the node that plays the documented one."""

    def __init__(self, cluster: LocalCluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._versions: dict[str, int] = {}  # by row_id, as the last answers told
        (folder / "load.csv").write_bytes(LOAD_CSV)

    def run(self, curl: Curl) -> tuple[int, bytes]:
        target = urlsplit(curl.url)
        node = self._cluster.nodes[DOCUMENTED_PORTS[target.port or 80]]
        path = f"{target.path}?{target.query}" if target.query else target.path
        status, location, answer = self._send(node, curl, path)
        if status == 307 and curl.follows:
            [node] = [node for node in self._cluster.nodes.values() if node.address == urlsplit(location).netloc]
            status, _, answer = self._send(node, curl, path)
        if curl.output is not None:
            (self._folder / curl.output).write_bytes(answer)
        if curl.method == "POST":
            self._note(answer)
        return status, answer

    def _send(self, node: LocalNode, curl: Curl, path: str) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("localhost", node.port, timeout=15)
        try:
            # Without -H, curl calls every body a form.
            headers = curl.headers if curl.body is None else {"Content-Type": "application/x-www-form-urlencoded", **curl.headers}
            connection.request(curl.method, path, self._body(curl), headers)
            reply = connection.getresponse()
            return reply.status, reply.getheader("Location", ""), reply.read()
        finally:
            connection.close()

    def _body(self, curl: Curl) -> bytes | None:
        """A page cannot know which version its row has got here."""
        if curl.body is None:
            return None
        if curl.body.startswith("@"):
            return (self._folder / curl.body[1:]).read_bytes()
        fields: dict[str, Any] = json.loads(curl.body)
        if "if_version" in fields:
            fields["if_version"] = self._versions[fields["row_id"]]
            return json.dumps(fields).encode()
        return curl.body.encode()

    def _note(self, answer: bytes) -> None:
        if answer.startswith(b'{"row_id"'):
            told = json.loads(answer)
            self._versions[told["row_id"]] = told["version"]


@pytest.fixture
def shell(running: LocalCluster, tmp_path: Path) -> Shell:
    return Shell(running, tmp_path)


def test_every_documented_curl_line_works_as_it_stands(shell: Shell) -> None:
    for page in PAGES:
        lines = curl_lines((ROOT / page).read_text("utf-8"))
        assert lines, f"{page} has no example"
        for line in lines:
            status, answer = shell.run(parse(line))
            assert 200 <= status < 300, f"{page}: {line}: {status} {answer.decode()}"


def test_a_line_is_read_as_a_shell_would_read_it() -> None:
    text = "    curl -L -H 'A: b' -d '{\"a b\":1}' \\\n        'http://localhost:8081/x?y=1&z' > out\n    echo no\ncurl is prose\n"
    [line] = curl_lines(text)
    read = parse(line)._replace(line="")
    assert read == Curl("", "http://localhost:8081/x?y=1&z", "POST", '{"a b":1}', {"A": "b"}, True, "out")


def test_an_option_that_the_reader_does_not_know_is_no_silent_pass() -> None:
    with pytest.raises(ValueError, match="--upload-file"):
        parse("curl --upload-file x http://localhost:8080/")
