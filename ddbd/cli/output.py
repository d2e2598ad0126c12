"""Rows for people and for programs. Every form is written row by row, so that a long table needs no memory; a table on a terminal is
drawn in blocks, each with columns of its own width.

    table    columns in line; control characters are shown, never sent to the terminal. Where a terminal has no room for so many columns: a
             line a field, and an empty line behind each row
    (none)   where the output is no terminal: a head, then a line a row with tabs between; a tab, a line's end or a backslash in a value is
             written \\t, \\n, \\r or \\\\, and null is \\N, so that `cut`, `sort` and `awk` see one row a line and one field a tab
    json     an array
    ndjson   an object a line
    csv      RFC 4180, as the nodes write it: null is nothing, the empty text is ""
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TextIO

FORMATS = ("table", "json", "ndjson", "csv")
BLOCK_ROWS = 200  # of a table on a terminal
COLUMN_CHARS_MIN = 6  # of a table on a terminal, with the space behind it; below that nothing can be read

Row = Mapping[str, Any]


class Output:
    def __init__(self, form: str | None, out: TextIO) -> None:
        """`form` is one of FORMATS, or None for what suits `out`."""
        self.out = out
        self._null = "null"
        self.for_people = form == "table" or (form is None and out.isatty())
        self.form = "table" if self.for_people else form or "tabs"

    def rows(self, rows: Iterable[Row], columns: Sequence[str] | None = None, null: str = "null") -> None:
        """Without `columns`, the first row's keys are the columns. Objects in JSON are written as they are, unless columns are picked.

        `null` is what stands for it in a table.
        """
        self._null = null
        write = {"table": self._table, "tabs": self._tabs, "json": self._json, "ndjson": self._ndjson, "csv": self._csv}[self.form]
        write(iter(rows), columns)

    def line(self, text: str) -> None:
        """For people, beside a table."""
        self.out.write(cell(text) + "\n")

    def one(self, fields: Row) -> None:
        if self.form == "json":
            self.out.write(json.dumps(fields, ensure_ascii=False, indent=2) + "\n")
        elif self.form in ("table", "tabs"):
            self._fields(fields)
        else:
            self.rows([fields])

    def _fields(self, fields: Row) -> None:
        width = max(map(len, fields), default=0)
        for name, value in fields.items():
            if self.form == "tabs":
                self.out.write(f"{name}\t{tab_safe(value)}\n")
            else:
                self.out.write(f"{name.ljust(width)}  {cell(value)}\n")

    def _ndjson(self, rows: Iterator[Row], columns: Sequence[str] | None) -> None:
        for row in rows:
            self.out.write(as_json(_picked(row, columns)) + "\n")

    def _json(self, rows: Iterator[Row], columns: Sequence[str] | None) -> None:
        separator = "[\n"
        for row in rows:
            self.out.write(separator + as_json(_picked(row, columns)))
            separator = ",\n"
        self.out.write("[]\n" if separator == "[\n" else "\n]\n")

    def _tabs(self, rows: Iterator[Row], columns: Sequence[str] | None) -> None:
        names, rows = _names(rows, columns)
        if names:
            self.out.write("\t".join(map(tab_safe, names)) + "\n")
        for row in rows:
            self.out.write("\t".join(tab_safe(row.get(name)) for name in names) + "\n")

    def _csv(self, rows: Iterator[Row], columns: Sequence[str] | None) -> None:
        names, rows = _names(rows, columns)
        if names:
            self.out.write(csv_line(names))
        for row in rows:
            self.out.write(csv_line([row.get(name) for name in names]))

    def _table(self, rows: Iterator[Row], columns: Sequence[str] | None) -> None:
        names, rows = _names(rows, columns)
        block = list(islice(rows, BLOCK_ROWS))
        while names:
            self._draw(names, block)
            block = list(islice(rows, BLOCK_ROWS))
            if not block:
                break

    def _records(self, names: Sequence[str], rows: Sequence[Row]) -> None:
        if not rows:
            self.line("  ".join(names))
        for row in rows:
            self._fields({name: self._null if row.get(name) is None else row[name] for name in names})
            self.out.write("\n")

    def _draw(self, names: Sequence[str], rows: Sequence[Row]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        wide = not self.out.isatty()
        drawn = io.StringIO()
        console = Console(file=drawn if wide else self.out, highlight=False)
        if not wide and len(names) * COLUMN_CHARS_MIN > console.width and _natural_chars(names, rows) > console.width:
            self._records(names, rows)
            return
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for name in names:
            numbers = bool(rows) and all(isinstance(row.get(name), int | float) and not isinstance(row.get(name), bool) for row in rows)
            table.add_column(Text(cell(name)), justify="right" if numbers else "left", no_wrap=wide, overflow="ignore" if wide else "fold")
        for row in rows:
            table.add_row(*(Text(self._null, "dim") if row.get(name) is None else Text(cell(row.get(name))) for name in names))
        if wide:
            console.width = max(80, 2 * _natural_chars(names, rows))  # some letters take two places
        console.print(table, soft_wrap=wide, crop=False)
        if wide:
            self.out.write("".join(line.rstrip() + "\n" for line in drawn.getvalue().splitlines()))


def _natural_chars(names: Sequence[str], rows: Sequence[Row]) -> int:
    return sum(max(len(cell(row.get(name))) for row in [*rows, {name: name}]) + 2 for name in names)


def _picked(row: Row, columns: Sequence[str] | None) -> Row:
    return row if columns is None else {name: row.get(name) for name in columns}


def _names(rows: Iterator[Row], columns: Sequence[str] | None) -> tuple[Sequence[str], Iterator[Row]]:
    if columns is not None:
        return columns, rows
    first = next(rows, None)
    return ((), iter(())) if first is None else (list(first), chain([first], rows))


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def cell(value: object) -> str:
    """For a terminal: what a database holds must not move the cursor or set a title."""
    text = value if isinstance(value, str) else as_json(value)
    return text if text.isprintable() else "".join(char if char.isprintable() else _shown(char) for char in text)


def _shown(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def tab_safe(value: object) -> str:
    if value is None:
        return "\\N"
    text = value if isinstance(value, str) else as_json(value)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def csv_line(values: Iterable[object]) -> str:
    return ",".join(map(_csv_cell, values)) + "\r\n"


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else as_json(value)
    if not text or any(char in text for char in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
