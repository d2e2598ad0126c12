"""A process that plays the script, or recoveries after it, under the tap, and leaves what it heard in a file.

python power_record.py FOLDER RESULT [number-of-recoveries]
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from power_disk import Image, Op, PowerDisk
from power_tap import NOT_DATA, Tap


class Again(NamedTuple):
    """A recovery that was listened to. `image` is None where the process was killed: then the disk goes on as it was."""

    number: int  # of the operation after which the first cut came
    variant: str
    image: Image | None
    ops: list[Op]


class Recording(NamedTuple):
    ops: list[Op]
    again: list[Again]


def played(ops: list[Op], start: PowerDisk | None = None) -> PowerDisk:
    disk = start or PowerDisk()
    for op in ops:
        disk.feed(op)
    return disk


def folder_image(root: Path) -> Image:
    """What is there, as the operations should give it."""
    found = [(str(item.relative_to(root)), item) for item in root.rglob("*") if not item.name.endswith(NOT_DATA)]
    return Image(
        frozenset(name for name, item in found if item.is_dir()), {name: item.read_bytes() for name, item in found if item.is_file()}
    )


def write_image(root: Path, image: Image) -> None:
    """The folder holds exactly the image."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for folder in sorted(image.folders):
        (root / folder).mkdir()
    for path, content in image.files.items():
        with open(root / path, "wb", buffering=0) as file:
            file.write(content)


def assert_nothing_was_missed(root: Path, disk: PowerDisk) -> None:
    there, heard = folder_image(root), disk.cached()
    assert there.folders == heard.folders, there.folders ^ heard.folders
    assert there.files.keys() == heard.files.keys(), there.files.keys() ^ heard.files.keys()
    wrong = [path for path in there.files if there.files[path] != heard.files[path]]
    assert not wrong, f"the tap missed a change of {wrong}"


def record(tap: Tap, folder: Path) -> list[Op]:
    from power_script import live

    root = folder / "node"
    root.mkdir(parents=True)
    tap.start(root, {}, 1)
    live(root, folder / "elsewhere", tap.mark)
    ops = tap.stop()
    assert_nothing_was_missed(root, played(ops))
    return ops


def record_again(tap: Tap, root: Path, ops: list[Op], number: int, variant: str) -> Again:
    from power_cuts import Cut, cut_image
    from power_recovery import recover_and_go_on

    disk = played(ops[:number])
    image = None if variant == "killed" else cut_image(disk, Cut(number, variant))
    write_image(root, disk.cached() if image is None else image)
    before = disk if image is None else PowerDisk(image)
    tap.start(root, before.names, max([0, *before.files]) + 1)
    recover_and_go_on(root, tap.mark)
    heard = tap.stop()
    assert_nothing_was_missed(root, played(heard, before))
    return Again(number, variant, image, heard)


def main(folder: str, result: str, recoveries: str = "0") -> None:
    dice = random.Random(0)

    def dull_randomness(size: int) -> bytes:
        return dice.randbytes(size)

    os.urandom = dull_randomness  # before the product takes it
    tap = Tap()
    tap.install()
    ops = record(tap, Path(folder))
    again: list[Any] = []
    if int(recoveries):
        from power_cuts import chosen_for_a_second_cut

        for number, variant in chosen_for_a_second_cut(ops, int(recoveries)):
            again.append(record_again(tap, Path(folder) / "again", ops, number, variant))
    Path(result).write_bytes(pickle.dumps(Recording(ops, again)))


if __name__ == "__main__":
    import power_record  # so that what is pickled has a module to be found in

    power_record.main(*sys.argv[1:])
