"""`ddb`, the command line: it speaks HTTP to the nodes and knows nothing else of them.

A command is a module of this package with one click command in it, added to the group below. What several of them need:

    client   one call to a node, and the curl line that does the same
    local    a cluster of real processes on this machine: start, kill, freeze, wait, end
    writer   a client that writes without a pause and remembers each answer
"""

from __future__ import annotations

import contextlib
import io
import sys

import click

from ddbd import __version__
from ddbd.cli.demo import demo
from ddbd.errors import DdbError


class _Group(click.Group):
    """An error of ours ends a command with its one sentence and exit status 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except DdbError as error:
            raise click.ClickException(error.detail) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ddb", message="%(prog)s %(version)s")
def main() -> None:
    """The command line of ddbd, a replicated table store."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter gets a question mark, not a traceback.
        with contextlib.suppress(ValueError):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"ddb {__version__}")


main.add_command(demo)
