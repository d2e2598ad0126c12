"""JSON as attackers write it: values that no replica may hold, and text that is almost JSON."""

from __future__ import annotations

import json
import random
from typing import Any

NAMES = (
    "id",
    "name",
    "grade",
    "t",
    "i",
    "r",
    "b",
    "j",
    "row_id",
    "_version",
    "__proto__",
    "constructor",
    "ID",
    "sqlite_x",
    'a"b',
    "a;--",
    "",
    "x" * 64,
)
TEXTS = (
    "",
    "Ahmed",
    "'; DROP TABLE students; --",
    "<script>alert(1)</script>",
    "=1+1",
    "\u202eabc",
    "\0",
    "ü€😀",
    "a" * 300,
    "null",
    "1e5",
    "\r\n",
    "\ud7ff\ue000",
)

# Each is refused wherever it stands in a body.
UNSTORABLE = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"18446744073709551616",
    b"9" * 5000,
    b'"\\ud800"',
    b'"\\udfff\\ud800"',
    b'"\xc0\xaf"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\x01"',
    b'{"a":1,"a":2}',
    b'{"a":{"b":1,"\\u0062":2}}',
    b"[" * 70 + b"]" * 70,
    b"[" * 5000,
    b'{"a":' * 70 + b"1" + b"}" * 70,
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"0x10",
    b"'a'",
    b"undefined",
    b"tru",
    b'"a',
    b"[1,]",
    b"{,}",
    b'{"a"}',
    b"{1:2}",
    b"/**/1",
    b'"\\x41"',
    b'"\\u12"',
    b"\xef\xbb\xbf1",
    b"",
)


class Raw(bytes):
    """JSON text, or what pretends to be, to be written as it stands."""


def value(rng: random.Random, depth: int = 0) -> Any:
    """Any value that is allowed; types and columns may still not fit."""
    kind = rng.randrange(9 if depth < 4 else 7)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind == 1:
        return rng.choice((0, -1, 1, 2**63 - 1, -(2**63), 2**53 + 1, rng.getrandbits(40)))
    if kind == 2:
        return rng.choice((0.0, -0.0, 0.1, 1e308, 5e-324, -1.5, 1e15, rng.random()))
    if kind <= 6:
        return (
            rng.choice(TEXTS)
            if rng.random() < 0.8
            else "".join(chr(rng.choice((rng.randrange(32, 127), rng.randrange(0xA0, 0xD800)))) for _ in range(8))
        )
    if kind == 7:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(NAMES): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def text(rng: random.Random, item: Any) -> bytes:
    """The item as JSON, spaced and escaped at will."""
    space = rng.choice((b"", b"", b"", b" ", b"\n\t"))
    if isinstance(item, Raw):
        return bytes(item)
    if isinstance(item, dict):
        return b"{" + (b"," + space).join(text(rng, key) + b":" + space + text(rng, inner) for key, inner in item.items()) + b"}"
    if isinstance(item, list):
        return b"[" + (b"," + space).join(text(rng, inner) for inner in item) + b"]"
    return json.dumps(item, ensure_ascii=rng.random() < 0.5).encode()


def spoil(rng: random.Random, item: Any) -> Any:
    """Puts something unstorable somewhere inside."""
    if isinstance(item, dict) and item and rng.random() < 0.8:
        key = rng.choice(list(item))
        return {**item, key: spoil(rng, item[key])}
    if isinstance(item, list) and item and rng.random() < 0.8:
        at = rng.randrange(len(item))
        return [*item[:at], spoil(rng, item[at]), *item[at + 1 :]]
    return Raw(rng.choice(UNSTORABLE))


def twist(rng: random.Random, item: Any) -> Any:
    """Changes the shape: another type, another name, one key fewer or one more. It may still be good."""
    if isinstance(item, dict) and item and rng.random() < 0.9:
        key = rng.choice(list(item))
        how = rng.randrange(5)
        if how == 0:
            return {other: inner for other, inner in item.items() if other != key}
        if how == 1:
            return {**item, rng.choice((*NAMES, "rows", "data", "upsert", "if_version", "columns", "db_name")): value(rng)}
        return {**item, key: twist(rng, item[key])}
    if isinstance(item, list) and item and rng.random() < 0.7:
        at = rng.randrange(len(item))
        return rng.choice(([], item * 3, [*item, value(rng)], [*item[:at], twist(rng, item[at]), *item[at + 1 :]]))
    return value(rng)
