"""Requests that a client must not send, drawn from a seed: good ones first, then one attack on one part of them.

A case that is wrong by construction says so (`refuse`): then no answer to it may be a success, and what hides in its body for a parser
that loses count (`SMUGGLED`) must never run.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import fuzz_bytes
import fuzz_json
from fuzz_heads import FRAMINGS, HOSTS, LINES, QUERIES, TARGETS

HOST = (b"Host", b"localhost:8080")
SMUGGLED_DB = "smuggled"
_INNER = b'{"db_name":"smuggled"}'
SMUGGLED = b"POST /init_database HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: %d\r\n\r\n%s" % (len(_INNER), _INNER)
LOADS = (b"application/x-ndjson", b"text/csv")


class Case(NamedTuple):
    kind: str
    data: bytes
    refuse: bool = False  # wrong by construction


@dataclass
class Draft:
    method: bytes = b"GET"
    target: bytes = b"/ping"
    fields: list[tuple[bytes, bytes]] = field(default_factory=lambda: [HOST])
    body: bytes = b""
    chunked: bool = False

    def bytes(self, rng: random.Random) -> bytes:
        fields = list(self.fields)
        if self.chunked:
            fields.append((b"Transfer-Encoding", b"chunked"))
        elif self.body or self.method == b"POST":
            fields.append((b"Content-Length", b"%d" % len(self.body)))
        return head(self.method, self.target, fields) + (chunks(rng, self.body) if self.chunked else self.body)


def head(method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], version: bytes = b"HTTP/1.1") -> bytes:
    return method + b" " + target + b" " + version + b"\r\n" + b"".join(b"%s: %s\r\n" % each for each in fields) + b"\r\n"


def chunks(rng: random.Random, body: bytes) -> bytes:
    result, at = b"", 0
    while at < len(body):
        size = rng.choice((1, 7, 100, len(body)))
        part = body[at : at + size]
        result += b"%x\r\n%s\r\n" % (len(part), part)
        at += size
    return result + b"0\r\n\r\n"


def body_of(rng: random.Random, call: str) -> dict[str, Any]:
    """A good one, most of the time: tables and rows may be missing or there already."""
    table, row_id = rng.choice(("students", "students", "typed", "STUDENTS", "nowhere")), str(rng.randrange(12))
    data = {name: fuzz_json.value(rng) for name in rng.sample(("id", "name", "grade"), rng.randrange(4))}
    row = {"row_id": row_id, "data": data}
    version = {"if_version": rng.randrange(40)} if rng.random() < 0.5 else {}
    columns = [
        rng.choice(("a", "b", {"name": "c", "type": "integer", "index": True}, {"name": "d", "type": "json"})),
        f"x{rng.randrange(3)}",
    ]
    bodies: dict[str, dict[str, Any]] = {
        "init_database": {"db_name": rng.choice(("school", "other")), "user": "u", "password": "p", "host": "h"},
        "drop_database": {"db_name": rng.choice(("other", "absent"))},
        "create_table": {"table_name": rng.choice(("students", f"made{rng.randrange(3)}")), "columns": columns},
        "delete_table": {"table_name": f"made{rng.randrange(6)}"},
        "insert": rng.choice(
            (
                {"table_name": table, **row},
                {"table_name": table, "rows": [row, {"data": data}]},
                {"table_name": table, "upsert": True, **row},
            )
        ),
        "update": {"table_name": table, "row_id": row_id, "new_data": data, **version},
        "delete_record": {"table_name": table, "row_id": row_id, **version},
    }
    return bodies[call]


CALLS = (
    "init_database",
    "drop_database",
    "create_table",
    "create_table",
    "delete_table",
    "insert",
    "insert",
    "insert",
    "update",
    "update",
    "delete_record",
)


def write(rng: random.Random, body: bytes | None = None) -> Draft:
    call = rng.choice(CALLS)
    draft = Draft(b"POST", f"/{call}".encode(), body=fuzz_json.text(rng, body_of(rng, call)) if body is None else body)
    draft.chunked = rng.random() < 0.3
    if rng.random() < 0.2:
        draft.fields.append((b"Idempotency-Key", b"key-%d" % rng.randrange(20)))
    return draft


def read(rng: random.Random) -> Draft:
    targets = (
        b"/select?table=students",
        b"/select?table=students&row_id=1",
        b"/search?table=students&column=name&value=Ahmed",
        b"/status",
        b"/ping",
        b"/healthz",
    )
    return Draft(rng.choice((b"GET", b"GET", b"GET", b"HEAD")), rng.choice(targets))


def load(rng: random.Random) -> Draft:
    kind = rng.choice(LOADS)
    draft = Draft(b"POST", b"/insert?table=" + rng.choice((b"students", b"typed", b"nowhere")), [HOST, (b"Content-Type", kind)])
    if kind == LOADS[1]:
        draft.body = rng.choice((b"row_id,id,name\r\n", b"id\n", b"row_id,t,i,r,b,j\n")) + b"".join(
            _csv_line(rng) for _ in range(rng.randrange(6))
        )
    else:
        lines = [fuzz_json.text(rng, {"row_id": str(rng.randrange(99)), "name": fuzz_json.value(rng)}) for _ in range(rng.randrange(6))]
        draft.body = b"\n".join(lines)
    if rng.random() < 0.3:
        draft.target += rng.choice((b"&upsert=true", b"&db=other", b"&timeout=1", b"&upsert=maybe", b"&x=1"))
    if rng.random() < 0.2:
        draft.fields.append((b"Idempotency-Key", b"load-%d" % rng.randrange(5)))
    draft.chunked = rng.random() < 0.5
    return draft


def _csv_line(rng: random.Random) -> bytes:
    cells = (b"1", b"", b'""', b'"a,b"', b'"a""b"', b'"open', b'stray"', b"true", b"1e999", b"[1]", b"\xff", b"=cmd()", b"9" * 30)
    return b",".join(rng.choice(cells) for _ in range(rng.choice((1, 2, 3, 3, 6)))) + rng.choice((b"\n", b"\r\n", b"\r"))


def good(rng: random.Random) -> Draft:
    return rng.choice((write, write, read, load))(rng)


# The attacks.


def damaged_bytes(rng: random.Random) -> Case:
    return Case("bytes", fuzz_bytes.mutate(rng, good(rng).bytes(rng)))


def unstorable_body(rng: random.Random) -> Case:
    draft = write(rng)
    draft.body = fuzz_json.text(rng, fuzz_json.spoil(rng, body_of(rng, draft.target[1:].decode())))
    return Case("unstorable", draft.bytes(rng), refuse=True)


def twisted_body(rng: random.Random) -> Case:
    draft = write(rng)
    item = body_of(rng, draft.target[1:].decode())
    for _ in range(rng.choice((1, 1, 2))):
        item = fuzz_json.twist(rng, item)
    draft.body = fuzz_json.text(rng, item)
    return Case("twisted", draft.bytes(rng))


def damaged_body(rng: random.Random) -> Case:
    draft = write(rng)
    draft.body = fuzz_bytes.mutate(rng, draft.body)
    return Case("damaged body", draft.bytes(rng))


def no_json(rng: random.Random) -> Case:
    text = rng.choice(
        (
            b"",
            b" ",
            b"[]",
            b"null",
            b'"x"',
            b"1",
            b"{} {}",
            b"{}x",
            '{"a":1}'.encode("utf-16"),
            b"\xef\xbb\xbf{}",
            b"[" * 20_000,
            b'{"a":' * 20_000,
        )
    )
    return Case("no json", write(rng, text).bytes(rng), refuse=True)


def bad_framing(rng: random.Random) -> Case:
    """The body tells two lengths, none, or one that cannot be; behind it waits a request for whoever takes the wrong one."""
    fields, body = rng.choice(FRAMINGS)
    start = b"POST /insert HTTP/1.1\r\nHost: localhost:8080\r\n"
    return Case("framing", start + fields + b"\r\n" + body + SMUGGLED, refuse=True)


def bad_host(rng: random.Random) -> Case:
    draft = write(rng)
    draft.fields = [(b"Host", value) for value in rng.choice(HOSTS)]
    return Case("host", draft.bytes(rng), refuse=True)


def bad_line(rng: random.Random) -> Case:
    return Case("line", rng.choice(LINES) + b"\r\nHost: localhost:8080\r\nContent-Length: 0\r\n\r\n", refuse=True)


def bad_target(rng: random.Random) -> Case:
    return Case("target", head(rng.choice((b"GET", b"POST")), rng.choice(TARGETS), [HOST, (b"Content-Length", b"0")]), refuse=True)


def bad_query(rng: random.Random) -> Case:
    path = rng.choice((b"/select?table=students", b"/search?table=students&column=name&value=x", b"/select?table=typed&row_id=1"))
    query = b"&".join(rng.choice(QUERIES) for _ in range(rng.choice((1, 1, 2, 101))))
    return Case("query", Draft(target=path + b"&" + query).bytes(rng))


def odd_field(rng: random.Random) -> Case:
    """A header field with a meaning that does not fit."""
    name, value = rng.choice(_FIELDS)
    draft = good(rng)
    draft.fields.append((name, value))
    return Case("field", draft.bytes(rng))


def foreign_origin(rng: random.Random) -> Case:
    """A page of another origin writes, as a form or a script can without asking first."""
    foreign = (
        (b"Origin", b"http://evil.example"),
        (b"Origin", b"null"),
        (b"Origin", b"https://localhost:9"),
        (b"Sec-Fetch-Site", b"cross-site"),
        (b"Sec-Fetch-Site", b"same-site"),
    )
    draft = write(rng)
    draft.fields += [(b"Content-Type", b"text/plain"), rng.choice(foreign)]
    return Case("origin", draft.bytes(rng), refuse=True)


def large_head(rng: random.Random) -> Case:
    draft = read(rng)
    if rng.random() < 0.5:
        draft.fields += [(b"X-%d" % number, b"x") for number in range(rng.choice((40, 600)))]
    else:
        draft.fields.append((b"X", b"x" * rng.choice((5_000, 17_000, 70_000))))
    return Case("large head", draft.bytes(rng), refuse=True)


def large_body(rng: random.Random) -> Case:
    draft = write(rng, b'{"table_name":"students","data":{"name":"' + b"x" * rng.choice((9_000, 40_000, 200_000)) + b'"}}')
    return Case("large body", draft.bytes(rng), refuse=True)


def wrong_method(rng: random.Random) -> Case:
    draft = rng.choice((write, read))(rng)
    draft.method = rng.choice((b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"OPTIONS", b"X" * 40))
    return Case("method", draft.bytes(rng), refuse=draft.method != b"OPTIONS")


def damaged_load(rng: random.Random) -> Case:
    draft = load(rng)
    if rng.random() < 0.5:
        draft.body = fuzz_bytes.mutate(rng, draft.body)
    return Case("load", draft.bytes(rng))


def pipelined(rng: random.Random) -> Case:
    """Good and bad ones in one go."""
    parts = [rng.choice(ATTACKS[:-1])(rng).data if rng.random() < 0.3 else good(rng).bytes(rng) for _ in range(rng.randrange(2, 8))]
    return Case("pipeline", b"".join(parts))


def _post(target: bytes, body: bytes, *fields: tuple[bytes, bytes]) -> bytes:
    return head(b"POST", target, [HOST, *fields, (b"Content-Length", b"%d" % len(body))]) + body


def conflict(rng: random.Random) -> Case:
    """Good requests that do not go together: the last one meets what the first one did."""
    row, key = b"row-%d" % rng.randrange(9), (b"Idempotency-Key", b"pair-%d" % rng.randrange(9))
    insert = b'{"table_name":"students","row_id":"%s","data":{"id":%d},"upsert":true}'
    first = _post(b"/insert", insert % (row, 1))
    second = rng.choice(
        (
            _post(b"/insert", b'{"table_name":"students","row_id":"%s","data":{}}' % row),
            _post(b"/update", b'{"table_name":"students","row_id":"%s","new_data":{},"if_version":1}' % row),
            _post(b"/delete_record", b'{"table_name":"students","row_id":"%s","if_version":1}' % row),
            _post(b"/insert", insert % (row, 2), key) + _post(b"/insert", insert % (row, 3), key),
            _post(b"/create_table", b'{"table_name":"students","columns":["other"]}'),
            _post(b"/insert", b"{}", (b"Content-Encoding", b"br")),
            head(b"GET", b"/select?table=students", [HOST, (b"Accept", b"image/png")]),
            head(b"GET", b"/ping", [HOST, (b"Expect", b"miracles")]),
        )
    )
    return Case("conflict", first + second)


def dripping(rng: random.Random) -> Case:
    """Never complete: its deadline ends it."""
    data = good(rng).bytes(rng)
    return Case("drip", data[: rng.randrange(1, len(data))])


_FIELDS = (
    (b"Content-Encoding", b"gzip"),
    (b"Expect", b"200-ok"),
    (b"Expect", b"100-continue"),
    (b"Upgrade", b"websocket"),
    (b"Connection", b"close, upgrade"),
    (b"Accept", b"image/png"),
    (b"Accept", b"application/json;q=0, */*;q=0.1"),
    (b"Accept", b";;;q=,,"),
    (b"Idempotency-Key", b""),
    (b"Idempotency-Key", b"\x80"),
    (b"Idempotency-Key", b"k" * 300),
    (b"If-None-Match", b'W/"1", *'),
    (b"Range", b"bytes=0-"),
    (b"Cookie", b"a=b; c"),
    (b"Authorization", b"Basic !!!"),
    (b"Content-Type", b"application/json; charset=utf-16"),
    (b"Content-Type", b"text/csv"),
    (b"X-Forwarded-Host", b"evil.example"),
)

ATTACKS: tuple[Callable[[random.Random], Case], ...] = (
    damaged_bytes,
    damaged_bytes,
    unstorable_body,
    twisted_body,
    twisted_body,
    damaged_body,
    no_json,
    bad_framing,
    bad_framing,
    bad_host,
    bad_line,
    bad_target,
    bad_query,
    bad_query,
    odd_field,
    odd_field,
    foreign_origin,
    large_head,
    large_body,
    wrong_method,
    damaged_load,
    damaged_load,
    dripping,
    conflict,
    conflict,
    pipelined,
)


def case_of(seed: int, number: int) -> Case:
    """The same one each time."""
    rng = random.Random(f"request {seed} {number}")
    return rng.choice(ATTACKS)(rng)
