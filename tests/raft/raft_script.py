"""The language of the golden scripts: commands, a line of dashes, and what they said; an empty line ends a block.

# A comment.
cluster 3 voters=2          nodes 1..3, the first two vote; other words set RaftConfig
logs 1,1,2 1,1 1            instead: nodes with these terms in their logs
elect 1                     nobody is sticky; 1 campaigns, and all is delivered
campaign 1                  1 begins its question now
tick 1 3                    three ticks of node 1 (`tick all`: of everybody)
deliver [2->1]              what is in flight now, once (or only that link's); the answers stay in flight
settle / beat 2             until nothing is in flight / two heartbeats, each until nothing is
propose 1 x y / read 3 / transfer 1 2 / refused 2 1
change 1 voters=1,2 learners=3 3=life
cut 1 / heal / drop         no message passes / all pass / what is in flight is lost
hold 1 / release 1          a save stays under way / is done
crash 1 / restart 1 / wipe 3 life / freeze 1 / forget 1 3
compact 1 5 / offer 1 3 / install 3 / decline 3
status / log 1              a line for each node / one node's entries
"""

from __future__ import annotations

from collections.abc import Iterator

from raft_cluster import Cluster
from raft_text import short_entry, short_membership

from ddbd.raft.core import ProposalDropped
from ddbd.raft.types import HardState


class Script:
    """Runs commands against one cluster, and keeps what they said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.cluster = Cluster.of(0)

    def run(self, line: str) -> None:
        name, *words = line.split()
        try:
            getattr(self, f"do_{name}")(*words)
        except ProposalDropped:
            self.said.append("dropped")

    def _begin(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.say = self.said.append

    def do_cluster(self, count: str, *words: str) -> None:
        options = dict(word.split("=") for word in words)
        voters = int(options.pop("voters", count))
        numbers: dict[str, object] = {key: value if key == "preferred_id" else int(value) for key, value in options.items()}
        self._begin(Cluster.of(int(count), voters, **numbers))

    def do_logs(self, term: str, *logs: str) -> None:
        cluster = Cluster.with_logs(*[[int(each) for each in log.split(",")] for log in logs])
        for node in cluster.nodes.values():
            node.disk.hard_state = HardState(int(term))
            node.start()
        self._begin(cluster)

    def do_elect(self, node: str) -> None:
        self.cluster.elect(node)

    def do_campaign(self, node: str) -> None:
        self.cluster.campaign(node)

    def do_tick(self, node: str, count: str = "1") -> None:
        self.cluster.tick(*(() if node == "all" else (node,)), count=int(count))

    def do_deliver(self, link: str = "") -> None:
        self.cluster.deliver(lambda message: link in ("", f"{message.sender}->{message.to}"))

    def do_settle(self) -> None:
        self.cluster.settle()

    def do_beat(self, count: str = "1") -> None:
        self.cluster.beat(int(count))

    def do_propose(self, node: str, *commands: str) -> None:
        self.cluster.propose(node, *[command.encode() for command in commands])

    def do_read(self, node: str) -> None:
        self.cluster.read(node)

    def do_transfer(self, node: str, target: str) -> None:
        if not self.cluster.transfer(node, target):
            self.said.append("refused")

    def do_refused(self, node: str, peer: str) -> None:
        self.cluster.refuse(node, peer)

    def do_change(self, node: str, *words: str) -> None:
        options = dict(word.split("=") for word in words)
        voters, learners = (options.pop(key, "").split(",") for key in ("voters", "learners"))
        self.cluster.change(node, voters, [each for each in learners if each], **options)

    def do_cut(self, *nodes: str) -> None:
        self.cluster.cut(*nodes)

    def do_heal(self) -> None:
        self.cluster.heal()

    def do_drop(self) -> None:
        self.cluster.drop()

    def do_hold(self, node: str) -> None:
        self.cluster.hold(node)

    def do_release(self, node: str) -> None:
        self.cluster.release(node)

    def do_crash(self, node: str) -> None:
        self.cluster.crash(node)

    def do_restart(self, node: str) -> None:
        self.cluster.restart(node)

    def do_wipe(self, node: str, life: str) -> None:
        self.cluster.wipe(node, life)

    def do_freeze(self, node: str) -> None:
        self.cluster[node].freeze()
        self.cluster.turn(node)

    def do_forget(self, node: str, peer: str) -> None:
        self.cluster[node].forget_peer(peer)

    def do_compact(self, node: str, index: str) -> None:
        self.cluster.compact(node, int(index))

    def do_offer(self, node: str, peer: str) -> None:
        self.cluster.offer(node, peer)

    def do_install(self, node: str) -> None:
        self.cluster.install(node)

    def do_decline(self, node: str) -> None:
        offer = self.cluster[node].pending_snapshot
        assert offer is not None, f"{node} was offered nothing"
        self.cluster[node].declined(offer.token)

    def do_status(self) -> None:
        for node in self.cluster.nodes.values():
            core, log = node.core, node.core.log
            place = f"last={log.last_index}@{log.last_term} commit={core.commit_index} applied={core.applied_index}"
            who = f"{node.id}@{core.term} {core.role.value if node.is_up else 'down'}"
            self.said.append(f"{who} {place} members={short_membership(core.membership)}")

    def do_log(self, node: str) -> None:
        log = self.cluster[node].log
        entries = log.entries(log.base.index + 1, log.last_index + 1, 1 << 30)
        self.said.append(f"{node} base={log.base.index}@{log.base.term} " + " ".join(short_entry(entry) for entry in entries))


def blocks(text: str) -> Iterator[list[str]]:
    for block in text.split("\n\n"):
        lines = block.strip("\n").split("\n")
        yield lines[: lines.index("---")] if "---" in lines else lines


def play(text: str) -> str:
    """The script with its outputs as they are now."""
    script, told = Script(), []
    for lines in blocks(text):
        for line in lines:
            if line and not line.startswith("#"):
                script.run(line)
        said, script.said[:] = [*script.said], []
        is_comment = all(line.startswith("#") for line in lines)
        told.append("\n".join([*lines, *([] if is_comment else ["---", *(said or ["(nothing)"])])]))
    return "\n\n".join(told) + "\n"
