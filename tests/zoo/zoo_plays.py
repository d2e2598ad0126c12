"""Plays of their own: a link that is cut for good, a majority that is wiped, and a log that nobody reads."""

from __future__ import annotations

import io
import random
import threading
from typing import Any

from zoo_kinds import sim_options, sim_world
from zoo_plant import module_of

from ddbd.logsink import LogSink

sim_checks: Any = module_of("sim", "sim_checks")
sim_clients: Any = module_of("sim", "sim_clients")
formation_world: Any = module_of("cluster", "formation_world")

QUIET = {
    **dict.fromkeys(("loss", "duplication", "cut_every", "clog_every", "crash_every", "pause_every", "drain_every", "wipe_every"), 0.0),
    **dict.fromkeys(("transfer_every", "change_every", "leap_every", "fsync_fails_every", "flip_every", "rot_every", "full_every"), 0.0),
    **dict.fromkeys(("slow_share", "skew", "jitter"), 0.0),
}
SETTLE_SECONDS = 3.0
WATCH_SECONDS = 10.0
TERMS_MAX = 2  # leadership may still be handed to the preferred node


def a_link_is_cut_for_good(seed: int) -> None:
    """Two nodes do not hear each other, and both hear the third: whoever leads then leads on, and writes go on."""
    world = sim_world.World(seed, sim_options.draw(seed)._replace(**QUIET, nodes=3, preferred=0, delay=0.002, clients=2))
    for node in world.nodes.values():
        node.start()
    world.clients = [sim_clients.Client(world, number) for number in range(world.options.clients)]
    world.pass_time(SETTLE_SECONDS)
    one, other = random.Random(f"link {seed}").sample(sorted(world.nodes), 2)
    world.network.cuts = {(one, other), (other, one)}
    world.pass_time(SETTLE_SECONDS)
    term, done = _newest_term(world), len(world.checks.committed)
    world.pass_time(WATCH_SECONDS)
    changes, more = _newest_term(world) - term, len(world.checks.committed) - done
    assert changes <= TERMS_MAX, (
        f"no stable leader: {changes} terms in {WATCH_SECONDS:g} s while nodes {one} and {other} are cut from each other"
    )
    assert more >= WATCH_SECONDS, f"no progress: {more} entries in {WATCH_SECONDS:g} s"


def _newest_term(world: Any) -> int:
    return max(node.process.core.term for node in world.nodes.values())


def a_majority_is_wiped(seed: int) -> None:
    """A cluster has formed; some nodes are down, and more than the others can spare lose their disks: no second cluster forms."""
    rng = random.Random(f"wiped {seed}")
    world = formation_world.World(rng.choice([3, 5]), seed)
    world.start_all()
    world.settle()
    ids = list(world.config.node_ids)
    assert world.all_formed(), "the cluster did not form at all"
    wiped = rng.sample(ids, len(ids) // 2 + 1)
    for node_id in ids:
        if node_id in wiped:
            world.wipe(node_id)
        else:
            world.kill(node_id)
    for node_id in wiped:
        world.start(node_id)
    world.settle(20)
    world.start_all()
    world.settle(20)
    clusters = {disk.content.cluster_id for disk in world.disks.values() if disk.content is not None and disk.content.formed}
    assert len(clusters) == 1, f"{len(clusters)} clusters formed out of one set of nodes"


class _StuckStream(io.StringIO):
    """A pipe whose reader was stopped: whoever writes waits until it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self._loop = threading.current_thread()

    def write(self, text: str) -> int:
        assert threading.current_thread() is not self._loop, "the event loop waits for the reader of the log"
        self.goes_on.wait()
        return super().write(text)


def a_log_that_nobody_reads(seed: int) -> None:
    """The lines wait, and whoever logs them does not; when the reader goes on it gets them all."""
    stream, lines = _StuckStream(), [f"line {number}\n" for number in range(random.Random(f"lines {seed}").randrange(1, 100))]
    sink = LogSink(stream)
    for line in lines:
        sink.write(line)
    assert not sink.drain(0.0), "nothing can be written yet"
    stream.goes_on.set()
    assert sink.drain(10.0), "the lines were never written"
    assert stream.getvalue() == "".join(lines), "lines are missing"
