"""What the tests of the console share: a browser of this machine, and a page that forgives no error."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
WAIT_MS = 20_000
DESK = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}
# Without a sandbox: CI runs as root in a container, and the pages are our own.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
HARMLESS = "Failed to load resource"  # the browser's own line for each answer that is an error: tests ask for some of them


def chromium_path() -> str | None:
    """`$CHROMIUM`, or what is on the path."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def lacking() -> str | None:
    """Why no browser can be started; None when one can."""
    try:
        import axe_playwright_python  # noqa: F401
        import playwright  # noqa: F401
    except ImportError as error:
        return f"the console is not tested in a browser: {error.name} is missing (it is in the extra `test`)"
    if chromium_path() is None:
        return "the console is not tested in a browser: there is no Chromium (Debian: apt-get install --no-install-recommends chromium)"
    return None


def need_browser() -> None:
    """A CI that lacks the browser must not pass by skipping."""
    why = lacking()
    if why and os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(why)
    if why:
        pytest.skip(why)


def axe_script() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")


class Tabs:
    """Opens tabs, and remembers what each wrote to its console: `errors` must be empty when a test ends."""

    def __init__(self, browser: Any, shots: Path) -> None:
        self._browser = browser
        self.shots = shots
        self.errors: list[str] = []

    @contextmanager
    def open(self, url: str, **options: Any) -> Iterator[Any]:
        """A tab in a profile of its own. Options are Playwright's for a new context."""
        context = self._browser.new_context(**{"viewport": DESK, "permissions": ["clipboard-read", "clipboard-write"], **options})
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: self.errors.append(f"thrown: {error}"))
        page.on("console", self._heard)
        page.on("dialog", lambda dialog: (self.errors.append(f"a script opened a dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(url)
        try:
            yield page
        finally:
            context.close()

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(HARMLESS):
            self.errors.append(f"{message.type}: {message.text}")

    def shoot(self, page: Any, name: str) -> None:
        page.screenshot(path=str(self.shots / f"{name}.png"))


def escape(page: Any) -> None:
    """Esc closes the dialog, which is gone an instant later. The browser hears of its address a little later still."""
    page.keyboard.press("Escape")
    page.locator("dialog").first.wait_for(state="detached")


def copied(page: Any) -> str:
    """What is on the clipboard, once something is."""
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def copy_curl(page: Any, button: Any) -> str:
    """Presses a button that copies, and waits until it says so."""
    page.evaluate("navigator.clipboard.writeText('nothing yet')")
    button.click()
    page.get_by_text("Copied: paste it into a shell.").first.wait_for()
    return copied(page)


def base_of(url: str) -> str:
    return re.sub(r"/console/.*$", "", url)
