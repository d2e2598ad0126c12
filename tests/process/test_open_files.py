"""A node whose process may open few files: whoever opens connections must not be able to stop it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

from process_kit import create_table, insert, wait_same
from test_start import assert_one_sentence

from ddbd.cli.local import LocalCluster, LocalNode, eventually, node_environment
from ddbd.listen import FILES_PER_CONNECTION, FILES_RESERVED

FILES = FILES_RESERVED + FILES_PER_CONNECTION * 30
CALL = b"GET /select?table=students&consistency=local HTTP/1.1\r\nHost: localhost\r\n\r\n"


def with_few_files(node: LocalNode, files: int) -> None:
    """The next process of this node may open so many, and cannot raise that."""
    limit = f"import os, resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))"
    node.command = [sys.executable, "-c", f"{limit}; os.execv({node.command[0]!r}, {node.command!r})"]


def opened(node: LocalNode) -> socket.socket | None:
    """A connection with a call on it; None where the node closed it at once."""
    with contextlib.suppress(OSError):
        connection = socket.create_connection(("localhost", node.port), timeout=10)
        connection.sendall(CALL)
        return connection
    return None


def answer(connection: socket.socket) -> bytes:
    """The first line of it; nothing where the connection was closed."""
    with contextlib.suppress(OSError):
        return connection.recv(4096).partition(b"\r\n")[0]
    return b""


def test_more_connections_than_files_do_not_stop_a_node(cluster: LocalCluster) -> None:
    node = cluster.nodes["3"]
    with_few_files(node, FILES)
    cluster.start()
    cluster.wait_ready()
    create_table(cluster)
    insert(cluster.nodes["1"], "before")

    connections = [found for found in (opened(node) for _ in range(2 * FILES)) if found is not None]
    answers = [answer(each) for each in connections]
    assert {*answers} <= {b"HTTP/1.1 200 OK", b"HTTP/1.1 503 Service Unavailable", b""}
    assert len(answers) - answers.count(b"") >= 20, "as many as fit are answered, if only by 503"
    assert node.running
    insert(cluster.nodes["1"], "meanwhile")
    for each in connections:
        each.close()
    eventually(node.ready, "node 3 is ready")
    wait_same(list(cluster.nodes.values()))
    assert "30 are taken" in node.log_path.read_text()


def test_too_few_files_for_any_connection_are_answered_in_one_sentence(cluster: LocalCluster, tmp_path: Path) -> None:
    node = cluster.nodes["3"]
    with_few_files(node, FILES_RESERVED)
    result = subprocess.run(node.command, cwd=tmp_path, env=node_environment(), capture_output=True, text=True, timeout=30)
    assert_one_sentence(result, str(FILES_RESERVED), "ulimit -n")
    assert not (cluster.data_dir / "3").exists()
