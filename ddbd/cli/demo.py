"""`ddb demo`: three real nodes on this machine, shown by the requests that anyone can repeat with curl.

The story is in `stage`, the screen in `screen`, the processes in `local`. Here: which config and which ports, and every road out.
"""

from __future__ import annotations

import json
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from ddbd.cli.local import LocalCluster, free_ports, local_config, port_is_free
from ddbd.cli.screen import Screen
from ddbd.cli.signals import EndedBySignal, ended_by_signals
from ddbd.cli.stage import Stage
from ddbd.errors import ConfigError

PORT_FIRST = 8080
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
WATCH_SECONDS = 0.5


@click.command()
@click.option("--once", is_flag=True, help="End after the showing: exit status 0 when all went well, else 1.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Keep the data here instead of in a temporary folder.")
def demo(once: bool, data_dir: Path | None) -> None:
    """Run three nodes, use them, kill the master.

    Each request is printed as the curl line that does the same. Afterwards every row is counted on every node. The nodes are those of
    ./config.json where there is one, and run until Ctrl-C.
    """
    screen = Screen()
    with ExitStack() as stack:
        stack.enter_context(ended_by_signals())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ddb-demo-")))
        cluster = stack.enter_context(_cluster(folder, data_dir, screen))
        stage = Stage(cluster, screen)
        all_went_well = stage.show()
        if not once and all_went_well:
            stage.say_how_to_use()
            _wait_for_the_end(cluster, screen)
        screen.note("Ending the nodes.")
    if not all_went_well:
        raise SystemExit(1)


def _cluster(folder: Path, data_dir: Path | None, screen: Screen) -> LocalCluster:
    """The nodes of ./config.json where that can be; else of a config of our own with the same shape."""
    data = None if data_dir is None else data_dir.absolute()
    path = Path("config.json").absolute()
    config = _read(path) if path.exists() else local_config(range(PORT_FIRST, PORT_FIRST + 3))
    addresses = [entry["address"] for entry in config["nodes"]]
    if any(address.rpartition(":")[0].lower() not in LOOPBACK_HOSTS for address in addresses):
        screen.note(f"{path} names other machines; the demo starts three nodes on this one instead.")
        config = local_config(range(PORT_FIRST, PORT_FIRST + 3))
        addresses = [entry["address"] for entry in config["nodes"]]
        path = folder / "no-such-config"
    ports = [int(address.rpartition(":")[2]) for address in addresses]
    taken = [port for port in ports if not port_is_free(port)]
    if not taken:
        return LocalCluster(config, folder, path if path.exists() else None, data)
    free = free_ports(len(ports), max(ports) + 1)
    plural = "ports" if len(taken) > 1 else "port"
    verb = "are" if len(taken) > 1 else "is"
    screen.note(f"{plural.capitalize()} {_listed(taken)} {verb} taken by another program; the demo uses {_listed(free)} instead.")
    for entry, port in zip(config["nodes"], free, strict=True):
        entry["address"] = f"localhost:{port}"
    return LocalCluster(config, folder, None, data)


def _read(path: Path) -> dict[str, Any]:
    """Only what the demo needs of it; the nodes check the rest themselves and say what is wrong."""
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        for entry in config["nodes"]:
            int(entry["address"].rpartition(":")[2])
            str(entry["id"])
        if not config["nodes"]:
            raise ValueError("no nodes")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: is no config ({error!r}); mend it, or run the demo in another folder") from None
    return config


def _listed(numbers: list[int]) -> str:
    words = [str(number) for number in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _wait_for_the_end(cluster: LocalCluster, screen: Screen) -> None:
    """Until a signal. A node that ends meanwhile (someone tries out what happens) is named, with the line that brings it back."""
    gone: set[str] = set()
    try:
        while len(gone) < len(cluster.nodes):
            for node in cluster.nodes.values():
                if node.id not in gone and not node.running:
                    gone.add(node.id)
                    screen.note(f"Node {node.id} has ended. This line, in another terminal, brings it back:")
                    screen.command(node.command)
            threading.Event().wait(WATCH_SECONDS)
    except EndedBySignal:
        screen.note("")
