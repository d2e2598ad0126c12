"""`ddb export`: a table of any length into a file, row by row, going on where it stopped.

The rows are written beside the file, as FILE.part, which takes its name when it is whole: nobody takes half a table for one. `--resume`
goes on behind the last whole row of what is there. Each part of 10,000 rows is of one instant, and so is not the whole when others write
meanwhile.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import click
import msgspec

from ddbd.cli.errors import CliError, exit_status
from ddbd.cli.frame import Frame, command
from ddbd.cli.output import csv_line
from ddbd.cli.partial import ARRAY_END, last_row_id
from ddbd.cli.records import FORMATS, SUFFIXES
from ddbd.cli.rows import db_option, table_of, wanted
from ddbd.client import Client, Policy, Request, Wanted
from ddbd.errors import DdbError

READ_SECONDS = 120.0  # for one part; an export is left alone, and a cluster may need minutes to come back
NOTED_ROWS = 500
MEDIA_TYPES = {"csv": "text/csv", "ndjson": "application/x-ndjson", "json": "application/json"}

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@command("export")
@click.argument("table")
@click.argument("file", type=click.Path(allow_dash=True, path_type=str), default="-")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: by the end of the file's name, else -o; ndjson for -]")
@click.option("--columns", metavar="NAME,…", help="These columns only, in this order.")
@click.option("--versions", is_flag=True, help="With the column _version; such a file is not for import.")
@click.option("--local", is_flag=True, help="A node's own copy, also without a leader; it may be older.")
@click.option("--resume", is_flag=True, help="Go on behind the last whole row of FILE.part.")
@click.option("--force", is_flag=True, help="Replace FILE where it is there.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@db_option
def export(frame: Frame, table: str, file: str, **options: Any) -> None:
    """Write the rows of TABLE to FILE, in the order of their row_id; - is the standard output.

    CSV with a header, lines of JSON (ndjson), or a JSON array. Types survive in the last two; CSV does not tell the text 1 from the
    number 1.
    """
    named = None if file == "-" else SUFFIXES.get(Path(file).suffix.lower())
    asked = frame.asked_form if frame.asked_form in FORMATS else None
    form = options["form"] or named or asked or ("ndjson" if file == "-" else None)
    if form is None:
        raise CliError(f"{file}: its name does not tell the format; say --format {', --format '.join(FORMATS)}", 2)
    sought = wanted(table, None, options["db"], options["columns"], options["versions"], options["local"])
    if frame.curl:
        click.echo(Request("GET", sought.path(None, None), headers=(("Accept", MEDIA_TYPES[form]),)).curl(frame.addresses[0]))
        return
    client = frame.client_with(Policy(deadline_seconds=max(READ_SECONDS, frame.policy.deadline_seconds)))
    work = _Export(frame, client, sought, form, options["quiet"])
    if file != "-":
        _to_file(frame, work, Path(file), options["resume"], options["force"])
    elif options["resume"]:
        raise CliError("--resume needs a file: what went to the standard output is not known here", 2)
    else:
        work.run(sys.stdout.buffer, None)


def _to_file(frame: Frame, work: _Export, path: Path, resume: bool, force: bool) -> None:
    part = path.with_name(path.name + ".part")
    if path.exists() and not force:
        raise CliError(f"{path} is there already; --force replaces it", 2)
    if part.exists() and not (resume or force):
        raise CliError(f"{part} is there, of an export that was broken off; --resume goes on with it, --force begins anew", 2)
    try:
        out = part.open("r+b" if resume and part.exists() else "w+b")
    except OSError as error:
        raise CliError(f"{part}: cannot be written: {error.strerror}", 2) from None
    try:
        with out:
            after = last_row_id(out, work.form) if resume else None
            if after is not None:
                frame.tell(f"going on behind the row {after}")
            try:
                work.run(out, after)
            except (DdbError, KeyboardInterrupt) as error:
                if not out.tell():
                    part.unlink()  # nothing came: there is nothing to go on with
                    raise
                _broke_off(frame, part, error)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError as error:
        raise CliError(f"{part}: {error.strerror}; when that is mended, --resume goes on") from None


def _broke_off(frame: Frame, part: Path, error: DdbError | KeyboardInterrupt) -> NoReturn:
    again = f"what came is in {part}; add --resume to go on"
    if isinstance(error, KeyboardInterrupt):
        frame.tell(f"\nddb: interrupted; {again}")
        raise error
    raise CliError(f"{' '.join(error.detail.split())}; {again}", exit_status(error)) from None


class _Export:
    def __init__(self, frame: Frame, client: Client, sought: Wanted, form: str, quiet: bool) -> None:
        self.form = form
        self._frame, self._client, self._sought, self._quiet = frame, client, sought, quiet

    def run(self, out: BinaryIO, after: str | None) -> None:
        """Raises DdbError, OSError."""
        begun = time.monotonic()
        columns, total_rows = table_of(self._client, self._sought)
        writer = _WRITERS[self.form](out, columns, is_new=after is None)
        rows = 0
        with self._frame.progress(f"export {self._sought.table}", None, self._quiet) as progress:
            for line in self._client.lines(self._sought, after):
                writer.row(line)
                rows += 1
                if rows % NOTED_ROWS == 0:
                    estimate = writer.bytes * total_rows // rows if after is None and total_rows >= rows else None
                    progress.at(writer.bytes, f"{rows:,} rows", estimate)
            progress.at(writer.bytes, f"{rows:,} rows", writer.bytes)
        writer.end()
        if not self._quiet:
            self._frame.tell(f"{rows:,} rows in {time.monotonic() - begun:.1f} s")


class _Ndjson:
    """Rows as the node wrote them. The parent of the other two."""

    def __init__(self, out: BinaryIO, columns: Sequence[str], is_new: bool) -> None:
        self.bytes = 0
        self._out = out
        self._columns = columns
        self._is_first = is_new

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self.bytes += len(data)

    def row(self, line: bytes) -> None:
        self._write(line)

    def end(self) -> None:
        """A form with an end writes it."""


class _Json(_Ndjson):
    def row(self, line: bytes) -> None:
        self._write((b"[\n" if self._is_first else b",\n") + line.removesuffix(b"\n"))
        self._is_first = False

    def end(self) -> None:
        self._write(b"[]\n" if self._is_first else ARRAY_END)


class _Csv(_Ndjson):
    """The head is of the first row: a node that answers /status may not know yet what the table became."""

    def row(self, line: bytes) -> None:
        fields = _decode(line)
        if self._is_first:
            self._write(csv_line(fields).encode())
            self._is_first = False
        self._write(csv_line(fields.values()).encode())

    def end(self) -> None:
        if self._is_first:
            self._write(csv_line(self._columns).encode())


_WRITERS: dict[str, type[_Ndjson]] = {"ndjson": _Ndjson, "json": _Json, "csv": _Csv}
