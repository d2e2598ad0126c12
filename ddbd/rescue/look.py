"""What a data directory holds, read without changing it, and what is wrong with it. Damage is a finding, never an exception."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import apsw

from ddbd.errors import ConfigError, DdbError, Fatal
from ddbd.raft.types import Membership
from ddbd.rescue.frozen import FrozenDisk, frozen_tables
from ddbd.storage import recovery
from ddbd.storage.backend import FORMAT as TABLES_FORMAT
from ddbd.storage.backend import Progress
from ddbd.storage.directory import Identity, load_identity
from ddbd.storage.fence import RECOVERY, Fence, read_fence
from ddbd.storage.logstate import LogState
from ddbd.storage.memory import check_together
from ddbd.storage.seal import check_seal, check_whole
from ddbd.storage.sqlite import as_fatal, fatal
from ddbd.storage.sqlite_backend import read_progress

OK, NOTE, BAD = "ok", "note", "bad"
RESERVED_BYTES = 8

_GENERATION = re.compile(r"tables-(\d+)")
T = TypeVar("T")


class Finding(NamedTuple):
    level: str  # OK, NOTE (nothing to do), BAD
    place: str  # inside the directory
    what: str  # one sentence


@dataclass
class Seen:
    path: Path
    findings: list[Finding] = field(default_factory=list)
    identity: Identity | None = None
    fence: Fence | None = None
    is_recovering: bool = False
    log: LogState | None = None
    torn_bytes: int = 0
    progress: Progress | None = None
    is_suspect: bool = False

    @property
    def is_damaged(self) -> bool:
        return any(finding.level == BAD for finding in self.findings)

    @property
    def tables_path(self) -> Path:
        return self.path / f"tables-{0 if self.log is None else self.log.generation}" / "tables.db"

    @property
    def membership(self) -> Membership | None:
        """The newest one that the log knows, in force whether committed or not (Raft 6)."""
        return None if self.log is None else self.log.membership_at(self.log.last_index)

    def say(self, level: str, place: str, what: str) -> None:
        self.findings.append(Finding(level, place, what.removeprefix(f"{self.path}/").removeprefix(f"{place}: ")))

    def tried(self, place: str, call: Callable[[], T]) -> T | None:
        """What the call gives; None, with a finding, where it fails."""
        try:
            return call()
        except DdbError as error:
            self.say(BAD, place, error.detail)
        except OSError as error:
            self.say(BAD, place, f"cannot be read: {error.strerror}")
        return None


def look(path: Path) -> Seen:
    """The directory's lock is held. Quick: of the tables only what stands for their place is read."""
    seen = Seen(path)
    _identity(seen)
    _log(seen)
    _tables(seen)
    return seen


def _identity(seen: Seen) -> None:
    place = "identity.json"
    seen.fence = seen.tried("fenced.json", lambda: read_fence(seen.path))
    if seen.fence is not None:
        seen.say(BAD, "fenced.json", f"the cluster was recovered without this directory, as cluster {seen.fence.cluster_id}: it is history")
    seen.is_recovering = (seen.path / RECOVERY).exists()
    if seen.is_recovering:
        seen.say(BAD, RECOVERY, "a recovery was begun and not finished; run ddb recover again")
    identity = seen.identity = seen.tried(place, lambda: load_identity(seen.path))
    if identity is None:
        if not seen.is_damaged:
            _say_no_node(seen, place)
        return
    life = f", life {identity.life}" if identity.life else ""
    formed = "" if identity.formed else "; its cluster has not formed yet"
    seen.say(OK, place, f"node {identity.node_id} of cluster {identity.cluster_id}{life}{formed}")


def _say_no_node(seen: Seen, place: str) -> None:
    """A folder of something else is no node that is well: a check by a timer must fail there, or it checks nothing for years."""
    beneath = sorted(str(found.parent) for found in seen.path.glob("*/identity.json"))
    if beneath:
        seen.say(BAD, place, f"not there: this is no node's directory; there are nodes' beneath it: {', '.join(beneath[:3])}")
    elif any(one.name not in ("lock", "lost+found") for one in seen.path.iterdir()):
        seen.say(BAD, place, "not there, and the directory is not empty: this is no node's directory")
    else:
        seen.say(NOTE, place, "not there: no node was ever started on this directory")


def _log(seen: Seen) -> None:
    folder = seen.path / "log"
    if not folder.is_dir():
        if seen.identity is not None:
            seen.say(NOTE, "log", "there is none yet")
        return
    disk = FrozenDisk()
    replay = seen.tried("log", lambda: recovery.replay(disk, str(folder)))
    for left in disk.left:
        seen.say(NOTE, f"log/{Path(left).name}", "left over from before a crash; the next start removes it")
    if replay is None or replay.state is None:
        return
    for segment in replay.segments:
        segment.file.close()
    state = seen.log = replay.state
    seen.torn_bytes = replay.tail.torn_bytes
    size = sum(os.path.getsize(folder / recovery.segment_name(segment.number)) for segment in replay.segments)
    entries = f"entries {state.base.index + 1} to {state.last_index}" if state.last_index > state.base.index else "no entries"
    seen.say(OK, "log", f"{entries} in {len(replay.segments)} segments of {size} bytes, each record by its checksum")
    if seen.torn_bytes:
        name = recovery.segment_name(replay.segments[-1].number)
        what = f"ends in {seen.torn_bytes} bytes of a write that a crash cut: nothing of it was acknowledged, the next start removes it"
        seen.say(NOTE, f"log/{name}", what)
    _hard_state(seen, state)


def _hard_state(seen: Seen, state: LogState) -> None:
    hard, last_term = state.hard_state, state.term(state.last_index)
    what = f"term {hard.term}, vote {hard.vote or 'none'}, commit {hard.commit}"
    if hard.term < last_term:
        seen.say(BAD, "hard state", f"{what}; but entry {state.last_index} is of term {last_term}")
    elif hard.commit > state.last_index:
        seen.say(BAD, "hard state", f"{what}; but the log ends at {state.last_index}")
    else:
        seen.say(OK, "hard state", what)


def _tables(seen: Seen) -> None:
    path = seen.tables_path
    place = f"{path.parent.name}/tables.db"
    seen.is_suspect = (path.parent / "suspect").exists()
    if seen.is_suspect:
        seen.say(BAD, f"{path.parent.name}/suspect", "these tables differed from the majority's: they wait for a snapshot")
    if not path.exists():
        if seen.log is not None and seen.log.base.index > 0:
            seen.say(BAD, place, f"the tables are missing, and the log begins only at {seen.log.base.index + 1}")
        elif seen.log is not None:
            seen.say(NOTE, place, "not there; the next start makes them from the log")
        return
    progress = seen.progress = seen.tried(place, lambda: _progress(path))
    if progress is None:
        return
    if progress.format > TABLES_FORMAT:
        seen.say(BAD, place, f"has format {progress.format}, this version reads up to {TABLES_FORMAT}")
    if seen.log is not None:
        seen.tried("log and tables", lambda: _together(seen, progress))


def _together(seen: Seen, progress: Progress) -> None:
    assert seen.log is not None, "tables without a log have nothing to fit to"
    check_together(seen.log.recovered(), progress.index)
    term = seen.log.term(progress.index)
    if term != progress.term:
        raise ConfigError(f"entry {progress.index} has term {progress.term} in the tables and {term} in the log")
    seen.say(OK, "log and tables", f"fit together at entry {progress.index}")


def _progress(path: Path) -> Progress:
    """Raises Fatal."""
    check_seal(f"{path}-wal")
    connection = frozen_tables(path)
    try:
        with fatal(str(path)):
            return read_progress(connection) if has_schema(connection) else Progress(1, 0, 0, 0, b"", b"", 0)
    finally:
        connection.close()


def has_schema(connection: apsw.Connection) -> bool:
    """A power cut may have left a file without content."""
    return bool(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = '_progress'").fetchall())


def look_through_tables(seen: Seen) -> None:
    """Every page against its checksum and its structure. Reads all of the file."""
    path = seen.tables_path
    place = f"{path.parent.name}/tables.db"
    if seen.progress is None:
        return
    problems: list[str] = []
    pages = 0
    try:
        connection = frozen_tables(path)
        try:
            pages = int(connection.pragma("page_count"))
            page_bytes = int(connection.pragma("page_size"))
            if has_schema(connection) and connection.reserve_bytes() != RESERVED_BYTES:
                problems.append("the pages have no checksums")
            check_whole(str(path), pages, page_bytes, _wal_frames(path, page_bytes))
            problems += [" ".join(str(text).split()) for (text,) in connection.execute("PRAGMA integrity_check(20)") if text != "ok"]
        finally:
            connection.close()
    except apsw.Error as error:
        problems.append(as_fatal(str(path), error).detail)
    except Fatal as error:
        problems.append(error.detail)
    for problem in problems:
        seen.say(BAD, place, problem.removeprefix(f"{path}: "))
    if not problems:
        seen.say(OK, place, f"{pages} pages, each by its checksum and its place in the structure; applied to entry {seen.progress.index}")


def _wal_frames(path: Path, page_bytes: int) -> int:
    """As many as the WAL can hold: those that SQLite does not believe lack nothing that the file would have to have."""
    wal = Path(f"{path}-wal")
    return max(0, wal.stat().st_size - 32) // (24 + page_bytes) if wal.exists() else 0


def leftovers(seen: Seen) -> None:
    """What the next start removes."""
    generation = 0 if seen.log is None else seen.log.generation
    for item in sorted(seen.path.iterdir()):
        match = _GENERATION.fullmatch(item.name)
        if (match and int(match[1]) != generation) or item.name.startswith("incoming."):
            seen.say(NOTE, item.name, "no longer, or not yet, part of the data; the next start removes it")
        elif item.name == "outgoing":
            for file in sorted(item.iterdir()):
                seen.say(NOTE, f"outgoing/{file.name}", "a copy for a snapshot or a backup; the next start removes it")
