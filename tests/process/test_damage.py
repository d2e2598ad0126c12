"""Bytes that changed on the disk while a node was stopped: never served, never passed on, and the others go on."""

from __future__ import annotations

import contextlib
from pathlib import Path

from process_kit import create_table, flip, insert, rows, wait_ended, wait_same, wait_voter, wipe
from test_start import fingerprint, run

from ddbd.cli.client import NodeUnreachable, call
from ddbd.cli.local import LocalCluster, eventually
from ddbd.storage.sqlite import connect

MARKER = b"away 13 "  # begins the name in one row


def move_wal(tables: Path) -> None:
    """What a checkpoint does: damage in a WAL is another story, for what it loses is replayed from the log."""
    connection = connect(str(tables))
    connection.pragma("wal_checkpoint", "truncate")
    connection.close()


def test_a_flipped_byte_in_the_log_stops_the_start_and_nothing_is_touched(running: LocalCluster, tmp_path: Path) -> None:
    create_table(running)
    for name in ("one", "two", "three"):
        insert(running.nodes["3"], name)
    assert running.terminate("3") == 0
    data = running.data_dir / "3"
    [segment] = (data / "log").iterdir()
    flip(segment, len(segment.read_bytes().rstrip(b"\0")) // 2)
    before = fingerprint(data)

    options = ("--node", "3", "--config", str(running.config_path), "--data-dir", str(data))
    for _ in range(2):  # a second try is told the same
        result = run(tmp_path, *options)
        assert result.returncode == 1
        [line] = [line for line in (result.stdout + result.stderr).splitlines() if "node 3 stops" in line]
        assert segment.name in line
        assert "restore this node from its peers" in line
        assert "Traceback" not in result.stdout + result.stderr
        assert fingerprint(data) == before

    insert(running.nodes["2"], "meanwhile")
    assert len(rows(running.nodes["1"])) == 80
    wipe(running, "3")
    running.start("3")
    wait_voter(running.nodes["3"])
    wait_same(list(running.nodes.values()))


def test_a_flipped_byte_in_the_tables_is_never_served(running: LocalCluster) -> None:
    """The node stops as soon as it meets the page, at its start or when the page is read."""
    create_table(running)
    insert(running.nodes["3"], "away", count=400, filler="x" * 200)
    wait_same(list(running.nodes.values()))
    expected = rows(running.nodes["1"])
    assert running.terminate("3") == 0
    tables = running.data_dir / "3" / "tables-0" / "tables.db"
    move_wal(tables)
    place = tables.read_bytes().find(MARKER)
    assert place > 0, "the row is in the tables' file"
    flip(tables, place)

    running.start("3")
    damaged = running.nodes["3"]

    def stops() -> bool:
        """Asked until it is gone: what it answers before is right or is an error."""
        if not damaged.running:
            return True
        with contextlib.suppress(NodeUnreachable):
            reply = call(damaged.address, "GET", "/select?table=students&consistency=local")
            assert not reply.ok, "the scan read the damaged page"
            assert b"away 13 " not in reply.body
        return False

    eventually(stops, "node 3 stops")
    assert wait_ended(damaged) == 1
    assert "the tables are damaged, restore this node from its peers" in damaged.log_tail()
    assert rows(running.nodes["1"]) == rows(running.nodes["2"]) == expected
    insert(running.nodes["2"], "meanwhile")

    wipe(running, "3")
    running.start("3")
    wait_voter(damaged)
    wait_same(list(running.nodes.values()))
