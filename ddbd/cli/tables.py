"""Databases and tables: `databases`, `tables`, `init-database`, `drop-database`, `create-table`, `delete-table`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from ddbd.cli.errors import NOT_FOUND, CliError
from ddbd.cli.frame import Frame, command, yes_option
from ddbd.cli.language import column
from ddbd.cli.rows import db_option


@command("databases")
def databases(frame: Frame) -> None:
    """Show the databases."""
    frame.show(database_rows(frame.client.status()), ["database", "default", "tables", "rows"])


def database_rows(status: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for database in status["databases"]:
        yield {
            "database": database["name"],
            "default": database["name"] == status["default_database"],
            "tables": len(database["tables"]),
            "rows": sum(table["row_count"] for table in database["tables"]),
        }


@command("tables")
@click.option("--db", metavar="NAME", help="Of this database only.")
def tables(frame: Frame, db: str | None) -> None:
    """Show the tables of every database, with their columns."""
    status = frame.client.status()
    names = [database["name"] for database in status["databases"]]
    if db is not None and db.lower() not in map(str.lower, names):
        raise CliError(f"there is no database {db}; there {'are' if len(names) > 1 else 'is'} {', '.join(names) or 'none'}", NOT_FOUND)
    frame.show(table_rows(status, db), ["database", "table", "rows", "columns"])


def table_rows(status: Mapping[str, Any], db: str | None) -> Iterator[dict[str, Any]]:
    for database in status["databases"]:
        if db is None or database["name"].lower() == db.lower():
            for table in database["tables"]:
                columns = ",".join(table["columns"])
                yield {"database": database["name"], "table": table["name"], "rows": table["row_count"], "columns": columns}


@command("init-database")
@click.argument("name")
def init_database(frame: Frame, name: str) -> None:
    """Make the database NAME, and the default one in any case."""
    _show(frame, {"db": name, "created": frame.client.init_database(name)}, f"database {name}", "is the default one now")


@command("drop-database")
@click.argument("name")
@yes_option
def drop_database(frame: Frame, name: str, yes: bool) -> None:
    """Delete the database NAME with all its tables."""
    frame.confirm(f"Delete the database {name} with all its tables and rows?", yes)
    frame.client.drop_database(name)
    _show(frame, {"db": name}, f"database {name}", "is gone")


@command("create-table")
@click.argument("table")
@click.argument("columns", nargs=-1, required=True, metavar="COLUMN[:TYPE][:index]…")
@db_option
def create_table(frame: Frame, table: str, columns: Sequence[str], db: str | None) -> None:
    """Make TABLE.

    Types are any (where none is given), text, integer, real, boolean and json. An index makes searches for equal values fast.
    """
    created = frame.client.create_table(table, [column(text) for text in columns], db=db)
    _show(frame, {"table": table, "created": created}, f"table {table}", "was there, with these columns")


@command("delete-table")
@click.argument("table")
@yes_option
@db_option
def delete_table(frame: Frame, table: str, yes: bool, db: str | None) -> None:
    """Delete TABLE with all its rows."""
    frame.confirm(f"Delete the table {table} with all its rows?", yes)
    frame.client.delete_table(table, db=db)
    _show(frame, {"table": table}, f"table {table}", "is gone")


def _show(frame: Frame, answer: dict[str, Any], what: str, otherwise: str) -> None:
    if frame.output.for_people:
        frame.output.line(f"{what} was made" if answer.get("created") else f"{what} {otherwise}")
    else:
        frame.show_one(answer)
