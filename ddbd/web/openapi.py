"""/openapi.json (OpenAPI 3.1): what the routes, the tables of fields and parameters, and the types of the answers say, put together.

Nothing of a call is told twice: a route that is not in `calls` cannot be documented, and a field that is checked is told as it is checked,
with the limits of this node's config. Problems of one status are one response, named after their codes. Made once, when first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

import msgspec
from klein import Klein

import ddbd
from ddbd.config import Config, Limits
from ddbd.web.calls import CALLS, EXAMPLES, LINES, ROWS, TEXT, Call
from ddbd.web.formats import MEDIA_TYPES
from ddbd.web.kinds import Body, Field, Schema
from ddbd.web.problems import CONTENT_TYPE, PROBLEM_MORE, STATUSES
from ddbd.web.reply import Reply, matches
from ddbd.web.request_ids import CHARS_MAX

VERSION = "3.1.0"
LOAD_EXAMPLES = {"text/csv": "row_id,name,grade\r\n5,Nour,B\r\n", "application/x-ndjson": '{"row_id":"6","name":"Omar","grade":"A"}\n'}

_INTEGER: Schema = {"type": "integer", "minimum": 0}
_TAG: Schema = {"type": "string", "pattern": '^"[^"]+"$'}
HEADERS: dict[str, tuple[str, Schema]] = {
    "Ddb-Node": ("who answered", {"type": "string"}),
    "Ddb-Term": ("in which term", _INTEGER),
    "Ddb-Index": ("the index that this node had applied; a read's rows are of that index", _INTEGER),
    "Ddb-Request-Id": (
        "by which the log knows the request: the client's own X-Request-Id, or the trace id of its traceparent; else with a 500 alone",
        {"type": "string", "minLength": 1, "maxLength": CHARS_MAX},
    ),
    "Ddb-Staleness-Ms": ("with consistency=local: how old the rows can be at most", {"type": "string", "pattern": "^([0-9]+|unknown)$"}),
    "Link": ('where more rows follow: the next page, as rel="next"', {"type": "string", "pattern": '^<.+>; rel="next"$'}),
    "Ddb-Backup-Lines": ("how many lines the backup has", {"type": "integer", "minimum": 2}),
    "ETag": ("of a row: its version", _TAG),
    "Location": ("the same call at the master", {"type": "string", "format": "uri"}),
    "Retry-After": ("seconds", _INTEGER),
}
ALWAYS = ("Ddb-Node", "Ddb-Term", "Ddb-Index")
EVERYWHERE = (*ALWAYS, "Ddb-Request-Id")
OF_STATUS = {307: ("Location",), 503: ("Retry-After",), 304: ("ETag",)}  # always there too

_METHODS = frozenset({"HEAD", "OPTIONS"})  # HEAD works wherever GET does, and OPTIONS tells the methods: neither is told for each path
_TEMPLATE = "#/components/schemas/{name}"


class Document:
    """Encoded, with its ETag."""

    def __init__(self, app: Klein, config: Config) -> None:
        self.body = msgspec.json.encode(document(app, config)) + b"\n"
        self._etag = b'"%s"' % sha256(self.body).hexdigest()[:32].encode("ascii")

    def reply(self, if_none_match: Iterable[bytes]) -> Reply:
        headers = ((b"ETag", self._etag),)
        if matches(if_none_match, self._etag):
            return Reply(304, headers=headers)
        return Reply(200, self.body, headers=headers)


def document(app: Klein, config: Config) -> dict[str, Any]:
    """Raises KeyError for a route that nobody told about."""
    maker = _Maker(config.limits)
    order = list(CALLS)
    rules = sorted(app.url_map.iter_rules(), key=lambda rule: order.index(rule.endpoint) if rule.endpoint in order else len(order))
    paths: dict[str, Any] = {}
    for rule in rules:
        for method in sorted(set(rule.methods or ()) - _METHODS):
            paths.setdefault(rule.rule, {})[method.lower()] = maker.operation(rule.endpoint, CALLS[rule.endpoint])
    here = {"url": "/", "description": "the node that gave this document"}
    nodes = [{"url": node.url, "description": f"node {node.id}"} for node in config.nodes]
    return {
        "openapi": VERSION,
        "info": {
            "title": "ddbd",
            "version": ddbd.__version__,
            "summary": "A highly available database that you can curl",
            "description": "Every node answers every call. HEAD works wherever GET does. What is not told here is refused.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [here, *nodes],
        "tags": [{"name": name} for name in dict.fromkeys(call.tag for call in CALLS.values())],
        "paths": paths,
        "components": maker.components(),
    }


class _Maker:
    """Gathers what several calls share."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._schemas: dict[str, Any] = {"Problem": _problem_schema(), "Rows": _rows_schema()}
        self._responses: dict[str, Any] = {}
        self._types: list[Any] = []

    def components(self) -> dict[str, Any]:
        _, made = msgspec.json.schema_components(self._types, ref_template=_TEMPLATE)
        certain = {*ALWAYS, *(name for names in OF_STATUS.values() for name in names)} - {"ETag"}
        headers = {name: {"description": about, "required": name in certain, "schema": schema} for name, (about, schema) in HEADERS.items()}
        return {"schemas": {**self._schemas, **made}, "responses": self._responses, "headers": headers}

    def operation(self, name: str, call: Call) -> dict[str, Any]:
        told: dict[str, Any] = {"operationId": name, "tags": [call.tag], "summary": call.summary}
        if call.about:
            told["description"] = call.about
        parameters = [*self._parameters(call), *self._request_headers(call)]
        if parameters:
            told["parameters"] = parameters
        if call.bodies or call.load_types:
            told["requestBody"] = self._request_body(call)
        return {**told, "responses": self._responses_of(call)}

    # What is sent.

    def _parameters(self, call: Call) -> Iterator[dict[str, Any]]:
        for name, field in call.parameters.items():
            schema = self._schema(field)
            told: dict[str, Any] = {"name": name, "in": "query", "required": field.required, "description": field.about, "schema": schema}
            if schema.get("type") == "array":
                told |= {"style": "form", "explode": False}
            if name in call.example:
                told["example"] = call.example[name]
            yield told

    def _request_headers(self, call: Call) -> Iterator[dict[str, Any]]:
        if call.is_keyed:
            chars_max = self._limits.idempotency_key_chars_max
            schema = {"type": "string", "minLength": 1, "maxLength": chars_max, "pattern": "^[ -~]*$"}
            about = "the same write, sent again with the same key, is done once and gets the same answer"
            yield {"name": "Idempotency-Key", "in": "header", "description": about, "schema": schema}
        if call.has_etag:
            yield {"name": "If-None-Match", "in": "header", "description": "an ETag that is known", "schema": {"type": "string"}}

    def _schema(self, field: Field) -> Schema:
        schema = field.kind.schema(self._limits)
        return schema if field.default is None else {**schema, "default": field.default}

    def _request_body(self, call: Call) -> dict[str, Any]:
        if not call.bodies:
            text = {media_type: {"schema": {"type": "string"}} for media_type in call.load_types}
            return {"required": True, "description": "Of any length, whatever the content type says.", "content": text}
        refs = [self._body(body) for body in call.bodies]
        examples = {body.title: {"value": body.example} for body in call.bodies}
        content: dict[str, Any] = {"application/json": {"schema": _any_of(refs), "examples": examples}}
        for media_type in call.load_types:
            content[media_type] = {"schema": {"type": "string"}, "example": LOAD_EXAMPLES[media_type]}
        about = (
            f"At most {self._limits.body_bytes_max} bytes, {self._limits.json_depth_max} levels deep; JSON whatever the content type says."
        )
        return {"required": True, "description": about, "content": content}

    def _body(self, body: Body) -> Schema:
        self._schemas[body.title] = {
            "type": "object",
            "properties": {
                name: {**self._schema(field), "description": _about(field, self._limits)} for name, field in body.fields.items()
            },
            "required": [name for name, field in body.fields.items() if field.required],
            "additionalProperties": False,
        }
        return {"$ref": _TEMPLATE.format(name=body.title)}

    # What comes back.

    def _responses_of(self, call: Call) -> dict[str, Any]:
        names = [*EVERYWHERE, *call.headers, *(["ETag"] if call.has_etag else [])]
        told: dict[str, Any] = {"200": {"description": "done", "headers": _headers(names), "content": self._content(call)}}
        if call.has_etag:
            told["304"] = {"description": "the client has it already", "headers": _headers((*EVERYWHERE, *OF_STATUS[304]))}
        for status in sorted({STATUSES[code][0] for code in call.codes}):
            codes = sorted(code for code in call.codes if STATUSES[code][0] == status)
            told[str(status)] = self._problems(status, codes)
        return told

    def _content(self, call: Call) -> dict[str, Any]:
        if ROWS in call.answers:
            text = {"schema": {"type": "string"}}
            rows = {"schema": {"$ref": _TEMPLATE.format(name="Rows")}, "example": EXAMPLES[ROWS]}
            return {media_type: rows if media_type == "application/json" else text for media_type in MEDIA_TYPES}
        if LINES in call.answers:
            return {"application/x-ndjson": {"schema": {"type": "string"}}}
        if TEXT in call.answers:
            return {"text/plain": {"schema": {"type": "string"}}}
        if dict in call.answers:
            return {"application/json": {"schema": {"type": "object"}}}
        self._types += call.answers
        refs, _ = msgspec.json.schema_components(call.answers, ref_template=_TEMPLATE)
        examples = {answer.__name__: {"value": EXAMPLES[answer]} for answer in call.answers if answer in EXAMPLES}
        return {"application/json": {"schema": _any_of(list(refs)), **({"examples": examples} if examples else {})}}

    def _problems(self, status: int, codes: list[str]) -> Schema:
        name = f"{status}.{'.'.join(codes)}"
        if name not in self._responses:
            problem = {"$ref": _TEMPLATE.format(name="Problem")}
            schema = {"allOf": [problem], "properties": {"status": {"const": status}, "code": {"enum": codes}}}
            self._responses[name] = {
                "description": "; ".join(STATUSES[code][1] for code in codes),
                "headers": _headers((*EVERYWHERE, *OF_STATUS.get(status, ()))),
                "content": {CONTENT_TYPE.decode("ascii"): {"schema": schema}},
            }
        return {"$ref": f"#/components/responses/{name}"}


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _any_of(schemas: list[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _about(field: Field, limits: Limits) -> str:
    """What the field means, then what its kind has to say."""
    more = field.kind.schema(limits).get("description")
    return f"{field.about[0].upper()}{field.about[1:]}." + (f" {more}" if more else "")


def _rows_schema() -> Schema:
    row = {"type": "object", "properties": {"row_id": {"type": "string"}, "_version": _INTEGER}, "required": ["row_id"]}
    return {"type": "array", "items": row, "description": "Flat rows: row_id, then the columns, then _version where it was asked for."}


def _problem_schema() -> Schema:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "RFC 9457. The code is a stable word, the detail one sentence for people.",
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": {"enum": list(STATUSES)},
            **PROBLEM_MORE,
        },
        "required": ["type", "title", "status", "detail", "code"],
        "example": {
            "type": "urn:ddbd:problem:row_not_found",
            "title": STATUSES["row_not_found"][1],
            "status": STATUSES["row_not_found"][0],
            "detail": "table students has no row '1'",
            "code": "row_not_found",
        },
    }
