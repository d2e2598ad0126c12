"""The group `ddb`, the table of its commands, and the one place where errors end a command.

A command's module is imported when the command is called: `ddb --help` needs none of them, so the table has their short help too.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from typing import Any, NamedTuple, NoReturn

import click

from ddbd import __version__
from ddbd.cli import errors
from ddbd.cli.frame import Printed, common_options
from ddbd.client import CannotBeSent
from ddbd.errors import DdbError


class Entry(NamedTuple):
    section: str
    place: str  # module:attribute
    help: str


CLUSTER, TABLES, ROWS, FILES, RESCUE, OTHER = "Cluster", "Databases and tables", "Rows", "Files", "Without a node", "Other"

COMMANDS: dict[str, Entry] = {
    "status": Entry(CLUSTER, "ddbd.cli.cluster:status", "Show who leads and how far the others are."),
    "nodes": Entry(CLUSTER, "ddbd.cli.cluster:nodes", "Show what each node says of itself."),
    "health": Entry(CLUSTER, "ddbd.cli.cluster:health", "Check every node; exit with 1 when a quorum is missing."),
    "timeline": Entry(
        CLUSTER, "ddbd.cli.cluster:timeline", "Show what happened in the cluster: elections, nodes lost and back, full disks."
    ),
    "step-down": Entry(CLUSTER, "ddbd.cli.cluster:step_down", "Have the leader hand over to the best follower."),
    "transfer": Entry(CLUSTER, "ddbd.cli.cluster:transfer", "Have the leader hand over to the node with the id NODE_ID."),
    "databases": Entry(TABLES, "ddbd.cli.tables:databases", "Show the databases."),
    "tables": Entry(TABLES, "ddbd.cli.tables:tables", "Show the tables of every database, with their columns."),
    "init-database": Entry(TABLES, "ddbd.cli.tables:init_database", "Make the database NAME, and the default one in any case."),
    "drop-database": Entry(TABLES, "ddbd.cli.tables:drop_database", "Delete the database NAME with all its tables."),
    "create-table": Entry(TABLES, "ddbd.cli.tables:create_table", "Make TABLE."),
    "delete-table": Entry(TABLES, "ddbd.cli.tables:delete_table", "Delete TABLE with all its rows."),
    "select": Entry(ROWS, "ddbd.cli.rows:select", "Print the rows of TABLE, in the order of their row_id."),
    "search": Entry(ROWS, "ddbd.cli.rows:search", "Print the rows of TABLE whose COLUMN compares with VALUE."),
    "get": Entry(ROWS, "ddbd.cli.rows:get", "Print one row of TABLE with its _version."),
    "insert": Entry(ROWS, "ddbd.cli.rows:insert", "Insert a row into TABLE."),
    "update": Entry(ROWS, "ddbd.cli.rows:update", "Put values over the row ROW_ID of TABLE; the others stay."),
    "delete": Entry(ROWS, "ddbd.cli.rows:delete", "Delete the row ROW_ID of TABLE."),
    "import": Entry(FILES, "ddbd.cli.importing:import_", "Load the rows of FILE into TABLE; - is the standard input."),
    "export": Entry(
        FILES, "ddbd.cli.exporting:export", "Write the rows of TABLE to FILE, in the order of their row_id; - is the standard output."
    ),
    "backup": Entry(FILES, "ddbd.cli.backups:backup", "Write one instant of all databases to FILE, or look through such a file."),
    "restore": Entry(FILES, "ddbd.cli.backups:restore", "Bring the databases of a backup back, all at once."),
    "check": Entry(
        RESCUE,
        "ddbd.cli.rescue:check",
        "Look through a stopped node's data directory; exit with 1 when something is wrong.",
    ),
    "recover": Entry(
        RESCUE,
        "ddbd.cli.rescue:recover",
        "Go on with one node after a majority was lost FOR GOOD. What only the lost nodes knew is given up.",
    ),
    "shell": Entry(OTHER, "ddbd.cli.shell:shell", "Type commands at a prompt, or pipe them in."),
    "demo": Entry(OTHER, "ddbd.cli.demo:demo", "Run three nodes, use them, kill the master."),
    "completion": Entry(OTHER, "ddbd.cli.manual:completion", "Print the completion script of a shell."),
    "man": Entry(OTHER, "ddbd.cli.manual:man", "Print the manual page of ddb, or of one of its commands."),
    "version": Entry(OTHER, "ddbd.cli.version:version", "Print the version."),
}


class LazyGroup(click.Group):
    """The commands of the table, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), entry.help) for name, entry in COMMANDS.items() if entry.section == section])

    def main(self, *args: Any, **more: Any) -> Any:
        """Click's own, with errors as one line each."""
        clicks: Any = super()  # its overloads fit no signature that hands on
        more["prog_name"] = more.get("prog_name") or "ddb"
        if not more.pop("standalone_mode", True):
            return clicks.main(*args, standalone_mode=False, **more)
        try:
            status = clicks.main(*args, standalone_mode=False, **more)
            sys.stdout.flush()
        except BrokenPipeError:
            _nobody_reads()
        except OSError as error:
            what = error.filename or "the output cannot be written"  # only what opens a file knows its name
            sys.exit(_say(errors.CliError(f"{what}: {error.strerror}")))
        except UnicodeEncodeError:
            sys.exit(_say(errors.CliError("an argument is not text in UTF-8; type it again", errors.USAGE)))
        except CannotBeSent as error:
            sys.exit(_say(errors.CliError(f"{error}; type it again", errors.USAGE)))
        except (click.ClickException, click.Abort, KeyboardInterrupt, DdbError) as error:
            sys.exit(_say(error))
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Printed:
            return None
        except BrokenPipeError:
            _nobody_reads()  # before click makes it exit status 1


def _nobody_reads() -> NoReturn:
    # Python would say so once more when it flushes at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(errors.BROKEN_PIPE)


def _say(error: BaseException) -> int:
    if isinstance(error, click.UsageError):
        is_help = isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ()))  # `ddb` alone; click 8.2 has the help in it
        click.echo(error.format_message() if is_help else f"ddb: {errors.usage_sentence(error)}", err=True)
        return errors.USAGE
    if isinstance(error, click.ClickException):
        click.echo(f"ddb: {error.format_message()}", err=True)
        return error.exit_code
    if isinstance(error, DdbError):
        click.echo(f"ddb: {errors.sentence(error)}", err=True)
        return errors.exit_status(error)
    click.echo("", err=True)
    return errors.INTERRUPTED


@click.group("ddb", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ddb", message="%(prog)s %(version)s")
@common_options
def main() -> None:
    """The command line of ddbd, a replicated table store.

    It needs to know the nodes of a cluster: those of ./config.json, or else of /etc/ddbd/config.json, unless --config or --nodes says
    otherwise.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter gets a question mark, not a traceback.
        with contextlib.suppress(ValueError):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
