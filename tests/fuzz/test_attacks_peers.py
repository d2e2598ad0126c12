"""Attacks on the peers' port and on files that have a name. Those on headers and frames stand in tests/cluster."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from fuzz_files import ME, Files
from fuzz_messages import LIMITS, seal
from fuzz_peers import Open
from fuzz_tally import Tally
from replica_kit import SMALL
from storage_kit import FOUNDERS, fired

from ddbd.cluster.wire import TYPES, FrameDecoder, WireError, decode, encode
from ddbd.errors import Corrupt
from ddbd.raft.messages import AppendEntries, Heartbeat, Message, VoteResponse
from ddbd.raft.types import Entry, EntryKind, Membership
from ddbd.storage import records
from ddbd.storage.directory import open_store
from ddbd.storage.memory_tables import MemoryTables

PEAK_BYTES_MAX = 256 * 1024
COUNT_OF_4_GB = b"\xff\xff\xff\xff"


@pytest.mark.parametrize("mark", [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"], ids=["array", "map", "text", "bytes", "extension"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_count_of_four_billion_in_a_message_allocates_nothing(mark: bytes, kind: int) -> None:
    bodies = [mark + COUNT_OF_4_GB]
    fields = len(TYPES[kind]._fields)
    bodies += [bytes([0x90 + fields]) + b"\xa11" * min(at, 2) + b"\x01" * max(0, at - 2) + mark + COUNT_OF_4_GB for at in range(fields)]
    tracemalloc.start()
    for body in bodies:
        with pytest.raises(WireError):
            FrameDecoder(LIMITS).feed(seal(body, kind))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < PEAK_BYTES_MAX


def test_a_frame_of_four_gigabytes_is_refused_by_its_head() -> None:
    with pytest.raises(WireError, match="frame_bytes_max"):
        FrameDecoder(LIMITS).feed(seal(b"x", 5, length=2**32 - 1))


def test_a_truncated_frame_is_waited_for_and_says_nothing() -> None:
    frame = seal(encode(Heartbeat("1", "2", 1, 1))[1], 5)
    for end in range(len(frame)):
        decoder = FrameDecoder(LIMITS)
        assert decoder.feed(frame[:end]) == []
        assert decoder.held_bytes == end


@pytest.mark.parametrize("term", [-1, 2**63, 2**64 - 1])
def test_a_term_or_an_index_outside_of_63_bits_closes_the_stream(term: int) -> None:
    body = msgspec.msgpack.encode(("1", "2", term, 0))
    with pytest.raises(WireError, match="outside"):
        FrameDecoder(LIMITS).feed(seal(body, 5))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b"1",
        b'[["1"],[],[]]',
        b'["1",[],[],[]]',
        b"[[1],[],[],[]]",
        b"[[],[],[],[]]",
        b'[["1"],[],[],[["1"]]]',
        b"[" * 100_000,
    ],
)
def test_an_entry_that_names_no_membership_closes_the_stream_before_a_core_reads_it(data: bytes) -> None:
    message = AppendEntries("1", "2", 1, 0, 0, (Entry(1, 1, 0, EntryKind.MEMBERSHIP, data),), 0)
    with pytest.raises(WireError, match="membership"):
        decode(*encode(message))


def test_a_membership_is_read_back_as_it_was_written() -> None:
    membership = Membership(("1", "2"), ("3",), ("4",), (("1", "life"),))
    assert Membership.from_bytes(membership.to_bytes()) == membership


def told(cluster: Open, message: Message) -> None:
    cluster.nodes[message.to].replica.receive(decode(*encode(message)))
    cluster.run(0.5)


@pytest.fixture
def cluster() -> Open:
    cluster = Open(limits=SMALL)
    cluster.set_up()
    return cluster


def test_a_huge_commit_index_commits_only_what_is_there(cluster: Open) -> None:
    node = cluster.nodes["2"]
    last_index, last_term = node.core.log.last_index, node.core.log.last_term
    told(cluster, AppendEntries("2", "1", node.core.term, last_index, last_term, (), 2**63 - 1))
    assert node.core.commit_index == last_index
    assert not node.fatal
    cluster.until(cluster.agree)


def test_a_replayed_vote_elects_nobody(cluster: Open) -> None:
    votes = [message for message in cluster.seen if isinstance(message, VoteResponse) and message.granted]
    assert votes
    for vote in votes * 3:
        for node_id in ("2", "3"):
            told(cluster, vote._replace(to=node_id, sender="1"))
    assert cluster.led_by("1")


def test_everything_replayed_changes_nothing(cluster: Open) -> None:
    term = cluster.nodes["1"].core.term
    cluster.until(cluster.agree)
    for message in list(cluster.seen):
        cluster.nodes[message.to].replica.receive(message)
    cluster.run(1.0)
    assert not any(node.fatal for node in cluster.nodes.values())
    assert cluster.led_by("1")
    assert cluster.nodes["1"].core.term == term
    cluster.until(cluster.agree)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x91" * 3_000, b"\x97\xa1\xff" + b"\0" * 6, b"\xdd" + COUNT_OF_4_GB])
def test_an_entry_that_is_no_command_is_corrupt_and_never_another_error(data: bytes) -> None:
    tables = MemoryTables(LIMITS, lambda: 0.0)
    with pytest.raises(Corrupt, match="holds no command"):
        tables.apply([Entry(1, 1, 0, EntryKind.COMMAND, data)])


def test_a_record_that_says_four_gigabytes_allocates_nothing() -> None:
    head = records._FRONT.pack(records.MAGIC, records.ENTRY, 1, 0, 2**32 - 1, 0, 1)
    tracemalloc.start()
    assert records.parse(head + bytes(100), 0, 0) is None
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < PEAK_BYTES_MAX


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, Tally("named files"))


def test_a_damaged_page_that_opening_needs_is_corrupt(files: Files) -> None:
    """Whichever page it is: the refusal is one of ours and one line."""
    path = next(path for path in files.paths if path.name == "tables.db")
    whole = (files.template / path).read_bytes()
    (files.template / path.with_name("tables.db-wal")).write_bytes(b"")
    (files.template / path.with_name("sealed")).unlink()
    for at in range(4096 + 200, len(whole), 4096):
        (files.template / path).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        files.reopen()
    outcomes = {outcome.partition(": ")[2] for outcome in files.tally.outcomes}
    assert outcomes <= {"Corrupt", "Corrupt at a read", "opens whole"}
    assert "Corrupt" in outcomes


def test_a_damaged_snapshot_is_refused_in_one_line(files: Files) -> None:
    content = files.truth.snapshot_path.read_bytes()
    store = open_store(files.work, ME, LIMITS, founders=FOUNDERS)
    try:
        for at in range(100, len(content), 4096):
            path = Path(store.incoming())
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(Corrupt) as raised:
                fired(store.check_incoming(files.truth.snapshot, str(path)))
            assert "\n" not in str(raised.value)
    finally:
        store.close()


def test_a_log_that_is_refused_leaves_no_file_open(files: Files) -> None:
    path = files.template / next(path for path in files.paths if path.suffix == ".seg")
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    files.reopen()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        files.reopen()
    assert len(os.listdir("/proc/self/fd")) == before
    assert files.tally.outcomes == {"template: Corrupt": 4}
