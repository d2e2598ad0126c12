"""`ddb check`: a good directory is good, each kind of damage is found where it is, and not a byte is changed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from rescue_kit import FOUNDERS, SMALL, commands, entries_of, fingerprint, flip, make

from ddbd.errors import ConfigError
from ddbd.rescue.check import check
from ddbd.rescue.look import BAD, NOTE, OK, Finding
from ddbd.storage.directory import DirectoryLock, Identity, open_store
from ddbd.storage.fence import RECOVERY, Fence, write_fence
from ddbd.storage.records import parse
from ddbd.storage.sqlite import connect


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make(tmp_path / "1")
    return tmp_path / "1"


def bad(path: Path) -> list[Finding]:
    """And nothing was changed by looking."""
    before = fingerprint(path)
    findings = check(path, SMALL)
    assert fingerprint(path) == before
    return [finding for finding in findings if finding.level == BAD]


def places(path: Path) -> set[str]:
    return {finding.place for finding in bad(path)}


def notes(path: Path) -> dict[str, str]:
    return {finding.place: finding.what for finding in check(path, SMALL) if finding.level == NOTE}


def segment(path: Path) -> Path:
    return sorted((path / "log").iterdir())[0]


def records(path: Path) -> list[tuple[int, int, int]]:
    """(kind, start, end) of each record behind the header."""
    content = segment(path).read_bytes()
    header = parse(content, 0, 0)
    assert header is not None
    from ddbd.storage.records import decode_header

    salt, at, found = decode_header(header.payload).salt, header.end, []
    while (record := parse(content, at, salt)) is not None:
        found.append((record.kind, at, record.end))
        at = record.end
    return found


def test_a_good_directory_has_nothing_wrong_and_every_part_was_looked_at(data: Path) -> None:
    findings = check(data, SMALL)
    assert {finding.level for finding in findings} == {OK}
    said = {finding.place: finding.what for finding in findings}
    assert set(said) == {"identity.json", "log", "hard state", "log and tables", "tables-0/tables.db", "hash of effects"}
    assert "entries 1 to 203" in said["log"]
    assert "made again from the log" in said["hash of effects"]


def test_looking_changes_nothing_also_where_a_crash_left_a_wal(tmp_path: Path) -> None:
    make(tmp_path / "1", crash=True, checkpoint=False)
    assert (tmp_path / "1" / "tables-0" / "tables.db-wal").stat().st_size > 0
    for name in ("tables.db-shm",):
        (tmp_path / "1" / "tables-0" / name).unlink(missing_ok=True)
    assert bad(tmp_path / "1") == []
    assert "made again" in check(tmp_path / "1", SMALL)[-1].what


def test_every_flipped_bit_of_a_written_record_of_the_log_is_found(data: Path) -> None:
    dice = random.Random(1)
    file = segment(data)
    kinds = set()
    for kind, start, end in records(data)[:-1]:  # the last one alone may pass for a torn write
        if kind not in kinds or dice.random() < 0.05:
            kinds.add(kind)
            place, bit = dice.randrange(start, end), dice.randrange(8)
            flip(file, place, bit)
            assert "log" in places(data), f"a record of kind {kind} at byte {place}"
            flip(file, place, bit)
    assert kinds == {2, 3}
    assert bad(data) == []


def test_a_damaged_header_of_a_segment_is_found(data: Path) -> None:
    flip(segment(data), 40)
    assert "log" in places(data)


def test_a_torn_tail_is_fine_and_said(data: Path) -> None:
    _, start, end = records(data)[-1]
    with segment(data).open("r+b") as file:
        file.seek(start + 10)
        file.write(bytes(end - start - 10))
    assert bad(data) == []
    [what] = [what for place, what in notes(data).items() if place.startswith("log/")]
    assert "nothing of it was acknowledged" in what


def test_every_page_of_the_tables_is_looked_at(data: Path) -> None:
    file = data / "tables-0" / "tables.db"
    size = file.stat().st_size
    for page in range(size // 4096):
        flip(file, page * 4096 + 2_000)
        found = places(data)
        flip(file, page * 4096 + 2_000)
        assert "tables-0/tables.db" in found, f"page {page + 1}"
    assert bad(data) == []


def test_tables_that_are_cut_off_are_found(data: Path) -> None:
    file = data / "tables-0" / "tables.db"
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - 4096)
    assert "tables-0/tables.db" in places(data)


def test_damage_in_what_a_checkpoint_read_of_the_wal_is_found(tmp_path: Path) -> None:
    make(tmp_path / "1", crash=True)
    wal = tmp_path / "1" / "tables-0" / "tables.db-wal"
    assert (wal.parent / "sealed").exists()
    assert bad(tmp_path / "1") == []
    for place in (5, wal.stat().st_size // 2):
        flip(wal, place)
        assert "tables-0/tables.db" in places(tmp_path / "1")
        flip(wal, place)
    flip(wal.parent / "sealed", 6)
    assert "tables-0/tables.db" in places(tmp_path / "1")


def test_a_row_that_somebody_edited_is_found_though_its_page_is_whole(data: Path) -> None:
    connection = connect(str(data / "tables-0" / "tables.db"))
    connection.execute("UPDATE t_2_3 SET name = 'y' WHERE row_id = 'r0007'")
    connection.pragma("wal_checkpoint", "truncate")
    connection.close()
    [finding] = bad(data)
    assert "row 'r0007' of table t in database d" in finding.what


def test_tables_of_another_history_are_found(tmp_path: Path) -> None:
    make(tmp_path / "1")
    make(tmp_path / "2", term=3)
    shutil.rmtree(tmp_path / "1" / "tables-0")
    shutil.copytree(tmp_path / "2" / "tables-0", tmp_path / "1" / "tables-0")
    assert "log and tables" in places(tmp_path / "1")
    make(tmp_path / "3", rows=300)
    shutil.rmtree(tmp_path / "1" / "tables-0")
    shutil.copytree(tmp_path / "3" / "tables-0", tmp_path / "1" / "tables-0")
    assert "log and tables" in places(tmp_path / "1")


def test_identity_that_is_damaged_missing_or_of_a_newer_format_is_found(data: Path) -> None:
    file = data / "identity.json"
    content = file.read_text()
    file.write_text(content.replace('"node_id": "1"', '"node_id": "7"'))
    assert places(data) == {"identity.json"}
    file.write_text(content.replace('"format": 1', '"format": 9'))
    assert places(data) == {"identity.json"}
    file.unlink()
    assert places(data) == {"identity.json"}


@pytest.mark.parametrize(("gone", "place"), [("log", "identity.json"), ("tables-0", None)])
def test_what_is_missing_is_said(data: Path, gone: str, place: str | None) -> None:
    shutil.rmtree(data / gone)
    assert places(data) == ({place} if place else set())
    if place is None:
        assert "makes them from the log" in notes(data)["tables-0/tables.db"]


def test_tables_that_wait_for_a_snapshot_are_found(data: Path) -> None:
    (data / "tables-0" / "suspect").touch()
    assert places(data) == {"tables-0/suspect"}


def test_a_fenced_and_a_half_recovered_directory_are_found(data: Path) -> None:
    (data / RECOVERY).write_text("{}")
    assert places(data) == {RECOVERY}
    write_fence(data, Fence("new", "3"))
    assert places(data) == {RECOVERY, "fenced.json"}


def test_leftovers_are_said_and_are_nothing_bad(data: Path) -> None:
    (data / "tables-7").mkdir()
    (data / "incoming.db").touch()
    (data / "outgoing" / "backup-1.db").touch()
    (data / "log" / "0000000000000002.seg.tmp").touch()
    assert bad(data) == []
    assert set(notes(data)) == {"tables-7", "incoming.db", "outgoing/backup-1.db", "log/0000000000000002.seg.tmp"}


def test_a_log_that_was_shortened_is_checked_without_its_beginning(tmp_path: Path) -> None:
    make(tmp_path / "1", rows=600)
    store = open_store(tmp_path / "1", Identity.of("c" * 32, "1", "", True), SMALL, founders=FOUNDERS)
    assert store.log.compact(500) > 0
    store.close()
    assert bad(tmp_path / "1") == []
    assert "the log begins at entry" in notes(tmp_path / "1")["hash of effects"]


def test_a_running_node_is_refused_in_one_sentence_and_checked_after_it_ended(data: Path) -> None:
    lock = DirectoryLock(data)
    with pytest.raises(ConfigError, match="a node is running on this directory; stop it first"):
        check(data)
    lock.release()
    assert bad(data) == []


def test_while_it_is_checked_no_node_can_start(data: Path) -> None:
    from ddbd.rescue.frozen import Held

    with Held(data), pytest.raises(ConfigError, match="another process"):
        DirectoryLock(data)


def test_what_is_no_data_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such directory"):
        check(tmp_path / "none")
    [finding] = check(tmp_path)
    assert (finding.level, finding.place) == (NOTE, "identity.json")


def test_a_folder_around_the_directory_of_a_node_is_no_node_that_is_well(data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    data.rename(home / "1")
    [finding] = check(home, SMALL)
    assert (finding.level, finding.place) == (BAD, "identity.json")
    assert str(home / "1") in finding.what
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("x")
    assert [finding.level for finding in check(other, SMALL)] == [BAD]


def test_what_the_kit_makes_is_what_a_node_would_have() -> None:
    assert [entry.index for entry in entries_of(commands(2))] == [1, 2, 3, 4, 5]
