"""Requests drawn by schemathesis from a node's own /openapi.json, sent to real nodes, and each answer held to the document.

What is drawn fits the document, or breaks it in one place. Names that are drawn meet no table, so half of the fitting ones are turned to
the table that is there. An answer must be one that the document tells of (status, content type, header fields, schema, problem code);
a request that breaks the document must be refused; one that fits it may be refused only for what JSON Schema cannot say (`UNSAID`).
"""

from __future__ import annotations

import json
from typing import Any

import requests
import schemathesis
from fuzz_answers import Answer, check_answer
from fuzz_tally import Tally
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi import checks
from web_conformance import closed

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster

COLUMNS = ("id", "name", "grade", "age")
TYPED = ["id", "name", "grade", {"name": "age", "type": "integer", "index": True}]
ROW_IDS = ("1", "2", "3")
WAIT_SECONDS = 0.05  # of a read that waits for an index that never comes

CHECKS: list[Any] = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]

# Refusals of requests that fit the document: what depends on the tables, or is a rule that JSON Schema has no word for.
STATE = {"no_database", "database_not_found", "table_not_found", "row_not_found", "unknown_column", "row_exists", "table_exists"}
UNSAID = STATE | {"invalid_backup", "version_mismatch", "not_master", "not_acceptable", "idempotency_mismatch"}
# These too, but only with the sentence of such a rule.
UNSAID_SENTENCES = {
    "invalid_value": ("bytes", "holds", "given twice", "no node is called so", "in the query string and", "with an index", "is no version"),
    "invalid_name": ("twice",),
    "invalid_json": ("64 bits", "out of range", "surrogate", "nested too deeply"),
    "missing_field": ("the field db_name is missing", "the parameter table is missing"),
    "unknown_parameter": ("there is no parameter",),
    "invalid_csv": ("",),
}
WAITED = {"no_leader", "outcome_unknown", "not_handed_over"}  # by requests with a timeout of their own, or about who leads


@schemathesis.serializer("application/x-ndjson")
def lines(ctx: Any, value: Any) -> bytes:
    """A body of lines is drawn as a text."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


class SchemaFuzzer:
    def __init__(self, cluster: LocalCluster, told: dict[str, Any], fuzz_seed: int, tally: Tally) -> None:
        self._cluster = cluster
        self._seed = fuzz_seed
        self._tally = tally
        self._nodes = list(cluster.nodes.values())
        self._session = requests.Session()
        self._schema = schemathesis.openapi.from_dict(closed(told))
        self.operations = [each.ok() for each in self._schema.get_all_operations()]

    def play(self, count: int) -> None:
        """Raises what the first deviation is."""
        each = max(1, count // (2 * len(self.operations)))
        for operation in self.operations:
            for mode in GenerationMode:
                self._play(operation, mode, each)

    def _play(self, operation: Any, mode: GenerationMode, count: int) -> None:
        self._set_up()
        drawn = operation.as_strategy(generation_mode=mode)

        @seed(self._seed)
        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),
            report_multiple_bugs=False,
        )
        @given(case=drawn, dice=st.randoms(use_true_random=False))
        def one(case: Case, dice: Any) -> None:
            fits = mode is GenerationMode.POSITIVE
            if fits and dice.random() < 0.5:
                turn_to_what_is_there(case, dice)
            if isinstance(case.query, dict) and "min_index" in case.query and fits:
                case.query["timeout"] = WAIT_SECONDS
            self._one(case, dice.choice(self._nodes).address, fits)

        if mode is GenerationMode.POSITIVE or operation.body or operation.query:
            one()

    def _set_up(self) -> None:
        """The database and the table, which the calls before may have taken away."""
        address = self._nodes[0].address
        assert call(address, "POST", "/init_database", {"db_name": "school"}).ok
        assert call(address, "POST", "/delete_table", {"table_name": "students"}).status in (200, 404)
        assert call(address, "POST", "/create_table", {"table_name": "students", "columns": TYPED}).ok
        rows = [{"row_id": row_id, "data": {"name": f"name {row_id}"}} for row_id in ROW_IDS]
        assert call(address, "POST", "/insert", {"table_name": "students", "rows": rows}).ok

    def _one(self, case: Case, address: str, fits: bool) -> None:
        response = case.call(base_url=f"http://{address}", session=self._session, allow_redirects=False, timeout=30)
        kind = f"{case.method} {case.path}" + ("" if fits else " broken")
        answer = Answer(response.status_code, {name: list(values) for name, values in response.headers.items()}, response.content, True)
        code = json.loads(answer.body)["code"] if answer.status >= 300 and answer.body and case.method != "HEAD" else ""
        self._tally.kinds[kind] += 1
        self._tally.outcomes[f"{answer.status} {code}".strip()] += 1
        case.validate_response(response, checks=CHECKS)
        if answer.status == 307:
            assert answer.fields["location"][0].startswith(tuple(f"http://{node.address}{case.path}" for node in self._nodes))
        elif answer.status < 500:
            check_answer(answer)
        self._judge(case, answer, code, fits)

    def _judge(self, case: Case, answer: Answer, code: str, fits: bool) -> None:
        sent = f"{case.as_curl_command()}\n{answer.status} {answer.body[:500]!r}"
        detail = json.loads(answer.body)["detail"] if code else ""
        if answer.status >= 500:
            asked = isinstance(case.query, dict) and ("timeout" in case.query or "min_index" in case.query)
            assert code in WAITED, f"a fault of the node's own: {sent}"
            assert asked or case.path in ("/transfer", "/step_down"), f"nobody asked for so short a wait: {sent}"
        elif fits and code:
            sentences = UNSAID_SENTENCES.get(code, ())
            assert code in UNSAID or any(sentence in detail for sentence in sentences), f"it fits the document, and is refused: {sent}"
        elif not fits:
            assert code or is_harmless(case), f"it breaks the document, and is taken: {sent}"


def turn_to_what_is_there(case: Case, dice: Any) -> None:
    """The one table, its columns and rows."""
    if isinstance(case.query, dict):
        case.query.pop("db", None)
        known = {"table": "students", "column": dice.choice(COLUMNS), "columns": [dice.choice(COLUMNS)], "row_id": dice.choice(ROW_IDS)}
        case.query.update({name: value for name, value in known.items() if name in case.query})
    body = case.body
    if not isinstance(body, dict):
        return
    body.pop("db_name", None)
    if "table_name" in body and "columns" not in body:
        body["table_name"] = "students"
    if "row_id" in body:
        body["row_id"] = dice.choice(ROW_IDS)
    for data in (body.get("data"), body.get("new_data"), *[row["data"] for row in body.get("rows", ())]):
        if isinstance(data, dict):
            values = list(data.values())
            data.clear()
            data.update(zip(COLUMNS[:3], values, strict=False))


def is_harmless(case: Case) -> bool:
    """What schemathesis calls broken and HTTP does not: any text is a text in a header or a query string, and any body is one of a load."""
    return case.method == "GET" and not case.query
