"""Damaged files by the hundred: a node opens with what it had, or says in one sentence why it does not."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fuzz_files import Files
from fuzz_tally import Tally, resident_bytes

GROWTH_BYTES_MAX = 64 * 1024 * 1024
MEMORY_FOLDER = "/dev/shm"  # a store syncs often, and nothing here has to last


def test_damaged_files_are_refused_in_one_sentence(messages_count: int, seed: int) -> None:
    count = messages_count // 6
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER if Path(MEMORY_FOLDER).is_dir() else None) as folder:
        files = Files(Path(folder), Tally("files"))
        warm_bytes = 0
        for number in range(count):
            try:
                files.play(seed, number)
            except Exception as error:
                raise AssertionError(f"--fuzz-seed {seed}, file {number}: {type(error).__name__}: {error}") from error
            if number == count // 5:
                warm_bytes = resident_bytes()
    assert resident_bytes() - warm_bytes < GROWTH_BYTES_MAX
