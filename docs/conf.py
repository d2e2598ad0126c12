"""How these pages become HTML: `tox -e docs`. Each of them is plain Markdown and can be read without it.

Nothing is fetched while they are built, and every warning is an error: a link to a page, a heading, a file or a name of the code that is
not there stops the build.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ddbd import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

project = "ddbd"
author = "the authors of ddbd"
project_copyright = "the authors of ddbd, under the MIT licence"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sources"]
source_suffix = {".md": "markdown"}
nitpicky = True
exclude_patterns = ["_ext"]
if importlib.util.find_spec("ddbd.client") is None:
    exclude_patterns.append("api.md")

myst_heading_anchors = 4
highlight_language = "none"  # an indented block is a line for a shell, a config, a log: no one language fits

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
# What `ddbd.client` offers must be found. Types of others, and the client's own inner ones, are named and not linked: nothing is fetched.
nitpick_ignore_regex = [(r"py:.*", r"(?!ddbd\.client\.[A-Z]\w*$).*")]

html_theme = "furo"
html_title = f"ddbd {__version__}"
html_static_path = ["_static"]
html_css_files = ["ddbd.css"]
html_copy_source = False
html_show_sphinx = False


def drop_absent_pages(app: Sphinx, docname: str, source: list[str]) -> None:
    """The index names the pages of the whole house; one that is not there leaves no hole. A slip of the pen is still found, since the
    page that was meant is then in no toctree, and that is a warning."""
    if docname == "index":
        names = app.env.found_docs
        source[0] = re.sub(r"^[a-z-]+\n", lambda line: line[0] if line[0].strip() in names else "", source[0], flags=re.M)


def setup(app: Sphinx) -> None:
    app.connect("source-read", drop_absent_pages)
