"""The Idempotency-Key of a request, and what tells whether two requests with one key are the same request."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from ddbd.config import Limits
from ddbd.errors import Refused

FINGERPRINT_BYTES = 32


def key_of(request: Any, limits: Limits) -> str:
    """Empty without one. Raises Refused."""
    values = request.requestHeaders.getRawHeaders(b"Idempotency-Key")
    if not values:
        return ""
    key, chars_max = values[0], limits.idempotency_key_chars_max
    if len(values) > 1 or not 1 <= len(key) <= chars_max or any(not 0x20 <= byte < 0x7F for byte in key):
        raise Refused("invalid_value", f"Idempotency-Key is no key; give one of 1 to {chars_max} printable ASCII characters")
    return str(key, "ascii")


def fingerprint_of(*parts: bytes) -> bytes:
    """Each part with its length before it, so that no two requests share one."""
    digest = blake2b(digest_size=FINGERPRINT_BYTES)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()
