"""The query string of a call: each parameter known, given once, and of its kind; whatever else is refused with a sentence.

Which parameters a call has stands here, once: a call reads them by its table, and /openapi.json tells of the same table.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from ddbd.config import Limits
from ddbd.errors import Refused
from ddbd.web.canonical import INTEGER_MAX, quoted
from ddbd.web.kinds import A_NAME, NAMES, ROW_ID, TEXT, TIMEOUT_SECONDS_DEFAULT, Field, Kind, Table

PARAMETERS_MAX = 100
OPS = ("eq", "ne", "lt", "le", "gt", "ge", "prefix", "contains")

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")  # a number as JSON writes it
_INTEGER = re.compile(r"[0-9]{1,19}")


def _integer(low: int) -> Kind:
    def check(name: str, text: str, limits: Limits) -> int:
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= INTEGER_MAX:
            raise Refused("invalid_value", f"{name} is {quoted(text)}; give a whole number from {low} to {INTEGER_MAX}")
        return int(text)

    return Kind(check, lambda limits: {"type": "integer", "minimum": low, "maximum": INTEGER_MAX})


def _one_of(words: tuple[str, ...]) -> Kind:
    def check(name: str, text: str, limits: Limits) -> str:
        if text not in words:
            raise Refused("invalid_value", f"{name} is {quoted(text)}; give one of {', '.join(words)}")
        return text

    return Kind(check, lambda limits: {"enum": list(words)})


def _flag(name: str, text: str, limits: Limits) -> bool:
    return bool(_FALSE_TRUE.check(name, text, limits) == "true")


def _timeout(name: str, text: str, limits: Limits) -> float:
    seconds_max = limits.timeout_seconds_max
    if not _SECONDS.fullmatch(text) or not 0 < float(text) <= seconds_max:
        raise Refused("invalid_value", f"{name} is {quoted(text)}; give seconds above 0, at most {seconds_max:g}")
    return float(text)


def timeout_seconds(given: float | None, limits: Limits) -> float:
    """What a call waits, by its parameter."""
    return min(TIMEOUT_SECONDS_DEFAULT, limits.timeout_seconds_max) if given is None else given


def _timeout_schema(limits: Limits) -> dict[str, Any]:
    start = timeout_seconds(None, limits)
    return {"type": "number", "exclusiveMinimum": 0, "maximum": limits.timeout_seconds_max, "default": start}


_FALSE_TRUE = _one_of(("false", "true"))
FLAG = Kind(_flag, lambda limits: {"type": "boolean"})
TIMEOUT = Kind(_timeout, _timeout_schema)

DB = Field(A_NAME, "another database than the default one")
WAIT = Field(TIMEOUT, "seconds to wait for a master, a quorum, an index")
FORWARD = Field(FLAG, "the node carries the call to the master itself", default=False)
TABLE_NAME = Field(A_NAME, "the table", required=True)

WRITE: Table = {"db": DB, "timeout": WAIT, "forward": FORWARD}
AT_MASTER: Table = {"timeout": WAIT, "forward": FORWARD}  # of a call about the nodes
LOAD: Table = {
    "table": TABLE_NAME,
    "db": DB,
    "upsert": Field(FLAG, "replaces rows that are there, whole", default=False),
    "timeout": WAIT,
}
_READ: Table = {
    "table": TABLE_NAME,
    "db": DB,
    "columns": Field(NAMES, "these columns in this order, after row_id"),
    "limit": Field(_integer(1), "rows at most; where more follow, Link names the next page"),
    "after": Field(TEXT, "rows behind this row_id alone"),
    "versions": Field(FLAG, "adds _version to each row", default=False),
    "consistency": Field(_one_of(("linearizable", "local")), "local: this node's own copy, at once", default="linearizable"),
    "min_index": Field(_integer(0), "waits until this node has applied that index"),
    "timeout": WAIT,
}
SELECT: Table = {**_READ, "row_id": Field(ROW_ID, "one row alone")}
SEARCH: Table = {
    **_READ,
    "column": Field(A_NAME, "the column that is looked at; row_id works too", required=True),
    "op": Field(_one_of(OPS), "how it is compared with value", default="eq"),
    "value": Field(TEXT, "a text; numbers, booleans and null are met by their JSON text", required=True),
}
BACKUP: Table = {
    "db": Field(A_NAME, "this database alone"),
    "consistency": _READ["consistency"],
    "timeout": WAIT,
}
RESTORE: Table = {
    "db": Field(A_NAME, "this database of the backup alone"),
    "as": Field(A_NAME, "its name from now on"),
    "replace": Field(FLAG, "in the place of databases that are there", default=False),
    "timeout": WAIT,
}
TIMELINE: Table = {"limit": Field(_integer(1), "events at most, the newest")}


class Parameters:
    """`hint` ends the sentence about a parameter that is unknown here. Everything raises Refused."""

    def __init__(self, query: bytes, table: Table, limits: Limits, hint: str = "") -> None:
        self._table = table
        self._limits = limits
        self._given: dict[str, str] = {}
        for name, value in _pairs(query):
            if name not in table:
                raise Refused("unknown_parameter", f"there is no parameter {quoted(name)} here; use {', '.join(sorted(table))}{hint}")
            if name in self._given:
                raise Refused("invalid_value", f"the parameter {name} is given twice; give it once")
            self._given[name] = value

    @property
    def given(self) -> dict[str, str]:
        """What the client sent, in its order."""
        return dict(self._given)

    def get(self, name: str) -> Any:
        """As its kind has it; its default where it was not given."""
        field, text = self._table[name], self._given.get(name)
        if text is not None:
            return field.kind.check(name, text, self._limits)
        if field.required:
            raise Refused("missing_field", f"the parameter {name} is missing; add ?{name}=…")
        return field.default

    @property
    def timeout_seconds(self) -> float:
        return timeout_seconds(self.get("timeout"), self._limits)


def _pairs(query: bytes) -> list[tuple[str, str]]:
    if not query:
        return []
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except UnicodeDecodeError:
        raise Refused("invalid_value", "the query string is not UTF-8; encode it as UTF-8 and escape it with %XX") from None
    except ValueError:
        raise Refused("invalid_value", f"the query string has more than {PARAMETERS_MAX} parameters") from None
