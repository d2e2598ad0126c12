"""`pytest tests/raft --rewrite` writes the golden scripts anew. Look at the diff, and keep it only where you understand what caused it."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the outputs of tests/raft/scripts/*.txt anew")
