"""One event, its lines: what is shown of it, in each format, and what is never let through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from ddbd.host.lines import MESSAGE_CHARS_MAX, TRACE_LINES_MAX, render, safe

TIME = 1_790_000_000.1239


def event(form: str, level: LogLevel = LogLevel.info, **fields: Any) -> dict[str, Any]:
    return {"log_format": form, "log_level": level, "log_time": TIME, "log_namespace": "ddbd", **fields}


def failure_of(error: Exception) -> Failure:
    try:
        raise error
    except Exception:  # noqa: BLE001 - whatever was handed in
        return Failure()


def test_a_human_line_begins_with_time_and_level() -> None:
    assert render(event("node {id} leads", id="1"), "human") == "2026-09-21T14:13:20.123Z info     node 1 leads\n"


def test_a_line_for_the_journal_begins_with_its_priority_and_has_no_time() -> None:
    priorities = {level.name: render(event("said", level), "journal") for level in LogLevel.iterconstants()}
    assert priorities == {
        "debug": "<7>said\n",
        "info": "<6>said\n",
        "warn": "<4>said\n",
        "error": "<3>said\n",
        "critical": "<2>said\n",
    }


def test_a_json_line_holds_the_fields_of_the_event() -> None:
    line = render(event("{peer} was silent for {seconds} s", peer="2", seconds=0.5, blob=b"\xff"), "json", "1")
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "time": "2026-09-21T14:13:20.123Z",
        "level": "info",
        "node": "1",
        "message": "2 was silent for 0.5 s",
        "peer": "2",
        "seconds": 0.5,
        "blob": "\ufffd",
    }


def test_an_event_cannot_replace_what_every_line_has() -> None:
    line = json.loads(render(event("said", node="9", level="x", time=1), "json", "1"))
    assert (line["node"], line["level"], line["time"]) == ("1", "info", "2026-09-21T14:13:20.123Z")


@pytest.mark.parametrize("form", ["human", "json", "journal"])
@pytest.mark.parametrize(
    "bad", ["\n<0>forged", "\r", "\x1b[2J", "\x00", "\x9b31m", "\u2028", "\u202eevil", "\x7f", "\ud800", "\u2066", "\x85"]
)
def test_text_of_a_client_begins_no_line_and_moves_no_cursor(form: str, bad: str) -> None:
    line = render(event("no table {name}", name=f"a{bad}b"), form)
    assert line.count("\n") == 1
    shown = json.loads(line)["message"] if form == "json" else line[:-1]
    assert bad[0] not in shown
    assert shown.isprintable() or "\\" in shown
    assert all(char.isprintable() for char in shown)


def test_what_is_hidden_is_shown_as_an_escape() -> None:
    assert safe("a\nb\x1b\u202e") == "a\\nb\\x1b\\u202e"
    assert safe("Ünïcödé 数 😀") == "Ünïcödé 数 😀"


def test_a_long_message_is_cut_and_says_by_how_much() -> None:
    assert safe("x" * MESSAGE_CHARS_MAX) == "x" * MESSAGE_CHARS_MAX
    assert safe("x" * (MESSAGE_CHARS_MAX + 7)) == "x" * MESSAGE_CHARS_MAX + "… (7 characters more)"
    assert len(safe("\x00" * 100_000)) < 5 * MESSAGE_CHARS_MAX


def test_an_exception_is_in_the_line_and_its_traceback_behind_it() -> None:
    told = event("a call failed", LogLevel.critical, log_failure=failure_of(ValueError("evil\n2026 info forged")))
    first, *others = render(told, "human").splitlines()
    assert first.endswith("critical a call failed: ValueError: evil\\n2026 info forged")
    assert len(others) > 2
    assert all(line.startswith("    ") for line in others)
    assert all(line.startswith("<2>") for line in render(told, "journal").splitlines())
    assert "raise error" in "".join(json.loads(render(told, "json"))["traceback"])


def test_a_traceback_is_cut_at_its_beginning() -> None:
    def dive(depth: int) -> None:
        if depth == 0:
            raise ValueError("at the ground")
        dive(depth - 1)

    try:
        dive(200)
    except ValueError:
        lines = render(event("deep", log_failure=Failure()), "human").splitlines()
    assert len(lines) == 1 + 1 + TRACE_LINES_MAX
    assert "lines before)" in lines[1]
    assert "at the ground" in lines[-1]


def test_an_event_that_cannot_be_formatted_is_still_a_line() -> None:
    assert "nothing" in render(event("{nothing}"), "human")
