"""`ddb shell`: a prompt with completion and history on a terminal; elsewhere the lines of the input, up to the first that fails.

Ctrl-C gives up the line that is typed or the query that runs; Ctrl-D leaves. A failover in the middle is the client's business: the next
line, or the rest of the same one, is answered by another node, which the prompt then shows.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import click

from ddbd.cli.errors import sentence
from ddbd.cli.frame import Frame, command
from ddbd.cli.session import Quit, Session
from ddbd.cli.state import private_file, state_folder
from ddbd.errors import DdbError


@command("shell")
@click.option("-e", "--execute", "lines", multiple=True, metavar="LINE", help="Run this line and leave; may be given several times.")
@click.option("--db", metavar="NAME", help="Another database than the default one.")
def shell(frame: Frame, lines: Sequence[str], db: str | None) -> None:
    """Type commands at a prompt, or pipe them in.

    .help at the prompt lists them. From a pipe, lines run up to the first that fails, whose error decides the exit status.
    """
    is_terminal = sys.stdin.isatty() and not lines
    session = Session(frame, asks=is_terminal)
    session.db = db
    try:
        if lines:
            session.run_all(lines, "-e")
        elif is_terminal:
            _interact(frame, session)
        else:
            if isinstance(sys.stdin, io.TextIOWrapper):
                sys.stdin.reconfigure(errors="surrogateescape")  # the line that is no text is named, once it is its turn
            session.run_all(sys.stdin, "standard input")
    except Quit:
        return


def _interact(frame: Frame, session: Session) -> None:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import History, InMemoryHistory

    from ddbd.cli.completing import KeptHistory, SessionCompleter

    history: History
    try:
        history = KeptHistory(str(private_file(state_folder() / "history")))
    except OSError as error:
        frame.tell(f"the history is not kept: {error.strerror}")
        history = InMemoryHistory()
    prompt: PromptSession[str] = PromptSession(history=history, completer=SessionCompleter(session), complete_while_typing=False)
    frame.tell("ddb shell; .help for help, Ctrl-D to leave")
    while True:
        try:
            # At the prompt Ctrl-C is a key. It is a signal while a prompt begins or ends, and of one that is at its end the handler of
            # prompt_toolkit knows nothing any more: it would print a traceback.
            _run_safely(frame, session, prompt.prompt(session.prompt(), handle_sigint=False))
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


def _run_safely(frame: Frame, session: Session, line: str) -> None:
    """Whatever fails is told, and the session goes on. Raises Quit."""
    try:
        session.run(line)
    except KeyboardInterrupt:
        frame.tell("given up; a write that was on its way may be done all the same")
    except DdbError as error:
        frame.tell(sentence(error))
    except click.Abort:
        frame.tell("left as it was")
