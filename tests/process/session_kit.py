"""Console sessions of the pages, played as they stand: what is typed is typed into a real shell, what is shown must come.

A session is a fenced block of the kind `console`. `$ ` begins a command of the reader's terminal, `> ` continues it; a prompt like
`root@db3# ` names a machine. What follows is the output that must come, where

    …                 stands for anything on a line, and alone on a line for any number of lines
    "version":12      and index, _version and UUIDs stand for whatever came; later commands that repeat them (`"if_version":12`) mean that
    8080, 8081, 8082  stand for free ports of this machine

A comment in front of the block says how it is meant:

    <!-- terminal 1 -->      the command stays in front, in a terminal of its own; its output comes bit by bit
    <!-- until -->           asked again until the answer is the one that stands there
    <!-- on a terminal -->   the command has one; `n1[leader] school> ` is a prompt of its own, and what stands behind it is typed
                             there. The width of columns does not matter
    <!-- not run: ... -->    with the reason
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from screen_kit import Screen, typed

from ddbd.cli.local import TookTooLong, eventually, free_ports, node_environment, twistd_command

SECONDS = 60.0  # for one command, or for what it waits for; a tenth of it where the machine has nothing else to do
ASK_SECONDS = 0.25
END_SECONDS = 15.0
PROMPT = re.compile(r"(?:root@(\w+)# |\$ )(.*)")
VALUE = re.compile(r'(?P<key>"(?:_?version|index)":)(?P<number>\d+)|(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})')
REPEATED = re.compile(r'(?P<key>"if_version":|min_index=)(?P<number>\d+)')


class Step(NamedTuple):
    place: str  # page:line
    machine: str  # "" is the reader's own terminal
    command: str
    output: str


def asked_again(check: Callable[[], bool], what: str) -> None:
    """Until it is so; not more often than a patient reader would, for the nodes that are starting need the processor too."""
    next_time = 0.0

    def ask() -> bool:
        nonlocal next_time
        if time.monotonic() < next_time:
            return False
        found = check()
        next_time = time.monotonic() + ASK_SECONDS
        return found

    eventually(ask, what, SECONDS)


class Block(NamedTuple):
    mark: str
    steps: list[Step]


def blocks(page: str, text: str) -> Iterator[Block]:
    """Raises ValueError for a block or a mark that this reader does not understand: it would pass unseen."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.strip() == "```console"]
    for start in starts:
        end = next(number for number in range(start, len(lines)) if lines[number].strip() == "```")
        before = next((line.strip() for line in reversed(lines[:start]) if line.strip()), "")
        marked = re.fullmatch(r"<!-- (terminal \d|until|on a terminal|not run: .+) -->", before)
        if before.startswith("<!--") and marked is None:
            raise ValueError(f"{page}:{start}: nobody knows what {before} means")
        yield Block(marked[1] if marked else "", list(_steps(page, start + 2, [line.strip("\n") for line in lines[start + 1 : end]])))


def _steps(page: str, first_line: int, lines: list[str]) -> Iterator[Step]:
    step: Step | None = None
    for number, line in enumerate(lines, first_line):
        prompt = PROMPT.fullmatch(line)
        if prompt:
            if step:
                yield step
            step = Step(f"{page}:{number}", prompt[1] or "", prompt[2], "")
        elif step is None:
            raise ValueError(f"{page}:{number}: a session begins with a prompt, not with {line!r}")
        elif line.startswith("> ") and not step.output:
            step = step._replace(command=f"{step.command}\n{line[2:]}")
        else:
            step = step._replace(output=f"{step.output}{line}\n")
    if step:
        yield step


class Memory:
    """What came in place of the values that a page shows."""

    def __init__(self) -> None:
        self._came: dict[str, str] = {}

    def match(self, shown: str, came: str) -> bool:
        """Whether this is what is shown; if so, its values are remembered."""
        pattern, values = "", []
        for line in shown.splitlines():
            if line.strip() == "…":
                pattern += r"(?:.*\n)*?"
                continue
            place = 0
            for value in VALUE.finditer(line):
                pattern += _loosely(line[place : value.start()])
                pattern += re.escape(value["key"] or "") + (r"(\d+)" if value["number"] else r"([0-9a-f-]{36})")
                values.append(value["number"] or value["uuid"])
                place = value.end()
            pattern += _loosely(line[place:]) + r"\n"
        found = re.fullmatch(pattern, came)
        if found:
            self._came.update(zip(values, found.groups(), strict=True))
        return found is not None

    def fill(self, command: str) -> str:
        """The command with the values that came, where it repeats those of the page."""
        command = REPEATED.sub(lambda found: found["key"] + self._came.get(found["number"], found["number"]), command)
        return VALUE.sub(lambda found: self._came.get(found["uuid"], found[0]) if found["uuid"] else found[0], command)


def _narrow(text: str) -> str:
    """Columns are as wide as the ports of this machine make them."""
    return re.sub(r" {2,}", "  ", text)


def _loosely(text: str) -> str:
    return ".*?".join(re.escape(part) for part in text.split("…"))


class Shell:
    """A bash that keeps its variables and background jobs from one command to the next."""

    def __init__(self, folder: Path, environment: Mapping[str, str], rc: str = "") -> None:
        self._process = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder, env=environment
        )
        if rc:
            self.run(rc)

    def run(self, command: str) -> str:
        """What it printed. Raises AssertionError when it does not come to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        mark = uuid.uuid4().hex
        self._process.stdin.write(f"{{\n{command}\n}} </dev/null\nprintf '\\n{mark}\\n'\n".encode())
        self._process.stdin.flush()
        deadline, came = time.monotonic() + SECONDS, b""
        while not came.endswith(f"{mark}\n".encode()):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            assert piece, f"{command!r} did not come to its end within {SECONDS:g} s; so far: {came.decode('utf-8', 'replace')}"
            came += piece
        text = came.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix(f"\n{mark}\n")
        return text if text.endswith("\n") or not text else f"{text}\n"

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Desk:
    """The reader's desk: a fresh folder, one terminal to type in, and more of them for what stays in front."""

    def __init__(self, folder: Path, config: str) -> None:
        """`config` is what stands in config.json."""
        self._folder = folder
        self._ports = dict(zip(("8080", "8081", "8082"), map(str, free_ports(3)), strict=True))
        self._environment = {**node_environment(), "LC_ALL": "C.UTF-8"}
        self._environment["PATH"] = os.pathsep.join([str(Path(twistd_command()[0]).parent), self._environment["PATH"]])
        (folder / "config.json").write_text(self._as_here(config), "utf-8")
        self._shell = Shell(folder, self._environment)
        self._front: dict[str, subprocess.Popen[bytes]] = {}
        self._memory = Memory()

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            for process in self._front.values():
                process.terminate()
                process.wait(END_SECONDS)
        finally:
            for process in self._front.values():
                process.kill()
                process.wait()
            self._shell.close()

    def play(self, block: Block) -> None:
        if block.mark.startswith("not run"):
            return
        for step in block.steps:
            if block.mark.startswith("terminal"):
                self._stay(block.mark, step)
            elif block.mark == "until":
                asked_again(lambda step=step: self._fits(step), f"{step.place}: {step.command}")  # type: ignore[misc]
            elif block.mark == "on a terminal":
                came, shown = self._on_a_terminal(step), _narrow(step.output)
                assert self._memory.match(shown, came), f"{step.place}: $ {step.command}\nshown:\n{shown}\ncame:\n{came}"
            else:
                came = self._run(step)
                assert self._memory.match(step.output, came), f"{step.place}: $ {step.command}\nshown:\n{step.output}\ncame:\n{came}"

    def _run(self, step: Step) -> str:
        return self._as_shown(self._shell.run(self._as_here(self._memory.fill(step.command))))

    def _fits(self, step: Step) -> bool:
        return self._memory.match(step.output, self._run(step))

    def _on_a_terminal(self, step: Step) -> str:
        screen = Screen(self._folder, self._environment, self._as_here(self._memory.fill(step.command)))
        try:
            for prompt, line in typed(step.output):
                screen.answer(prompt, self._as_here(self._memory.fill(line)), SECONDS)
            return _narrow(self._as_shown(screen.end(SECONDS)))
        finally:
            screen.close()

    def _stay(self, terminal: str, step: Step) -> None:
        """A command in a terminal of its own; the one that was in front there must have ended."""
        before = self._front.get(terminal)
        if before is not None:
            before.wait(END_SECONDS)
        path = self._folder / f"{terminal.replace(' ', '-')}.out"
        with path.open("wb") as out:
            command = self._as_here(step.command)
            self._front[terminal] = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )

        def has_come() -> bool:
            return self._memory.match(f"…\n{step.output}…\n", self._as_shown(path.read_text("utf-8", "replace")))

        def is_over() -> bool:
            return has_come() or self._front[terminal].poll() is not None

        try:
            eventually(is_over, step.place, SECONDS)
            assert has_come()
        except (TookTooLong, AssertionError):
            raise AssertionError(f"{step.place}: $ {step.command}\nshown:\n{step.output}\ncame:\n{path.read_text('utf-8')}") from None

    def interrupt(self) -> list[int]:
        """Ctrl-C in every terminal that has something in front. The exit statuses."""
        for process in self._front.values():
            process.send_signal(signal.SIGINT)
        return [process.wait(END_SECONDS) for process in self._front.values()]

    def _as_here(self, text: str) -> str:
        return re.sub(r"\b808[0-2]\b", lambda port: self._ports[port[0]], text)

    def _as_shown(self, text: str) -> str:
        for shown, port in self._ports.items():
            text = re.sub(rf"\b{port}\b", shown, text)
        return text.replace(str(self._folder), "/home/you/ddbd")
