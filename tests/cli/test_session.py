"""The shell without its terminal: sentences, dot commands, completion, and what comes of a pipe."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
from cli_kit import Cluster
from client_kit import ADDRESSES, BROKEN, B
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from ddbd.cli.completing import KeptHistory, SessionCompleter
from ddbd.cli.errors import CliError
from ddbd.cli.frame import Frame, Settings
from ddbd.cli.language import VERBS, NotUnderstood
from ddbd.cli.output import Output
from ddbd.cli.session import DOT_COMMANDS, Session
from ddbd.cli.shell import _interact
from ddbd.client import RowExists


class Stdout(io.TextIOBase):
    """Whatever is the standard output at the moment: pytest's own changes between a fixture and its test."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def isatty(self) -> bool:
        return False


@pytest.fixture
def session(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Session:
    """Its output goes where capsys looks."""
    settings = Settings(nodes=",".join(ADDRESSES), transport=cluster.wires, output="table")
    frame = Frame(click.Context(click.Command("shell")), settings)
    frame.output = Output("table", Stdout())
    return Session(frame, asks=False)


def test_every_sentence_is_run(ddb: Any, cluster: Cluster) -> None:
    lines = [
        "# a remark",
        "init_database zoo",
        "create_table pets name age:integer",
        'insert pets row_id=1 name="Rex" age=3',
        "insert pets row_id=2 name=Kitty age=12",
        'update pets 1 name="Rex II"',
        "select pets where age > 5 columns name",
        "get pets 1",
        "delete pets 2",
        "tables",
        "databases",
        ".schema pets",
        "status",
        "nodes",
        "health",
        "timeline 3",
        "ping",
        "step_down",
        "transfer n3",
        "delete_table pets",
        "drop_database zoo",
    ]
    done = ddb("shell", "-o", "table", input="\n".join(lines))
    assert (done.status, cluster.leader) == (0, "3"), done.err
    for text in ("inserted row 1", "updated row 1", "Kitty", "Rex II", "deleted row 2", "table pets is gone", "node 2 leads in term 4"):
        assert text in done.out
    said = {line.split()[0] for line in lines[1:]}
    assert set(VERBS) - said == set(), "every verb has its line here"


def test_a_pipe_ends_at_the_first_line_that_fails_with_its_status(ddb: Any, cluster: Cluster) -> None:
    done = ddb("shell", input="insert students row_id=2\n\ninsert students row_id=1\ninsert students row_id=3\n")
    assert done.status == 6
    assert done.err.startswith("ddb: standard input, line 3: table students has a row '1' already")
    assert [row["row_id"] for row in cluster.rows()] == ["1", "2"]
    assert ddb("shell", "-e", "selct students").status == 2
    assert ddb("shell", "-e", ".quit", "-e", "selct").status == 0


@pytest.mark.parametrize("line", ["exit", "quit", "EXIT;"])
def test_the_words_of_other_shells_leave_this_one(ddb: Any, line: str) -> None:
    assert ddb("shell", "-e", line, "-e", "selct").status == 0


def test_another_database_is_used(session: Session, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    session.run("init_database other")
    session.run(".use SCHOOL")
    assert session.prompt() == "n1[leader] school> "
    session.run("insert students row_id=2 name=x")
    session.run(".use .")
    assert session.prompt() == "n1[leader] other> "
    with pytest.raises(CliError, match="there is no database nope; there is school, other"):
        session.run(".use nope")
    assert session.tables() == {}


def test_another_node_is_asked_first_until_it_fails(session: Session, cluster: Cluster) -> None:
    assert session.prompt() == "n1[leader] school> "
    session.run(".node 2")
    assert session.prompt() == "n2[follower] school> "
    session.run(f".node {ADDRESSES[2]}")
    assert session.prompt().startswith("n3[follower]")
    with pytest.raises(CliError, match="there is no node 9; there is 1, 2, 3"):
        session.run(".node 9")
    cluster.down = {ADDRESSES[2]}
    session.run("insert students row_id=9")
    assert session.prompt().startswith("n1[leader]")


def test_a_failover_in_the_middle_of_a_session_is_not_noticed(session: Session, cluster: Cluster) -> None:
    steps = iter([BROKEN])
    session.run("get students 1")
    cluster.wires._play = lambda address, request: next(steps, None) or cluster(address, request)
    session.run("insert students row_id=2 name=x")
    assert len(cluster.rows()) == 2
    assert cluster.wires.addresses[-1] == B


def test_a_cluster_that_is_gone_leaves_a_prompt(session: Session, cluster: Cluster) -> None:
    cluster.down = set(ADDRESSES)
    assert session.prompt() == "localhost:8080[silent] -> "


def test_forms_timing_and_curl_are_switched(session: Session, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    session.run(".mode csv")
    session.run(".curl on")
    session.run(".timing on")
    session.run("get students 1")
    shown = capsys.readouterr()
    assert shown.out == f"row_id,id,name,grade,_version\r\n1,1,Ahmed,A,{cluster.node.twin.applied_index}\r\n"
    curl, timing = shown.err.splitlines()
    assert curl == "curl -sS 'http://localhost:8080/select?table=students&row_id=1&timeout=3'"
    assert timing.endswith(" ms)")
    for line in (".curl maybe", ".timing", ".mode xml", ".nope", ".use"):
        with pytest.raises(CliError):
            session.run(line)


def test_a_file_is_read_line_by_line(session: Session, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "good.ddb").write_text("insert students row_id=5\n-- a remark\ninsert students row_id=6\n")
    (tmp_path / "bad.ddb").write_text(".read good.ddb\n")
    (tmp_path / "loop.ddb").write_text(".read loop.ddb\n")
    session.run(".read good.ddb")
    assert len(cluster.rows()) == 3
    with pytest.raises(RowExists) as caught:
        session.run(".read bad.ddb")
    assert caught.value.detail.startswith("bad.ddb, line 1: good.ddb, line 1: table students has a row '5'")
    with pytest.raises(CliError, match="files that read files are 8 deep here"):
        session.run(".read loop.ddb")
    with pytest.raises(CliError, match="cannot be read"):
        session.run(".read none.ddb")


def test_help_names_every_verb_and_every_dot_command(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    session.run(".help")
    shown = capsys.readouterr().out
    assert [word for word in (*VERBS, *DOT_COMMANDS) if word not in shown] == []


def test_what_is_not_understood_changes_nothing(session: Session, cluster: Cluster) -> None:
    with pytest.raises(NotUnderstood):
        session.run("insert students name")
    assert cluster.wires.asked == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("sel", ["select"]),
        (".s", [".schema"]),
        ("select ", ["students"]),
        ("select stu", ["students"]),
        ("SELECT students wh", ["where"]),
        ("select students where ", ["row_id", "id", "name", "grade"]),
        ("select students where name p", ["prefix"]),
        ("select students where name = ", []),
        ("select students columns na", ["name"]),
        ("select students columns id,na", ["name"]),
        ("select students limit 5 lo", ["local"]),
        ("insert students na", ["name="]),
        ("insert students name=x up", ["upsert"]),
        ("update students 1 gr", ["grade="]),
        ("update students ", []),
        ("update students 1 i", ["id=", "if_version"]),
        ("delete students 1 ", ["if_version"]),
        ("transfer ", ["1", "2", "3"]),
        (".node ", ["1", "2", "3"]),
        (".use s", ["school"]),
        (".mode j", ["json"]),
        (".curl o", ["on", "off"]),
        ("insert nope a", []),
        ("status ", []),
    ],
)
def test_completion_offers_what_may_come_next(session: Session, typed: str, offered: list[str]) -> None:
    session.refresh()
    found = SessionCompleter(session).get_completions(Document(typed), CompleteEvent())
    assert [completion.text for completion in found] == offered


NO_VALUES = ['"\\ud800"', "\udcff", "[NaN]", "1e999", "[" * 100_000]


@pytest.mark.parametrize("value", NO_VALUES, ids=["escaped half", "no UTF-8", "NaN", "infinite", "too deep"])
def test_a_value_that_cannot_be_stored_is_told_and_the_session_goes_on(session: Session, cluster: Cluster, value: str) -> None:
    for line in (f"insert students name={value}", f"update students 1 name={value}", f"get students {value}"):
        with suppress(CliError):  # a number is a row_id in words, and not found
            session.run(line)
    assert [row["row_id"] for row in cluster.rows()] == ["1"]
    session.run("insert students row_id=2")
    with pytest.raises(NotUnderstood):
        session.run(f"insert students name={value}")


def test_a_terminal_that_sends_what_is_no_text_ends_no_session(
    session: Session, cluster: Cluster, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_bytes(b"insert students row_id=2 name=\xff\r")
        keys.send_bytes(b'insert students row_id=3 name="\\ud800"\r')
        keys.send_bytes(b".read a\xffb\r")
        keys.send_bytes(b"insert students row_id=4 name=x\r\x04")
        _interact(session._frame, session)
    told = capsys.readouterr().err
    assert told.count("a text is not UTF-8: it has half a surrogate pair; type it again\n") == 2
    assert [row["row_id"] for row in cluster.rows()] == ["1", "4"]
    assert "row_id=4" in (tmp_path / "state" / "ddb" / "history").read_text()


def test_a_history_that_cannot_be_written_ends_no_session(tmp_path: Path) -> None:
    KeptHistory(str(tmp_path)).append_string("status")


def test_a_pipe_that_is_no_text_ends_with_the_number_of_its_line(ddb: Any, cluster: Cluster) -> None:
    done = ddb("shell", input=b"insert students row_id=2\ninsert students name=\xff\n")
    assert done.status == 2
    assert done.err == "ddb: standard input, line 2: a text is not UTF-8: it has half a surrogate pair; type it again\n"
    assert len(cluster.rows()) == 2


@pytest.mark.parametrize(
    "words", [["insert", "students", 'name="\\ud800"'], ["create-table", "x\udcff", "a"], ["get", "students", "\udcff"]]
)
def test_an_argument_that_is_no_text_is_one_line(ddb: Any, cluster: Cluster, words: list[str]) -> None:
    done = ddb(*words)
    assert (done.status, done.err) == (2, "ddb: a text is not UTF-8: it has half a surrogate pair; type it again\n")
    assert cluster.wires.asked == []


def test_a_database_that_is_not_there_is_told_where_its_tables_are_asked_for(ddb: Any) -> None:
    done = ddb("shell", "--db", "nope", "-e", "tables")
    assert (done.status, "there is no database nope; there is school" in done.err) == (5, True)
