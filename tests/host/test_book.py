"""What of Twisted's events becomes a line, and how often."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python import log as legacy
from zope.interface.verify import verifyObject

from ddbd.config import LogOptions
from ddbd.host.book import LogBook, is_journal, level_of_text
from ddbd.host.repeats import KINDS_MAX, LINES_MAX, WINDOW_SECONDS


class Written:
    def __init__(self) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        self.book = LogBook(self.lines.append, self.clock.seconds)
        self.logger = Logger(namespace="ddbd", observer=self.book)

    @property
    def messages(self) -> list[str]:
        return [line.split(maxsplit=2)[2].rstrip("\n") for line in self.lines]


@pytest.fixture
def written() -> Written:
    return Written()


def test_it_is_an_observer(written: Written) -> None:
    assert verifyObject(ILogObserver, written.book)


def test_what_twisted_says_of_itself_is_not_said_but_its_warnings_are(written: Written) -> None:
    twisted = Logger(namespace="twisted.internet.base", observer=written.book)
    twisted.info("Main loop terminated.")
    twisted.warn("a warning")
    twisted.critical("an error")
    say = legacy.LogPublisher(observerPublisher=written.book, publishPublisher=LogPublisher(written.book)).msg
    say("Site starting on 8080")
    assert written.messages == ["a warning", "an error"]


def test_at_level_debug_it_is_said(written: Written) -> None:
    written.book.configure(LogOptions(level="debug"), "1")
    Logger(namespace="twisted.internet.base", observer=written.book).info("Main loop terminated.")
    assert written.messages == ["Main loop terminated."]


def test_below_the_level_nothing_is_said(written: Written) -> None:
    written.book.configure(LogOptions(level="warn"), "1")
    written.logger.info("not this")
    written.logger.warn("this")
    assert written.messages == ["this"]


def test_the_command_line_goes_before_the_config(written: Written) -> None:
    written.book.ask(LogOptions(format="json"))
    written.book.configure(LogOptions(format="human", level="error"), "7")
    written.logger.error("said")
    assert json.loads(written.lines[0])["node"] == "7"


def test_the_format_changes_with_the_config(written: Written) -> None:
    written.logger.info("said")
    written.book.configure(LogOptions(format="journal"), "1")
    written.logger.info("said")
    assert written.lines[1] == "<6>said\n"


def test_the_same_line_is_said_some_times_and_then_how_often_more(written: Written) -> None:
    for number in range(LINES_MAX + 17):
        written.logger.info("the stream from node {peer} broke", peer=number)
    assert len(written.lines) == LINES_MAX
    written.clock.advance(WINDOW_SECONDS)
    written.book.tell_left_out()
    assert written.messages[LINES_MAX:] == [f"17 more lines like this one were left out: the stream from node {LINES_MAX + 16} broke"]
    written.logger.info("the stream from node {peer} broke", peer=1)
    assert written.messages[-1] == "the stream from node 1 broke"


def test_texts_that_differ_in_numbers_only_are_alike(written: Written) -> None:
    for number in range(LINES_MAX + 5):
        written.logger.info("{text}", text=f"made a snapshot at index {number}")
        written.logger.info("{text}", text="other words " + "x" * number)
    assert len(written.lines) == LINES_MAX + LINES_MAX + 5


def test_what_ends_the_process_is_never_left_out(written: Written) -> None:
    for _ in range(LINES_MAX + 5):
        written.logger.critical("node {id} stops", id="1")
    assert len(written.lines) == LINES_MAX + 5


def test_kinds_are_bounded_and_nothing_is_forgotten_unsaid(written: Written) -> None:
    for _ in range(LINES_MAX + 1):
        written.logger.info("{text}", text="first")
    for number in range(KINDS_MAX):
        written.logger.info("{text}", text=f"kind {chr(0x4E00 + number)}")
    assert "1 more lines like this one were left out: first" in written.messages
    assert len(written.book._repeats._windows) <= KINDS_MAX


def test_words_of_the_replica_have_their_level() -> None:
    assert level_of_text("ALARM: the nodes' states differ") is LogLevel.critical
    assert level_of_text("QUARANTINED: node 1 says") is LogLevel.error
    assert level_of_text("node 1 leads in term 3") is LogLevel.info


def test_the_journal_is_known_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        found = os.fstat(stream.fileno())
        right: dict[str, Any] = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert is_journal(stream, right)
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"}), "inherited, then redirected"
        assert not is_journal(stream, {})
    assert not is_journal(stream, right), "closed"


@pytest.fixture
def own_signal() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("own_signal")
def test_a_file_is_written_at_once(tmp_path: Path) -> None:
    book = LogBook()
    book.open_file(str(tmp_path / "node.log"))
    Logger(namespace="ddbd", observer=book).info("said")
    assert (tmp_path / "node.log").read_text().endswith(" info     said\n")
