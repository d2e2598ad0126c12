"""What a field of a body or a parameter of a query string may hold: the check, and beside it the same said to clients as JSON Schema.

A kind is both, so that /openapi.json cannot say anything else than what is checked. Whatever does not fit is refused with a sentence.
Where JSON Schema has no word for a rule (bytes, names without case), the schema's description has the sentence.

A `Field` is a kind with a name's meaning; a `Body` is all fields of one call's body, a `Table` all parameters of one call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from ddbd.commands import COLUMN_TYPES, Column, Row
from ddbd.config import Limits
from ddbd.errors import Refused
from ddbd.web.canonical import INTEGER_MAX, kind, quoted

RESERVED_COLUMNS = ("row_id", "_version")
TIMEOUT_SECONDS_DEFAULT = 10.0

Schema = dict[str, Any]

_encode = msgspec.json.Encoder().encode


class Kind(NamedTuple):
    """`check(what, value, limits)` gives the value as it is used from there on. Raises Refused."""

    check: Callable[[str, Any, Limits], Any]
    schema: Callable[[Limits], Schema]


class Field(NamedTuple):
    kind: Kind
    about: str
    required: bool = False
    default: Any = None


Table = Mapping[str, Field]  # the parameters of a call


def _any_case(word: str) -> str:
    """A pattern that ECMA 262 reads as Python does: it has no flag for a part of it."""
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in word)


# Names.

NAME = rf"(?!{_any_case('sqlite_')})[A-Za-z_][A-Za-z0-9_]{{0,62}}"
COLUMN_NAME = rf"(?!(?:{'|'.join(map(_any_case, RESERVED_COLUMNS))})$){NAME}"

_NAME = re.compile(NAME)
_NODE_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@lru_cache(maxsize=1024)
def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def check_name(what: str, name: str, limits: Limits | None = None) -> str:
    if not isinstance(name, str):
        raise Refused("invalid_value", f"{what} is {kind(name)}; give a name as text")
    if not is_name(name):
        raise Refused(
            "invalid_name",
            f"{what} is {quoted(name)}; a name has 1 to 63 letters, digits and '_', begins with no digit, and not with sqlite_",
        )
    return name


def _names(what: str, text: str, limits: Limits) -> tuple[str, ...]:
    return tuple(check_name(what, name) for name in text.split(","))


def _name_schema(limits: Limits) -> Schema:
    return {"type": "string", "pattern": f"^{NAME}$", "description": "Names compare without case."}


def _names_schema(limits: Limits) -> Schema:
    return {"type": "array", "items": _name_schema(limits), "minItems": 1}


A_NAME = Kind(check_name, _name_schema)
NAMES = Kind(_names, _names_schema)  # of a parameter, joined by commas

# Rows.


def check_row_id(what: str, value: Any, limits: Limits) -> str:
    if not isinstance(value, str):
        raise Refused("invalid_value", f'{what} is {kind(value)}; a row id is text, as in "1"')
    if not value or len(value.encode()) > limits.row_id_bytes_max:
        raise Refused("invalid_value", f"{what} has {len(value.encode())} bytes; a row id has 1 to {limits.row_id_bytes_max}")
    if "\0" in value:
        raise Refused("invalid_value", f"{what} holds the character U+0000; a row id may hold any other")
    return value


def _row_id_schema(limits: Limits) -> Schema:
    bytes_max = limits.row_id_bytes_max
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": bytes_max,
        "pattern": "^[^\\u0000]*$",
        "description": f"At most {bytes_max} bytes in UTF-8.",
    }


ROW_ID = Kind(check_row_id, _row_id_schema)


def check_data(what: str, value: Any, limits: Limits | None = None) -> Row:
    if not isinstance(value, dict):
        raise Refused("invalid_value", f'{what} is {kind(value)}; give an object of columns and values, as in {{"name": "Ahmed"}}')
    return value


def check_row_size(what: str, data: Row, limits: Limits) -> None:
    size = len(_encode(data))
    if size > limits.row_bytes_max:
        raise Refused("invalid_value", f"{what} has {size} bytes as JSON; a row has at most {limits.row_bytes_max}")


def _data_schema(limits: Limits) -> Schema:
    about = f"Values by column. Integers have 64 bits, floats are finite, and all of it has at most {limits.row_bytes_max} bytes."
    return {"type": "object", "description": about}


DATA = Kind(check_data, _data_schema)


def _rows(what: str, rows: Any, limits: Limits) -> tuple[tuple[str, Row], ...]:
    """The row id is empty where none was given."""
    if not isinstance(rows, list):
        raise Refused("invalid_value", f"{what} is {kind(rows)}; give a list of rows")
    if not 1 <= len(rows) <= limits.batch_rows_max:
        raise Refused(
            "invalid_value", f"{what} has {len(rows)} rows; a batch has 1 to {limits.batch_rows_max}, and the streaming load any number"
        )
    return tuple([_row(f"{what}[{place}]", row, limits) for place, row in enumerate(rows)])


def _row(what: str, row: Any, limits: Limits) -> tuple[str, Row]:
    if not isinstance(row, dict):
        raise Refused("invalid_value", f"{what} is {kind(row)}; give an object with row_id and data")
    if "data" not in row:
        raise Refused("missing_field", f"{what}.data is missing")
    if len(row) > 1 + ("row_id" in row):
        other = next(name for name in row if name not in ("row_id", "data"))
        raise Refused("unknown_field", f"{what} has a field {quoted(other)}; a row has row_id and data")
    data = check_data(f"{what}.data", row["data"])
    return check_row_id(f"{what}.row_id", row["row_id"], limits) if "row_id" in row else "", data


def _rows_schema(limits: Limits) -> Schema:
    row = {
        "type": "object",
        "properties": {"row_id": _row_id_schema(limits), "data": _data_schema(limits)},
        "required": ["data"],
        "additionalProperties": False,
    }
    about = f"Rows times columns of the table are at most {limits.batch_cells_max}."
    return {"type": "array", "items": row, "minItems": 1, "maxItems": limits.batch_rows_max, "description": about}


ROWS = Kind(_rows, _rows_schema)

# Columns.


def _columns(what: str, given: Any, limits: Limits) -> tuple[Column, ...]:
    if not isinstance(given, list):
        raise Refused("invalid_value", f"{what} is {kind(given)}; give a list of names, or of objects with name, type and index")
    if not 1 <= len(given) <= limits.columns_max:
        raise Refused("invalid_value", f"{what} has {len(given)} columns; a table has 1 to {limits.columns_max}")
    columns = tuple([_column(f"{what}[{place}]", column) for place, column in enumerate(given)])
    seen: set[str] = set()
    for column in columns:
        if column.name.lower() in seen:
            raise Refused("invalid_name", f"{what} names {column.name} twice; names compare without case, so give each once")
        seen.add(column.name.lower())
    indexes = sum(column.index for column in columns)
    if indexes > limits.indexes_max:
        raise Refused("invalid_value", f"{what} has {indexes} with an index; a table has at most {limits.indexes_max}")
    return columns


def _column(what: str, given: Any) -> Column:
    if isinstance(given, str):
        return Column(_column_name(what, given))
    if not isinstance(given, dict):
        raise Refused("invalid_value", f"{what} is {kind(given)}; give a name, or an object with name, type and index")
    other = next((name for name in given if name not in ("name", "type", "index")), None)
    if other is not None:
        raise Refused("unknown_field", f"{what} has a field {quoted(other)}; a column has name, type and index")
    if "name" not in given:
        raise Refused("missing_field", f"{what}.name is missing")
    name, type_, index = given["name"], given.get("type", "any"), given.get("index", False)
    if not isinstance(name, str):
        raise Refused("invalid_value", f"{what}.name is {kind(name)}; give a name as text")
    if type_ not in COLUMN_TYPES:
        raise Refused("invalid_value", f"{what}.type is no type; give one of {', '.join(COLUMN_TYPES)}")
    if not isinstance(index, bool):
        raise Refused("invalid_value", f"{what}.index is {kind(index)}; give true or false")
    return Column(_column_name(f"{what}.name", name), type_, index)


def _column_name(what: str, name: str) -> str:
    if name.lower() in RESERVED_COLUMNS:
        raise Refused("invalid_name", f"{what} is {name}, which is reserved; every row has row_id and _version already")
    return check_name(what, name)


def _columns_schema(limits: Limits) -> Schema:
    name = {"type": "string", "pattern": f"^{COLUMN_NAME}$", "description": "No two names of a table are the same without case."}
    described = {
        "type": "object",
        "properties": {
            "name": name,
            "type": {"enum": list(COLUMN_TYPES), "default": "any"},
            "index": {"type": "boolean", "default": False},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    about = f"At most {limits.indexes_max} of them with an index."
    return {
        "type": "array",
        "items": {"oneOf": [name, described]},
        "minItems": 1,
        "maxItems": limits.columns_max,
        "description": about,
    }


COLUMNS = Kind(_columns, _columns_schema)

# What is simple.


def _text(what: str, value: Any, limits: Limits) -> str:
    if not isinstance(value, str):
        raise Refused("invalid_value", f"{what} is {kind(value)}; give a text, or leave it out")
    return value


def _flag(what: str, value: Any, limits: Limits) -> bool:
    if not isinstance(value, bool):
        raise Refused("invalid_value", f"{what} is {kind(value)}; give true or false")
    return value


def _version(what: str, value: Any, limits: Limits) -> int:
    if type(value) is not int or not 0 <= value <= INTEGER_MAX:
        raise Refused("invalid_value", f"{what} is no version; give the whole number that a read or a write gave")
    return value


def _node_id(what: str, value: Any, limits: Limits) -> str:
    if not isinstance(value, str) or not _NODE_ID.fullmatch(value):
        raise Refused("invalid_value", f'{what} is no id of a node; give one of /status as text, as in "1"')
    return value


NODE_ID = Kind(_node_id, lambda limits: {"type": "string", "pattern": f"^{_NODE_ID.pattern}$"})
TEXT = Kind(_text, lambda limits: {"type": "string"})
FLAG = Kind(_flag, lambda limits: {"type": "boolean"})
VERSION = Kind(_version, lambda limits: {"type": "integer", "minimum": 0, "maximum": INTEGER_MAX})


class Body:
    """All fields of a call's body. `example` works after those of the calls that are documented before it."""

    def __init__(self, title: str, fields: Mapping[str, Field], example: dict[str, Any], elsewhere: frozenset[str] = frozenset()) -> None:
        self.title = title
        self.fields = fields
        self.example = example
        self._checks = {name: field.kind.check for name, field in fields.items()}
        self._required = dict.fromkeys(name for name, field in fields.items() if field.required)
        self._names = ", ".join(sorted({*fields, *elsewhere}))  # what the call takes, in whichever shape

    def read(self, given: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """The same fields, each as it is used, in their places. Raises Refused."""
        checks = self._checks
        for name, value in given.items():
            check = checks.get(name)
            if check is None:
                raise Refused("unknown_field", f"there is no field {quoted(name)} here; use {self._names}")
            given[name] = check(name, value, limits)
        if not given.keys() >= self._required.keys():
            missing = next(name for name in self._required if name not in given)
            raise Refused("missing_field", f"the field {missing} is missing")
        return given
