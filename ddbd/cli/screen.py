"""What the demo prints: colours on a terminal, plain lines elsewhere. rich looks at NO_COLOR and at the terminal by itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ddbd.cli.client import Reply, call, curl_line

ANSWER_CHARS_MAX = 300


class Screen:
    def __init__(self) -> None:
        self._console = Console(highlight=False)

    def title(self, text: str) -> None:
        self._line("")
        self._line(text, "bold")

    def note(self, text: str) -> None:
        self._line(text)

    def good(self, text: str) -> None:
        self._line(text, "green")

    def bad(self, text: str) -> None:
        self._line(text, "bold red")

    def command(self, words: Sequence[str]) -> None:
        self._line(f"$ {shlex.join(words)}", "cyan")

    def curl(self, line: str) -> None:
        self._line(f"$ {line}", "cyan")

    def ask(self, address: str, method: str, path: str, body: object = None, sent: str | None = None, redirects: bool = False) -> Reply:
        """Sends the request; prints the line that does the same (`sent`: what stands there for a long body) and the answer."""
        self.curl(curl_line(address, method, path, sent or body, redirects))
        reply = call(address, method, path, body)
        text = reply.text
        if len(text) > ANSWER_CHARS_MAX:
            text = f"{text[:ANSWER_CHARS_MAX]}… ({len(reply.body):,} bytes)"
        self._line(text if reply.ok else f"{reply.status} {text}", "" if reply.ok else "red")
        return reply

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for head in heads:
            table.add_column(head, no_wrap=True, overflow="ignore")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(table, soft_wrap=True, crop=False)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A sign of life on a terminal, nothing elsewhere."""
        with self._console.status(text):
            yield

    def _line(self, text: str, style: str = "") -> None:
        # Never wrapped: a broken curl line cannot be copied.
        self._console.print(Text(text, style), soft_wrap=True)
