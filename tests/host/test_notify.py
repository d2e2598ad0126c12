"""The service manager's socket, a real one: paths, names in the abstract namespace, and a manager that does not read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddbd.host.notify import Notifier, watchdog_seconds


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    address = str(tmp_path / "notify") if request.param == "path" else f"\0ddbd-test-{tmp_path}"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(address)
    listening.settimeout(5)
    yield listening
    listening.close()


def address_of(manager: socket.socket) -> str:
    name = manager.getsockname()
    return f"@{name[1:].decode()}" if isinstance(name, bytes) else name


def test_fields_are_lines_of_one_datagram(manager: socket.socket) -> None:
    notifier = Notifier(address_of(manager))
    assert notifier.tell("READY=1", "STATUS=leader of 3 nodes\nREADY=0")
    assert manager.recv(1_000) == b"READY=1\nSTATUS=leader of 3 nodes READY=0"
    notifier.close()


def test_a_manager_that_does_not_read_stops_nobody(manager: socket.socket) -> None:
    notifier = Notifier(address_of(manager))
    told = [notifier.tell("WATCHDOG=1") for _ in range(10_000)]
    assert told[0]
    assert not told[-1]
    notifier.close()


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    assert not Notifier(str(tmp_path / "nowhere")).tell("READY=1")
    assert not Notifier("@" + "x" * 200).tell("READY=1")


def test_without_a_manager_nothing_is_owed() -> None:
    notifier = Notifier()
    assert notifier.tell("READY=1")
    notifier.close()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_a_sign_of_life_is_due_after_half_of_the_managers_wait(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment, 7) == seconds
