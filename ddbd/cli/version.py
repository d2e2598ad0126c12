"""`ddb version`."""

from __future__ import annotations

import click

from ddbd import __version__
from ddbd.cli.frame import Frame, command


@command("version")
def version(frame: Frame) -> None:
    """Print the version."""
    if frame.output.form in ("table", "tabs"):
        click.echo(f"ddb {__version__}")  # as `ddb --version` says it
    else:
        frame.show_one({"version": __version__})
