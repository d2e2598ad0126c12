"""The sentences of the shell: what each means, and what is said of each mistake."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddbd.cli.language import NotUnderstood, Sentence, assignment, bare_value, column, parse
from ddbd.cli.output import as_json


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('insert students id=1 name="Ahmed"', Sentence("insert", "students", data={"id": 1, "name": "Ahmed"})),
        ("INSERT t row_id=1 a='it''s' b=null c=[1, 2] d={\"x\": 1.5} e=true upsert;", Sentence("insert", "t", data={
            "row_id": "1", "a": "it's", "b": None, "c": [1, 2], "d": {"x": 1.5}, "e": True}, upsert=True)),
        ("insert t upsert=1", Sentence("insert", "t", data={"upsert": 1})),
        ("insert t url=http://x/?a=b&c=d", Sentence("insert", "t", data={"url": "http://x/?a=b&c=d"})),
        ("insert t n=9223372036854775807 big=9223372036854775808", Sentence("insert", "t", data={"n": 2**63 - 1, "big": 2**63})),
        ("insert t n=NaN z=007 q=", None),
        ('update students 1 grade="A+" if_version 17', Sentence("update", "students", "1", {"grade": "A+"}, if_version=17)),
        ("delete t 'a b' if_version 3", Sentence("delete", "t", "a b", if_version=3)),
        ('get t "007"', Sentence("get", "t", "007")),
        ("get t 007", Sentence("get", "t", "007")),
        ("select t", Sentence("select", "t")),
        ('select students where name = "x" limit 10', Sentence("select", "students", where=("name", "eq", "x"), limit=10)),
        ("select t where a>=20 after k columns a,b versions local", Sentence(
            "select", "t", columns=["a", "b"], where=("a", "ge", "20"), after="k", versions=True, local=True)),
        ("select t where a prefix A", Sentence("select", "t", where=("a", "prefix", "A"))),
        ("select t where limit != null", Sentence("select", "t", where=("limit", "ne", "null"))),
        ("create_table t a b:integer:index c:json", Sentence("create_table", "t", columns=[
            "a", {"name": "b", "type": "integer", "index": True}, {"name": "c", "type": "json"}])),
        ("create_table t (a, b:index)", Sentence("create_table", "t", columns=["a", {"name": "b", "index": True}])),
        ("init_database school", Sentence("init_database", "school")),
        ("transfer 2", Sentence("transfer", "2")),
        ("timeline 5", Sentence("timeline", limit=5)),
        ("  status ; ", Sentence("status")),
    ],
)  # fmt: skip
def test_what_a_sentence_means(line: str, sentence: Sentence | None) -> None:
    if sentence is None:
        with pytest.raises(NotUnderstood, match="q= has no value; nothing is there"):
            parse(line)
    else:
        assert parse(line) == sentence


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("slect t", "slect is no command; .help lists them"),
        ("=", "a line begins with a command; .help lists them; not '='"),
        ("select", "select is followed by the name of a table; nothing is there"),
        ("select t wher a=1", "select NAME goes on with columns, where, limit, after, versions or local; not 'wher'"),
        ("select t limit ten", "limit is followed by a whole number, not 'ten'"),
        ("select t limit 1 limit 2", "limit is given twice"),
        ("select t where a ~ 1", "a comparison is one of =, !=, <, <=, >, >=, prefix, contains; not '~'"),
        ("select t where a =", "where a is compared with a value; nothing is there"),
        ("insert t 5", "a value is given as COLUMN=VALUE; not '5'"),
        ("insert t a", "a value is given as a=VALUE; nothing is there"),
        ("insert t a=1 a=2", "a is given twice"),
        ('insert t a="x', 'a text in "quotes" is no JSON: "x'),
        ("insert t a=[1,", "a list or an object is no JSON: [1,"),
        ("insert t a='x", "a quote ' is never closed"),
        ('insert t a="x"b=1', 'something stands right behind "x"; put a space between'),
        ("update t 1", "update says which values change, as in update students 1 grade=B"),
        ("update t", "update t is followed by a row_id; nothing is there"),
        ("status now", "status ends here; not 'now'"),
        ("create_table t", "create_table NAME is followed by its columns, as in name age:integer"),
        ("create_table t a:int", "'a:int' is no column; write name, name:TYPE or name:TYPE:index, with a type of any, text"),
    ],
)
def test_each_mistake_has_one_line(line: str, told: str) -> None:
    with pytest.raises(NotUnderstood) as caught:
        parse(line)
    assert caught.value.detail.startswith(told)
    assert "\n" not in caught.value.detail


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_every_value_can_be_written_as_json(value: Any) -> None:
    said = parse(f"insert t a={as_json(value)} b=1")
    assert said.data == {"a": value, "b": 1}


@given(st.text())
def test_whatever_is_typed_is_understood_or_told(line: str) -> None:
    with contextlib.suppress(NotUnderstood):
        assert parse(line).verb


def test_assignments_of_one_shot_commands() -> None:
    assert assignment("a=Ahmed Ali") == ("a", "Ahmed Ali")
    assert assignment("a=20") == ("a", 20)
    assert assignment('a="20"') == ("a", "20")
    assert assignment("row_id=20") == ("row_id", "20")
    assert assignment("a=") == ("a", "")
    for wrong in ("a", "=1", "1a=1", "a b=1"):
        with pytest.raises(NotUnderstood):
            assignment(wrong)
    assert bare_value("NaN") == "NaN"


def test_columns() -> None:
    assert column("a") == "a"
    assert column("a:text") == {"name": "a", "type": "text"}
    with pytest.raises(NotUnderstood):
        column("a:text:integer")
