"""A session of the shell without its terminal: it runs one line after another, and remembers what was chosen.

A line is a sentence of `language`, or a dot command, which changes the session and nothing in the cluster. Each error of a line is raised
and leaves the session as it was. What nodes say of themselves is asked at most every REFRESH_SECONDS, for the prompt and the completion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from ddbd.cli import cluster
from ddbd.cli.errors import NOT_FOUND, CliError
from ddbd.cli.frame import Frame
from ddbd.cli.language import HELP, VERBS, NotUnderstood, Sentence, parse
from ddbd.cli.output import FORMATS, Output
from ddbd.cli.rows import show_rows, show_written, wanted
from ddbd.cli.tables import database_rows, table_rows
from ddbd.client import CannotBeSent, ClientError, Opened, Policy, Request, Transport

REFRESH_SECONDS = 2.0
ASK_SECONDS = 0.5  # for the prompt: a node that is silent must not hold up whoever types
READ_DEPTH_MAX = 8
DOT_COMMANDS = {
    ".help": "this list",
    ".tables": "the tables of the database",
    ".schema [TABLE]": "tables and their columns",
    ".use DATABASE": "work in another database; . for the default one",
    ".node ID": "ask this node first, until it fails",
    ".mode FORM": "table, tabs, json, ndjson or csv",
    ".timing on|off": "say how long each line took",
    ".curl on|off": "show each request as a curl line",
    ".read FILE": "run the lines of a file",
    ".quit": "leave; so do Ctrl-D, exit and quit",
}


class Quit(Exception):
    """The session is to end."""


class Watching:
    """Between a session and its sockets: shows the requests when it is asked to."""

    def __init__(self, sockets: Transport, out: Callable[[str], None]) -> None:
        self.shows = False
        self._out = out
        self._sockets = sockets

    def open(self, address: str, request: Request, timeout_seconds: float) -> Opened:
        if self.shows and request.path != "/status":
            self._out(request.curl(address))
        return self._sockets.open(address, request, timeout_seconds)

    def close(self) -> None:
        self._sockets.close()


class Session:
    """`asks`: somebody is there who can say yes."""

    def __init__(self, frame: Frame, asks: bool) -> None:
        self.db: str | None = None
        self.status: Mapping[str, Any] = {}  # as the node said that was asked last; empty where it is silent
        self._frame = frame
        self._asks = asks
        self._watching: Watching | None = None
        self._client = frame.client = frame.client_with(frame.policy, self._watch)
        self._timing = False
        self._depth = 0
        self._refreshed = float("-inf")

    def _watch(self, sockets: Transport) -> Transport:
        self._watching = Watching(sockets, self._frame.tell)
        return self._watching

    # What the prompt and the completion show.

    def refresh(self) -> None:
        """Asks the node that is asked first what it knows, unless that was just done."""
        now = time.monotonic()
        if now < self._refreshed + REFRESH_SECONDS:
            return
        self._refreshed = now
        try:
            self.status = self._client.only(self._client.nodes.first, Policy(ASK_SECONDS, ASK_SECONDS)).status()
        except ClientError:
            self.status = {}

    def prompt(self) -> str:
        """As in n1[leader] school>"""
        self.refresh()
        node = self.status.get("node")
        who = f"n{node['id']}[{node['role']}]" if node else f"{self._client.nodes.first}[silent]"
        return f"{who} {self.db or self.status.get('default_database') or '-'}> "

    def databases(self) -> list[str]:
        return [database["name"] for database in self.status.get("databases", ())]

    def tables(self) -> dict[str, list[str]]:
        """The columns of each table of the database."""
        name = (self.db or self.status.get("default_database") or "").lower()
        found = (database for database in self.status.get("databases", ()) if database["name"].lower() == name)
        return {table["name"]: table["columns"] for database in found for table in database["tables"]}

    def node_ids(self) -> dict[str, str]:
        """The addresses by id, of those nodes that this client may ask."""
        return {node["id"]: node["address"] for node in self.status.get("nodes", ()) if node["address"] in self._client.nodes}

    # Lines.

    def run(self, line: str) -> None:
        """Raises Quit, DdbError."""
        line = line.strip()
        if not line or line.startswith(("#", "--")):
            return
        begun = time.monotonic()
        if line.removesuffix(";").strip().lower() in ("exit", "quit"):
            raise Quit  # as every other shell has it
        if line.startswith("."):
            self._dot(line)
            return
        sentence = parse(line)
        try:
            _RUN[sentence.verb](self, sentence)
        except CannotBeSent as error:
            raise NotUnderstood(f"{error}; type it again") from None
        finally:
            if sentence.verb not in ("select", "get", "search"):
                self._refreshed = float("-inf")
        if self._timing:
            self._frame.tell(f"({(time.monotonic() - begun) * 1000:.1f} ms)")

    def run_all(self, lines: Iterable[str], name: str) -> None:
        """Raises CliError that names the line."""
        for number, line in enumerate(lines, 1):
            try:
                self.run(line)
            except (CliError, ClientError) as error:
                error.detail = f"{name}, line {number}: {error.detail}"
                raise

    def _dot(self, line: str) -> None:
        word, _, argument = line.partition(" ")
        run = _DOTS.get(word.lower())
        if run is None:
            raise NotUnderstood(f"{word} is no command; .help lists them")
        run(self, argument.strip())

    def _help(self, argument: str) -> None:
        for text in (*(f"{name:16} {text}" for name, text in DOT_COMMANDS.items()), "", *HELP.splitlines()):
            self._frame.output.line(text)

    def _tables(self, argument: str) -> None:
        self._show_tables()

    def _show_tables(self) -> None:
        status = self._client.status()
        db = self.db or status["default_database"]
        if self.db is not None:
            self._known(status, self.db)
        rows = [] if db is None else [*table_rows(status, db)]
        self._frame.show(rows, ["table", "rows", "columns"])

    def _schema(self, argument: str) -> None:
        status = self._client.status()
        db = self.db or status["default_database"]
        rows = [row for row in table_rows(status, db) if not argument or row["table"].lower() == argument.lower()]
        if argument and not rows:
            raise CliError(f"there is no table {argument} in database {db}; .tables lists them", NOT_FOUND)
        columns = ({"table": row["table"], "column": name} for row in rows for name in row["columns"].split(","))
        self._frame.show(columns, ["table", "column"])

    def _use(self, argument: str) -> None:
        if argument == ".":
            self.db = None
            return
        self.db = self._known(self._client.status(), argument)

    def _known(self, status: Mapping[str, Any], db: str) -> str:
        """As it was spelled when it was made."""
        names = [str(database["name"]) for database in status["databases"]]
        found = next((name for name in names if name.lower() == db.lower()), None)
        if found is None:
            raise CliError(f"there is no database {db or '?'}; there is {', '.join(names) or 'none'}", NOT_FOUND)
        return found

    def _node(self, argument: str) -> None:
        self._refreshed = float("-inf")
        self.refresh()
        ids = self.node_ids()
        address = ids.get(argument.removeprefix("n"), argument if argument in self._client.nodes else None)
        if address is None:
            raise CliError(f"there is no node {argument or '?'}; there is {', '.join(ids) or ', '.join(self._client.nodes.addresses)}")
        self._client.nodes.prefer(address)
        self._refreshed = float("-inf")

    def _mode(self, argument: str) -> None:
        if argument not in (*FORMATS, "tabs"):
            raise NotUnderstood(f".mode is followed by one of {', '.join(FORMATS)}, tabs")
        self._frame.output = Output(argument, self._frame.output.out)

    def _set_timing(self, argument: str) -> None:
        self._timing = _switch(".timing", argument)

    def _set_curl(self, argument: str) -> None:
        if self._watching is not None:
            self._watching.shows = _switch(".curl", argument)

    def _read(self, argument: str) -> None:
        if self._depth == READ_DEPTH_MAX:
            raise CliError(f"{argument}: files that read files are {READ_DEPTH_MAX} deep here; does one read itself?")
        try:
            lines = Path(argument).read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:  # a name with U+0000 is a ValueError too
            raise CliError(f"{argument or '?'}: cannot be read: {getattr(error, 'strerror', 'it is no text')}") from None
        self._depth += 1
        try:
            self.run_all(lines, argument)
        finally:
            self._depth -= 1

    def _quit(self, argument: str) -> None:
        raise Quit

    # Sentences.

    def _select(self, said: Sentence) -> None:
        sought = wanted(said.name, said.where, self.db, [str(name) for name in said.columns or ()] or None, said.versions, said.local)
        show_rows(self._frame, sought, said.limit, said.after)

    def _get(self, said: Sentence) -> None:
        found = self._client.get(said.name, said.row_id or "", db=self.db)
        if found is None:
            raise CliError(f"table {said.name} has no row {said.row_id!r}", NOT_FOUND)
        self._frame.show_one({**found.row, "_version": found.version})

    def _insert(self, said: Sentence) -> None:
        show_written(self._frame, "inserted", self._client.insert(said.name, said.data, upsert=said.upsert, db=self.db))

    def _update(self, said: Sentence) -> None:
        written = self._client.update(said.name, said.row_id or "", said.data, if_version=said.if_version, db=self.db)
        show_written(self._frame, "updated", written)

    def _delete(self, said: Sentence) -> None:
        show_written(self._frame, "deleted", self._client.delete(said.name, said.row_id or "", if_version=said.if_version, db=self.db))

    def _init_database(self, said: Sentence) -> None:
        created = self._client.init_database(said.name)
        self._say(f"database {said.name} {'was made, and' if created else 'was there; it'} is the default one now")

    def _drop_database(self, said: Sentence) -> None:
        self._confirm(f"Delete the database {said.name} with all its tables and rows?")
        self._client.drop_database(said.name)
        if self.db is not None and self.db.lower() == said.name.lower():
            self.db = None
        self._say(f"database {said.name} is gone")

    def _create_table(self, said: Sentence) -> None:
        created = self._client.create_table(said.name, said.columns or (), db=self.db)
        self._say(f"table {said.name} {'was made' if created else 'was there, with these columns'}")

    def _delete_table(self, said: Sentence) -> None:
        self._confirm(f"Delete the table {said.name} with all its rows?")
        self._client.delete_table(said.name, db=self.db)
        self._say(f"table {said.name} is gone")

    def _databases(self, said: Sentence) -> None:
        self._frame.show(database_rows(self._client.status()), ["database", "default", "tables", "rows"])

    def _ping(self, said: Sentence) -> None:
        self._client.ping()
        self._say(f"{self._client.nodes.first} serves")

    def _step_down(self, said: Sentence) -> None:
        cluster.ask_first(self._frame, "another node", not self._asks)
        cluster.say_who_leads(self._frame, self._client.step_down())

    def _transfer(self, said: Sentence) -> None:
        self.refresh()
        short = said.name.removeprefix("n")  # as the prompt shows it
        node_id = short if short in self.node_ids() else said.name
        cluster.ask_first(self._frame, f"node {node_id}", not self._asks)
        cluster.say_who_leads(self._frame, self._client.transfer(node_id))

    def _confirm(self, question: str) -> None:
        if self._asks and not click.confirm(question, default=False, err=True):
            raise CliError("left as it was")

    def _say(self, text: str) -> None:
        if self._frame.output.for_people:
            self._frame.output.line(text)


def _switch(command: str, argument: str) -> bool:
    if argument not in ("on", "off"):
        raise NotUnderstood(f"{command} is followed by on or off")
    return argument == "on"


_RUN: dict[str, Callable[[Session, Sentence], None]] = {
    "select": Session._select,
    "get": Session._get,
    "insert": Session._insert,
    "update": Session._update,
    "delete": Session._delete,
    "tables": lambda session, said: session._show_tables(),
    "databases": Session._databases,
    "init_database": Session._init_database,
    "drop_database": Session._drop_database,
    "create_table": Session._create_table,
    "delete_table": Session._delete_table,
    "status": lambda session, said: cluster.show_status(session._frame),
    "nodes": lambda session, said: cluster.show_nodes(session._frame),
    "health": lambda session, said: cluster.show_health(session._frame, strict=False),
    "timeline": lambda session, said: cluster.show_timeline(session._frame, said.limit or 20),
    "ping": Session._ping,
    "step_down": Session._step_down,
    "transfer": Session._transfer,
}
assert _RUN.keys() == set(VERBS), "every verb is run"

_DOTS: dict[str, Callable[[Session, str], None]] = {
    ".help": Session._help,
    ".tables": Session._tables,
    ".schema": Session._schema,
    ".use": Session._use,
    ".node": Session._node,
    ".mode": Session._mode,
    ".timing": Session._set_timing,
    ".curl": Session._set_curl,
    ".read": Session._read,
    ".quit": Session._quit,
}
