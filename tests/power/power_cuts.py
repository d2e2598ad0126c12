"""Which cuts there are at one place, and the disk that each of them leaves.

At every place between two operations the power can go. What was not synced is then

    kept         all of it
    dropped      none of it
    torn-N       all of it, but of the newest write only the first N sectors (`torn-last`: only its last one)
    torn-alone-N nothing else than the first N sectors of the newest write
    newest       nothing but the newest change of data, and all names
    but-first    all but the oldest change of data
    names        all names, no data; `data`: all data, no names
    log, tables  all of the one, nothing of the other
    dice-N       any sectors in any version, and of each folder the first few changes of names
"""

from __future__ import annotations

import posixpath
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from power_disk import Image, KeepName, KeepSector, Op, PowerDisk, Unsynced, folders_of

DICE = 2  # throws at each place
GIVEN = ("opened", "saved", "durable", "installed", "suspect")  # marks that a promise was given


class Cut(NamedTuple):
    number: int  # after so many operations
    variant: str


def variants_at(disk: PowerDisk, op: Op, dice: int = DICE, all_sectors: bool = False) -> Iterator[str]:
    """Of the place right after `op`, which `disk` was fed last."""
    changes, names = disk.unsynced(), disk.unsynced_names
    yield "kept"
    if not changes and not names:
        return
    yield "dropped"
    newest = changes[-1] if changes else None
    if newest is not None and newest.number == disk.count and op.kind == "write" and len(newest.sectors) > 1:
        count = len(newest.sectors)
        for kept in range(1, count) if all_sectors else sorted({1, count // 2, count - 1}):
            yield f"torn-{kept}"
        yield "torn-last"
        if len(changes) > 1:
            yield f"torn-alone-{count // 2}"
    if len(changes) > 1:
        yield "newest"
        yield "but-first"
    if changes and names:
        yield "names"
        yield "data"
    sides = {_is_log(disk, change.file) for change in changes} | {_in_log(op.path) for _, op in names}
    if len(sides) == 2:
        yield "log"
        yield "tables"
    if len(changes) + len(names) > 1 or (newest is not None and len(newest.sectors) > 2):
        for throw in range(dice):
            yield f"dice-{throw}"


def _in_log(path: str) -> bool:
    return path == "log" or path.startswith("log/")


def _is_log(disk: PowerDisk, file: int) -> bool:
    return any(_in_log(path) for path, number in disk.names.items() if number == file)


def cut_image(disk: PowerDisk, cut: Cut) -> Image:
    """What is left of the disk, as it was fed up to the cut."""
    keep_name, keep_sector = _choice(disk, cut)
    return disk.image(keep_name, keep_sector)


def _choice(disk: PowerDisk, cut: Cut) -> tuple[KeepName, KeepSector]:
    kind, *rest = cut.variant.split("-")
    changes = disk.unsynced()
    newest = changes[-1] if changes else None
    oldest = changes[0] if changes else None
    if kind == "dice":
        return _dice(disk, random.Random(f"{cut.number} {cut.variant}"))
    if kind == "torn":
        assert newest is not None
        sectors = sorted(newest.sectors)
        kept = set(sectors[-1:] if rest == ["last"] else sectors[: int(rest[-1])])
        alone = rest[0] == "alone"
        return lambda _: not alone, lambda change, sector: sector in kept if change is newest else not alone
    data: KeepSector = {
        "kept": lambda *_: True,
        "dropped": lambda *_: False,
        "newest": lambda change, _: change is newest,
        "but": lambda change, _: change is not oldest,
        "names": lambda *_: False,
        "data": lambda *_: True,
        "log": lambda change, _: _is_log(disk, change.file),
        "tables": lambda change, _: not _is_log(disk, change.file),
    }[kind]
    if kind in ("log", "tables"):
        return lambda place: _in_log(disk.unsynced_names[place][1].path) == (kind == "log"), data
    return lambda _: kind in ("kept", "newest", "but", "names"), data


def _dice(disk: PowerDisk, dice: random.Random) -> tuple[KeepName, KeepSector]:
    """A folder's changes come through in their order: the first few of them."""
    folders = sorted({folder for _, op in disk.unsynced_names for folder in folders_of(op)})
    left = {folder: dice.randrange(4) if dice.random() < 0.7 else 1_000 for folder in folders}
    kept_names = []
    for _, op in disk.unsynced_names:
        passes = all(left[folder] > 0 for folder in folders_of(op))
        for folder in folders_of(op):
            left[folder] = left[folder] - 1 if passes else 0
        kept_names.append(passes)
    share = dice.choice([0.2, 0.5, 0.8])
    kept: dict[tuple[int, int], bool] = {}

    def keep(change: Unsynced, sector: int) -> bool:
        if (change.number, sector) not in kept:
            kept[change.number, sector] = dice.random() < share
        return kept[change.number, sector]

    return kept_names.__getitem__, keep


def cuts_of(
    ops: Sequence[Op], start: PowerDisk | None = None, dice: int = DICE, all_sectors: bool = False
) -> Iterator[tuple[Cut, PowerDisk]]:
    """Every cut, with the disk as it is there; each is to be used before the next one is asked for."""
    disk = start or PowerDisk()
    for number, op in enumerate(ops, 1):
        disk.feed(op)
        if op.kind == "mark" and op.mark[0] not in GIVEN:
            continue  # it was only asked for: nothing new is promised, and the disk is the same
        for variant in variants_at(disk, op, dice, all_sectors):
            yield Cut(number, variant), disk


def place_of(ops: Sequence[Op], cut: Cut) -> str:
    """For the message of a failure."""
    said = next((op.mark[:2] for op in reversed(ops[: cut.number]) if op.kind == "mark"), ("nothing",))
    op = ops[cut.number - 1]
    return f"operation {cut.number} ({op}; in {posixpath.dirname(op.path) or 'the root'}), {cut.variant}, after mark {said}"


FAMILIES = ("kept", "dropped", "torn", "reordered")


def family(variant: str) -> str:
    kind = variant.partition("-")[0]
    return kind if kind in FAMILIES else "reordered"


def one_of_each(cuts: Sequence[Cut]) -> list[Cut]:
    """At every place one cut of each family; which one, changes from place to place."""
    by_place: dict[tuple[int, str], list[Cut]] = {}
    for cut in cuts:
        by_place.setdefault((cut.number, family(cut.variant)), []).append(cut)
    return [found[cut_number % len(found)] for (cut_number, _), found in by_place.items()]


def chosen_for_a_second_cut(ops: Sequence[Op], count: int) -> list[Cut]:
    """First cuts, spread over the whole script; at every third one the process is killed and the disk goes on."""
    cuts = [cut for cut, _ in cuts_of(ops)]
    chosen = []
    for turn in range(count):
        cut = cuts[(2 * turn + 1) * len(cuts) // (2 * count)]
        chosen.append(Cut(cut.number, "killed") if turn % 3 == 0 else cut)
    return chosen
