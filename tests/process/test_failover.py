"""Masters that die while clients write: the clients see no error, and what was acknowledged is there afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ddbd.cli import writer
from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster, LocalNode, eventually
from ddbd.cli.writer import Writer

CLIENT_SECONDS = 5.0  # the deadline of a client that may see no error
BACK_SECONDS = 20.0
TABLE = "writes"


def create_table(cluster: LocalCluster) -> None:
    address = cluster.nodes["1"].address
    assert call(address, "POST", "/init_database", {"db_name": "DDB0"}).ok
    assert call(address, "POST", "/create_table", {"table_name": TABLE, "columns": writer.COLUMNS}).ok


@contextmanager
def writing(nodes: Iterable[LocalNode]) -> Iterator[list[Writer]]:
    """Two clients through each node, without a pause."""
    writers = [Writer(node.address, TABLE, f"{node.id}-{number}", CLIENT_SECONDS) for node in nodes for number in (1, 2)]
    for each in writers:
        each.start()
    try:
        wait_for_writes(writers, 20)
        yield writers
    finally:
        for each in writers:
            each.finish()


def wait_for_writes(writers: list[Writer], more: int) -> None:
    """Until each client has so many acknowledged writes more."""
    goals = [(each, len(each.acks) + more) for each in writers]
    eventually(lambda: all(len(each.acks) >= goal for each, goal in goals), f"{more} more writes of each client")


def acknowledged(writers: list[Writer]) -> dict[str, dict[str, object]]:
    return {ack.row_id: ack.data for each in writers for ack in each.acks}


def failures(writers: list[Writer]) -> list[str]:
    return [failure for each in writers for failure in each.failures]


def rows(node: LocalNode, query: str = "") -> dict[str, Any]:
    reply = call(node.address, "GET", f"/select?table={TABLE}{query}", timeout_seconds=60)
    assert reply.ok, f"node {node.id}: {reply.status} {reply.text}"
    return {row.pop("row_id"): row for row in reply.json()}


def assert_all_there(cluster: LocalCluster, writers: list[Writer]) -> None:
    """On each node: every acknowledged row with its values, and no node has other rows than the first."""
    expected = acknowledged(writers)
    found = [rows(node) for node in cluster.nodes.values()]
    for node, table in zip(cluster.nodes.values(), found, strict=True):
        lost = [row_id for row_id, data in expected.items() if table.get(row_id) != data]
        assert lost == [], f"node {node.id} lacks {len(lost)} of {len(expected)} rows"
        assert table == found[0], f"node {node.id} differs from node 1"


def test_clients_see_no_error_when_the_master_dies_and_returns(running: LocalCluster) -> None:
    """A crash, the election, the return and the failback, all under a 5 s deadline."""
    create_table(running)
    with writing(running.others("1")) as writers:
        killed = running.kill("1")
        for each in writers:
            eventually(partial(each.first_ack_after, killed), "a write after the crash", CLIENT_SECONDS)
        assert running.wait_master(["2", "3"]) in ("2", "3")
        running.start("1")
        running.wait_ready("1")
        running.wait_master(["1"], BACK_SECONDS)
        wait_for_writes(writers, 20)
    assert failures(writers) == []
    assert_all_there(running, writers)


def test_clients_see_no_error_when_the_master_is_told_to_end(running: LocalCluster) -> None:
    create_table(running)
    with writing(running.others("1")) as writers:
        assert running.terminate("1") == 0
        wait_for_writes(writers, 20)
        running.start("1")
        running.wait_ready("1")
        wait_for_writes(writers, 20)
    assert failures(writers) == []
    assert_all_there(running, writers)


def test_clients_see_no_error_when_a_follower_dies_and_returns(running: LocalCluster) -> None:
    create_table(running)
    with writing(running.others("3")) as writers:
        running.kill("3")
        wait_for_writes(writers, 20)
        running.start("3")
        running.wait_ready("3")
        wait_for_writes(writers, 20)
    assert failures(writers) == []
    assert_all_there(running, writers)


def test_a_master_that_was_frozen_gives_no_old_answer(running: LocalCluster) -> None:
    """While it is silent the others go on; when it wakes up it must not serve what it last knew."""
    create_table(running)
    with writing(running.others("1")) as writers:
        frozen = running.freeze("1")
        for each in writers:
            eventually(partial(each.first_ack_after, frozen), "a write while the master is frozen", CLIENT_SECONDS)
        newest = writers[0].acks[-1]
        running.thaw("1")
        reply = call(running.nodes["1"].address, "GET", f"/select?table={TABLE}&row_id={newest.row_id}")
        wait_for_writes(writers, 20)
    assert reply.status == 503 or reply.json() == [{"row_id": newest.row_id, **newest.data}]
    assert failures(writers) == []
    running.wait_ready()
    assert_all_there(running, writers)


def test_a_crash_of_all_three_at_once_loses_nothing(running: LocalCluster) -> None:
    """Whatever was answered 200 was on the disks; the clients that were cut off see failures, as they must."""
    create_table(running)
    with writing(running.nodes.values()) as writers:
        wait_for_writes(writers, 100)
        running.kill()
    assert len(acknowledged(writers)) >= 600
    running.start()
    running.wait_ready()
    assert_all_there(running, writers)
    with writing(running.nodes.values()) as later:
        wait_for_writes(later, 20)
    assert failures(later) == []


def test_without_a_majority_writes_are_refused_and_local_reads_go_on(running: LocalCluster) -> None:
    create_table(running)
    with writing(running.others("1")) as writers:
        wait_for_writes(writers, 1)
    last = running.nodes["3"]
    assert rows(last) == acknowledged(writers)  # a linearizable read: from here on node 3 has applied them all
    running.kill("1", "2")
    row = {"table_name": TABLE, "row_id": "lonely", "data": {"writer": "nobody"}}
    reply = call(last.address, "POST", "/insert?timeout=1", row)
    assert reply.status in (503, 504), reply.text
    assert call(last.address, "GET", f"/select?table={TABLE}&timeout=1").status == 503
    assert rows(last, "&consistency=local") == acknowledged(writers)
    running.start("1", "2")
    running.wait_ready()
    found = rows(last)
    assert reply.status == 504 or "lonely" not in found, "503 says that the write was certainly not done"
    assert {row_id: data for row_id, data in found.items() if row_id != "lonely"} == acknowledged(writers)
