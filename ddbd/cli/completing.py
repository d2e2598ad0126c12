"""Completion at the prompt: commands, databases, tables, columns, nodes. It asks nothing: it knows what the session last heard.

And the history, which is no reason to end a session.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory

from ddbd.cli.language import OPS, VERBS
from ddbd.cli.output import FORMATS
from ddbd.cli.session import DOT_COMMANDS, Session

TABLE_VERBS = ("select", "get", "insert", "update", "delete", "delete_table")
CLAUSES = ("columns", "where", "limit", "after", "versions", "local")


class KeptHistory(FileHistory):
    def store_string(self, string: str) -> None:
        with suppress(OSError):  # a full disk: the line is run all the same
            super().store_string(string)


class SessionCompleter(Completer):
    def __init__(self, session: Session) -> None:
        self._session = session

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        words = text.split()
        typed = "" if not text or text[-1].isspace() else words.pop()
        stem = typed.rpartition(",")[2] if "columns" in words[-1:] else typed
        for word in self._words(words):
            if word.lower().startswith(stem.lower()):
                yield Completion(word, start_position=-len(stem))

    def _words(self, before: list[str]) -> Iterable[str]:
        """What may come behind these words."""
        if not before:
            return [*VERBS, *(name.partition(" ")[0] for name in DOT_COMMANDS)]
        verb = before[0].lower()
        if len(before) == 1:
            return self._first_argument(verb)
        columns = self._columns(before[1])
        if verb == "insert":
            return [*(f"{name}=" for name in ["row_id", *columns]), "upsert"]
        if verb == "update" and len(before) > 2:
            return [*(f"{name}=" for name in columns), "if_version"]
        if verb == "delete" and len(before) > 2:
            return ["if_version"]
        return self._select(before, columns) if verb == "select" else []

    def _first_argument(self, verb: str) -> Iterable[str]:
        session = self._session
        if verb in (*TABLE_VERBS, ".schema"):
            return session.tables()
        if verb in (".use", "init_database", "drop_database"):
            return session.databases()
        if verb in (".node", "transfer"):
            return session.node_ids()
        if verb == ".mode":
            return (*FORMATS, "tabs")
        return ("on", "off") if verb in (".timing", ".curl") else ()

    def _columns(self, table: str) -> list[str]:
        found = {name.lower(): columns for name, columns in self._session.tables().items()}
        return found.get(table.lower(), [])

    def _select(self, before: list[str], columns: list[str]) -> Iterable[str]:
        if before[-1] in ("columns", "where"):
            return ["row_id", *columns]
        if before[-2] == "where":
            return [op for op in OPS if op not in ("==", "<>")]
        if before[-1] in ("limit", "after") or (len(before) > 2 and before[-3] == "where" and before[-1] in OPS):
            return []
        return [clause for clause in CLAUSES if clause not in before]
