"""The console's files, from memory: read and hashed when the node starts, compressed when a browser first asks. They are package data:
few and small.

Nothing is looked for on the disk while a request runs, so no path leads out of the folder and no slow disk stalls the reactor. The policy
lets a page load and call nothing but this node; pages therefore have no script and no style inside themselves.
"""

# mypy: disallow_untyped_calls=False
# Twisted's web server has no types.

from __future__ import annotations

import gzip
import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from ddbd.errors import Refused
from ddbd.web.reply import matches

FOLDER = Path(__file__).parent / "console"
INDEX = b"index.html"
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FIELDS = (
    (b"Content-Security-Policy", POLICY),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)
TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
    ".woff2": b"font/woff2",
    ".txt": b"text/plain; charset=utf-8",
}
COMPRESSED = (".html", ".css", ".js", ".json", ".svg", ".txt")


class File:
    def __init__(self, content: bytes, suffix: str) -> None:
        self.content = content
        self.content_type = TYPES[suffix]
        self.digest = hashlib.sha256(content).hexdigest()[:20].encode("ascii")
        self._is_text = suffix in COMPRESSED

    @cached_property
    def packed(self) -> bytes | None:
        """By gzip; None where that saves nothing."""
        packed = gzip.compress(self.content, mtime=0) if self._is_text else self.content
        return packed if len(packed) < len(self.content) else None


def read_files(folder: Path) -> dict[bytes, File]:
    """By the path below the folder. What has no type here is no page (an editor's backup, say) and is left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in TYPES:
            name = path.relative_to(folder).as_posix().encode("ascii")
            found[name] = File(path.read_bytes(), path.suffix)
    return found


class Console(Resource):
    """The root of /console. Other resources below it (the feed) are put beside the files as children."""

    def __init__(self, folder: Path = FOLDER) -> None:
        super().__init__()
        self._files = read_files(folder)

    def getChild(self, path: bytes, request: Any) -> IResource:
        name = b"/".join([path, *request.postpath]) or INDEX
        file = self._files.get(name)
        found: IResource = Nothing() if file is None else _Page(file)
        return found

    def render_GET(self, request: Any) -> bytes:
        """Without the slash the page's own links would lead nowhere."""
        return see_console(request)


class SeeConsole(Resource):
    """Where a browser that asks for the node itself is sent."""

    def render_GET(self, request: Any) -> bytes:
        return see_console(request)


class Nothing(Resource):
    isLeaf = True

    def render(self, request: Any) -> int:
        request.refuse(Refused("not_found", "there is no such page; the console begins at /console/"))
        return NOT_DONE_YET


class _Page(Resource):
    isLeaf = True

    def __init__(self, file: File) -> None:
        super().__init__()
        self._file = file

    def render_GET(self, request: Any) -> bytes:
        file = self._file
        is_packed = takes_gzip(request) and file.packed is not None
        etag = b'"%s%s"' % (file.digest, b"-gz" if is_packed else b"")
        for name, value in (*FIELDS, (b"ETag", etag), (b"Cache-Control", b"no-cache"), (b"Vary", b"Accept-Encoding")):
            request.setHeader(name, value)
        known = request.requestHeaders.getRawHeaders(b"If-None-Match") or ()
        if matches(known, etag):
            request.setResponseCode(304)
            return b""
        request.setHeader(b"Content-Type", file.content_type)
        if is_packed and file.packed is not None:
            request.setHeader(b"Content-Encoding", b"gzip")
            return file.packed
        return file.content


def see_console(request: Any) -> bytes:
    request.setResponseCode(303)
    request.setHeader(b"Location", b"/console/")
    return b""


def takes_gzip(request: Any) -> bool:
    """Whether the client said so; `gzip;q=0` says no."""
    for value in request.requestHeaders.getRawHeaders(b"Accept-Encoding") or ():
        for coding in value.lower().split(b","):
            name, _, weight = coding.strip().partition(b";")
            if name.strip() == b"gzip":
                return weight.replace(b" ", b"").rstrip(b"0") not in (b"q=", b"q=0.")
    return False


def wants_page(request: Any) -> bool:
    """A browser that follows a link, not a program."""
    return any(b"text/html" in value for value in request.requestHeaders.getRawHeaders(b"Accept") or ())
