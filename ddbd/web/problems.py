"""The one table from a code to its status and title, and the body that says it (RFC 9457).

Whatever goes wrong ends here: a `DdbError` by its code, an error of the router by its status, anything else as 500 with a random id
that finds the details in the log. No stack trace and no message of a foreign exception ever leaves the node.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from ddbd.errors import DdbError

CONTENT_TYPE = b"application/problem+json"
RETRY_AFTER_SECONDS = 1

STATUSES: dict[str, tuple[int, str]] = {
    "not_master": (307, "Another node is the master"),
    "bad_request": (400, "Malformed request"),
    "invalid_json": (400, "Invalid JSON"),
    "invalid_csv": (400, "Invalid CSV"),
    "invalid_backup": (400, "Invalid backup"),
    "invalid_name": (400, "Invalid name"),
    "invalid_value": (400, "Invalid value"),
    "missing_field": (400, "Missing field"),
    "unknown_field": (400, "Unknown field"),
    "unknown_parameter": (400, "Unknown parameter"),
    "unknown_column": (400, "Unknown column"),
    "cross_origin": (403, "Foreign origin"),
    "no_database": (404, "No database yet"),
    "database_not_found": (404, "Database not found"),
    "table_not_found": (404, "Table not found"),
    "row_not_found": (404, "Row not found"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "not_acceptable": (406, "Not acceptable"),
    "request_timeout": (408, "Request too slow"),
    "row_exists": (409, "Row exists"),
    "table_exists": (409, "Table exists"),
    "database_exists": (409, "Database exists"),
    "content_mismatch": (409, "Content differs"),
    "version_mismatch": (412, "Version mismatch"),
    "body_too_large": (413, "Body too large"),
    "unsupported_media_type": (415, "Unsupported media type"),
    "expectation_failed": (417, "Expectation failed"),
    "misdirected": (421, "Misdirected request"),
    "idempotency_mismatch": (422, "Idempotency key reused"),
    "head_too_large": (431, "Request head too large"),
    "internal": (500, "Internal error"),
    "no_leader": (503, "No leader"),
    "overloaded": (503, "Overloaded"),
    "not_ready": (503, "Not ready"),
    "unhealthy": (503, "Unhealthy"),
    "not_handed_over": (503, "Leadership stays"),
    "idempotency_full": (503, "Idempotency table full"),
    "scan_timed_out": (503, "Scan timed out"),
    "outcome_unknown": (504, "Outcome unknown"),
    "disk_full": (507, "Disk full"),
}

# Further members of some bodies, as JSON Schema: where a call belongs to the master, and how far a load came.
_PLACE = {"type": "integer", "minimum": 0}
PROBLEM_MORE: dict[str, Any] = {
    "master": {"type": "object", "properties": {"id": {"type": "string"}, "address": {"type": "string"}}, "required": ["id", "address"]},
    "staged": {"type": "array", "items": {"type": "string"}},
    **dict.fromkeys(("rows", "slices", "index", "row", "first_row", "last_row"), _PLACE),
}


class Problem(NamedTuple):
    status: int
    title: str
    code: str
    detail: str
    more: dict[str, Any]  # further members of the body (RFC 9457, 3.2)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What a client's library acts on. Only a 503 is certainly not done, so only that invites to try again."""
        return [(b"Retry-After", b"%d" % RETRY_AFTER_SECONDS)] if self.status == 503 else []

    def body(self) -> bytes:
        fields = {"type": f"urn:ddbd:problem:{self.code}", "title": self.title, "status": self.status, "detail": self.detail}
        return msgspec.json.encode({**fields, "code": self.code, **self.more}) + b"\n"


def problem_of(error: DdbError) -> Problem:
    """`error.more`, where there is one, are further members of the body. A code that is not in the table is a bug, answered as 500."""
    status, title = STATUSES.get(error.code, STATUSES["internal"])
    return Problem(status, title, error.code, error.detail, getattr(error, "more", {}))


def internal_problem(error_id: str) -> Problem:
    status, title = STATUSES["internal"]
    return Problem(status, title, "internal", f"this node met an error of its own; its log tells more under {error_id}", {})


def reason_phrase(status: int) -> bytes:
    if status == 421:
        return b"Misdirected Request"
    return HTTPStatus(status).phrase.encode()
