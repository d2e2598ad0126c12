"""The commands, on nodes in memory: what they print, what they say of mistakes, and their exit status."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from cli_kit import Cluster, run
from client_kit import ADDRESSES, BROKEN, LATE, A, B, C, answer

from ddbd import __version__
from ddbd.cli import main
from ddbd.cli.commands import COMMANDS
from ddbd.cli.frame import Settings
from ddbd.errors import ConfigError

LOCAL = ("demo", "man", "completion")  # whose answer has one form only


# All of them.


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_says_what_each_command_says_itself(name: str) -> None:
    module, _, attribute = COMMANDS[name].place.partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    assert command.name == name
    assert command.help is not None
    assert COMMANDS[name].help == " ".join(command.help.partition("\n\n")[0].split())


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in LOCAL])
def test_every_command_has_the_common_options_and_a_short_help_word(name: str) -> None:
    done = run(None, name, "-h")
    assert done.status == 0
    for option in ("--config", "--nodes", "--output", "--curl", "--timeout", "--help"):
        assert option in done.out


def test_the_version_comes_in_every_form_for_scripts() -> None:
    assert run(None, "version").out == run(None, "version", "-o", "table").out == f"ddb {__version__}\n"
    assert run(None, "version", "-o", "json").json == {"version": __version__}
    assert run(None, "version", "-o", "csv").out == f"version\r\n{__version__}\r\n"


def test_help_lists_every_command_without_importing_one() -> None:
    dear = ("twisted", "rich", "prompt_toolkit", "treq", "msgspec", "http", "ssl", "email", "hashlib", "concurrent", "socket")
    script = (
        "import sys; from ddbd.cli import main; main(['-h'], standalone_mode=False); "
        f"print([name for name in sys.modules if name.partition('.')[0] in {dear}], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nope"], "No such command 'nope'; see ddb -h"),
        (["status", "--nope"], "No such option '--nope'. Did you mean '--nodes'; see ddb status -h"),
        (["search", "t"], "Missing argument 'COLUMN'; see ddb search -h"),
        (["status", "-o", "xml"], "'xml' is not one of 'table', 'json', 'ndjson', 'csv'; see ddb status -h"),
        (["insert", "t", "a"], "'a' gives no column its value; write it as in name=Ahmed"),
        (["insert", "t", "a=1", "a=2"], "a is given twice"),
        (["create-table", "t", "a:int"], "'a:int' is no column"),
        (["insert", "t", "a=1", "--key", "ü"], "'ü' is no idempotency key; give 1 to 255 printable ASCII characters"),
        (["delete", "t", "1", "--key", "k" * 256], "is no idempotency key"),
        (["import", "t", "f.csv", "--key", ""], "'' is no idempotency key"),
    ],
)
def test_a_slip_of_the_pen_is_told_in_one_line(ddb: Any, words: list[str], told: str) -> None:
    done = ddb(*words)
    assert done.status == 2
    assert told in done.err
    assert done.err.startswith("ddb: ")
    assert done.err.count("\n") == 1


def test_the_name_alone_prints_the_help_line_by_line(ddb: Any) -> None:
    done = ddb()
    assert done.out + done.err == ddb("-h").out


def test_what_a_node_says_in_words_of_http_is_said_in_those_of_the_command_line(ddb: Any, cluster: Cluster) -> None:
    assert ddb("select", "nowhere").err.rstrip().endswith("in database school; see ddb tables")
    ddb("drop-database", "school", "--yes")
    told = "ddb: there is no default database; name one with --db, or make one: ddb init-database NAME\n"
    assert ddb("select", "students").err == told


# Which cluster.


def write_config(path: Path, *addresses: str) -> Path:
    path.write_text(json.dumps({"nodes": [{"id": str(n), "address": address} for n, address in enumerate(addresses)]}))
    return path


def test_the_nearest_word_names_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = tmp_path / "etc.json"
    with pytest.raises(ConfigError, match=r"there is no config\.json in this folder"):
        Settings(host_config=host).addresses()
    assert Settings(host_config=write_config(host, "host:1")).addresses() == ["host:1"]
    write_config(tmp_path / "config.json", "here:1")
    assert Settings().addresses() == ["here:1"]
    monkeypatch.setenv("DDB_CONFIG", str(write_config(tmp_path / "other.json", "other:1")))
    assert Settings().addresses() == ["other:1"]
    monkeypatch.setenv("DDB_NODES", "a:1,b:2,")
    assert Settings().addresses() == ["a:1", "b:2"]
    assert Settings(config=write_config(tmp_path / "third.json", "third:1")).addresses() == ["third:1"]
    assert Settings(config=tmp_path / "third.json", nodes="c:3").addresses() == ["c:3"]


def test_options_may_stand_before_the_command_or_behind_it(tmp_path: Path) -> None:
    before = run(None, "--nodes", "a:1", "--curl", "select", "t")
    behind = run(None, "select", "t", "--nodes", "a:1", "--curl")
    assert before == behind
    assert before.out == "curl -sS -H 'Accept: application/x-ndjson' 'http://a:1/select?table=t&limit=10000&timeout=3'\n"


def test_no_cluster_and_a_wrong_one_are_told(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    for words in (["status"], ["status", "-c", "bad.json"], ["status", "-c", "none.json"], ["status", "-n", "x"]):
        done = run(None, *words)
        assert (done.status, done.err.count("\n")) == (2, 1), done.err


# --curl.


@pytest.mark.parametrize(
    "words",
    [
        *(["status"], ["nodes"], ["health"], ["timeline"], ["step-down"], ["transfer", "2"], ["databases"], ["tables"]),
        *(["init-database", "d"], ["drop-database", "d"], ["create-table", "t", "a"], ["delete-table", "t"], ["select", "t"]),
        *(["search", "t", "a", "b"], ["get", "t", "1"], ["insert", "t", "a=1"], ["update", "t", "1", "a=2"], ["delete", "t", "1"]),
        *(["export", "t"], ["import", "t", "f.csv"], ["shell", "-e", "select t"]),
    ],
    ids=lambda words: words[0],
)
def test_curl_prints_the_request_of_every_command_and_sends_nothing(ddb: Any, cluster: Cluster, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "f.csv").write_text("a\n1\n")
    done = ddb(*words, "--curl")
    assert (done.status, done.err) == (0, "")
    assert all(line.startswith("curl -sS ") for line in done.out.splitlines())
    assert done.out
    assert cluster.wires.asked == []


# The cluster.


def test_status_says_who_leads(ddb: Any) -> None:
    done = ddb("status", "-o", "table")
    assert done.out.startswith("node 1 (localhost:8080) leads in term 3, index ")
    assert [line.split()[:3] for line in done.out.splitlines()[1:]] == [
        ["node", "address", "role"],
        ["1", A, "leader"],
        ["2", B, "follower"],
        ["3", C, "follower"],
    ]
    assert ddb("status", "-o", "json").json["node"]["id"] == "1"


def test_status_believes_the_highest_term_and_there_the_leader(ddb: Any, cluster: Cluster) -> None:
    cluster.leader = "3"
    assert ddb("status", "-o", "json").json["node"]["id"] == "3"
    cluster.leader = ""
    assert ddb("status", "-o", "table").out.startswith("nobody leads in term 3")


def test_status_takes_no_node_for_a_follower_that_does_not_vote(ddb: Any, cluster: Cluster) -> None:
    """Neither one that lost its data nor one that was never let in: nodes of the config that the cluster was not formed with."""
    cluster.voters = ["1", "2"]
    assert [line.split()[2] for line in ddb("status", "-o", "table").out.splitlines()[2:]] == ["leader", "follower", "learner"]


def test_before_there_is_a_cluster_nobody_votes(ddb: Any, cluster: Cluster) -> None:
    cluster.leader, cluster.voters = "", None
    assert [line.split()[2] for line in ddb("status", "-o", "table").out.splitlines()[2:]] == ["learner"] * 3


def test_nodes_and_health_have_a_line_for_each_node(ddb: Any, cluster: Cluster) -> None:
    cluster.down = {B}
    nodes = ddb("nodes", "-o", "json").json
    assert [(node["node"], node["role"], node["ready"]) for node in nodes] == [
        ("1", "leader", True),
        ("2", "unreachable", False),
        ("3", "follower", True),
    ]
    assert "localhost:8081 refused the connection" in nodes[1]["error"]
    done = ddb("health", "-o", "json")
    assert (done.status, [node["health"] for node in done.json]) == (0, ["well", "unreachable", "well"])
    assert [node["node"] for node in done.json] == ["1", "2", "3"]
    assert done.err == "2 of 3 nodes are well\n"
    assert ddb("health", "--strict").status == 1


def test_health_fails_when_no_node_is_ready(ddb: Any, cluster: Cluster) -> None:
    cluster.leader = ""
    done = ddb("health", "-o", "csv")
    assert done.status == 1
    assert done.out.count("not ready") == 3
    assert done.err == "ddb: the quorum is missing: no node is ready, 3 of 3 answer\n"


def test_health_tells_a_node_that_is_unwell(ddb: Any, cluster: Cluster) -> None:
    cluster.unhealthy = {C}
    assert [node["health"] for node in ddb("health", "-o", "json").json] == ["well", "well", "unhealthy"]


def test_where_no_node_answers_the_next_step_is_told(ddb: Any, cluster: Cluster) -> None:
    cluster.down = set(ADDRESSES)
    for words in (["status"], ["select", "students", "--timeout", "0.1"], ["health"]):
        done = ddb(*words)
        assert done.status == (1 if words == ["health"] else 3)
        assert words == ["health"] or "start the nodes, or name others with --nodes or --config" in done.err


def test_leadership_moves_when_it_was_agreed_to(ddb: Any, cluster: Cluster) -> None:
    asked = ddb("step-down")
    assert (asked.status, cluster.leader) == (2, "1")
    assert asked.err == "ddb: Node 1 leads. Hand leadership to another node? Nobody is there to ask; add --yes\n"
    assert ddb("step-down", "--yes", "-o", "table").out == "node 2 leads in term 4; it was node 1\n"
    assert ddb("transfer", "3", "-y", "-o", "json").json["to"] == "3"


def test_the_timeline_is_told_in_utc(ddb: Any) -> None:
    assert ddb("timeline").out.splitlines() == ["at\tnode\tkind\ttext", "2023-11-14 22:13:20.250Z\t2\tleader_elected\tnode 2 was elected"]
    assert ddb("timeline", "-o", "ndjson").json["at"] == 1_700_000_000.25


# Tables and rows.


def test_tables_are_made_shown_and_deleted(ddb: Any) -> None:
    assert ddb("create-table", "pets", "name", "age:integer:index", "-o", "table").out == "table pets was made\n"
    assert ddb("create-table", "pets", "name", "age:integer:index", "-o", "json").json == {"table": "pets", "created": False}
    assert ddb("tables").out.splitlines()[1:] == ["school\tstudents\t1\tid,name,grade", "school\tpets\t0\tname,age"]
    assert ddb("tables", "--db", "nope").status == 5
    assert ddb("databases", "-o", "json").json == [{"database": "school", "default": True, "tables": 2, "rows": 1}]
    assert ddb("delete-table", "pets").status == 2
    assert ddb("delete-table", "pets", "-y").status == 0
    assert ddb("delete-table", "pets", "-y").status == 5
    assert ddb("init-database", "other").status == 0
    assert ddb("drop-database", "other", "--yes").status == 0
    assert ddb("select", "students").err.endswith("name one with --db, or make one: ddb init-database NAME\n")


def test_a_table_without_rows_has_a_head_too(ddb: Any, cluster: Cluster) -> None:
    assert ddb("create-table", "empty", "b", "a").status == 0
    assert ddb("select", "empty", "-o", "csv").out == "row_id,b,a\r\n"
    assert ddb("select", "empty", "--columns", "A,row_id,a", "--versions", "-o", "csv").out == "row_id,a,_version\r\n"
    assert ddb("search", "empty", "a", "1").out == "row_id\tb\ta\n"
    assert ddb("select", "empty", "-o", "json").json == []
    assert ddb("select", "empty", "-o", "ndjson").out == ""


def test_rows_are_written_and_read(ddb: Any, cluster: Cluster) -> None:
    assert ddb("insert", "students", "row_id=2", "name=Mona Ali", "grade=[1,2]", "id=9223372036854775807").status == 0
    assert cluster.rows()[1] == {"row_id": "2", "id": 2**63 - 1, "name": "Mona Ali", "grade": [1, 2]}
    version = ddb("get", "students", "2", "-o", "json").json["_version"]
    assert ddb("update", "students", "2", 'grade="20"', "--if-version", str(version)).status == 0
    late = ddb("update", "students", "2", "grade=B", "--if-version", str(version))
    assert (late.status, "read it again: ddb get" in late.err) == (6, True)
    assert ddb("search", "students", "grade", "20", "--columns", "name", "-o", "ndjson").json == {"row_id": "2", "name": "Mona Ali"}
    assert ddb("insert", "students", "row_id=2").status == 6
    assert ddb("insert", "students", "row_id=2", "--upsert", "-o", "table").out.startswith("inserted row 2, version ")
    assert ddb("delete", "students", "2").status == 0
    assert ddb("get", "students", "2").err == "ddb: table students has no row '2'\n"
    assert ddb("insert", "students", "nome=x").status == 1


def test_a_write_with_a_key_is_done_once(ddb: Any, cluster: Cluster) -> None:
    first = ddb("insert", "students", "name=x", "--key", "k", "-o", "json").json
    assert ddb("insert", "students", "name=x", "--key", "k", "-o", "json").json == first
    assert len(cluster.rows()) == 2


def test_a_write_whose_answer_is_lost_for_good_has_a_status_of_its_own(cluster: Cluster) -> None:
    cluster.wires._play = lambda address, request: LATE
    done = run(cluster, "insert", "students", "name=x", "--timeout", "0.2")
    assert done.status == 4
    assert "repeat it with the same idempotency key" in done.err


def test_a_pipe_gets_every_row_and_a_table_the_first_hundred(ddb: Any, cluster: Cluster) -> None:
    rows = [{"row_id": f"r{number:03}", "data": {"name": "x"}} for number in range(150)]
    assert cluster.node.post("/insert", {"table_name": "students", "rows": rows}).status == 200
    assert ddb("select", "students").out.count("\n") == 152
    table = ddb("select", "students", "-o", "table")
    assert table.out.count("\n") == 101
    assert table.err == "(100 rows; more follow: --after r098, or --limit 0 for all)\n"
    assert ddb("select", "students", "-o", "table", "--limit", "0").out.count("x") == 150
    assert len(ddb("select", "students", "--limit", "7", "--after", "r098", "-o", "json").json) == 7
    assert ddb("search", "students", "name", "nobody", "-o", "table").err == "(no rows)\n"


def test_no_line_of_an_error_is_broken_by_what_a_node_says(cluster: Cluster) -> None:
    cluster.wires._play = lambda address, request: answer(
        json.dumps({"code": "x", "detail": "two\nlines\x1b"}).encode(), 400, content_type="application/problem+json"
    )
    done = run(cluster, "get", "students", "1")
    assert done.err == "ddb: two lines\\x1b\n"


def test_what_a_client_once_stored_moves_no_cursor(ddb: Any, cluster: Cluster) -> None:
    """Neither in what is told nor in what is asked."""
    rows = [{"row_id": f"{number:03}\x1b[2J", "data": {"name": "x"}} for number in range(150)]
    assert cluster.node.post("/insert", {"table_name": "students", "rows": rows}).status == 200
    told = ddb("select", "students", "-o", "table")
    assert "\x1b" not in told.out + told.err
    assert "more follow: --after 099\\x1b[2J" in told.err
    assert "\x1b" not in ddb("delete-table", "t\x1b[2J").err


LONG_SELECT = """
from cli_kit import Cluster
from ddbd.cli import main
from ddbd.cli.frame import Settings

cluster = Cluster()
rows = [{"row_id": f"r{number}", "data": {"name": "x" * 500}} for number in range(2000)]
assert cluster.node.post("/insert", {"table_name": "students", "rows": rows}).status == 200
main(["select", "students"], obj=Settings(nodes="localhost:8080", transport=cluster.wires))
"""


def alone(script: str) -> list[str]:
    """The command of a process that runs it, with what these tests import."""
    tests = Path(__file__).resolve().parent.parent
    return [sys.executable, "-c", f"import sys; sys.path += {[str(tests / room) for room in ('cli', 'client', 'web')]!r}\n" + script]


def test_a_reader_that_goes_away_ends_a_command_quietly() -> None:
    with subprocess.Popen(alone(LONG_SELECT), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"row_id")
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_behind_the_output_is_told_in_one_line() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(alone(LONG_SELECT), stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, b"ddb: the output cannot be written: No space left on device\n")


def test_a_file_that_cannot_be_read_is_not_taken_for_the_output(cluster: Cluster) -> None:
    cluster.wires._play = lambda address, request: Path("/none/such").read_bytes()
    done = run(cluster, "get", "students", "1")
    assert (done.status, done.err) == (1, "ddb: /none/such: No such file or directory\n")


def test_an_argument_that_is_no_text_is_told_in_one_line() -> None:
    script = LONG_SELECT.replace('"select", "students"', '"get", "students", sys.argv[1]')
    done = subprocess.run([*map(str.encode, alone(script)), b"\xff"], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, b"ddb: a text is not UTF-8: it has half a surrogate pair; type it again\n")


def test_ctrl_c_is_status_130(cluster: Cluster) -> None:
    def interrupt(address: str, request: Any) -> Any:
        raise KeyboardInterrupt

    cluster.wires._play = interrupt
    assert run(cluster, "get", "students", "1").status == 130


def test_main_can_be_called_by_a_program(cluster: Cluster) -> None:
    with pytest.raises(click.UsageError):
        main(["nope"], standalone_mode=False)


def test_broken_answers_are_repeated_elsewhere(cluster: Cluster) -> None:
    steps = iter([BROKEN])
    cluster.wires._play = lambda address, request: next(steps, None) or cluster(address, request)
    assert run(cluster, "insert", "students", "name=x").status == 0
    assert cluster.wires.addresses == [A, B]
