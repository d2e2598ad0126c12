"""Many rows: loads that meet refusals and failovers, and tables that are read while answers break off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from client_kit import BROKEN, REFUSED, A, B, Form, MemoryNodes, answer

from ddbd.client import BadAnswer, InvalidValue, KeyReused, Load, RefusedRow, RowExists, TableNotFound, Unavailable
from ddbd.client.lines import PAGE_ROWS
from ddbd.client.load import BATCH_BYTES, BATCH_ROWS

NDJSON = {"content_type": "application/x-ndjson"}


class Cluster:
    """A table in memory, and a hand that lets requests or answers get lost."""

    def __init__(self, form: Form) -> None:
        self.nodes = MemoryNodes()
        self.lost_answers: set[int] = set()  # by the number of the request
        self.lost_requests: set[int] = set()
        self.count = 0
        self.client = form.client(self._play)

    def _play(self, address: str, request: Any) -> Any:
        self.count += 1
        if self.count in self.lost_requests:
            return REFUSED
        done = self.nodes(address, request)
        return BROKEN if self.count in self.lost_answers else done

    def ids(self) -> list[str]:
        return [row["row_id"] for row in self.nodes.node.get("/select?table=students").json]


@pytest.fixture
def cluster(form: Form) -> Cluster:
    return Cluster(form)


def rows(count: int, **more: Any) -> Iterator[dict[str, Any]]:
    return ({"row_id": f"r{number:05}", "name": f"n{number}", **more} for number in range(count))


# Loads.


def test_a_load_is_cut_into_batches_and_counts(cluster: Cluster) -> None:
    done = cluster.client.load("students", rows(2_500))
    assert (done.rows, done.batches) == (2_500, 3)
    assert len(cluster.ids()) == 2_501
    assert cluster.client.select("students", min_index=done.index, limit=1).rows


def test_a_load_without_rows_sends_nothing(cluster: Cluster) -> None:
    done = cluster.client.load("students", [])
    assert (done.rows, done.batches, cluster.count) == (0, 0, 0)


def test_a_batch_is_cut_at_its_bytes_too(cluster: Cluster) -> None:
    done = cluster.client.load("students", rows(9, grade="x" * (BATCH_BYTES // 4)))
    assert (done.rows, done.batches) == (9, 3)
    sizes = [len(request.body) for _, request in cluster.client.wires.asked]
    assert max(sizes) <= BATCH_BYTES
    huge = cluster.client.load("students", rows(3, grade="x" * BATCH_BYTES), upsert=True)
    assert (huge.rows, huge.batches) == (3, 3)


def test_a_batch_whose_answer_gets_lost_is_sent_again_alone_and_done_once(cluster: Cluster) -> None:
    """The rows come from where they can be read only once, and have no ids: twice would be seen."""
    cluster.lost_answers = {1, 3}
    cluster.lost_requests = {2, 5}
    done = cluster.client.load("students", ({"name": f"n{number}"} for number in range(2 * BATCH_ROWS)))
    assert done.rows == 2 * BATCH_ROWS
    assert len(cluster.ids()) == 2 * BATCH_ROWS + 1


def test_the_same_load_under_the_same_key_does_nothing_twice(cluster: Cluster) -> None:
    first = cluster.client.load("students", [{"name": f"n{number}"} for number in range(1_500)], key="load-7")
    again = cluster.client.load("students", [{"name": f"n{number}"} for number in range(1_500)], key="load-7")
    assert again == first
    assert len(cluster.ids()) == 1_501
    with pytest.raises(KeyReused):
        cluster.client.load("students", [{"name": "other"}], key="load-7")


def test_a_load_that_was_ended_goes_on_where_it_stopped(cluster: Cluster) -> None:
    def breaks() -> Iterator[dict[str, Any]]:
        yield from rows(1_700)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        cluster.client.load("students", breaks(), key="k")
    assert len(cluster.ids()) == 1_001
    assert cluster.client.load("students", rows(1_800), key="k").rows == 1_800
    assert len(cluster.ids()) == 1_801


def test_the_first_refused_row_ends_a_load_and_is_named_by_its_place(cluster: Cluster) -> None:
    mixed = [*rows(1_200), {"row_id": "1", "name": "there already"}, {"row_id": "z"}]
    with pytest.raises(RowExists) as caught:
        cluster.client.load("students", mixed)
    more = caught.value.more
    assert (more["rows"], more["batches"]) == (1_000, 1), "what is done"
    assert (more["row"], more["first_row"], more["last_row"]) == (1_201, 1_001, 1_202), "places in the whole load"


def test_refused_rows_are_handed_over_and_all_others_are_written(cluster: Cluster) -> None:
    refused: list[RefusedRow[Any]] = []
    mixed = [dict(row) for row in rows(2_300)]
    for place in (0, 1, 500, 999, 1_000, 2_299):
        mixed[place]["row_id"] = "1"
    mixed[700]["nome"] = mixed[1_900]["nome"] = "x"
    mixed[800]["row_id"] = 7
    done = cluster.client.load("students", mixed, on_refused=refused.append)
    assert sorted(row.number for row in refused) == [1, 2, 501, 701, 801, 1_000, 1_001, 1_901, 2_300]
    assert all(mixed[row.number - 1] is row.item for row in refused)
    assert {type(row.error).__name__ for row in refused} == {"RowExists", "UnknownColumn", "InvalidValue"}
    assert done.rows == 2_300 - 9
    assert len(cluster.ids()) == done.rows + 1


def test_a_load_with_refused_rows_goes_the_same_way_again(cluster: Cluster) -> None:
    mixed = [{"name": "x"} if number % 300 else {"row_id": "1"} for number in range(1_500)]
    refused: list[Any] = []
    first = cluster.client.load("students", mixed, key="k", on_refused=refused.append)
    again = cluster.client.load("students", mixed, key="k", on_refused=refused.append)
    assert again == first
    assert [row.number for row in refused] == [1, 301, 601, 901, 1_201] * 2
    assert len(cluster.ids()) == 1_496


def test_a_batch_in_which_every_row_is_refused_costs_one_request_a_row(cluster: Cluster) -> None:
    cluster.client.load("students", rows(BATCH_ROWS))
    before = cluster.count
    refused: list[Any] = []
    done = cluster.client.load("students", rows(BATCH_ROWS), on_refused=refused.append)
    assert (done.rows, len(refused)) == (0, BATCH_ROWS)
    assert cluster.count - before == BATCH_ROWS


def test_an_id_that_comes_twice_in_a_batch_is_refused_once_and_counted_right(cluster: Cluster) -> None:
    refused: list[Any] = []
    done = cluster.client.load("students", [{"row_id": "a"}, {"row_id": "b"}, {"row_id": "a"}, {"row_id": "c"}], on_refused=refused.append)
    assert (done.rows, [row.number for row in refused]) == (3, [3])
    assert cluster.ids() == ["1", "a", "b", "c"]


def test_what_is_wrong_with_the_call_is_no_refused_row(cluster: Cluster) -> None:
    with pytest.raises(TableNotFound):
        cluster.client.load("nowhere", rows(3), on_refused=lambda row: pytest.fail("no row is to blame"))


def test_batches_that_are_known_to_be_done_are_not_sent(cluster: Cluster) -> None:
    load = Load[int]("students", key="k", skip_batches=1)
    for number in range(BATCH_ROWS + 5):
        load.add(number, b'{"name":"x"}\n')
        cluster.client.send_batches(load)
    load.end()
    cluster.client.send_batches(load)
    assert (load.result().rows, load.batches, cluster.count) == (BATCH_ROWS + 5, 2, 1)
    assert len(cluster.ids()) == 6


def test_a_key_must_leave_room_for_the_numbers_of_batches() -> None:
    with pytest.raises(ValueError, match="at most 205 characters"):
        Load("students", key="x" * 206)


def test_rows_may_come_as_they_are_made() -> None:
    """The client for Twisted takes what is iterated asynchronously too."""
    form = Form("twisted")
    cluster = Cluster(form)

    async def made() -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            yield {"row_id": f"a{number}"}

    assert cluster.client.load("students", made()).rows == 3


# Reading.


def page(*ids: str, after: str | None = None, **more: str) -> Any:
    link = {} if after is None else {"link": f'</select?table=t&after={after}>; rel="next"'}
    return answer(b"".join(json.dumps({"row_id": row_id}).encode() + b"\n" for row_id in ids), **NDJSON, **link, **more)


def after_of(client: Any) -> list[str | None]:
    return [parse_qs(urlsplit(request.path).query).get("after", [None])[0] for _, request in client.wires.asked]


def test_a_long_table_is_read_page_by_page(form: Form) -> None:
    client = form.script(page("a", "b", after="b"), page("c"))
    assert [row["row_id"] for row in client.select_rows("t")] == ["a", "b", "c"]
    assert after_of(client) == [None, "b"]
    assert f"limit={PAGE_ROWS}" in client.wires.asked[0][1].path
    assert all(opened.closed for opened in client.wires.opened)


def test_an_answer_that_breaks_off_goes_on_behind_its_last_whole_row_at_another_node(form: Form) -> None:
    broken = (page(), [b'{"row_id":"a"}\n{"row_id":"b"}\n{"row', BROKEN])
    client = form.script(broken, page("c", "d"))
    assert [row["row_id"] for row in client.select_rows("t")] == ["a", "b", "c", "d"]
    assert after_of(client) == [None, "b"]
    assert client.wires.addresses == [A, B]


def test_a_row_that_came_in_pieces_is_whole(form: Form) -> None:
    client = form.script((page(), [b'{"row_', b'id":"a"', b'}\n{"row_id":"b"}', b"\n"]))
    assert [*client.select_rows("t")] == [{"row_id": "a"}, {"row_id": "b"}]


def test_an_answer_that_breaks_off_before_a_row_is_asked_for_again_some_times(form: Form) -> None:
    client = form.client(lambda address, request: (page(), [BROKEN]))
    with pytest.raises(Unavailable, match="broke off 6 times at the same place"):
        [*client.select_rows("t")]
    assert len(client.wires.asked) == 6


def test_breaks_with_rows_between_them_have_no_limit(form: Form) -> None:
    steps = [(page(), [b'{"row_id":"%05d"}\n' % number, BROKEN]) for number in range(50)]
    client = form.script(*steps, page())
    assert len([*client.select_rows("t")]) == 50


@pytest.mark.parametrize("body", [b"no row\n", b'["a"]\n', b'{"row_id":"a"}'])
def test_what_is_no_line_of_rows_is_no_answer(form: Form, body: bytes) -> None:
    client = form.script((page(), [body]))
    with pytest.raises(BadAnswer):
        [*client.select_rows("t")]


def test_a_page_of_something_else_is_passed_over(form: Form) -> None:
    client = form.script(answer(b"<html>", content_type="text/html"), page("a"))
    assert [row["row_id"] for row in client.select_rows("t")] == ["a"]


def test_local_reads_never_go_back_in_time_from_page_to_page(form: Form) -> None:
    client = form.script(page("a", after="a", ddb_index="41"), page("b", ddb_index="44"))
    assert len([*client.select_rows("t", consistency="local", min_index=3)]) == 2
    assert "min_index=3&" in client.wires.asked[0][1].path
    assert "min_index=41&" in client.wires.asked[1][1].path


def test_a_reader_that_stops_early_lets_the_connection_go(form: Form) -> None:
    client = form.script((page(), [b'{"row_id":"a"}\n', b'{"row_id":"b"}\n']))
    reading = client.client.select_rows("t")
    if form.name == "blocking":
        next(reading)
        reading.close()
    else:
        form._run(reading.__anext__())
        form._run(reading.aclose())
    assert client.wires.opened[0].closed


def test_a_value_that_is_refused_reading_is_told_as_ever(cluster: Cluster) -> None:
    with pytest.raises(InvalidValue):
        [*cluster.client.search_rows("students", "name", "x", "eq", min_index=-1)]
