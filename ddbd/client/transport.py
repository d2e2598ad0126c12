"""What the client asks of its sockets, and of an answer that comes piece by piece. `sockets` has them; `exchange` is the twin for Twisted.

Two limits hold: each wait for a node has its own, and what is read whole is there when the call's time is up, or is given up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from ddbd.client.attempts import SendFailed
from ddbd.client.http import Answer, Request

CHUNK_BYTES = 64 * 1024
ANSWER_BYTES_MAX = 256 * 1024 * 1024  # of an answer that is held whole; longer ones are for the calls that give rows one by one


class Opened(Protocol):
    """The head of an answer, with its body still to come. Closed when the body is at its end, and by `close`."""

    head: Answer  # without a body

    def chunks(self, left_seconds: float | None = None) -> Iterator[bytes]:
        """`left_seconds` is for all of them together. Raises SendFailed when the body breaks off."""

    def close(self) -> None: ...


class Transport(Protocol):
    def open(self, address: str, request: Request, timeout_seconds: float) -> Opened:
        """Raises SendFailed. The timeout is for all until the head is there, and then for each wait."""

    def close(self) -> None: ...


def read_whole(opened: Opened, left_seconds: float) -> Answer:
    """Raises SendFailed."""
    pieces: list[bytes] = []
    length = 0
    with contextlib.closing(opened):
        for chunk in opened.chunks(left_seconds):
            pieces.append(chunk)
            length += len(chunk)
            if length > ANSWER_BYTES_MAX:
                raise SendFailed(f"gave an answer of more than {ANSWER_BYTES_MAX} bytes; read it row by row", True)
    head = opened.head
    return Answer(head.status, head.headers, b"".join(pieces), head.address)
