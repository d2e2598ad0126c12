"""One event of Twisted's logger -> its lines. A function of the event: no clock, no stream.

Three formats. `human` begins with time and level; `json` is an object a line, with the event's own fields beside the message; `journal`
begins with the priority that journald takes off, `<6>`, and has no time, for the journal has its own.

What a client sent may stand in a message. So nothing that moves a terminal's cursor, begins a line or turns the direction of writing
passes: it is shown as an escape. A message has a limited length. An event with a traceback has its lines behind it: indented in `human`,
each with its priority in `journal`, so that none of them is ever taken for an event; in `json` they are a field of the object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from twisted.logger import LogLevel, formatEvent

LEVELS = ("debug", "info", "warn", "error", "critical")
MESSAGE_CHARS_MAX = 2_000
TRACE_LINES_MAX = 60  # the last ones: they say where it happened
FIELDS_MAX = 16

PRIORITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}  # syslog's, which journald reads

# Controls (C0, DEL, C1), line and paragraph separators, marks and overrides of direction, what is no character at all.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb]")


def safe(text: str, chars_max: int = MESSAGE_CHARS_MAX) -> str:
    """On one line, bounded, and nothing in it that a terminal would act on."""
    left_out = len(text) - chars_max
    if left_out > 0:
        text = text[:chars_max]
    shown = _UNSAFE.sub(_escape, text)
    return f"{shown}… ({left_out} characters more)" if left_out > 0 else shown


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code, f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def level_of(event: dict[str, Any]) -> str:
    level = event.get("log_level")
    return level.name if level in (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error, LogLevel.critical) else "info"


def is_legacy(event: dict[str, Any]) -> bool:
    """Of twisted.python.log, which parts of Twisted still use."""
    return event.get("log_namespace") == "log_legacy"


def message_of(event: dict[str, Any]) -> str:
    """One safe line. An exception is said with it; a legacy event's text would hold the whole traceback."""
    failure = event.get("log_failure")
    if failure is None:
        return safe(str(formatEvent(event)).strip())
    text = str(event.get("why") or "an error that nobody handled") if is_legacy(event) else str(formatEvent(event)).strip()
    return safe(f"{text.rstrip(':')}: {failure.type.__name__}: {failure.getErrorMessage()}")


def trace_of(event: dict[str, Any]) -> list[str]:
    failure = event.get("log_failure")
    if failure is None:
        return []
    lines = failure.getTraceback().strip("\n").split("\n")
    left_out = len(lines) - TRACE_LINES_MAX
    return [*([f"({left_out} lines before)"] if left_out > 0 else []), *(safe(line) for line in lines[-TRACE_LINES_MAX:])]


def render(event: dict[str, Any], form: str, node_id: str = "") -> str:
    """The event's lines, each with its end."""
    level, message = level_of(event), message_of(event)
    if form == "json":
        return _json(event, level, message, node_id)
    if form == "journal":
        prefix = f"<{PRIORITIES[level]}>"
        return "".join(f"{prefix}{line}\n" for line in (message, *(f"    {line}" for line in trace_of(event))))
    return f"{_time(event)} {level:8} {message}\n" + "".join(f"    {line}\n" for line in trace_of(event))


def _time(event: dict[str, Any]) -> str:
    """By the wall clock, in UTC: lines of several machines are laid side by side."""
    at = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def _json(event: dict[str, Any], level: str, message: str, node_id: str) -> str:
    told: dict[str, Any] = {"time": _time(event), "level": level, "node": node_id, "message": message, **dict(_fields(event))}
    trace = trace_of(event)
    if trace:
        told["traceback"] = trace
    return msgspec.json.encode(told).decode() + "\n"


def _fields(event: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the event was logged with, where the message was made of more than one text."""
    if is_legacy(event):
        return
    names = [name for name in event if not name.startswith("log_") and name not in ("time", "level", "node", "message", "traceback")]
    for name in names[:FIELDS_MAX]:
        value = event[name]
        if name in ("text", "sentence"):
            continue  # the message itself
        if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**53):
            yield name, value
        else:
            yield name, safe(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value), 500)
