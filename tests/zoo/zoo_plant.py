"""How a bug is planted: a function or method of the product is replaced in this process, and put back.

The product has no switches for this. `edited` takes the source of the product's own function and changes single lines of it, so a planted
bug stays as small as it was where it was real; it asserts that each line is there exactly once, and so breaks loudly when the product
changes. Nothing else in the tests patches code.
"""

from __future__ import annotations
import __future__

import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent

Plant = Callable[[], AbstractContextManager[Any]]


def module_of(room: str, name: str) -> Any:
    """A module of another folder of the tests: the simulator's, or a room's own tests, whose checks are called here."""
    folder = str(TESTS / room)
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


@contextmanager
def _replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    old = inspect.getattr_static(owner, name)
    assert name in vars(owner), f"{owner.__name__}.{name} is inherited: name the class that has it"
    setattr(owner, name, make(old))
    try:
        yield
    finally:
        setattr(owner, name, old)


def replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Plant:
    """`make` gets what is there, and gives what takes its place while the bug is planted."""
    return lambda: _replaced(owner, name, make)


def edited(owner: Any, name: str, *changes: tuple[str, str]) -> Plant:
    """The function with single pieces of its text changed: (what stands there exactly once, what stands there then)."""

    def make(old: Any) -> Any:
        source = textwrap.dedent(inspect.getsource(old))
        for before, after in changes:
            assert source.count(before) == 1, (
                f"{owner.__name__}.{name} has {before!r} {source.count(before)} times: the bug needs a new place"
            )
            source = source.replace(before, after)
        space = sys.modules[old.__module__].__dict__
        made: dict[str, Any] = {}
        code = compile(source, f"<zoo: {owner.__name__}.{name}>", "exec", __future__.annotations.compiler_flag)
        exec(code, space, made)  # the globals are the module's own, so the function sees what it always saw
        return made[name]

    return replaced(owner, name, make)


def together(*plants: Plant) -> Plant:
    """A bug that needs more than one place."""

    @contextmanager
    def plant() -> Iterator[None]:
        with ExitStack() as stack:
            for each in plants:
                stack.enter_context(each())
            yield

    return plant
