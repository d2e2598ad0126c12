"""Streams into the decoder, and lies into whole replicas in memory, with what must hold behind each.

The boundary of trust: bytes that are no stream of ours are refused and the stream is closed; nobody stops for them. A message that
passes every check of the stream comes from a configured node whose frames have good checksums, so it is believed as Raft believes a
peer. What no honest peer can say may then stop the node that heard it (`STOPS`, each one an assertion or a checksum in words), but it may
not take back what is committed, and it may not end in an error that nobody foresaw.
"""

from __future__ import annotations

import random
import re

import fuzz_bytes
from fuzz_messages import LIMITS, Stream, lie
from fuzz_tally import Tally
from replica_kit import SMALL, Cluster, MemoryNode

from ddbd.cluster.wire import FrameDecoder, WireError, decode, encode, frame_bytes_max
from ddbd.errors import Corrupt
from ddbd.raft.messages import Message

HELD_BYTES_MAX = 2 * LIMITS.message_bytes_max + frame_bytes_max(LIMITS)
LIES_A_CLUSTER = 25
TERM_MAX = 2**31  # beyond it nothing that is overheard matters any more: another cluster
STOPS = (
    "two leaders in term",  # another node claims a term that has its leader
    "stamp went back",  # entries older than the log's end
    "term went back",
    "holds no command",  # a leader's entry that no replica could apply
    "would be replaced",  # a committed entry
    "names no membership",
)


class Streams:
    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.held_bytes_max = 0

    def play(self, seed: int, number: int, stream: Stream) -> None:
        rng = random.Random(f"stream delivery {seed} {number}")
        decoder, got = FrameDecoder(LIMITS), list[Message]()
        outcome, said = "read to the end", ""
        try:
            for piece in fuzz_bytes.pieces(rng, stream.data):
                got += decoder.feed(piece)
                self.held_bytes_max = max(self.held_bytes_max, decoder.held_bytes)
        except WireError as error:
            outcome = "closed"
            said = error.detail
        assert said.isprintable(), said
        assert not said or decoder.held_bytes == 0, "a decoder that was given up still holds bytes"
        self.tally.kinds[stream.kind] += 1
        self.tally.outcomes[f"{stream.kind}: {outcome}"] += 1
        for message in got:
            assert not stream.is_honest or message in stream.sent, f"{message} was never sent"
            assert decode(*encode(message)) == message, f"{message} is not what it seems"


class Open(Cluster):
    """A membership may name nodes that no config has: messages to them are dropped, as `Streams.send` does."""

    def carry(self, message: Message) -> None:
        if message.to in self.nodes:
            super().carry(message)


class Liars:
    """One message at a time into one of three replicas; then time passes."""

    def __init__(self, seed: int, tally: Tally) -> None:
        self.seed = seed
        self.tally = tally
        self._cluster: Open | None = None
        self._told = 0

    def play(self, number: int) -> Message | None:
        """Raises AssertionError with the message in it."""
        rng = random.Random(f"lie {self.seed} {number}")
        cluster = self._cluster
        if cluster is None or self._told % LIES_A_CLUSTER == 0 or number % LIES_A_CLUSTER == 0:
            cluster = self._cluster = Open(limits=SMALL)
            cluster.set_up()
        self._told += 1
        victim = cluster.nodes[rng.choice("123")]
        others = [node_id for node_id in cluster.nodes if node_id != victim.id]
        leader_id = victim.core.leader_id
        sender = leader_id if leader_id in others and rng.random() < 0.6 else rng.choice(others)
        told = lie(rng, cluster.seen[-200:], victim.core, victim.id, sender)
        kind = type(told).__name__
        self.tally.kinds[kind] += 1
        try:
            message = decode(*encode(told))
        except WireError:
            self.tally.outcomes["refused by the wire"] += 1
            return None
        before = _place(victim)
        victim.replica.receive(message)
        cluster.run(rng.choice((0.0, 0.02, 0.02, 0.1, 0.5)))
        self._judge(cluster, victim, before, message)
        return message

    def _judge(self, cluster: Open, victim: MemoryNode, before: tuple[int, int], message: Message) -> None:
        after = _place(victim)
        assert after[0] >= before[0] and after[1] >= before[1], f"{before} went back to {after} after {message!r}"  # noqa: PT018 - one place
        core = victim.core
        assert core.applied_index <= core.commit_index <= core.log.last_index, message
        errors = [error for node in cluster.nodes.values() for error in node.fatal]
        if not errors:
            self.tally.outcomes["believed or ignored"] += 1
            if core.term > TERM_MAX:
                self._cluster = None
            return
        self._cluster = None
        error, why = errors[0], str(errors[0])
        reason = next((reason for reason in STOPS if reason in why), None)
        is_foreseen = isinstance(error, AssertionError | Corrupt) and reason is not None
        assert is_foreseen, f"a node stops with {type(error).__name__}: {re.sub(r'[^ -~]', '?', why)} after {message!r}"
        self.tally.outcomes[f"stops: {reason}"] += 1


def _place(node: MemoryNode) -> tuple[int, int]:
    """What never goes back, whatever is said."""
    return node.core.term, node.core.commit_index
