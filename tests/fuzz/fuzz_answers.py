"""What a node may say. Bytes that came back -> answers, read as strictly as RFC 9112 and 9457 allow."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from ddbd.web.problems import STATUSES

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [ -~]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
_TRACES = (b"Traceback", b'File "', b".py", b"site-packages", b"twisted", b"0x7f")
PROBLEM = "application/problem+json"

# A refusal for which the client can do nothing. Everything else of 500 and above is a bug.
UNAVAILABLE = {"no_leader": 503, "overloaded": 503, "not_ready": 503, "outcome_unknown": 504, "disk_full": 507}

PEERS_CODES = ("bad_header", "other_node", "unknown_node", "other_cluster", "other_format")  # of /raft, which is not for clients


class Answer(NamedTuple):
    status: int
    fields: dict[str, list[str]]
    body: bytes
    complete: bool

    @property
    def kind(self) -> str:
        return self.fields.get("content-type", [""])[0]

    @property
    def code(self) -> str | None:
        return str(json.loads(self.body)["code"]) if self.kind == PROBLEM and self.body else None

    @property
    def method_may_write(self) -> bool:
        """Its body names what was written."""
        return any(word in self.body for word in (b'"index"', b'"status":"ok"'))


def answers_of(data: bytes, may_be_head: bool) -> list[Answer]:
    """All of them. Answers to HEAD have no body, and the bytes alone do not tell which those are: any reading that fits will do."""
    try:
        return _answers(data, False)
    except AssertionError:
        if not may_be_head:
            raise
        return _answers_mixed(data)


def _answers(data: bytes, head: bool) -> list[Answer]:
    found = []
    while data:
        answer, data = _one(data, head)
        found.append(answer)
    return found


def _answers_mixed(data: bytes) -> list[Answer]:
    """Depth first, the longer reading first."""
    if not data:
        return []
    for head in (False, True):
        try:
            answer, rest = _one(data, head)
            return [answer, *_answers_mixed(rest)]
        except AssertionError:
            if head:
                raise
    raise AssertionError("unreachable")


def _one(data: bytes, head: bool) -> tuple[Answer, bytes]:
    top, end, rest = data.partition(b"\r\n\r\n")
    assert end, f"no whole head in {data[:200]!r}"
    first, *lines = top.split(b"\r\n")
    match = _STATUS.fullmatch(first)
    assert match is not None, f"no status line: {first!r}"
    status = int(match[1])
    fields: dict[str, list[str]] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        assert field is not None, f"no header field: {line!r}"
        fields.setdefault(field[1].decode().lower(), []).append((field[2] or b"").decode())
    if status in (100, 204, 304):
        return Answer(status, fields, b"", True), rest
    lengths, codings = fields.get("content-length", []), fields.get("transfer-encoding", [])
    if codings:
        assert codings == ["chunked"], f"it is framed by {codings}"
        assert not lengths, f"it is framed by {codings} and {lengths}"
        if head:
            return Answer(status, fields, b"", True), rest
        body, complete, rest = _chunks(rest)
        return Answer(status, fields, body, complete), rest
    if not lengths:
        assert fields.get("connection") == ["close"], f"neither length nor end: {top!r}"
        return Answer(status, fields, rest, True), b""
    assert len(lengths) == 1, f"lengths {lengths}"
    assert lengths[0].isdecimal(), f"lengths {lengths}"
    length = 0 if head else int(lengths[0])
    assert len(rest) >= length, f"{len(rest)} of {length} bytes came"
    return Answer(status, fields, rest[:length], True), rest[length:]


def _chunks(data: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while data:
        size, end, data = data.partition(b"\r\n")
        assert end and re.fullmatch(rb"[0-9a-fA-F]+", size), f"no chunk size: {size!r}"  # noqa: PT018 - one thing
        length = int(size, 16)
        assert data[length : length + 2] == b"\r\n", "a chunk without its end"
        body, data = body + data[:length], data[length + 2 :]
        if length == 0:
            return body, True, data
    return body, False, b""


def check_answer(answer: Answer) -> None:
    for trace in _TRACES:
        assert trace not in answer.body, f"the answer tells of {trace!r}: {answer.body[:500]!r}"
    assert "server" not in answer.fields, "the answer names its server"
    if answer.status < 300 or answer.status == 304:
        return
    assert answer.kind == PROBLEM, f"{answer.status} is a {answer.kind!r}"
    if answer.code in PEERS_CODES:
        assert answer.status < 500, answer
        return
    for name in ("ddb-node", "ddb-term", "ddb-index", "cache-control", "x-content-type-options"):
        assert len(answer.fields.get(name, ())) == 1, f"{answer.status} has {answer.fields.get(name)} as {name}"
    if not answer.body:
        return  # to HEAD
    problem = json.loads(answer.body)
    assert {"type", "title", "status", "detail", "code"} <= set(problem), problem
    assert STATUSES[problem["code"]][0] == problem["status"] == answer.status, problem
    assert problem["detail"].isprintable(), problem
    assert len(problem["detail"]) < 1_500, problem
    if answer.status >= 500:
        assert UNAVAILABLE.get(problem["code"]) == answer.status, f"a client's mistake is answered with {problem}"
        assert answer.status != 503 or answer.fields.get("retry-after"), problem
    assert answer.status != 307 or answer.fields["location"][0].startswith("http://localhost:8081/"), answer.fields
