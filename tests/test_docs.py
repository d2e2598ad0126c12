"""What the documents say about the code is checked against the code."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from ddbd.commands import Column, CreateTable, InitDatabase
from ddbd.config import Config, Limits, Node, Timing
from ddbd.host.reload import LIVE_LIMITS
from ddbd.raft.types import Membership
from ddbd.replica import Replica, World
from ddbd.replica.standby import Standby
from ddbd.storage.directory import FORMAT, Identity, open_store
from ddbd.turns import Turns
from ddbd.web.app import Api
from ddbd.web.problems import STATUSES

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
TOP_FOLDERS = ("ddbd", "tests", "docs", "bench", "deploy", "twisted", r"changelog\.d", r"\.ci")


def ticked(text: str) -> list[str]:
    """What stands in backticks, also over the end of a line."""
    return [re.sub(r"\s+", " ", found) for found in re.findall(r"`([^`]+)`", text)]


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one."""
    _, _, rest = (DOCS / page).read_text("utf-8").partition(f"\n{heading}\n")
    assert rest, f"{page} has no section {heading!r}"
    return re.split(r"\n#+ ", rest)[0]


def cells(text: str) -> list[list[str]]:
    """The tables' rows, without head and rule."""
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


# Configuration.


@pytest.mark.parametrize("name", [*Limits.__struct_fields__, *Timing.__struct_fields__])
def test_every_limit_and_every_duration_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "configuration.md").read_text("utf-8")


@pytest.mark.parametrize("name", [*Limits.__struct_fields__, *Timing.__struct_fields__])
def test_the_documented_start_values_are_the_real_ones(name: str) -> None:
    line = next(
        line for line in (DOCS / "configuration.md").read_text("utf-8").splitlines() if f"`{name}`" in line and line.startswith("|")
    )
    names, values = ([part.strip(" `") for part in cell.split(",")] for cell in line.split("|")[1:3])
    said = values[names.index(name)]
    number, _, unit = said.partition(" ")
    factor = {"": 1, "KiB": 1024, "MiB": 1024 * 1024}[unit]
    owner = Limits if name in Limits.__struct_fields__ else Timing
    assert getattr(owner(), name) == float(number) * factor


def test_the_documented_limits_that_sighup_changes_are_the_real_ones() -> None:
    rows = cells(section("configuration.md", "## Limits"))
    assert rows[0][-1] == "SIGHUP"
    assert {name for row in rows[1:] if row[-1] == "yes" for name in ticked(row[0])} == LIVE_LIMITS


# The HTTP calls.


def test_every_route_is_documented_and_every_documented_route_is_there() -> None:
    said = set(re.findall(r"`(GET|POST) (/[a-z_.]+)`", (DOCS / "http.md").read_text("utf-8")))
    real = {(method, rule.rule) for rule in Api.app.url_map.iter_rules() for method in (rule.methods or ()) if method in ("GET", "POST")}
    assert said == real


def test_every_problem_code_is_documented_with_its_status_and_no_other() -> None:
    said = {code: int(row[0]) for row in cells(section("http.md", "## Errors")) if row[0].isdecimal() for code in ticked(row[1])}
    assert said == {code: status for code, (status, _) in STATUSES.items()}


def codes_in(tree: ast.Module) -> Iterator[str]:
    """The first argument of every Refused and of every Answer that is a refusal, where it is a plain word."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Refused", "Answer") and node.args:
            code = node.args[0]
            if isinstance(code, ast.Constant) and code.value:
                yield str(code.value)


def test_every_code_that_is_raised_has_a_status() -> None:
    raised = {code for path in (ROOT / "ddbd").rglob("*.py") for code in codes_in(ast.parse(path.read_text("utf-8")))}
    assert {"row_exists", "idempotency_full", "disk_full"} <= raised, "the search finds codes of every room"
    assert raised <= set(STATUSES), "answered as 500: give them a row in ddbd/web/problems.py and in docs/http.md"


# /status.


class Nobody:
    """The peers of a node that is alone, and the carrier of snapshots that nobody wants."""

    def send(self, message: Any) -> None:
        raise AssertionError(f"{message} has nobody to go to")

    def flush(self) -> None:
        """Nothing was sent."""


def real_status(folder: Path) -> list[dict[str, Any]]:
    """Of a node that waits, and of one that leads (alone, on a real disk) and has a table."""
    node = Node("1", "localhost:8080", True, "localhost", 8080, "localhost")
    config = Config((node,), Path("config.json"), limits=Limits(segment_bytes=64 * 1024, disk_reserve_bytes=1024))
    store = open_store(folder, Identity(FORMAT, "c", "1", "", True), config.limits, founders=Membership.of(("1",)))
    clock, failed = Clock(), list[BaseException]()
    peers: Any = Nobody()
    turns = Turns(lambda *_: [])
    replica = Replica(
        config, "1", store, World(peers, peers, clock, random.Random(1), failed.append, lambda text: None, turns.age, turns.told)
    )

    def run() -> None:
        for _ in range(100):
            replica.tick()
            clock.advance(0.05)

    run()
    for command in (InitDatabase("DDB0"), CreateTable(None, "students", (Column("name"),))):
        answer = replica.propose(command, 1.0)
        run()
        assert answer.called, "one node is a majority of one"
    assert failed == []
    found = [Standby(config, "1").status(), replica.status()]
    store.close()
    return found


def paths_of(value: Any, path: str = "") -> Iterator[str]:
    """`nodes[].id` for each leaf; a null in place of an object counts as nothing."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths_of(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from paths_of(item, f"{path}[]")
    else:
        yield path


def test_every_field_of_status_is_explained_and_every_explained_field_is_there(tmp_path: Path) -> None:
    rows = cells(section("operations.md", "### `/status`, field by field"))
    said = [name for row in rows[1:] for name in ticked(row[0])]
    waiting, leading = ({*paths_of(body)} for body in real_status(tmp_path))
    empty = {"master", "databases"}  # in the body of a node that waits
    of_the_web_room = {"rates.writes", "rates.reads"}
    assert sorted(said) == sorted(((waiting | leading) - empty) | of_the_web_room)


# Names of files, and the tour's names in the code.


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_of_the_repository_that_a_page_names_exists(page: Path) -> None:
    pattern = re.compile(rf"(?<![\w./-])(?:{'|'.join(TOP_FOLDERS)})/[\w./@-]*")
    words = ticked(page.read_text("utf-8"))
    missing = [path for word in words for path in pattern.findall(word) if not (ROOT / path).exists()]
    files = {path.name for folder in ("ddbd", "tests", "bench", "twisted") for path in (ROOT / folder).rglob("*.py")}
    missing += [word for word in words if re.fullmatch(r"\w+\.py", word) and word not in files]
    assert missing == []


def names_in_the_code() -> dict[str, set[str]]:
    """By class and by module (`Driver`, `driver`, and `ddbd/replica/driver.py`), over all files of that name: what is defined there."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "ddbd").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        module = {*_names(tree)}
        for name in (path.stem, str(path.relative_to(ROOT))):
            found.setdefault(name, set()).update(module)
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(_names(node))
                found[str(path.relative_to(ROOT))] |= {f"{node.name}.{name}" for name in _names(node)}
    return found


def _names(scope: ast.Module | ast.ClassDef) -> Iterator[str]:
    for node in ast.walk(scope) if isinstance(scope, ast.ClassDef) else scope.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name | ast.Attribute):
                    yield target.id if isinstance(target, ast.Name) else target.attr


def test_every_name_of_the_tour_is_in_the_code() -> None:
    names = names_in_the_code()
    text = (DOCS / "tour.md").read_text("utf-8")
    dotted = [word for word in ticked(text) if re.fullmatch(r"\w+\.[a-z_]\w*", word) and not re.search(r"\.(py|md|json|db)$", word)]
    classes = [word for word in ticked(text) if re.fullmatch(r"[A-Z][a-z]+[A-Za-z]*", word)]
    assert len(dotted) > 50, "the tour names many functions"
    assert [word for word in dotted if word.partition(".")[2] not in names.get(word.partition(".")[0], ())] == []
    assert [word for word in classes if word not in names] == []


@pytest.mark.parametrize("page", [DOCS / "tour.md", DOCS / "decisions.md"], ids=lambda page: page.name)
def test_what_a_page_places_in_a_file_is_defined_in_that_file(page: Path) -> None:
    """Written as `name` (`path`) or as `name` in `path`."""
    names = names_in_the_code()
    placed = re.findall(r"`([\w.]+)`\s+(?:\(|in\s+)`(ddbd/[\w/]+\.py)`", page.read_text("utf-8"))
    assert placed, "this page places names in files"
    wrong = [f"{name} is not in {path}" for name, path in placed if not _is_in(name, path, names)]
    assert wrong == []


def _is_in(name: str, path: str, names: dict[str, set[str]]) -> bool:
    first, _, second = name.partition(".")
    return name in names[path] or (first == Path(path).stem and second in names[path]) or any(n.endswith(f".{name}") for n in names[path])
