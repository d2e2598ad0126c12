"""The start of a node: its options, which node it is, the port that it takes, and what is refused before anything is touched."""

from __future__ import annotations

import gc
import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.error import ReactorNotRunning
from twisted.internet.testing import MemoryReactorClock
from twisted.python import usage

import ddbd
from ddbd import start
from ddbd.config import Config, load_config
from ddbd.errors import ConfigError
from ddbd.listen import bind
from ddbd.options import Options, choose_node
from ddbd.storage.directory import FORMAT, DirectoryLock, Identity, write_identity
from ddbd.tap import Daemon, makeService
from ddbd.web.canonical import decode


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return write_config(tmp_path, *[(str(number), f"localhost:{8079 + number}") for number in (1, 2, 3)])


def write_config(folder: Path, *nodes: tuple[str, str], **more: Any) -> Config:
    path = folder / "config.json"
    path.write_text(json.dumps({"nodes": [{"id": node_id, "address": address} for node_id, address in nodes], **more}))
    return load_config(path)


def options(*words: str) -> Options:
    made = Options()
    made.parseOptions(list(words))
    return made


def refused(*words: str) -> str:
    """The one sentence on stderr; with it the exit status is 1."""
    with pytest.raises(SystemExit) as caught:
        makeService(options(*words))
    assert isinstance(caught.value.code, str)
    assert "\n" not in caught.value.code
    return caught.value.code


# Which node.


def test_a_node_is_chosen_by_its_port_or_its_id_or_both(config: Config) -> None:
    assert choose_node(config, "8082", None).id == "3"
    assert choose_node(config, None, "3").id == "3"
    assert choose_node(config, "8082", "3").id == "3"


def test_the_only_node_needs_no_name(tmp_path: Path) -> None:
    assert choose_node(write_config(tmp_path, ("7", "localhost:1")), None, None).id == "7"


@pytest.mark.parametrize(
    ("port", "node_id", "words"),
    [
        (None, None, ["3 nodes", "--port", "--node"]),
        ("9999", None, ["9999", "8080, 8081, 8082"]),
        ("0", None, ["0", "8080, 8081, 8082"]),
        ("eighty", None, ["--port", "eighty"]),
        ("-1", None, ["--port", "-1"]),
        ("٨", None, ["--port"]),
        ("8" * 5_000, None, ["--port"]),
        ("", None, ["--port"]),
        (None, "4", ["'4'", "1, 2, 3"]),
        (None, "", ["''", "1, 2, 3"]),
        ("8080", "2", ["--port 8080", "--node 2", "disagree", "8081"]),
    ],
)
def test_a_wrong_choice_is_one_sentence(config: Config, port: str | None, node_id: str | None, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_node(config, port, node_id)
    assert "\n" not in caught.value.detail
    assert all(word in caught.value.detail for word in words), caught.value.detail


# Options.


def test_options_have_the_defaults_of_the_contract() -> None:
    made = options()
    assert (made["port"], made["node"], made["config"], made["data-dir"]) == (None, None, "config.json", None)


def test_options_have_short_names() -> None:
    made = options("-p", "8080", "-c", "other.json", "-d", "there")
    assert (made["port"], made["config"], made["data-dir"]) == ("8080", "other.json", "there")


def test_a_word_too_much_is_refused_in_one_sentence() -> None:
    with pytest.raises(SystemExit, match="'8080' is no option"):
        options("8080")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        options("--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"ddbd {ddbd.__version__}\n"


@pytest.mark.parametrize(("word", "said"), [("--colour", "option --colour not recognized"), ("--port", "option --port requires argument")])
def test_an_unknown_option_is_refused_in_one_sentence(word: str, said: str) -> None:
    with pytest.raises(SystemExit, match=f"^ddb: {said}; `twistd ddb --help` lists the options$"):
        options(word)


def test_an_unknown_log_format_is_refused_in_one_sentence() -> None:
    with pytest.raises(SystemExit, match="--log-format: 'xml' is none; use human, json or journal"):
        options("--log-format", "xml")


@pytest.mark.parametrize(
    ("nodaemon", "asked", "used"),
    [(True, "twistd.pid", ""), (True, "mine.pid", "mine.pid"), (False, "twistd.pid", "twistd.pid")],
)
def test_a_pid_file_is_written_only_when_asked_for(nodaemon: bool, asked: str, used: str) -> None:
    made = Options()
    parent: Any = usage.Options()
    parent.update({"nodaemon": nodaemon, "pidfile": asked})
    made.parent = parent
    made.parseOptions([])
    assert parent["pidfile"] == used


# The port.


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_localhost_is_bound_on_every_address_that_it_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    sockets = bind("localhost", port)
    try:
        assert {each.getsockname()[1] for each in sockets} == {port}
        assert "127.0.0.1" in {each.getsockname()[0] for each in sockets}
        assert not any(each.getblocking() for each in sockets)
        socket.create_connection(("127.0.0.1", port)).close()
    finally:
        for each in sockets:
            each.close()


def test_a_port_in_use_is_named_and_no_socket_is_left(taken: int) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"port {taken} on localhost is in use"):
            bind("localhost", taken)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "a" * 64 + ".example"])
def test_a_host_that_is_not_this_machine_is_named(host: str) -> None:
    with pytest.raises(ConfigError, match="cannot listen on") as caught:
        bind(host, 8080)
    assert host in caught.value.detail


# Before anything is touched.


def test_a_refused_start_touches_nothing(tmp_path: Path, taken: int) -> None:
    path = str(tmp_path / "config.json")
    assert "cannot be read" in refused("--config", path)
    write_config(tmp_path, ("1", f"localhost:{taken}"), ("2", "localhost:1"))
    assert "--port" in refused("--config", path)
    assert "in use" in refused("--config", path, "--node", "1")
    assert [each.name for each in tmp_path.iterdir()] == ["config.json"]


def daemon(config: Config, data_dir: Path, reactor: Any = None) -> Daemon:
    return Daemon(reactor or MemoryReactorClock(), config, config.nodes[0], data_dir, [], random.Random(1))


def test_the_data_of_another_node_is_refused(config: Config, tmp_path: Path) -> None:
    write_identity(tmp_path / "data", Identity(FORMAT, "c", "2", "", True))
    with pytest.raises(ConfigError, match="belongs to node 2, this is node 1"):
        daemon(config, tmp_path / "data")


def test_the_data_of_a_running_node_is_refused(config: Config, tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "data")
    with pytest.raises(ConfigError, match="another process"):
        daemon(config, tmp_path / "data")
    lock.release()
    daemon(config, tmp_path / "data")


# The end.


class StopsOnce(MemoryReactorClock):
    """As the real one: stopping it twice is an error."""

    stops = 0

    def stop(self) -> None:
        if self.stops:
            raise ReactorNotRunning("Can't stop reactor that isn't running.")
        self.stops += 1


def test_a_second_sigterm_says_nothing_new(config: Config, tmp_path: Path) -> None:
    """Both may come before the reactor has begun to stop the service."""
    reactor = StopsOnce()
    node = daemon(config, tmp_path / "data", reactor)
    Service.startService(node)
    node._end()
    node._end()
    assert reactor.stops == 1


def test_a_sigterm_after_the_end_has_begun_says_nothing_new(config: Config, tmp_path: Path) -> None:
    reactor = StopsOnce()
    node = daemon(config, tmp_path / "data", reactor)
    Service.startService(node)
    node.stopService()
    node._end()
    assert reactor.stops == 0


def test_a_node_that_waits_for_the_others_ends_and_leaves_its_directory(config: Config, tmp_path: Path) -> None:
    reactor = MemoryReactorClock()
    node = daemon(config, tmp_path / "data", reactor)
    node.startService()
    reactor.advance(1.0)
    ended: list[object] = []
    node.stopService().addCallback(ended.append)
    reactor.advance(1.0)
    assert ended == [None]
    assert reactor.getDelayedCalls() == [], "no timer is left"
    DirectoryLock(tmp_path / "data").release()
    assert sorted(each.name for each in (tmp_path / "data").iterdir()) == ["lock"]


# The collector of rubbish.


@pytest.fixture
def calm() -> Iterator[None]:
    thresholds = gc.get_threshold()
    gc.collect()
    start.calm_collector()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("calm")
def test_a_value_of_many_lists_is_read_without_looking_for_rubbish_among_them() -> None:
    body = b"[" + b",".join([b"[" * 60 + b"]" * 60] * 8_000) + b"]"
    before = gc.get_stats()
    decode(body, 64, "the body")
    young, *old = [after["collections"] - each["collections"] for after, each in zip(gc.get_stats(), before, strict=True)]
    assert young <= 15
    assert sum(old) <= 2


@pytest.mark.usefixtures("calm")
def test_whatever_comes_of_a_start_the_collector_is_at_work_and_calm(tmp_path: Path) -> None:
    gc.set_threshold(700, 10, 10)
    gc.disable()
    try:
        with pytest.raises(SystemExit):
            start.makeService(options("--config", str(tmp_path / "none.json")))
        assert gc.isenabled()
        assert gc.get_threshold() == start.GC_THRESHOLDS
    finally:
        gc.enable()
