"""What a client is told on success, as types. The type checker holds the code to them, and /openapi.json is made of them.

Nothing here runs: each is a plain dict. A problem's shape is the web room's own (`web.problems`).
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class DatabaseMade(TypedDict):
    status: Literal["ok"]
    db: str
    created: bool  # false: it was there


class DatabaseDropped(TypedDict):
    status: Literal["ok"]
    db: str


class TableMade(TypedDict):
    status: Literal["ok"]
    db: str
    table: str
    created: bool  # false: it was there, with the same columns


class TableDeleted(TypedDict):
    status: Literal["ok"]
    db: str
    table: str


class RowWritten(TypedDict):
    row_id: str
    version: int  # the log index of the row's last write
    index: int


class RowsWritten(TypedDict):
    row_ids: list[str]
    version: int
    index: int


class Loaded(TypedDict):
    """A streaming load: rows and slices that are done, and the index of the last one."""

    rows: int
    slices: int
    index: int


Handed = TypedDict("Handed", {"status": Literal["ok"], "from": str, "to": str, "term": int})
"""Leadership: who had it, who has it, and in which term."""


class DatabasesSwitched(TypedDict):
    """Of the command at the end of a restore."""

    status: Literal["ok"]
    databases: list[str]
    index: int


Written = DatabasesSwitched | DatabaseMade | DatabaseDropped | TableMade | TableDeleted | RowWritten | RowsWritten


class Pong(TypedDict):
    status: Literal["ok"]
    node: str


class Healthy(TypedDict):
    status: Literal["ok"]


# /status.


class Address(TypedDict):
    id: str
    address: str | None


class ThisNode(TypedDict):
    id: str
    address: str
    role: Literal["leader", "follower", "candidate", "learner"]
    is_master: bool
    reactor: NotRequired[dict[str, Any] | None]


class NodeStatus(TypedDict):
    """As the leader last told; null: unknown."""

    id: str
    address: str | None
    is_master: bool
    reachable: bool | None
    match_index: int | None
    lag_entries: int | None


class TableStatus(TypedDict):
    name: str
    columns: list[str]
    types: list[str]  # of the columns, in their order
    indexed: list[str]  # those of the columns that have an index
    row_count: int


class DatabaseStatus(TypedDict):
    name: str
    tables: list[TableStatus]


class StateStatus(TypedDict):
    index: int
    hash: str | None
    compared_index: int | None


class MembershipStatus(TypedDict):
    voters: list[str]
    outgoing: list[str]
    learners: list[str]


class LogStatus(TypedDict):
    first_index: int
    saved_index: int


class Counters(TypedDict, total=False):
    """Of the tables; twins in memory have fewer."""

    idempotency_keys: int
    idempotency_keys_max: int
    tables_bytes: int
    wal_bytes: int
    owed_bytes: int
    scans_open: int
    hash_format: str


class ClusterStatus(Counters):
    """One node's view of the cluster. What is not required is there once the node is part of one."""

    node: ThisNode
    master: Address | None
    term: int
    last_index: int
    commit_index: int
    applied_index: int
    default_database: str | None
    databases: list[DatabaseStatus]
    nodes: list[NodeStatus]
    ready: bool
    healthy: bool
    quarantined: NotRequired[bool]
    state: NotRequired[StateStatus]
    membership: NotRequired[MembershipStatus]
    staleness_ms: NotRequired[int | None]
    log: NotRequired[LogStatus]
    writes_open: NotRequired[int]
    writes_open_max: NotRequired[int]
    disk_full: NotRequired[bool]
    seeding: NotRequired[bool]


class StandbyStatus(ClusterStatus):
    """Before the node is part of a cluster."""

    waiting: str  # for what


class RestoredDatabase(TypedDict):
    db: str
    source: str  # its name in the backup
    tables: int
    rows: int
    content: str  # the hash of its content, that of the backup


class Restored(TypedDict):
    status: Literal["ok"]
    databases: list[RestoredDatabase]
    index: int


class Happened(TypedDict):
    """An event of the timeline."""

    id: int
    at: float  # by the wall clock
    kind: str
    node: str | None  # whom it is about
    text: str
    details: dict[str, Any]


class Rates(TypedDict):
    """Of calls at this node, a second."""

    writes: float
    reads: float


class Status(ClusterStatus):
    """With what the web room knows."""

    rates: Rates
    waiting: NotRequired[str]
