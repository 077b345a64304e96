"""A small deterministic world for whole node cores: virtual time, a lossy network, slow disks, stand-in runs.

Datagrams may be lost, delayed and cut by direction; channels are ordered and reliable until cut or crashed;
a record is durable after `disk_s`; a job whose source is `sleep S` runs for S seconds. Every message
goes through the real codec. After each event the core's own invariants and those of the cluster are checked:
one leader an epoch (I1), one may act at once (I6), persist before send (I2), one answer a request (I10).
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import attrs
import msgspec

from cluster.config import CacheSettings, GatewaySettings, GossipSettings, TimingSettings, WorkSettings
from cluster.core import effects as fx
from cluster.core import events as ev
from cluster.core.node import NodeCore
from cluster.core.record import Record
from cluster.core.views import NodeSettings
from cluster.identity import Boot, NodeId, Role, voters_hash
from cluster.wire.codec import decode_datagram, decode_frame, encode_datagram, encode_frame
from cluster.wire.jobs import Input, Outcome, Program, Run, Source, Verdict
from cluster.wire.messages import Datagram, Frame, NodeFacts, Promise

EPOCH_ZERO = 1_000_000.0
"""Virtual seconds at which the world begins: nothing may rely on small clocks."""


SPIN_MAX = 20_000
"""Events at one instant; more, and some deadline is never met."""


@attrs.define
class Disk:
    """What survives a crash."""

    record: Record
    failing: bool = False
    writes: int = 0
    busy_until: float = 0.0


@attrs.define
class Link:
    """One channel: both ends, and frames on their way in order."""

    dialler: NodeId
    listener: NodeId
    ends: dict[NodeId, int]
    open: bool = True
    lost: bool = False
    last_at: float = 0.0


@attrs.frozen
class Sent:
    """One datagram that a core decided to send, whatever became of it."""

    at: float
    sender: NodeId
    to: NodeId
    message: Datagram


@attrs.define
class Life:
    """One life of a node."""

    core: NodeCore
    boot: Boot
    wakes_at: float | None = None
    sequence: int = 0
    dialling: NodeId | None = None
    running: dict[str, int] = attrs.Factory(dict)
    frozen_until: float = 0.0


class World:
    """Whole cores, driven by virtual time; the same seed gives the same history."""

    def __init__(
        self,
        peers: int,
        *,
        gateways: int = 1,
        seed: int = 1,
        loss: float = 0.0,
        delay_s: tuple[float, float] = (0.0002, 0.001),
        disk_s: tuple[float, float] = (0.0005, 0.002),
        new: bool = False,
        slots: int = 2,
        work: WorkSettings | None = None,
        timing: TimingSettings | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.now = EPOCH_ZERO
        self.loss = loss
        self.delay_s = delay_s
        self.disk_s = disk_s
        self.slots = slots
        self.timing = timing or TimingSettings()
        self.work = work or WorkSettings()
        self.peers = [NodeId(i) for i in range(1, peers + 1)]
        self.gateways = [NodeId(100 + i) for i in range(gateways)]
        self.joined: list[NodeId] = []
        self.cluster = "world"
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._idle = 0
        self._ids = itertools.count(1)
        self.lives: dict[NodeId, Life] = {}
        self.disks: dict[NodeId, Disk] = {}
        self.links: dict[tuple[NodeId, int], Link] = {}
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.cut_datagrams: set[tuple[NodeId, NodeId]] = set()
        self.answers: dict[int, fx.Answer] = {}
        self.asked: dict[int, NodeId] = {}
        self.runs: dict[str, int] = defaultdict(int)
        self.led: dict[int, tuple[NodeId, Boot]] = {}
        self.logs: list[tuple[float, NodeId, str]] = []
        self.stopped: list[NodeId] = []
        self.sent: list[Sent] = []
        self.repeated: list[tuple[NodeId, str]] = []
        self.shown: list[fx.ShowProgress] = []
        for node in [*self.peers, *self.gateways]:
            self.disks[node] = Disk(self.fresh_record(node, may_vote=not new))
        for node in [*self.peers, *self.gateways]:
            self.start(node)

    # --- nodes ------------------------------------------------------------------------------------------

    def role(self, node: NodeId) -> Role:
        if node in self.joined:
            return Role.WORKER
        return Role.PEER if node in self.peers else Role.GATEWAY

    def join(self, node: NodeId) -> None:
        """A worker that is in nobody's member list starts; it knows all the others."""
        self.joined.append(node)
        self.disks[node] = Disk(self.fresh_record(node, may_vote=False))
        self.start(node)

    def fresh_record(self, node: NodeId, *, may_vote: bool) -> Record:
        hashed = voters_hash(self.cluster, self.peers)
        return Record(self.cluster, node, hashed, boot=0, may_vote=may_vote and node in self.peers)

    def settings(self, node: NodeId) -> NodeSettings:
        everybody = [*self.peers, *self.gateways]
        return NodeSettings(
            cluster=self.cluster,
            me=node,
            role=self.role(node),
            voters=tuple(self.peers),
            members=tuple(n for n in everybody if n != node),
            workers=tuple(n for n in self.peers if n != node),
            timing=self.timing,
            gossip=GossipSettings(),
            work=self.work,
            gateway=GatewaySettings(),
            cache=CacheSettings(),
            timing_digest="same",
        )

    def start(self, node: NodeId) -> None:
        """A new life: the boot is durable before anything is sent (N3)."""
        disk = self.disks[node]
        boot = max(disk.record.boot + 1, int(self.now))
        disk.record = msgspec.structs.replace(disk.record, boot=boot)
        facts = NodeFacts(node, boot, 1, self.role(node))
        rng = random.Random(self.rng.getrandbits(64))
        core = NodeCore(self.settings(node), disk.record, facts, rng, self.now)
        life = Life(core, Boot(boot))
        self.lives[node] = life
        self._perform(node, life, core.start(self.now))
        if self.role(node) is not Role.GATEWAY:
            self.feed(node, ev.CapacityChanged(self.slots))

    def crash(self, node: NodeId) -> None:
        """The process is gone; its peers' channels break at once, as loopback does."""
        self.lives.pop(node)
        for link in list(self.links.values()):
            if link.open and node in link.ends:
                self._break(link, "reset")

    def freeze(self, node: NodeId, seconds: float) -> None:
        """SIGSTOP, then SIGCONT: nothing is processed meanwhile, everything comes at once afterwards."""
        self.lives[node].frozen_until = self.now + seconds

    def stop(self, node: NodeId) -> None:
        self.feed(node, ev.StopRequested())

    # --- time -------------------------------------------------------------------------------------------

    def at(self, moment: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(moment, self.now), next(self._order), action))

    def run(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, done: Callable[[], bool], within: float) -> bool:
        """Until `done`, or `within` seconds have passed; whether it was done."""
        end = self.now + within
        while self._queue and self._queue[0][0] <= end:
            if done():
                return True
            moment, _, action = heapq.heappop(self._queue)
            self._idle = self._idle + 1 if moment == self.now else 0
            assert self._idle < SPIN_MAX, f"time stands still: {self.deadlines()}"
            self.now = moment
            action()
        finished = done()
        if not finished:
            self.now = end
        return finished

    # --- events in, effects out -------------------------------------------------------------------------

    def feed(self, node: NodeId, event: ev.Event) -> None:
        life = self.lives.get(node)
        if life is None:
            return
        if self.now < life.frozen_until:
            self.at(life.frozen_until, lambda: self._feed_life(node, life, event))
            return
        self._perform(node, life, life.core.receive(event, self.now))

    def _feed_life(self, node: NodeId, life: Life, event: ev.Event) -> None:
        if self.lives.get(node) is life:
            self.feed(node, event)

    def _perform(self, node: NodeId, life: Life, effects: fx.Effects) -> None:
        for effect in effects:
            self._perform_one(node, life, effect)
        self._check(node, life)
        self._arm(node, life)

    def _arm(self, node: NodeId, life: Life) -> None:
        deadline = life.core.next_deadline()
        life.wakes_at = deadline
        if deadline is not None:
            self.at(max(deadline, life.frozen_until), lambda: self._wake(node, life, deadline))

    def _wake(self, node: NodeId, life: Life, deadline: float) -> None:
        if self.lives.get(node) is not life or life.wakes_at != deadline:
            return
        if self.now < life.frozen_until:
            self.at(life.frozen_until, lambda: self._wake(node, life, deadline))
            return
        self._perform(node, life, life.core.tick(self.now))

    def _perform_one(self, node: NodeId, life: Life, effect: fx.Effect) -> None:
        match effect:
            case fx.Send():
                self.sent.append(Sent(self.now, node, effect.to, effect.message))
                self._send(node, life, effect)
            case fx.SendFrame():
                self._send_frame(node, effect.channel, effect.frame)
            case fx.Persist():
                self._persist(node, life, effect)
            case fx.Dial():
                life.dialling = effect.to
                self.at(self.now + 0.002, lambda: self._dial(node, life, effect.to))
            case fx.HangUp():
                life.dialling = None
                self._close_where(node, lambda link: link.dialler == node, effect.reason)
            case fx.Close():
                channel = effect.channel
                self._close_where(node, lambda link: link.ends.get(node) == channel, effect.reason)
            case fx.StartRun():
                self._start_run(node, life, effect)
            case fx.StopRun():
                if effect.job in life.running:
                    life.running.pop(effect.job)
                    outcome = Outcome(Verdict.CANCELLED)
                    self.at(
                        self.now + 0.01,
                        lambda: self._feed_life(node, life, ev.RunFinished(effect.job, outcome)),
                    )
            case fx.Answer() | fx.RepeatProgress() | fx.ShowProgress() | fx.Log():
                self._note(node, effect)
            case fx.Stopped():
                self.stopped.append(node)
                self.crash(node)

    def _note(self, node: NodeId, effect: fx.Answer | fx.RepeatProgress | fx.ShowProgress | fx.Log) -> None:
        match effect:
            case fx.Answer():
                assert effect.request not in self.answers, "one answer a request (I10)"
                self.answers[effect.request] = effect
            case fx.RepeatProgress():
                self.repeated.append((node, effect.job))
            case fx.ShowProgress():
                self.shown.append(effect)
            case fx.Log():
                self.logs.append((self.now, node, effect.text))

    def _send(self, node: NodeId, life: Life, effect: fx.Send) -> None:
        durable = self.disks[node].record
        if isinstance(effect.message, Promise):
            assert durable.accepted >= effect.message.epoch, "persist before send (I2)"
            assert not life.core.authority.leadership.leading, "who promises another is not in office (L1)"
        life.sequence += 1
        if (node, effect.to) in self.cut or self.rng.random() < self.loss:
            return
        message = decode_datagram(encode_datagram(effect.message))
        event = ev.DatagramArrived(node, life.boot, life.sequence, message)
        self.at(self.now + self.rng.uniform(*self.delay_s), lambda: self._deliver(node, effect.to, event))

    def forge(self, sender: NodeId, to: NodeId, message: Datagram) -> None:
        """A datagram that `sender`'s core never decided to send."""
        self._send(sender, self.lives[sender], fx.Send(to, message))

    def _deliver(self, sender: NodeId, to: NodeId, event: ev.DatagramArrived) -> None:
        if (sender, to) not in self.cut and (sender, to) not in self.cut_datagrams:
            self.feed(to, event)

    def _persist(self, node: NodeId, life: Life, effect: fx.Persist) -> None:
        disk = self.disks[node]

        def done() -> None:
            if self.lives.get(node) is not life:
                return
            if disk.failing:
                self.feed(node, ev.PersistFailed(effect.token, "no space left on device"))
                return
            disk.record = effect.record
            disk.writes += 1
            for then in effect.then:
                self._perform_one(node, life, then)
            self.feed(node, ev.Persisted(effect.token))

        disk.busy_until = max(disk.busy_until, self.now) + self.rng.uniform(*self.disk_s)
        self.at(disk.busy_until, done)

    def _start_run(self, node: NodeId, life: Life, effect: fx.StartRun) -> None:
        job = effect.job
        self.runs[job.id] += 1
        life.running[job.id] = 1
        words = job.program.sources[0].text.split()
        seconds = float(words[1]) if words and words[0] == "sleep" else 0.01

        def done() -> None:
            if self.lives.get(node) is life and life.running.pop(job.id, 0):
                run = Run(Verdict.OK, value=job.program.sources[0].text.encode())
                outcome = Outcome(Verdict.OK, runs=(run,))
                self._feed_life(node, life, ev.RunFinished(job.id, outcome))

        self.at(self.now + seconds, done)

    # --- channels ---------------------------------------------------------------------------------------

    def _dial(self, node: NodeId, life: Life, to: NodeId) -> None:
        if self.lives.get(node) is not life or life.dialling != to:
            return
        if any(link.open and link.dialler == node and link.listener == to for link in self.links.values()):
            return
        blocked = (node, to) in self.cut or (to, node) in self.cut
        if to not in self.lives or blocked:
            self.at(self.now + 0.1, lambda: self._dial(node, life, to))
            return
        link = Link(node, to, {node: next(self._ids), to: next(self._ids)})
        for end, channel in link.ends.items():
            self.links[end, channel] = link
        self.feed(to, ev.ChannelOpened(link.ends[to], node, self.role(node), dialled=False))
        self.feed(node, ev.ChannelOpened(link.ends[node], to, self.role(to), dialled=True))

    def _send_frame(self, node: NodeId, channel: int, frame: Frame) -> None:
        link = self.links.get((node, channel))
        if link is None or not link.open:
            return
        other = next(end for end in link.ends if end != node)
        copy = decode_frame(encode_frame(frame))
        link.last_at = max(link.last_at, self.now + self.rng.uniform(*self.delay_s))

        def arrive() -> None:
            if link.open and (node, other) in self.cut:
                link.lost = True  # a stalled connection: it breaks when the network is back
            elif link.open:
                self.feed(other, ev.FrameArrived(link.ends[other], copy))

        self.at(link.last_at, arrive)

    def _close_where(self, node: NodeId, which: Callable[[Link], bool], reason: str) -> None:
        for link in list(self.links.values()):
            if link.open and node in link.ends and which(link):
                self._break(link, reason)

    def _break(self, link: Link, reason: str) -> None:
        link.open = False
        for end, channel in link.ends.items():
            self.links.pop((end, channel), None)
            life = self.lives.get(end)
            if life is None:
                continue
            event = ev.ChannelClosed(channel, reason)
            self.at(self.now + self.delay_s[1], partial(self._feed_life, end, life, event))
            if end == link.dialler and life.dialling == link.listener:
                self.at(self.now + 0.05, partial(self._dial, end, life, link.listener))

    # --- clients ----------------------------------------------------------------------------------------

    def ask(
        self, text: str, gateway: NodeId | None = None, *, use_cache: bool = False, progress: bool = False
    ) -> int:
        """A client's request; the answer will be in `answers`."""
        request = next(self._ids)
        node = gateway if gateway is not None else self.gateways[0]
        self.asked[request] = node
        program = Program((Source("Main.java", text),), inputs=(Input(),))
        job = f"{self.rng.getrandbits(128):032x}"
        event = ev.RequestArrived(
            request, job, program, use_cache=use_cache, keep=use_cache, progress=progress
        )
        self.feed(node, event)
        return request

    def answered(self, *requests: int) -> Callable[[], bool]:
        return lambda: all(request in self.answers for request in requests)

    # --- what must be so --------------------------------------------------------------------------------

    def leader(self) -> NodeId | None:
        """The node that may act now, if any."""
        acting = [n for n, life in self.lives.items() if life.core.authority.may_act(self.now)]
        assert len(acting) <= 1, f"{acting} may act at once (I6)"
        return acting[0] if acting else None

    def has_leader(self) -> bool:
        return self.leader() is not None

    def settled(self) -> bool:
        """One leader, and every live node follows it in its epoch."""
        leader = self.leader()
        if leader is None:
            return False
        epoch = self.lives[leader].core.authority.leadership.epoch
        return all(
            life.core.authority.vouched_leader(self.now) == (leader, epoch) for life in self.lives.values()
        )

    def _check(self, node: NodeId, life: Life) -> None:
        life.core.validate()
        leadership = life.core.authority.leadership
        if leadership.phase.value == "leading":
            holder = self.led.setdefault(leadership.epoch, (node, life.boot))
            assert holder == (node, life.boot), f"epoch {leadership.epoch} has two leaders (I1)"
        self.leader()

    def deadlines(self) -> dict[NodeId, dict[str, float | None]]:
        """Which part wants to be woken when, relative to now."""
        parts = ("election", "allegiance", "leadership", "admission")
        return {
            node: {
                name: _until(getattr(life.core.authority, name).next_deadline(), self.now) for name in parts
            }
            | {"membership": _until(life.core.membership.next_deadline(), self.now)}
            | {"ledger": _until(life.core._ledger.next_deadline(), self.now)}
            for node, life in self.lives.items()
        }

    def partition(self, *groups: list[NodeId]) -> None:
        """Nobody hears anybody of another group; channels across break only by silence."""
        for one, other in itertools.permutations(groups, 2):
            self.cut.update((a, b) for a in one for b in other)

    def heal(self) -> None:
        self.cut.clear()
        self.cut_datagrams.clear()
        for link in list(self.links.values()):
            if link.open and link.lost:
                self._break(link, "timed out")


def _until(moment: float | None, now: float) -> float | None:
    return None if moment is None else moment - now
