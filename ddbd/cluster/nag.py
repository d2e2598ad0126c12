"""Saying a lasting trouble in the log once, and again every ten seconds, instead of at every retry."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

NAG_SECONDS = 10.0
_SUBJECTS_MAX = 64  # beyond: the oldest subject is forgotten and may be said again too early

logger = Logger()


class Nag:
    """Logs the sentence about a subject when it is new, or when it was last said NAG_SECONDS ago."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._said: dict[str, tuple[str, float]] = {}

    def say(self, subject: str, sentence: str) -> None:
        now = self._clock.seconds()
        last = self._said.get(subject)
        if last is not None and last[0] == sentence and now - last[1] < NAG_SECONDS:
            return
        if subject not in self._said and len(self._said) >= _SUBJECTS_MAX:
            del self._said[next(iter(self._said))]
        self._said[subject] = (sentence, now)
        logger.warn("{sentence}", sentence=sentence)

    def settled(self, subject: str) -> None:
        """The trouble is over: the next one is said at once."""
        self._said.pop(subject, None)
