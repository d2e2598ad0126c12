"""Writes ddb(1) from the command's own help, so that the page cannot say something else."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from ddbd import __version__
from ddbd.cli import main


def roff(text: str) -> str:
    """A line of its own: nothing in it is taken for a request."""
    return "\\&" + text.replace("\\", "\\e").replace("-", "\\-")


def page(command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name="ddb")
    yield f'.TH DDB 1 "" "ddbd {__version__}" "User Commands"'
    yield from (".SH NAME", "ddb \\- command line of ddbd, a replicated table store")
    yield from (".SH SYNOPSIS", ".B ddb", "[\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]")
    yield from (".SH DESCRIPTION", *(roff(line.strip()) for line in (command.help or "").splitlines()))
    yield from (".SH OPTIONS", *options(command, context))
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from (".TP", f"\\fB{roff(name)}\\fR", roff(found.get_short_help_str(200)))
    yield from (".SH SEE ALSO", "\\fBddbd\\fR(8), and \\fBddb\\fR \\fIcommand\\fR \\fB\\-\\-help\\fR for each command.")


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        told = parameter.get_help_record(context)
        if told is not None:
            yield from (".TP", f"\\fB{roff(told[0])}\\fR", roff(told[1] or ""))


if __name__ == "__main__":
    sys.stdout.write("\n".join(page(main)) + "\n")
