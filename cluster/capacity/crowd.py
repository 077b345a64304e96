"""Stand-in workers, cheap enough that a hundred of them leave a small machine to the leader.

A hundred whole nodes in one process spend its processor on gossip among themselves, which a real cluster
spends on a hundred machines. So a stand-in is what its leader and its gateway can see of a worker, and
nothing else: a channel of its own over mutual TLS, a UDP port of its own with sealed datagrams, HELLO,
answers to pings and orders. Its rounds of gossip go to the nodes outside the crowd as often as chance would
bring them there (`fanout` rounds an interval each), and carry the whole table; what stand-ins would tell each
other they know already, as they share one table.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any

from cluster.capacity.outcome import OUTCOME
from cluster.config import NodeConfig
from cluster.core.events import ChannelOpened, DatagramArrived, Event, FrameArrived
from cluster.core.facts import FactsStore
from cluster.core.gossip_round import RowWindow, datagrams
from cluster.core.hello import Terms
from cluster.core.membership import PUSHED_MAX, PUSHED_ROUNDS
from cluster.core.quorum import Electorate
from cluster.core.views import NodeSettings
from cluster.identity import NO_EPOCH, Boot, Epoch, NodeId, Role, voters_hash
from cluster.net.addresses import Addresses
from cluster.net.channels import Channels, endpoints_of
from cluster.net.datagram import DatagramPort
from cluster.net.flood import FloodGuard
from cluster.net.store import RecordStore
from cluster.net.tls import contexts, load_keyring
from cluster.wire.jobs import Outcome
from cluster.wire.messages import (
    Assign,
    AttemptKey,
    FactsWanted,
    Finished,
    Frame,
    Gossip,
    GossipEntry,
    Heartbeat,
    NodeFacts,
    Ping,
    Pong,
)
from cluster.wire.sealing import Opener, Sealer


class Crowd:
    """All stand-ins of one process, and the one table of gossip that they share."""

    def __init__(self, configs: list[NodeConfig], reactor: Any) -> None:  # noqa: ANN401
        """Nothing is opened before `start`."""
        self._reactor = reactor
        self._gossip = configs[0].gossip
        self.members = [StandInWorker(config, reactor, self) for config in configs]
        self._by_node = {int(member.me): member for member in self.members}
        self._outside = [NodeId(m.id) for m in configs[0].members if m.id not in self._by_node]
        self._heard: dict[NodeId, GossipEntry] = {}
        self._heartbeat = 0
        self._window = RowWindow()
        self._turns = itertools.cycle(self.members)
        self.facts = FactsStore(self.members[0].facts)
        for member in self.members[1:]:
            self.facts.accept(member.facts)

    def start(self) -> None:
        """Open every port, and begin to gossip."""
        for member in self.members:
            member.start()
        self._round()

    def heard(self, entry: GossipEntry) -> None:
        """A node outside spoke for itself: passed on to the others outside, without its facts."""
        self._heard[NodeId(entry.node)] = GossipEntry(entry.node, entry.boot, entry.heartbeat, 0)

    def row(self, member: StandInWorker) -> GossipEntry:
        """What this stand-in says of itself."""
        return GossipEntry(member.me, member.boot, self._heartbeat, member.facts.version)

    def round(self, member: StandInWorker, *, ask: bool) -> Sequence[Gossip]:
        """One round of `member` to one node: as many datagrams as a real node would send."""
        rows = [*(self.row(other) for other in self.members if other is not member), *self._heard.values()]
        rows.sort(key=lambda row: row.node)
        whole = datagrams(self.row(member), rows, self._gossip.interval_s, ask=ask)
        return self._window.share(whole, max(1, PUSHED_MAX // self._gossip.fanout))

    def reply(self, member: StandInWorker, entries: Sequence[GossipEntry]) -> Sequence[Gossip]:
        """What `member` knows better than a node outside who said this (G1)."""
        others = len(self.members) - 1 + len(self._heard)
        if others <= PUSHED_ROUNDS * self._gossip.fanout:
            return ()
        rows = [row for entry in entries if (row := self._newer(entry)) and row.node != member.me]
        rows.sort(key=lambda row: row.node)
        return datagrams(self.row(member), rows, self._gossip.interval_s, reply=True)[:1] if rows else ()

    def _newer(self, entry: GossipEntry) -> GossipEntry | None:
        known = self._by_node.get(entry.node)
        row = self._heard.get(NodeId(entry.node)) if known is None else self.row(known)
        return row if row is not None and (row.boot, row.heartbeat) > (entry.boot, entry.heartbeat) else None

    def _round(self) -> None:
        self._reactor.callLater(self._gossip.interval_s, self._round)
        self._heartbeat += 1
        for node in self._outside:
            for _ in range(self._gossip.fanout):
                next(self._turns).gossip_to(node)


class StandInWorker:
    """One worker's voice: it runs nothing, and every job has ended when it comes."""

    def __init__(self, config: NodeConfig, reactor: Any, crowd: Crowd) -> None:  # noqa: ANN401
        """Nothing is opened before `start`; only the record is read, and its boot raised."""
        settings = NodeSettings.of(config)
        self.me = settings.me
        self._config = config
        self._crowd = crowd
        store = RecordStore(Path(config.state_directory), reactor)
        self.boot = Boot(store.load(config.cluster, self.me, voters_hash(config.cluster, config.voters)).boot)
        store.close()
        self._slots = config.work.slots
        self.facts = NodeFacts(
            node=self.me, boot=self.boot, version=1, role=Role.WORKER, slots=self._slots, java="stand-in"
        )
        electorate = Electorate.of(config.cluster, settings.voters)
        self._terms = Terms(config.cluster, self.me, Role.WORKER, settings.timing_digest, electorate)
        self._epoch = NO_EPOCH
        self._datagrams = self._make_datagrams(reactor)
        self._channels = Channels(
            reactor,
            config.cluster,
            self.me,
            endpoints_of(reactor, [member for member in config.members if member.role is Role.PEER]),
            frozenset(NodeId(member.id) for member in config.members),
            contexts(config.tls),
            SystemRandom(),
            self._feed,
        )
        self.outcome = Outcome(OUTCOME.verdict, runs=OUTCOME.runs, worker=self.me)

    def _make_datagrams(self, reactor: Any) -> DatagramPort:  # noqa: ANN401
        config = self._config
        keyring = load_keyring(Path(config.key_file))
        members = [NodeId(member.id) for member in config.members]
        hosts = {NodeId(member.id): member.host for member in config.members}
        return DatagramPort(
            reactor,
            self.me,
            {NodeId(member.id): member.udp for member in config.members},
            Addresses(reactor, hosts, reactor.resolve),
            Sealer(keyring, config.cluster, self.me, self.boot),
            Opener(keyring, config.cluster, self.me, members, 0),
            FloodGuard(reactor, config.cluster, self.me),
            self._feed,
        )

    def start(self) -> None:
        """Listen for the leader's heartbeats."""
        self._datagrams.listen(self._config.me.host, self._config.me.udp)

    def gossip_to(self, node: NodeId, *, ask: bool = False) -> None:
        """One round's share of one node."""
        for part in self._crowd.round(self, ask=ask):
            self._datagrams.send(node, part)

    def _feed(self, event: Event) -> None:
        match event:
            case DatagramArrived(sender=sender, message=message):
                self._heard(sender, message)
            case ChannelOpened(channel=channel):
                self._channels.send(channel, self._hello())
            case FrameArrived(channel=channel, frame=frame):
                self._ordered(channel, frame)
            case _:
                pass

    def _heard(self, sender: NodeId, message: object) -> None:
        match message:
            case Heartbeat(epoch=epoch) if epoch > self._epoch:
                self._epoch = Epoch(epoch)
                self._channels.dial(sender)
            case Gossip(entries=entries, ask=ask, reply=reply) if entries:
                self._crowd.heard(entries[0])
                if ask or any(entry.node == self.me and entry.suspected for entry in entries):
                    self._datagrams.send(sender, Gossip((self._crowd.row(self),)))
                elif not reply:
                    for part in self._crowd.reply(self, entries):
                        self._datagrams.send(sender, part)
            case FactsWanted() if (delta := self._crowd.facts.delta(message)) is not None:
                self._datagrams.send(sender, delta)
            case _:
                pass

    def _hello(self) -> Frame:
        return self._terms.hello(
            boot=self.boot,
            epoch=self._epoch,
            slots=self._slots,
            java=self.facts.java,
            running=(),
            kept=(),
            draining=False,
        )

    def _ordered(self, channel: int, frame: Frame) -> None:
        match frame:
            case Assign(epoch=epoch, attempt=attempt, job=job):
                key = AttemptKey(job.id, epoch, attempt)
                self._channels.send(channel, Finished(key, self.outcome))
            case Ping(nonce=nonce):
                self._channels.send(channel, Pong(nonce))
            case _:
                pass
