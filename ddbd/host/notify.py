"""What the service manager is told: systemd's protocol, a few lines of text in a datagram to the socket that it names.

A library for this would be larger than this. The socket never blocks: a manager that does not read must not stop the node. What it had no
room for is said by the return value; the caller tells it again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """`address` as in $NOTIFY_SOCKET: a path, or a name that begins with `@` in the abstract namespace; empty: nobody wants to be told."""

    def __init__(self, address: str = "") -> None:
        self._address = b"\0" + os.fsencode(address[1:]) if address.startswith("@") else os.fsencode(address)
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def tell(self, *fields: str) -> bool:
        """Each field as `NAME=value`. False: not now, or not at all."""
        if self._socket is None:
            return True
        try:
            self._socket.sendto("\n".join(field.replace("\n", " ") for field in fields).encode("utf-8", "replace"), self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """How often a sign of life is due: half of what the manager waits. None where it does not wait for this process."""
    text = environment.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or int(text) == 0 or environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(text) / 2_000_000
