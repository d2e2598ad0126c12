"""The cases over TCP, many at once, against a real node; and good requests, timed."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import fuzz_bytes
from fuzz_answers import Answer, answers_of, check_answer
from fuzz_requests import Case
from fuzz_tally import Tally

AT_ONCE = 64
QUIET_SECONDS = 0.15  # so long without a byte, and what came is the answer
ANSWER_SECONDS = 20.0


async def play_all(port: int, seed: int, cases: Iterator[tuple[int, Case]], tally: Tally) -> None:
    """Raises AssertionError with the case in it."""

    async def worker() -> None:
        for number, case in cases:
            try:
                await _play(port, random.Random(f"socket {seed} {number}"), case, tally)
            except AssertionError as error:
                raise AssertionError(f"--fuzz-seed {seed}, request {number} ({case.kind}): {error}\n{case.data!r}") from error

    await asyncio.gather(*[worker() for _ in range(AT_ONCE)])


async def _play(port: int, rng: random.Random, case: Case, tally: Tally) -> None:
    data = case.data.replace(b"localhost:8080", b"localhost:%d" % port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        try:
            for piece in fuzz_bytes.pieces(rng, data):
                writer.write(piece)
                await asyncio.wait_for(writer.drain(), ANSWER_SECONDS)
                await asyncio.sleep(0)
            answers = await _answers(reader, b"HEAD" in data)
        except ConnectionError:
            answers = []  # a reset: more was sent than the node cared to read
    finally:
        writer.close()
    tally.kinds[case.kind] += 1
    if not answers:
        tally.outcomes["silence"] += 1
    for answer in answers:
        tally.outcomes[f"{answer.status} {answer.code or ''}".strip()] += 1
        check_answer(answer)
        assert not (case.refuse and 200 <= answer.status < 300), f"answered {answer.status}, though it is wrong by construction"


async def _answers(reader: asyncio.StreamReader, may_be_head: bool) -> list[Answer]:
    data, deadline = b"", time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            piece = await asyncio.wait_for(reader.read(65_536), QUIET_SECONDS)
        except TimeoutError:
            piece = None
        if piece:
            data += piece
            continue
        try:
            return answers_of(data, may_be_head)
        except (AssertionError, ValueError):
            if piece == b"" or time.monotonic() > deadline:
                raise


def times_of(port: int, path: str, count: int) -> list[float]:
    """Seconds of each good request, one after the other on one connection, sorted. Raises AssertionError for any answer but 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()
    found = []
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began = time.perf_counter()
            connection.sendall(request)
            data = connection.recv(65_536)
            while not _is_whole(data):
                more = connection.recv(65_536)
                assert more, f"the connection ended within {data!r}"
                data += more
            found.append(time.perf_counter() - began)
            assert data.startswith(b"HTTP/1.1 200 "), data
    return sorted(found)


def _is_whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) >= int(length.split(b":")[1])


def node_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} tells no VmRSS")
