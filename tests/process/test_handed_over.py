"""Leadership handed over by an operator, on real nodes under load: no client sees it."""

from __future__ import annotations

from test_failover import create_table, failures, wait_for_writes, writing

from ddbd.cli.client import Client, call
from ddbd.cli.local import LocalCluster


def test_clients_see_no_error_while_leadership_goes_round(running: LocalCluster) -> None:
    """Six transfers, asked of every node in turn, while two clients write through each node."""
    create_table(running)
    addresses = [node.address for node in running.nodes.values()]
    with writing(running.nodes.values()) as writers:
        for place, target in enumerate(("2", "3", "1", "3", "2")):
            reply = call(addresses[place % 3], "POST", "/transfer?forward=true", {"to": target})
            assert (reply.status, reply.json()["to"]) == (200, target), reply.text
            assert running.wait_master([target]) == target
            wait_for_writes(writers, 20)
        stepped = call(addresses[0], "POST", "/step_down?forward=true", {})
        assert stepped.json()["from"] == "2", stepped.text
        assert running.wait_master([stepped.json()["to"]]) != "2"
        wait_for_writes(writers, 20)
    assert failures(writers) == []
    term = max(status["term"] for node in running.nodes.values() if (status := node.status()))
    assert term >= stepped.json()["term"]


def test_a_call_to_another_node_leads_to_the_master(running: LocalCluster) -> None:
    with Client(running.nodes["3"].address, 5.0) as client:
        elsewhere = client.request("POST", "/transfer", {"to": "2"})
    assert (elsewhere.status, elsewhere.json()["master"]["id"]) == (307, "1")
    followed = call(running.nodes["3"].address, "POST", "/transfer", {"to": "2"})
    assert (followed.status, followed.json()["to"]) == (200, "2")
