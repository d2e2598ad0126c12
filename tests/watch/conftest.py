"""The node and the client in memory are the web room's, the cluster in memory is the replica's."""

from __future__ import annotations

import sys
from pathlib import Path

for _room in ("web", "replica"):
    sys.path.append(str(Path(__file__).resolve().parent.parent / _room))
