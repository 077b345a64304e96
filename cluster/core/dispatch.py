"""The leader's side of work: which worker gets which job, and which gateway gets which answer (W3-W9).

One object a leadership. It remembers nothing across leaderships: workers report what runs and what they keep,
gateways send again what they wait for, and from both this leader learns the rest (W7).
"""

from __future__ import annotations

import attrs

from cluster.config import WorkSettings
from cluster.core.alarms import Alarms
from cluster.core.assignments import Absence, Alarm, Assignments
from cluster.core.board import Board
from cluster.core.effects import Close, Effects, Level
from cluster.core.events import OWN_CHANNEL, ChannelId
from cluster.core.losses import Losses
from cluster.core.outbox import Outbox
from cluster.core.roster import Line, Roster, Worker
from cluster.identity import Epoch, NodeId, Role
from cluster.wire.messages import (
    Finished,
    Hello,
    Ping,
    Pong,
    Progress,
    ResultAck,
    Returned,
    Slots,
    Submit,
    Welcome,
    Withdraw,
)

FromPeer = Submit | Withdraw | Finished | Progress | Returned | Slots | ResultAck | Ping | Pong


@attrs.frozen
class WorkerView:
    """One connected worker."""

    node: NodeId
    slots: int
    running: int
    draining: bool
    given: int


@attrs.frozen
class DispatchSnapshot:
    """What status and metrics read.

    Attributes:
        queued: jobs that wait; running, done, unclaimed: the others, by state.
        collecting: repeated jobs still wait for the workers' reports (W7).
        counters: totals of this leadership, by name.
    """

    epoch: Epoch
    queued: int
    running: int
    done: int
    unclaimed: int
    collecting: bool
    workers: tuple[WorkerView, ...]
    counters: tuple[tuple[str, int], ...]


class Dispatch:
    """Jobs, workers and gateways under one leader. Called only while the lease holds (L3)."""

    def __init__(
        self,
        settings: WorkSettings,
        me: NodeId,
        epoch: Epoch,
        now: float,
        *,
        awaited: frozenset[NodeId],
    ) -> None:
        """Begin to lead.

        Args:
            settings: the patience and the bounds.
            me: the leader.
            epoch: its epoch.
            now: monotonic seconds.
            awaited: alive workers whose HELLO is waited for, the replaced leader left out (W7).
        """
        self._settings = settings
        self._epoch = epoch
        self._awaited = set(awaited)
        self._roster = Roster(settings)
        self._board = Board(settings, collecting=bool(awaited))
        self._gateway_boots: dict[NodeId, int] = {}
        self._alarms: Alarms[Alarm] = Alarms()
        self._out = Outbox(me)
        self._jobs = Assignments(settings, epoch, self._roster, self._board, self._alarms, self._out)
        self._losses = Losses(settings, epoch, self._roster, self._board, self._alarms, self._out, self._jobs)
        if awaited:
            self._alarms.set(("collect", "", 0), now + settings.collect_s)

    # --- what the node tells it ----------------------------------------------------------------------

    def hello(self, channel: ChannelId, peer: NodeId, role: Role, frame: Hello, now: float) -> Effects:
        """Take on a node whose HELLO was checked (W2)."""
        self._out.send(channel, Welcome(self._epoch))
        old = self._roster.channel_of(peer)
        if old is not None and old != channel:
            self._out.do(Close(old, "replaced by a newer channel"))
            self._lose(old, "replaced by a newer channel", now)
        if self._roster.line(channel) is None:
            self._roster.add(peer, role, frame.boot, channel, now)
        if role is Role.GATEWAY:
            self._gateway_back(peer, frame.boot, channel)
        else:
            self._worker_back(channel, peer, frame, now)
        self._heard_from(peer)
        return self._settle_up(now)

    def receive(self, channel: ChannelId, frame: FromPeer, now: float) -> Effects:
        """A frame of a node that was taken on; of any other it is counted and dropped."""
        line = self._roster.heard(channel, now)
        if line is None:
            self._jobs.counters.strays += 1
            return ()
        if isinstance(frame, Ping):  # held without the lease: what came before it is not read before (W14)
            self._out.send(channel, Pong(frame.nonce))
        elif line.role is Role.GATEWAY:
            self._from_gateway(line, frame, now)
        else:
            worker = self._roster.worker(line.node)
            assert worker is not None
            self._from_worker(worker, frame, now)
        return self._settle_up(now)

    def moved(self, channel: ChannelId, now: float) -> None:
        """Some of a long frame went in or out: its other end is not silent (W6)."""
        self._roster.heard(channel, now)

    def channel_closed(self, channel: ChannelId, reason: str, now: float) -> Effects:
        """A channel broke: its worker's jobs go to the others at once (W6)."""
        self._lose(channel, reason, now)
        return self._settle_up(now)

    def member_failed(self, node: NodeId, now: float) -> Effects:
        """Gossip declared it FAILED: its channel is as good as broken (W6, W9)."""
        channel = self._roster.channel_of(node)
        if channel is not None and channel != OWN_CHANNEL:
            self._out.do(Close(channel, "the node has failed"))
            self._lose(channel, "the node has failed", now)
        if ("gateway", "", node) in self._alarms:
            self._gateway_gone(node)
        self._heard_from(node)
        return self._settle_up(now)

    def suspect(self, nodes: frozenset[NodeId]) -> None:
        """Gossip doubts exactly these: round robin skips them (W3)."""
        news = self._roster.suspect(nodes)
        if news and self._board.queue and self._roster.any_ready():
            self._alarms.set(("look", "", 0), 0.0)  # the next tick assigns what waited for a worker

    def tick(self, now: float) -> Effects:
        """Pings, patience that ended, and jobs that can be assigned by now."""
        self._roster.due(
            now,
            ping=lambda line: self._out.send(line.channel, Ping(line.missed)),
            dead=lambda line: self._fell_silent(line, now),
        )
        while (alarm := self._alarms.pop_due(now)) is not None:
            self._ring(alarm, now)
        return self._settle_up(now)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        times = [at for at in (self._alarms.next(), self._roster.next_deadline()) if at is not None]
        return min(times, default=None)

    @property
    def queued(self) -> int:
        """Jobs that wait for a worker."""
        return self._board.waiting()

    def snapshot(self) -> DispatchSnapshot:
        """What is going on, for people and metrics."""
        queued, running, done, unclaimed = self._board.counts()
        workers = self._roster.workers()
        return DispatchSnapshot(
            epoch=self._epoch,
            queued=queued,
            running=running,
            done=done,
            unclaimed=unclaimed,
            collecting=self._board.collecting,
            workers=tuple(WorkerView(w.node, w.slots, w.running, w.draining, w.given) for w in workers),
            counters=tuple(attrs.asdict(self._jobs.counters).items()),
        )

    def validate(self) -> None:
        """Assert the invariants of the tables."""
        self._roster.validate()
        self._board.validate(
            (job, worker.node)
            for worker in self._roster.workers()
            for job, flight in worker.flights.items()
            if not flight.cancelled
        )
        for job in (*self._board.queue, *self._board.held):
            assert ("queue", job, 0) in self._alarms, "nothing may hang (W11)"
        for job, entry in self._board.jobs.items():
            claimed = ("deadline", job, 0) in self._alarms or ("forget", job, 0) in self._alarms
            assert claimed if entry.claim is not None else ("orphan", job, 0) in self._alarms
        self._losses.validate()
        assert not self._out.take(), "effects left behind"

    # --- nodes come back -----------------------------------------------------------------------------

    def _gateway_back(self, node: NodeId, boot: int, channel: ChannelId) -> None:
        """A gateway that restarted has lost its clients; one that did not is told what it missed (W8, W9)."""
        self._alarms.clear(("gateway", "", node))
        if boot > self._gateway_boots.get(node, boot):
            self._drop_all(node)
        self._gateway_boots[node] = boot
        for job in self._board.of_gateway(node):
            self._jobs.replies.tell(job, channel)

    def _worker_back(self, channel: ChannelId, node: NodeId, frame: Hello, now: float) -> None:
        """What it lost is counted or forgiven (W6); what it runs and keeps is taken into account (W7)."""
        self._losses.back(node, frame.boot, now)
        worker = self._roster.worker(node)
        if worker is None:
            line = self._roster.line(channel)
            assert line is not None
            worker = self._roster.add_worker(line, frame.slots, draining=frame.draining)
            self._out.log(f"worker {node} ready, {frame.slots} slots", Level.VERBOSE)
        else:
            self._roster.offers(worker, frame.slots, draining=frame.draining)
        for key in frame.running:
            self._jobs.reported(worker, key, now, kept=False)
        for key in frame.kept:
            self._jobs.reported(worker, key, now, kept=True)

    def _heard_from(self, node: NodeId) -> None:
        """One report less to wait for (W7)."""
        self._awaited.discard(node)
        if self._board.collecting and not self._awaited:
            self._end_collecting()

    def _end_collecting(self) -> None:
        self._alarms.clear(("collect", "", 0))
        self._board.end_collecting()

    # --- nodes go away -------------------------------------------------------------------------------

    def _fell_silent(self, line: Line, now: float) -> None:
        reason = f"{self._settings.pings_missed_max} pings missed"
        self._out.do(Close(line.channel, reason))
        self._lose(line.channel, reason, now)

    def _lose(self, channel: ChannelId, reason: str, now: float) -> None:
        removed = self._roster.remove(channel)
        if removed is None:
            return
        line, worker = removed
        if line.role is Role.GATEWAY:
            self._alarms.set(("gateway", "", line.node), now + self._settings.absence_s)
            self._out.log(f"gateway {line.node} is gone: {reason}")
            return
        assert worker is not None
        live = [(job, flight) for job, flight in worker.flights.items() if not flight.cancelled]
        self._out.log(f"worker {line.node} is gone with {len(live)} jobs: {reason}")
        running = tuple(job for job, flight in live if not flight.kept)
        if running:
            self._losses.gone(line.node, Absence(worker.boot, running), now)
        for job, _ in reversed(live):
            self._alarms.clear(("kept", job, line.node))
            del self._board.jobs[job].workers[line.node]
            self._jobs.requeue(job, now)

    def _gateway_gone(self, node: NodeId) -> None:
        """Its clients are gone, or wait for an answer that it will ask for again (W9)."""
        self._alarms.clear(("gateway", "", node))
        self._drop_all(node)

    def _drop_all(self, gateway: NodeId) -> None:
        jobs = self._board.of_gateway(gateway)
        for job in jobs:
            self._jobs.drop(job)
        if jobs:
            self._out.log(f"gateway {gateway} is away: {len(jobs)} jobs cancelled")

    # --- frames --------------------------------------------------------------------------------------

    def _from_gateway(self, line: Line, frame: FromPeer, now: float) -> None:
        match frame:
            case Submit() if frame.job.gateway == line.node:
                known = frame.job.id in self._board.jobs
                self._jobs.submit(line, frame, now)
                if frame.placed is not None and not known:
                    self._losses.was_at(frame.job.id, frame.placed, now)
            case Withdraw():
                for job in frame.jobs:
                    entry = self._board.jobs.get(job)
                    if entry is not None and entry.claim is not None and entry.claim.gateway == line.node:
                        self._out.log(f"job {job[:8]} cancelled by its client")
                        self._jobs.drop(job)
            case ResultAck():
                for job in frame.jobs:
                    entry = self._board.jobs.get(job)
                    if entry is None or entry.outcome is None or entry.claim is None:
                        continue
                    if entry.claim.gateway == line.node:
                        self._jobs.end(job)
            case Pong():
                self._jobs.replies.read(line, frame.nonce)
            case _:
                self._jobs.counters.strays += 1

    def _from_worker(self, worker: Worker, frame: FromPeer, now: float) -> None:
        match frame:
            case Finished():
                self._jobs.finished(worker, frame, now)
            case Progress():
                self._jobs.replies.progressed(worker, frame)
            case Returned():
                self._jobs.returned(worker, frame.key, now)
            case Slots():
                self._roster.offers(worker, frame.slots, draining=frame.draining)
            case Pong():
                self._roster.read(worker, frame.nonce)
            case _:
                self._jobs.counters.strays += 1

    # --- patience ------------------------------------------------------------------------------------

    def _ring(self, alarm: Alarm, now: float) -> None:
        kind, job, number = alarm
        node = NodeId(number)
        match kind:
            case "collect":
                self._end_collecting()
            case "queue":
                self._jobs.give_up_waiting(job)
            case "deadline":
                self._jobs.past_deadline(job, now)
            case "forget":
                self._jobs.drop(job)
            case "orphan":
                self._jobs.counters.orphans += 1
                self._out.log(f"job {job[:8]} is claimed by no gateway: cancelled")
                self._jobs.end(job)
            case "kept":
                self._jobs.overdue(job, node, now)
            case "absent":
                self._losses.overdue(node, now)
            case "places":
                self._losses.tell_places()
            case "gateway":
                self._gateway_gone(node)
            case "pause":
                paused = self._roster.worker(node)
                if paused is not None:
                    self._roster.pause(paused, paused=False)
            case "look":
                pass

    def _settle_up(self, now: float) -> Effects:
        """Assign what can be, and hand over all that came of one event."""
        self._jobs.assign(now)
        return self._out.take()
