"""Files and names of the code, wherever a page names one in backticks, become links: to the page, or to the source beside it.

    `docs/http.md`            the page
    `ddbd/raft/core.py`       the file, as a page of its own
    `Driver.receive`, `leader.flush`, `Window`     the line where it is defined, if only one file of ddbd/ defines it

A path that begins with a folder of the repository and is not there is a warning, so the build fails. The pages need no markup for this
and stay readable where no link can be followed.
"""

from __future__ import annotations

import ast
import functools
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("ddbd", "tests", "docs", "bench", "deploy", "twisted", "changelog.d", ".ci")
LEXERS = {".py": "python", ".json": "json", ".toml": "toml", ".ini": "ini", ".yaml": "yaml", ".yml": "yaml"}
LINE = "line"  # of the anchors: line-12

logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", link_literals)
    app.connect("env-purge-doc", forget)
    app.connect("html-collect-pages", source_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _linked(env).pop(docname, None)


def _linked(env: BuildEnvironment) -> dict[str, set[str]]:
    """The files that each page links to. Kept with the environment, so that a build of only what changed knows them all."""
    if not hasattr(env, "ddbd_linked_sources"):
        env.ddbd_linked_sources = {}
    found: dict[str, set[str]] = env.ddbd_linked_sources
    return found


def link_literals(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if app.builder.format != "html":
        return
    used: set[str] = set()
    for literal in list(doctree.findall(nodes.literal)):
        if isinstance(literal.parent, nodes.reference):
            continue
        target = target_of(app, literal.astext(), literal)
        if target is None:
            continue
        page, anchor = target
        if page.startswith("code/"):
            used.add(page.removeprefix("code/"))
        uri = app.builder.get_relative_uri(docname, page) + anchor
        literal.replace_self(nodes.reference("", "", literal.deepcopy(), internal=True, refuri=uri))
    _linked(app.env)[docname] = used


def target_of(app: Sphinx, text: str, where: nodes.Node) -> tuple[str, str] | None:
    """(page, anchor), or None where nothing can be linked."""
    if re.fullmatch(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*", text):
        path = ROOT / text
        if not path.exists():
            logger.warning("there is no %s in the repository", text, location=where)
            return None
        page = text.removeprefix("docs/").removesuffix(".md")
        if page in app.env.found_docs:
            return page, ""
        return (f"code/{text}", "") if path.is_file() else None
    place = places().get(text)
    return (f"code/{place[0]}", f"#{LINE}-{place[1]}") if place else None


@functools.cache
def places() -> dict[str, tuple[str, int]]:
    """`Class`, `Class.method` and `module.function` -> (file, line), for what only one file defines."""
    found: dict[str, set[tuple[str, int]]] = {}
    for path in sorted((ROOT / "ddbd").rglob("*.py")):
        for name, line in definitions(ast.parse(path.read_text("utf-8")), path.stem):
            found.setdefault(name, set()).add((str(path.relative_to(ROOT)), line))
    return {name: next(iter(where)) for name, where in found.items() if len(where) == 1}


def definitions(tree: ast.Module, stem: str) -> Iterator[tuple[str, int]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name, node.lineno
            yield f"{stem}.{node.name}", node.lineno
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}", inner.lineno
                elif isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                    yield f"{node.name}.{inner.target.id}", inner.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{stem}.{node.name}", node.lineno


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    for name in sorted(set().union(*_linked(app.env).values())):
        text = (ROOT / name).read_text("utf-8")
        lexer = LEXERS.get(Path(name).suffix, "none")
        body = app.builder.highlighter.highlight_block(text, lexer, linenos="inline", lineanchors=LINE)  # type: ignore[attr-defined]
        yield f"code/{name}", {"title": name, "body": f"<h1>{html.escape(name)}</h1>\n{body}"}, "page.html"
