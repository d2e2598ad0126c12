"""Runs a command under the system call filters that a unit asks of systemd, as far as they can be had without it: by libseccomp itself.

    python sandbox.py UNIT COMMAND...

Taken from the unit are SystemCallFilter (its groups expanded by systemd-analyze), SystemCallErrorNumber=EPERM, RestrictAddressFamilies and
MemoryDenyWriteExecute. They are installed as filters of their own, one upon the other, which is what systemd does. Not taken are mounts,
users and cgroups: those need PID 1.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ALLOW = 0x7FFF0000
FAMILIES = {"AF_UNIX": socket.AF_UNIX, "AF_INET": socket.AF_INET, "AF_INET6": socket.AF_INET6}
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
MASKED_EQ, NE = 7, 1


def refuse(number: int) -> int:
    return 0x00050000 | number


class Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def settings(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


def names_of(group: str) -> set[str]:
    """A group of systemd's, with the groups in it; a plain name is itself."""
    if not group.startswith("@"):
        return {group}
    told = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True).stdout
    words = [line.strip() for line in told.splitlines()[1:]]
    return set().union(*(names_of(word) for word in words if word and not word.startswith("#")))


def allowed(unit: str) -> set[str]:
    """First an allow list, then what is taken out of it: the order of the unit."""
    names: set[str] = set()
    for line in settings(unit, "SystemCallFilter"):
        found = set().union(*(names_of(word) for word in line.removeprefix("~").split()))
        names = names - found if line.startswith("~") else names | found
    return names


class Filter:
    def __init__(self, library: ctypes.CDLL, action: int) -> None:
        library.seccomp_init.restype = ctypes.c_void_p
        self._library = library
        self._context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(action)))

    def add(self, action: int, name: str, *comparisons: Comparison) -> None:
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            return  # another architecture's
        made = (Comparison * len(comparisons))(*comparisons)
        self._library.seccomp_rule_add_array(self._context, ctypes.c_uint32(action), number, len(comparisons), made)

    def load(self) -> None:
        result = self._library.seccomp_load(self._context)
        if result != 0:
            raise OSError(-result, f"the filter was not taken: {os.strerror(-result)}")


def confine(unit: str) -> None:
    library = ctypes.CDLL("libseccomp.so.2")
    if settings(unit, "MemoryDenyWriteExecute") == ["yes"]:
        memory, no = Filter(library, ALLOW), refuse(errno.EPERM)
        both = PROT_WRITE | PROT_EXEC
        memory.add(no, "mmap", Comparison(2, MASKED_EQ, both, both))
        memory.add(no, "mprotect", Comparison(2, MASKED_EQ, PROT_EXEC, PROT_EXEC))
        memory.add(no, "pkey_mprotect", Comparison(2, MASKED_EQ, PROT_EXEC, PROT_EXEC))
        memory.add(no, "shmat", Comparison(2, MASKED_EQ, SHM_EXEC, SHM_EXEC))
        memory.load()
    families = settings(unit, "RestrictAddressFamilies")[0].split()
    sockets = Filter(library, ALLOW)
    for family in range(46):
        if family not in [FAMILIES[name] for name in families]:
            sockets.add(refuse(errno.EAFNOSUPPORT), "socket", Comparison(0, MASKED_EQ, 0xFFFFFFFF, family))
    sockets.load()
    calls = Filter(library, refuse(errno.EPERM))
    for name in {*allowed(unit), "execve"}:
        calls.add(ALLOW, name)
    calls.load()


if __name__ == "__main__":
    confine(Path(sys.argv[1]).read_text("utf-8"))
    os.execv(sys.argv[2], sys.argv[2:])
