"""What tells whether two requests with one Idempotency-Key are the same request."""

from __future__ import annotations

from hashlib import blake2b

FINGERPRINT_BYTES = 32


def fingerprint_of(*parts: bytes) -> bytes:
    """Each part with its length before it, so that no two requests share one."""
    digest = blake2b(digest_size=FINGERPRINT_BYTES)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()
