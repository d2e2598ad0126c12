"""The machines of the pages for operators: `db1`, `db2` …, each with its shell, its files and its service, all of them on this machine.

    root@db3# systemctl stop ddbd@3    ends the node of db3, as SIGTERM by the service manager would, and waits; reload is SIGHUP
    /etc/ddbd, /var/lib/ddbd           folders of that machine
    http://db3:8080                    where its node is heard
    rsync -a db3:/var/lib/ddbd/ …      copies from one machine's folders to this one's

Everything else is what it is: curl, jq, rm. What `systemctl` and `rsync` are here stands below, so that it can be judged.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path

from session_kit import Block, Memory, Shell, Step, asked_again

from ddbd.cli.local import eventually, free_ports, node_environment, twistd_command

END_SECONDS = 15.0
FOLDERS = {"/etc/ddbd": "etc", "/var/lib/ddbd": "lib"}

# Each shell knows its `node` and its `home`.
SERVICE = """
systemctl() {
  case $1 in
    start)
      twistd -n ddb --node "$node" --config "$home/etc/config.json" --data-dir "$home/lib/$node" >> "$home/log" 2>&1 &
      echo $! > "$home/pid" ;;
    stop) kill "$(cat "$home/pid")"; wait "$(cat "$home/pid")"; rm "$home/pid" ;;
    reload) kill -HUP "$(cat "$home/pid")" ;;
    *) echo "systemctl $1 is not known here"; return 1 ;;
  esac
}
rsync() { [ "$1" = -a ] && mkdir -p "$3" && cp -a "$2." "$3"; }
"""


class Machines:
    def __init__(self, folder: Path, config: str, nodes: Mapping[str, str]) -> None:
        """`nodes`: which node each machine runs. `config` stands on each of them."""
        self._folder = folder
        self._nodes = nodes
        self._addresses = {f"{name}:8080": f"localhost:{port}" for name, port in zip(nodes, free_ports(len(nodes)), strict=True)}
        self._memory = Memory()
        self._shells: dict[str, Shell] = {}
        environment = {**node_environment(), "LC_ALL": "C.UTF-8"}
        environment["PATH"] = os.pathsep.join([str(Path(twistd_command()[0]).parent), environment["PATH"]])
        for name in ("", *nodes):
            home = folder / name if name else folder / "desk"
            (home / "etc").mkdir(parents=True)
            (home / "lib").mkdir()
            (home / "etc/config.json").write_text(self._as_here(config, name), "utf-8")
            rc = f"home={shlex.quote(str(home))}; node={nodes.get(name, '')}{SERVICE}"
            self._shells[name] = Shell(home, environment, rc)

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *error: object) -> None:
        pids = [int(path.read_text()) for path in self._folder.glob("*/pid")]
        try:
            _signal(pids, signal.SIGTERM)
            eventually(lambda: not _signal(pids, 0), "the nodes end", END_SECONDS)
        finally:
            _signal(pids, signal.SIGKILL)
            for shell in self._shells.values():
                shell.close()

    def play(self, block: Block) -> None:
        if block.mark.startswith("not run"):
            return
        for step in block.steps:
            if block.mark == "until":
                self._until(step)
            else:
                came = self._run(step)
                fits = self._memory.match(step.output, came)
                assert fits, f"{step.place}: {step.command}\nshown:\n{step.output}\ncame:\n{came}{self._logs()}"

    def _until(self, step: Step) -> None:
        asked_again(lambda: self._memory.match(step.output, self._run(step)), f"{step.place}: {step.command}")

    def _run(self, step: Step) -> str:
        return self._as_shown(self._shells[step.machine].run(self._as_here(self._memory.fill(step.command), step.machine)))

    def _as_here(self, text: str, machine: str) -> str:
        for name, address in self._addresses.items():
            text = text.replace(name, address)
        for path, folder in FOLDERS.items():
            text = re.sub(rf"\b(db\d):{path}\b", lambda found, folder=folder: str(self._folder / found[1] / folder), text)  # type: ignore[misc]
            text = text.replace(path, str(self._folder / (machine or "desk") / folder))
        return text

    def _as_shown(self, text: str) -> str:
        for name, address in self._addresses.items():
            text = text.replace(address, name)
        return text

    def _logs(self) -> str:
        return "".join(f"--- {path}\n{path.read_text('utf-8')[-2000:]}\n" for path in sorted(self._folder.glob("*/log")))


def _signal(pids: list[int], number: int) -> bool:
    """Whether any of them was there to hear it."""
    heard = False
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            heard = True
    return heard
