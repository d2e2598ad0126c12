"""What the command line remembers from one run to the next, in $XDG_STATE_HOME/ddb (else ~/.local/state/ddb): for this user's eyes only."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def state_folder() -> Path:
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "ddb"


def private_file(path: Path) -> Path:
    """Made, with its folders, where it is not there. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    path.chmod(0o600)
    return path


class Memo:
    """One JSON object in a file, replaced whole. A file that cannot be read is no memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def write(self, fields: dict[str, Any]) -> None:
        """Raises OSError."""
        fresh = private_file(self.path.with_suffix(".new"))
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(fields, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

    def forget(self) -> None:
        """Raises OSError."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self.path.unlink()
