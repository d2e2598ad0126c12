"""The observer that twistd logs to: which events become lines, in which format, and where they go.

Twisted tells much that an operator of this daemon does not ask for: which reactor runs, that a factory starts, that the main loop ended.
What comes from Twisted below a warning counts as `debug` here; the daemon says the same in lines of its own.

Standard output goes through `LogSink`, whatever the format: a reader that stopped reading must not stop the node. A file (`--logfile`, or
twistd without -n) is written at once, and rotated as twistd does it, on SIGUSR1.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogLevel
from twisted.python.logfile import LogFile
from zope.interface import implementer

from ddbd.config import LogOptions
from ddbd.host.lines import LEVELS, PRIORITIES, is_legacy, level_of, message_of, render
from ddbd.host.repeats import LeftOut, Repeats, kind_of
from ddbd.logsink import LogSink


def is_journal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether journald reads this stream: systemd names the device and inode of its socket, so that a pipe behind it is none."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


@implementer(ILogObserver)
class LogBook:
    """It takes lines before it is opened, too, and drops them: twistd may have been told to log elsewhere. `clock` is monotonic."""

    def __init__(self, write: Callable[[str], Any] = lambda text: None, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._own = "human"  # where neither command line nor config name a format
        self._asked = LogOptions()  # by the command line, which goes before the config
        self._told = LogOptions()  # by the config
        self._node_id = ""
        self._repeats = Repeats()
        self._sink: LogSink | None = None

    def open_standard_output(self) -> None:
        """For twistd in the foreground."""
        self._own = "journal" if is_journal(sys.stdout) else "human"
        self._sink = LogSink(sys.stdout, told=self.dropped)
        self._write = self._sink.write

    def open_file(self, path: str) -> None:
        file: Any = LogFile.fromFullPath(path)

        def write(text: str) -> None:
            file.write(text)
            file.flush()

        def rotate(*_: object) -> None:
            from twisted.internet import reactor

            reactor.callFromThread(file.rotate)  # type: ignore[attr-defined]

        if not signal.getsignal(signal.SIGUSR1):
            signal.signal(signal.SIGUSR1, rotate)
        self._write = write

    @property
    def form(self) -> str:
        return self._asked.format or self._told.format or self._own

    @property
    def level(self) -> str:
        return self._asked.level or self._told.level or "info"

    def ask(self, options: LogOptions) -> None:
        """Of the command line."""
        self._asked = options

    def configure(self, options: LogOptions, node_id: str) -> None:
        """Of the config; from the next line on."""
        self._told, self._node_id = options, node_id

    def __call__(self, event: dict[str, Any]) -> None:
        level = "debug" if _is_noise(event) else level_of(event)
        if LEVELS.index(level) < LEVELS.index(self.level):
            return
        message, now = message_of(event), self._clock()
        self._tell_left_out(now)
        if level == "critical" or self._repeats.admit(kind_of(event, message), level, message, now):
            self._write(render(event, self.form, self._node_id))

    def tell_left_out(self) -> None:
        """Also when nothing else is said: to be called now and then."""
        self._tell_left_out(self._clock())

    def _tell_left_out(self, now: float) -> None:
        for each in self._repeats.over(now):
            self._write(self._about_left_out(each))

    def _about_left_out(self, each: LeftOut) -> str:
        return self.line(each.level, f"{each.count} more lines like this one were left out: {each.sample}")

    def line(self, level: str, text: str) -> str:
        """A line of our own, in the format of now."""
        event = {"log_format": "{text}", "text": text, "log_level": LogLevel.levelWithName(level), "log_time": time.time()}
        return render(event, self.form, self._node_id)

    def dropped(self, count: int) -> str:
        return self.line("warn", f"{count} log lines were dropped: nobody took them")

    def drain(self) -> None:
        """Before the process ends at once."""
        if self._sink is not None:
            self._sink.drain()


def _is_noise(event: dict[str, Any]) -> bool:
    if level_of(event) not in ("debug", "info"):
        return False
    namespace = str(event.get("log_namespace") or "")
    return is_legacy(event) or namespace == "twisted" or namespace.startswith("twisted.")


def level_of_text(text: str) -> Any:
    """Of what the replica says in one sentence; docs/operations.md names the words."""
    word = text.partition(":")[0]
    return {"ALARM": LogLevel.critical, "QUARANTINED": LogLevel.error}.get(word, LogLevel.info)


def sentence_on_stderr(sentence: str) -> str:
    """What is said before there is a log; journald is told that it is an error."""
    return f"<{PRIORITIES['error']}>{sentence}" if is_journal(sys.stderr) else sentence
