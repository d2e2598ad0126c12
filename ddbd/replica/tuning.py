"""What a turn of the driver may do, and what the config means to the core."""

from __future__ import annotations

from ddbd.config import Config
from ddbd.raft.config import RaftConfig
from ddbd.raft.types import NodeId

# What one turn may do; then the reactor serves others before the next one.
READIES_MAX = 16
TURN_SECONDS = 0.005  # after which no other Ready is begun
LARGE_BYTES = 48 * 1024  # of entries that take 5 to 12 ms to apply: they wait, once, for another turn of the reactor
LONG_TURN_SECONDS = 0.004  # where this one has lasted so long before them,
LONG_TURN_SECONDS_MAX = 0.012  # and whatever is to be applied, where it has lasted so long
FEW_ENTRIES = 4  # so many that are committed are answered in a turn of their own
APPLY_ENTRIES_MAX = 300  # of one Ready
APPLY_BYTES_MAX = 64 * 1024  # likewise, unless one entry alone is larger: hundreds of rows, some 5 ms


def raft_config(config: Config, node_id: NodeId, life: str) -> RaftConfig:
    """The timing of the config in ticks."""
    timing, limits = config.timing, config.limits

    def ticks(milliseconds: int) -> int:
        return max(1, round(milliseconds / timing.tick_ms))

    return RaftConfig(
        node_id=node_id,
        life=life,
        preferred_id=config.preferred_id if config.failback else None,
        heartbeat_ticks=ticks(timing.heartbeat_ms),
        election_timeout_ticks=ticks(timing.election_timeout_ms),
        stagger_ticks=ticks(timing.heartbeat_ms),
        failback_ticks=ticks(timing.failback_quiet_ms),
        failback_ticks_max=ticks(timing.failback_quiet_ms_max),
        hold_ticks=ticks(timing.transfer_hold_ms),
        append_bytes_max=limits.append_bytes_max,
        append_messages_max=limits.append_messages_max,
        commit_waits=True,
        apply_entries_max=APPLY_ENTRIES_MAX,
        apply_bytes_max=APPLY_BYTES_MAX,
        inflight_bytes_max=max(1, limits.peer_queue_bytes_max // 8),  # what the queue has to drop is sent again
        reads_max=limits.reads_open_max * len(config.nodes),
    )
