"""Loads whose batches a node cuts once more, that meet a refusal behind such a cut, and that go on: no row twice, none left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from client_kit import BROKEN, Form, MemoryNodes, problem

from ddbd.client import DiskFull, InvalidValue, KeyReused, Load, OutcomeUnknown, Policy, RefusedRow, Unavailable

WIDE = 1_000  # columns: a node takes 500 such rows as one slice
ROWS = 800


class Cluster:
    """A wide table in memory; `after` so many requests every node is silent, though they do what is asked."""

    def __init__(self, form: Form) -> None:
        self.nodes = MemoryNodes()
        self.after: int | None = None
        self.count = 0
        columns = [{"name": "n", "type": "integer"}, *(f"c{number}" for number in range(WIDE - 1))]
        assert self.nodes.node.post("/create_table", {"table_name": "wide", "columns": columns}).status == 200
        self.client = form.client(self._play, Policy(deadline_seconds=1.0))

    def _play(self, address: str, request: Any) -> Any:
        self.count += 1
        done = self.nodes(address, request)
        return BROKEN if self.after is not None and self.count > self.after else done

    def numbers(self) -> list[int]:
        return sorted(row["n"] for row in self.nodes.node.get("/select?table=wide&columns=n").json)


@pytest.fixture
def cluster(form: Form) -> Cluster:
    return Cluster(form)


def lines(**others: Any) -> Iterator[tuple[int, bytes]]:
    """Rows without a row_id, counted from 0; some of them with another value."""
    for number in range(ROWS):
        yield number, b'{"n":%s}\n' % others.get(f"r{number}", str(number)).encode()


def feed(cluster: Cluster, load: Load[int], rows: Iterator[tuple[int, bytes]]) -> Load[int]:
    for number, line in rows:
        load.add(number, line)
        cluster.client.send_batches(load)
    load.end()
    cluster.client.send_batches(load)
    return load


def test_what_a_node_did_of_a_batch_before_it_refused_a_row_is_not_sent_again(cluster: Cluster) -> None:
    first = Load[int]("wide", key="k")
    with pytest.raises(InvalidValue):
        feed(cluster, first, lines(r700='"bad"'))
    assert (first.rows, first.left, first.blamed) == (500, 500, 700)
    second = Load[int]("wide", key="k", spent=first.spent)
    with pytest.raises(InvalidValue):
        feed(cluster, second, lines(r750='"bad"'))
    assert (second.rows, second.blamed) == (500, 750)
    third = feed(cluster, Load[int]("wide", key="k", spent=second.spent), lines())
    assert (third.rows, third.spent) == (ROWS, {})
    assert cluster.numbers() == [*range(ROWS)]


def test_the_same_rows_after_a_refusal_are_refused_again_and_do_nothing_twice(cluster: Cluster) -> None:
    first = Load[int]("wide", key="k")
    for _ in range(3):
        with pytest.raises(InvalidValue):
            feed(cluster, first, lines(r700='"bad"'))
        first = Load[int]("wide", key="k", spent=first.spent)
    assert cluster.numbers() == [*range(500)]


def test_rows_that_are_in_may_not_be_changed_behind_a_refusal(cluster: Cluster) -> None:
    first = Load[int]("wide", key="k")
    with pytest.raises(InvalidValue):
        feed(cluster, first, lines(r700='"bad"'))
    with pytest.raises(KeyReused, match="the rows that are in already were changed since"):
        feed(cluster, Load[int]("wide", key="k", spent=first.spent), lines(r3="77"))
    assert cluster.numbers() == [*range(500)]


def test_the_rest_of_a_batch_may_be_gone_when_its_refused_row_is_taken_out(cluster: Cluster) -> None:
    first = Load[int]("wide", key="k")
    with pytest.raises(InvalidValue):
        feed(cluster, first, lines(r500='"bad"'))
    rows = iter([*lines()][:500])
    assert feed(cluster, Load[int]("wide", key="k", spent=first.spent), rows).rows == 500
    assert cluster.numbers() == [*range(500)]


def test_what_a_node_refuses_at_its_door_spends_no_key(form: Form) -> None:
    """The attempt before it may have been done: under another key it would be done twice."""
    full = problem(507, "disk_full", rows=0, slices=0, index=0)
    client = form.script(BROKEN, full, full, full, policy=Policy(deadline_seconds=1.0))
    load = Load[int]("wide", key="k")
    load.add(0, b'{"n":1}\n')
    load.end()
    with pytest.raises(OutcomeUnknown):
        client.send_batches(load)
    with pytest.raises(DiskFull):
        client.send_batches(load)
    assert load.spent == {}


@pytest.mark.parametrize("after", range(1, 12))
def test_a_load_that_leaves_rows_out_and_is_broken_off_goes_the_same_way_again(cluster: Cluster, after: int) -> None:
    """The first refusal is given again when half of its batch is in: it is still of the same row."""
    for row_id in ("there", "there too"):
        assert cluster.nodes.node.post("/insert", {"table_name": "wide", "row_id": row_id, "data": {"n": 0}}).status == 200
    rows = [{"row_id": f"r{number:03}", "n": number} for number in range(1, 40)]
    rows[15]["row_id"], rows[30]["row_id"] = "there", "there too"
    rows[10]["n"] = "bad"
    refused: list[RefusedRow[Any]] = []
    cluster.after = after
    try:
        cluster.client.load("wide", rows, key="k", on_refused=refused.append)
    except (OutcomeUnknown, Unavailable):
        cluster.after = None
        refused.clear()
        cluster.client.load("wide", rows, key="k", on_refused=refused.append)
    assert sorted(row.number for row in refused) == [11, 16, 31]
    assert cluster.numbers() == [0, *(number for number in range(40) if number not in (11, 16, 31))]
