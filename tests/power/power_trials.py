"""Runs the cuts: writes an image, recovers it with the product as it is, and holds the result against the promises of that place.

What comes of an image depends on the image alone, so each different one is recovered once; the promises differ from place to place and
are checked for every cut.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

from power_cuts import DICE, Cut, cut_image, cuts_of, place_of
from power_disk import Image, Op, PowerDisk
from power_promises import Promises
from power_record import Recording, write_image
from power_recovery import Recovered, check_second_start, recover, unbroken

RECORDING_SECONDS_MAX = 120
PROBLEMS_SHOWN = 5


def scratch_folder() -> str:
    """In memory where there is such a place: the fsyncs of the recoveries are not what is tested."""
    return tempfile.mkdtemp(prefix="ddbd-power-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


def recorded(folder: str, recoveries: int) -> Recording:
    """The script, played in a process of its own under the tap."""
    result = f"{folder}/recording"
    script = str(Path(__file__).with_name("power_record.py"))
    done = subprocess.run(
        [sys.executable, script, f"{folder}/recorded", result, str(recoveries)],
        capture_output=True,
        text=True,
        timeout=RECORDING_SECONDS_MAX,
        env={**os.environ, "PYTHONHASHSEED": "0"},  # the order of a set decides where in the WAL a window's row stands
        check=False,
    )
    assert done.returncode == 0, done.stderr
    recording: Recording = pickle.loads(Path(result).read_bytes())
    return recording


def digest(image: Image) -> bytes:
    whole = blake2b(digest_size=16)
    for folder in sorted(image.folders):
        whole.update(b"/" + folder.encode())
    for path in sorted(image.files):
        whole.update(b"\0%s\0%d\0" % (path.encode(), len(image.files[path])))
        whole.update(image.files[path])
    return whole.digest()


class Trials:
    """`points` cuts were tried, in which `images` different disks were recovered."""

    def __init__(self, folder: str) -> None:
        self.agreed = unbroken(f"{folder}/agreed")
        self._root = Path(folder) / "node"
        self._known: dict[bytes, Recovered | str] = {}
        self.points = 0
        self.flips: Counter[str] = Counter()  # by verdict

    @property
    def images(self) -> int:
        return len(self._known)

    def outcome(self, image: Image) -> Recovered | str:
        """Recovered, or what went wrong."""
        key = digest(image)
        if key not in self._known:
            self._known[key] = self._recover(image)
        return self._known[key]

    def _recover(self, image: Image) -> Recovered | str:
        write_image(self._root, image)
        try:
            first = recover(self._root, self.agreed)
            check_second_start(self._root, first)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            return f"{type(error).__name__}: {error}"
        return first

    def problem(self, disk: PowerDisk, cut: Cut, promises: Promises) -> str | None:
        self.points += 1
        image = cut_image(disk, cut)
        outcome = self.outcome(image)
        if isinstance(outcome, str):
            return outcome
        try:
            promises.check(outcome.found)
        except AssertionError as error:
            return str(error)
        return None


def problems(
    trials: Trials, ops: Sequence[Op], wanted: Sequence[Cut] | None = None, start: PowerDisk | None = None, before: Promises | None = None,
    dice: int = DICE, all_sectors: bool = False,
) -> Iterator[str]:  # fmt: skip
    """Each cut that failed, as a sentence."""
    promises, heard = before or Promises(), 0
    chosen = None if wanted is None else set(wanted)
    for cut, disk in cuts_of(ops, start, dice, all_sectors):
        while heard < cut.number:
            promises.hear(ops[heard])
            heard += 1
        if chosen is not None and cut not in chosen:
            continue
        found = trials.problem(disk, cut, promises)
        if found is not None:
            yield f"{place_of(ops, cut)}: {found}"
