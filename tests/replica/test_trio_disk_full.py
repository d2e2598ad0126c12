"""Disks that fill up: who may still lead, and when the cluster says that it takes no more rows."""

from __future__ import annotations

import pytest
from replica_kit import Cluster

from ddbd.commands import Delete
from ddbd.config import Limits


@pytest.mark.parametrize("full", [("1", "2", "3"), ("1", "2")], ids=["all", "two"])
def test_leadership_does_not_wander_among_nodes_whose_disks_are_full(full: tuple[str, ...]) -> None:
    """They filled at the same time, as equal disks do: a leader that knows nothing of the others yet hands over to nobody."""
    trio = Cluster(limits=Limits()).set_up()
    trio.done(trio.nodes["1"].insert("a"))
    for node_id in full:
        trio.nodes[node_id].store.full = True
    trio.run(2.0)
    assert trio.leader is not None
    term = trio.leader.core.term
    for node in trio.nodes.values():
        refused = node.insert(f"no-{node.id}")
        trio.done(refused)
        assert refused.error is not None
        assert refused.error.code == "disk_full"
        assert node.replica.status()["disk_full"]
    deleted = trio.nodes["3"].write(Delete(None, "t", "a"))
    trio.done(deleted)
    assert deleted.is_ok
    trio.run(10.0)
    assert trio.leader.core.term <= term + 1, "at most one failback"

    for node_id in full:
        trio.nodes[node_id].store.full = False
    trio.run(1.0)
    fine = [node.insert(f"yes-{node.id}") for node in trio.nodes.values()]
    trio.done(*fine)
    assert all(each.is_ok for each in fine)


def test_a_leader_with_a_full_disk_refuses_no_row_before_it_knows_how_the_others_are() -> None:
    """Node 2 takes over with a full disk and for a moment knows of nobody with room: node 3 has some, and gets the leadership."""
    trio = Cluster(limits=Limits()).set_up()
    trio.nodes["2"].store.full = True
    trio.run(0.5)
    trio.nodes["1"].crash()
    trio.until(lambda: trio.leader is not None and trio.leader.id in ("2", "3"))
    written = []

    def write() -> bool:
        if len(written) < 300:
            written.append(trio.nodes["3"].insert(f"row-{len(written)}"))
        return trio.led_by("3") and len(written) == 300

    trio.until(write, seconds=20.0)
    trio.done(*written)
    assert [each.error for each in written if not each.is_ok] == []
