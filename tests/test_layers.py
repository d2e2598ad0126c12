"""The arrows between the rooms run one way. Only the text of the files is read: nothing is imported.

A room may import itself and what stands beside it below. To change an arrow, change it here, in the same commit, with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "ddbd"

# room -> the modules that it may import, besides its own; `.*` means the package and all in it, a bare package only its promises.
ARROWS: dict[str, tuple[str, ...]] = {
    "errors": (),
    "answers": (),
    "commands": ("ddbd.errors",),
    "backupfile": ("ddbd.commands", "ddbd.errors"),
    "config": ("ddbd.errors", "ddbd.raft.types"),
    "listen": ("ddbd.errors",),
    "logsink": (),
    "options": ("ddbd.errors", "ddbd.config", "ddbd.host.*", "ddbd"),
    "host": ("ddbd.raft.types", "ddbd.errors", "ddbd.config", "ddbd.logsink"),
    "turns": (),
    "meter": (),
    "raft": (),
    "storage": ("ddbd.raft.types", "ddbd.answers", "ddbd.commands", "ddbd.config", "ddbd.errors"),
    "cluster": ("ddbd.raft.*", "ddbd.commands", "ddbd.config", "ddbd.errors"),
    "replica": ("ddbd.raft.*", "ddbd.storage", "ddbd.answers", "ddbd.commands", "ddbd.config", "ddbd.errors"),
    "web": (
        "ddbd.raft.types",
        "ddbd.storage",
        "ddbd.answers",
        "ddbd.commands",
        "ddbd.config",
        "ddbd.errors",
        "ddbd.backupfile",
        "ddbd.meter",
        "ddbd",
    ),
    "watch": (
        *("ddbd.raft.types", "ddbd.cluster.peers", "ddbd.cluster.resource", "ddbd.answers", "ddbd.config", "ddbd.errors"),
        *("ddbd.meter", "ddbd.turns", "ddbd"),
    ),
    "client": ("ddbd.errors",),
    "cli": ("ddbd.client", "ddbd.errors", "ddbd.backupfile", "ddbd.rescue.guide", "ddbd"),
    "rescue": ("ddbd.raft.types", "ddbd.raft.quorum", "ddbd.storage.*", "ddbd.commands", "ddbd.config", "ddbd.errors"),
    "start": ("ddbd.options", "ddbd.tap"),
    "tap": ("ddbd.*",),
}

# What only these rooms may use, so that it can be replaced in one place.
OWNERS = {
    "apsw": {"storage", "rescue"},
    "klein": {"web", "cluster", "tap"},
    "click": {"cli"},
    "rich": {"cli"},
    "prometheus_client": {"watch"},
    "prompt_toolkit": {"cli"},
}

# The core is a function of what it is handed: no clock, dice, disk, net. `random.Random` may stand under TYPE_CHECKING.
PURE_MODULES = {
    *("__future__", "abc", "bisect", "collections", "collections.abc", "dataclasses", "enum", "functools", "heapq", "itertools"),
    *("json", "math", "operator", "struct", "types", "typing", "zlib"),
}


def imports(path: Path, root: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, module, for types only) of every import; `from package import name` counts as package.name where that is a module."""
    tree = ast.parse(path.read_text("utf-8"), str(path))
    types_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, id(node) in types_only
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path, root)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}" if _is_module(root, f"{base}.{alias.name}") else base, id(node) in types_only


def _absolute(node: ast.ImportFrom, path: Path, root: Path) -> str:
    if not node.level:
        return node.module or ""
    package = path.relative_to(root).parent.parts
    return ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])


def _is_module(root: Path, name: str) -> bool:
    place = root.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").exists()


def room_of(path: Path, root: Path) -> str:
    inside = path.relative_to(root / PROJECT)
    return inside.parts[0].removesuffix(".py")


def _allowed(module: str, room: str) -> bool:
    own = f"{PROJECT}.{room}"
    if module == own or module.startswith(f"{own}."):
        return True
    return any(
        module == arrow or (arrow.endswith(".*") and (module == arrow[:-2] or module.startswith(arrow[:-1]))) for arrow in ARROWS[room]
    )


def turned_arrows(root: Path) -> list[str]:
    found = []
    for path in sorted((root / PROJECT).rglob("*.py")):
        room = room_of(path, root)
        where = path.relative_to(root)
        if room == "__init__":
            found += [
                f"{where}:{line}: the package itself imports nothing, so that every room can import it" for line, *_ in imports(path, root)
            ]
            continue
        if room not in ARROWS:
            found.append(f"{where}: {room} is a room without arrows; name what it may import in {Path(__file__).name}")
            continue
        for line, module, types_only in imports(path, root):
            found += [f"{where}:{line}: {problem}" for problem in _problems(room, module, types_only)]
    return found


def _problems(room: str, module: str, types_only: bool) -> Iterator[str]:
    top = module.partition(".")[0]
    if top == PROJECT:
        if not _allowed(module, room):
            yield f"{room} may not import {module}; it may import {', '.join(ARROWS[room]) or 'nothing of the project'}"
    elif room == "raft" and module not in PURE_MODULES and not (module == "random" and types_only):
        yield f"raft is pure and may not import {module}; have it handed in"
    elif top in OWNERS and room not in OWNERS[top]:
        yield f"only {' and '.join(sorted(OWNERS[top]))} may import {top}"


def test_only_the_commands_that_need_no_node_look_into_data_directories() -> None:
    """All else of the command line speaks HTTP."""
    importers = {
        str(path.relative_to(ROOT / PROJECT))
        for path in (ROOT / PROJECT).rglob("*.py")
        if room_of(path, ROOT) != "rescue" and any(module.startswith("ddbd.rescue") for _, module, _ in imports(path, ROOT))
    }
    assert importers == {"cli/rescue.py"}


def test_the_arrows_run_one_way() -> None:
    assert turned_arrows(ROOT) == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("raft/core.py", "import time"),
        ("raft/core.py", "from random import Random"),
        ("raft/core.py", "from ddbd.errors import Busy"),
        ("raft/core.py", "import msgspec"),
        ("storage/wal.py", "from ddbd.raft.messages import AppendEntries"),
        ("storage/wal.py", "from ddbd import raft"),
        ("cluster/wire.py", "import apsw"),
        ("replica/driver.py", "from ddbd.storage.wal import Wal"),
        ("replica/driver.py", "from ..storage import wal"),
        ("web/app.py", "from ddbd.replica import Replica"),
        ("cli/demo.py", "from ddbd.config import Config"),
        ("cli/demo.py", "from ddbd.client.calls import insert"),
        ("client/blocking.py", "from ddbd.config import load_config"),
        ("errors.py", "import ddbd.commands"),
        ("cellar/wine.py", "import os"),
    ],
)
def test_a_turned_arrow_is_found(place: str, line: str, tmp_path: Path) -> None:
    for module in ("raft/__init__.py", "storage/wal.py", "client/calls.py", place):
        path = tmp_path / PROJECT / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / PROJECT / place).write_text(f"{line}\n")
    assert len(turned_arrows(tmp_path)) == 1


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("raft/core.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from random import Random\n"),
        ("raft/core.py", "from ddbd.raft import types\nfrom .types import Entry\n"),
        ("replica/driver.py", "from ddbd.storage import Log\nfrom ddbd.raft.core import Raft\n"),
        ("tap.py", "from ddbd.storage.wal import Wal\nfrom ddbd.web.app import resource\n"),
        ("cli/demo.py", "import click\nfrom ddbd import __version__\nfrom ddbd.errors import DdbError\n"),
    ],
)
def test_an_arrow_in_its_direction_passes(place: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / PROJECT / place
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert turned_arrows(tmp_path) == []
