"""The handle of a node's faulty disk (`nemesis_lazyfs`), and whether this machine can have one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from ddbd.cli.local import TookTooLong, eventually

MOUNT_SECONDS = 10.0


@cache
def unavailable() -> str | None:
    """Why this machine has no file system of ours; None when it has."""
    if importlib.util.find_spec("mfusepy") is None:
        return "the package mfusepy is not installed"
    if shutil.which("fusermount3") is None:
        return "no fusermount3: Debian's fuse3 is not installed"
    if not Path("/dev/fuse").exists():
        return "no /dev/fuse"
    with tempfile.TemporaryDirectory() as folder:
        try:
            LazyDisk(Path(folder)).close()
        except (OSError, TookTooLong) as error:
            return f"a FUSE file system cannot be mounted: {error}"
    return None


class LazyDisk:
    """Mounted at `path`, a folder for one node's data."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError or TookTooLong where nothing can be mounted."""
        self.path = folder / "disk"
        self.platter = folder / "platter"
        for each in (self.path, self.platter):
            each.mkdir(parents=True, exist_ok=True)
        with (folder / "lazyfs.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("nemesis_lazyfs.py")), str(self.platter), str(self.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        try:
            eventually(lambda: os.path.ismount(self.path) or self._process.poll() is not None, "a mounted disk", MOUNT_SECONDS)
            if not os.path.ismount(self.path):
                raise OSError(f"the file system ended with status {self._process.poll()}: {(folder / 'lazyfs.log').read_text()[-300:]}")
        except (OSError, TookTooLong):
            self.close()
            raise

    def command(self, **words: Any) -> dict[str, Any]:
        """See `nemesis_lazyfs`."""
        assert self._process.stdin is not None, "the disk has no standard input"
        assert self._process.stdout is not None, "the disk has no standard output"
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the disk has ended with status {self._process.poll()}"
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        if os.path.ismount(self.path):
            subprocess.run(["fusermount3", "-u", "-z", str(self.path)], check=False)
        assert self._process.stdin is not None, "the disk has no standard input"
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
