"""What a client can ask of the tables, as frozen values, and the bytes that stand for it in the log.

A command in the log is canonical: the web room refused whatever a replica could stumble over (see `web`), filled in ids, and resolved
names' spelling. Applying one reads no clock and no dice. `None` as a database means the default one at the time of applying.

Values: text, integers of 64 bits, finite floats, booleans, null, and nested lists and objects of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from ddbd.errors import DdbError

FORMAT = 2  # of proposals in the log; a node refuses a log with a higher one. 2: the commands of a restore

Value = Any  # str | int | float | bool | None | list[Value] | dict[str, Value]
Row = dict[str, Value]

COLUMN_TYPES = ("any", "text", "integer", "real", "boolean", "json")


class Column(msgspec.Struct, frozen=True, array_like=True):
    name: str
    type: str = "any"  # one of COLUMN_TYPES
    index: bool = False


class Command(msgspec.Struct, frozen=True, array_like=True):
    """A change of the tables."""


class Register(Command, frozen=True, array_like=True, tag="register"):
    """A node starts proposing. The index of this entry is its boot, so that a boot never repeats.

    The nonce tells a repeated registration (no effect) from a new start. `formats` is the highest format that the node reads.
    """

    node: str
    nonce: int
    formats: int = FORMAT


class InitDatabase(Command, frozen=True, array_like=True, tag="init_database"):
    """Creates the database unless it is there; makes it the default either way."""

    name: str


class DropDatabase(Command, frozen=True, array_like=True, tag="drop_database"):
    name: str


class StageDatabase(Command, frozen=True, array_like=True, tag="stage_database"):
    """Creates a database for a restore, unless it is there. The default database stays what it was. (Format 2.)"""

    name: str


class SwitchDatabases(Command, frozen=True, array_like=True, tag="switch_databases"):
    """Gives databases other names, all in one step: a restore's last one. (Format 2.)

    A database that has the name is dropped with `replace`, else the command is refused. Where it was the default, the one in its place is.
    `default` names the one that becomes it where there is none.
    """

    pairs: tuple[tuple[str, str], ...]  # (name now, name then)
    replace: bool = False
    default: str | None = None


class CreateTable(Command, frozen=True, array_like=True, tag="create_table"):
    db: str | None
    table: str
    columns: tuple[Column, ...]


class DeleteTable(Command, frozen=True, array_like=True, tag="delete_table"):
    db: str | None
    table: str


class Insert(Command, frozen=True, array_like=True, tag="insert"):
    """One row or many, all or nothing. `single` is how the client asked, and so how it is answered."""

    db: str | None
    table: str
    rows: tuple[tuple[str, Row], ...]  # (row_id, data)
    upsert: bool = False
    single: bool = True


class Update(Command, frozen=True, array_like=True, tag="update"):
    db: str | None
    table: str
    row_id: str
    new_data: Row
    if_version: int | None = None


class Delete(Command, frozen=True, array_like=True, tag="delete"):
    db: str | None
    table: str
    row_id: str
    if_version: int | None = None


AnyCommand = Register | InitDatabase | DropDatabase | CreateTable | DeleteTable | Insert | Update | Delete | StageDatabase | SwitchDatabases

_FORMATS: dict[type, int] = {StageDatabase: 2, SwitchDatabases: 2}

FREES_SPACE = (DropDatabase, DeleteTable, Delete, Register)  # what goes on when the disk is nearly full


class Proposal(msgspec.Struct, frozen=True, array_like=True):
    """A command on its way into the log, with what makes it happen at most once.

    (origin, boot, seq) is unique. `floor` is the lowest seq that the origin still waits for: only what is below may be forgotten.
    A proposal below the origin's newest floor, or of an older boot, is refused by apply and changes nothing.
    """

    origin: str
    boot: int
    seq: int
    floor: int
    command: AnyCommand
    key: str = ""  # the client's Idempotency-Key; empty without one
    fingerprint: bytes = b""  # of method, path, query and body, before ids were filled in


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What a command came to. `code` is empty on success; otherwise the contract's word, with the sentence in `detail`."""

    code: str
    detail: str
    body: Mapping[str, Any]  # one of `answers.Written`


Tell = Callable[[Answer | DdbError], None]  # called once, with what a write came to


class Applied(NamedTuple):
    """What applying one entry came to, in log order.

    `answer` is None where the proposal window refused it (a duplicate): whoever waits for it got the first one's answer.
    `origin` is empty for entries that no node waits for.
    """

    index: int  # type: ignore[assignment]
    origin: str
    boot: int
    seq: int
    answer: Answer | None


_encoder = msgspec.msgpack.Encoder()
_proposal_decoder = msgspec.msgpack.Decoder(Proposal)
_answer_decoder = msgspec.msgpack.Decoder(Answer)


def format_of(command: AnyCommand) -> int:
    """The lowest format that has this command: every member must read it before it is proposed."""
    return _FORMATS.get(type(command), 1)


def encode_proposal(proposal: Proposal) -> bytes:
    return _encoder.encode(proposal)


def decode_proposal(data: bytes) -> Proposal:
    """Raises msgspec.DecodeError when the bytes are no proposal."""
    return _proposal_decoder.decode(data)


def encode_answer(answer: Answer) -> bytes:
    return _encoder.encode(answer)


def decode_answer(data: bytes) -> Answer:
    return _answer_decoder.decode(data)
