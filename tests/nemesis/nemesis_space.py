"""Network namespaces and TUN devices of the test's own, by system calls alone: no `ip`, no names, nothing to clean up.

A namespace has no name here: an open file holds it, and the processes inside. When the test ends, by whatever road, the kernel drops it.
A namespace belongs to a thread, so a thread of its own makes one and configures it; clients enter one with `enter` and stay there.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import threading
from pathlib import Path

CLONE_NEWNET = 0x40000000
PORT = 8080

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
_SIOCSIFMTU, _SIOCSIFTXQLEN = 0x8922, 0x8943
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_MTU_BYTES = 9000  # fewer packets for the router, which is Python
_QUEUE_PACKETS = 5000
_DEVICE = b"tun0"

_libc = ctypes.CDLL(None, use_errno=True)


def unavailable() -> str | None:
    """Why this machine has no namespaces with TUN devices for us; None when it has."""
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun"
    try:
        Space(254).close()
    except OSError as error:
        return f"no network namespace with a TUN device: {error}"
    return None


def address_of(host: int) -> str:
    return f"10.77.0.{host}"


def enter(space_fd: int) -> None:
    """This thread lives in the namespace from now on, and so do the sockets and processes that it makes."""
    if _libc.setns(space_fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


class Space:
    """One namespace: its loopback, and one TUN device with the address of `host`, whose other end is `tun_fd`."""

    def __init__(self, host: int) -> None:
        """Raises OSError where the machine has no namespaces or no TUN, or does not let us."""
        self.host = host
        self.fd = -1
        self.tun_fd = -1
        self._error: OSError | None = None
        maker = threading.Thread(target=self._make, name=f"makes the namespace of {host}")
        maker.start()
        maker.join()
        if self._error is not None:
            self.close()
            raise self._error

    @property
    def address(self) -> str:
        return address_of(self.host)

    def _make(self) -> None:
        """In a thread that then ends: its namespace is the new one."""
        try:
            if _libc.unshare(CLONE_NEWNET) != 0:
                error = ctypes.get_errno()
                raise OSError(error, f"unshare: {os.strerror(error)}")
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            self.tun_fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            fcntl.ioctl(self.tun_fd, _TUNSETIFF, struct.pack("16sH22x", _DEVICE, _IFF_TUN | _IFF_NO_PI))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                _set_address(control, _SIOCSIFADDR, self.address)
                _set_address(control, _SIOCSIFNETMASK, "255.255.255.0")
                fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si20x", _DEVICE, _MTU_BYTES))
                fcntl.ioctl(control, _SIOCSIFTXQLEN, struct.pack("16si20x", _DEVICE, _QUEUE_PACKETS))
                _up(control, _DEVICE)
                _up(control, b"lo")
        except OSError as error:
            self._error = error

    def close(self) -> None:
        for fd in (self.tun_fd, self.fd):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self.tun_fd = self.fd = -1


def _set_address(control: socket.socket, request: int, address: str) -> None:
    fcntl.ioctl(control, request, struct.pack("16sHH4s8x8x", _DEVICE, socket.AF_INET, 0, socket.inet_aton(address)))


def _up(control: socket.socket, device: bytes) -> None:
    flags = struct.unpack("16sH22x", fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16s24x", device)))[1]
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", device, flags | _IFF_UP | _IFF_RUNNING))
