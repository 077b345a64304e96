"""The composition root: the one place that knows all the parts of a node (architecture A1.4).

Order matters at both ends of a life. Going up: the record and the secrets are read, every port is bound, the
core begins to live, and only then the Java side warms up, so that a node votes and follows long before it can
run a program; whatever fails on the way takes everything down again and is told in one line. Going down
(W10): a gateway's port closes first, and who is connected may still ask; then the core hands over and drains,
and when it says `Stopped` (or the drain timeout passed) answers are flushed, and programs, channels and
sockets go.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import SystemRandom
from types import MappingProxyType
from typing import Any

import attrs

from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure

from cluster import tokens as tokens_file
from cluster.config import NodeConfig
from cluster.core.effects import Level
from cluster.core.events import CapacityChanged, RunnerDescribed, RunnerTroubled, StopRequested
from cluster.core.node import NodeCore
from cluster.core.record import Record
from cluster.core.views import NodeSettings, facts_of
from cluster.errors import ClusterError, EnvironmentFault
from cluster.gateway.access import access_of
from cluster.gateway.app import gateway_resource, node_resource
from cluster.gateway.compat.callbacks import Callbacks
from cluster.gateway.parts import NodeParts
from cluster.gateway.relay import Requests
from cluster.gateway.site import BoundedSite, make_site
from cluster.gateway.view import ClusterView, view_of
from cluster.gateway_parts import gateway_parts
from cluster.identity import Boot, NodeId, Role, voters_hash
from cluster.java.runner import JavaRunner
from cluster.java.sandbox import SandboxReport
from cluster.limits import JOINED_MAX
from cluster.net.addresses import Addresses, is_literal
from cluster.net.channels import Channels, endpoints_of
from cluster.net.datagram import DatagramPort
from cluster.net.descriptors import joined_of, slots_of, within_descriptors
from cluster.net.driver import Driver, Ports
from cluster.net.flood import FloodGuard
from cluster.net.listening import listen
from cluster.net.reactor import now, unix_seconds
from cluster.net.store import RecordStore
from cluster.net.tls import Identity, certificate_ends, contexts, load_keyring, require_identity
from cluster.runs import NoRuns, RunnerRuns
from cluster.telemetry.logs import RECEIVED, SENT, LogObserver, NodeLogs
from cluster.telemetry.metrics import Metrics, Reading
from cluster.telemetry.notify import Notifier
from cluster.telemetry.readings import (
    access_readings,
    callback_readings,
    http_readings,
    java_readings,
    loop_readings,
    machine_readings,
    readings_of,
    traffic_readings,
)
from cluster.wire.messages import Datagram
from cluster.wire.sealing import Opener, Sealer

DRAIN_GRACE_S = 2.0
"""Beyond the core's own drain timeout, before the node stops without its consent."""

HTTP = "http"
"""The name under which the service manager keeps a gateway's port while it is restarted."""

JOB_ID_BYTES = 16


def start(
    config: NodeConfig,
    reactor: Any,  # noqa: ANN401  (every reactor interface)
    kept: Mapping[str, int],
) -> Deferred[None]:
    """Run one node; `kept` are the sockets that a service manager held for it, by name (`kept_sockets`).

    Returns:
        Fires when the node has stopped, after SIGTERM or SIGINT. Fails with EnvironmentFault or ConfigError
        when it can't start, everything taken down again.
    """
    return Node(config, reactor, kept).start()


class Node:
    """One node's parts, and the order in which they come and go."""

    _log = Logger()

    def __init__(
        self,
        config: NodeConfig,
        reactor: Any,  # noqa: ANN401  (every reactor interface)
        kept: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Nothing is opened before `start`."""
        self._config = config
        self._reactor = reactor
        self._me = NodeId(config.node)
        self._kept = kept
        self._ended: Deferred[None] = Deferred()
        self._http: list[IListeningPort] = []
        self._stopping = False
        self._core_stopped: Deferred[None] = Deferred()
        self._opened: list[tuple[str, Any]] = []
        self._weak_sandbox: bool | None = None
        self._site: BoundedSite | None = None
        self._callbacks: Callbacks | None = None

    # --- going up -----------------------------------------------------------------------------------

    def start(self) -> Deferred[None]:
        """See the module's `start`."""
        try:
            self._open()
        except Exception:  # noqa: BLE001  (told by the Deferred, whatever it is)
            self._take_down(Failure())
            return self._ended
        self._reactor.addSystemEventTrigger("before", "shutdown", self.stop)
        if (runner := self._runner) is not None:
            runner.start().addCallbacks(
                lambda report: self._runner_started(runner, report), self._runner_failed
            )
        return self._ended

    def _open(self) -> None:
        """Read what must be there, bind every port, begin to live."""
        config, reactor, me = self._config, self._reactor, self._me
        self._logs = NodeLogs(config.log, reactor, unix_seconds, sys.stdout)
        self._opened.append(("logs", self._logs.close))
        observer = LogObserver(self._logs)
        globalLogPublisher.addObserver(observer)
        self._opened.append(("observer", lambda: globalLogPublisher.removeObserver(observer)))
        store = RecordStore(Path(config.state_directory), reactor)
        self._opened.append(("store", store.close))
        record = store.load(config.cluster, me, voters_hash(config.cluster, config.voters))
        self._runner = self._make_runner()
        core = self._make_core(record)
        self._core = core
        self._certificate_ends = certificate_ends(config.tls)
        self._requests = Requests(self._feed, lambda: secrets.token_hex(JOB_ID_BYTES))
        self._metrics = Metrics(self._readings)
        self._access = access_of(config.gateway, lambda: now(reactor))
        self._datagrams = self._make_datagrams(Boot(record.boot))
        self._channels = self._make_channels()
        runs = RunnerRuns(self._runner) if self._runner is not None else NoRuns()
        self._driver = Driver(
            core,
            reactor,
            Ports(
                datagrams=self._datagrams,
                channels=self._channels,
                store=store,
                runs=runs,
                answer=self._requests.answered,
                log=lambda effect: self._logs.write(effect.level, effect.text),
                stopped=self._on_core_stopped,
                show=self._requests.show,
            ),
        )
        if isinstance(runs, RunnerRuns):
            runs.driver = self._driver
        self._notifier = Notifier.from_environment(os.environ, reactor)
        self._opened.append(("notifier", self._notifier.close))
        self._bind()
        self._opened.append(("driver", self._driver.stop))
        self._driver.start()
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(self._reread_keys))
        self._notifier.ready()

    def _make_core(self, record: Record) -> NodeCore:
        facts = facts_of(self._config, record.boot)
        return NodeCore(NodeSettings.of(self._config), record, facts, SystemRandom(), now(self._reactor))

    def _make_runner(self) -> JavaRunner | None:
        config = self._config
        if config.me.role is Role.GATEWAY:
            return None
        runner = JavaRunner(
            self._reactor,
            config.java,
            config.sandbox,
            Path(config.state_directory),
            slots_of(config),
            config.limits,
            lambda slots: self._feed(CapacityChanged(slots)),
            self._feed,
            lambda trouble: self._feed(RunnerTroubled(trouble)),
        )
        self._opened.append(("runner", runner.stop))
        return runner

    def _make_datagrams(self, boot: Boot) -> DatagramPort:
        config, me = self._config, self._me
        keyring = load_keyring(Path(config.key_file))
        members = [NodeId(member.id) for member in config.members]
        hosts = {NodeId(member.id): member.host for member in config.members}
        addresses = Addresses(self._reactor, hosts, self._reactor.resolve)
        self._opened.append(("addresses", addresses.stop))
        addresses.start()
        ports = {NodeId(member.id): member.udp for member in config.members}

        def configured() -> Iterator[tuple[str, int]]:
            return ((host, port) for node, port in ports.items() if (host := addresses.get(node)) is not None)

        return DatagramPort(
            self._reactor,
            me,
            ports,
            addresses,
            Sealer(keyring, config.cluster, me, boot),
            Opener(keyring, config.cluster, me, members, JOINED_MAX),
            FloodGuard(self._reactor, config.cluster, me, configured),
            self._feed,
            self._traffic,
        )

    def _make_channels(self) -> Channels:
        config = self._config
        require_identity(config.tls, Identity(config.cluster, config.me.role, self._me))
        peers = [member for member in config.members if member.role is Role.PEER]
        return Channels(
            self._reactor,
            config.cluster,
            self._me,
            endpoints_of(self._reactor, peers),
            frozenset(NodeId(member.id) for member in config.members),
            contexts(config.tls),
            SystemRandom(),
            self._feed,
            joined_of(config),
        )

    def _bind(self) -> None:
        """Every port, before anything is said: a taken one ends the start with its name."""
        config = self._config
        member = config.me
        host = config.listen or member.host
        if not is_literal(host):
            raise EnvironmentFault(
                f"this node can't bind to the name `{host}`: give its IP address as $.listen in node.yml"
            )
        self._opened.append(("datagrams", self._datagrams.stop))
        self._datagrams.listen(host, member.udp)
        self._opened.append(("channels", self._channels.stop))
        if member.tcp and member.role is Role.PEER:
            self._channels.listen(host, member.tcp)
        if member.http:
            self._listen_http(host, member.http)

    def _listen_http(self, host: str, port: int) -> None:
        config = self._config
        parts = NodeParts(self.view, self._logs, self._metrics.exposition, self._metrics, self._reactor)
        resource = node_resource(parts)
        if config.me.role is Role.GATEWAY:
            gateway = gateway_parts(self._requests, self._access, config, self._reactor, self._opened)
            resource = gateway_resource(parts, gateway)
            self._callbacks = gateway.callbacks
        bounds, told = within_descriptors(config), self._metrics.responded
        asked = (resource.unwelcome, resource.aside, resource.tenant)
        self._site = site = make_site(resource, bounds, self._reactor, told, *asked)
        listening, kept = listen(self._reactor, host, port, site, self._kept.get(HTTP))
        if not kept and config.me.role is Role.GATEWAY:
            self._notifier.forget(HTTP)
            self._notifier.keep(HTTP, listening.fileno())  # type: ignore[attr-defined]  # (any TCP port's)
        self._http.append(listening)
        self._opened.append(("http", self._close_http))

    def _runner_started(self, runner: JavaRunner, report: SandboxReport) -> None:
        self._logs.write(Level.SUMMARY, f"{self._me}: {report.text}")
        self._weak_sandbox = not (report.namespaces and report.seccomp)
        self._feed(RunnerDescribed(runner.java_version, report.level))

    def _runner_failed(self, failure: Failure) -> None:
        if not self._stopping:  # a runner that is stopped while it warms up fails, and that is no news
            self._take_down(failure)

    # --- while it lives -----------------------------------------------------------------------------

    def _reread_keys(self) -> None:
        """SIGHUP: take keys and tokens from their files again (X1, H9); a bad file changes nothing."""
        self._reread("keys", lambda: self._datagrams.rekey(load_keyring(Path(self._config.key_file))))
        if name := self._config.gateway.tokens_file:
            self._reread("tokens", lambda: self._access.replace(tokens_file.load(Path(name))))

    def _reread(self, what: str, read: Callable[[], None]) -> None:
        try:
            read()
        except ClusterError as error:
            text = "; ".join(str(error).splitlines())
            self._logs.write(Level.SUMMARY, f"{self._me}: {what} not read again: {text}")
        else:
            self._logs.write(Level.SUMMARY, f"{self._me}: {what} read again")

    def _feed(self, event: Any) -> None:  # noqa: ANN401  (every event)
        """To the driver; what comes before it exists (nothing does) or after it stopped is dropped there."""
        self._driver.feed(event)

    def _traffic(self, direction: str, peer: NodeId, message: Datagram) -> None:
        self._logs.traffic(SENT if direction == "sent" else RECEIVED, peer, message)

    def view(self) -> ClusterView:
        """The cluster as this node sees it now."""
        snapshot = self._core.snapshot(now(self._reactor))
        return view_of(snapshot, self._config.cluster, self._config.members)

    def _readings(self) -> Iterator[Reading]:
        yield from readings_of(self._core.snapshot(now(self._reactor)))
        yield from loop_readings(self._driver.lag_s, self._driver.lag_max_s, self._driver.counters)
        yield from traffic_readings(
            {
                "sent": self._datagrams.sent,
                "received": self._datagrams.received,
                "dropped": self._datagrams.all_dropped(),
                "failed": self._datagrams.failed,
                "frames": self._channels.frames,
                "frames_dropped": self._channels.dropped,
                "channel_faults": self._channels.faults,
            }
        )
        if self._site is not None:
            yield from http_readings(self._site.connections, self._site.evicted, self._site.body_bytes)
        if self._config.me.role is Role.GATEWAY:
            yield from access_readings(len(self._access), self._access.counters)
        if self._callbacks is not None:
            yield from callback_readings(self._callbacks.results)
        yield from machine_readings(self._certificate_ends, self._weak_sandbox)
        if self._runner is not None:
            yield from java_readings(attrs.asdict(self._runner.snapshot()))

    # --- going down ---------------------------------------------------------------------------------

    def _on_core_stopped(self) -> None:
        if not self._core_stopped.called:
            self._core_stopped.callback(None)

    @inlineCallbacks
    def stop(self) -> Any:  # noqa: ANN401  (a generator of Deferreds)
        """Drain and stop (W10); the reactor waits for this before it ends."""
        if self._stopping:
            return
        self._stopping = True
        self._notifier.stopping()
        if self._config.me.role is Role.GATEWAY:
            yield self._close_http()
            if self._site is not None:
                yield self._site.leave()
        self._driver.feed(StopRequested())
        patience = self._config.work.drain_s + DRAIN_GRACE_S
        late = self._reactor.callLater(patience, self._on_core_stopped)
        yield self._core_stopped
        if late.active():
            late.cancel()
        if self._site is not None:
            yield self._site.flush()
        yield self._close_all()
        self._end(None)

    def _take_down(self, failure: Failure) -> None:
        """The node can't live: close what is open, and say why."""
        self._stopping = True
        self._close_all().addBoth(lambda _closed: self._end(failure))

    @inlineCallbacks
    def _close_all(self) -> Any:  # noqa: ANN401
        """Everything that was opened, the newest first; a part that fails to close holds up no other."""
        while self._opened:
            name, close = self._opened.pop()
            try:
                yield maybeDeferred(close)
            except Exception:  # noqa: BLE001
                self._log.failure("closing {name} failed", name=name)

    def _close_http(self) -> Deferred[Any]:
        ports, self._http = self._http, []
        return maybeDeferred(ports[0].stopListening) if ports else maybeDeferred(lambda: None)

    def _end(self, failure: Failure | None) -> None:
        if self._ended.called:
            return
        if failure is None:
            self._ended.callback(None)
        else:
            self._ended.errback(failure)
