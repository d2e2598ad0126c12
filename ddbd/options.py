"""The command line of `twistd -n ddb`: its options, which node they mean, and how a mistake in them is said."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, NoReturn

from twisted.python import usage

import ddbd
from ddbd.config import Config, LogOptions, Node, check_log
from ddbd.errors import ConfigError
from ddbd.host.book import LogBook, sentence_on_stderr


class Options(usage.Options):
    """The command line of one node. A mistake is one sentence, without the usage text."""

    synopsis = "[--port N | --node ID] [--config PATH] [--data-dir DIR] [--log-format FORMAT]"
    optParameters: ClassVar = [
        ["port", "p", None, "Run the node of the config whose address has this port."],
        ["node", None, None, "Run the node with this id."],
        ["config", "c", "config.json", "The cluster: its nodes and their addresses."],
        ["data-dir", "d", None, "Where this node keeps its data. Default: data/<id> beside the config file."],
        ["log-format", None, None, "How it logs: human, json or journal. Default: the config's, else journal under systemd, else human."],
        ["log-level", None, None, "What it logs at least: debug, info, warn or error. Default: the config's, else info."],
    ]

    def parseOptions(self, options: Any = None) -> None:
        """An unknown option is one sentence, too; twistd would print all of its own options before it."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            refuse(f"{error}; `twistd ddb --help` lists the options")

    def opt_version(self) -> NoReturn:
        """Print the version and exit."""
        sys.stdout.write(f"ddbd {ddbd.__version__}\n")
        sys.exit(0)

    def parseArgs(self, *words: str) -> None:
        if words:
            refuse(f"{words[0]!r} is no option; the options are {', '.join(f'--{name}' for name in self)} and --version")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.book = LogBook()  # what twistd logs to, unless the operator chose another way

    def postOptions(self) -> None:
        """Several nodes start from one folder: no twistd.pid unless asked for. And the log is ours."""
        try:
            self.book.ask(check_log(LogOptions(self["log-format"] or "", self["log-level"] or ""), "--log-"))
        except ConfigError as error:
            refuse(error.detail)
        parent = self.parent
        if parent is None:
            return
        if parent.get("nodaemon") and parent.get("pidfile") == "twistd.pid":
            parent["pidfile"] = ""

    def open_book(self) -> LogBook | None:
        """None where the log goes another way. Once nothing can be refused any more: such a start leaves no file."""
        parent = self.parent
        if parent is None or parent.get("logger") or parent.get("syslog"):
            return None
        if parent.get("nodaemon") and parent.get("logfile") in (None, "-"):
            self.book.open_standard_output()
        else:
            self.book.open_file(parent.get("logfile") or "twistd.log")
        return self.book


def refuse(sentence: str) -> NoReturn:
    """Ends before anything is touched: the sentence on stderr, exit status 1."""
    sys.exit(sentence_on_stderr(f"ddb: {sentence}"))


def choose_node(config: Config, port: str | None, node_id: str | None) -> Node:
    """Raises ConfigError where the options name no node, or two."""
    if port is not None and not (port.isascii() and port.isdecimal() and len(port) <= 5):
        raise ConfigError(f"--port: {port[:20]!r} is no port; use a number from 1 to 65535")
    if node_id is not None:
        node = config.node(node_id)
        if port is not None and node.port != int(port):
            raise ConfigError(f"--port {port} and --node {node_id} disagree: node {node_id} has port {node.port} in {config.path}")
        return node
    if port is not None:
        return config.node_at_port(int(port))
    if len(config.nodes) == 1:
        return config.nodes[0]
    raise ConfigError(f"{config.path} has {len(config.nodes)} nodes; say which one this is with --port or --node")
