"""The query string of a call: each parameter known, given once, and of its kind; whatever else is refused with a sentence."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from ddbd.errors import Refused
from ddbd.web.canonical import INTEGER_MAX, quoted

PARAMETERS_MAX = 100
TIMEOUT_SECONDS_DEFAULT = 10.0

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_INTEGER = re.compile(r"[0-9]{1,19}")


class Parameters:
    """Each method takes one parameter; None or the default when it was not given. All raise Refused.

    `hint` ends the sentence about a parameter that is unknown here.
    """

    def __init__(self, query: bytes, allowed: frozenset[str], hint: str = "") -> None:
        self._given: dict[str, str] = {}
        for name, value in _pairs(query):
            if name not in allowed:
                raise Refused("unknown_parameter", f"there is no parameter {quoted(name)} here; use {', '.join(sorted(allowed))}{hint}")
            if name in self._given:
                raise Refused("invalid_value", f"the parameter {name} is given twice; give it once")
            self._given[name] = value

    @property
    def given(self) -> dict[str, str]:
        """What the client sent, in its order."""
        return dict(self._given)

    def text(self, name: str) -> str | None:
        return self._given.get(name)

    def required(self, name: str) -> str:
        value = self._given.get(name)
        if value is None:
            raise Refused("missing_field", f"the parameter {name} is missing; add ?{name}=…")
        return value

    def integer(self, name: str, low: int) -> int | None:
        text = self._given.get(name)
        if text is None:
            return None
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= INTEGER_MAX:
            raise Refused("invalid_value", f"{name} is {quoted(text)}; give a whole number from {low} to {INTEGER_MAX}")
        return int(text)

    def flag(self, name: str) -> bool:
        return self.choice(name, ("false", "true")) == "true"

    def choice(self, name: str, words: tuple[str, ...]) -> str:
        """The first word is the default."""
        text = self._given.get(name, words[0])
        if text not in words:
            raise Refused("invalid_value", f"{name} is {quoted(text)}; give one of {', '.join(words)}")
        return text

    def timeout_seconds(self, seconds_max: float) -> float:
        text = self._given.get("timeout")
        if text is None:
            return min(TIMEOUT_SECONDS_DEFAULT, seconds_max)
        if not _SECONDS.fullmatch(text) or not 0 < float(text) <= seconds_max:
            raise Refused("invalid_value", f"timeout is {quoted(text)}; give seconds above 0, at most {seconds_max:g}")
        return float(text)


def _pairs(query: bytes) -> list[tuple[str, str]]:
    if not query:
        return []
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except UnicodeDecodeError:
        raise Refused("invalid_value", "the query string is not UTF-8; encode it as UTF-8 and escape it with %XX") from None
    except ValueError:
        raise Refused("invalid_value", f"the query string has more than {PARAMETERS_MAX} parameters") from None
