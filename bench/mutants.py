"""Do the tests of `ddbd/raft` notice a wrong line? Breaks one place after another and runs tests/raft on it.

    python bench/mutants.py                         all mutants: some 1,500, an hour or two on two cores
    python bench/mutants.py --sample 150 --seed 1   so many of them, drawn by the seed
    python bench/mutants.py --only leader.py:120    those of one file, or of one line of it; --list shows them and runs nothing

A mutant is killed by the first test that fails, by an import that fails, or by using too much processor time or memory. The survivors are
printed by file, line and change: each is either a hole in the tests or a change that nobody can see from outside.

No file is touched, so this may run beside other work in the checkout. Each mutant is a fork of this process, which has imported the
tools and not yet `ddbd.raft`: the fork compiles the changed tree in place of the module, and pytest does the rest. The tests run in the
order of what they took in a first run without a change. Hypothesis draws the same examples for all, and does not shrink.

What is not mutated: assertions (in right code none ever fails, so a weaker one looks the same), the words of errors, annotations.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import hypothesis
import pytest

PACKAGE = "ddbd.raft"
TESTS = "tests/raft"
MEMORY_BYTES_MAX = 2 << 30
CPU_FACTOR, CPU_SECONDS_MORE = 3, 5  # times what the tests take without a change, and more: then a mutant runs without end

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COUNTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Change(NamedTuple):
    """`field` of the `node`-th node of the module (in the order of ast.walk), or its `item`-th part where it is a list, becomes `new`."""

    file: str
    line: int
    node: int
    field: str
    item: int | None
    new: Any
    told: str


# What can be broken.


def changes(file: str, source: str) -> list[Change]:
    tree = ast.parse(source)
    left_out = {id(part) for node in ast.walk(tree) if _is_left_out(node) for part in ast.walk(node)}
    found: list[Change] = []
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in left_out:
            continue
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "bases", "type_params"):
                continue
            parts = enumerate(value) if isinstance(value, list) else [(None, value)]
            for item, part in parts:
                if not isinstance(part, ast.AST) or id(part) in left_out:
                    continue
                told = ast.unparse(part).partition("\n")[0]
                for new in _instead(part):
                    becomes = ast.unparse(new).partition("\n")[0] if not isinstance(new, ast.Pass) else "nothing"
                    found.append(Change(file, getattr(part, "lineno", 0), number, field, item, new, f"{told}  ->  {becomes}"))
    return found


def _is_left_out(node: ast.AST) -> bool:
    """Assertions, imports, words for people, docstrings, fields without a value."""
    if isinstance(node, ast.Assert | ast.Import | ast.ImportFrom | ast.JoinedStr):
        return True
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.AnnAssign) and node.value is None


def _instead(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in place of this node."""
    match node:
        case ast.Compare(left, [op], right):
            for other in _COMPARED[type(op)]:
                yield ast.Compare(left, [other()], right)
        case ast.Compare(left, ops, right):  # a <= b < c
            for place, op in enumerate(ops):
                for other in _COMPARED[type(op)]:
                    yield ast.Compare(left, [*ops[:place], other(), *ops[place + 1 :]], right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for place in range(len(values)):
                rest = [*values[:place], *values[place + 1 :]]
                yield ast.BoolOp(op, rest) if len(rest) > 1 else rest[0]
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.BinOp(left, op, right) if type(op) in _COUNTED:
            yield ast.BinOp(left, _COUNTED[type(op)](), right)
        case ast.AugAssign(target, op, value):
            if type(op) in _COUNTED:
                yield ast.AugAssign(target, _COUNTED[type(op)](), value)
            yield ast.Pass()
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() as value):
            yield ast.Constant(value + 1)
            if value > 0:
                yield ast.Constant(value - 1)
        case ast.Return(value) if value is not None and not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None))
        case ast.Call(ast.Name(name), arguments, keywords) if name in _CALLED:
            yield ast.Call(ast.Name(_CALLED[name], ast.Load()), arguments, keywords)
        case ast.If(test, body, orelse) if not isinstance(test, ast.Compare | ast.UnaryOp):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Expr() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            yield ast.Pass()
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()


def broken(source: str, change: Change) -> ast.Module:
    tree = ast.parse(source)
    node = next(node for number, node in enumerate(ast.walk(tree)) if number == change.node)
    if change.item is None:
        setattr(node, change.field, copy.deepcopy(change.new))
    else:
        getattr(node, change.field)[change.item] = copy.deepcopy(change.new)
    for part in ast.walk(tree):  # a new node stands where the change is
        if not hasattr(part, "lineno") and isinstance(part, ast.expr | ast.stmt):
            part.lineno = part.end_lineno = change.line
            part.col_offset = part.end_col_offset = 0
    return tree


# One mutant, in a process of its own.


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        super().__init__(name, path)
        self._tree = tree

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self._tree, self.path, "exec")
        return code


class Finder(importlib.abc.MetaPathFinder):
    """Finds the one module that is changed."""

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=_Loader(name, self.path, self.tree))


class Times:
    """A pytest plugin: what each test took, and the tests in the order of that."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.taken: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.taken[report.nodeid] = self.taken.get(report.nodeid, 0.0) + report.duration


def run_tests(times: Times) -> int:
    """pytest's exit status."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, phases=phases, print_blob=False)
    hypothesis.settings.load_profile("mutants")
    return int(pytest.main(["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", TESTS], plugins=[times]))


def fork(change: Change | None, path: Path, times: Times, cpu_seconds: int, tell: int | None = None) -> int:
    """The process id of a child that ends with 0 where all tests pass. With `tell` it writes there what the tests took."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(quiet, fd)
        if change is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            name = PACKAGE if path.stem == "__init__" else f"{PACKAGE}.{path.stem}"
            sys.meta_path.insert(0, Finder(name, str(path), broken(path.read_text(), change)))
        status = run_tests(times)
        if tell is not None:
            os.write(tell, json.dumps(times.taken).encode())
    finally:
        os._exit(status)


# All of them.


def package_folder() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None, f"{PACKAGE} is not there"
    assert spec.submodule_search_locations, f"{PACKAGE} is no package"
    return Path(next(iter(spec.submodule_search_locations)))


def measured(folder: Path) -> dict[str, float]:
    """Seconds of each test, without a change."""
    with open(os.memfd_create("seconds"), "r+b") as told:
        child = fork(None, folder, Times({}), 0, told.fileno())
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
            raise SystemExit(f"{TESTS} fails without a change; run it alone")
        told.seek(0)
        seconds: dict[str, float] = json.load(told)
    return seconds


def play(picked: list[Change], folder: Path, jobs: int) -> list[Change]:
    """The survivors."""
    seconds = measured(folder)
    total = sum(seconds.values())
    print(f"{len(seconds)} tests take {total:.1f} s; {len(picked)} mutants, {jobs} at a time", flush=True)
    under_way: dict[int, Change] = {}
    survivors: list[Change] = []
    waiting = iter(picked)
    done = 0
    while True:
        while len(under_way) < jobs and (change := next(waiting, None)) is not None:
            limit = int(CPU_FACTOR * total) + CPU_SECONDS_MORE
            under_way[fork(change, folder / change.file, Times(seconds), limit)] = change
        if not under_way:
            return survivors
        child, status = os.wait()
        change, done = under_way.pop(child), done + 1
        if status == 0:
            survivors.append(change)
            print(f"survived ({done} of {len(picked)})  {folder.name}/{change.file}:{change.line}: {change.told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutation testing of ddbd/raft.")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many mutants, drawn by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="FILE[:LINE]", help="only mutants of this file, or of this line of it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="show the mutants, run none")
    args = parser.parse_args()
    folder = package_folder()
    found = [change for path in sorted(folder.glob("*.py")) for change in changes(path.name, path.read_text())]
    if args.only:
        found = [change for change in found if args.only in (change.file, f"{change.file}:{change.line}")]
    if args.sample is not None and args.sample < len(found):
        found = sorted(random.Random(args.seed).sample(found, args.sample), key=lambda change: change[:3])
    if args.list:
        for change in found:
            print(f"{folder.name}/{change.file}:{change.line}: {change.told}")
        return
    started = time.monotonic()
    survivors = play(found, folder, args.jobs)
    killed = len(found) - len(survivors)
    print(f"killed {killed} of {len(found)} ({100 * killed / max(1, len(found)):.1f} %) in {time.monotonic() - started:.0f} s")
    for change in sorted(survivors, key=lambda change: change[:3]):
        print(f"  {folder.name}/{change.file}:{change.line}: {change.told}")


if __name__ == "__main__":
    main()
