"""What crosses rooms: errors that mean the same to the storage, the driver and the web.

Three kinds, kept apart. `Refused` is an answer: the call was understood and a stable word says why it was not done.
`Unavailable` and its children say that this node cannot answer now. `Fatal` stops the process: nothing after it can be trusted.
"""

from __future__ import annotations


class DdbError(Exception):
    """`code` is the stable word of the contract, `detail` one sentence that says what is wrong and what would be right."""

    code = "internal"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Refused(DdbError):
    """A clear no, from the door or from apply. The same for every replica."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def row_exists_detail(table: str, row_id: str) -> str:
    """Of the refusal `row_exists`: who gave many rows learns from it which one it was."""
    return f"table {table} has a row {row_id!a} already; update it, or insert with upsert"


class Unavailable(DdbError):
    """Certainly not done; trying again later may work. Answered as 503 with Retry-After."""

    code = "no_leader"


class NoLeader(Unavailable):
    """There was no leader, or no quorum behind it, before the deadline."""


class Busy(Unavailable):
    """A queue is full."""

    code = "overloaded"


class NotReady(Unavailable):
    """This node is quarantined, stopping, or not yet part of a cluster."""

    code = "not_ready"


class NotHandedOver(Unavailable):
    """Leadership stays where it is: nobody could take it over."""

    code = "not_handed_over"


class NoRoom(Unavailable):
    """The disk has no room for a copy of the tables. Nothing was left behind."""

    code = "disk_full"


class NotLeader(DdbError):
    """Only the leader answers this call."""

    code = "not_master"

    def __init__(self, leader_id: str) -> None:
        super().__init__(f"node {leader_id} is the master; send this call there, or add forward=true")
        self.leader_id = leader_id


class OutcomeUnknown(DdbError):
    """The write left this node and no answer came in time: it may be done, now or later."""

    code = "outcome_unknown"


class ScanTimedOut(DdbError):
    """A scan outlived its read transaction's limit."""

    code = "scan_timed_out"


class Fatal(DdbError):
    """The process must stop with this one line: state after it is not to be trusted."""

    code = "fatal"


class Corrupt(Fatal):
    """A checksum or an invariant of the disk does not hold."""


class StorageFailed(Fatal):
    """The disk refused a write or an fsync: its outcome is unknown until the log is read again."""


class ConfigError(DdbError):
    """A mistake of the operator, answered in one sentence before anything is touched."""

    code = "config"
