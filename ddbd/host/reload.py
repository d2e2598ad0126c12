"""What of a config can change while the node runs.

All or nothing: one key that cannot, and nothing is changed. What cannot is what the running node is built on (its port, the log's segments,
the frames between the nodes), what all nodes must have alike at the same time (timing, limits that decide outcomes), and who the members
are: that is agreed on in the log, and no file decides it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ddbd.config import Config
from ddbd.errors import ConfigError
from ddbd.raft.types import NodeId

# Looked at anew at each request or each checkpoint; what is under way ends as it began.
LIVE_LIMITS = frozenset(
    {
        *("body_bytes_max", "row_id_bytes_max", "columns_max", "indexes_max", "batch_rows_max", "json_depth_max"),
        *("head_bytes_max", "head_fields_max", "idempotency_key_chars_max", "connections_max", "head_seconds", "body_seconds"),
        *("timeout_seconds_max", "backup_idle_seconds", "proposals_open_max", "proposals_open_bytes_max", "reads_open_max"),
        *("log_tail_entries", "log_tail_bytes", "checkpoint_wal_bytes", "checkpoint_entries"),
    }
)


def changes(running: Config, read: Config, node_id: NodeId) -> list[str]:
    """The keys that differ. Raises ConfigError for the first one that cannot change while the node runs."""
    if running.node_ids != read.node_ids:
        now, then = ", ".join(running.node_ids), ", ".join(read.node_ids)
        raise ConfigError(
            f"{read.path}: nodes: the members are agreed on by the cluster ({now}), a config with {then} changes none of them"
        )
    own, other = running.node(node_id), read.node(node_id)
    if (own.bind, own.port) != (other.bind, other.port):
        key = "bind" if own.port == other.port else "address"
        raise ConfigError(f"{read.path}: nodes: {key} of node {node_id}: it listens on {own.bind} port {own.port} until it is restarted")
    found = [*_nodes(running, read), *_plain(running, read)]
    for group, live in (("timing", frozenset[str]()), ("limits", LIVE_LIMITS)):
        for name, before, after in _fields(getattr(running, group), getattr(read, group)):
            if name not in live:
                raise ConfigError(f"{read.path}: {group}.{name}: {before} until the node is restarted, so it cannot become {after}")
            found.append(f"{group}.{name}")
    return found


def _fields(running: Any, read: Any) -> Iterator[tuple[str, Any, Any]]:
    for name in running.__struct_fields__:
        before, after = getattr(running, name), getattr(read, name)
        if before != after:
            yield name, before, after


def _nodes(running: Config, read: Config) -> Iterator[str]:
    for before, after in zip(running.nodes, read.nodes, strict=True):
        if before.address != after.address:
            yield f"address of node {after.id}"
        if before.is_master != after.is_master:
            yield f"isMaster of node {after.id}"


def _plain(running: Config, read: Config) -> Iterator[str]:
    for name in ("insecure", "failback", "hosts", "log"):
        if getattr(running, name) != getattr(read, name):
            yield name
