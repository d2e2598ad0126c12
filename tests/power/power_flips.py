"""One bit is another one, at a named kind of place: where such places are in the image of a node's folder."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from power_disk import Image, Op, PowerDisk

from ddbd.storage import records

PAGE = 4096
WAL_HEAD = 32
FRAME_HEAD = 24
EVERY = 40  # operations between two moments where nothing much happens


class Flip(NamedTuple):
    number: int  # the moment: after so many operations
    path: str
    at: int  # byte
    bit: int

    def __str__(self) -> str:
        return f"after operation {self.number}: {self.path}, byte {self.at}, bit {self.bit}"


def flipped(image: Image, flip: Flip) -> Image:
    content = bytearray(image.files[flip.path])
    content[flip.at] ^= 1 << flip.bit
    return Image(image.folders, {**image.files, flip.path: bytes(content)})


class Span(NamedTuple):
    start: int
    end: int


class LogPlaces(NamedTuple):
    """Of one segment: its records, each as (kind, start, end), and which of them are of its last batch."""

    header: Span
    older: list[records.Record]
    last: list[records.Record]


def log_places(content: bytes) -> LogPlaces:
    first = records.parse(content, 0, 0)
    assert first is not None
    salt = records.decode_header(first.payload).salt
    found: list[records.Record] = []
    at = first.end
    while (record := records.parse(content, at, salt)) is not None:
        found.append(record)
        at = record.end
    newest = found[-1].batch if found else 0
    return LogPlaces(
        Span(0, first.end), [r for r in found if r.batch < newest], [r for r in found if r.batch == newest]
    )  # fmt: skip


def newest_segment(image: Image) -> str:
    return max(path for path in image.files if path.endswith(".seg"))


def oldest_segment(image: Image) -> str:
    return min(path for path in image.files if path.endswith(".seg"))


def tables_path(image: Image, suffix: str = "") -> str:
    return max(path for path in image.files if re.fullmatch(r"tables-\d+/tables\.db" + suffix, path))


Spans = tuple[str, list[Span]]  # (path, where)


def _records(image: Image, pick: Callable[[LogPlaces], Sequence[records.Record]], part: Callable[[records.Record], Span]) -> Spans:
    path = newest_segment(image)
    return path, [part(record) for record in pick(log_places(image.files[path]))]


def _whole(record: records.Record) -> Span:
    return Span(record.start, record.end)


def _head(record: records.Record) -> Span:
    return Span(record.start, record.start + records.HEAD_BYTES)


def _crc(record: records.Record) -> Span:
    return Span(record.start + 4, record.start + 8)


def _payload(record: records.Record) -> Span:
    return Span(record.start + records.HEAD_BYTES, record.end)


def _of_kind(kind: int) -> Callable[[LogPlaces], list[records.Record]]:
    return lambda places: [record for record in [*places.older, *places.last[:-1]] if record.kind == kind]


def _pages(image: Image) -> Iterator[Span]:
    content = image.files[tables_path(image)]
    return (Span(start, start + PAGE) for start in range(PAGE, len(content), PAGE))


def _frames(image: Image) -> tuple[str, list[Span]]:
    path = tables_path(image, "-wal")
    return path, [Span(at, at + FRAME_HEAD + PAGE) for at in range(WAL_HEAD, len(image.files[path]) - PAGE, FRAME_HEAD + PAGE)]


def _frame_heads(image: Image) -> Spans:
    path, frames = _frames(image)
    return path, [Span(frame.start, frame.start + FRAME_HEAD) for frame in frames]


PLACES: dict[str, Callable[[Image], Spans]] = {
    "log, a record's head": lambda image: _records(image, lambda p: p.older, _head),
    "log, a record's crc": lambda image: _records(image, lambda p: p.older, _crc),
    "log, an entry's payload": lambda image: _records(image, _of_kind(records.ENTRY), _payload),
    "log, a hard state": lambda image: _records(image, _of_kind(records.HARD_STATE), _whole),
    "log, the last batch": lambda image: _records(image, lambda p: p.last[:-1], _whole),
    "log, the record that closes the last batch": lambda image: _records(image, lambda p: p.last[-1:], _whole),
    "log, a segment's header": lambda image: (newest_segment(image), [log_places(image.files[newest_segment(image)]).header]),
    "log, the oldest segment": lambda image: (
        oldest_segment(image),
        [Span(0, len(image.files[oldest_segment(image)].rstrip(b"\0")))],
    ),
    "tables, the first page's header": lambda image: (tables_path(image), [Span(0, 100)]),
    "tables, the catalogue's page": lambda image: (tables_path(image), [Span(100, PAGE)]),
    "tables, any other page": lambda image: (tables_path(image), list(_pages(image))),
    "WAL, the header": lambda image: (tables_path(image, "-wal"), [Span(0, WAL_HEAD)]),
    "WAL, a frame's head": _frame_heads,
    "WAL, a frame": _frames,
    "the seal": lambda image: (
        tables_path(image).replace("tables.db", "sealed"),
        [Span(0, len(image.files[tables_path(image).replace("tables.db", "sealed")]))],
    ),
    "the identity": lambda image: ("identity.json", [Span(0, len(image.files["identity.json"]))]),
}


def flips_at(image: Image, number: int, place: str, count: int) -> list[Flip]:
    """So many, spread over all spans of this kind; none where the image has no such place."""
    try:
        path, spans = PLACES[place](image)
    except (ValueError, KeyError):
        return []
    spans = [span for span in spans if span.start < span.end <= len(image.files.get(path, b""))]
    if not spans:
        return []
    dice = random.Random(f"{number} {place}")
    flips = []
    for turn in range(count):
        span = spans[turn * len(spans) // count] if len(spans) < count else dice.choice(spans)
        flips.append(Flip(number, path, dice.randrange(span.start, span.end), dice.randrange(8)))
    return flips


def moments(ops: Sequence[Op]) -> list[tuple[int, Image]]:
    """Where a process may have been killed: before, in the middle of, and after checkpoints and installs; and the clean end."""
    disk, found, due = PowerDisk(), [], EVERY
    for number, op in enumerate(ops, 1):
        disk.feed(op)
        said = op.mark[0] if op.kind == "mark" else ""
        copies = op.kind == "write" and op.path.endswith("/tables.db") and op.at == 2 * PAGE  # in the middle of a pass
        if said in ("durable", "installed") or (said == "saved" and number >= due) or copies:
            found.append((number, disk.cached()))
            due = number + EVERY
    return [*found, (len(ops), disk.cached())]
