"""Malformed frames and impossible messages by the thousand."""

from __future__ import annotations

from fuzz_messages import stream_of
from fuzz_peers import HELD_BYTES_MAX, Liars, Streams
from fuzz_tally import LogWatch, Tally, resident_bytes

GROWTH_BYTES_MAX = 64 * 1024 * 1024


def test_malformed_frames_close_their_stream_and_nothing_else(messages_count: int, seed: int) -> None:
    streams = Streams(Tally("frames"))
    for number in range(messages_count // 2):
        stream = stream_of(seed, number)
        try:
            streams.play(seed, number, stream)
        except Exception as error:
            raise AssertionError(
                f"--fuzz-seed {seed}, stream {number} ({stream.kind}): {type(error).__name__}: {error}\n{stream.data.hex()}"
            ) from error
    assert streams.held_bytes_max <= HELD_BYTES_MAX


def test_impossible_messages_take_nothing_back(messages_count: int, seed: int, watch: LogWatch) -> None:
    count = messages_count // 3
    liars, warm_bytes = Liars(seed, Tally("lies of peers")), 0
    for number in range(count):
        try:
            liars.play(number)
        except Exception as error:
            raise AssertionError(f"--fuzz-seed {seed}, lie {number}: {type(error).__name__}: {error}") from error
        if number == count // 5:
            warm_bytes = resident_bytes()
    grown = resident_bytes() - warm_bytes
    assert grown < GROWTH_BYTES_MAX, f"{grown} bytes more are held after {count} lies"
    watch.stop()
    watch.assert_quiet("a message")
