"""What the pages leave out: each page in the index, each key of the config, each error, each file of the code has its place in docs/."""

from __future__ import annotations

import json
import re

import msgspec
from test_docs import DOCS, ROOT, cells, ticked

from ddbd.config import LogOptions, _ConfigJson, _NodeJson
from ddbd.watch.timeline import KINDS
from ddbd.web.problems import STATUSES

CONFIG_KEYS: tuple[tuple[str, type[msgspec.Struct]], ...] = (("", _ConfigJson), ("nodes[].", _NodeJson), ("log.", LogOptions))
PARTS = {"log"}  # whose own keys stand in the table in place of it


def test_the_index_leads_to_every_page() -> None:
    """By its toctrees, a page a line. `tox -e docs` also finds a line that leads nowhere."""
    listed = (DOCS / "index.md").read_text("utf-8").splitlines()
    assert [page.stem for page in DOCS.glob("*.md") if page.stem not in ("index", *listed)] == []


def test_every_key_of_the_config_is_documented_with_its_start_value() -> None:
    text, _, _ = (DOCS / "configuration.md").read_text("utf-8").partition("\n## ")
    said = {ticked(row[0])[0]: row[1] for row in cells(text) if ticked(row[0])}
    keys = {f"{prefix}{field.encode_name}": field for prefix, owner in CONFIG_KEYS for field in msgspec.structs.fields(owner)}
    assert sorted(said) == sorted(set(keys) - PARTS)
    plain = {key: field.default for key, field in keys.items() if isinstance(field.default, bool | int)}
    assert {key: said[key] for key in plain} == {key: json.dumps(value) for key, value in plain.items()}


def test_the_page_of_errors_has_every_code_once_with_its_status() -> None:
    rows = [row for row in cells((DOCS / "errors.md").read_text("utf-8")) if row[0] != "code"]
    said = [(ticked(row[0])[0], int(row[1])) for row in rows]
    assert sorted(said) == sorted((code, status) for code, (status, _) in STATUSES.items())
    assert [row[0] for row in rows if not all(row)] == [], "each has a cause and something to do"


def test_the_walk_of_the_tour_comes_to_every_file_once() -> None:
    """A file that moved in needs a sentence: what it is for, in its room's part of docs/tour.md, where it is easiest to read."""
    _, _, walk = (DOCS / "tour.md").read_text("utf-8").partition("\n## Room by room")
    items = "".join(re.findall(r"^(?:- .*\n(?:  .*\n)*)", walk.partition("\n## ")[0], flags=re.M))
    told = re.findall(r"`(ddbd/[\w/]+\.py)`", items)
    real = [str(path.relative_to(ROOT)) for path in (ROOT / "ddbd").rglob("*.py")]
    assert sorted(told) == sorted(real)


def test_every_kind_of_the_timeline_is_explained_and_every_explained_kind_is_there() -> None:
    _, _, section = (DOCS / "operations.md").read_text("utf-8").partition("\n### `/timeline`")
    table = section.partition("\n## ")[0].partition("\n### ")[0]
    assert sorted(kind for row in cells(table) for kind in ticked(row[0])) == sorted(KINDS)


def test_every_line_of_the_log_that_is_explained_is_said_somewhere() -> None:
    """Each `…` stands for a value; what is between must be in the code as it is in the page."""
    _, _, section = (DOCS / "operations.md").read_text("utf-8").partition("\n### Events")
    code = "".join(path.read_text("utf-8") for path in sorted((ROOT / "ddbd").rglob("*.py")))
    code = re.sub(r'"\s+f?"', "", code)  # sentences that are written over two lines
    lines = [line for row in cells(section.partition("\n## ")[0]) for line in ticked(row[1])]
    assert len(lines) > 25
    pieces = [piece.strip(" :;,") for line in lines for piece in line.split("…")]
    assert [piece for piece in pieces if piece not in code] == []
