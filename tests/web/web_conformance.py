"""Whether an answer is what /openapi.json says of its call. The tests' client asks this of every answer that it gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator

from ddbd.config import Config, Limits
from ddbd.web.app import Api
from ddbd.web.openapi import document

WITHOUT_BODY = (204, 304)


@lru_cache(maxsize=16)
def _document(limits: Limits, config: Config) -> dict[str, Any]:
    return closed(document(Api.app, config))


def closed(told: dict[str, Any]) -> dict[str, Any]:
    """A field of an answer that the document does not name is a deviation here. To clients it is not: answers may grow."""
    for schema in told["components"]["schemas"].values():
        if schema["type"] == "object":
            schema["additionalProperties"] = False
    return told


def resolved(told: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        found: Any = told
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def deviation(config: Config, method: str, target: str, status: int, headers: Mapping[str, list[str]], body: bytes) -> str | None:
    """One sentence; None where nothing deviates. What is no call of the document is not judged. Header names are in lower case."""
    told = _document(config.limits, config)
    call = told["paths"].get(target.partition("?")[0], {}).get("get" if method == "HEAD" else method.lower())
    if call is None:
        return None
    response = call["responses"].get(str(status))
    if response is None:
        return f"{method} {target} is never answered {status}: {body[:500]!r}"
    response = resolved(told, response)
    return _headers(told, response, headers) or _body(told, response, status, headers, body, method)


def _headers(told: dict[str, Any], response: dict[str, Any], headers: Mapping[str, list[str]]) -> str | None:
    for name in ("Ddb-Node", "Ddb-Term", "Ddb-Index"):
        if name.lower() not in headers:
            return f"{name} is missing"
    for name in ("Retry-After", "Location", "Link", "ETag", "Ddb-Staleness-Ms"):
        if name.lower() in headers and name not in response["headers"]:
            return f"{name} is not told of"
    for name, ref in response["headers"].items():
        for value in headers.get(name.lower(), ()):
            schema = resolved(told, ref)["schema"]
            read = int(value) if value.isdecimal() and schema.get("type") != "string" else value
            if not Draft202012Validator(schema).is_valid(read):
                return f"{name} is {value!r}, told {schema}"
    return None


def _body(
    told: dict[str, Any], response: dict[str, Any], status: int, headers: Mapping[str, list[str]], body: bytes, method: str
) -> str | None:
    if status in WITHOUT_BODY:
        return None if "content" not in response else f"{status} has no body, but one is told of"
    media_type = headers["content-type"][0].partition(";")[0]
    if media_type not in response["content"]:
        return f"{status} is {media_type}, told {list(response['content'])}"
    if method == "HEAD" or not media_type.endswith("json") or media_type.endswith("ndjson"):
        return None
    schema = {**response["content"][media_type]["schema"], "components": told["components"]}
    for error in Draft202012Validator(schema).iter_errors(json.loads(body)):
        return f"{error.json_path}: {error.message}"
    return None
