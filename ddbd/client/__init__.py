"""The client in Python: finds a living node by itself, survives a failover, and never does a write twice.

    Client       waits for each answer; for programs without a reactor, safe for threads
    AsyncClient  the same calls for Twisted, `async def`

What they share knows no socket and no clock, and is tested without:

    calls      each call: its request, and how its answer is read        attempts   which node next, how long, when to give up
    http       requests and answers as values; the curl line             nodes      the addresses, and which of them was well
    load       many rows, in batches that can be repeated                lines      a table of any length, row by row
    values     what calls give back                                      errors     what else they end with

Importing this package imports none of them: each comes with the first use of what it has, and Twisted with that of `AsyncClient`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddbd.client.asynchronous import AsyncClient
    from ddbd.client.attempts import Policy, SendFailed
    from ddbd.client.blocking import Client
    from ddbd.client.calls import OPS, Call, Column, Wanted, new_key
    from ddbd.client.errors import (
        BadAnswer,
        BadRequest,
        CannotBeSent,
        ClientError,
        Conflict,
        DatabaseNotFound,
        DiskFull,
        Forbidden,
        InvalidName,
        InvalidValue,
        KeyReused,
        NoDatabase,
        NoNodeAnswers,
        NotFound,
        OutcomeUnknown,
        Refused,
        RowExists,
        RowNotFound,
        ServerFault,
        TableExists,
        TableNotFound,
        TooLarge,
        Unavailable,
        UnknownColumn,
        VersionMismatch,
    )
    from ddbd.client.http import Answer, Request, check_key, path_of
    from ddbd.client.lines import PAGE_ROWS
    from ddbd.client.load import Load, RefusedRow, Spent
    from ddbd.client.nodes import addresses_of
    from ddbd.client.sockets import Sockets
    from ddbd.client.transport import Opened, Transport
    from ddbd.client.values import Loaded, NodeReport, Page, Row, StoredRow, Written, WrittenMany

__all__ = [
    "OPS",
    "PAGE_ROWS",
    "Answer",
    "AsyncClient",
    "BadAnswer",
    "BadRequest",
    "Call",
    "CannotBeSent",
    "Client",
    "ClientError",
    "Column",
    "Conflict",
    "DatabaseNotFound",
    "DiskFull",
    "Forbidden",
    "InvalidName",
    "InvalidValue",
    "KeyReused",
    "Load",
    "Loaded",
    "NoDatabase",
    "NoNodeAnswers",
    "NodeReport",
    "NotFound",
    "Opened",
    "OutcomeUnknown",
    "Page",
    "Policy",
    "Refused",
    "RefusedRow",
    "Request",
    "Row",
    "RowExists",
    "RowNotFound",
    "SendFailed",
    "ServerFault",
    "Sockets",
    "Spent",
    "StoredRow",
    "TableExists",
    "TableNotFound",
    "TooLarge",
    "Transport",
    "Unavailable",
    "UnknownColumn",
    "VersionMismatch",
    "Wanted",
    "Written",
    "WrittenMany",
    "addresses_of",
    "check_key",
    "new_key",
    "path_of",
]

_NAMES = {
    "asynchronous": "AsyncClient",
    "attempts": "Policy SendFailed",
    "blocking": "Client",
    "calls": "Call Column OPS Wanted new_key",
    "http": "Answer Request check_key path_of",
    "lines": "PAGE_ROWS",
    "load": "Load RefusedRow Spent",
    "nodes": "addresses_of",
    "sockets": "Sockets",
    "transport": "Opened Transport",
    "values": "Loaded NodeReport Page Row StoredRow Written WrittenMany",
}
_MODULES = dict.fromkeys(__all__, "errors") | {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found
