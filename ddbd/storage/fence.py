"""Two notes in a data directory that keep a node from starting on it. They are left by a recovery from a lost quorum (`ddbd.rescue`).

    fenced.json      this directory's cluster was recovered without it, under another id: what it holds is history. For ever.
    recovery.json    a recovery was begun on this directory and not finished: it may only be finished.

Whoever starts a node reads them first. The directories of lost nodes come back on machines that nobody thought of; two of them together
would be a majority of the old cluster. So a node that learns of the recovery while it runs writes `fenced.json` before it ends.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ddbd.errors import ConfigError, Corrupt, StorageFailed
from ddbd.storage.disk import Disk, RealDisk, write_atomically

FENCED = "fenced.json"
RECOVERY = "recovery.json"


class Fence(msgspec.Struct, frozen=True):
    """`cluster_id` is the new one; `node_id` is who tells of it."""

    cluster_id: str
    node_id: str


def write_fence(path: Path, fence: Fence, disk: Disk | None = None) -> None:
    """On the platter when it returns. Raises StorageFailed."""
    try:
        write_atomically(disk or RealDisk(), str(path), FENCED, msgspec.json.encode(fence) + b"\n")
    except OSError as error:
        raise StorageFailed(f"{path}/{FENCED}: cannot be written: {error}") from error


def read_fence(path: Path) -> Fence | None:
    """Raises Corrupt for one that cannot be read: it fences all the same."""
    try:
        return msgspec.json.decode((path / FENCED).read_bytes(), type=Fence)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{path}/{FENCED}: {error}; there was a recovery without this directory: start with an empty one") from error


def fenced(path: Path, fence: Fence) -> str:
    return (
        f"{path}: its cluster was recovered without it, as cluster {fence.cluster_id} (says node {fence.node_id}); what it holds is "
        "history: move the directory away, keep it until nobody misses anything, and start with an empty one"
    )


def assert_startable(path: Path) -> None:
    """Raises ConfigError, Corrupt."""
    fence = read_fence(path)
    if fence is not None:
        raise ConfigError(fenced(path, fence))
    if (path / RECOVERY).exists():
        raise ConfigError(f"{path}: a recovery was begun here and not finished; run ddb recover on it again")
