"""A request and an answer as values, and the curl line of a request. Nothing here opens a connection.

A request is built once and sent as often as it takes: its bytes never change between two attempts, because a node compares them before
it gives the answer that belongs to an idempotency key.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from ddbd.client.errors import CannotBeSent

JSON = "application/json"
NDJSON = "application/x-ndjson"
KEY_HEADER = "Idempotency-Key"
KEY_CHARS_MAX = 255


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str  # with the query string
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def idempotency_key(self) -> str | None:
        return next((value for name, value in self.headers if name == KEY_HEADER), None)

    @property
    def is_write(self) -> bool:
        return self.method != "GET"

    @property
    def is_keyed(self) -> bool:
        """Whether it may be sent again, whatever became of the last attempt: a read, or a write that a node knows again by its key."""
        return not self.is_write or self.idempotency_key is not None

    def curl(self, address: str) -> str:
        """The line for a shell that sends the same, byte for byte, to this node."""
        words = ["curl", "-sS"]
        if self.method not in ("GET", "POST") or (self.method == "POST" and self.body is None):
            words += ["-X", self.method]
        for name, value in self.headers:
            if (name, value) != ("Accept", JSON):
                words += ["-H", f"{name}: {value}"]
        if self.body is not None:
            # --data would drop line ends, and read a file where the body begins with @.
            words += ["--data-raw", self.body.decode("utf-8", "replace")]
        return shlex.join([*words, f"http://{address}{self.path}"])


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    address: str  # who gave it


@dataclass(frozen=True, slots=True)
class Problem:
    """What a node says that went wrong (RFC 9457); from something else than a node, what can be made of its status."""

    status: int
    code: str
    detail: str
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, answer: Answer) -> Problem:
        fields: Any = None
        if answer.headers.get("content-type", "").startswith("application/problem+json"):
            try:
                fields = json.loads(answer.body)
            except ValueError:
                fields = None
        if not isinstance(fields, dict):
            return cls(answer.status, "", f"{answer.address} answered {answer.status}, and not as a node of ddbd does")
        more = {name: value for name, value in fields.items() if name not in ("type", "title", "status", "detail", "code")}
        return cls(answer.status, str(fields.get("code", "")), str(fields.get("detail", "")), more)


def to_json(value: object) -> bytes:
    """Strict, so that what is stored is what the caller gave: no NaN, no date turned into text. Raises CannotBeSent, TypeError."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise CannotBeSent("a text is not UTF-8: it has half a surrogate pair") from None
    except RecursionError:
        raise CannotBeSent("the value is nested too deeply to be stored") from None
    except ValueError as error:
        raise CannotBeSent(f"the value is none that JSON has: {error}") from None


def path_of(path: str, query: Mapping[str, str | int | None]) -> str:
    """Parameters that are None are left out. Raises CannotBeSent."""
    given = {name: str(value) for name, value in query.items() if value is not None}
    try:
        return f"{path}?{urlencode(given)}" if given else path
    except UnicodeEncodeError:
        raise CannotBeSent("a text is not UTF-8: it has half a surrogate pair") from None


def check_key(key: str) -> str:
    """Raises ValueError."""
    if not 1 <= len(key) <= KEY_CHARS_MAX or not all(" " <= char <= "~" for char in key):
        raise ValueError(f"{key!r} is no idempotency key; give 1 to {KEY_CHARS_MAX} printable ASCII characters")
    return key
