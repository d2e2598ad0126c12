"""etcd as Debian has it: three members, fsync on (its only mode), spoken to by its JSON gateway."""

from __future__ import annotations

import contextlib
import re
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddbd.cli.client import to_json
from ddbd.cli.local import eventually, free_ports

from .machine import Child, end, first_line
from .system import PAYLOAD, READ_ROWS, ask, new_folder
from .wrk import LoadFailed

QUOTA_BYTES = 8 * 2**30  # its start value of 2 GB would end a long run
BATCH = 128  # --max-txn-ops
TUNED = ["--heartbeat-interval=20", "--election-timeout=200"]


class Etcd:
    name = "etcd"

    def __init__(self, parent: Path, flags: Sequence[str] = (), folder_name: str = "etcd") -> None:
        folder = new_folder(parent, folder_name)
        ports = free_ports(6)
        self.addresses = [f"127.0.0.1:{port}" for port in ports[:3]]
        names = [f"n{number}" for number in range(3)]
        cluster = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in zip(names, ports[3:], strict=True))
        self.members = [
            Child(
                [
                    *("etcd", "--name", name, "--data-dir", str(folder / name), "--logger=zap", "--log-level=warn"),
                    *("--listen-client-urls", f"http://{address}", "--advertise-client-urls", f"http://{address}"),
                    *("--listen-peer-urls", f"http://127.0.0.1:{port}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{port}"),
                    *("--initial-cluster", cluster, "--initial-cluster-state", "new", f"--quota-backend-bytes={QUOTA_BYTES}"),
                    *flags,
                ],
                folder,
                folder / f"{name}.log",
            )
            for name, address, port in zip(names, self.addresses, ports[3:], strict=True)
        ]

    def start(self) -> None:
        for member in self.members:
            member.start()
        eventually(self.ready, "three members of etcd")
        before = [self._fsyncs(address) for address in self.addresses]
        for first in range(0, READ_ROWS, BATCH):
            keys = [f"reads0{number:09}" for number in range(first, min(first + BATCH, READ_ROWS))]
            puts = [{"request_put": {"key": coded(key), "value": coded(to_json(PAYLOAD))}} for key in keys]
            ask(self.addresses[0], "/v3/kv/txn", {"success": puts})
        after = [self._fsyncs(address) for address in self.addresses]
        if not all(more > less for less, more in zip(before, after, strict=True)):
            raise LoadFailed(f"etcd does not fsync on every member: {before} -> {after}")

    def ready(self) -> bool:
        with contextlib.suppress(LoadFailed):
            leaders = {self._status(address).get("leader") for address in self.addresses}
            return len(leaders) == 1 and leaders != {None}
        return False

    def stop(self, place: int) -> None:
        end([self.members[place]])

    def serves(self, place: int) -> bool:
        """Whether the member answers a linearizable read: it has caught up."""
        with contextlib.suppress(LoadFailed):
            return self._count(self.addresses[place]) > 0
        return False

    def _fsyncs(self, address: str) -> float:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as reply:
            found = re.search(r"^etcd_disk_wal_fsync_duration_seconds_count (\S+)", reply.read().decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def close(self) -> None:
        end(self.members)

    def version(self) -> str:
        return first_line("etcd", "--version").replace(" Version:", "")

    def pids(self) -> list[int]:
        return [member.pid for member in self.members if member.running]

    def _status(self, address: str) -> dict[str, Any]:
        answer: dict[str, Any] = ask(address, "/v3/maintenance/status", {}, timeout_seconds=2.0)
        return answer

    def leader(self) -> int:
        def found() -> list[int]:
            statuses = []
            for place, address in enumerate(self.addresses):
                with contextlib.suppress(LoadFailed):
                    statuses.append((place, self._status(address)))
            return [place for place, status in statuses if status["header"]["member_id"] == status.get("leader")]

        return eventually(found, "a leader of etcd")[0]

    def count(self) -> int:
        return self._count(self.addresses[self.leader()])

    def _count(self, address: str, **more: bool) -> int:
        whole = {"key": coded("\0"), "range_end": coded("\0"), "count_only": True}
        return int(ask(address, "/v3/kv/range", {**whole, **more}).get("count", 0))

    def agree(self) -> list[int]:
        self.count()
        for address in self.addresses:
            self._count(address)  # linearizable: afterwards this member has applied all that was there
        return [self._count(address, serializable=True) for address in self.addresses]


def coded(text: str) -> str:
    return b64encode(text.encode()).decode()
