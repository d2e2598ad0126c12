"""What every system under test can do. Three nodes on loopback, data on the disk, fsync on.

`count` is how a write round is verified: the rows that are really there, read back, not what the load believes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from ddbd.cli.client import NodeUnreachable, call

from .wrk import LoadFailed

READ_ROWS = 10_000
PAYLOAD = {"name": "Ahmed Ali", "grade": "A", "text": "x" * 64}  # as load.lua has it


class System(Protocol):
    name: str
    addresses: list[str]  # host:port, where the load goes

    def start(self) -> None:
        """Returns when three nodes are there and ready, with the rows that are to be read, and fsync was seen on each."""

    def close(self) -> None: ...

    def version(self) -> str: ...

    def pids(self) -> list[int]: ...

    def leader(self) -> int:
        """The place in `addresses`."""

    def count(self) -> int:
        """All rows, of all tables, that the leader has."""

    def agree(self) -> list[int]:
        """All rows that each node by itself has, once it has caught up."""


def targets_of(system: System, place: str) -> list[str]:
    """`leader`, `follower` or `spread`."""
    leader = system.leader()
    if place == "spread":
        return [*system.addresses[leader:], *system.addresses[:leader]]
    return [system.addresses[leader if place == "leader" else (leader + 1) % len(system.addresses)]]


def ask(address: str, path: str, body: object = None, timeout_seconds: float = 60.0) -> Any:
    """Raises LoadFailed for anything but a good answer."""
    try:
        reply = call(address, "GET" if body is None else "POST", path, body, timeout_seconds)
    except NodeUnreachable as error:
        raise LoadFailed(error.detail) from None
    if not reply.ok:
        raise LoadFailed(f"{address}{path} answered {reply.status}: {reply.text[:300]}")
    return reply.json()


def new_folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    return folder
