"""Bytes of JSON -> values that every replica can hold; whatever else is refused here, in one clear sentence.

What goes into the log must apply the same on every node, so nothing doubtful passes: broken JSON, other encodings than UTF-8, a BOM,
bytes after the value, NaN, infinities and 1e999, integers outside 64 bits wherever they stand, keys given twice, lone surrogates,
nesting beyond the limit, anything but an object at the top.

No JSON library refuses all of that. msgspec does half of it and is ten times faster than the rest, so it decodes, and the other half
are checks in C over the bytes, with a slow and exact look only where the quick one cannot say. Measured on one core: 2 µs for a
body of one small row, 20 ms for 10,000 rows (900 kB); the standard library with `object_pairs_hook` takes 9 µs and 19 ms, and still
lets NaN and surrogates through.

    twice   a key that was dropped leaves one colon less in the value when it is written out again than there were in the body
    depth   the brackets outside of strings, peeled layer by layer, then counted; none where there are fewer brackets than the limit
    range   only a run of 19 digits can be an integer outside of 64 bits
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any

import msgspec

from ddbd.errors import Refused

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1
LAYERS_LOOKED_AT = 4  # a body, its rows, a row, its data
LAYERS_PEELED = 8  # of brackets, where peeling is faster than counting

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_STEP = [{ord("["): 1, ord("]"): -1}.get(byte, 0) for byte in range(256)]
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_LONG_RUN = b"0" * 19  # 2**63 has 19 digits


def decode_object(body: bytes, depth_max: int, what: str = "the body") -> dict[str, Any]:
    """A request's body, or a line of a load. Raises Refused("invalid_json")."""
    value = decode(body, depth_max, what)
    if not isinstance(value, dict):
        raise Refused("invalid_json", f"{what} is {kind(value)}; send one JSON object")
    return value


def decode(body: bytes, depth_max: int, what: str) -> Any:
    """Any JSON value; `what` names it in the sentence of a refusal."""
    value = _decoded(body, depth_max, what)
    openers, keys = body.count(b"[") + body.count(b"{"), -1
    if openers > depth_max:
        keys = _keys_of_shallow(value, openers, min(depth_max, LAYERS_LOOKED_AT))
        if keys < 0 and _deeper_than(body, depth_max):
            raise _too_deep(what, depth_max)
    if _LONG_RUN in body.translate(_DIGITS_ALIKE):
        _check_range(value, what)
    colons = body.count(b":")
    if keys != colons and _has_key_twice(body, value, colons):
        json.loads(body, object_pairs_hook=lambda pairs: _refuse_twice(pairs, what))
    return value


def _decoded(body: bytes, depth_max: int, what: str) -> Any:
    if not body or body.isspace():
        raise Refused("invalid_json", f"{what} is empty; send JSON")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise Refused("invalid_json", f"{what} begins with a byte order mark; send plain UTF-8 without one")
    try:
        body.decode()
        return _decode(body)
    except UnicodeDecodeError as error:
        raise Refused("invalid_json", f"{what} is not UTF-8 at byte {error.start}; encode it as UTF-8") from None
    except RecursionError:
        raise _too_deep(what, depth_max) from None
    except msgspec.DecodeError as error:
        raise Refused("invalid_json", f"{what} is no JSON that can be stored: {_reason(error, body)}") from None


def _reason(error: Exception, body: bytes) -> str:
    if re.search(rb"\\u[dD][89a-fA-F]", body):
        return "a surrogate (\\ud800 to \\udfff) stands without its other half; write the character itself, or both halves"
    if re.search(rb"\b(NaN|Infinity)\b", body):
        return "NaN and Infinity are no JSON; send a finite number or null"
    text = str(error)
    if "out of range" in text:
        return "a number is out of range; integers have 64 bits, and floats must be finite"
    if "truncated" in text:
        return "it ends too early; close every quote and every bracket"
    return text.removeprefix("JSON is malformed: ")


def _too_deep(what: str, depth_max: int) -> Refused:
    return Refused("invalid_json", f"{what} is nested too deeply; at most {depth_max} levels of lists and objects are kept")


def _keys_of_shallow(value: Any, openers: int, layers: int) -> int:
    """How many keys there are, where all brackets that open something are those of the first layers; else -1.

    A batch of rows is so, and this costs a quarter of peeling its brackets and writing it out again.
    """
    layer, seen, keys = [value], 0, 0
    for _ in range(layers):
        seen += len(layer)
        objects = [item for item in layer if type(item) is dict]
        keys += sum(map(len, objects))
        if seen == openers:
            return keys
        inner = [item for object_ in objects for item in object_.values()]
        inner += [item for list_ in layer if type(list_) is list for item in list_]
        layer = [item for item in inner if type(item) is dict or type(item) is list]
    return -1


def _deeper_than(body: bytes, depth_max: int) -> bool:
    """Takes the innermost pairs of brackets away, one layer a turn; counts what is deeper than most. The body is known to be valid JSON."""
    outside = _STRING.sub(b"", body) if b"\\" in body else b"".join(body.split(b'"')[::2])
    brackets = outside.translate(_ONE_KIND, _NOT_BRACKETS)
    layers = min(depth_max, LAYERS_PEELED)
    for _ in range(layers):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    # A million brackets in towers of 60 take 0.3 s to peel to the ground, and 0.1 s so.
    return max(accumulate(map(_STEP.__getitem__, brackets))) > depth_max - layers


def _check_range(value: Any, what: str) -> None:
    """Recursion is safe: the depth was checked before."""
    if isinstance(value, int):
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise Refused("invalid_json", f"{what} holds an integer outside of 64 bits; send it as text, or as a float")
    elif isinstance(value, dict):
        for item in value.values():
            _check_range(item, what)
    elif isinstance(value, list):
        for item in value:
            _check_range(item, what)


def _has_key_twice(body: bytes, value: Any, colons: int) -> bool:
    r"""True when a key was dropped, or when only the slow way can tell: the body holds a colon written as \u003a."""
    if type(value) is dict:
        keys = len(value)
        if colons != keys:
            for item in value.values():
                if type(item) is dict:
                    keys += len(item)
        if colons == keys:  # one for each key that is there: none stands in a text, and none belonged to a key that was dropped
            return False
    return colons > 1 and (b"\\u003" in body or colons != _encode(value).count(b":"))


def _refuse_twice(pairs: list[tuple[str, Any]], what: str) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise Refused("invalid_json", f"{what} gives the key {quoted(key)} twice in one object; give it once")
        seen.add(key)


def kind(value: Any) -> str:
    """What a client calls a value of this type."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names[type(value)]


def quoted(text: str, chars_max: int = 80) -> str:
    """A client's text inside of a sentence: never long, never able to break the line, or to turn it round (U+202E)."""
    shown = json.dumps(text if len(text) <= chars_max else text[:chars_max] + "…", ensure_ascii=False)
    return shown if shown.isprintable() else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
