"""Every road out by a signal is an exception, so that the nodes are ended and the temporary folder is removed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class EndedBySignal(SystemExit):
    """A signal asked us to end."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal end a program as Ctrl-C does: by an exception, so that everything is put away.

    The first one counts; what follows it must not disturb the clean-up. A signal that is ignored already (nohup) stays so.
    """
    signals = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]
    before = {number: handler for number in signals if (handler := signal.getsignal(number)) is not signal.SIG_IGN}

    def end(signum: int, _frame: FrameType | None) -> NoReturn:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise EndedBySignal(128 + signum)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
