"""What is told of what happened: the newest so many, numbered."""

from __future__ import annotations

from ddbd.watch.timeline import HAPPENED_MAX, Timeline


def test_the_newest_events_are_kept_and_numbered() -> None:
    timeline = Timeline(lambda: 1_790_000_000.12345)
    for number in range(HAPPENED_MAX + 10):
        timeline.record("peer_lost", "3", "node 3 stopped answering", number=number)
    events = timeline.events()
    assert [event["id"] for event in events] == list(range(11, HAPPENED_MAX + 11))
    assert timeline.events(2) == events[-2:]
    assert events[-1] == {
        "id": 510,
        "at": 1_790_000_000.123,
        "kind": "peer_lost",
        "node": "3",
        "text": "node 3 stopped answering",
        "details": {"number": 509},
    }
    assert timeline.counts["peer_lost"] == 510
