"""Directories of real nodes, made without one."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "storage"))
