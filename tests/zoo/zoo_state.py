"""Bugs of the state machine, of proposals and of the disk (catalogue 20 to 26, and corners of the design)."""

from __future__ import annotations

from typing import Any

import msgspec
from zoo_kinds import Bug, in_simulator
from zoo_members import CALM
from zoo_plant import Plant, edited, replaced, together

from ddbd.replica import audit, driver
from ddbd.storage import log, machine, memory_tables, records, windows

DIVERGED = ("is not that of the others", "QUARANTINED", "another state", "the log says")
# Nodes that die and come back all the time, with tables that are a checkpoint old.
CRASHING = {**CALM, "nodes": 3, "clients": 5, "crash_every": 0.7, "hints": 1.0, "checkpoint_entries": 5, "tail_entries": 20}
# Writes that come to the leader twice, late, and over changes of the leader.
REPEATING = {**CRASHING, "duplication": 0.5, "jitter": 0.06, "in_order": False, "transfer_every": 0.5}


def _in_two_transactions(**parts: str) -> Plant:
    """What is on the disk of the tables lacks these parts of the last batch: the crash came between its two transactions."""

    def begin(old: Any) -> Any:
        def keep(backend: Any) -> None:
            backend.before = real_image(backend)

        return keep

    def image(old: Any) -> Any:
        def torn(backend: Any) -> bytes:
            now = msgspec.msgpack.decode(old(backend), type=memory_tables.Image)
            before = getattr(backend, "before", None)
            if before is None:
                return old(backend)  # type: ignore[no-any-return]
            earlier = msgspec.msgpack.decode(before, type=memory_tables.Image)
            lacking = {part: getattr(earlier, name) for part, name in parts.items()}
            return msgspec.msgpack.encode(msgspec.structs.replace(now, **lacking))

        return torn

    real_image = memory_tables.MemoryBackend.image
    return together(replaced(memory_tables.MemoryBackend, "begin", begin), replaced(memory_tables.MemoryBackend, "image", image))


TABLES = (
    Bug(
        "20",
        "the applied index is on the disk before the rows that it stands for",
        "etcd 3.5.0 to 3.5.2",
        _in_two_transactions(tables="tables"),
        DIVERGED,
        in_simulator(**CRASHING),
    ),
    Bug(
        "key apart",
        "an effect is on the disk before the idempotency key that it belongs to",
        "a corner of the design",
        _in_two_transactions(keys="keys"),
        DIVERGED,
        in_simulator(**{**REPEATING, "keys": 1}),
    ),
    Bug(
        "25",
        "a node that starts forgets which database is the default one",
        "etcd #14571",
        edited(memory_tables.MemoryBackend, "_restore", ("by_id.get(self.progress.default_id)", "None")),
        (*DIVERGED, "no_database"),
        in_simulator(**CRASHING),
    ),
    Bug(
        "corrupt leader",
        "the leader's state is taken for the right one, whatever the majority holds, and others are seeded with it",
        "a corner of the design",
        edited(
            audit.Audit,
            "_judge",
            ('counts.most_common(1)[0] if counts else (b"", 0)', "next(iter(check.hashes.values())), len(voters)"),
        ),
        ("QUARANTINED",),
        in_simulator(**{**CALM, "nodes": 3, "rot_every": 1.0}),
    ),
)

PROPOSALS = (
    Bug(
        "24",
        "a write that is sent again is applied again",
        "redisraft, and the class: no session ids",
        edited(windows.Window, "accept", ("elif not self._mark(seq):\n        return False", "else:\n        self._mark(seq)")),
        ("exactly once", "was answered", "answered"),
        in_simulator(**REPEATING),
    ),
    Bug(
        "window",
        "a proposal window forgets what is below its floor, and takes it when it comes again",
        "a corner of the design",
        edited(windows.Window, "accept", ("boot != self.boot or seq < self.floor or seq < floor", "boot != self.boot")),
        ("exactly once", "certainly not done", "answered"),
        in_simulator(**REPEATING),
    ),
    Bug(
        "boot",
        "the boot number of a node is the same after each start",
        "a corner of the design",
        edited(machine.Machine, "_register", ("Window(index, command.nonce", "Window(1, command.nonce")),
        ("exactly once", "certainly not done", "answered", "no rest"),
        in_simulator(**REPEATING),
    ),
)

DISK = (
    Bug(
        "21",
        "a save is acknowledged once it is written, without an fsync",
        "NATS 2.12.1, etcd #14370",
        edited(log.DiskLog, "save", ("sync = self._segments[self._last_number].file.sync", "return succeed(None)")),
        ("its disk forgot", "does not start"),
        in_simulator(**CRASHING, power_share=1.0),
    ),
    Bug(
        "22",
        "a node goes on after a failed fsync, and takes the next one's success for both",
        "Can Applications Recover from fsync Failures? (ATC 2020)",
        together(
            edited(
                log.DiskLog, "_sync_failed", ('return Failure(self._fail("fsync", failure.value or OSError("unknown")))', "return None")
            ),
            edited(log.DiskLog, "save", ('return fail(self._fail("fsync", error))', "return succeed(None)")),
        ),
        ("its disk forgot", "does not start"),
        in_simulator(**{**CRASHING, "fsync_fails_every": 0.3}, forgets=True, power_share=1.0),
    ),
    Bug(
        "cached log",
        "a node that starts builds on a log that it read from the page cache, without writing it again",
        "Can Applications Recover from fsync Failures? (ATC 2020)",
        edited(log.DiskLog, "_repair", ("        file.write(at, file.read(at, min(_REWRITE_BYTES, tail.offset - at)))", "        pass")),
        ("its disk forgot", "does not start"),
        in_simulator(**{**CRASHING, "fsync_fails_every": 0.5}, forgets=True, power_share=1.0),
    ),
    Bug(
        "23",
        "a damaged record in the middle of the log is taken for its torn end",
        "LogCabin, ZooKeeper (FAST 2018)",
        replaced(records, "judge_tail", lambda old: lambda *where: None),
        ("its disk forgot",),
        in_simulator(**{**CALM, "nodes": 3, "flip_every": 1.0}),
    ),
    Bug(
        "26",
        "an error in the loop ends the loop, and the process stays",
        "PySyncObj#161, RaftOS#27",
        edited(driver.Driver, "fail", ("    self.world.on_fatal(error)\n", "")),
        ("no rest",),
        in_simulator(**{**CRASHING, "fsync_fails_every": 1.0, "crash_every": 0.0}),
    ),
)

BUGS = (*TABLES, *PROPOSALS, *DISK)
