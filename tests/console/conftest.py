"""`pytest tests/console --shots FOLDER` keeps the screenshots there; else they are in pytest's own folder. Their place is printed.

From the root (`pytest` alone) this file is read too late to add options; the default stands then.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from console_kit import ARGUMENTS, Tabs, chromium_path, need_browser
from console_played import PlayedNode

from ddbd.cli.client import call
from ddbd.cli.local import LocalCluster

SHOTS = pytest.StashKey[Path]()
NUMBERS = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("console").addoption("--shots", type=Path, default=None, help="the folder for screenshots of the console")


@pytest.fixture(scope="session")
def shots(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = pytestconfig.getoption("--shots", None) or tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    pytestconfig.stash[SHOTS] = folder
    return folder


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if SHOTS in config.stash:
        terminalreporter.write_line(f"screenshots of the console: {config.stash[SHOTS]}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    need_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def tabs(browser: Any, shots: Path) -> Iterator[Tabs]:
    """No tab may have an error in its console."""
    opened = Tabs(browser, shots)
    yield opened
    assert opened.errors == []


@pytest.fixture
def played(browser: Any) -> Iterator[PlayedNode]:
    with PlayedNode() as node:
        yield node


@pytest.fixture(scope="session")
def cluster(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three real nodes for all tests here, each of which leaves them ready; after the browser, so that without one none is started."""
    with LocalCluster.on_free_ports(tmp_path_factory.mktemp("cluster")) as nodes:
        nodes.start()
        nodes.wait_ready()
        nodes.wait_master([nodes.preferred_id])
        assert call(nodes.nodes["1"].address, "POST", "/init_database", {"db_name": "DDB0"}).ok
        yield nodes


@pytest.fixture
def table(cluster: LocalCluster) -> str:
    """A table of the test's own, with a column of each type."""
    name = f"t{next(NUMBERS)}"
    columns: list[Any] = [
        "anything",
        *({"name": f"{kind}_column", "type": kind} for kind in ("text", "integer", "real", "boolean", "json")),
    ]
    assert call(cluster.nodes["1"].address, "POST", "/create_table?forward=true", {"table_name": name, "columns": columns}).ok
    return name
