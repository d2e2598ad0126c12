"""`import` and `export` on nodes in memory: what goes in comes out, and what was broken off goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Cluster, run
from client_kit import ADDRESSES, REFUSED, problem

from ddbd.cli.state import state_folder
from ddbd.client import Request

AHMED = {"row_id": "1", "id": "1", "name": "Ahmed", "grade": "A"}


class Limited:
    """Lets so many requests of a kind through; then every node is gone."""

    def __init__(self, cluster: Cluster, path: str, count: int) -> None:
        self._cluster, self._path, self.left = cluster, path, count

    def __call__(self, address: str, request: Any) -> Any:
        if request.path.startswith(self._path):
            self.left -= 1
            if self.left < 0:
                return problem(412, "gone_for_good", "the cluster is gone")  # a clear no: a test need not wait for the deadline
        return self._cluster(address, request)


def limit(cluster: Cluster, path: str, count: int) -> None:
    cluster.wires._play = Limited(cluster, path, count)


def unlimit(cluster: Cluster) -> None:
    cluster.wires._play = cluster


def write_csv(path: Path, count: int) -> Path:
    path.write_text("key,name\n" + "".join(f"k{number:05},n{number}\n" for number in range(count)))
    return path


def memos() -> list[Path]:
    return [*(state_folder() / "imports").glob("*")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.csv", 'row_id,name,grade\r\n2,"a\r\n""b""",\r\n3,"",C\r\n'),
        ("rows.ndjson", '{"row_id":"2","name":"a\\r\\n\\"b\\""}\n\n{"row_id":"3","data":{"name":"","grade":"C"}}'),
        ("rows.json", '[{"row_id":"2","name":"a\\r\\n\\"b\\"","grade":null},\n{"row_id":"3","name":"","grade":"C"}]'),
    ],
)
def test_each_form_is_imported(ddb: Any, cluster: Cluster, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    done = ddb("import", "students", name, "-q", "-o", "json")
    assert (done.status, done.err, done.json["rows"]) == (0, "", 2)
    assert cluster.rows()[1:] == [
        {"row_id": "2", "id": None, "name": 'a\r\n"b"', "grade": None},
        {"row_id": "3", "id": None, "name": "", "grade": "C"},
    ]
    assert memos() == []


@pytest.mark.parametrize("form", ["csv", "ndjson", "json"])
def test_what_is_exported_can_be_imported(ddb: Any, cluster: Cluster, tmp_path: Path, form: str) -> None:
    ddb("create-table", "typed", "n:integer", "x:real", "b:boolean", "j:json", "t:text")
    values = [(2**63 - 1, 0.1, True, {"a": ["ü,\n", None]}, "1"), (None, None, None, None, None), (-5, 1e300, False, 7, '",')]
    for place, row in enumerate(values):
        body = {"table_name": "typed", "row_id": f'r,"{place}', "data": dict(zip("nxbjt", row, strict=True))}
        assert cluster.node.post("/insert", body).status == 200
    assert ddb("export", "typed", f"out.{form}").status == 0
    ddb("create-table", "again", "n:integer", "x:real", "b:boolean", "j:json", "t:text")
    assert ddb("import", "again", f"out.{form}", "-q").status == 0
    assert cluster.rows("again") == cluster.rows("typed")
    assert not (tmp_path / f"out.{form}.part").exists()


def test_columns_are_renamed_and_left_out(ddb: Any, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("Nr,Full Name,junk\n7,Mona,x\n")
    assert ddb("import", "students", "f.csv", "--row-id", "nr", "--map", "Full Name=name", "--map", "junk=").status == 0
    assert cluster.rows()[1] == {"row_id": "7", "id": None, "name": "Mona", "grade": None}
    (tmp_path / "g.csv").write_text("8,Ali\n")
    assert ddb("import", "students", "g.csv", "--columns", "row_id,name").status == 0
    assert cluster.rows()[2]["name"] == "Ali"


def test_standard_input_and_output(ddb: Any, cluster: Cluster) -> None:
    assert ddb("export", "students", "-q").out.encode() == json.dumps(AHMED, separators=(",", ":")).encode() + b"\n"
    assert ddb("export", "students", "-", "--format", "csv", "-q").out == "row_id,id,name,grade\r\n1,1,Ahmed,A\r\n"
    assert ddb("export", "students", "-o", "csv", "-q").out == "row_id,id,name,grade\r\n1,1,Ahmed,A\r\n"
    assert ddb("export", "students", "-o", "csv", "--format", "json", "-q").out.startswith("[")
    assert ddb("export", "students", "-o", "table", "-q").out.startswith('{"row_id"')
    assert ddb("import", "students", "-", "--format", "ndjson", input='{"name":"x"}\n').status == 0
    assert len(cluster.rows()) == 2


def test_an_empty_table_is_exported_in_its_form(ddb: Any, tmp_path: Path) -> None:
    ddb("create-table", "empty", "a", "b")
    for form, text in [("csv", "row_id,a,b\r\n"), ("ndjson", ""), ("json", "[]\n")]:
        assert ddb("export", "empty", f"e.{form}", "-q").status == 0
        assert (tmp_path / f"e.{form}").read_bytes() == text.encode()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["import", "students", "none.csv"], "none.csv: cannot be read: No such file or directory"),
        (["import", "students", "f.txt"], "f.txt: its name does not tell the format; say --format csv, --format ndjson, --format json"),
        (["import", "students", "f.ndjson", "--columns", "a"], "--columns is for CSV files"),
        (["import", "students", "f.csv", "--map", "a"], "--map a: write OLD=NEW"),
        (["import", "students", "f.csv", "--map", "zz=a"], "the file has no column zz; its columns are name"),
        (["export", "students", "f.txt"], "its name does not tell the format"),
        (["export", "students", "f.csv"], "f.csv is there already; --force replaces it"),
        (["export", "students", "--resume"], "--resume needs a file"),
        (["import", "students", "f.json", "--curl"], "one request does that only for CSV"),
    ],
)
def test_a_wrong_wish_is_told_before_anything_is_done(ddb: Any, cluster: Cluster, tmp_path: Path, words: list[str], told: str) -> None:
    for name in ("f.txt", "f.ndjson", "f.csv", "f.json"):
        (tmp_path / name).write_text("name\nx\n")
    done = ddb(*words)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert told in done.err
    assert [request for _, request in cluster.wires.asked if request.is_write] == []


# Broken off.


def test_an_import_that_was_broken_off_goes_on_and_does_nothing_twice(ddb: Any, cluster: Cluster, tmp_path: Path) -> None:
    """The rows have no ids: a row that came twice would be seen."""
    (tmp_path / "f.csv").write_text("name\n" + "".join(f"n{number}\n" for number in range(3_500)))
    limit(cluster, "/insert", 2)
    done = ddb("import", "students", "f.csv", "-q")
    assert done.status == 6
    assert done.err == "ddb: f.csv: the cluster is gone; 2,000 rows are in; the same command goes on from there\n"
    [memo] = memos()
    assert memo.stat().st_mode & 0o777 == 0o600
    unlimit(cluster)
    done = ddb("import", "students", "f.csv", "-o", "json")
    assert done.err == "going on behind row 2,000 of this import; --fresh begins anew\n"
    assert (done.status, done.json["rows"]) == (0, 3_500)
    assert len(cluster.rows()) == 3_501
    assert memos() == []


def test_a_refused_line_is_named_mended_and_gone_on_from(ddb: Any, cluster: Cluster, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "f.csv", 2_500)
    good = path.read_text()
    path.write_text(good.replace("k01700,n1700\n", 'k01700,"n\n1700",too many\n'))
    words = ["import", "students", "f.csv", "--row-id", "key", "-q"]
    done = ddb(*words)
    assert (done.status, len(cluster.rows())) == (1, 1_001)
    assert done.err.startswith("ddb: f.csv, line 1702: the record has 3 fields; the header has 2; 1,000 rows are in; the same command")
    path.write_text(good.replace("k01700,n1700\n", "1,there already\n"))
    done = ddb(*words)
    assert (done.status, len(cluster.rows())) == (6, 1_001)
    assert "f.csv, line 1702: table students has a row '1' already" in done.err
    path.write_text(good)
    assert ddb(*words).status == 0
    assert len(cluster.rows()) == 2_501


def test_rows_that_are_in_and_were_changed_in_the_file_since_stop_an_import(ddb: Any, cluster: Cluster, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "f.csv", 2_500)
    good = path.read_text()
    words = ["import", "students", "f.csv", "--row-id", "key", "-q"]
    limit(cluster, "/insert", 1)
    assert ddb(*words).status == 6
    unlimit(cluster)
    for changed in (good.replace("n500", "other"), good[:5_000]):
        path.write_text(changed)
        done = ddb(*words)
        assert done.status == 2
        assert "the rows that are in already were changed in the file since; --fresh begins anew" in done.err
    path.write_text(good)
    assert ddb(*words).status == 0
    assert len(cluster.rows()) == 2_501


def test_a_finished_import_is_forgotten_so_that_the_same_file_is_a_new_one(ddb: Any, cluster: Cluster, tmp_path: Path) -> None:
    write_csv(tmp_path / "f.csv", 10)
    words = ["import", "students", "f.csv", "--row-id", "key", "-q"]
    assert ddb(*words).status == 0
    ddb("delete-table", "students", "-y")
    ddb("create-table", "students", "name")
    assert ddb(*words).status == 0
    assert len(cluster.rows()) == 10, "the answers of the first import are not taken for those of the second"


def test_refused_rows_are_left_out_when_asked_and_listed_by_line(ddb: Any, cluster: Cluster, tmp_path: Path) -> None:
    write_csv(tmp_path / "f.csv", 1_200)
    assert ddb("import", "students", "f.csv", "--row-id", "key", "-q").status == 0
    ddb("delete", "students", "k00005")
    text = (tmp_path / "f.csv").read_text().splitlines()[:9]
    (tmp_path / "g.csv").write_text("\n".join(text))
    done = ddb("import", "students", "g.csv", "--row-id", "key", "--skip-refused", "-q", "-o", "json")
    assert done.status == 1
    assert (done.json["rows"], done.json["refused"]) == (1, 7)
    lines = sorted(int(line.split()[1]) for line in done.err.splitlines() if line.startswith("line "))
    assert lines == [2, 3, 4, 5, 6, 8, 9]
    assert done.err.endswith("ddb: 7 rows were left out\n")


def test_an_import_keeps_its_key_when_the_node_knows_it_for_other_rows(ddb: Any, cluster: Cluster, tmp_path: Path) -> None:
    """Those rows are in: a new key would load them a second time."""
    (tmp_path / "f.csv").write_text("name\n" + "x\n" * 1_500)
    limit(cluster, "/insert", 1)
    ddb("import", "students", "f.csv", "-q")
    (memo,) = memos()
    before = json.loads(memo.read_text())
    cluster.wires._play = lambda address, request: problem(422, "idempotency_mismatch", "the key belongs to another request")
    done = ddb("import", "students", "f.csv", "-q")
    assert (done.status, done.err.count("\n")) == (6, 2)
    assert done.err.endswith(
        "1,000 rows are in; those behind them were sent before as other rows, and may be in: "
        "put them back as they were, or --fresh begins anew\n"
    )
    assert json.loads(memo.read_text()) == before
    unlimit(cluster)
    assert ddb("import", "students", "f.csv", "-q").status == 0
    assert len(cluster.rows()) == 1_501


def test_an_import_into_a_wide_table_goes_on_behind_a_refused_row_and_does_nothing_twice(
    ddb: Any, cluster: Cluster, tmp_path: Path
) -> None:
    """The node cuts its batch once more, so rows before the refused one are in; they have no ids: twice would be seen."""
    columns = [{"name": "n", "type": "integer"}, *(f"c{number}" for number in range(999))]
    assert cluster.node.post("/create_table", {"table_name": "wide", "columns": columns}).status == 200
    path = tmp_path / "f.ndjson"
    good = [f'{{"n":{number}}}\n' for number in range(1_900)]
    path.write_text("".join([*good[:1_700], '{"n":"bad"}\n', *good[1_701:]]))
    for _ in range(2):
        done = ddb("import", "wide", "f.ndjson", "-q")
        assert (done.status, "f.ndjson, line 1701: column n holds integer values" in done.err) == (1, True)
        assert "; 1,500 rows are in; the same command goes on from there\n" in done.err
    path.write_text("".join(["\n", '{"n":-1}\n', *good[1:]]))
    assert ddb("import", "wide", "f.ndjson", "-q").status == 2
    path.write_text("".join([*good[:1_200], '{"n":-1}\n', *good[1_201:]]))
    done = ddb("import", "wide", "f.ndjson", "-q")
    assert (done.status, "were changed since; 1,000 rows are in" in done.err) == (6, True)
    path.write_text("".join(good))
    done = ddb("import", "wide", "f.ndjson", "-q", "-o", "json")
    assert (done.status, done.json["rows"]) == (0, 1_900)
    assert done.err == "going on behind row 1,500 of this import; --fresh begins anew\n"
    assert [row["n"] for row in cluster.node.get("/select?table=wide&columns=n").json if row["n"] is None] == []
    assert sorted(row["n"] for row in cluster.node.get("/select?table=wide&columns=n").json) == [*range(1_900)]


def test_a_load_from_a_pipe_whose_row_was_refused_says_where_to_go_on(ddb: Any, cluster: Cluster) -> None:
    """Its key is spent: the same input under it would be refused for ever."""
    done = ddb("import", "students", "-", "--format", "ndjson", "-q", input='{"name":"x"}\n' * 1_500 + '{"nome":"x"}\n')
    assert done.status == 1
    assert "-, line 1501: " in done.err
    assert "1,000 rows are in; line 1001 and those behind it are not: mend it, and import the file from there on\n" in done.err


def test_an_import_whose_state_cannot_be_kept_tells_the_key_to_go_on_with(ddb: Any, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("name\n" + "x\n" * 1_500)
    (tmp_path / "state").write_text("a file where the folder would be")
    limit(cluster, "/insert", 1)
    key = ddb("import", "students", "f.csv", "-q").err.partition("--key ")[2].split()[0]
    unlimit(cluster)
    assert ddb("import", "students", "f.csv", "-q", "--key", key).status == 0
    assert len(cluster.rows()) == 1_501


def test_a_load_from_a_pipe_tells_the_key_to_go_on_with(ddb: Any, cluster: Cluster) -> None:
    text = "name\n" + "x\n" * 1_500
    limit(cluster, "/insert", 1)
    done = ddb("import", "students", "-", "--format", "csv", "-q", input=text)
    key = done.err.partition("--key ")[2].split()[0]
    unlimit(cluster)
    retried = ddb("import", "students", "-", "--format", "csv", "-q", "--key", key, input=text)
    assert (retried.status, len(cluster.rows())) == (0, 1_501), done.err


def test_an_export_that_was_broken_off_goes_on_behind_its_last_whole_row(ddb: Any, cluster: Cluster, tmp_path: Path) -> None:
    rows = [{"row_id": f"k{number:05}", "data": {"name": f"n{number}"}} for number in range(300)]
    assert cluster.node.post("/insert", {"table_name": "students", "rows": rows}).status == 200
    for form in ("csv", "ndjson", "json"):
        whole, part = tmp_path / f"out.{form}", tmp_path / f"out.{form}.part"
        assert ddb("export", "students", whole.name, "-q").status == 0
        expected = whole.read_bytes()
        whole.unlink()
        part.write_bytes(expected[: len(expected) // 2])
        refused = ddb("export", "students", whole.name)
        assert (refused.status, "--resume goes on with it, --force begins anew" in refused.err) == (2, True)
        done = ddb("export", "students", whole.name, "--resume")
        assert (done.status, done.err.startswith("going on behind the row k00")) == (0, True)
        assert whole.read_bytes() == expected
        assert not part.exists()


def test_the_head_of_a_csv_export_is_of_its_rows_and_not_of_what_another_node_knows(ddb: Any, cluster: Cluster, tmp_path: Path) -> None:
    behind = cluster.status(ADDRESSES[0], Request("GET", "/status"))
    behind["databases"][0]["tables"][0]["columns"] = ["grade", "gone"]
    cluster.status = lambda address, request: behind  # type: ignore[method-assign]
    assert ddb("export", "students", "out.csv", "-q").status == 0
    assert (tmp_path / "out.csv").read_text().splitlines() == ["row_id,id,name,grade", "1,1,Ahmed,A"]


def test_an_export_that_finds_no_table_leaves_no_file_of_its_name(ddb: Any, tmp_path: Path) -> None:
    done = ddb("export", "nope", "out.csv", "-q")
    assert (done.status, done.err) == (5, "ddb: there is no table 'nope' in database school; see ddb tables\n")
    assert [*tmp_path.glob("out.csv*")] == [], "and nothing to go on with"
    assert ddb("export", "students", "none/out.csv").err == "ddb: none/out.csv.part: cannot be written: No such file or directory\n"


def test_progress_is_told_in_lines_where_there_is_no_terminal_and_not_when_quiet(ddb: Any, tmp_path: Path) -> None:
    write_csv(tmp_path / "f.csv", 10)
    assert ddb("import", "students", "f.csv", "--row-id", "key", "--upsert", "-o", "table").out.startswith("10 rows in ")
    assert ddb("export", "students", "x.csv").err.startswith("11 rows in ")
    assert ddb("export", "students", "y.csv", "-q").err == ""


def test_state_that_cannot_be_kept_stops_no_import(ddb: Any, cluster: Cluster, tmp_path: Path) -> None:
    write_csv(tmp_path / "f.csv", 10)
    (tmp_path / "state").write_text("a file where the folder would be")
    assert ddb("import", "students", "f.csv", "--row-id", "key", "-q").status == 0
    assert len(cluster.rows()) == 11


def test_nodes_that_are_gone_for_a_while_are_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    write_csv(tmp_path / "f.csv", 2_500)
    steps = iter([None, REFUSED, REFUSED, None, REFUSED])
    cluster.wires._play = lambda address, request: next(steps, None) or cluster(address, request)
    assert run(cluster, "import", "students", "f.csv", "--row-id", "key", "-q").status == 0
    assert len(cluster.rows()) == 2_501
    assert set(cluster.wires.addresses) == set(ADDRESSES)
