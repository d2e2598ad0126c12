"""What a column can hold, and how it is stored: the same on disk and in the twin.

    int, float, text, null   as they are (columns have no SQLite type, so nothing is converted)
    bool, list, object       a BLOB of their JSON text

So a value comes back type for type, and true is never 1. A BLOB is never a client's text: text is stored as TEXT.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ddbd.commands import Value
from ddbd.errors import Refused

Stored = int | float | str | bytes | None
StoredRow = tuple[Any, ...]  # (row_id, version, *values) with stored values

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1

_ACCEPTED: dict[str, frozenset[type]] = {
    "any": frozenset({str, int, float, bool, type(None), list, dict}),
    "text": frozenset({str, type(None)}),
    "integer": frozenset({int, type(None)}),
    "real": frozenset({float, int, type(None)}),  # 1 is a real to whoever writes JSON; it comes back as 1
    "boolean": frozenset({bool, type(None)}),
    "json": frozenset({str, int, float, bool, type(None), list, dict}),
}
PLAIN = frozenset({str, type(None)})  # stored as they are, whatever they hold

json_encode = msgspec.json.Encoder().encode
json_decode = msgspec.json.Decoder().decode


def accepted_types(column_type: str) -> frozenset[type]:
    return _ACCEPTED[column_type]


def is_column_type(name: str) -> bool:
    return name in _ACCEPTED


def store(value: Value, column: str) -> Stored:
    """Of anything but text and null, which are PLAIN.

    Raises Refused for what no column can hold. The door refuses it as well; a replica must not stumble if it did not.
    """
    kind = type(value)
    if kind is int:
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise Refused("invalid_value", f"column {column}: {value} is no integer of 64 bits")
        return value  # type: ignore[no-any-return]
    if kind is float:
        if not math.isfinite(value):
            raise Refused("invalid_value", f"column {column}: {value} is no finite number")
        return float(value)  # a negative zero too: SQLite keeps it where a column has no type (tested)
    return json_encode(value)


def load(stored: Stored) -> Value:
    return json_decode(stored) if type(stored) is bytes else stored


def load_row(row: StoredRow) -> tuple[Value, ...]:
    """(row_id, *values, version), as a scan gives a row."""
    return (row[0], *[json_decode(v) if type(v) is bytes else v for v in row[2:]], row[1])


def row_bytes(data: dict[str, Value]) -> int:
    """The size that `row_bytes_max` limits: the JSON text of the row's columns that are not null."""
    return len(json_encode({name: value for name, value in data.items() if value is not None}))
