"""Which nodes there are, and which of them was well when it was last asked. Shared by all calls of a client; no clock, no dice.

Addresses come from the caller or from the cluster's config.json, and from nowhere else: a client that followed whatever an answer names
could be sent anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ddbd.errors import ConfigError

_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([1-9][0-9]{0,4})")


class Nodes:
    """The one that answered last is asked first. A list of another order for each client spreads the reads."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """Raises ConfigError."""
        self.addresses = tuple(dict.fromkeys(check_address(address) for address in addresses))
        if not self.addresses:
            raise ConfigError("no node is named; give at least one address, as in localhost:8080")
        self._first = 0  # read and set in one step each, so that threads may share it

    @classmethod
    def of(cls, given: Iterable[str] | str | Path) -> Nodes:
        """Addresses, or text with commas between them, or the path of a config.json. Raises ConfigError."""
        if isinstance(given, Path):
            return cls(addresses_of(given))
        return cls(given.split(",") if isinstance(given, str) else given)

    def __contains__(self, address: object) -> bool:
        return isinstance(address, str) and address.lower() in self.addresses

    @property
    def first(self) -> str:
        return self.addresses[self._first]

    def in_order(self) -> Iterator[str]:
        """All of them once, from the preferred one on."""
        first = self._first
        yield from self.addresses[first:]
        yield from self.addresses[:first]

    def prefer(self, address: str) -> None:
        """It is asked first, until it fails."""
        self.answered(address)

    def answered(self, address: str) -> None:
        if address in self.addresses:
            self._first = self.addresses.index(address)

    def failed(self, address: str) -> None:
        """Others are asked first from now on."""
        if self.first == address:
            self._first = (self._first + 1) % len(self.addresses)


def check_address(address: str) -> str:
    """Raises ConfigError."""
    text = address.strip().removeprefix("http://").removesuffix("/").lower()
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[1]) > 65535:
        raise ConfigError(f"{address.strip()!r} is no address of a node; write host:port, as in localhost:8080 or [::1]:8080")
    return text


def addresses_of(path: Path) -> list[str]:
    """The nodes of a cluster's config.json; the rest of the file is the nodes' own. Raises ConfigError."""
    try:
        config = json.loads(path.read_bytes())
        return [check_address(node["address"]) for node in config["nodes"]]
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(
            f'{path}: is no config of a cluster; it has {{"nodes": [{{"id": "1", "address": "localhost:8080"}}, …]}}'
        ) from None
