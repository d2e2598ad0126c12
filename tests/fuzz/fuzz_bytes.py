"""Damage to bytes that knows nothing of their meaning, and the pieces in which a network delivers them."""

from __future__ import annotations

import random

NASTY = (b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\xff", b"\x80", b" ", b"\t", b":", b"%", b'"', b"\\", b"{", b"[", b"\x7f", b"9" * 30)
READ_BYTES = 64 * 1024
LENGTHS = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)


def mutate(rng: random.Random, data: bytes) -> bytes:
    """One to three kinds of damage."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_DAMAGE)(rng, data)
    return data


def flip(rng: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        result[rng.randrange(len(result))] ^= 1 << rng.randrange(8)
    return bytes(result)


def overwrite(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    new = rng.choice(NASTY) if rng.random() < 0.5 else rng.randbytes(rng.randrange(1, 16))
    return data[:at] + new + data[at + len(new) :]


def number(rng: random.Random, data: bytes) -> bytes:
    """A length somewhere becomes absurd."""
    at, length = rng.randrange(len(data) + 1), rng.choice(LENGTHS).to_bytes(4, "big")
    return data[:at] + rng.choice((length, length[::-1])) + data[at + 4 :]


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(NASTY) * rng.choice((1, 1, 3)) + data[at:]


def remove(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.randrange(1, 20) :]


def double(rng: random.Random, data: bytes) -> bytes:
    low, high = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:high] + data[low:]


def swap(rng: random.Random, data: bytes) -> bytes:
    """Two blocks of one size change places."""
    size = rng.choice((1, 16, 512, 4096))
    if len(data) < 2 * size:
        return data[len(data) // 2 :] + data[: len(data) // 2]
    one, two = sorted((rng.randrange(len(data) - 2 * size + 1), rng.randrange(len(data) - 2 * size + 1)))
    two += size
    return data[:one] + data[two : two + size] + data[one + size : two] + data[one : one + size] + data[two + size :]


def wipe(rng: random.Random, data: bytes) -> bytes:
    at, size = rng.randrange(len(data) + 1), rng.choice((1, 16, 512, 4096))
    return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]


_DAMAGE = (flip, flip, overwrite, number, truncate, insert, remove, double, swap, wipe)


def pieces(rng: random.Random, data: bytes) -> list[bytes]:
    """The same bytes, cut anywhere: whole, in a few pieces, or one by one around one place."""
    how = rng.random()
    if how < 0.4 or len(data) < 2:
        return [data]
    if how < 0.8:
        cuts = sorted(rng.randrange(1, len(data)) for _ in range(rng.randrange(1, 6)))
    else:
        at = rng.randrange(len(data))
        cuts = list(range(max(1, at - 20), min(len(data), at + 20)))
    return [data[low:high] for low, high in zip([0, *cuts], [*cuts, len(data)], strict=True) if low < high]


def reads(rng: random.Random, data: bytes) -> list[bytes]:
    """Pieces as a socket gives them: a read of Twisted's takes so much at most."""
    return [piece[at : at + READ_BYTES] for piece in pieces(rng, data) for at in range(0, len(piece), READ_BYTES)]
