"""The bench is no part of the installed package: its folder comes to the path as it does for `python bench/channel.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent.parent / "bench"))
