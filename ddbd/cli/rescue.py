"""`ddb check` and `ddb recover`: what is done to data directories while no node runs on them. The rest is in `ddbd.rescue`.

`recover` gives up data, so it goes step by step: no node of the config may run; it shows what each directory has, what may be lost at most
and what is going to be done; then it wants two words typed, or the option that says them. `--dry-run` ends before the question.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import click

from ddbd.cli.errors import REFUSED, USAGE, CliError
from ddbd.cli.frame import CONFIG_HERE, Frame, command, settings_of
from ddbd.rescue.guide import Recovery, check_with, is_bad

WORDS = "lose data"
COLUMNS = ["node", "directory", "cluster", "last_index", "last_term", "commit", "applied", "term", "vote", "trouble"]


def _config() -> Path | None:
    """The config that is named, or the one in this folder. A recovery needs the file itself, not only addresses."""
    settings = settings_of(click.get_current_context())
    if settings.config is not None:
        return settings.config
    if named := os.environ.get("DDB_CONFIG"):
        return Path(named)
    return CONFIG_HERE if CONFIG_HERE.exists() else None


@command("check")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def check(frame: Frame, directory: Path) -> None:
    """Look through a stopped node's data directory; exit with 1 when something is wrong.

    Every record of the log, every page of the tables, the identity, and whether they fit together. Nothing is changed. With the cluster's
    config its limits are used where the log is applied again.
    """
    findings = check_with(directory, _config())
    frame.show([finding._asdict() for finding in findings], ["level", "place", "what"])
    if is_bad(findings):
        raise CliError(f"{directory}: something is wrong; restore this node from its peers: start it with an empty directory", REFUSED)


@command("recover")
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show what there is and what would be done, and change nothing.")
@click.option("--yes-i-lose-data", "yes", is_flag=True, help="Do not ask.")
def recover(frame: Frame, directories: tuple[Path, ...], dry_run: bool, yes: bool) -> None:
    """Go on with one node after a majority was lost FOR GOOD. What only the lost nodes knew is given up.

    DIR is the data directory of each node that is left, on this machine; all nodes are stopped. The node that knows most goes on alone,
    as a cluster of another id; the others join it with empty directories. Lost nodes that come back are turned away.
    """
    config = _config()
    if config is None:
        raise CliError("no config is named, and there is none in this folder; name the cluster's with --config", USAGE)
    _assert_nobody_runs(frame)
    with Recovery(config, directories, secrets.token_hex(16)) as recovery:
        frame.show(recovery.rows, COLUMNS, null="-")
        for sentence in recovery.sentences():
            frame.tell(f"  - {sentence}")
        if dry_run:
            frame.tell("nothing was changed: this was a dry run")
            return
        _ask(yes)
        plan = recovery.carry_out()
    frame.tell(
        f"done: start node {plan.node_id}; when it is ready, start the other nodes, one after the other, each with an EMPTY directory"
    )


def _assert_nobody_runs(frame: Frame) -> None:
    """A node that runs may be part of a majority that this machine cannot see well, or would go on with the history that is given up."""
    for report in frame.survey():
        if report.status is not None:
            node, master = report.status["node"]["id"], report.status["master"]
            leads = f", and node {master['id']} leads: nothing is lost" if master else ""
            raise CliError(f"node {node} runs at {report.address}{leads}; a recovery wants all nodes stopped")


def _ask(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("nobody is there to ask; add --yes-i-lose-data", USAGE)
    if click.prompt(f"Type '{WORDS}' to do it", default="", show_default=False, err=True).strip() != WORDS:
        raise CliError("left as it was")
