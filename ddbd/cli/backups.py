"""`ddb backup` and `ddb restore`: all databases, or one, into a file that tells whether it is whole, and back.

A backup is written beside its file, as FILE.part, and read on its way: only what is whole and undamaged gets the name. A restore reads the
whole file first, so that nothing is begun with a bad one. What breaks off on the way to a node is sent again, to the next one that is
ready: the cluster passes over what it has (see `ddbd.web.restore`).
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

import click

from ddbd.backupfile import Header, Reader
from ddbd.cli.errors import CONFLICT, NOT_FOUND, REFUSED, UNAVAILABLE, USAGE, CliError
from ddbd.cli.frame import Frame, command, yes_option
from ddbd.client import Answer, Call, Policy, Request, SendFailed, path_of
from ddbd.errors import Refused

COPY_SECONDS = 3600.0  # to the first byte: the node copies its tables before, and reads them back after
CHUNK_BYTES = 256 * 1024
SENDS_MAX = 10
READY_SECONDS = 20.0  # how long a restore waits for a node that is ready
READY_POLL_SECONDS = 0.2
NOTED_LINES = 1_000


@command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--db", metavar="NAME", help="This database alone. [default: all]")
@click.option("--local", is_flag=True, help="A node's own copy, also without a leader; it may be older.")
@click.option("--verify", is_flag=True, help="Look through FILE instead, without any node: is it a whole, undamaged backup?")
@click.option("--force", is_flag=True, help="Replace FILE where it is there.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def backup(frame: Frame, file: Path, db: str | None, local: bool, verify: bool, force: bool, quiet: bool) -> None:
    """Write one instant of all databases to FILE, or look through such a file.

    The file holds databases, tables, columns and rows as lines of JSON, and nothing that would make a cluster the old one. Writes go on
    meanwhile. One backup at a time is taken from each node.
    """
    if verify:
        frame.show_one(told(verified(frame, file, quiet), file))
        return
    request = Request("GET", path_of("/backup", {"db": db, "consistency": "local" if local else None}))
    if frame.curl:
        click.echo(request.curl(frame.addresses[0]))
        return
    if str(file) == "-":
        raise CliError("a backup takes its name when it is whole, so it needs one: give a file instead of -", USAGE)
    if file.exists() and not force:
        raise CliError(f"{file} is there already; --force replaces it", USAGE)
    part = file.with_name(file.name + ".part")
    try:
        with part.open("wb") as out:
            header = _fetch(frame, request, out, f"backup {file.name}", local, quiet)
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except OSError as error:
        _remove(part)
        raise CliError(f"{part}: {error.strerror}; nothing was kept") from None
    except SendFailed as failure:
        _remove(part)
        raise CliError(f"the backup broke off: the node {failure.reason}; nothing was kept, take it again", UNAVAILABLE) from None
    except BaseException:
        _remove(part)  # half a backup is none
        raise
    frame.show_one(told(header, file))


def _remove(part: Path) -> None:
    with suppress(OSError):
        part.unlink()


def _fetch(frame: Frame, request: Request, out: BinaryIO, label: str, local: bool, quiet: bool) -> Header:
    """Raises DdbError, OSError, SendFailed."""
    deadline = max(COPY_SECONDS, frame.policy.deadline_seconds)
    client = frame.client_with(Policy(deadline_seconds=deadline, attempt_seconds=deadline, attempt_seconds_max=deadline))
    # Is anybody there who can? A copy may take an hour, but that is known at once.
    frame.client.run(Call(Request("GET", "/ping" if local else "/readyz"), lambda answer: None))
    opened = client.open(Call(request, lambda head: head))
    reader, done, lines = Reader(), 0, 0
    total_lines = int(opened.head.headers.get("ddb-backup-lines", "0"))
    with closing(opened), frame.progress(label, None, quiet) as progress:
        for chunk in opened.chunks():
            out.write(chunk)
            done += len(chunk)
            for _ in reader.feed(chunk):
                lines += 1
            progress.at(done, f"{lines:,} lines", done * total_lines // lines if lines else None)
        progress.at(done, f"{lines:,} lines", done)
    return reader.end()


def verified(frame: Frame, file: Path, quiet: bool) -> Header:
    """Raises CliError for what is no whole, undamaged backup."""
    try:
        with file.open("rb") as opened, frame.progress(f"verify {file.name}", file.stat().st_size, quiet) as progress:
            return _read_through(opened, progress)
    except OSError as error:
        raise CliError(f"{file}: cannot be read: {error.strerror}", USAGE) from None
    except Refused as error:
        raise CliError(f"{file}: {error.detail}") from None


def _read_through(opened: BinaryIO, progress: Any) -> Header:
    reader, done = Reader(), 0
    while chunk := opened.read(CHUNK_BYTES):
        for _ in reader.feed(chunk):
            pass
        done += len(chunk)
        progress.at(done)
    return reader.end()


def told(header: Header, file: Path) -> dict[str, Any]:
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        "made_at": header.made_at,
        "cluster": header.cluster_id,
        "index": header.index,
        "databases": header.databases,
        "tables": header.tables,
        "rows": header.rows,
        "whole": True,
    }


@command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--db", metavar="NAME", help="This database of the backup alone. [default: all]")
@click.option("--as", "name", metavar="OTHER", help="Under this name.")
@click.option("--replace", is_flag=True, help="Databases of these names may be there: the restored ones take their place.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@yes_option
def restore(frame: Frame, file: Path, db: str | None, name: str | None, replace: bool, quiet: bool, yes: bool) -> None:
    """Bring the databases of a backup back, all at once.

    FILE is looked through first. Until the last step nothing changes but one database called restore_…; what breaks off goes on where it
    stopped when the command is given again.
    """
    query = {"db": db, "as": name, "replace": "true" if replace else None}
    if frame.curl:
        click.echo(shlex.join(["curl", "-f", "-T", str(file), "-X", "POST", f"http://{frame.addresses[0]}{path_of('/restore', query)}"]))
        return
    header = verified(frame, file, quiet)
    names = names_in(file) if db is None else [db]
    there = _there(frame, [name] if name is not None else names)
    if there and not replace:
        said = f"there is a database {there[0]} already; --replace puts the backup in its place, --as gives it another name"
        raise CliError(said, CONFLICT)
    if there:
        frame.confirm(f"Replace {', '.join(there)}, as it is now, with what {file.name} holds of {header.made_at}?", yes)
    else:
        frame.confirm(f"Restore {name or ', '.join(names) or 'nothing'} from {file.name}, of {header.made_at}?", yes)
    answer = _send_until_done(frame, file, path_of("/restore", query), quiet)
    frame.show([{**each, "index": answer["index"]} for each in answer["databases"]], ["db", "source", "tables", "rows", "content", "index"])


def names_in(file: Path) -> list[str]:
    """The databases of a file that is known to be whole."""
    return [line["database"] for line in _small_lines(file) if "database" in line]


def _small_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Those that are no rows."""
    left = 0
    with file.open("rb") as opened:
        for line in opened:
            if left:
                left -= 1
                continue
            fields = json.loads(line)
            left = fields["rows"] if "table" in fields else 0
            yield fields


def _there(frame: Frame, names: list[str]) -> list[str]:
    wanted = {name.lower() for name in names}
    return [each["name"] for each in frame.client.status()["databases"] if each["name"].lower() in wanted]


def _send_until_done(frame: Frame, file: Path, path: str, quiet: bool) -> dict[str, Any]:
    """Raises CliError, ClientError."""
    said = "no node is ready"
    for _ in range(SENDS_MAX):
        ready = _ready(frame)
        if not ready:
            break
        answer = _send(frame, ready[0], file, path, quiet)
        if isinstance(answer, str):
            said = answer
            continue
        if answer.status == 200:
            done: dict[str, Any] = json.loads(answer.body)
            return done
        said, may_be_repeated = _refusal(answer)
        if not may_be_repeated:
            raise CliError(said, {404: NOT_FOUND, 409: CONFLICT}.get(answer.status, REFUSED))
    raise CliError(f"the restore is not done ({said}); what is in the cluster already is kept: the same command goes on", UNAVAILABLE)


def _ready(frame: Frame) -> list[str]:
    """Where the next attempt can go. After a node's death nobody is ready for a moment."""
    deadline, pause = time.monotonic() + READY_SECONDS, threading.Event()
    while True:
        ready = [report.address for report in frame.survey() if report.ready]
        if ready or time.monotonic() >= deadline:
            return ready
        pause.wait(READY_POLL_SECONDS)


def _refusal(answer: Answer) -> tuple[str, bool]:
    """A sentence, and whether the same may work later: a node's 503 and 504, and whatever something in between says."""
    try:
        problem = json.loads(answer.body)
        said = f"{answer.address}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        said = f"{answer.address} answered {answer.status}, and not as a node of ddbd does"
    return said, answer.status in (502, 503, 504)


def _send(frame: Frame, address: str, file: Path, path: str, quiet: bool) -> Answer | str:
    """The answer, which may come before all is sent; a sentence where there is none."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=COPY_SECONDS)
    size, done = file.stat().st_size, 0
    try:
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", "application/x-ndjson")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        with file.open("rb") as opened, frame.progress(f"restore {file.name}", size, quiet) as progress:
            try:
                while chunk := opened.read(CHUNK_BYTES):
                    connection.send(chunk)
                    done += len(chunk)
                    progress.at(done, f"to {address}")
            except ConnectionError:
                pass  # a node that has answered reads no more
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read(), address)
    except (OSError, http.client.HTTPException) as error:
        return f"{address} broke off: {str(error) or type(error).__name__}"
    finally:
        connection.close()
