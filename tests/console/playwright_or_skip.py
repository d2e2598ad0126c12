"""`expect` of Playwright, which may be missing where the tests are collected: the fixtures skip then, before it is called."""

from __future__ import annotations

from typing import Any

from console_kit import WAIT_MS

try:
    from playwright.sync_api import expect as _expect
except ImportError:
    _expect = None  # type: ignore[assignment]

if _expect is not None:
    _expect.set_options(timeout=WAIT_MS)


def expect(what: Any) -> Any:
    assert _expect is not None, "the fixtures skip where there is no Playwright"
    return _expect(what)
