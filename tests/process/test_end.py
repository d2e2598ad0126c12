"""How a node ends that is told to, as its clients see it."""

from __future__ import annotations

import http.client

import pytest
from process_kit import create_table, insert

from ddbd.cli.local import LocalCluster, LocalNode

BATCHES = 10
ROWS_A_BATCH = 2_000
FILLER = "x" * 800  # in all more than the kernel holds between two sockets of one machine


def slow_reader(node: LocalNode) -> tuple[http.client.HTTPResponse, bytes]:
    """A long answer of which the client has taken the beginning."""
    connection = http.client.HTTPConnection("localhost", node.port, timeout=20)
    connection.request("GET", "/select?table=students")
    response = connection.getresponse()
    return response, response.read(1_000)


@pytest.mark.parametrize("node_id", ["3", "1"], ids=["follower", "leader"])
def test_sigterm_lets_a_client_take_its_long_answer_to_the_end(running: LocalCluster, node_id: str) -> None:
    create_table(running)
    for number in range(BATCHES):
        insert(running.nodes["1"], f"batch-{number}", ROWS_A_BATCH, FILLER)
    node = running.nodes[node_id]
    response, begun = slow_reader(node)
    assert node.process is not None
    node.process.terminate()
    running.wait_master(set(running.nodes) - {node_id})
    body = begun + response.read()  # raises IncompleteRead where the last chunk is missing
    assert body.count(b'"row_id"') == BATCHES * ROWS_A_BATCH
    assert node.process.wait(10) == 0


def test_sigterm_does_not_wait_for_ever_for_a_client_that_does_not_read(running: LocalCluster) -> None:
    create_table(running)
    for number in range(BATCHES):
        insert(running.nodes["1"], f"batch-{number}", ROWS_A_BATCH, FILLER)
    response, _ = slow_reader(running.nodes["3"])
    assert running.terminate("3", seconds=15) == 0
    with pytest.raises((http.client.IncompleteRead, OSError)):
        response.read()
