"""config.json -> a frozen Config. A mistake is answered in one sentence that names the key.

    {"nodes": [{"id": "1", "address": "localhost:8080", "isMaster": true}, ...],
     "insecure": false, "failback": true, "hosts": [], "timing": {...}, "limits": {...}, "log": {...}}

Only `nodes` is required. Addresses live here and nowhere else: the log holds ids, so that a node can move. Every limit of the
daemon stands in `Limits`, every duration that two nodes must agree on in `Timing`.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import msgspec

from ddbd.errors import ConfigError
from ddbd.raft.types import NodeId, in_order

NODES_MAX = 9  # more voters only make each write slower; the peers of this kind advise at most 7 to 11
SEGMENT_BYTES_MAX = 1024 * 1024 * 1024  # a segment is read whole when a node starts, and a place in it is told in 32 bits
MESSAGE_BYTES_MIN = 4 * 1024 * 1024  # a node carries up to 1 MiB of writes to the leader at once, and leaves room around them

LOG_FORMATS = ("human", "json", "journal")
LOG_LEVELS = ("debug", "info", "warn", "error")

_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tick is the only clock that Raft sees.

    The election timeout must be well above the slowest fsync that is to be survived without an election, and above ten round trips
    between the nodes; the heartbeat well below a third of it. The start values suit disks that sync in under 100 ms and networks under
    50 ms a round trip.
    """

    tick_ms: int = 50
    heartbeat_ms: int = 100
    election_timeout_ms: int = 500  # the shortest; a timeout is drawn from this to twice this
    failback_quiet_ms: int = 2_000  # how long the preferred master must have been caught up before it leads again
    failback_quiet_ms_max: int = 600_000  # the wait doubles each time that leadership is lost again, up to this
    transfer_hold_ms: int = 3_600_000  # how long an operator's transfer holds against the preferred master, at most


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every limit, with what happens there."""

    # What a client may send. Beyond: 400, 413 or 431 with the limit in the sentence.
    body_bytes_max: int = 2 * 1024 * 1024
    row_bytes_max: int = 1024 * 1024
    row_id_bytes_max: int = 1024
    columns_max: int = 1_000
    indexes_max: int = 64  # of a table: each makes every write of a row dearer, on all nodes
    batch_rows_max: int = 10_000
    batch_cells_max: int = 500_000  # rows times columns of the table: each costs every node 0.1 us at once, also where it is null
    json_depth_max: int = 64
    head_bytes_max: int = 64 * 1024
    head_fields_max: int = 100
    idempotency_key_chars_max: int = 255

    # What a node keeps. Beyond: 503 or 507, nothing forgotten early.
    idempotency_keys_max: int = 10_000_000
    idempotency_hours: int = 24
    disk_reserve_bytes: int = 64 * 1024 * 1024

    # Connections and waits. Beyond: refused or closed.
    connections_max: int = 10_000
    head_seconds: float = 10.0  # absolute: from the connection's or request's first byte to the end of the head
    body_seconds: float = 60.0  # absolute for a plain body; between two chunks for a streaming load
    timeout_seconds_max: float = 300.0  # the largest ?timeout
    feeds_max: int = 64  # tabs of the console that watch this node; each may hold a snapshot of a megabyte
    scan_seconds: float = 30.0  # the life of a scan's read transaction: 503 when it did not start to answer, else cut
    backup_idle_seconds: float = 60.0  # a backup whose client takes next to nothing in so long is cut: its copy takes space on the disk

    # Queues inside. Beyond: 503 overloaded, or messages to that peer are dropped (Raft repeats them).
    proposals_open_max: int = 10_000
    proposals_open_bytes_max: int = 256 * 1024 * 1024
    reads_open_max: int = 10_000
    scans_open_max: int = 256  # long results on their way; each holds a connection to SQLite, with up to 2 MB of memory
    peer_queue_bytes_max: int = 64 * 1024 * 1024
    frame_bytes_max: int = 64 * 1024
    message_bytes_max: int = 16 * 1024 * 1024
    append_bytes_max: int = 1024 * 1024  # of entries in one AppendEntries, unless one entry alone is larger
    append_messages_max: int = 256  # AppendEntries in flight to one follower

    tables_cache_bytes: int = 32 * 1024 * 1024  # of SQLite's pages, for writes and point reads; others are read from the file

    # The log. Entries beyond the cache are read from the file; those beyond the tail go with their segment.
    cache_entries_max: int = 20_000
    cache_bytes_max: int = 64 * 1024 * 1024
    segment_bytes: int = 64 * 1024 * 1024
    log_tail_entries: int = 100_000  # kept behind the durable index for slow followers
    log_tail_bytes: int = 1024 * 1024 * 1024  # at most this of them, in whole segments
    checkpoint_wal_bytes: int = 64 * 1024 * 1024
    checkpoint_entries: int = 50_000  # applied since the last checkpoint, where the WAL is still short


class LogOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the node logs. Empty: as the command line says, else by itself."""

    format: str = ""  # human, json or journal; by itself: journal where standard output is the journal, else human
    level: str = ""  # what is said at least: debug, info, warn or error; by itself: info


class Node(msgspec.Struct, frozen=True):
    id: NodeId
    address: str
    is_master: bool
    host: str
    port: int
    bind: str  # the host to listen on

    @property
    def url(self) -> str:
        return f"http://{self.address}"


class Config(msgspec.Struct, frozen=True):
    nodes: tuple[Node, ...]  # in order of ids
    path: Path  # absolute: twistd goes to its --rundir after the file was read, and SIGHUP has it read again
    insecure: bool = False
    failback: bool = True
    hosts: tuple[str, ...] = ()  # further names that a request's Host may give
    timing: Timing = Timing()
    limits: Limits = Limits()
    log: LogOptions = LogOptions()

    @property
    def preferred_id(self) -> NodeId:
        """The preferred master: the one marked isMaster, else the lowest id."""
        return next((node.id for node in self.nodes if node.is_master), self.nodes[0].id)

    @property
    def node_ids(self) -> tuple[NodeId, ...]:
        return tuple(node.id for node in self.nodes)

    def node(self, node_id: NodeId) -> Node:
        """Raises ConfigError when there is no such node."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise ConfigError(f"{self.path}: no node has the id {node_id!r}; the ids are {', '.join(self.node_ids)}")

    def node_at_port(self, port: int) -> Node:
        """The node whose address has the port. Raises ConfigError when there is none, or more than one."""
        found = [node for node in self.nodes if node.port == port]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"{self.path}: nodes {', '.join(n.id for n in found)} all have port {port}; name one with --node")
        ports = ", ".join(str(node.port) for node in self.nodes)
        raise ConfigError(f"{self.path}: no node's address has port {port}; the ports are {ports}")


class _NodeJson(msgspec.Struct, forbid_unknown_fields=True, rename={"is_master": "isMaster"}):
    id: str
    address: str
    is_master: bool = False
    bind: str | None = None


class _ConfigJson(msgspec.Struct, forbid_unknown_fields=True):
    nodes: list[_NodeJson]
    insecure: bool = False
    failback: bool = True
    hosts: list[str] = []
    timing: Timing = Timing()
    limits: Limits = Limits()
    log: LogOptions = LogOptions()


def load_config(path: Path) -> Config:
    """Raises ConfigError with one sentence for whatever is wrong with the file."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; name the file with --config") from None
    try:
        raw = msgspec.json.decode(text, type=_ConfigJson)
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is no text in UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {_sentence(error)}") from None
    return _check(raw, path)


def _sentence(error: Exception) -> str:
    """msgspec says `... - at `$.nodes[0].id``; turned so that the key comes first."""
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        how = "it ends too early" if "truncated" in str(error) else str(error).removeprefix("JSON is malformed: ")
        return f"is no JSON: {how}"
    what, _, where = str(error).partition(" - at ")
    where = where.strip("`").removeprefix("$.")
    return f"{where}: {what}" if where else what


def _check(raw: _ConfigJson, path: Path) -> Config:
    if not raw.nodes:
        raise ConfigError(f"{path}: nodes: at least one node is needed")
    if len(raw.nodes) > NODES_MAX:
        raise ConfigError(f"{path}: nodes: {len(raw.nodes)} nodes are too many; at most {NODES_MAX}")
    nodes = [_check_node(node, f"{path}: nodes[{place}]", raw.insecure) for place, node in enumerate(raw.nodes)]
    _check_twice([(_value_of(node.id), node.id) for node in nodes], f"{path}: nodes: the id")
    _check_twice([((node.host, node.port), node.address) for node in nodes], f"{path}: nodes: the address")
    masters = [node.id for node in nodes if node.is_master]
    if len(masters) > 1:
        raise ConfigError(f"{path}: nodes: isMaster is true for nodes {' and '.join(masters)}; at most one can be preferred")
    for place, host in enumerate(raw.hosts):
        name = re.sub(r":[0-9]{1,5}$", "", host) if host.count(":") == 1 or "]:" in host else host
        if not _is_host(name.removeprefix("[").removesuffix("]")):
            raise ConfigError(f"{path}: hosts[{place}]: {host!r} is no name; write host or host:port, as in db.example.com")
    _check_timing(raw.timing, path)
    _check_limits(raw.limits, path)
    order = in_order(node.id for node in nodes)
    return Config(
        nodes=tuple(sorted(nodes, key=lambda node: order.index(node.id))),
        path=path.absolute(),
        insecure=raw.insecure,
        failback=raw.failback,
        hosts=tuple(host.lower() for host in raw.hosts),
        timing=raw.timing,
        limits=raw.limits,
        log=check_log(raw.log, f"{path}: log."),
    )


def _value_of(node_id: NodeId) -> int | NodeId:
    return int(node_id) if node_id.isdecimal() and node_id.isascii() else node_id


def _check_twice(values: list[tuple[object, str]], what: str) -> None:
    """Two spellings of one value are the same."""
    seen: dict[object, str] = {}
    for value, text in values:
        if value in seen:
            also = "" if seen[value] == text else f", also as {text!r}"
            raise ConfigError(f"{what} {seen[value]!r} is given twice{also}")
        seen[value] = text


def _check_node(raw: _NodeJson, where: str, insecure: bool) -> Node:
    if not (0 < len(raw.id) <= 64) or not raw.id.isascii() or not all(c.isalnum() or c in "_.-" for c in raw.id):
        raise ConfigError(f"{where}.id: {raw.id!r} is no id; use 1 to 64 letters, digits, '_', '.' or '-'")
    if raw.id in (".", ".."):
        raise ConfigError(f"{where}.id: {raw.id!r} is no id; it names the data folder")
    host, port = _split_address(raw.address, f"{where}.address")
    bind = raw.bind if raw.bind is not None else host
    if not _is_host(bind):
        raise ConfigError(f"{where}.bind: {bind!r} is no host; write a name or an address without a port, as in 0.0.0.0")
    if not insecure and not _is_loopback(bind):
        key = "bind" if raw.bind is not None else "address"
        raise ConfigError(
            f"{where}.{key}: {bind} is not a loopback address, and there are no users and no TLS yet; "
            f'set "insecure": true to let everyone who reaches it read and write'
        )
    return Node(raw.id, raw.address, raw.is_master, host, port, bind)


def _split_address(address: str, where: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_bracketed else host
    if not _is_host(host) or is_bracketed != (":" in host):
        raise ConfigError(f"{where}: {address!r} is no address; write host:port, as in localhost:8080 or [::1]:8080")
    if not re.fullmatch("[1-9][0-9]{0,4}", port, re.ASCII) or int(port) > 65535:
        raise ConfigError(f"{where}: {port!r} is no port; use a number from 1 to 65535")
    return host.lower(), int(port)


def _is_host(host: str) -> bool:
    return _NAME.fullmatch(host) is not None or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def check_log(options: LogOptions, where: str) -> LogOptions:
    """Also for the command line, which calls its options otherwise."""
    for name, value, known in (("format", options.format, LOG_FORMATS), ("level", options.level, LOG_LEVELS)):
        if value and value not in known:
            raise ConfigError(f"{where}{name}: {value[:20]!r} is none; use {', '.join(known[:-1])} or {known[-1]}")
    return options


def _check_timing(timing: Timing, path: Path) -> None:
    for name in timing.__struct_fields__:
        if getattr(timing, name) < 1:
            raise ConfigError(f"{path}: timing.{name}: must be at least 1 millisecond")
    if timing.tick_ms > timing.heartbeat_ms:
        raise ConfigError(f"{path}: timing.tick_ms: a tick cannot be longer than heartbeat_ms ({timing.heartbeat_ms})")
    if timing.election_timeout_ms < 3 * timing.heartbeat_ms:
        raise ConfigError(f"{path}: timing.election_timeout_ms: must be at least three times heartbeat_ms ({timing.heartbeat_ms})")


def _check_limits(limits: Limits, path: Path) -> None:
    for name in limits.__struct_fields__:
        value: Any = getattr(limits, name)
        if value <= 0:
            raise ConfigError(f"{path}: limits.{name}: must be above 0")
    if limits.message_bytes_max < MESSAGE_BYTES_MIN:
        raise ConfigError(f"{path}: limits.message_bytes_max: must be at least {MESSAGE_BYTES_MIN}")
    for name in ("body_bytes_max", "append_bytes_max"):
        if getattr(limits, name) > limits.message_bytes_max // 2:
            raise ConfigError(f"{path}: limits.{name}: must be at most half of message_bytes_max ({limits.message_bytes_max})")
    if limits.segment_bytes > SEGMENT_BYTES_MAX:
        raise ConfigError(f"{path}: limits.segment_bytes: must be at most {SEGMENT_BYTES_MAX}")
    if limits.columns_max > 1_000:
        raise ConfigError(f"{path}: limits.columns_max: at most 1000")
