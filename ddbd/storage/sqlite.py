"""Connections to the tables' file, all opened the same way, and SQLite's errors as ours.

Every connection goes through cksumvfs, which keeps a checksum in each page of the file (8 reserved bytes, set while it is empty): a page
that rotted is an error when it is read, never an answer. Pages that are still in the WAL have the WAL's own checksums, which SQLite checks
when it opens; what they lose is replayed from the log. WAL, autocheckpoint off (see `maintenance`), nothing of the schema is trusted.

A connection belongs to one thread at a time: one that is busy in a thread blocks whoever else touches it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import apsw
import apsw.sqlite_extra

from ddbd.errors import Corrupt, Fatal, StorageFailed

VFS = "cksmvfs"
RESERVED_BYTES = 8
STATEMENTS = 512  # prepared ones kept a connection


def register_vfs() -> None:
    """Loading the extension anywhere makes its VFS known to the whole process."""
    if VFS in apsw.vfs_names():
        return
    connection = apsw.Connection(":memory:")
    apsw.sqlite_extra.load(connection, "cksumvfs")
    connection.close()


def connect(path: str, *, create: bool = False, readonly: bool = False, wal: bool = True, statements: int = STATEMENTS) -> apsw.Connection:
    """`wal=False` is for a file that is written once and then sent. Raises Corrupt, StorageFailed."""
    register_vfs()
    flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    with fatal(path):
        connection = apsw.Connection(path, flags=flags, vfs=VFS, statementcachesize=statements)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # no pass over a WAL that was not sealed
        connection.set_busy_timeout(0)
        if create:
            connection.reserve_bytes(reserve=RESERVED_BYTES)
        if wal and not readonly:
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", "normal")
            connection.wal_autocheckpoint(0)
        elif not readonly:
            connection.pragma("journal_mode", "off")  # a copy in the making: worthless until it is whole
            connection.pragma("synchronous", "off")
    return connection


def read_connection(path: str) -> apsw.Connection:
    """Reads only. (Not opened read-only by the system: a WAL reader takes part in the shared index.)"""
    connection = connect(path, statements=64)
    connection.pragma("query_only", True)
    return connection


def reserved_bytes(path: str) -> int:
    """In each page, as the file says. (A connection that asked for some is told its own wish where the file has fewer.)"""
    with fatal(path):
        connection = read_connection(path)
        try:
            connection.pragma("schema_version")  # reads the header
            return connection.reserve_bytes()
        finally:
            connection.close()


@contextmanager
def fatal(path: str) -> Iterator[None]:
    """Whatever SQLite raises here is no function of a command: the process has to stop."""
    try:
        yield
    except apsw.Error as error:
        raise as_fatal(path, error) from error


def as_fatal(path: str, error: BaseException) -> Fatal:
    """What a page's wrong checksum looks like is an I/O error with a code of its own."""
    extended = getattr(error, "extendedresult", 0)
    rotten = (apsw.SQLITE_IOERR_DATA, apsw.SQLITE_IOERR_CORRUPTFS)
    if isinstance(error, apsw.CorruptError | apsw.NotADBError) or extended in rotten:
        return Corrupt(f"{path}: {error}; the tables are damaged, restore this node from its peers")
    return StorageFailed(f"{path}: {error}; whether the last write is on the disk is unknown")


def sync_file(path: str) -> None:
    """Raises StorageFailed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise StorageFailed(f"{path}: fsync failed: {error}") from error
