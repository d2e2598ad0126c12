"""Taking the node's port before anything else is touched.

The sockets are bound and listening before the reactor runs, so that a port in use is one sentence and not a traceback, and so that a node
that cannot be reached never opens its data. The reactor adopts them when the service starts. How many connections they may bring is
also decided here: as many as the process may have files open for.
"""

from __future__ import annotations

import errno
import resource
import socket
from typing import Any

from twisted.internet.interfaces import IListeningPort, IReactorSocket
from twisted.internet.protocol import ServerFactory

from ddbd.errors import ConfigError

BACKLOG = 1024
FILES_RESERVED = 256  # for the log, the tables, the peers, and connections that are refused with an answer
FILES_PER_CONNECTION = 3  # itself, and the two that SQLite opens for a scan


def take_files(connections_max: int) -> int:
    """Raises the process's limit on open files as far as the connections need; returns how many connections then fit.

    A node that may open no more files cannot open its tables for a scan, nor a segment of its log, and stops: whoever opens connections
    could stop it. Raises ConfigError where not even one fits.
    """
    soft, hard = (2**31 if each == resource.RLIM_INFINITY else each for each in resource.getrlimit(resource.RLIMIT_NOFILE))
    files, connections = fit_files(connections_max, soft, hard)
    if connections < 1:
        raise ConfigError(f"this process may open {files} files; allow more than {FILES_RESERVED + FILES_PER_CONNECTION} (ulimit -n)")
    if files > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return connections


def fit_files(connections_max: int, soft: int, hard: int) -> tuple[int, int]:
    """(files to allow, connections that fit): the soft limit is raised up to the hard one, never lowered."""
    wanted = FILES_RESERVED + FILES_PER_CONNECTION * connections_max
    files = max(soft, min(wanted, hard))
    return files, min(connections_max, (files - FILES_RESERVED) // FILES_PER_CONNECTION)


def bind(host: str, port: int) -> list[socket.socket]:
    """One listening socket for each address of the host. Raises ConfigError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot listen on {host}: {getattr(error, 'strerror', None) or error}") from None
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            sockets.append(_listen(family, kind, protocol, address))
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and len(found) > 1:
                continue  # no IPv6 on this machine, though `localhost` names it
            for each in sockets:
                each.close()
            raise ConfigError(_sentence(error, host, port)) from None
    if not sockets:
        raise ConfigError(f"cannot listen on {host} port {port}: the host has no address on this machine")
    return sockets


def _listen(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _sentence(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use: is another node running? Stop it, or give this node another address in the config"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} needs privileges that this process does not have; use a port above 1023"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def adopt(reactor: IReactorSocket, sockets: list[socket.socket], factory: ServerFactory[Any]) -> list[IListeningPort]:
    """The reactor serves the sockets from now on; ours are closed."""
    ports = []
    for each in sockets:
        ports.append(reactor.adoptStreamPort(each.fileno(), each.family, factory))
        each.close()
    return ports
