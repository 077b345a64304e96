"""A whole cluster of node cores in one process: simulated time, events in, effects performed.

One heap holds everything to come, ordered by true time in nanoseconds and then by when it was asked for, so
that a schedule has exactly one history. Nothing here decides anything about the protocol.
"""

from __future__ import annotations

import heapq
import random
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from cluster.config import CacheSettings, GatewaySettings, GossipSettings, TimingSettings, WorkSettings
from cluster.core import effects as fx
from cluster.core import events as ev
from cluster.core.node import NodeCore
from cluster.core.record import Record
from cluster.core.views import NodeSettings
from cluster.identity import Boot, NodeId, Role, voters_hash
from cluster.wire.codec import encode_datagram
from cluster.wire.jobs import Outcome, Piece, Stream, Verdict
from cluster.wire.jobs import Run as ProgramRun
from cluster.wire.messages import Assign, HeartbeatAck, NodeFacts, Notification, ProbeReply
from tests.simulation.chance import Chance
from tests.simulation.checks import Checks
from tests.simulation.clock import MS, SECOND, Clock
from tests.simulation.disk import SimulatedDisk
from tests.simulation.host import LAG_S, SPIN_MAX, SPIN_NS, Host, Life, Run
from tests.simulation.network import Network, Packet, Path
from tests.simulation.patience import Patience
from tests.simulation.regained import Regained
from tests.simulation.schedule import Schedule
from tests.simulation.violation import Violation
from tests.simulation.wires import Wires

NAME = "simulated"
SLOTS = 2
EVENTS_MAX = 300_000
"""Of all nodes together; a schedule has some ten thousand."""
STOP_NS = 10 * MS
PROGRESS_PARTS = 4
"""How often a run that is watched writes something."""
RESTART_NS = 2 * SECOND
"""As the unit's `RestartSec`: a node that could not begin its life tries again after this."""
NEW_DISK_S = 3600
"""What it takes to replace a disk, by the UTC clock: the next boot is surely higher (N3)."""

WINDOW_BYTES = 1500
"""Full after three of the small jobs that are simulated: windows close and open all the time (W14)."""

DROPPED = {"older_boot": "datagram of an older boot dropped", "replayed": "repeated datagram dropped"}
"""What a probe counts, by the reason that sealing has."""

WALL_START_S = 1_700_000_000


class Cluster:
    """Hosts on a network, driven by virtual time."""

    def __init__(self, schedule: Schedule, *, validate_every: int = 1) -> None:
        """`validate_every`: events of a node between two looks at its core's own invariants."""
        self.schedule = schedule
        self.voters = tuple(NodeId(node) for node in schedule.peer_ids)
        self.chance = Chance(schedule.seed)
        self.network = Network(self.chance, schedule.knobs)
        self.wires = Wires(self)
        self.now = 0
        self.checks = Checks(self)
        self.probes: Counter[str] = self.network.probes
        self.trace = 0
        self.events = 0
        self.timing = TimingSettings()
        self.work = WorkSettings(window_bytes=WINDOW_BYTES, deadline_s=schedule.knobs.deadline_s)
        self.patience = Patience(self.work, self.probes)
        self.regained = Regained(self)
        self._validate_every = validate_every
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self.broken: tuple[int, ...] = ()
        self._order = 0
        self._packet: Packet | None = None
        self.hosts: dict[int, Host] = {node: self._host(i, node) for i, node in enumerate(schedule.node_ids)}

    # --- making -----------------------------------------------------------------------------------------

    def _host(self, index: int, node: int) -> Host:
        knobs, stream = self.schedule.knobs, self.chance.stream("host", node)
        ppm = knobs.drift_ppm[index] if knobs.drift_ppm else 0
        event_us = knobs.event_us[index] if knobs.event_us else 0
        clock = Clock(stream.between(1, 10**15), ppm)
        disk = SimulatedDisk(self.fresh_record(node, new=self.schedule.new), self.chance.stream("torn", node))
        draw = self.chance.stream("disk", node)
        return Host(NodeId(node), self.role(node), clock, disk, draw, event_us * 1000)

    def role(self, node: int) -> Role:
        """As the schedule's numbers say."""
        if node in self.schedule.gateway_ids:
            return Role.GATEWAY
        return Role.PEER if node in self.schedule.peer_ids else Role.WORKER

    def fresh_record(self, node: int, *, new: bool) -> Record:
        """A record as `init` makes it; not `new`: of a voter that had gained its vote before."""
        hashed = voters_hash(NAME, self.voters)
        return Record(NAME, node, hashed, boot=0, may_vote=not new and node in self.schedule.peer_ids)

    def _settings(self, node: int) -> NodeSettings:
        others = tuple(NodeId(n) for n in self.schedule.node_ids if n != node)
        return NodeSettings(
            cluster=NAME,
            me=NodeId(node),
            role=self.role(node),
            voters=self.voters,
            members=others,
            workers=tuple(n for n in others if n not in self.schedule.gateway_ids),
            timing=self.timing,
            gossip=GossipSettings(),
            work=self.work,
            gateway=GatewaySettings(),
            cache=CacheSettings(),
            timing_digest="same",
        )

    def start(self, host: Host) -> None:
        """A new life: the boot is durable before anything is sent (N3); a bad disk makes it wait."""
        if host.life is not None or not host.powered:
            return
        record = host.disk.start(self._utc_seconds(host))
        if record is None:
            self.probes["start put off by a bad disk"] += 1
            self.at(self.now + RESTART_NS, self.start, host)
            return
        host.lives += 1
        facts = NodeFacts(host.id, record.boot, 1, host.role)
        rng = random.Random(self.chance.stream("core", host.id, host.lives).bits())
        core = NodeCore(self._settings(host.id), record, facts, rng, host.now(self.now))
        host.life = life = Life(core, Boot(record.boot))
        self.checks.started(host, life)
        self.perform(host, life, core.start(host.now(self.now)))
        self._after(host, life)
        if host.role is not Role.GATEWAY:
            self.at(self.now + 50 * MS, self.deliver, host, life, ev.CapacityChanged(SLOTS))

    def _utc_seconds(self, host: Host) -> int:
        return WALL_START_S + self.now // SECOND + host.wall_offset_s

    # --- time -------------------------------------------------------------------------------------------

    def at(self, moment: int, action: Callable[..., object], *args: object) -> None:
        """Have something happen at a true time."""
        self._order += 1
        heapq.heappush(self._heap, (max(moment, self.now), self._order, action, args))

    def note(self, body: bytes, node: int, to: int) -> None:
        """One more thing in the trace: what, whose, for whom, and when; its place among the others counts."""
        where = self.now * 0x9E3779B1 + node * 0x85EBCA77 + to * 0xC2B2AE3D
        self.trace = zlib.crc32(body, (self.trace ^ where ^ where >> 32) & 0xFFFFFFFF)

    def run_until(self, end: int) -> None:
        """Let everything happen up to this true time."""
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, action, args = heapq.heappop(heap)
            action(*args)
        self.now = end

    # --- events in --------------------------------------------------------------------------------------

    def deliver(self, host: Host, life: Life, event: ev.Event, *, datagram: bool = False) -> None:
        """Hand an event to a life; while it stands still, the event waits."""
        if life.is_over():
            return
        if self.now < life.still_until or life.inbox:
            if datagram:
                if life.waiting_datagrams >= self.schedule.knobs.buffer:
                    self.probes["socket buffer overflowed"] += 1
                    return
                life.waiting_datagrams += 1
            life.inbox.append((event, datagram))
            self._open_later(host, life)
            return
        self._feed(host, life, event)

    def stand_still(self, host: Host, life: Life, until: int) -> None:
        """Nothing is processed until then."""
        life.still_until = max(life.still_until, until)
        self._open_later(host, life)

    def _open_later(self, host: Host, life: Life) -> None:
        if not life.opening:
            life.opening = True
            self.at(life.still_until, self._open_inbox, host, life)

    def _open_inbox(self, host: Host, life: Life) -> None:
        life.opening = False
        if life.is_over():
            return
        if self.now < life.still_until:
            self._open_later(host, life)
            return
        if life.timers_first:
            life.timers_first = False
            self._tick_if_due(host, life)
        while life.inbox and not life.is_over():
            if self.now < life.still_until:
                self._open_later(host, life)
                return
            event, datagram = life.inbox.popleft()
            life.waiting_datagrams -= datagram
            self._feed(host, life, event)
        self._tick_if_due(host, life)

    def _feed(self, host: Host, life: Life, event: ev.Event) -> None:
        if life.expected is not None:
            self._note_lag(host, life)
            if life.is_over():
                return
        self._step(host, life, event)

    def _step(self, host: Host, life: Life, event: ev.Event) -> None:
        if type(event) is ev.DatagramArrived:
            if type(event.message) is HeartbeatAck:
                life.lease.acknowledged(event.sender, event.message)
            elif type(event.message) is ProbeReply:
                life.witness.answered(event.sender, event.message, host.now(self.now))
            elif type(event.message) is Notification:
                order = (event.boot, event.sequence)
                life.ballot.heard(event.sender, order, event.message, host.now(self.now))
        elif type(event) is ev.FrameArrived and type(event.frame) is Assign:
            self.checks.ordered(host, life, event.channel, event.frame)
        elif type(event) is ev.RequestArrived:
            self.patience.asked(event.request, host.now(self.now))
        elif type(event) is ev.ChannelOpened:
            life.peers[event.channel] = event.peer
        self.perform(host, life, life.core.receive(event, host.now(self.now)))
        self._after(host, life)

    def _note_lag(self, host: Host, life: Life) -> None:
        """Report a late timer first, once (G4)."""
        late = 0.0 if life.expected is None else host.now(self.now) - life.expected
        life.expected = None
        if late > LAG_S:
            self.probes["late loop reported"] += 1
            self._step(host, life, ev.LoopLagged(late))

    def _after(self, host: Host, life: Life) -> None:
        """After an event: what must hold, what it cost, and the timer."""
        self.events += 1
        if self.events > EVENTS_MAX:
            raise Violation(f"liveness: {EVENTS_MAX} events, and they make each other without end")
        if life.is_over():
            return
        self.checks.after(host, life, deep=self.events % self._validate_every == 0)
        if host.event_ns:
            life.still_until = max(life.still_until, self.now + host.event_ns)
        self._arm(host, life)

    def _arm(self, host: Host, life: Life, *, pause: int = 0) -> None:
        deadline = life.core.next_deadline()
        if deadline != life.deadline and deadline is not None:
            life.moment = host.clock.moment(deadline)
        life.expected = life.deadline = deadline
        self._wake_at(host, life, pause=pause)

    def _wake_at(self, host: Host, life: Life, *, pause: int) -> None:
        if life.deadline is None:
            return
        moment = max(life.moment, self.now + pause)
        if life.wake_at is None or moment < life.wake_at or life.wake_at < self.now:
            life.wake_at = moment
            self.at(moment, self._wake, host, life, moment)

    def _wake(self, host: Host, life: Life, moment: int) -> None:
        if life.is_over() or life.wake_at != moment:
            return
        life.wake_at = None
        if self.now < life.still_until or life.inbox:
            self._open_later(host, life)
            return
        self._tick_if_due(host, life)
        if not life.is_armed and not life.is_over():
            self._wake_at(host, life, pause=0)

    def _tick_if_due(self, host: Host, life: Life) -> None:
        if life.is_over():
            return
        deadline = life.deadline
        now = host.now(self.now)
        if deadline is None or now < deadline:
            life.expected = deadline
            self._wake_at(host, life, pause=0)
            return
        self._note_lag(host, life)
        if life.is_over():
            return
        self.perform(host, life, life.core.tick(now))
        self._after(host, life)
        if life.is_over():
            return
        again = life.deadline
        if again is not None and again <= now:
            life.spins += 1
            assert life.spins < SPIN_MAX, f"node {host.id}: a deadline is never met"
            life.wake_at = None
            self._arm(host, life, pause=SPIN_NS)
        else:
            life.spins = 0

    # --- effects out ------------------------------------------------------------------------------------

    def perform(self, host: Host, life: Life, effects: fx.Effects) -> None:
        """Do what a core wants, in order."""
        for effect in effects:
            kind = type(effect)
            if kind is fx.Send:
                self._send(host, life, effect)  # type: ignore[arg-type]
            elif kind is fx.Log:
                self.checks.logged(host, effect)  # type: ignore[arg-type]
                self.regained.logged(host.id, effect)  # type: ignore[arg-type]
            elif not life.is_over():
                self._perform_other(host, life, effect)

    def _perform_other(self, host: Host, life: Life, effect: fx.Effect) -> None:
        match effect:
            case fx.SendFrame():
                self.wires.send(host, life, effect)
            case fx.Persist():
                self._persist(host, life, effect)
            case fx.Dial():
                self.at(self.now + 2 * MS, self.wires.dial, host, life, effect.to)
            case fx.HangUp():
                self.wires.hang_up(host, life, effect.reason)
            case fx.Close():
                self.wires.close_channel(host, effect.channel, effect.reason)
            case fx.StartRun():
                self._start_run(host, life, effect)
            case fx.StopRun():
                self._stop_run(host, life, effect)
            case fx.RepeatProgress():
                self._tell_progress(host, life, effect.job, life.running.get(effect.job))
            case fx.Answer():
                self.checks.answered(host, effect)
                self.patience.answered(effect, host.now(self.now), (self.now - life.still_until) / SECOND)
            case fx.ShowProgress():
                self.checks.shown(host, effect)
            case fx.Stopped():
                self._stopped(host)
            case _:
                raise AssertionError(effect)

    def _send(self, host: Host, life: Life, effect: fx.Send) -> None:
        packet = self._packet
        if packet is None or packet.said is not effect.message:
            packet = self._packet = Packet(effect.message, encode_datagram(effect.message))
        life.sequence += 1
        self.checks.sent(host, life, effect)
        self.note(packet.payload, host.id, effect.to)
        target = self.hosts.get(effect.to)
        if target is None:
            return
        path = self.network.path((host.id, effect.to))
        for delay in self.network.delays(path):
            path.on_way += 1
            self.at(self.now + delay, self._arrive, path, target, life.boot, life.sequence, packet)

    def _arrive(self, path: Path, to: Host, boot: Boot, sequence: int, packet: Packet) -> None:
        path.on_way -= 1
        life = to.life
        if life is None or self.network.is_dropped(path.pair):
            return
        sender = path.pair[0]
        if why := life.lives.refusal(sender, boot, sequence):
            self.probes[DROPPED[why]] += 1
            return
        life.lives.heard(sender, life.lives.life(sender, boot), sequence)
        self.checks.heard(to, life, sender, boot)
        event = ev.DatagramArrived(NodeId(sender), boot, sequence, packet.open())
        self.deliver(to, life, event, datagram=True)

    def _persist(self, host: Host, life: Life, effect: fx.Persist) -> None:
        self.checks.asked(host, effect.record)
        if due := life.writes.ask(effect):
            self._begin_write(host, life, due)

    def _begin_write(self, host: Host, life: Life, effect: fx.Persist) -> None:
        low, high = self.schedule.knobs.disk_us
        delay = host.disk_draw.between(low, high) * 1000
        life.on_disk = effect.record
        life.written_at = self.now + (delay * 100 if host.disk.trouble == "slow" else delay)
        self.at(life.written_at, self._written, host, life, life.written_at)

    def hasten_write(self, host: Host, life: Life) -> None:
        """The disk is no longer slow: what it is at is done as quickly as any other write."""
        if life.on_disk is not None:
            life.written_at = min(life.written_at, self.now + self.schedule.knobs.disk_us[1] * 1000)
            self.at(life.written_at, self._written, host, life, life.written_at)

    def _written(self, host: Host, life: Life, moment: int) -> None:
        """A thread wrote, also while the loop stands still that performs what follows."""
        record = life.on_disk
        if life.is_over() or record is None or moment != life.written_at:
            return
        life.on_disk = None
        good = host.disk.write(record)
        self.note(msgspec.msgpack.encode(record), host.id, good)
        if good:
            self.checks.durable(host)
        else:
            self.probes["write failed"] += 1
        self._after_write(host, life, good)

    def _after_write(self, host: Host, life: Life, good: bool) -> None:
        if life.is_over():
            return
        if self.now < life.still_until:
            self.at(life.still_until, self._after_write, host, life, good)
            return
        answered, due = life.writes.done()
        if due:
            self._begin_write(host, life, due)
        if len(answered) > 1:
            self.probes["several records written as one"] += 1
        for effect in answered:
            if life.is_over():
                return
            if not good:
                self.deliver(host, life, ev.PersistFailed(effect.token, "input/output error"))
                continue
            self.perform(host, life, effect.then)
            if not life.is_over():
                self._feed(host, life, ev.Persisted(effect.token))

    # --- programs ---------------------------------------------------------------------------------------

    def _start_run(self, host: Host, life: Life, effect: fx.StartRun) -> None:
        text = effect.job.program.sources[0].text
        self.checks.run_started(host, life, effect.job.id)
        life.running[effect.job.id] = run = Run(text)
        length = int(text.split()[1]) * MS
        if effect.job.progress:
            for part in range(PROGRESS_PARTS):
                moment = self.now + length * part // PROGRESS_PARTS
                self.at(moment, self._write, host, life, effect.job.id, run)
        self.at(self.now + length, self._run_ends, host, life, effect.job.id, run)

    def _write(self, host: Host, life: Life, job: str, run: Run) -> None:
        """A run that is watched writes a byte."""
        if host.life is life and life.running.get(job) is run:
            run.written += 1
            self._tell_progress(host, life, job, run)

    def _tell_progress(self, host: Host, life: Life, job: str, run: Run | None) -> None:
        """All that was written, as after a `Recount`; what was shown already is for the reader to skip."""
        if run is not None:
            piece = Piece(0, Stream.STDOUT, 0, run.text.encode()[: run.written])
            self.deliver(host, life, ev.RunProgressed(job, pieces=(piece,)))

    def _stop_run(self, host: Host, life: Life, effect: fx.StopRun) -> None:
        if life.running.pop(effect.job, None) is not None:
            done = ev.RunFinished(effect.job, Outcome(Verdict.CANCELLED))
            self.at(self.now + STOP_NS, self.deliver, host, life, done)

    def _run_ends(self, host: Host, life: Life, job: str, run: Run) -> None:
        if life.is_over() or life.running.get(job) is not run:
            return
        del life.running[job]
        done = Outcome(Verdict.OK, runs=(ProgramRun(Verdict.OK, value=run.text.encode()),))
        self.deliver(host, life, ev.RunFinished(job, done))

    # --- the end of a life ------------------------------------------------------------------------------

    def kill(self, host: Host, *, power: bool = False, wipe: bool = False) -> None:
        """The process is gone; with its host, nobody gets a reset."""
        life = host.life
        if life is None:
            return
        host.life = None
        life.end()
        self.checks.ended(host, life)
        self.probes.update(host.disk.crash(life.on_disk, power=power))
        if wipe:
            host.disk.format(self.fresh_record(host.id, new=True))
            host.wall_offset_s += NEW_DISK_S
            self.checks.wiped(host)
            self.regained.wiped(host.id)
        self.wires.died(host, life, power=power)

    def kill_in_start(self, host: Host, *, power: bool) -> None:
        """A life that ends in the write that it begins with."""
        self.probes["crash in the write of a start"] += 1
        self.probes.update(host.disk.crash_in_start(self._utc_seconds(host), power=power))

    def _stopped(self, host: Host) -> None:
        self.probes["node drained and stopped"] += 1
        self.kill(host)
        if host.restart is not None:
            host.restart()
