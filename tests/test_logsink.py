"""Log lines wait for their reader; the node does not."""

from __future__ import annotations

import io
import os
import subprocess
import threading
from pathlib import Path

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster, eventually, node_environment
from ddbd.logsink import LogSink


class SlowReader(io.StringIO):
    """Takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.was_asked = threading.Event()

    def write(self, text: str) -> int:
        self.was_asked.set()
        self.goes_on.wait()
        return super().write(text)


def test_lines_are_written_in_order() -> None:
    stream = io.StringIO()
    sink = LogSink(stream)
    for number in range(1_000):
        sink.write(f"{number}\n")
    assert sink.drain(10.0)
    assert stream.getvalue() == "".join(f"{number}\n" for number in range(1_000))


def test_lines_beyond_the_limit_are_dropped_and_counted() -> None:
    stream = SlowReader()
    sink = LogSink(stream, lines_max=3)
    sink.write("first\n")
    assert stream.was_asked.wait(10.0)
    for number in range(10):
        sink.write(f"{number}\n")
    assert not sink.drain(0.01)
    stream.goes_on.set()
    assert sink.drain(10.0)
    sink.write("last\n")
    assert sink.drain(10.0)
    assert stream.getvalue() == "first\n0\n1\n2\n7 log lines were dropped: nobody took them\nlast\n"


def test_a_reader_that_is_gone_is_no_error() -> None:
    stream = io.StringIO()
    stream.close()
    sink = LogSink(stream)
    sink.write("nobody hears this\n")
    assert sink.drain(10.0)


def test_a_node_serves_though_nobody_reads_its_log(tmp_path: Path) -> None:
    """Its standard output is a pipe that was full before it started."""
    with LocalCluster.on_free_ports(tmp_path, count=1) as cluster:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    os.write(writing, b"x" * size)
            except BlockingIOError:
                continue
        os.set_blocking(writing, True)
        node = cluster.nodes["1"]
        node.process = subprocess.Popen(
            node.command,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            cwd=tmp_path,
            env=node_environment(),
            start_new_session=True,
        )
        try:
            eventually(node.ready, "the node is ready though its log waits")
            assert call(node.address, "GET", "/ping").ok
            assert cluster.terminate("1") == 0
        finally:
            os.close(reading)
            os.close(writing)
