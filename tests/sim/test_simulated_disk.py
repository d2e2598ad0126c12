"""The simulated disk does what real ones do to those who trust them."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from sim_disk import SimDisk, SimFile


def after_a_failed_sync(forgets: bool) -> tuple[SimDisk, SimFile]:
    disk = SimDisk(random.Random(1), Counter(), forgets)
    file = disk.create("f")
    disk.sync_dir("")
    file.write(0, b"a" * 1_000)
    file.sync()
    file.write(1_000, b"b" * 1_000)
    disk.fails_next_sync = True
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    return disk, file


def left_of(file: SimFile) -> bytes:
    """After a power cut that keeps nothing of what is not synced."""
    file.lose_power(lambda: False)
    return bytes(file.data)


def test_a_later_sync_says_nothing_of_the_pages_that_a_failed_one_left() -> None:
    _, file = after_a_failed_sync(forgets=True)
    assert file.read(1_000, 1_000) == b"b" * 1_000
    file.write(3_000, b"c" * 1_000)
    file.sync()
    left = left_of(file)
    assert left[1_024:2_000] == bytes(976)
    assert left[3_072:4_000] == b"c" * 928


def test_pages_that_are_written_again_come_to_the_platter_though_their_bytes_are_the_same() -> None:
    _, file = after_a_failed_sync(forgets=True)
    file.write(0, file.read(0, 2_000))
    file.sync()
    assert left_of(file)[:2_000] == b"a" * 1_000 + b"b" * 1_000


def test_a_disk_that_does_not_forget_writes_them_with_the_next_sync() -> None:
    _, file = after_a_failed_sync(forgets=False)
    file.sync()
    assert left_of(file) == b"a" * 1_000 + b"b" * 1_000
