"""`twistd -n ddb`: the options, and the one place where the rooms are joined.

The order carries meaning. First what can be refused without touching anything: the options, the config, the port. Then the data
directory: its lock, its identity. The log and the tables are opened once the node knows its cluster; until then it answers /ping,
/raft/hello and /raft/adopt, and everything else with 503. At the end it is the other way round: hand leadership over, answer who still
waits, close the streams, then the disk.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

import ddbd
from ddbd.answers import Status
from ddbd.cluster.formation import Formation, Superseded
from ddbd.cluster.heartbeat import Heartbeat
from ddbd.cluster.peers import peer_client
from ddbd.cluster.resource import RaftResource
from ddbd.cluster.snapshots import Snapshots
from ddbd.cluster.streams import Past, Streams
from ddbd.config import Config, Node, load_config
from ddbd.errors import ConfigError, Fatal
from ddbd.host.book import LogBook, level_of_text
from ddbd.host.notify import Notifier, watchdog_seconds
from ddbd.host.reload import changes
from ddbd.host.watch import Condition
from ddbd.host.watch import Watch as ManagerWatch
from ddbd.listen import adopt, bind, take_files
from ddbd.options import Options, choose_node, refuse
from ddbd.raft.types import Membership, NodeId
from ddbd.replica import Replica, World
from ddbd.replica.standby import Standby
from ddbd.storage.directory import DirectoryLock, Identity, open_store, read_identity, write_identity
from ddbd.storage.fence import Fence, fenced, write_fence
from ddbd.turns import Turns, probe
from ddbd.watch.lookout import Lookout
from ddbd.watch.others import Others
from ddbd.web.feed import Feed, Sources
from ddbd.web.pages import Console
from ddbd.web.site import CONSOLE, make_resource, make_site
from ddbd.web.watching import Watch

logger = Logger(namespace="ddbd")

SWITCH_INTERVAL_SECONDS = 0.0005  # a thread that comes back from the disk waits at most so long for the interpreter
ANSWER_SECONDS = 5.0  # how long a node that ends waits for clients to take what they were promised
ANSWER_LOOK_SECONDS = 0.02
GOODBYE_SECONDS = 0.1  # for the last answers to leave before their connections are closed


def makeService(options: Options) -> IService:
    """Raises SystemExit with one sentence for what an operator can mend."""
    try:
        config = load_config(Path(options["config"]))
        node = choose_node(config, options["port"], options["node"])
        options.book.configure(config.log, node.id)
        config = with_connections(config, take_files(config.limits.connections_max))
        sockets = bind(node.bind, node.port)
        data_dir = Path(options["data-dir"] or config.path.parent / "data" / node.id).absolute()
        reactor, notifier = _world_reactor(), Notifier(os.environ.get("NOTIFY_SOCKET", ""))
        daemon = Daemon(reactor, config, node, data_dir, sockets, random.SystemRandom(), notifier)
    except (ConfigError, Fatal) as error:
        refuse(error.detail)
    daemon.book = options.book
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(daemon.reload))
    return LoggedService(daemon, options.open_book())


class LoggedService(MultiService):
    """Brings twistd the observer, as a component of the application that it is put into."""

    def __init__(self, daemon: Service, observer: LogBook | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        daemon.setServiceParent(self)
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]


def with_connections(config: Config, connections: int) -> Config:
    """The config with the limit on connections that this process can keep."""
    if connections == config.limits.connections_max:
        return config
    logger.warn(
        "limits.connections_max is {wanted}, but this process may open files for {fit} connections only (ulimit -n); {fit} are taken",
        wanted=config.limits.connections_max,
        fit=connections,
    )
    return replace(config, limits=replace(config.limits, connections_max=connections))


def _world_reactor() -> Any:
    """The reactor, on monotonic time: a step of the wall clock must neither fire its timers nor freeze them."""
    from twisted.internet import reactor

    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    return reactor


class IdentityFile:
    """The formation's way to the data directory."""

    def __init__(self, path: Path, node_id: NodeId) -> None:
        self._path = path
        self._node_id = node_id

    def read(self) -> Identity | None:
        return read_identity(self._path)

    def write(self, cluster_id: str, life: str, formed: bool, former: tuple[str, ...] = ()) -> Identity:
        identity = Identity.of(cluster_id, self._node_id, life, formed, former)
        write_identity(self._path, identity)
        return identity


class Daemon(Service):
    """Joins the rooms of one node, and takes them apart in the right order."""

    def __init__(
        self,
        reactor: Any,
        config: Config,
        node: Node,
        data_dir: Path,
        sockets: list[socket.socket],
        rng: random.Random,
        notifier: Notifier | None = None,
    ) -> None:
        """Raises ConfigError for a data directory that is in use, or another node's; Corrupt for one that cannot be read."""
        identity = read_identity(data_dir)
        if identity is not None and identity.node_id != node.id:
            raise ConfigError(f"{data_dir}: belongs to node {identity.node_id}, this is node {node.id}; give --data-dir or mend the config")
        self._was_formed = identity is not None and identity.formed
        self._reactor = reactor
        self._config = config
        self._node = node
        self._data_dir = data_dir
        self._sockets = sockets
        self._rng = rng
        self._lock = DirectoryLock(data_dir)
        self._turns: Turns | None = probe(reactor)
        self._when_free = None if self._turns is None else self._turns.when_free
        self._client = peer_client(reactor, config)
        self._peers_resource = RaftResource()  # type: ignore[no-untyped-call]
        self._formation = Formation(reactor, config, node.id, rng, self._client, IdentityFile(data_dir, node.id))
        self._lookout = Lookout(reactor, time.time, self._turns, data_dir, deferToThread)
        metrics = self._lookout.metrics(
            self._status, lambda: self._site.connections, lambda: len(self._feed.tabs), config.limits.disk_reserve_bytes
        )
        self._watch = Watch(self._lookout.meter, self._lookout.sampler.rates, self._lookout.timeline.events, metrics.text)
        console = Console()
        self._standby = Standby(config, node.id)
        self._mounted = {b"raft": self._peers_resource, CONSOLE: console}
        self._site = make_site(self._standby, config, reactor, self._mounted, watch=self._watch, when_free=self._when_free)
        others = self._others = Others(reactor, time.time, config, node.id, self._client, self._status)
        sources = Sources(node.id, self._status, others.rows, others.ask, self._lookout.history, self._lookout.timeline.events)
        self._feed = Feed(reactor, time.time, f"{rng.getrandbits(64):016x}", config.limits.feeds_max, sources)
        console.putChild(b"feed", self._feed)
        self._lookout.tells(self._feed.tell_json)
        self._ports: list[Any] = []
        self._replica: Replica | None = None
        self._streams: Streams | None = None
        self._snapshots: Snapshots | None = None
        self._heartbeat: Heartbeat | None = None
        self._store: Any = None
        self._is_ending = False
        self.book = LogBook()
        self._manager = ManagerWatch(
            reactor, notifier or Notifier(), watchdog_seconds(os.environ, os.getpid()), self._condition, self._failed
        )

    # Coming up.

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(self._take_sigterm)
        self._reactor.callWhenRunning(self._manager.serving)
        self._peers_resource.putChild(b"hello", self._formation.hello_resource)
        self._peers_resource.putChild(b"adopt", self._formation.adopt_resource)
        self._ports = adopt(self._reactor, self._sockets, self._site)
        self._lookout.start()
        self._lookout.timeline.record("node_started", self._node.id, f"node {self._node.id} started", version=ddbd.__version__)
        logger.info(
            "ddbd {version}: node {id} of {count} serves {address}, its data is in {path}",
            version=ddbd.__version__,
            id=self._node.id,
            count=len(self._config.nodes),
            address=self._node.address,
            path=str(self._data_dir),
        )
        if self._config.insecure:
            logger.warn("insecure: everyone who reaches this node can read and write; there are no users and no TLS yet")
        formed = self._formation.start()
        formed.addCallback(self._run)
        formed.addErrback(self._failed)

    def _status(self) -> Status:
        return self._site.api.told_status()  # of the app that serves now

    def _take_sigterm(self) -> None:
        """Twisted ends in order and then dies by the same signal; an operator who asked for an end expects exit status 0."""
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._end))

    def _end(self) -> None:
        """Told twice, the second time says nothing new."""
        if self.running and not self._is_ending:
            self._is_ending = True
            self._reactor.stop()

    def _run(self, identity: Any) -> None:
        founders = Membership.of(self._config.node_ids)
        clock = self._reactor.seconds
        limits = self._config.limits
        if not self._was_formed:
            self._lookout.began(self._node.id, self._config.node_ids, is_founder=not identity.life)
        self._store = open_store(
            self._data_dir, identity, limits, self._reactor, clock, founders=founders, lock=self._lock, progress=self._manager.reading
        )
        args = (self._reactor, self._config, self._node.id, identity.cluster_id, self._rng, self._client)
        snapshots = self._snapshots = Snapshots(*args, blocking=deferToThread)
        past = Past(identity.former, lambda node_id, cluster_id: self._superseded(Fence(cluster_id, node_id)))
        streams = self._streams = Streams(*args, self._receive, self._peer_refused, self._peer_connected, past=past)
        world = World(
            peers=streams,
            carrier=snapshots,
            clock=self._reactor,
            dice=self._rng,
            on_fatal=self._die,
            log_event=lambda text: logger.emit(level_of_text(text), "{text}", text=text),
            turn_seconds=lambda: 0.0 if self._turns is None else self._turns.age(),
            turns=lambda: None if self._turns is None else self._turns.told(),
            happened=self._lookout.timeline.record,
            last_heard=streams.last_heard,
            soon=None if self._turns is None else self._turns.soon,
            when_free=self._when_free,
            give_way=os.sched_yield,
        )
        self._replica = Replica(self._config, self._node.id, self._store, world)
        if outsiders := self._replica.outsiders():
            logger.warn(
                "the cluster was formed without nodes of this config, which get no data and no vote: {ids}", ids=", ".join(outsiders)
            )
        self._peers_resource.putChild(b"stream", streams.resource)
        self._peers_resource.putChild(b"snapshot", snapshots.resource)
        self._lookout.replica = self._replica
        root, api = make_resource(self._replica, self._reactor, self._mounted, watch=self._watch, when_free=self._when_free)
        self._site.serve(root, api)
        streams.start()
        self._heartbeat = Heartbeat(self._reactor, self._config.timing.tick_ms, self._replica.tick, self._failed)
        self._heartbeat.start()

    def _receive(self, message: Any) -> None:
        if self._replica is not None:
            self._replica.receive(message)

    def _peer_refused(self, peer: NodeId) -> None:
        if self._replica is not None:
            self._replica.peer_refused(peer)

    def _peer_connected(self, peer: NodeId) -> None:
        if self._replica is not None:
            self._replica.peer_connected(peer)

    # Another config.

    def reload(self) -> None:
        """SIGHUP. All of the file or nothing of it; the node goes on either way."""
        if not self.running or self._is_ending:
            return
        self._manager.reloading()
        try:
            self._read_config_again()
        finally:
            self._manager.reloaded()

    def _read_config_again(self) -> None:
        try:
            config = load_config(self._config.path)  # some kilobytes of a local file: a thread would only add its own ways to go wrong
            config = with_connections(config, take_files(config.limits.connections_max))
            changed = changes(self._config, config, self._node.id)
        except ConfigError as error:
            logger.error("SIGHUP: the config of before goes on: {detail}", detail=error.detail)
        else:
            self._reconfigure(config)
            logger.info("SIGHUP: the config was read again; changed: {changed}", changed=", ".join(changed) or "nothing")

    def _reconfigure(self, config: Config) -> None:
        self._config = self._standby.config = config
        self._node = config.node(self._node.id)
        self.book.configure(config.log, self._node.id)
        self._site.reconfigure(config, self._node)
        for room in (self._formation, self._streams, self._snapshots, self._replica, self._others):
            if room is not None:
                room.reconfigure(config)

    def _condition(self) -> Condition:
        """Looked at each second, so what else is done now and then is done here."""
        self.book.tell_left_out()
        replica, count = self._replica, len(self._config.nodes)
        if replica is None:
            return Condition("learner", count, 0, 0, self._standby.unready_reason())
        return Condition(replica.role, count, replica.term, replica.applied_index, replica.unready_reason())

    # The end.

    def _superseded(self, fence: Fence) -> None:
        """Two nodes of before could be a majority: this one ends at once, and for good."""
        try:
            write_fence(self._data_dir, fence)
        except Fatal as error:
            self._die(error)
        self._die(ConfigError(fenced(self._data_dir, fence)))

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) and not self.running:
            return
        if isinstance(failure.value, Superseded):
            self._superseded(Fence(failure.value.cluster_id, failure.value.node_id))
        self._die(failure.value or Fatal("a failure without a reason"))

    def _die(self, error: BaseException) -> None:
        """One clear line, and no step more: what the disk holds is read again by the next process."""
        detail = error.detail if isinstance(error, Fatal | ConfigError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, Fatal | ConfigError):
            logger.failure("a broken invariant", Failure(error))
        logger.critical("ddb: node {id} stops: {detail}", id=self._node.id, detail=detail)
        self.book.drain()
        os._exit(1)

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        logger.info("node {id} ends: it hands leadership over, and answers who waits", id=self._node.id)
        self._manager.stopping()
        self._formation.stop()
        self._lookout.stop()
        self._feed.stop()
        self._site.stopping = True
        # The port stays open while leadership is handed over: nobody may take a node that still leads for dead.
        if self._replica is not None:
            await self._replica.drain()
        await gatherResults([port.stopListening() for port in self._ports])
        until = self._reactor.seconds() + ANSWER_SECONDS
        while self._site.is_answering() and self._reactor.seconds() < until:
            await deferLater(self._reactor, ANSWER_LOOK_SECONDS, lambda: None)
        await deferLater(self._reactor, GOODBYE_SECONDS, lambda: None)
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._replica is not None:
            self._replica.halt()
        if self._streams is not None:
            await self._streams.stop()
        if self._store is not None:
            self._store.close()
        else:
            self._lock.release()
        self._manager.stop()
        logger.info("node {id} has stopped", id=self._node.id)
