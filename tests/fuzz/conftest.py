"""`pytest tests/fuzz --fuzz-requests 10000 --fuzz-messages 10000 --fuzz-seed 7` tries so many; the same seed tries the same ones again.

From the root (`pytest` alone) this file is read too late to add options; the defaults stand then, and take a few seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Kits of other rooms: the client and the node in memory, the cluster in memory, the storage's entries.
for _room in ("web", "replica", "storage"):
    sys.path.append(str(Path(__file__).resolve().parent.parent / _room))

from fuzz_tally import TALLIES, LogWatch  # noqa: E402 - the path comes first

REQUESTS = 1_500
MESSAGES = 2_000
SCHEMA = 600
SEED = 1
SIEGE = 200


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz")
    group.addoption("--fuzz-requests", type=int, default=REQUESTS, help="how many malformed HTTP requests are sent")
    group.addoption("--fuzz-messages", type=int, default=MESSAGES, help="how many malformed peer messages and files are tried")
    group.addoption("--fuzz-siege", type=int, default=SIEGE, help="how many idle or dripping connections lay siege to a node")
    group.addoption("--fuzz-schema", type=int, default=SCHEMA, help="how many requests are drawn from /openapi.json")
    group.addoption("--fuzz-seed", type=int, default=SEED, help="the seed of everything that is drawn")


@pytest.fixture(scope="session")
def requests_count(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--fuzz-requests", REQUESTS))


@pytest.fixture(scope="session")
def messages_count(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--fuzz-messages", MESSAGES))


@pytest.fixture(scope="session")
def siege_count(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--fuzz-siege", SIEGE))


@pytest.fixture(scope="session")
def schema_count(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--fuzz-schema", SCHEMA))


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--fuzz-seed", SEED))


@pytest.fixture
def watch() -> Iterator[LogWatch]:
    """Everything that is logged meanwhile."""
    watch = LogWatch()
    watch.start()
    yield watch
    watch.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for tally in TALLIES:
        terminalreporter.write_line(tally.line())
