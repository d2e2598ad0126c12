"""House rules that a machine can check, each with a message that says what to do instead."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("ddbd", "twisted", "tests", "bench")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

# Files and functions that were over the line when the rule came, with the size that they may not pass. Only ever lowered.
RATCHET: dict[str, int] = {}

Rule = Callable[[Path, str, ast.Module], Iterator[str]]


def sources(root: Path = ROOT) -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]


def over(name: str, lines: int, lines_max: int) -> Iterator[str]:
    before = RATCHET.get(name)
    if lines > (before or lines_max):
        yield f"{name}: {lines} lines, {f'was {before}' if before else f'at most {lines_max}'}; split before it grows"


def file_length(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    yield from over(str(path), text.count("\n"), FILE_LINES_MAX)


def function_length(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield from over(f"{path}:{node.name}", node.end_lineno - node.lineno + 1, FUNCTION_LINES_MAX)


def no_sleep(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    for node in _statements(tree):
        called = isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep"
        imported = isinstance(node, ast.ImportFrom) and node.module == "time" and "sleep" in {alias.name for alias in node.names}
        if called or imported:
            yield f"{path}:{node.lineno}: no sleeping; hand in a clock, or wait for the thing itself with `eventually`"


def no_swallowed_errors(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            if broad and all(isinstance(statement, ast.Pass) for statement in node.body):
                yield f"{path}:{node.lineno}: a broad except that passes hides every mistake; name the error, or handle it"


def no_unfinished_notes(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"\b(TO" + "DO|FIX" + r"ME|XX" + r"X)\b", line):
            yield f"{path}:{number}: do it now, or say in prose what is missing and why that is all right"


def no_print(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """Benchmarks are scripts: they print. In the package only the command line does, and it has a screen for that."""
    if path.parts[0] in ("bench", "tests") or path.parts[:2] == ("ddbd", "cli"):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"{path}:{node.lineno}: no print; a daemon has a logger"


def no_patched_code(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """Environment and working directory may be patched (monkeypatch.setenv, chdir): they are not code."""
    if path.parts[0] != "tests":
        return
    for node in _statements(tree):
        patched = isinstance(node, ast.Attribute) and ast.unparse(node) in ("mock.patch", "monkeypatch.setattr", "self.patch")
        if patched or (isinstance(node, ast.ImportFrom | ast.Import) and "mock" in ast.unparse(node).replace(".", " ").split()):
            yield f"{path}:{node.lineno}: no patching of code; hand in the clock, the dice, the disk, the network"


def _statements(tree: ast.Module) -> Iterator[ast.stmt | ast.expr]:
    """What stands in the file and has a line."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.stmt | ast.expr))


RULES: tuple[Rule, ...] = (
    *(file_length, function_length, no_sleep, no_swallowed_errors),
    *(no_unfinished_notes, no_print, no_patched_code),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_is_tidy(rule: Rule) -> None:
    found = []
    for path in sources():
        text = path.read_text("utf-8")
        found += list(rule(path.relative_to(ROOT), text, ast.parse(text, str(path))))
    assert found == []


@pytest.mark.parametrize(
    ("rule", "place", "text"),
    [
        (file_length, "ddbd/a.py", "\n" * 401),
        (function_length, "ddbd/a.py", "def f():\n" + "    pass\n" * 70),
        (no_sleep, "tests/test_a.py", "import time\ntime.sleep(1)\n"),
        (no_sleep, "tests/test_a.py", "from time import sleep\n"),
        (no_swallowed_errors, "ddbd/a.py", "try:\n    f()\nexcept Exception:\n    pass\n"),
        (no_unfinished_notes, "ddbd/a.py", "# FIX" + "ME: later\n"),
        (no_print, "ddbd/a.py", "print('x')\n"),
        (no_patched_code, "tests/test_a.py", "from unittest import mock\n"),
        (no_patched_code, "tests/test_a.py", "monkeypatch.setattr(a, 'b', 1)\n"),
    ],
)
def test_untidiness_is_found(rule: Rule, place: str, text: str) -> None:
    assert len(list(rule(Path(place), text, ast.parse(text)))) == 1


def test_the_ratchet_has_no_slack() -> None:
    """A file that shrank under the line leaves the list."""
    names = {str(path.relative_to(ROOT)) for path in sources()}
    assert [name for name in RATCHET if name.partition(":")[0] not in names] == []


def test_assertions_stay_on() -> None:
    """They are part of the daemon: nothing here runs Python with -O."""
    assert not sys.flags.optimize, "run the tests without -O"
    files = [ROOT / "tox.ini", *(ROOT / ".ci").glob("*"), *(path for path in (ROOT / "deploy").rglob("*") if path.is_file())]
    stripped = re.compile(r"PYTHONOPTIMIZE|python[\d.]*\s+-OO?\b")
    assert [str(path) for path in files if path.exists() and stripped.search(path.read_text("utf-8"))] == []


def test_no_two_files_of_tests_have_one_name() -> None:
    """The folders are no packages, so pytest would take one for the other."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []
