"""What a search matches: one exact predicate over stored values, and a SQL condition that lets every match through.

`eq` compares with text: a stored string that equals the value, or a stored number, boolean or null whose JSON text equals it; nested JSON
never. `ne` is everything that eq does not match. `lt`, `le`, `gt`, `ge` compare a number with a number, where the value is one, and text
with text by code point; booleans, nulls and nested JSON match none of them. `prefix` and `contains` look at text only.

The SQL condition is there for speed; a row counts only when the predicate says so. It may be wider (SQLite calls 1 and 1.0 equal),
never narrower.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ddbd.errors import Refused
from ddbd.storage.values import INTEGER_MAX, INTEGER_MIN, Stored, json_encode

OPS = ("eq", "ne", "lt", "le", "gt", "ge", "prefix", "contains")
Matcher = Callable[[Stored], bool]

_ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


class Condition(NamedTuple):
    """SQL with `{c}` for the column, and its arguments."""

    sql: str
    arguments: tuple[Stored, ...]


def number_of(value: str) -> int | float | None:
    """The number that the text is in JSON; an infinity where it is too large for a float."""
    try:
        number = msgspec.json.decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError):  # ValueError: text that is no UTF-8, or thousands of digits
        return _too_large(value)
    return number if type(number) in (int, float) else None


def _too_large(value: str) -> float | None:
    """JSON has no limit; a number such as 1e999 still has its place in the order."""
    digits = value.removeprefix("-")
    if not digits[:1].isdigit() or not digits.isascii() or not all(c.isdigit() or c in ".eE+-" for c in digits):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number in (float("inf"), float("-inf")) else None


def matcher(op: str, value: str) -> Matcher:
    """Raises Refused for an op that is none."""
    if op == "eq":
        return _equals(value)
    if op == "ne":
        equals = _equals(value)
        return lambda stored: not equals(stored)
    if op == "prefix":
        return lambda stored: type(stored) is str and stored.startswith(value)
    if op == "contains":
        return lambda stored: type(stored) is str and value in stored
    if op in _ORDERINGS:
        return _ordered(_ORDERINGS[op], value)
    raise Refused("invalid_value", f"op: {op!r} is no comparison; use one of {', '.join(OPS)}")


def _equals(value: str) -> Matcher:
    variants = {(type(variant), variant) for variant in eq_variants(value)}
    text = value.encode("utf-8", "replace")

    def matches(stored: Stored) -> bool:
        if type(stored) is float:
            return json_encode(stored) == text
        return (type(stored), stored) in variants

    return matches


def eq_variants(value: str) -> list[Stored]:
    """The stored values that eq matches; a float also stands for what equals it and has another JSON text (0.0 and -0.0)."""
    variants: list[Stored] = [value]
    if value in ("true", "false"):
        variants.append(value.encode())
    elif value == "null":
        variants.append(None)
    else:
        number = number_of(value)
        fits = type(number) is float or (type(number) is int and INTEGER_MIN <= number <= INTEGER_MAX)
        if fits and json_encode(number) == value.encode():
            variants.append(number)
    return variants


def _ordered(compare: Callable[[Any, Any], bool], value: str) -> Matcher:
    number = number_of(value)

    def matches(stored: Stored) -> bool:
        kind = type(stored)
        if kind is str:
            return compare(stored, value)
        return number is not None and kind in (int, float) and compare(stored, number)

    return matches


def condition(op: str, value: str) -> Condition | None:
    """What SQLite may leave out; None where nearly all rows match anyway."""
    if op == "eq":
        variants = eq_variants(value)
        return Condition("(" + " OR ".join("{c} IS ?" for _ in variants) + ")", tuple(variants))
    if op == "prefix":
        above = _after_prefix(value)
        if above is None:
            return Condition("typeof({c}) = 'text' AND {c} >= ?", (value,))
        return Condition("typeof({c}) = 'text' AND {c} >= ? AND {c} < ?", (value, above))
    if op == "contains":
        return Condition("typeof({c}) = 'text' AND instr({c}, ?) > 0", (value,))
    if op in _ORDERINGS:
        sign = "<=" if op in ("lt", "le") else ">="
        text = f"(typeof({{c}}) = 'text' AND {{c}} {sign} ?)"
        bound = _sql_bound(number_of(value), op)
        if bound is None:
            return Condition(text, (value,))
        return Condition(f"({text} OR (typeof({{c}}) IN ('integer', 'real') AND {{c}} {sign} ?))", (value, bound))
    return None


def _sql_bound(number: int | float | None, op: str) -> int | float | None:
    """A bound that SQLite can take: an integer beyond 64 bits becomes a float on the far side of it."""
    if type(number) is not int or INTEGER_MIN <= number <= INTEGER_MAX:
        return number
    infinity = float("inf")
    try:
        near = float(number)
    except OverflowError:
        return infinity if number > 0 else -infinity
    # The neighbour two steps out surely is on the far side, whichever way the conversion rounded.
    outward = 1 + 4e-16
    return near * outward if (near > 0) == (op in ("lt", "le")) else near / outward


def _after_prefix(prefix: str) -> str | None:
    """The least text above all that begin with the prefix; None when there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    if 0xD800 <= following < 0xE000:  # the surrogates are no characters
        following = 0xE000
    return stem[:-1] + chr(following)
