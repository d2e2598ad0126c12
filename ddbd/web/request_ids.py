"""The id by which a request is found in the log: the client's own where it gives one, else one that is made when a line is logged.

A client gives it as `X-Request-Id`, or within a `traceparent` (W3C Trace Context), of which the trace id is taken. It comes back in each
answer as `Ddb-Request-Id`. Without one nothing is made and nothing is sent, but for a request about which there is a line in the log:
so the usual request pays for two look-ups in its head's fields (0.05 us).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

NAME = b"Ddb-Request-Id"
CHARS_MAX = 128

_ID = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x21-\x7e]*)?")


def id_of(fields: Any) -> bytes:
    """The client's; empty where it gave none that can be taken: printable ASCII, at most so long, once."""
    given: Sequence[bytes] = fields.getRawHeaders(b"x-request-id") or ()
    if len(given) == 1 and _ID.fullmatch(given[0]):
        return bytes(given[0])
    traces: Sequence[bytes] = fields.getRawHeaders(b"traceparent") or ()
    match = _TRACEPARENT.fullmatch(traces[0]) if len(traces) == 1 else None
    return b"" if match is None else match[1]


def line_of(fields: Any) -> bytes:
    """As it goes into an answer's head."""
    given = id_of(fields)
    return b"%s: %s\r\n" % (NAME, given) if given else b""
