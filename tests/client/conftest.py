"""The client is tried on nodes in memory, which the HTTP tests have built."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from client_kit import Form
from socket_kit import ask, serve

__all__ = ["ask", "form", "serve"]

sys.path.append(str(Path(__file__).resolve().parent.parent / "web"))


@pytest.fixture(params=["blocking", "twisted"])
def form(request: Any) -> Form:
    """Each test that asks for it runs with both clients."""
    return Form(request.param)
