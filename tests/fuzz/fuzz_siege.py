"""`python fuzz_siege.py PORT COUNT`: holds so many connections open to a node, as slowly as it lets them, until its standard input ends.

A third says nothing, a third sends a head byte by byte, a third a body. Who is hung up on comes again. Prints `ready` once all stand, and
at the end one line of JSON: how many were hung up on, and how long the longest of each kind lasted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

DRIP_SECONDS = 0.4
KINDS = ("idle", "head", "body")


class Siege:
    def __init__(self, port: int) -> None:
        self.port = port
        self.standing = 0
        self.ended = dict.fromkeys(KINDS, 0)
        self.longest = dict.fromkeys(KINDS, 0.0)

    async def hold(self, kind: str) -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            self.standing += 1
            began = time.monotonic()
            try:
                await self._drip(kind, reader, writer)
            except ConnectionError:
                pass  # reset: the node gave up on us
            finally:
                self.standing -= 1
                writer.close()
            self.ended[kind] += 1
            self.longest[kind] = max(self.longest[kind], time.monotonic() - began)

    async def _drip(self, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"POST /insert HTTP/1.1\r\nHost: localhost:%d\r\n" % self.port
        if kind == "head":
            writer.write(head)
        elif kind == "body":
            writer.write(head + b"Content-Length: 10000\r\n\r\n{")
        while not reader.at_eof():
            if kind != "idle":
                writer.write(b"X" if kind == "head" else b" ")
            try:
                await asyncio.wait_for(reader.read(4096), DRIP_SECONDS)
            except TimeoutError:
                continue


async def main(port: int, count: int) -> None:
    siege = Siege(port)
    tasks = [asyncio.create_task(siege.hold(KINDS[number % len(KINDS)])) for number in range(count)]
    while siege.standing < count * 0.95:
        await asyncio.sleep(0.02)
        broken = next((task for task in tasks if task.done()), None)
        if broken is not None:
            broken.result()
    print("ready", flush=True)  # noqa: T201 - it is a script
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(json.dumps({"ended": siege.ended, "longest": siege.longest}), flush=True)  # noqa: T201 - it is a script


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
