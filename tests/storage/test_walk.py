"""A log that is read again is what it was when it was written, whatever its records are and wherever its pieces end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from storage_kit import CrashDisk, payload_of

from ddbd.config import Limits
from ddbd.errors import Corrupt
from ddbd.raft.types import Entry, EntryKind, HardState, Membership
from ddbd.storage import records, recovery
from ddbd.storage.disk import Disk, RealDisk
from ddbd.storage.log import DiskLog
from ddbd.storage.logstate import LogState

PIECE = recovery.PIECE_BYTES


def grown(disk: Disk, folder: str, seed: int) -> DiskLog:
    """With batches of one and many, large and small entries, memberships, new leaders who replace what was not committed, lazy commits."""
    dice = random.Random(seed)
    log = DiskLog(disk, folder, Limits(segment_bytes=dice.choice((4096, 3 * PIECE))))
    term, commit = 1, 0
    for _ in range(dice.randrange(5, 60)):
        last = log.last_index
        if dice.random() < 0.1:
            term += 1
            last = dice.randrange(commit, last + 1)
        entries = []
        for index in range(last + 1, last + 1 + dice.choice((0, 1, 1, 2, 20))):
            if dice.random() < 0.05:
                entries.append(Entry(index, term, index, EntryKind.MEMBERSHIP, Membership.of("123"[: dice.randrange(1, 4)]).to_bytes()))
            else:
                size = dice.choice((0, 1, 200, 5_000, PIECE // 3 if dice.random() < 0.1 else 30))
                entries.append(Entry(index, term, index, dice.choice((EntryKind.COMMAND, EntryKind.EMPTY)), dice.randbytes(size)))
        commit = dice.randrange(commit, last + 1)
        log.save(HardState(term, dice.choice((None, "1", "2")), commit) if dice.random() < 0.7 else None, entries)
    return log


def told(state: LogState) -> tuple[object, ...]:
    return state.base, list(state.positions), list(state.lengths), list(state.terms), state.memberships, state.hard_state, state.generation


@pytest.mark.parametrize("seed", range(60))
def test_what_is_read_again_is_what_was_written(tmp_path: Path, seed: int) -> None:
    log = grown(RealDisk(), str(tmp_path), seed)
    log.save(HardState(99, "3", 0), ())
    replayed = recovery.replay(RealDisk(), str(tmp_path))
    assert replayed.state is not None
    assert told(replayed.state) == told(log._state)
    tail = replayed.tail
    assert (tail.offset, tail.crc, tail.batch, tail.torn_bytes) == (log._offset, log._crc, log._batch, 0)
    log.close()
    for segment in replayed.segments:
        segment.file.close()


def test_a_walk_stops_at_what_it_does_not_know_and_takes_nothing_of_it() -> None:
    def record(kind: int, payload: bytes, prev: int, batch: int) -> tuple[bytes, int]:
        return records.encode(kind, True, payload, prev, batch, 7)

    first, crc = record(records.ENTRY, payload_of(Entry(5, 2, 0, EntryKind.COMMAND, b"x" * 40)), 11, 1)
    start = records.Place(0, 11, 0, True, 4, 2)
    follows = {
        "a gap": record(records.ENTRY, payload_of(Entry(7, 2, 0, EntryKind.COMMAND, b"x" * 40)), crc, 2),
        "an entry again": record(records.ENTRY, payload_of(Entry(5, 3, 0, EntryKind.COMMAND, b"x" * 40)), crc, 2),
        "an older term": record(records.ENTRY, payload_of(Entry(6, 1, 0, EntryKind.COMMAND, b"x" * 40)), crc, 2),
        "a membership": record(records.ENTRY, payload_of(Entry(6, 2, 0, EntryKind.MEMBERSHIP, b"x" * 40)), crc, 2),
        "another record before it": record(records.ENTRY, payload_of(Entry(6, 2, 0, EntryKind.COMMAND, b"x" * 40)), crc + 1, 2),
        "a skipped batch": record(records.ENTRY, payload_of(Entry(6, 2, 0, EntryKind.COMMAND, b"x" * 40)), crc, 3),
        "another kind": record(9, b"x" * 60, crc, 2),
        "a header": record(records.SEGMENT, b"x" * 60, crc, 2),
        "an entry too short to be one": record(records.ENTRY, payload_of(Entry(6, 2, 0, EntryKind.COMMAND, b""))[:24], crc, 2),
        "zeros": (bytes(100), 0),
    }
    for why, (data, _) in follows.items():
        run = records.walk(first + data + bytes(60), start, 7)
        assert run.end == records.Place(len(first), crc, 1, True, 5, 2), why
        assert (run.starts, run.lengths, run.terms, run.hard_state) == ([0], [len(first)], [2], None), why
    good, _ = record(records.ENTRY, payload_of(Entry(6, 2, 0, EntryKind.COMMAND, b"x" * 40)), crc, 2)
    assert records.walk(first + good, start, 7).starts == [0, len(first)]
    for at in range(len(good)):
        flipped = good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :]
        assert records.walk(first + flipped, start, 7).starts == [0], f"byte {at} of the second record was flipped"
    assert records.walk(first + good, start, 8).starts == [], "another salt"


E = EntryKind.COMMAND
GOOD = records.encode_hard_state(HardState(5, "1", 1))


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (((records.ENTRY, payload_of(Entry(2, 3, 0, E, b"x" * 40))), (records.HARD_STATE, GOOD)), "goes back from 5 to 3"),
        (((records.ENTRY, payload_of(Entry(2, 5, 0, E, b""))[:24]), (records.HARD_STATE, GOOD)), "holds 24 bytes"),
        (((records.ENTRY, payload_of(Entry(2, 5, 0, E, b""))), (records.HARD_STATE, b"\xc1" * 40)), "impossible hard state"),
        (
            ((records.HARD_STATE, b"\xc1" * 40), (records.ENTRY, payload_of(Entry(2, 5, 0, E, b""))), (records.HARD_STATE, GOOD)),
            "impossible hard state",
        ),
        (((9, b"x" * 40), (records.HARD_STATE, GOOD)), "unknown kind 9"),
    ],
)
def test_a_good_record_that_cannot_be_is_corrupt_also_at_the_start_of_a_walk(written: tuple[tuple[int, bytes], ...], why: str) -> None:
    disk = CrashDisk()
    log = DiskLog(disk, "log", Limits(segment_bytes=1 << 20))
    log.save(HardState(5, "1", 0), [Entry(1, 5, 0, EntryKind.MEMBERSHIP, Membership.of("123").to_bytes())])
    file, offset, crc = log._segments[log._last_number].file, log._offset, log._crc
    for number, (kind, payload) in enumerate(written, 1):
        data, crc = records.encode(kind, number == len(written), payload, crc, log._batch + 1, log._salt)
        file.write(offset, data)
        offset += len(data)
    with pytest.raises(Corrupt, match=why):
        recovery.replay(disk, "log")


def test_a_flipped_byte_anywhere_before_the_last_batch_is_corrupt() -> None:
    disk = CrashDisk()
    log = grown(disk, "log", 3)
    log.save(HardState(99, "1", 0), [Entry(log.last_index + 1, 99, 0, EntryKind.COMMAND, b"the last one")])
    end = log._offset
    log.close()
    name = f"log/{recovery.segment_name(log._last_number)}"
    for at in range(0, end - 200, 37):
        damaged = disk.crash()
        file = damaged.open(name)
        file.write(at, bytes((file.read(at, 1)[0] ^ 4,)))
        with pytest.raises(Corrupt):
            recovery.replay(damaged, "log")
