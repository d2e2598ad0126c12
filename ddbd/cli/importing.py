"""`ddb import`: a file of any length into a table, in batches that are each done once, whatever happens in between.

What is done so far is kept in the state folder under the name of the file, the table and the options: the key of the load, how many batches
are done, a digest of their rows, and what was refused of the one behind them. The same command again goes on there, after making sure that
the rows which are in are still those of the file. A load that came to its end is forgotten: the same file again is a new import. A row that
is refused ends the load with the number of its line; the rows before it that the message counts are in, and after the line was mended the
same command goes on behind them.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import click

from ddbd.cli.errors import CliError, exit_status
from ddbd.cli.frame import Frame, command, key_option
from ddbd.cli.progress import Progress
from ddbd.cli.records import FORMATS, SUFFIXES, Names, Records, open_records
from ddbd.cli.rows import db_option
from ddbd.cli.state import Memo, state_folder
from ddbd.client import KeyReused, Load, Policy, RefusedRow, Spent, new_key, path_of
from ddbd.errors import DdbError

LOAD_SECONDS = 120.0  # for one batch; an import is left alone, and a cluster may need minutes to come back
SAVE_SECONDS = 1.0
REFUSED_SHOWN_MAX = 20


@command("import")
@click.argument("table")
@click.argument("file", type=click.Path(allow_dash=True, path_type=str))
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: by the end of the file's name]")
@click.option("--map", "maps", multiple=True, metavar="OLD=NEW", help="Another name for a column of the file; OLD= leaves it out.")
@click.option("--row-id", metavar="COLUMN", help="The column of the file that holds the row_id: the same as --map COLUMN=row_id.")
@click.option("--columns", metavar="NAME,…", help="The columns of a CSV file that has no header.")
@click.option("--upsert", is_flag=True, help="Replace rows that are there.")
@click.option("--skip-refused", is_flag=True, help="Leave out rows that the table refuses, and list them; exit with 1 if there were any.")
@click.option("--fresh", is_flag=True, help="Forget what an earlier run of this import has done.")
@key_option("An idempotency key of your own; nothing is kept between runs.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@db_option
def import_(frame: Frame, table: str, file: str, **options: Any) -> None:
    """Load the rows of FILE into TABLE; - is the standard input.

    CSV with a header, lines of JSON (ndjson), or a JSON array of objects. A row_id column gives the rows their ids; without one the nodes
    make them. The same command again goes on where it was broken off.
    """
    names = _names(options["maps"], options["row_id"])
    form = _form(file, options["form"])
    columns = None if options["columns"] is None else options["columns"].split(",")
    if columns is not None and form != "csv":
        raise CliError("--columns is for CSV files; rows in JSON name their columns themselves", 2)
    total_bytes = None if file == "-" else _size(file)
    with nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb") as source:
        records = open_records(source, form, names, columns)
        if frame.curl:
            _print_curl(frame, table, file, records, plain=not names and columns is None and form != "json", options=options)
            return
        _Import(frame, table, file, records, options).run(total_bytes)


def _names(maps: Sequence[str], row_id: str | None) -> Names:
    renamed = {}
    for text in [*maps, *([] if row_id is None else [f"{row_id}=row_id"])]:
        old, equals, new = text.partition("=")
        if not equals or not old:
            raise CliError(f"--map {text}: write OLD=NEW", 2)
        renamed[old] = new
    return Names(renamed)


def _form(file: str, given: str | None) -> str:
    found = given or SUFFIXES.get(Path(file).suffix.lower())
    if found is None:
        raise CliError(f"{file}: its name does not tell the format; say --format {', --format '.join(FORMATS)}", 2)
    return found


def _size(file: str) -> int:
    try:
        with open(file, "rb"):
            return Path(file).stat().st_size
    except OSError as error:
        raise CliError(f"{file}: cannot be read: {error.strerror}", 2) from None


def _print_curl(frame: Frame, table: str, file: str, records: Records, plain: bool, options: dict[str, Any]) -> None:
    """The one request that a node takes for the whole file."""
    if not plain:
        raise CliError("one request does that only for CSV with a header and for ndjson, with the names as they are", 2)
    path = path_of("/insert", {"table": table, "db": options["db"], "upsert": "true" if options["upsert"] else None})
    words = ["curl", "-sS", "-H", f"Content-Type: {records.content_type}", "-H", f"Idempotency-Key: {options['key'] or new_key()}"]
    click.echo(shlex.join([*words, "--data-binary", f"@{file}", f"http://{frame.addresses[0]}{path}"]))


class _Import:
    def __init__(self, frame: Frame, table: str, file: str, records: Records, options: dict[str, Any]) -> None:
        self._frame, self._table, self._file, self._records, self._options = frame, table, file, records, options
        self._client = frame.client_with(Policy(deadline_seconds=max(LOAD_SECONDS, frame.policy.deadline_seconds)))
        self._saved_at = 0.0
        self._memo = None if file == "-" or options["key"] else Memo(self._memo_path())
        if options["fresh"] and self._memo is not None:
            self._memo.forget()
        before = None if self._memo is None else self._memo.read()
        self._goes_on = before is not None
        # At the end of a batch: what is done of the next one is told by its keys.
        self._kept: dict[str, Any] = before or {"key": options["key"] or new_key(), "batches": 0, "rows": 0, "refused": 0, "spent": {}}
        self._refused: int = self._kept["refused"]
        self._load = Load[int](
            table,
            content_type=records.content_type,
            head=records.head,
            upsert=options["upsert"],
            db=options["db"],
            key=self._kept["key"],
            skip_batches=self._kept["batches"],
            spent={key: Spent(*spent) for key, spent in self._kept["spent"].items()},
            on_refused=self._leave_out if options["skip_refused"] else None,
        )

    def _memo_path(self) -> Path:
        """The cluster, the file by its place, and all that changes what is sent."""
        parts: list[Any] = [sorted(self._frame.addresses), str(Path(self._file).resolve()), self._table.lower(), self._records.head]
        parts += [self._options[name] for name in ("form", "maps", "row_id", "columns", "upsert", "skip_refused", "db")]
        return state_folder() / "imports" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.json"

    def run(self, total_bytes: int | None) -> None:
        if self._goes_on:
            rows = self._kept["rows"] + sum(spent.rows for spent in self._load.spent.values())
            self._frame.tell(f"going on behind row {rows:,} of this import; --fresh begins anew")
        if not self._save():  # the key, before anything is sent under it
            self._memo = None
        begun = time.monotonic()
        try:
            with self._frame.progress(f"import {self._table}", total_bytes, self._options["quiet"]) as progress:
                self._send(progress)
        except (DdbError, KeyboardInterrupt) as error:
            self._save()
            self._broke_off(error)
        self._forget()
        self._report(time.monotonic() - begun)

    def _send(self, progress: Progress) -> None:
        load = self._load
        for record in self._records:
            load.add(record.line, record.encoded)
            self._send_batch(progress)
        load.end()
        self._send_batch(progress)
        if load.batches < self._kept["batches"]:
            raise self._was_changed()

    def _send_batch(self, progress: Progress) -> None:
        before = self._load.batches
        self._client.send_batches(self._load)
        if self._load.batches == before:
            return
        if before < self._kept["batches"] <= self._load.batches:
            if self._load.digest != self._kept["digest"]:
                raise self._was_changed()
            self._load.rows = self._kept["rows"]  # less than were passed over, where some had been left out
        if self._load.batches > self._kept["batches"]:
            load = self._load
            self._kept |= {"batches": load.batches, "rows": load.rows, "refused": self._refused, "digest": load.digest}
        progress.at(self._records.bytes_read, f"{self._load.rows:,} rows")
        if (now := time.monotonic()) >= self._saved_at + SAVE_SECONDS:
            self._saved_at = now
            self._save()

    def _was_changed(self) -> CliError:
        self._memo = None  # what it says is no longer true of this file, but of an older one
        return CliError("the rows that are in already were changed in the file since; --fresh begins anew", 2)

    def _leave_out(self, row: RefusedRow[int]) -> None:
        self._refused += 1
        if self._refused <= REFUSED_SHOWN_MAX:
            self._frame.tell(f"line {row.item} is left out: {row.error.detail}")
        elif self._refused == REFUSED_SHOWN_MAX + 1:
            self._frame.tell("more lines are left out; they are counted at the end")

    def _save(self) -> bool:
        """Not being able to is no reason to stop: a repetition then begins at the last that was kept, under the same key."""
        if self._memo is None:
            return True
        try:
            self._memo.write({**self._kept, "spent": self._load.spent, "file": self._file})
        except OSError:
            return False
        return True

    def _forget(self) -> None:
        """A memory of rows that are in would make the next import of this file leave them out. Raises CliError."""
        if self._memo is not None:
            try:
                self._memo.forget()
            except OSError as error:
                done = f"{self._load.rows:,} rows are in, and the import is whole, but"
                raise CliError(f"{done} {self._memo.path} cannot be removed: {error.strerror}; remove it before the next one") from None

    def _broke_off(self, error: DdbError | KeyboardInterrupt) -> NoReturn:
        done = f"{self._load.rows:,} rows are in; {self._next_step(error)}"
        if isinstance(error, KeyboardInterrupt):
            self._frame.tell(f"\nddb: interrupted; {done}")
            raise error
        line = "" if self._load.blamed is None else f", line {self._load.blamed}"
        raise CliError(f"{self._file}{line}: {' '.join(error.detail.split())}; {done}", exit_status(error)) from None

    def _next_step(self, error: DdbError | KeyboardInterrupt) -> str:
        if isinstance(error, KeyReused):
            # Under another key they would be loaded a second time, if they are in.
            begins_anew = "another --key" if self._memo is None else "--fresh"
            return (
                f"those behind them were sent before as other rows, and may be in: put them back as they were, or {begins_anew} begins anew"
            )
        if self._memo is not None:
            return "the same command goes on from there"
        if self._load.spent:
            return f"line {self._load.left} and those behind it are not: mend it, and import the file from there on"
        return f"add --key {self._load.key} to go on with the same input"

    def _report(self, seconds: float) -> None:
        load = self._load
        if self._frame.output.for_people:
            self._frame.output.line(f"{load.rows:,} rows in {seconds:.1f} s" + (f", {self._refused:,} left out" if self._refused else ""))
        else:
            self._frame.show_one({"table": self._table, "rows": load.rows, "refused": self._refused, "index": load.result().index})
        if self._refused:
            raise CliError(f"{self._refused:,} rows were left out")
