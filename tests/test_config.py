"""config.json: what it means, and one sentence with the key for each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ddbd.config import NODES_MAX, Limits, Timing, load_config
from ddbd.errors import ConfigError

NODE = {"id": "1", "address": "localhost:8080"}
THREE = [
    {"id": "1", "address": "localhost:8080", "isMaster": True},
    {"id": "2", "address": "localhost:8081", "isMaster": False},
    {"id": "3", "address": "localhost:8082", "isMaster": False},
]


def load(folder: Path, config: Any) -> Any:
    path = folder / "config.json"
    path.write_bytes(config if isinstance(config, bytes) else json.dumps(config).encode())
    return load_config(path)


def sentence(folder: Path, config: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, config)
    text = caught.value.detail
    path = f"{folder / 'config.json'}: "
    assert text.startswith(path)
    assert "\n" not in text
    return text.removeprefix(path)


def node(**more: Any) -> dict[str, Any]:
    return {"nodes": [{**NODE, **more}]}


def open_node(**more: Any) -> dict[str, Any]:
    """Any host may be named."""
    return {**node(**more), "insecure": True}


def pair(**more: Any) -> dict[str, Any]:
    return {"nodes": [NODE, {"id": "2", "address": "localhost:8081", **more}]}


def test_the_shape_of_the_contract_is_all_that_is_needed(tmp_path: Path) -> None:
    config = load(tmp_path, {"nodes": THREE})
    assert config.node_ids == ("1", "2", "3")
    assert config.preferred_id == "1"
    assert [(each.host, each.port, each.bind, each.url) for each in config.nodes[:1]] == [
        ("localhost", 8080, "localhost", "http://localhost:8080")
    ]
    assert (config.insecure, config.failback, config.hosts) == (False, True, ())
    assert (config.timing, config.limits) == (Timing(), Limits())


def test_the_config_of_the_project_is_the_one_of_the_contract() -> None:
    config = load_config(Path(__file__).parent.parent / "config.json")
    assert [(each.id, each.address, each.is_master) for each in config.nodes] == [tuple(each.values()) for each in THREE]


def test_further_keys_are_optional(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        {
            "nodes": [{**NODE, "bind": "0.0.0.0"}],
            "insecure": True,
            "failback": False,
            "hosts": ["DB.example.com", "db.example.com:80", "[2001:db8::1]:80", "10.0.0.1"],
            "timing": {"tick_ms": 10},
            "limits": {"batch_rows_max": 5},
        },
    )
    assert config.nodes[0].bind == "0.0.0.0"
    assert config.hosts == ("db.example.com", "db.example.com:80", "[2001:db8::1]:80", "10.0.0.1")
    assert (config.insecure, config.failback, config.timing.tick_ms, config.limits.batch_rows_max) == (True, False, 10, 5)


@pytest.mark.parametrize(("ids", "order"), [(["10", "9"], ["9", "10"]), (["b", "a"], ["a", "b"])])
def test_ids_are_in_the_order_of_numbers_or_of_text(ids: list[str], order: list[str], tmp_path: Path) -> None:
    nodes = [{"id": node_id, "address": f"localhost:{8080 + place}"} for place, node_id in enumerate(ids)]
    config = load(tmp_path, {"nodes": nodes})
    assert list(config.node_ids) == order
    assert config.preferred_id == order[0], "none is marked"


def test_the_log_is_a_key_of_its_own(tmp_path: Path) -> None:
    config = load(tmp_path, {"nodes": THREE, "log": {"format": "json", "level": "debug"}})
    assert (config.log.format, config.log.level) == ("json", "debug")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ({"format": "xml"}, "log.format: 'xml' is none; use human, json or journal"),
        ({"level": "loud"}, "log.level: 'loud' is none; use debug, info, warn or error"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_unknown_way_to_log_is_named(log: dict[str, str], words: str, tmp_path: Path) -> None:
    assert words in sentence(tmp_path, {"nodes": THREE, "log": log})


def test_the_marked_node_is_preferred(tmp_path: Path) -> None:
    assert load(tmp_path, pair(isMaster=True)).preferred_id == "2"


@pytest.mark.parametrize(
    ("address", "host"),
    [
        *(("127.0.0.1:8080", "127.0.0.1"), ("127.8.9.1:8080", "127.8.9.1"), ("[::1]:8080", "::1")),
        ("LocalHost:8080", "localhost"),
    ],
)
def test_loopback_addresses_need_no_leave(address: str, host: str, tmp_path: Path) -> None:
    assert load(tmp_path, node(address=address)).nodes[0].host == host


@pytest.mark.parametrize("host", ["db-1.example.com", "10.0.0.1", "[2001:db8::1]", "0.0.0.0", "node_1"])
def test_other_addresses_need_insecure(host: str, tmp_path: Path) -> None:
    text = sentence(tmp_path, node(address=f"{host}:8080"))
    assert text.startswith("nodes[0].address: ")
    assert "insecure" in text
    load(tmp_path, open_node(address=f"{host}:8080"))


def test_a_loopback_node_that_binds_everything_needs_insecure(tmp_path: Path) -> None:
    text = sentence(tmp_path, node(bind="0.0.0.0"))
    assert text.startswith("nodes[0].bind: ")
    assert "insecure" in text


def test_a_node_that_binds_loopback_behind_a_public_name_does_not(tmp_path: Path) -> None:
    assert load(tmp_path, node(address="db.example.com:80", bind="127.0.0.1")).nodes[0].bind == "127.0.0.1"


TOO_LONG = "a" * 64

MISTAKES: list[tuple[Any, str]] = [
    (b"", "is no JSON: it ends too early"),
    (b'{"nodes": [', "is no JSON: it ends too early"),
    (b'{"nodes": [],}', "is no JSON: "),
    (b'{"nodes": [{"id": "\xff", "address": "localhost:8080"}]}', "is no text in UTF-8"),
    (b"[" * 100_000, "Expected `object`"),
    ([], "Expected `object`"),
    ({}, "Object missing required field `nodes`"),
    ({"nodes": {}}, "nodes: "),
    ({"nodes": []}, "nodes: "),
    ({"nodes": [None]}, "nodes[0]: "),
    ({"nodes": [{"id": str(n), "address": f"localhost:{8080 + n}"} for n in range(NODES_MAX + 1)]}, "nodes: "),
    ({"nodes": [{"id": "1"}]}, "nodes[0]: Object missing required field `address`"),
    ({"nodes": [{"address": "localhost:8080"}]}, "nodes[0]: Object missing required field `id`"),
    (node(id=1), "nodes[0].id: "),
    *((node(id=each), "nodes[0].id: ") for each in ("", " ", "a/b", "..", ".", "ä", "a" * 65, "1\n")),
    (node(isMaster="yes"), "nodes[0].isMaster: "),
    (node(is_master=True), "nodes[0]: Object contains unknown field `is_master`"),
    (node(address=8080), "nodes[0].address: "),
    *(
        (node(address=each), "nodes[0].address: ")
        for each in (
            "",
            ":",
            "localhost",
            "localhost:",
            ":8080",
            "::1:8080",
            "[localhost]:8080",
            "http://localhost:8080",
            "localhost:8080/",
        )
    ),
    *((node(address=f"localhost:{each}"), "nodes[0].address: ") for each in ("0", "65536", "-1", "08080", "8_0", "٣", "http", "1" * 5_000)),
    *((open_node(address=f"{each}:8080"), "nodes[0].address: ") for each in ("a b", 'a"b', "ünode", TOO_LONG, "a..b", "u@h", "-[::1]")),
    *((open_node(bind=each), "nodes[0].bind: ") for each in ("", "0.0.0.0:80", "a b", "[::]", TOO_LONG)),
    (node(bind=5), "nodes[0].bind: "),
    (pair(id="1"), "nodes: the id '1' is given twice"),
    (pair(id="01"), "nodes: the id '1' is given twice, also as '01'"),
    (pair(address="localhost:8080"), "nodes: the address 'localhost:8080' is given twice"),
    (pair(address="LOCALHOST:8080"), "nodes: the address 'localhost:8080' is given twice, also as"),
    ({"nodes": [{**NODE, "isMaster": True}, {**THREE[1], "isMaster": True}]}, "nodes: isMaster is true for nodes 1 and 2"),
    ({**node(), "nodez": []}, "Object contains unknown field `nodez`"),
    ({**node(), "insecure": 1}, "insecure: "),
    ({**node(), "failback": "no"}, "failback: "),
    ({**node(), "hosts": "db"}, "hosts: "),
    *(({**node(), "hosts": ["ok", each]}, "hosts[1]: ") for each in ("", "a b", "http://db", "db:port", "db:123456")),
    ({**node(), "timing": {"tack_ms": 1}}, "timing: Object contains unknown field `tack_ms`"),
    *(({**node(), "timing": {name: 0}}, f"timing.{name}: ") for name in Timing.__struct_fields__),
    ({**node(), "timing": {"tick_ms": 1.5}}, "timing.tick_ms: "),
    ({**node(), "timing": {"tick_ms": 101}}, "timing.tick_ms: "),
    ({**node(), "timing": {"heartbeat_ms": 200}}, "timing.election_timeout_ms: "),
    *(({**node(), "limits": {name: 0}}, f"limits.{name}: ") for name in Limits.__struct_fields__),
    *(({**node(), "limits": {name: "1"}}, f"limits.{name}: ") for name in Limits.__struct_fields__),
    ({**node(), "limits": {"columns_max": 1_001}}, "limits.columns_max: "),
    ({**node(), "limits": {"segment_bytes": 2**30 + 1}}, "limits.segment_bytes: "),
    ({**node(), "limits": {"message_bytes_max": 1_000_000}}, "limits.message_bytes_max: "),
    ({**node(), "limits": {"body_bytes_max": 2**24}}, "limits.body_bytes_max: "),
    ({**node(), "limits": {"append_bytes_max": 2**24}}, "limits.append_bytes_max: "),
    (b'{"nodes": [], "limits": {"scan_seconds": 1e999}}', "limits.scan_seconds: "),
]


@pytest.mark.parametrize(("config", "begins"), MISTAKES, ids=[str(number) for number in range(len(MISTAKES))])
def test_a_mistake_is_one_sentence_that_names_the_key(config: Any, begins: str, tmp_path: Path) -> None:
    assert sentence(tmp_path, config).startswith(begins)


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ConfigError, match="--config") as caught:
            load_config(path)
        assert caught.value.detail.startswith(str(path))


def test_a_node_is_found_by_its_id_and_by_its_port(tmp_path: Path) -> None:
    config = load(tmp_path, {"nodes": THREE})
    assert config.node("2").port == 8081
    assert config.node_at_port(8082).id == "3"
    with pytest.raises(ConfigError, match="the ids are 1, 2, 3"):
        config.node("4")
    with pytest.raises(ConfigError, match="the ports are 8080, 8081, 8082"):
        config.node_at_port(8083)


def test_a_port_that_two_nodes_share_names_neither(tmp_path: Path) -> None:
    nodes = [{"id": "1", "address": "127.0.0.1:8080"}, {"id": "2", "address": "127.0.0.2:8080"}]
    with pytest.raises(ConfigError, match="--node"):
        load(tmp_path, {"nodes": nodes}).node_at_port(8080)
