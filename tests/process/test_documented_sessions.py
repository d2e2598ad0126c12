"""The pages' console sessions, as a reader would type them, against real nodes. How they are written: `session_kit`."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from machines_kit import Machines
from screen_kit import Screen
from session_kit import Desk, Memory, Shell, blocks

ROOT = Path(__file__).resolve().parents[2]

needs_a_terminal = pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("bash") is None, reason="the sessions are typed into bash and use curl"
)


@needs_a_terminal
def test_the_tutorial_works_as_it_stands(tmp_path: Path) -> None:
    with Desk(tmp_path, (ROOT / "config.json").read_text("utf-8")) as desk:
        for block in blocks("docs/tutorial.md", (ROOT / "docs/tutorial.md").read_text("utf-8")):
            desk.play(block)
        assert desk.interrupt() == [-signal.SIGINT] * 3, "twistd stops in order, and then ends by the signal that asked for it"


@needs_a_terminal
@pytest.mark.skipif(shutil.which("jq") is None, reason="the recipes look into /status with jq")
def test_the_recipes_for_operators_work_as_they_stand(tmp_path: Path) -> None:
    text = (ROOT / "docs/howto.md").read_text("utf-8")
    config = text[text.index('    {"insecure"') : text.index("What the lines and fields mean")]
    with Machines(tmp_path, config, {"db1": "1", "db2": "2", "db3": "3", "db4": "3"}) as machines:
        for block in blocks("docs/howto.md", text):
            machines.play(block)


def test_a_session_is_read_as_it_is_shown() -> None:
    text = "<!-- until -->\n```console\n$ echo a \\\n>   b\na b\n$ true\n```\n\n    indented\n```console\nroot@db3# id\n…\n```\n"
    first, second = blocks("page", text)
    assert first.mark == "until"
    assert [(step.machine, step.command, step.output) for step in first.steps] == [("", "echo a \\\n  b", "a b\n"), ("", "true", "")]
    assert [(step.place, step.machine, step.command, step.output) for step in second.steps] == [("page:11", "db3", "id", "…\n")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("```console\nls\n```\n", "begins with a prompt"),
        ("<!-- utnil -->\n```console\n$ ls\n```\n", "nobody knows"),
    ],
)
def test_a_session_that_cannot_be_read_is_no_silent_pass(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        list(blocks("page", text))


@pytest.mark.parametrize(
    ("shown", "came", "fits"),
    [
        ("a\n", "a\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n", "", False),
        ("", "oops\n", False),
        ("a …, c\n", "a lot of b, c\n", True),
        ("a …, c\n", "a lot\nof b, c\n", False),
        ("a\n…\nd\n", "a\nb\nc\nd\n", True),
        ("…\nd\n", "a\n", False),
        ('{"version":7}\n', '{"version":12}\n', True),
        ('{"version":7}\n', '{"version":"7"}\n', False),
        ('{"rows":7}\n', '{"rows":12}\n', False),
    ],
)
def test_what_came_is_held_against_what_is_shown(shown: str, came: str, fits: bool) -> None:
    assert Memory().match(shown, came) == fits


def test_values_that_a_later_command_repeats_are_those_that_came() -> None:
    memory, shown, came = Memory(), "01a2173f-65e1-7000-b5ad-68db73005081", "0f0f0f0f-0f0f-7f0f-8f0f-0f0f0f0f0f0f"
    assert memory.match(f'{{"row_id":"{shown}","version":7}}\n', f'{{"row_id":"{came}","version":12}}\n')
    assert memory.fill(f'{{"row_id":"{shown}","if_version":7,"age":7}}') == f'{{"row_id":"{came}","if_version":12,"age":7}}'


@needs_a_terminal
def test_a_shell_keeps_what_it_was_told_and_shows_errors(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {"PATH": "/usr/bin:/bin"})
    try:
        assert shell.run("a=1; false") == ""
        assert shell.run("echo $a; printf x >&2") == "1\nx\n"
        assert shell.run("cat") == "", "a command does not read what is typed after it"
    finally:
        shell.close()


@needs_a_terminal
def test_a_screen_shows_what_a_program_asks_and_what_is_typed_there(tmp_path: Path) -> None:
    asks = 'bash --norc --noprofile --noediting -c \'stty -echo; read -p "n1[leader] a> " line; echo; test -t 1 && echo "$line"\''
    screen = Screen(tmp_path, {"PATH": "/usr/bin:/bin"}, asks)
    try:
        screen.answer("n1[leader] a> ", "typed", 20)
        assert screen.end(20).splitlines()[1].startswith("typed")
    finally:
        screen.close()


@needs_a_terminal
def test_a_screen_says_what_it_shows_where_the_prompt_never_comes(tmp_path: Path) -> None:
    screen = Screen(tmp_path, {"PATH": "/usr/bin:/bin"}, "echo something else")
    try:
        with pytest.raises(AssertionError, match="something else"):
            screen.answer("n1[leader] a> ", "typed", 20)
    finally:
        screen.close()
