"""The calls of a real cluster, fuzzed by the document that the nodes give of themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzz_schema import SchemaFuzzer
from fuzz_tally import Tally
from schemathesis.core.failures import FailureGroup

from ddbd.cli.client import call
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
    told = call(trio.nodes["1"].address, "GET", "/openapi.json").json()
    fuzzer = SchemaFuzzer(trio, told, seed, tally)
    fuzzer.play(schema_count)
    tally.notes.append(f"{len(fuzzer.operations)} operations")
    assert len(tally.kinds) > len(fuzzer.operations), "every call was tried, and most of them broken as well"
    planted = Tally("http schema, documents that are wrong")
    for wrong in wrong_documents(told):
        with pytest.raises((AssertionError, FailureGroup)):
            SchemaFuzzer(trio, wrong, seed, planted).play(8)


def wrong_documents(told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Of one call each; the fuzzer must notice every one."""

    def of(path: str) -> dict[str, Any]:
        copy: dict[str, Any] = json.loads(json.dumps(told))
        copy["paths"] = {path: copy["paths"][path]}
        return copy

    lacks_status, lacks_code, other_answer = of("/ping"), of("/drop_database"), of("/ping")
    lacks_status["paths"]["/ping"]["get"]["responses"].pop("200")
    yield lacks_status
    codes = lacks_code["paths"]["/drop_database"]["post"]["responses"]
    codes["400"] = codes["408"]
    yield lacks_code
    other_answer["components"]["schemas"]["Pong"]["properties"]["node"] = {"type": "integer"}
    yield other_answer
