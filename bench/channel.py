"""What does the HTTP channel cost, with no work behind it? `python bench/channel.py [--rounds N] [--seconds S]`, on one core each.

Three servers, each a process of its own, answer the same small JSON POST with the same small JSON, in turn, round by round:

    bare    a Twisted Protocol on httptools: no headers kept, no limits, no deadlines. What the language allows.
    ddbd    the daemon's own site with all its checks, and an empty Klein route
    klein   the same route of Klein on twisted.web's channel

The garbage collector of all three is as calm as the daemon's. wrk, 64 connections, one thread. The bar is ddbd ÷ bare.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httptools
import msgspec
from klein import Klein
from speed.machine import Child, end
from speed.wrk import Load, wrk
from twisted.internet import protocol, reactor
from twisted.web import server

from ddbd.cli.local import eventually, free_ports, port_is_free
from ddbd.cli.signals import ended_by_signals
from ddbd.config import Config, Node
from ddbd.start import calm_collector
from ddbd.web.app import Api
from ddbd.web.site import make_site

FLOOR, GOAL = 0.5, 0.8
CONNECTIONS = 64
NAMES = ("bare", "ddbd", "klein")
PATH = "/empty"


def answer(body: bytes) -> bytes:
    """The work of all three."""
    row = msgspec.json.decode(body)
    return msgspec.json.encode({"row_id": row["row_id"], "version": 1, "index": 1})


class Bare(protocol.Protocol):
    transport: Any

    def connectionMade(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def dataReceived(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = answer(self._body), b""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)


class Backend:
    """As much of a node as the site asks for when no call reaches it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.node_id = config.nodes[0].id
        self.term = 1
        self.applied_index = 1


def bare(port: int) -> Any:
    return protocol.Factory.forProtocol(Bare)


def ddbd(port: int) -> Any:
    def empty(self: Api, request: Any) -> bytes:
        request.setHeader(b"Content-Type", b"application/json")
        return answer(request.content.read())

    Api.app.route(PATH, methods=["POST"])(empty)
    node = Node("1", f"localhost:{port}", True, "localhost", port, "localhost")
    config = Config((node,), Path("config.json"))
    backend: Any = Backend(config)
    clock: Any = reactor
    return make_site(backend, config, clock)


def klein(port: int) -> Any:
    app = Klein()

    @app.route(PATH, methods=["POST"])
    def empty(request: Any) -> bytes:
        request.setHeader(b"Content-Type", b"application/json")
        return answer(request.content.read())

    site: Any = server.Site(app.resource())
    site.noisy = False
    site.log = lambda request: None  # the daemon writes no access log either
    return site


def serve(name: str, port: int) -> None:
    net: Any = reactor
    calm_collector()
    net.listenTCP(port, {"bare": bare, "ddbd": ddbd, "klein": klein}[name](port), backlog=1024, interface="127.0.0.1")
    net.run()


def measured(rounds: int, seconds: float) -> dict[str, list[Load]]:
    loads: dict[str, list[Load]] = {name: [] for name in NAMES}
    with ExitStack() as stack:
        stack.enter_context(ended_by_signals())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ddb-channel-")))
        ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        for name, port in ports.items():
            child = Child([sys.executable, __file__, "--serve", name, "--port", str(port)], folder, folder / f"{name}.log")
            stack.callback(end, [child])
            child.start()
            eventually(lambda port=port: not port_is_free(port), f"{name} listens")  # type: ignore[misc]
        for number in range(rounds):
            for name in [*NAMES[number % 3 :], *NAMES[: number % 3]]:
                load = wrk("empty", [f"127.0.0.1:{ports[name]}"], CONNECTIONS, seconds).checked()
                loads[name].append(load)
                print(f"{name:6} {load.per_second:10,.0f} requests/s  p50 {load.p50_ms:7.2f} ms  p99 {load.p99_ms:7.2f} ms", flush=True)
    return loads


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--serve", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.port)
        return 0
    loads = measured(options.rounds, options.seconds)
    rates = {name: statistics.median(load.per_second for load in loads[name]) for name in NAMES}
    print("\n| channel | requests/s | ÷ bare |\n|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {rate / rates['bare']:.2f} |")
    ratio = rates["ddbd"] / rates["bare"]
    print(f"\nddbd ÷ bare: {ratio:.2f} (floor {FLOOR}, goal {GOAL}); ddbd ÷ klein: {rates['ddbd'] / rates['klein']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
