"""A terminal of the pages' sessions: one command on a pty, and what is typed at the prompts that it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
from collections.abc import Callable, Mapping
from pathlib import Path

from ddbd.cli.local import TookTooLong, eventually

ROWS, COLUMNS = 50, 200  # wide enough for every table of the pages
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # even a dumb terminal is sent some
PROMPT = re.compile(r"(n\w+\[\w+\] \w+> )(.*)")  # of `ddb shell`


def typed(output: str) -> list[tuple[str, str]]:
    """Each prompt of a program in what a page shows, and what stands behind it."""
    return [(found[1], found[2]) for found in map(PROMPT.fullmatch, output.splitlines()) if found]


class Screen:
    """A dumb terminal: no colours, no cursor that moves, so that what it shows is what a page shows."""

    def __init__(self, folder: Path, environment: Mapping[str, str], command: str) -> None:
        self._pid, self._file = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execvpe("bash", ["bash", "-c", f"exec {command}"], {**environment, "TERM": "dumb"})
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._came = b""

    @property
    def shown(self) -> str:
        text = CODES.sub("", self._came.decode("utf-8", "replace")).replace("\r\n", "\n").replace("\r", "")
        return re.sub(r" +$", "", text, flags=re.MULTILINE)

    def _read(self) -> bool:
        """Takes what is there. False at its end."""
        ready, _, _ = select.select([self._file], [], [], 0)
        if not ready:
            return True
        try:
            piece = os.read(self._file, 65536)
        except OSError:  # Linux says EIO where the other side has gone
            return False
        self._came += piece
        return piece != b""

    def _until(self, check: Callable[[], bool], what: str, seconds: float) -> None:
        try:
            eventually(check, what, seconds)
        except TookTooLong as error:
            raise AssertionError(f"{error.detail}; it shows:\n{self.shown}") from None

    def answer(self, prompt: str, line: str, seconds: float) -> None:
        """Waits for the prompt and types the line; not before the program has the keys, else they would be shown twice."""

        def asks() -> bool:
            goes_on, shown = self._read(), self.shown
            assert goes_on, f"it ended before {prompt!r}; it shows:\n{shown}"
            return shown.endswith(prompt.rstrip()) and not termios.tcgetattr(self._file)[3] & termios.ECHO

        self._until(asks, f"the prompt {prompt!r}", seconds)
        os.write(self._file, f"{line}\r".encode())

    def end(self, seconds: float) -> str:
        """All that it has shown, once the command has ended."""
        self._until(lambda: not self._read(), "the end of the command", seconds)
        return self.shown

    def close(self) -> None:
        os.close(self._file)  # a program that still runs gets SIGHUP
        os.waitpid(self._pid, 0)
