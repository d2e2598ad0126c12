"""The console's modules that touch no page, run in the browser that runs them for users."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from console_kit import need_browser
from console_played import PlayedNode

HOSTILE = [
    "it's",
    "a\nb",
    '"$(id)"',
    "`id`",
    "!!",
    "\\",
    "\x1b[31m",
    "\u202eevil",
    "😀",
    "ä ö",
    "#&?=+%25",
    "-rf",
    "@file",
    "'; rm -rf ~ #",
    "\u2028",
]


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    need_browser()
    with PlayedNode() as node:
        context = browser.new_context()
        page = context.new_page()
        page.goto(node.url)
        yield page
        context.close()


def run(page: Any, module: str, expression: str, argument: Any = None) -> Any:
    """`expression` sees the module as `m` and the argument as `a`."""
    return page.evaluate(f"async (a) => {{ const m = await import('/console/js/{module}'); return {expression}; }}", argument)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "0",
            "-1",
            "9007199254740993",
            "-9223372036854775808",
            "18446744073709551616",
            "1.0",
            "-0.0",
            "1e400",
            "0.1",
            "1E5",
            "100000000000000000000000",
        ),
        *('""', '"\\u0000\\ud83d\\ude00"', "null", "true", "[]", "{}", "[1,[2,[9007199254740993]]]"),
        '{"2":1,"1":2,"__proto__":{"x":1},"constructor":null}',
    ],
)
def test_json_is_read_and_written_back_as_it_was(page: Any, text: str) -> None:
    written = run(page, "json.js", "m.stringify(m.parse(a))", text)
    assert written == json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")) if '"' in text else written == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01",
        "1.",
        ".5",
        "+1",
        "NaN",
        "[1,]",
        '{"a":1,}',
        '{"a":1,"a":2}',
        "'a'",
        '"\t"',
        '"\\x"',
        "[1] 2",
        "tru",
        "{a:1}",
        "[" * 65,
        '"',
    ],
)
def test_what_is_no_json_is_refused_with_its_place(page: Any, text: str) -> None:
    said = run(
        page, "json.js", "(() => { try { m.parse(a); return null; } catch (error) { return [error.name, error.message]; } })()", text
    )
    assert said is not None, "it was taken"
    assert said[0] == "JsonError"
    assert "column" in said[1]


def test_json_of_a_large_page_is_read_fast(page: Any) -> None:
    rows = [{"row_id": str(n), "value": "x" * 80, "number": n, "nested": {"a": [1, 2, 3]}} for n in range(5000)]
    milliseconds = run(
        page, "json.js", "(() => { const began = performance.now(); m.parse(a); return performance.now() - began; })()", json.dumps(rows)
    )
    assert milliseconds < 1500, "700 kB; a tenth of that is usual"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_of_curl_means_the_same_to_a_shell_whatever_text_is_in_it(page: Any, text: str) -> None:
    request = {
        "method": "POST",
        "path": "/insert",
        "query": {"db": text},
        "headers": {},
        "body": json.dumps({"v": text}, ensure_ascii=False),
    }
    line = run(page, "curl.js", "m.curlLine(a, 'http://localhost:8080')", request)
    assert line.isascii()
    assert line.isprintable()
    words = (
        subprocess.run(["sh", "-c", 'curl() { printf "%s\\0" "$@"; }; ' + line], capture_output=True, check=True)
        .stdout.decode()
        .split("\0")[:-1]
    )
    assert words[0] == "-d"
    assert json.loads(words[1]) == {"v": text}
    assert "{" not in words[2], "curl would take it for a pattern"
    assert run(page, "curl.js", "new URL(a).searchParams.get('db')", words[2]) == text


def test_addresses_within_the_page_keep_any_text(page: Any) -> None:
    for text in HOSTILE:
        route = run(
            page,
            "router.js",
            "(() => { const r = m.parsed(m.link(['data', a, 't'], {after: a})); return [...r.path, r.params.get('after')]; })()",
            text,
        )
        assert route == [text, "t", text]


@pytest.mark.parametrize(
    ("type_", "kind", "text", "json_"),
    [
        ("integer", "number", "9223372036854775807", "9223372036854775807"),
        ("integer", "number", "9223372036854775808", None),
        ("integer", "number", "1.5", None),
        ("real", "number", "1.0", "1.0"),
        ("real", "number", "1e999", None),
        ("any", "number", "0x10", None),
        ("any", "number", "", None),
        ("any", "text", "", '""'),
        ("any", "text", "null", '"null"'),
        ("any", "null", "", "null"),
        ("boolean", "boolean", "true", "true"),
        ("json", "json", ' {"a": 9007199254740993} ', '{"a": 9007199254740993}'),
        ("json", "json", '{"a": 99999999999999999999}', None),
        ("json", "json", "{a: 1}", None),
        ("text", "json", '"a\\r\\nb"', '"a\\r\\nb"'),
        ("text", "json", "12", None),
    ],
)
def test_a_value_is_checked_by_the_type_of_its_column(page: Any, type_: str, kind: str, text: str, json_: str | None) -> None:
    result = run(page, "data/values.js", "m.read({kind: a[0], text: a[1]}, a[2])", [kind, text, type_])
    assert result["json"] == json_
    assert bool(result["wrong"]) == (json_ is None)


def test_what_looks_alike_is_shown_apart(page: Any) -> None:
    shown = run(
        page, "data/values.js", "[undefined, null, '', 'null', '1', 1, true, 'true', ' a', 'a', '[1]'].map((v) => m.shown(v, 'any').text)"
    )
    assert shown == ["missing", "null", '""', '"null"', '"1"', "1", "true", '"true"', '" a"', "a", '"[1]"']


def test_text_that_a_field_would_change_is_edited_as_json(page: Any) -> None:
    assert run(page, "data/values.js", "m.draftOf('a\\r\\nb', 'text')") == {"kind": "json", "text": '"a\\r\\nb"'}
    assert run(page, "data/values.js", "m.draftOf('a\\nb', 'text')") == {"kind": "text", "text": "a\nb"}


def test_points_of_a_chart_are_means_of_rates_and_the_largest_of_all_else(page: Any) -> None:
    history = {
        "1s": {"t": [1, 2, 3, 4, 5, 6], "writes": [1, 2, 3, 4, None, 6], "write_p99_ms": [1, 9, 2, None, None, None]},
        "10s": {"t": []},
    }
    cut = run(
        page,
        "charts/series.js",
        "(() => { const c = m.cut(a, '15m', 7); return [c.t.slice(-2), c.writes.slice(-3), c.write_p99_ms.slice(-2)]; })()",
        history,
    )
    assert cut == [[3, 6], [None, 2, 5], [9, None]]


def test_the_coarse_history_goes_on_with_the_fine_one(page: Any) -> None:
    history = {"10s": {"t": [100, 110], "writes": [1, 2]}, "1s": {"t": [109, 110, 111, 112], "writes": [9, 9, 4, 6]}}
    assert run(page, "charts/series.js", "m.cut(a, '1h', 120).writes.slice(-3)", history) == [1, 2, 5]


@pytest.mark.parametrize(
    ("largest", "unit", "top"), [(0, "rate", 1), (7.9, "ms", 8), (100, "rate", 100), (3, "count", 4), (3.7 * 2**20, "bytes", 4 * 2**20)]
)
def test_axes_end_at_a_round_number(page: Any, largest: float, unit: str, top: float) -> None:
    assert run(page, "charts/series.js", "m.marks(a[0], a[1]).at(-1)", [largest, unit]) == top


def test_a_hash_differs_where_others_at_the_same_index_have_another(page: Any) -> None:
    def peers(*told: tuple[int, str]) -> list[Any]:
        return [{"id": str(n), "status": {"hash_format": 1, "state": {"index": i, "hash": h}}} for n, (i, h) in enumerate(told, 1)]

    for told, odd in [
        ([(5, "a"), (5, "a"), (5, "b")], ["3"]),
        ([(5, "a"), (6, "b"), (7, "c")], []),
        ([(5, "a"), (5, "b"), (6, "c")], ["1", "2"]),
    ]:
        assert run(page, "cluster/judge.js", "[...m.differing(a)]", peers(*told)) == odd


def test_the_next_page_is_found_in_the_header(page: Any) -> None:
    header = '</select?table=t&after=a%20%22%3E%26b>; rel="next"'
    assert run(page, "data/rows.js", "m.nextAfter(a)", header) == 'a ">&b'
    assert run(page, "data/rows.js", "m.nextAfter(a)") is None


def test_an_element_takes_no_listener_and_no_link_to_code_from_text(page: Any) -> None:
    for attributes in ({"onclick": "x()"}, {"style": "color: red"}, {"href": "javascript:x()"}, {"href": "//elsewhere"}):
        assert (
            run(page, "dom.js", "(() => { try { m.h('a', a); return 'taken'; } catch { return 'refused'; } })()", attributes) == "refused"
        )
