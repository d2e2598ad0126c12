"""Each error as one line (what failed, the likely cause, the next step) and an exit status that a script can act on."""

from __future__ import annotations

import click

from ddbd.cli.output import cell
from ddbd.client import (
    ClientError,
    Conflict,
    KeyReused,
    NoDatabase,
    NoNodeAnswers,
    NotFound,
    OutcomeUnknown,
    TableNotFound,
    Unavailable,
    VersionMismatch,
)
from ddbd.errors import ConfigError, DdbError

REFUSED, USAGE, UNAVAILABLE, UNKNOWN, NOT_FOUND, CONFLICT = 1, 2, 3, 4, 5, 6
INTERRUPTED, BROKEN_PIPE = 130, 141

MEANINGS = {
    0: "done",
    REFUSED: "a clear no of the cluster, or the answer is no (health without a quorum)",
    USAGE: "the command line, or the config that it names, is wrong; nothing was sent",
    UNAVAILABLE: "no node could do it in time; it was certainly not done",
    UNKNOWN: "nobody knows whether the write was done: repeat it with the key that the message names, or read",
    NOT_FOUND: "the database, table or row is not there",
    CONFLICT: "it is there already, or somebody else changed it",
    INTERRUPTED: "ended by Ctrl-C",
    BROKEN_PIPE: "nobody reads the output any more",
}


class CliError(DdbError):
    """One line of a command's own: what is wrong, and what to do."""

    code = "cli"

    def __init__(self, detail: str, status: int = REFUSED) -> None:
        super().__init__(detail)
        self.status = status


_STATUSES: tuple[tuple[type[DdbError], int], ...] = (
    (ConfigError, USAGE),
    (OutcomeUnknown, UNKNOWN),
    (Unavailable, UNAVAILABLE),
    (NotFound, NOT_FOUND),
    (Conflict, CONFLICT),
    (VersionMismatch, CONFLICT),
    (KeyReused, CONFLICT),
)

# What to do next, where the sentence of the node does not say it in the words of the command line.
_NEXT_STEPS: tuple[tuple[type[DdbError], str], ...] = (
    (NoNodeAnswers, "start the nodes, or name others with --nodes or --config"),
    (Unavailable, "see ddb health"),
    (NoDatabase, "name one with --db, or make one: ddb init-database NAME"),
    (TableNotFound, "see ddb tables"),
    (VersionMismatch, "read it again: ddb get"),
)
_IN_WORDS_OF_HTTP = (NoDatabase, TableNotFound)  # behind a semicolon a node says which call helps; here it is another command


def exit_status(error: Exception) -> int:
    if isinstance(error, CliError):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), REFUSED)


def sentence(error: Exception) -> str:
    """Without a line's end or another control character in it, whatever an answer held."""
    detail = error.detail if isinstance(error, DdbError) else str(error)
    hint = next((step for kind, step in _NEXT_STEPS if isinstance(error, kind)), None) if isinstance(error, ClientError) else None
    if isinstance(error, _IN_WORDS_OF_HTTP):
        detail = detail.partition(";")[0]
    text = detail if hint is None else f"{detail}; {hint}"
    return cell(" ".join(text.split()))


def usage_sentence(error: click.UsageError) -> str:
    words = "ddb" if error.ctx is None else error.ctx.command_path
    message = error.format_message().rstrip(".?")
    return f"{' '.join(message.split())}; see {words} -h"
