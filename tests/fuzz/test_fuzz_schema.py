"""The calls of a real cluster, fuzzed by the document that the nodes give of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_schema import SchemaFuzzer
from fuzz_tally import Tally

from ddbd.cli.local import LocalCluster

LIMITS = {"body_bytes_max": 65_536, "row_bytes_max": 8_192, "columns_max": 20, "batch_rows_max": 20, "row_id_bytes_max": 64}


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster.on_free_ports(tmp_path, limits=LIMITS) as cluster:
        cluster.start()
        cluster.wait_ready()
        yield cluster
        for node in cluster.nodes.values():
            assert node.running, f"node {node.id} ended:\n{node.log_tail()}"
            log = node.log_path.read_text()
            assert "Traceback" not in log, log[-3000:]
            assert "Unhandled" not in log, log[-3000:]


def test_every_answer_is_what_the_document_says(trio: LocalCluster, schema_count: int, seed: int) -> None:
    tally = Tally("http schema")
    fuzzer = SchemaFuzzer(trio, seed, tally)
    fuzzer.play(schema_count)
    tally.notes.append(f"{len(fuzzer.operations)} operations")
    assert tally.total >= schema_count // 2
