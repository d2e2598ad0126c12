"""Rows, one call each: `select`, `search`, `get`, `insert`, `update`, `delete`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import click

from ddbd.cli.errors import NOT_FOUND, CliError
from ddbd.cli.frame import Frame, command, key_option
from ddbd.cli.language import NotUnderstood, assignment
from ddbd.client import OPS, PAGE_ROWS, Client, Wanted, Written
from ddbd.errors import DdbError

TERMINAL_ROWS = 100  # of a table that is read by eye, where no limit is given


def db_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--db", metavar="NAME", help="Another database than the default one.")(function)


def reading_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--local", is_flag=True, help="The node's own copy, also without a leader; it may be older."),
        click.option("--versions", is_flag=True, help="With the column _version."),
        click.option("--after", metavar="ROW_ID", help="Begin behind this row."),
        click.option(
            "--limit", type=click.IntRange(0), metavar="N", help=f"So many rows; 0 for all. [default: all; {TERMINAL_ROWS} on a terminal]"
        ),
        click.option("--columns", metavar="NAME,…", help="These columns only, in this order."),
        db_option,
    ):
        function = option(function)
    return function


@command("select")
@click.argument("table")
@reading_options
def select(
    frame: Frame, table: str, db: str | None, columns: str | None, limit: int | None, after: str | None, versions: bool, local: bool
) -> None:
    """Print the rows of TABLE, in the order of their row_id."""
    show_rows(frame, wanted(table, None, db, columns, versions, local), limit, after)


@command("search")
@click.argument("table")
@click.argument("column")
@click.argument("value")
@click.option("--op", type=click.Choice(OPS), default="eq", show_default=True, help="How they are compared.")
@reading_options
def search(
    frame: Frame,
    table: str,
    column: str,
    value: str,
    op: str,
    db: str | None,
    columns: str | None,
    limit: int | None,
    after: str | None,
    versions: bool,
    local: bool,
) -> None:
    """Print the rows of TABLE whose COLUMN compares with VALUE.

    Numbers compare as numbers, text by code point; prefix and contains look at text alone.
    """
    show_rows(frame, wanted(table, (column, op, value), db, columns, versions, local), limit, after)


def wanted(
    table: str, where: tuple[str, str, str] | None, db: str | None, columns: str | Sequence[str] | None, versions: bool, local: bool
) -> Wanted:
    names = columns.split(",") if isinstance(columns, str) else columns
    return Wanted(table, where, db, names, versions, "local" if local else "linearizable")


def rows_of(client: Client, sought: Wanted, limit: int | None, after: str | None) -> Iterable[Mapping[str, Any]]:
    """One by one. A small limit is asked of the node, so that it reads no more than is shown."""
    if limit is None:
        return client.rows(sought, after)
    return islice(client.rows(sought, after, min(limit, PAGE_ROWS)), limit)


def show_rows(frame: Frame, sought: Wanted, limit: int | None, after: str | None) -> None:
    if limit is None and frame.output.for_people:
        limit = TERMINAL_ROWS
        rows = [*rows_of(frame.client, sought, limit + 1, after)]
        frame.show(rows[:limit])
        if len(rows) > limit:
            frame.tell(f"({limit} rows; more follow: --after {rows[limit - 1]['row_id']}, or --limit 0 for all)")
        elif not rows:
            frame.tell("(no rows)")
        return
    rows_left = iter(rows_of(frame.client, sought, limit or None, after))
    first = next(rows_left, None)
    if first is not None:
        frame.show(chain([first], rows_left))
    else:  # whoever reads a file by its head wants one of an empty table, too
        frame.show((), _head(frame.client, sought) if frame.output.form in ("csv", "tabs") else None)


def _head(client: Client, sought: Wanted) -> Sequence[str]:
    try:
        return table_of(client, sought)[0]
    except DdbError:
        return ["row_id"]  # the rows were read, and there are none: that is the answer


def table_of(client: Client, sought: Wanted) -> tuple[Sequence[str], int]:
    """The columns that come, and about how many rows. Where the table is not there, reading it says so."""
    status = client.status()
    name = (sought.db or status["default_database"] or "").lower()
    for database in status["databases"]:
        for table in database["tables"]:
            if (database["name"].lower(), table["name"].lower()) == (name, sought.table.lower()):
                columns = _chosen(table["columns"], sought.columns)
                versions = ["_version"] if sought.versions else []
                return ["row_id", *(name for name in columns if name != "row_id"), *versions], table["row_count"]
    return ["row_id"], 0


def _chosen(columns: Sequence[str], wanted: Sequence[str] | None) -> Sequence[str]:
    """As a node does it: by their names in the table, each once."""
    if wanted is None:
        return columns
    by_lower = {name.lower(): name for name in columns}
    return list(dict.fromkeys(by_lower.get(name.lower(), name) for name in wanted))


@command("get")
@click.argument("table")
@click.argument("row_id")
@click.option("--local", is_flag=True, help="The node's own copy, also without a leader; it may be older.")
@db_option
def get(frame: Frame, table: str, row_id: str, local: bool, db: str | None) -> None:
    """Print one row of TABLE with its _version.

    --if-version of update and delete compares it.
    """
    found = frame.client.get(table, row_id, db=db, consistency="local" if local else "linearizable")
    if found is None:
        raise CliError(f"table {table} has no row {row_id!r}", NOT_FOUND)
    frame.show_one({**found.row, "_version": found.version})


@command("insert")
@click.argument("table")
@click.argument("values", nargs=-1, metavar="COLUMN=VALUE…")
@click.option("--upsert", is_flag=True, help="Replace the row that is there.")
@key_option("An idempotency key of your own, to repeat the call safely.")
@db_option
def insert(frame: Frame, table: str, values: Sequence[str], upsert: bool, key: str | None, db: str | None) -> None:
    """Insert a row into TABLE.

    A value is JSON where it reads as JSON (20, true, null, [1,2], '"20"' for the text), and else the text as it stands. row_id=… gives the
    row its id; without it the node makes one.
    """
    show_written(frame, "inserted", frame.client.insert(table, assignments(values), upsert=upsert, db=db, key=key))


@command("update")
@click.argument("table")
@click.argument("row_id")
@click.argument("values", nargs=-1, required=True, metavar="COLUMN=VALUE…")
@click.option("--if-version", type=click.IntRange(0), metavar="N", help="Only if the row still has this version.")
@key_option("An idempotency key of your own, to repeat the call safely.")
@db_option
def update(frame: Frame, table: str, row_id: str, values: Sequence[str], if_version: int | None, key: str | None, db: str | None) -> None:
    """Put values over the row ROW_ID of TABLE; the others stay.

    Values are written as for insert.
    """
    written = frame.client.update(table, row_id, assignments(values), if_version=if_version, db=db, key=key)
    show_written(frame, "updated", written)


@command("delete")
@click.argument("table")
@click.argument("row_id")
@click.option("--if-version", type=click.IntRange(0), metavar="N", help="Only if the row still has this version.")
@key_option("An idempotency key of your own, to repeat the call safely.")
@db_option
def delete(frame: Frame, table: str, row_id: str, if_version: int | None, key: str | None, db: str | None) -> None:
    """Delete the row ROW_ID of TABLE."""
    show_written(frame, "deleted", frame.client.delete(table, row_id, if_version=if_version, db=db, key=key))


def assignments(values: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in map(assignment, values):
        if name in found:
            raise NotUnderstood(f"{name} is given twice")
        found[name] = value
    return found


def show_written(frame: Frame, what: str, written: Written) -> None:
    if frame.output.for_people:
        frame.output.line(f"{what} row {written.row_id}, version {written.version}")
    else:
        frame.show_one({"row_id": written.row_id, "version": written.version, "index": written.index})
