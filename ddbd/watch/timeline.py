"""What happened at this node: one plain sentence each, with its numbers beside it. Kept in memory, so it begins with the process.

A sentence says no time and names nodes by their ids. Nobody decides anything by it, and so the wall clock may date it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ddbd.answers import Happened

HAPPENED_MAX = 500

KINDS = frozenset(
    {
        *("node_started", "cluster_formed", "cluster_joined", "peer_lost", "peer_back", "leader_lost", "leader_elected"),
        *("leadership_transferred", "stepped_down", "disk_full", "disk_freed", "quarantined", "reseeded", "states_differ"),
        *("snapshot_sent", "snapshot_installed", "checkpoint_slow", "slow_disk", "member_changed"),
    }
)


class Timeline:
    """`now` is the wall clock. `on_event` hears of each event."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.on_event: Callable[[Happened], None] = lambda event: None
        self.counts = dict.fromkeys(sorted(KINDS), 0)  # since the start of the process
        self._now = now
        self._events: deque[Happened] = deque(maxlen=HAPPENED_MAX)
        self._last_id = 0

    def record(self, kind: str, node_id: str | None, text: str, **details: Any) -> None:
        """`node_id` is whom it is about; `text` has no full stop."""
        assert kind in KINDS, f"{kind!r} is no kind of event"
        self._last_id += 1
        self.counts[kind] += 1
        event: Happened = {
            "id": self._last_id,
            "at": round(self._now(), 3),
            "kind": kind,
            "node": node_id,
            "text": text,
            "details": details,
        }
        self._events.append(event)
        self.on_event(event)

    def events(self, limit: int | None = None) -> list[Happened]:
        """The newest so many, oldest first; all there are without a limit."""
        events = list(self._events)
        return events if limit is None else events[-limit:]
