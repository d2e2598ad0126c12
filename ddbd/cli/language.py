"""The words of the shell: one sentence for each call of the contract, as HELP shows them. Nothing here talks to a node."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ddbd.cli.errors import USAGE, CliError
from ddbd.client import Column

HELP = """\
    insert students row_id=1 name="Ahmed" age=20 [upsert]      init_database school        get students 1
    update students 1 grade="A+" [if_version 17]               drop_database school        delete students 1 [if_version 17]
    select students [columns name,age] [where age >= 20]       create_table students name age:integer:index
           [limit 10] [after 5] [versions] [local]             delete_table students
    status  nodes  health  timeline [10]  tables  databases  ping  step_down  transfer 2

A value is JSON where it reads as JSON (20, 1.5, true, null, "text", [1,2], {"a":1}), and else the text as it stands; 'single quotes' hold
text too, '' in them is one quote. A row_id and what a search looks for are always text.
"""

OPS = {
    "=": "eq",
    "==": "eq",
    "!=": "ne",
    "<>": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "prefix": "prefix",
    "contains": "contains",
}
TYPES = ("any", "text", "integer", "real", "boolean", "json")

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r"==|!=|<>|<=|>=|=|<|>|prefix\b|contains\b")
_BARE = re.compile(r"[^\s\"'{\[][^\s]*")
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_decoder = json.JSONDecoder()


class NotUnderstood(CliError):
    """A mistake in a sentence, told in one."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, USAGE)


@dataclass(frozen=True)
class Sentence:
    """What was said. Fields that a verb does not have are empty."""

    verb: str
    name: str = ""  # of a table, a database, a node
    row_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    columns: Sequence[Column] | None = None
    where: tuple[str, str, str] | None = None  # column, op, value
    limit: int | None = None
    after: str | None = None
    if_version: int | None = None
    upsert: bool = False
    versions: bool = False
    local: bool = False


class Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self._skip()

    def _skip(self) -> None:
        match = _SPACE.match(self.text, self.place)
        assert match is not None, "no space is a match too"
        self.place = match.end()

    @property
    def at_end(self) -> bool:
        return self.place >= len(self.text)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self.text, self.place)
        if match is not None:
            self.place = match.end()
            self._skip()
        return match

    def fail(self, wanted: str) -> NotUnderstood:
        rest = self.text[self.place :].split()
        found = f"not {rest[0]!r}" if rest else "nothing is there"
        return NotUnderstood(f"{wanted}; {found}")

    def word(self, wanted: str) -> str:
        match = self._take(_WORD)
        if match is None:
            raise self.fail(wanted)
        return match[0]

    def keyword(self, *words: str) -> str | None:
        """The next word, where it is one of these and no `name=` of an assignment."""
        match = _WORD.match(self.text, self.place)
        if match is None or match[0].lower() not in words or self.text[match.end() :].lstrip().startswith("="):
            return None
        self.place = match.end()
        self._skip()
        return match[0].lower()

    def operator(self) -> str:
        match = self._take(_OPERATOR)
        if match is None:
            raise self.fail(f"a comparison is one of {', '.join(op for op in OPS if op not in ('==', '<>'))}")
        return match[0]

    def equals(self, name: str) -> None:
        if not self.text.startswith("=", self.place):
            raise self.fail(f"a value is given as {name}=VALUE")
        self.place += 1
        self._skip()

    def value(self, wanted: str = "a value is missing") -> Any:
        start = self.text[self.place : self.place + 1]
        if start == "'":
            match = self._take(_QUOTED)
            if match is None:
                raise NotUnderstood("a quote ' is never closed")
            return match[1].replace("''", "'")
        if start and start in '"[{':
            return self._json(start)
        match = self._take(_BARE)
        if match is None:
            raise self.fail(wanted)
        return bare_value(match[0])

    def _json(self, start: str) -> Any:
        try:
            value, end = _decoder.raw_decode(self.text, self.place)
        except (ValueError, RecursionError):
            what = 'a text in "quotes"' if start == '"' else "a list or an object"
            raise NotUnderstood(f"{what} is no JSON: {self.text[self.place :][:40]}") from None
        if end < len(self.text) and not self.text[end].isspace():
            raise NotUnderstood(f"something stands right behind {self.text[self.place : end]}; put a space between")
        self.place = end
        self._skip()
        return value

    def text_value(self, wanted: str) -> str:
        """A value as text: `1` is "1", whatever it would be elsewhere."""
        begin = self.place
        value = self.value(wanted)
        return value if isinstance(value, str) else self.text[begin : self.place].strip()

    def number(self, word: str) -> int:
        text = self.text_value(f"{word} is followed by a whole number")
        if not re.fullmatch("[0-9]{1,19}", text):
            raise NotUnderstood(f"{word} is followed by a whole number, not {text!r}")
        return int(text)


def bare_value(text: str) -> Any:
    """What stands without quotes: a number, true, false or null, and else the text itself."""
    try:
        value = json.loads(text, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return text
    return value


def assignment(text: str) -> tuple[str, Any]:
    """`name=value` as one argument of a command. Raises NotUnderstood."""
    name, equals, value = text.partition("=")
    if not equals or not _WORD.fullmatch(name):
        raise NotUnderstood(f"{text!r} gives no column its value; write it as in name=Ahmed")
    return name, value if name == "row_id" else bare_value(value)


def column(text: str) -> Column:
    """`name`, `name:type`, `name:type:index` or `name:index`. Raises NotUnderstood."""
    name, *more = text.split(":")
    found: dict[str, Any] = {"name": name}
    for word in more:
        if word == "index":
            found["index"] = True
        elif word in TYPES and "type" not in found:
            found["type"] = word
        else:
            raise NotUnderstood(f"{text!r} is no column; write name, name:TYPE or name:TYPE:index, with a type of {', '.join(TYPES)}")
    return found if more else name


def parse(text: str) -> Sentence:
    """Raises NotUnderstood."""
    scanner = Scanner(text.strip().removesuffix(";"))
    verb = scanner.word("a line begins with a command; .help lists them").lower()
    reader = _READERS.get(verb)
    if reader is None:
        raise NotUnderstood(f"{verb} is no command; .help lists them")
    sentence = reader(verb, scanner)
    if not scanner.at_end:
        raise scanner.fail(f"{verb} ends here")
    return sentence


def _alone(verb: str, scanner: Scanner) -> Sentence:
    return Sentence(verb)


def _named(verb: str, scanner: Scanner) -> Sentence:
    return Sentence(verb, scanner.word(f"{verb} is followed by a name"))


def _transfer(verb: str, scanner: Scanner) -> Sentence:
    return Sentence(verb, scanner.text_value("transfer is followed by the id of a node"))


def _timeline(verb: str, scanner: Scanner) -> Sentence:
    return Sentence(verb, limit=None if scanner.at_end else scanner.number(verb))


def _create_table(verb: str, scanner: Scanner) -> Sentence:
    name = scanner.word("create_table is followed by the name of the table")
    columns = []
    while not scanner.at_end:
        columns += [column(text) for text in scanner.text_value("a column").strip("(),").split(",") if text]
    if not columns:
        raise NotUnderstood("create_table NAME is followed by its columns, as in name age:integer")
    return Sentence(verb, name, columns=columns)


def _insert(verb: str, scanner: Scanner) -> Sentence:
    name = scanner.word("insert is followed by the name of a table")
    data: dict[str, Any] = {}
    upsert = False
    while not scanner.at_end:
        if scanner.keyword("upsert"):
            upsert = True
        else:
            _assign(scanner, data)
    return Sentence(verb, name, data=data, upsert=upsert)


def _assign(scanner: Scanner, data: dict[str, Any]) -> None:
    name = scanner.word("a value is given as COLUMN=VALUE")
    scanner.equals(name)
    if name in data:
        raise NotUnderstood(f"{name} is given twice")
    missing = f"{name}= has no value"
    data[name] = scanner.text_value(missing) if name == "row_id" else scanner.value(missing)


def _update(verb: str, scanner: Scanner) -> Sentence:
    name, row_id = _row(verb, scanner)
    data: dict[str, Any] = {}
    version = None
    while not scanner.at_end:
        if scanner.keyword("if_version"):
            version = scanner.number("if_version")
        else:
            _assign(scanner, data)
    if not data:
        raise NotUnderstood("update says which values change, as in update students 1 grade=B")
    return Sentence(verb, name, row_id, data, if_version=version)


def _row(verb: str, scanner: Scanner) -> tuple[str, str]:
    name = scanner.word(f"{verb} is followed by the name of a table")
    return name, scanner.text_value(f"{verb} {name} is followed by a row_id")


def _get(verb: str, scanner: Scanner) -> Sentence:
    return Sentence(verb, *_row(verb, scanner))


def _delete(verb: str, scanner: Scanner) -> Sentence:
    name, row_id = _row(verb, scanner)
    return Sentence(verb, name, row_id, if_version=scanner.number("if_version") if scanner.keyword("if_version") else None)


def _select(verb: str, scanner: Scanner) -> Sentence:
    name = scanner.word("select is followed by the name of a table")
    found: dict[str, Any] = {}
    while not scanner.at_end:
        word = scanner.keyword("columns", "where", "limit", "after", "versions", "local")
        if word is None:
            raise scanner.fail("select NAME goes on with columns, where, limit, after, versions or local")
        if word in found:
            raise NotUnderstood(f"{word} is given twice")
        found[word] = _clause(word, scanner)
    return Sentence(verb, name, **found)


def _clause(word: str, scanner: Scanner) -> Any:
    if word == "columns":
        return [name for name in scanner.text_value("columns is followed by names, as in columns name,grade").split(",") if name]
    if word == "where":
        name = scanner.word("where is followed by a column")
        op = OPS[scanner.operator()]
        return name, op, scanner.text_value(f"where {name} is compared with a value")
    if word == "limit":
        return scanner.number(word)
    return scanner.text_value("after is followed by a row_id") if word == "after" else True


_READERS = {
    "select": _select,
    "get": _get,
    "insert": _insert,
    "update": _update,
    "delete": _delete,
    "tables": _alone,
    "databases": _alone,
    "init_database": _named,
    "drop_database": _named,
    "create_table": _create_table,
    "delete_table": _named,
    "status": _alone,
    "nodes": _alone,
    "health": _alone,
    "timeline": _timeline,
    "ping": _alone,
    "step_down": _alone,
    "transfer": _transfer,
}
VERBS = tuple(_READERS)
