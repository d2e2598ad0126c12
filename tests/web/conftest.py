"""Every test of the HTTP side runs twice: on our own channel, and on twisted.web's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted_channel import TwistedSite
from web_client import Node

from ddbd.web.site import Site


def pytest_generate_tests(metafunc: Any) -> None:
    # pytest-twisted keeps the first of several runs of a test of hypothesis for all of them.
    is_ours = hasattr(metafunc.function, "hypothesis") or hasattr(metafunc.module, "ONLY_OUR_CHANNEL")
    sites = [Site] if is_ours else [Site, TwistedSite]
    metafunc.parametrize("channel", sites, ids=["ours", "twisted.web"][: len(sites)], indirect=True, scope="module")


@pytest.fixture(autouse=True, scope="module")
def channel(request: Any) -> Iterator[None]:
    Node.factory = request.param
    yield
    Node.factory = Site
