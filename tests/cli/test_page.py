"""docs/cli.md says what is there, and all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ddbd.cli.commands import COMMANDS
from ddbd.cli.errors import MEANINGS
from ddbd.cli.language import OPS, VERBS
from ddbd.cli.output import FORMATS
from ddbd.cli.session import DOT_COMMANDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text("utf-8")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("demo", "version")])
def test_every_command_is_on_the_page(name: str) -> None:
    assert re.search(rf"ddb {name}\b|`{name}`", PAGE)


@pytest.mark.parametrize(
    "word", [*VERBS, *(name.partition(" ")[0] for name in DOT_COMMANDS), *FORMATS, *(op for op in OPS if op not in ("==", "<>"))]
)
def test_every_word_of_the_shell_and_every_form_is_on_the_page(word: str) -> None:
    assert re.search(rf"`{re.escape(word)}[` ]", PAGE)


def test_every_exit_status_is_on_the_page() -> None:
    said = {int(number) for row in re.findall(r"^\| ([\d, ]+) \|", PAGE, re.M) for number in row.split(",")}
    assert said == set(MEANINGS)


def test_every_command_that_the_page_shows_exists() -> None:
    shown = set(re.findall(r"^    (?:\$ )?ddb ([a-z-]+)", PAGE, re.M))
    assert len(shown) > 15
    assert shown <= set(COMMANDS)
