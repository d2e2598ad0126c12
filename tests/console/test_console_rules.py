"""House rules of the console's files that a machine can check, without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from console_played import FILES

SCRIPTS = sorted(FILES.rglob("*.js"))
STYLES = sorted(FILES.rglob("*.css"))
FILE_LINES_MAX = 400
FORBIDDEN = {
    r"\b(inner|outer)HTML\b|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTMLUnsafe": "text goes in as text",
    r"\beval\(|new Function\b|javascript:": "nothing that is stored may become code",
    r"setAttribute\(\s*[\"']style[\"']": "the policy refuses style attributes; set the property",
    r"https?://(?!\$\{|www\.w3\.org/2000/svg)(?!localhost)[a-z]": "nothing comes from elsewhere",
    r"\bconsole\.(log|error|warn)\b|\bdebugger\b": "the page tells the user, not the developer",
    r"\bTO" + r"DO\b|\bFIX" + r"ME\b": "do it now, or say in prose what is missing",
}


def name_of(path: Path) -> str:
    return path.relative_to(FILES).as_posix()


@pytest.mark.parametrize("pattern", FORBIDDEN, ids=lambda pattern: re.sub(r"\W+", "-", pattern)[:24])
def test_no_script_holds_what_is_forbidden(pattern: str) -> None:
    found = [
        f"{name_of(path)}: {match[0]} ({FORBIDDEN[pattern]})" for path in SCRIPTS if (match := re.search(pattern, path.read_text("utf-8")))
    ]
    assert found == []


def test_the_search_for_what_is_forbidden_finds_it() -> None:
    samples = [
        "a.innerHTML = b",
        "eval(x)",
        'n.setAttribute("style", s)',
        "fetch('https://example.com/x')",
        "console.log(1)",
        "// TO" + "DO: it",
    ]
    assert [sample for sample in samples if not any(re.search(pattern, sample) for pattern in FORBIDDEN)] == []


def test_files_are_short() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in [*SCRIPTS, *STYLES, FILES / "index.html"]}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_every_script_has_its_types_checked_and_begins_with_its_theory() -> None:
    heads = {name_of(path): path.read_text("utf-8").splitlines()[:2] for path in SCRIPTS}
    assert [name for name, head in heads.items() if head[0] != "// @ts-check" or not head[1].startswith("/")] == []


def test_the_page_has_nothing_inline() -> None:
    page = (FILES / "index.html").read_text("utf-8")
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page) == []


def test_every_file_that_the_page_or_a_script_names_is_there_and_every_file_is_named() -> None:
    page = (FILES / "index.html").read_text("utf-8")
    named = {FILES / path for path in re.findall(r'(?:src|href)="([\w./-]+\.\w+)"', page)}
    for script in SCRIPTS:
        named |= {(script.parent / path).resolve() for path in re.findall(r'^import [^;]*?"(\.[^"]+)";', script.read_text("utf-8"), re.M)}
    there = {path for path in FILES.rglob("*") if path.is_file()}
    assert named == there - {FILES / "index.html"}


def test_colours_are_named_in_one_place() -> None:
    named = {name_of(path): re.findall(r"#[0-9a-f]{3,8}\b", path.read_text("utf-8"), re.I) for path in STYLES if path.name != "base.css"}
    assert {name: found for name, found in named.items() if found} == {}


def test_every_module_is_fetched_at_once() -> None:
    page = (FILES / "index.html").read_text("utf-8")
    loaded = re.findall(r'rel="modulepreload" href="([^"]+)"|src="([^"]+)"', page)
    assert sorted(a or b for a, b in loaded) == sorted(name_of(path) for path in SCRIPTS)
