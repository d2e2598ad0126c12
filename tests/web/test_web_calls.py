"""Every call of the contract with the bodies of the seed, to the letter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from web_client import Node

from ddbd.errors import Busy, Corrupt, NoLeader, OutcomeUnknown, StorageFailed
from ddbd.web.watching import unwatched


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def school() -> Node:
    return Node().with_students()


INIT = {"db_name": "mydb", "user": "root", "password": "rootroot", "host": "localhost"}


def test_init_database_creates_it_and_says_so(node: Node) -> None:
    first = node.post("/init_database", INIT)
    assert (first.status, first.json["status"], first.json["db"], first.json["created"]) == (200, "ok", "mydb", True)
    assert node.post("/init_database", INIT).json["created"] is False


def test_nothing_of_user_password_and_host_reaches_the_log(node: Node) -> None:
    node.post("/init_database", {**INIT, "password": "canary-4711"})
    assert "canary-4711" not in repr(node.twin.commands)


def test_the_seed_from_init_to_drop(node: Node) -> None:
    assert node.post("/init_database", INIT).status == 200
    assert node.post("/create_table", {"table_name": "students", "columns": ["id", "name", "grade"]}).json["created"] is True
    row = {"table_name": "students", "row_id": "1", "data": {"id": "1", "name": "Ahmed", "grade": "A"}}
    inserted = node.post("/insert", row)
    assert (inserted.status, inserted.json["row_id"]) == (200, "1")
    assert inserted.json["version"] == inserted.json["index"]
    assert node.get("/select?table=students").json == [{"row_id": "1", "id": "1", "name": "Ahmed", "grade": "A"}]
    assert node.post("/update", {"table_name": "students", "row_id": "1", "new_data": {"grade": "B"}}).json["row_id"] == "1"
    assert node.get("/search?table=students&column=grade&value=B").json == [{"row_id": "1", "id": "1", "name": "Ahmed", "grade": "B"}]
    assert node.post("/delete_record", {"table_name": "students", "row_id": "1"}).json["row_id"] == "1"
    assert node.get("/select?table=students").json == []
    assert node.post("/delete_table", {"table_name": "students"}).status == 200
    assert node.post("/drop_database", {"db_name": "mydb"}).status == 200


def test_select_gives_the_very_text_of_the_contract(school: Node) -> None:
    assert school.get("/select?table=students&row_id=1").body == b'[{"row_id":"1","id":"1","name":"Ahmed","grade":"A"}]\n'


def test_select_of_a_row_that_is_not_there_is_an_empty_list(school: Node) -> None:
    reply = school.get("/select?table=students&row_id=nobody")
    assert (reply.status, reply.json) == (200, [])


def test_a_batch_gives_all_row_ids_and_one_version(school: Node) -> None:
    rows = [{"row_id": "7", "data": {"name": "x"}}, {"data": {"name": "y"}}, {"data": {}}]
    reply = school.post("/insert", {"table_name": "students", "rows": rows})
    assert reply.status == 200
    assert reply.json["row_ids"][0] == "7"
    assert reply.json["row_ids"][1] < reply.json["row_ids"][2]
    assert reply.json["version"] == reply.json["index"]


def test_a_missing_row_id_is_made_and_given_back(school: Node) -> None:
    ids = [school.post("/insert", {"table_name": "students", "data": {}}).json["row_id"] for _ in range(3)]
    assert ids == sorted(set(ids))
    assert all(len(row_id) == 36 and row_id[14] == "7" for row_id in ids)


def test_an_existing_row_is_409_unless_upsert(school: Node) -> None:
    row: dict[str, Any] = {"table_name": "students", "row_id": "1", "data": {"name": "Eve"}}
    assert (school.post("/insert", row).status, school.post("/insert", row).code) == (409, "row_exists")
    assert school.post("/insert", {**row, "upsert": True}).status == 200
    assert school.get("/select?table=students&row_id=1").json == [{"row_id": "1", "id": None, "name": "Eve", "grade": None}]


def test_a_row_given_twice_in_one_batch_is_409(school: Node) -> None:
    reply = school.post("/insert", {"table_name": "students", "rows": [{"row_id": "7", "data": {}}, {"row_id": "7", "data": {}}]})
    assert (reply.status, reply.code) == (409, "row_exists")


@pytest.mark.parametrize("call", ["update", "delete_record"])
def test_if_version_is_a_compare_and_set(school: Node, call: str) -> None:
    version = school.get("/select?table=students&versions=true").json[0]["_version"]
    body = {"table_name": "students", "row_id": "1", **({"new_data": {}} if call == "update" else {})}
    stale = school.post(f"/{call}", {**body, "if_version": version + 1})
    assert (stale.status, stale.code) == (412, "version_mismatch")
    assert school.post(f"/{call}", {**body, "if_version": version}).status == 200


@pytest.mark.parametrize("call", ["update", "delete_record"])
def test_a_write_of_a_missing_row_is_404(school: Node, call: str) -> None:
    body = {"table_name": "students", "row_id": "9", **({"new_data": {}} if call == "update" else {})}
    reply = school.post(f"/{call}", body)
    assert (reply.status, reply.code) == (404, "row_not_found")


def test_no_database_no_table_and_unknown_names_are_404(node: Node) -> None:
    assert node.get("/select?table=t").code == "no_database"
    node.post("/init_database", INIT)
    assert node.get("/select?table=t").code == "table_not_found"
    assert node.get("/select?table=t&db=other").code == "database_not_found"


def test_the_same_table_with_other_columns_is_409(school: Node) -> None:
    same = {"table_name": "students", "columns": ["id", "name", "grade"]}
    assert school.post("/create_table", same).json["created"] is False
    assert school.post("/create_table", {**same, "columns": ["id"]}).code == "table_exists"


def test_an_unknown_column_is_400_and_lists_the_columns(school: Node) -> None:
    reply = school.post("/insert", {"table_name": "students", "row_id": "2", "data": {"age": 1}})
    assert (reply.status, reply.code) == (400, "unknown_column")
    assert "id, name, grade" in reply.json["detail"]


def test_db_names_another_database_in_query_or_body(school: Node) -> None:
    school.post("/init_database", {"db_name": "other"})
    school.post("/init_database", {"db_name": "school"})
    assert school.post("/create_table?db=other", {"table_name": "t", "columns": ["a"]}).status == 200
    assert school.post("/insert", {"db_name": "other", "table_name": "t", "row_id": "1", "data": {"a": 1}}).status == 200
    assert school.get("/select?table=t&db=other").json == [{"row_id": "1", "a": 1}]
    assert school.get("/select?table=t").code == "table_not_found"
    assert school.post("/insert?db=school", {"db_name": "other", "table_name": "t", "data": {}}).code == "invalid_value"


def test_values_come_back_type_for_type(school: Node) -> None:
    values = ["", "1", 1, -(2**63), 2**63 - 1, 1.0, 0.1, 1e300, -0.0, True, False, None, [], {}, [1, {"a": [None]}], {"b": "\u0000ü🙂"}]
    for value in values:
        school.post("/insert", {"table_name": "students", "row_id": "v", "data": {"id": value}, "upsert": True})
        body = school.get("/select?table=students&row_id=v&columns=id").body
        assert json.dumps(json.loads(body)[0]["id"]) == json.dumps(value)


@pytest.mark.parametrize("name", ["init_database", "drop_database", "create_table", "delete_table"])
def test_a_master_only_call_at_another_node_is_307_to_the_master(name: str) -> None:
    node = Node(node_id="2", leader_id="1")
    body = {"db_name": "d"} if "database" in name else {"table_name": "t", "columns": ["a"]} if name[0] == "c" else {"table_name": "t"}
    reply = node.call("POST", f"/{name}?db=d&timeout=3", body, {"Host": "localhost:8081"})
    assert (reply.status, reply.code) == (307, "not_master")
    assert reply.header("Location") == f"http://localhost:8080/{name}?db=d&timeout=3"
    assert reply.json["master"] == {"id": "1", "address": "localhost:8080"}
    assert node.twin.commands == []


def test_forward_has_the_node_carry_the_call() -> None:
    node = Node(node_id="2", leader_id="1")
    assert node.call("POST", "/init_database?forward=true", INIT, {"Host": "localhost:8081"}).status == 200


def test_rows_are_written_at_every_node() -> None:
    node = Node(node_id="2", leader_id="1")
    node.call("POST", "/init_database?forward=true", INIT, {"Host": "localhost:8081"})
    node.call("POST", "/create_table?forward=true", {"table_name": "t", "columns": ["a"]}, {"Host": "localhost:8081"})
    assert node.call("POST", "/insert", {"table_name": "t", "data": {"a": 1}}, {"Host": "localhost:8081"}).status == 200


def test_a_master_only_call_without_a_leader_is_held_then_503(node: Node) -> None:
    node.twin.leader_id = None
    reply = node.post("/init_database?timeout=2.5", INIT)
    assert (reply.status, reply.code, reply.header("Retry-After")) == (503, "no_leader", "1")


def test_a_master_only_call_goes_on_when_there_is_a_leader(node: Node) -> None:
    node.twin.leader_id, node.twin.holding = None, True
    connection = node.start("POST", "/init_database?timeout=5", json.dumps(INIT).encode())
    assert connection.out == b""
    node.clock.advance(2)
    node.twin.holding = False
    node.twin.held.pop().callback("1")
    assert connection.response().status == 200
    assert node.twin.timeouts[-1] == 3.0


BODIES = {
    "insert": {"table_name": "students", "data": {}},
    "update": {"table_name": "students", "row_id": "1", "new_data": {}},
    "delete_record": {"table_name": "students", "row_id": "1"},
}


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("call", BODIES)
def test_a_write_is_answered_by_what_it_came_to_and_not_before_however_its_path_is_spelt(school: Node, call: str, escaped: bool) -> None:
    """An escaped path is found by Klein's router, which ends a request as soon as its handler does not make it wait."""
    path = f"/%{ord(call[0]):02x}{call[1:]}" if escaped else f"/{call}"
    school.twin.holding = True
    connection = school.start("POST", path, json.dumps(BODIES[call]).encode())
    assert connection.out == b""
    school.twin.held.pop().errback(OutcomeUnknown("no answer in time"))
    response = connection.response()
    assert (response.status, response.code) == (504, "outcome_unknown")


def test_a_write_whose_refusal_fails_is_answered_all_the_same(school: Node) -> None:
    """The backend cannot take the news that its disk is broken."""

    school.twin.bears_no_fatal = True
    school.twin.errors["propose"] = StorageFailed("the disk is broken")
    assert school.post("/insert", BODIES["insert"]).status == 500


@pytest.mark.parametrize("call", BODIES)
def test_a_client_that_leaves_before_its_write_is_done_is_told_nothing(school: Node, call: str) -> None:
    school.twin.holding = True
    connection = school.start("POST", f"/{call}", json.dumps(BODIES[call]).encode())
    connection.lose()
    school.twin.held.pop().errback(OutcomeUnknown("no answer in time"))
    assert connection.out == b""


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoLeader("no quorum"), 503, "no_leader"),
        (Busy("full"), 503, "overloaded"),
        (OutcomeUnknown("no answer in time"), 504, "outcome_unknown"),
    ],
)
def test_an_error_of_the_backend_has_its_status(school: Node, error: Exception, status: int, code: str) -> None:
    school.twin.errors["propose"] = error
    reply = school.post("/insert", {"table_name": "students", "data": {}})
    assert (reply.status, reply.code, reply.header("Retry-After")) == (status, code, "1" if status == 503 else None)


def test_an_unknown_error_is_500_with_an_id_and_no_secret(school: Node) -> None:
    school.twin.errors["propose"] = RuntimeError("canary-4711")
    reply = school.post("/insert", {"table_name": "students", "data": {}})
    assert (reply.status, reply.code) == (500, "internal")
    assert b"canary" not in reply.body
    assert b"Traceback" not in reply.body
    assert any(character.isdigit() for character in reply.json["detail"])


def test_a_broken_disk_that_a_read_meets_ends_the_node(school: Node) -> None:
    school.twin.errors["read_barrier"] = Corrupt("page 7 does not fit its checksum")
    reply = school.get("/select?table=students")
    assert (reply.status, reply.code) == (500, "internal")
    assert b"page 7" not in reply.body
    assert school.twin.fatals == [school.twin.errors["read_barrier"]]


def test_timeout_bounds_the_wait(school: Node) -> None:
    school.post("/insert?timeout=0.5", {"table_name": "students", "data": {}})
    assert school.twin.timeouts[-1] == 0.5
    school.get("/select?table=students&timeout=7")
    assert school.twin.timeouts[-1] == 7
    school.get("/select?table=students")
    assert school.twin.timeouts[-1] == 10


def test_a_key_gives_the_same_answer_again_refusals_too(school: Node) -> None:
    row = {"table_name": "students", "data": {"name": "x"}}
    first, second = (school.post("/insert", row, Idempotency_Key="k-1") for _ in range(2))
    assert first.json == second.json
    assert school.post("/insert", {**row, "upsert": True}, Idempotency_Key="k-1").code == "idempotency_mismatch"
    missing = {"table_name": "students", "row_id": "none"}
    assert school.post("/delete_record", missing, Idempotency_Key="k-2").status == 404
    school.post("/insert", {**missing, "data": {}})
    assert school.post("/delete_record", missing, Idempotency_Key="k-2").status == 404


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "\u00fc"])
def test_a_key_that_is_none_is_400(school: Node, key: str) -> None:
    assert school.post("/insert", {"table_name": "students", "data": {}}, Idempotency_Key=key).code == "invalid_value"


def test_the_fingerprint_covers_method_path_query_and_body(school: Node) -> None:
    body = {"table_name": "students", "row_id": "1"}
    for target, sent in (("/delete_record", body), ("/delete_record?timeout=9", body), ("/delete_record", {**body, "if_version": 1})):
        school.post(target, sent, Idempotency_Key="k")
    prints = [fingerprint for key, fingerprint in school.twin.fingerprints if key == "k"]
    assert len(set(prints)) == 3


def test_ping_always_answers(node: Node) -> None:
    node.twin.unready = node.twin.unhealthy = "no"
    assert node.get("/ping").json["status"] == "ok"


def test_health_and_readiness_give_the_reason(node: Node) -> None:
    assert node.get("/healthz").status == node.get("/readyz").status == 200
    node.twin.unready, node.twin.unhealthy = "no leader is known", "the disk is full"
    ready, health = node.get("/readyz"), node.get("/healthz")
    assert (ready.status, ready.json["detail"], ready.code) == (503, "no leader is known", "not_ready")
    assert (health.status, health.json["detail"]) == (503, "the disk is full")


def test_status_is_what_the_backend_says(node: Node) -> None:
    assert node.get("/status").json == {**node.twin.status(), "rates": {"writes": 0.0, "reads": 0.0}}


def test_the_timeline_is_told_oldest_first_and_as_long_as_asked_for() -> None:
    events = [
        {"id": number, "at": 1.5, "kind": "node_started", "node": "1", "text": f"event {number}", "details": {}} for number in range(3)
    ]
    watch = unwatched()._replace(timeline=lambda limit: events if limit is None else events[-limit:])
    node = Node(watch=watch)
    assert node.get("/timeline").json == events
    assert node.get("/timeline?limit=2").json == events[1:]
    assert node.get("/timeline?limit=0").code == "invalid_value"
    assert node.get("/timeline?since=2").code == "unknown_parameter"
