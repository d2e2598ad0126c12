"""/openapi.json: valid, whole, of this node's limits, with examples that work. Each answer is held to it by the client (`web_client`)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from web_client import Node
from web_conformance import deviation, resolved
from web_twin import config_of

from ddbd.config import Limits
from ddbd.web.app import Api
from ddbd.web.calls import CALLS
from ddbd.web.openapi import document
from ddbd.web.problems import STATUSES

PROBLEM = {"content-type": ["application/problem+json"], "retry-after": ["1"]}
UNROUTED = {"not_found", "method_not_allowed"}  # no call of the document is answered so


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def told(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = node.get("/openapi.json").json
    return found


def operations(told: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, call) for path, methods in told["paths"].items() for method, call in methods.items()]


def test_the_document_is_valid_openapi(told: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(told).validate()
    assert told["openapi"].startswith("3.1.")


def test_it_comes_with_a_tag_and_is_not_sent_twice(node: Node) -> None:
    first = node.get("/openapi.json")
    assert first.header("Content-Type") == "application/json"
    tag = first.header("ETag")
    assert tag is not None
    again = node.get("/openapi.json", If_None_Match=tag)
    assert (again.status, again.body, again.header("ETag")) == (304, b"", tag)
    assert node.get("/openapi.json", If_None_Match='"other"').body == first.body


def test_the_tag_is_another_one_where_the_limits_are_others(node: Node) -> None:
    other = Node(config_of(Limits(columns_max=20)))
    assert node.get("/openapi.json").header("ETag") != other.get("/openapi.json").header("ETag")


def test_every_route_of_the_app_is_in_the_document_and_nothing_else(told: dict[str, Any]) -> None:
    routes = {(method.lower(), rule.rule) for rule in Api.app.url_map.iter_rules() for method in set(rule.methods) - {"HEAD", "OPTIONS"}}
    assert {(method, path) for method, path, _ in operations(told)} == routes


def test_every_call_that_is_told_of_has_a_route() -> None:
    assert set(CALLS) == {rule.endpoint for rule in Api.app.url_map.iter_rules()}, "name the call in ddbd/web/calls.py"


def test_every_problem_code_is_told_of_where_it_can_be_met(told: dict[str, Any]) -> None:
    met = set()
    for _, path, call in operations(told):
        for status, ref in call["responses"].items():
            content = resolved(told, ref).get("content", {})
            if "application/problem+json" in content:
                codes = content["application/problem+json"]["schema"]["properties"]["code"]["enum"]
                assert all(STATUSES[code][0] == int(status) for code in codes), path
                met.update(codes)
    assert met == set(STATUSES) - UNROUTED
    assert told["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == list(STATUSES)


def test_the_limits_are_those_of_the_config() -> None:
    limits = Limits(columns_max=7, batch_rows_max=8, row_id_bytes_max=9, idempotency_key_chars_max=10, timeout_seconds_max=11.0)
    told = Node(config_of(limits)).get("/openapi.json").json
    schemas = told["components"]["schemas"]
    assert schemas["CreateTable"]["properties"]["columns"]["maxItems"] == 7
    assert schemas["InsertRows"]["properties"]["rows"]["maxItems"] == 8
    assert schemas["InsertRow"]["properties"]["row_id"]["maxLength"] == 9
    parameters = {each["name"]: each["schema"] for each in told["paths"]["/insert"]["post"]["parameters"]}
    assert parameters["Idempotency-Key"]["maxLength"] == 10
    assert parameters["timeout"] == {"type": "number", "exclusiveMinimum": 0, "maximum": 11.0, "default": 10.0}


def examples_of(content: dict[str, Any]) -> list[Any]:
    return [*[each["value"] for each in content.get("examples", {}).values()], *([content["example"]] if "example" in content else [])]


def test_the_examples_of_all_calls_work_in_their_order(node: Node, told: dict[str, Any]) -> None:
    for method, path, call in operations(told):
        query = "&".join(f"{each['name']}={each['example']}" for each in call.get("parameters", ()) if "example" in each)
        if "requestBody" not in call:
            assert node.call(method.upper(), f"{path}?{query}").status == 200, path
            continue
        for media_type, content in call["requestBody"]["content"].items():
            for example in examples_of(content):
                is_load = isinstance(example, str)
                data = example.encode() if isinstance(example, str) else json.dumps(example).encode()
                reply = node.call("POST", f"{path}?table=students" if is_load else path, data, {"Content-Type": media_type})
                assert reply.status == 200, f"{path} {media_type}: {reply.body!r}"


def test_the_examples_fit_their_schemas(told: dict[str, Any]) -> None:
    looked_at = 0
    for _, path, call in operations(told):
        contents = [call.get("requestBody", {}), *[resolved(told, each) for each in call["responses"].values()]]
        for content in [content for each in contents for content in each.get("content", {}).values()]:
            schema = Draft202012Validator({**content["schema"], "components": told["components"]})
            for example in examples_of(content):
                looked_at += 1
                assert schema.is_valid(example), f"{path}: {example}"
    assert looked_at >= 20


def test_a_route_that_nobody_told_of_is_an_error() -> None:
    from klein import Klein

    app = Klein()
    app.route("/surprise", methods=["GET"], endpoint="surprise")(lambda request: b"")
    with pytest.raises(KeyError, match="surprise"):
        document(app, config_of())


@pytest.mark.parametrize(
    ("target", "status", "headers", "body", "sentence"),
    [
        ("/ping", 418, {}, b"", "is never answered 418"),
        ("/ping", 200, {"ddb-node": ["1"]}, b"", "Ddb-Term is missing"),
        ("/ping", 200, {"etag": ['"1"']}, b"", "ETag is not told of"),
        ("/ping", 200, {"ddb-term": ["x"]}, b"", "Ddb-Term is 'x'"),
        ("/ping", 200, {"content-type": ["text/html"]}, b"", "200 is text/html"),
        ("/ping", 200, {}, b'{"status":"ok"}', "'node' is a required property"),
        ("/ping", 200, {}, b'{"status":"ok","node":"1","more":1}', "'more' was unexpected"),
        ("/status", 503, PROBLEM, b'{"type":"","title":"","detail":"","status":503,"code":"no_leader"}', "'no_leader' is not one of"),
    ],
)
def test_a_deviation_is_found(target: str, status: int, headers: dict[str, list[str]], body: bytes, sentence: str) -> None:
    whole = {"ddb-node": ["1"], "ddb-term": ["1"], "ddb-index": ["1"], "content-type": ["application/json"]}
    given = headers if headers.keys() == {"ddb-node"} else {**whole, **headers}
    assert sentence in str(deviation(config_of(), "GET", target, status, given, body))


def test_what_is_no_call_of_the_document_is_not_judged() -> None:
    assert deviation(config_of(), "GET", "/nowhere", 404, {}, b"") is None
    assert deviation(config_of(), "PUT", "/ping", 405, {}, b"") is None
