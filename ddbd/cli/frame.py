"""What every command that talks to a cluster has in common: which nodes, which form of output, --curl, and how errors end it.

    @command("status")
    def status(frame: Frame) -> None:
        \"\"\"Show who leads, and how far the others are.\"\"\"
        frame.show(rows_of(frame.client.status()))

The options may stand before the command's name or behind it. `--curl` prints each request instead of sending it: the command ends at the
first one, since what it would do next depends on the answer.

The client is imported where it is used: `ddb --help` opens no connection, and need not wait for what connections take to import.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ddbd.cli.errors import USAGE, CliError
from ddbd.cli.output import FORMATS, Output, cell
from ddbd.cli.progress import Progress, progress_on
from ddbd.errors import ConfigError

if TYPE_CHECKING:
    from ddbd.client import Client, NodeReport, Opened, Policy, Request, Transport

DEADLINE_SECONDS = 15.0  # of one call, with all its attempts; --timeout
SURVEY_SECONDS = 2.0
CONFIG_HERE = Path("config.json")
CONFIG_OF_THE_HOST = Path("/etc/ddbd/config.json")  # where the package's unit looks

Function = TypeVar("Function", bound=Callable[..., Any])


class Printed(Exception):
    """--curl printed the request; the command is at its end."""


class CurlPrinter:
    """`Transport` that sends nothing."""

    def open(self, address: str, request: Request, timeout_seconds: float) -> Opened:
        click.echo(request.curl(address))
        raise Printed

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Settings:
    """What the common options say; None where nothing was said."""

    config: Path | None = None
    nodes: str | None = None
    output: str | None = None
    curl: bool = False
    timeout_seconds: float | None = None
    transport: Transport | None = None  # other roads than sockets, for who calls the commands from a program
    host_config: Path = CONFIG_OF_THE_HOST

    def addresses(self) -> list[str]:
        """The nearest word counts: an option, then the environment, then ./config.json, then this host's. Raises ConfigError."""
        from ddbd.client import addresses_of

        if self.nodes is not None:
            return _split(self.nodes)
        if self.config is not None:
            return addresses_of(self.config)
        if nodes := os.environ.get("DDB_NODES"):
            return _split(nodes)
        if config := os.environ.get("DDB_CONFIG"):
            return addresses_of(Path(config))
        for config_path in (CONFIG_HERE, self.host_config):
            if config_path.exists():
                return addresses_of(config_path)
        raise ConfigError(
            "no cluster is named: there is no config.json in this folder; name one with --config, or its nodes with --nodes host:port,…"
        )


def _split(nodes: str) -> list[str]:
    return [address for address in nodes.split(",") if address.strip()]


class Frame:
    """What a command gets as its first argument."""

    def __init__(self, context: click.Context, settings: Settings) -> None:
        self._context = context
        self._settings = settings
        self.output = Output(settings.output, sys.stdout)

    @functools.cached_property
    def addresses(self) -> list[str]:
        """Of the cluster's nodes. Raises ConfigError."""
        return self._settings.addresses()

    @property
    def curl(self) -> bool:
        """Requests are to be printed, not sent."""
        return self._settings.curl

    @property
    def asked_form(self) -> str | None:
        """What -o says; None where nothing was said."""
        return self._settings.output

    @property
    def policy(self) -> Policy:
        from ddbd.client import Policy

        seconds = self._settings.timeout_seconds
        return Policy(deadline_seconds=DEADLINE_SECONDS if seconds is None else seconds)

    @functools.cached_property
    def client(self) -> Client:
        """Closed when the command ends. Raises ConfigError."""
        return self.client_with(self.policy)

    def client_with(self, policy: Policy, watch: Callable[[Transport], Transport] = lambda transport: transport) -> Client:
        """`watch` puts something between the client and its sockets."""
        from ddbd.client import Client

        transport: Transport = CurlPrinter() if self.curl else watch(self._settings.transport or self._sockets())
        client = Client(self.addresses, policy, transport=transport)
        self._context.call_on_close(client.close)
        return client

    def _sockets(self) -> Transport:
        from ddbd.client import Sockets

        return Sockets()

    def survey(self, timeout_seconds: float = SURVEY_SECONDS) -> list[NodeReport]:
        """What each node says when all are asked at once."""
        if self.curl:
            from ddbd.client import Request

            for address in self.addresses:
                click.echo(Request("GET", "/status").curl(address))
            raise Printed
        return self.client.survey(timeout_seconds)

    def show(self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None, null: str = "null") -> None:
        """Rows in the form that -o asks for. `columns` is for an empty table's head, and picks them where it is given."""
        self.output.rows(rows, columns, null)

    def show_one(self, fields: Mapping[str, Any]) -> None:
        """One thing: an object in JSON; on a terminal a line for each field."""
        self.output.one(fields)

    def tell(self, text: str) -> None:
        """For people, on stderr. It may hold what a client once stored."""
        click.echo("\n".join(map(cell, text.split("\n"))), err=True)

    def confirm(self, question: str, yes: bool) -> None:
        """Goes on when `--yes` was given, or somebody at a terminal agrees. Raises CliError."""
        if yes or self.curl:
            return
        if not sys.stdin.isatty():
            raise CliError(f"{question} Nobody is there to ask; add --yes", USAGE)
        if not click.confirm(cell(question), default=False, err=True):
            raise CliError("left as it was")

    def progress(self, label: str, total_bytes: int | None, quiet: bool = False) -> Progress:
        """On stderr: a bar on a terminal, a line every 5 s elsewhere. Used by `with`."""
        return progress_on(sys.stderr, label, total_bytes, quiet)


def key_option(text: str) -> Callable[[Function], Function]:
    """`--key`, checked as a node checks it."""

    def check(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        from ddbd.client import check_key

        try:
            return None if value is None else check_key(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return click.option("--key", callback=check, help=text)


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value not in (None, False):
            setattr(settings_of(context), name, value)

    return callback


def settings_of(context: click.Context) -> Settings:
    root = context.find_root()
    if not isinstance(root.obj, Settings):
        root.obj = Settings()
    return root.obj


def _option(*words: str, name: str, **more: Any) -> Callable[[Function], Function]:
    return click.option(*words, name, expose_value=False, callback=_remember(name), **more)


COMMON: Sequence[Callable[[Any], Any]] = (
    _option(
        *("-c", "--config"),
        name="config",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The cluster's config.json, also by DDB_CONFIG. [default: ./config.json, /etc/ddbd/config.json]",
    ),
    _option("-n", "--nodes", name="nodes", metavar="HOST:PORT,…", help="The nodes themselves instead, also by DDB_NODES."),
    _option(
        *("-o", "--output"),
        name="output",
        type=click.Choice(FORMATS),
        help="The form of the answer. [default: table on a terminal, tabs elsewhere]",
    ),
    _option("--curl", name="curl", is_flag=True, help="Print the request as a curl line instead of sending it."),
    _option(
        "--timeout",
        name="timeout_seconds",
        type=click.FloatRange(0.1, 3600),
        metavar="SECONDS",
        help=f"How long a call may take over all nodes. [default: {DEADLINE_SECONDS:g}]",
    ),
)


def common_options(function: Function) -> Function:
    for option in reversed(COMMON):
        function = option(function)
    return function


def command(name: str, **more: Any) -> Callable[[Callable[..., None]], click.Command]:
    """A click command with the common options; its function gets the Frame first."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(*args: Any, **options: Any) -> None:
            context = click.get_current_context()
            function(Frame(context, settings_of(context)), *args, **options)

        decorator: Any = click.command(name, **more)
        made: click.Command = decorator(run)
        return common_options(made)

    return decorate


def yes_option(function: Function) -> Function:
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)
