"""Malformed requests by the thousand, against whole nodes in memory."""

from __future__ import annotations

from fuzz_door import LIMITS, Fuzzer
from fuzz_requests import Case, case_of
from fuzz_tally import LogWatch, Tally, resident_bytes

from ddbd.web.problems import STATUSES

ALL_CODES_FROM = 1_000  # requests, from which on every code must have been met
GROWTH_BYTES_MAX = 64 * 1024 * 1024
HELD_BYTES_MAX = LIMITS.body_bytes_max + LIMITS.head_bytes_max + 64 * 1024  # and what one read of a socket brings

# What the input alone can bring about.
REACHABLE = {code for code, (status, _) in STATUSES.items() if status < 500} - {
    # What a restore says of a file: tests/test_backupfile.py damages those at each byte, tests/web/test_web_restore.py sends them.
    *("invalid_backup", "database_exists", "content_mismatch"),
}


def play(fuzzer: Fuzzer, number: int, case: Case, watch: LogWatch) -> None:
    try:
        fuzzer.play(number, case)
        watch.assert_quiet("a request")
    except Exception as error:
        raise AssertionError(
            f"--fuzz-seed {fuzzer.seed}, request {number} ({case.kind}): {type(error).__name__}: {error}\n{case.data!r}"
        ) from error


def test_malformed_requests_are_refused_in_order(requests_count: int, seed: int, watch: LogWatch) -> None:
    tally = Tally("HTTP in memory")
    fuzzer = Fuzzer(seed, tally)
    warm_bytes = 0
    for number in range(requests_count):
        play(fuzzer, number, case_of(seed, number), watch)
        if number == requests_count // 5:
            warm_bytes = resident_bytes()
    fuzzer.finish()
    watch.stop()
    watch.assert_quiet("a request")
    grown = resident_bytes() - warm_bytes
    tally.notes += [f"{len(fuzzer.codes)} codes", f"{fuzzer.held_bytes_max} bytes held at most", f"{grown >> 20} MiB grown"]
    assert fuzzer.held_bytes_max <= HELD_BYTES_MAX
    assert grown < GROWTH_BYTES_MAX, f"{grown} bytes more are held after {requests_count} requests"
    assert requests_count < ALL_CODES_FROM or fuzzer.codes >= REACHABLE, f"never met: {sorted(REACHABLE - fuzzer.codes)}"
