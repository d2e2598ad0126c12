"""What a call can end with, other than its answer: one class for each thing that a program may want to act on.

    ClientError
      Refused            a node understood the call and says no; the same call again gets the same no
        BadRequest         400 and its kin: the call itself must be changed (UnknownColumn, InvalidName, …)
        NotFound           404: DatabaseNotFound, NoDatabase, TableNotFound, RowNotFound
        Conflict           409: RowExists, TableExists
        VersionMismatch    412: somebody else wrote the row
        KeyReused          422: the idempotency key belongs to another request
        DiskFull           507: deletes and reads go on
      Unavailable        no node took it before the deadline; certainly not done
      OutcomeUnknown     a write left this client and no answer came before the deadline: it may be done, now or later
      BadAnswer          what answered is no node of this kind

`code` is the stable word of the problem, `detail` its sentence, `status` the HTTP status (None where no answer came), `curl` the line
for a shell that sends the same request. New codes of a newer node fall back to the class of their status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddbd.errors import DdbError


class ClientError(DdbError):
    """The parent of all that a call raises, but for mistakes of the caller (TypeError, ValueError)."""

    code = "client_error"

    def __init__(
        self, detail: str, *, code: str = "", status: int | None = None, curl: str = "", more: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code or type(self).code
        self.status = status
        self.curl = curl
        self.more = dict(more or {})  # further members of the problem


class CannotBeSent(ValueError):
    """A mistake of the caller: a value that JSON or UTF-8 has no words for."""


class Refused(ClientError):
    """A clear no."""


class BadRequest(Refused):
    """The call must be changed before it can be taken."""


class UnknownColumn(BadRequest):
    """The table has no such column."""


class InvalidName(BadRequest):
    """A database, a table or a column cannot be called that."""


class InvalidValue(BadRequest):
    """A value of the wrong kind or size."""


class TooLarge(BadRequest):
    """More than a node takes at once."""


class Forbidden(Refused):
    """The node takes no such call from here."""


class NotFound(Refused):
    """What is named is not there."""


class NoDatabase(NotFound):
    """The call names no database, and there is no default one."""


class DatabaseNotFound(NotFound):
    """There is no such database."""


class TableNotFound(NotFound):
    """There is no such table."""


class RowNotFound(NotFound):
    """There is no such row."""


class Conflict(Refused):
    """It is there already."""


class RowExists(Conflict):
    """A row of this id is there; `upsert` replaces it."""


class TableExists(Conflict):
    """A table of this name is there, with other columns."""


class VersionMismatch(Refused):
    """The row has another version than `if_version`: read it again and decide anew."""


class KeyReused(Refused):
    """The idempotency key was used with another request."""


class DiskFull(Refused):
    """The reserve of the disk is touched."""


class ServerFault(ClientError):
    """A node met an error of its own; its log tells more."""


class Unavailable(ClientError):
    """No node took the call before the deadline. It was certainly not done."""

    code = "unavailable"


class NoNodeAnswers(Unavailable):
    """Not one node was reached."""

    code = "unreachable"


class OutcomeUnknown(ClientError):
    """The write may be done, now or later. Repeat it with the same `idempotency_key`, or read."""

    code = "outcome_unknown"

    def __init__(self, detail: str, *, idempotency_key: str, **more: Any) -> None:
        super().__init__(detail, **more)
        self.idempotency_key = idempotency_key


class BadAnswer(ClientError):
    """The answer is none that a node of this kind gives."""

    code = "bad_answer"


_BY_CODE: dict[str, type[ClientError]] = {
    "unknown_column": UnknownColumn,
    "invalid_name": InvalidName,
    "invalid_value": InvalidValue,
    "no_database": NoDatabase,
    "database_not_found": DatabaseNotFound,
    "table_not_found": TableNotFound,
    "row_not_found": RowNotFound,
    "row_exists": RowExists,
    "table_exists": TableExists,
    "version_mismatch": VersionMismatch,
    "idempotency_mismatch": KeyReused,
    "disk_full": DiskFull,
    "internal": ServerFault,
}

_BY_STATUS: dict[int, type[ClientError]] = {
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: VersionMismatch,
    413: TooLarge,
    421: Forbidden,
    422: KeyReused,
    431: TooLarge,
    503: Unavailable,
    507: DiskFull,
}


def error_class(code: str, status: int) -> type[ClientError]:
    """A 504 is no such class: only who knows the key of the request can say OutcomeUnknown."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500:
        return BadRequest
    return ServerFault if status >= 500 else BadAnswer
