"""`ddb version`."""

from __future__ import annotations

import click

from ddbd import __version__


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"ddb {__version__}")
