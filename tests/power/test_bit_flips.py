"""One flipped bit, at every kind of place, at rest: it is detected, or it hit what nothing reads any more. None is served.

Harmless is only what gives the very same: every promise kept, and tables that hold, row for row, what an unbroken run holds.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from power_flips import PLACES, flipped, flips_at, moments
from power_promises import promises_at
from power_record import Recording
from power_recovery import Recovered, Truth, content_of
from power_script import FORMED, LIMITS, opened, snapshot_of
from power_trials import PROBLEMS_SHOWN, Trials

from ddbd.errors import Corrupt
from ddbd.storage.directory import DiskStore
from ddbd.storage.maintenance import file_digest

FLIPS = 8  # at each moment, of each kind
# What a store that met a bad bit says; anything else that a trial comes to is a finding.
STOPS = ("Corrupt", "ConfigError", "StorageFailed", "Detected", "IOError", "CorruptError", "NotADBError")

# Kinds of places where a flip may not even be harmless.
ALWAYS_DETECTED = {
    *("log, a record's head", "log, a record's crc", "log, an entry's payload"),
    *("log, a hard state", "log, the last batch", "log, a segment's header"),
}


def verdict(recording: Recording, number: int, outcome: Recovered | str) -> str:
    """`detected`, `harmless`, or what is wrong."""
    if isinstance(outcome, str):
        return "detected" if outcome.partition(":")[0] in STOPS else outcome
    try:
        promises_at(recording.ops, number).check(outcome.found)
    except AssertionError as error:
        return str(error)
    return "harmless"


@pytest.mark.parametrize("place", PLACES)
def test_flipped_bit_is_detected_or_harmless(recording: Recording, trials: Trials, place: str) -> None:
    verdicts: Counter[str] = Counter()
    wrong = []
    for number, image in moments(recording.ops):
        for flip in flips_at(image, number, place, FLIPS):
            found = verdict(recording, number, trials.outcome(flipped(image, flip)))
            verdicts[found] += 1
            if found not in ("detected", "harmless"):
                wrong.append(f"{flip}: {found}")
    assert not wrong, f"{len(wrong)} of {verdicts.total()}:\n" + "\n".join(wrong[:PROBLEMS_SHOWN])
    trials.flips.update(verdicts)
    assert verdicts.total() >= 10 * FLIPS, f"the script shows too few places of this kind: {verdicts}"
    if place == "log, the record that closes the last batch":
        assert verdicts["detected"] == 0, "a torn end of a batch is no damage"
        return
    assert verdicts["detected"] >= FLIPS, verdicts
    if place in ALWAYS_DETECTED:
        assert verdicts["harmless"] == 0, verdicts


def store_with_half_the_log(path: Path, agreed: Truth) -> DiskStore:
    store = opened(path)
    store.log.save(None, agreed.entries[:20])
    store.tables.apply(agreed.entries[:20])
    store.tables.settle()
    return store


def test_flipped_bit_in_a_snapshot_on_its_way_is_refused_and_changes_nothing(tmp_path: Path, trials: Trials) -> None:
    meta, content = snapshot_of(tmp_path / "source", trials.agreed.entries[:50])
    whole = tmp_path / "whole"
    whole.write_bytes(content)
    digest = file_digest(str(whole))
    store = store_with_half_the_log(tmp_path / "node", trials.agreed)
    refused = 0
    for at in range(5, len(content), 401):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        incoming = Path(store.incoming())
        incoming.write_bytes(damaged)
        assert file_digest(str(incoming)) != digest, "the carrier's digest covers every byte"
        try:
            store.install(meta, str(incoming))
        except Corrupt:
            refused += 1
            assert store.tables.applied_index == 20
            continue
        # Only what no page holds can pass here: the free rest of the file, which the digest alone covers.
        assert content_of(store.tables.path) == trials.agreed.contents[50]
        store.close()
        store = store_with_half_the_log(tmp_path / f"node-{at}", trials.agreed)
    assert refused > 60
    assert content_of(store.tables.path) == trials.agreed.contents[20]
    store.close()


def test_one_node_of_three_loses_its_disk_to_a_bit_and_nothing_is_lost(tmp_path: Path, recording: Recording, trials: Trials) -> None:
    """The node stops, is emptied, seeded by a peer's snapshot, follows the log, and is as the others are."""
    entries = trials.agreed.entries
    number, image = moments(recording.ops)[-1]
    flip = flips_at(image, number, "log, an entry's payload", 1)[0]
    assert verdict(recording, number, trials.outcome(flipped(image, flip))) == "detected"
    peers = [opened(tmp_path / "second"), opened(tmp_path / "third")]
    for peer in peers:
        peer.log.save(None, entries)
        peer.tables.apply(entries[:60])
    meta, content = snapshot_of(tmp_path / "snapshot", entries[:60])
    again = opened(tmp_path / "first", FORMED)
    incoming = Path(again.incoming())
    incoming.write_bytes(content)
    again.install(meta, str(incoming))
    again.log.save(None, peers[0].log.read(61, len(entries) + 1, LIMITS.append_bytes_max))
    for store in (again, *peers):
        store.tables.apply(store.log.read(61, len(entries) + 1, LIMITS.append_bytes_max))
        store.tables.settle()
        assert store.tables.state_hash(len(entries)) == trials.agreed.hashes[-1]
        assert content_of(store.tables.path) == trials.agreed.contents[-1]
        store.close()
