"""A node's part in the work: its channels, and who speaks on them (W2, L3, L6).

A node that follows dials its leader and says HELLO with the epoch that it follows; the leader, holding its
lease, answers WELCOME. From then on the worker's half (`execution.py`) and the gateway's half
(`submission.py`) talk to the leader's half (`dispatch.py`) over that channel. A leader's own jobs and results
go the same way over `OWN_CHANNEL`, which is no connection at all, so that the new leader counts them (W7).

While a leader has no lease it acts on nothing: whatever arrives is held, in order, until the lease is back,
or forgotten when it resigns; gateways and workers still have everything (L3).
"""

from __future__ import annotations

import attrs
import msgspec

from cluster.config import CacheSettings, GatewaySettings, WorkSettings
from cluster.core.dispatch import Dispatch, DispatchSnapshot
from cluster.core.effects import (
    LeaderChannelBroke,
    Level,
    Log,
    SendFrame,
    Steps,
)
from cluster.core.events import (
    OWN_CHANNEL,
    CapacityChanged,
    ChannelClosed,
    ChannelId,
    ChannelMoved,
    ChannelOpened,
    FrameArrived,
    RequestAbandoned,
    RequestArrived,
    RunFinished,
    RunProgressed,
    RunUnstarted,
)
from cluster.core.execution import Execution
from cluster.core.hello import Terms
from cluster.core.ledger import Ledger
from cluster.core.links import Links
from cluster.core.office import Office
from cluster.core.pending import SubmissionSnapshot
from cluster.core.runs import ExecutionSnapshot
from cluster.core.submission import Submission
from cluster.identity import Boot, Epoch, NodeId, Role
from cluster.wire.messages import (
    Assign,
    AttemptKey,
    CancelRun,
    Fenced,
    Frame,
    Hello,
    LossCounted,
    Ping,
    Placed,
    Pong,
    Progressed,
    Recount,
    Refused,
    Release,
    Result,
    Slots,
    Welcome,
)

LocalEvent = (
    RunFinished
    | RunUnstarted
    | RunProgressed
    | CapacityChanged
    | RequestArrived
    | RequestAbandoned
    | ChannelMoved
)

FROM_LEADER = (Welcome, Assign, CancelRun, Recount, Release, Ping)
"""Frames that go to the worker's half when they travel on `OWN_CHANNEL`."""


class Load(msgspec.Struct, frozen=True):
    """Slots of this node, how many are busy, and (leader) how many jobs wait."""

    slots: int
    running: int
    queued: int


@attrs.frozen
class WorkSnapshot:
    """For status, metrics and logs; a part that this node does not have is None.

    Attributes:
        refused: HELLOs whose sender was not taken on (X2).
    """

    welcomed: bool
    channels: int
    held: int
    dispatch: DispatchSnapshot | None
    execution: ExecutionSnapshot | None
    submission: SubmissionSnapshot | None
    refused: int = 0


class Work:
    """Routes frames between channels and the halves that this node has."""

    def __init__(
        self,
        *,
        terms: Terms,
        ledger: Ledger,
        settings: WorkSettings,
        gateway: GatewaySettings,
        cache: CacheSettings,
    ) -> None:
        me, role = terms.me, terms.role
        self._terms = terms
        self._me = me
        self._alone = len(terms.electorate.voters) == 1
        self._ledger = ledger
        self.java = ""
        self.execution = Execution(settings, me, ledger) if role is not Role.GATEWAY else None
        self.submission = Submission(settings, gateway, cache, me) if role is Role.GATEWAY else None
        self._links = Links()
        self._office = Office(terms, ledger, settings, self._links)
        self._leader_boot = Boot(0)
        self._welcomed = False

    @property
    def dispatch(self) -> Dispatch | None:
        """The leader's half; None while this node does not lead."""
        return self._office.dispatch

    # --- who leads ------------------------------------------------------------------------------------

    def follow(self, leader: NodeId, boot: Boot, epoch: Epoch, now: float) -> Steps:
        """Dial the leader of the epoch heard; on an open channel to it, say HELLO again (W2)."""
        self._leader_boot = boot
        if self.submission is not None:
            self.submission.epoch_changed(epoch)
        steps = (*self._disconnected(now), *self._links.follow(leader, epoch))
        if self._links.dialled is not None:
            steps = (*steps, *self._say_hello(self._links.dialled, epoch))
        return steps

    def lead(self, epoch: Epoch, now: float, awaited: frozenset[NodeId]) -> Steps:
        """Start handing out work; my own jobs and results are the first to be counted (W7)."""
        steps = (*self._disconnected(now), *self._links.leave("this server leads"))
        self._leader_boot = Boot(self._ledger.record.boot)
        # A leader hands work out; alone among voters it also does it (N1).
        self._office.enter(epoch, now, awaited, self._hello(epoch, works=self._alone))
        return steps

    def stop_leading(self, now: float) -> Steps:
        """Forget the held frames and close the channels: gateways and workers have everything (L3)."""
        return (*self._disconnected(now), *self._office.leave())

    def leader_lost(self, now: float) -> Steps:
        """Nobody is followed: a worker keeps jobs, results and channel (W2), clients wait (W11)."""
        return self.submission.disconnected(now) if self.submission is not None else ()

    def _disconnected(self, now: float) -> Steps:
        self._welcomed = False
        steps: Steps = ()
        if self.execution is not None:
            steps = self.execution.disconnected(now)
        if self.submission is not None:
            steps = (*steps, *self.submission.disconnected(now))
        return steps

    # --- channels -------------------------------------------------------------------------------------

    def opened(self, event: ChannelOpened) -> Steps:
        """A channel is up; on the one to the leader, say HELLO."""
        steps = self._links.opened(event)
        if event.channel != self._links.dialled or self._links.target is None:
            return steps
        return (*steps, *self._say_hello(event.channel, self._links.target[1]))

    def closed(self, event: ChannelClosed, now: float, *, may_act: bool) -> Steps:
        """A channel is gone."""
        peer, to_leader = self._links.closed(event.channel)
        if peer is None:
            return ()
        if to_leader:
            return (*self._disconnected(now), LeaderChannelBroke(peer.node, event.reason))
        if peer.dialled:
            return ()
        return self._routed(self._office.closed(event, now, may_act=may_act), now, may_act=may_act)

    def peer_of(self, channel: ChannelId) -> NodeId | None:
        """Who is at the other end; None when the channel is unknown."""
        peer = self._links.peer(channel)
        return peer.node if peer else None

    def channel_to(self, node: NodeId) -> ChannelId | None:
        """An open channel to this node, if there is one."""
        return self._links.to(node)

    # --- frames ---------------------------------------------------------------------------------------

    def frame(self, event: FrameArrived, now: float, *, may_act: bool) -> Steps:
        """A frame arrived on an open channel, or on `OWN_CHANNEL`."""
        if event.channel == OWN_CHANNEL:
            return self._routed(self._office.arrived(event, now, may_act=may_act), now, may_act=may_act)
        peer = self._links.peer(event.channel)
        if peer is None:
            return ()
        if peer.dialled:
            steps = self._from_leader(event.channel, peer.node, event.frame, now)
        else:
            steps = self._office.arrived(event, now, may_act=may_act)
        return self._routed(steps, now, may_act=may_act)

    def _from_leader(self, channel: ChannelId, leader: NodeId, frame: Frame, now: float) -> Steps:
        match frame:
            case Welcome():
                return self._welcome(channel, frame, now)
            case Assign() | CancelRun() | Recount() | Release() if self.execution is not None:
                return self.execution.receive(channel, leader, self._leader_boot, frame, now)
            case Result() | Refused() | LossCounted() | Placed() | Progressed() | Pong() if (
                self.submission is not None
            ):
                return self.submission.receive(channel, frame, now)
            case Pong() if self.execution is not None:
                return self.execution.read(frame.nonce)
            case Ping():
                return (SendFrame(channel, Pong(frame.nonce)),)
            case Fenced():
                text = f"{self._me}: server {leader} answers that epoch {frame.epoch} is accepted there"
                return (Log(Level.VERBOSE, text),)
            case _:
                return ()

    def _welcome(self, channel: ChannelId, frame: Welcome, now: float) -> Steps:
        if channel == OWN_CHANNEL:
            assert self.execution is not None, "gateways never lead"
            return self.execution.welcomed(channel, Epoch(frame.epoch), now)
        target = self._links.target
        if target is None or frame.epoch != target[1] or channel != self._links.dialled:
            return ()
        self._welcomed = True
        leader, epoch = target
        if self.execution is not None:
            return self.execution.welcomed(channel, epoch, now)
        assert self.submission is not None
        return self.submission.welcomed(channel, leader, epoch, now)

    def release_held(self, now: float) -> Steps:
        """The lease is back: act on what was held, in order (L3)."""
        steps: Steps = ()
        while self.holds and self.dispatch is not None:
            steps = (*steps, *self._routed(self._office.release_one(now), now, may_act=True))
        return steps

    # --- HELLO ----------------------------------------------------------------------------------------

    def _hello(self, epoch: Epoch, *, works: bool = True) -> Hello:
        nothing: tuple[int, tuple[AttemptKey, ...], tuple[AttemptKey, ...], bool] = (0, (), (), False)
        slots, running, kept, draining = self.execution.hello_fields() if self.execution else nothing
        return self._terms.hello(
            boot=self._ledger.record.boot,
            epoch=epoch,
            slots=slots if works else 0,
            java=self.java,
            running=running,
            kept=kept,
            draining=draining,
        )

    def _say_hello(self, channel: ChannelId, epoch: Epoch) -> Steps:
        return (SendFrame(channel, self._hello(epoch)),)

    # --- frames to myself -----------------------------------------------------------------------------

    def _routed(self, steps: Steps, now: float, *, may_act: bool) -> Steps:
        """Deliver what goes to `OWN_CHANNEL`; pass everything else on."""
        if not any(isinstance(step, SendFrame) and step.channel == OWN_CHANNEL for step in steps):
            return steps
        result: Steps = ()
        for step in steps:
            if not isinstance(step, SendFrame) or step.channel != OWN_CHANNEL:
                result = (*result, step)
                continue
            frame = step.frame
            if isinstance(frame, Ping):
                frame = Pong(frame.nonce)
            if isinstance(frame, Slots) and not self._alone:
                continue  # a leader's own slots are nobody's (N1)
            if isinstance(frame, FROM_LEADER):
                more = self._from_leader(OWN_CHANNEL, self._me, frame, now)
            else:
                more = self._office.arrived(FrameArrived(OWN_CHANNEL, frame), now, may_act=may_act)
            result = (*result, *self._routed(more, now, may_act=may_act))
        return result

    def member_failed(self, node: NodeId, now: float, *, may_act: bool) -> Steps:
        """Gossip's verdict counts as a lost worker (W6); without the lease the pings will find out."""
        if self.dispatch is None or not may_act:
            return ()
        return self._routed(self.dispatch.member_failed(node, now), now, may_act=may_act)

    def persist_failed(self, token: int, now: float) -> Steps:
        """A write failed: what it was to start never starts (N4)."""
        if self.execution is None:
            return ()
        return self._routed(self.execution.persist_failed(token, now), now, may_act=False)

    def local(self, event: LocalEvent, now: float, *, may_act: bool) -> Steps:
        """Something happened at this node itself: a run's end, a client's request, a long frame's piece."""
        steps: Steps = ()
        match event:
            case ChannelMoved() if self.dispatch is not None:
                self.dispatch.moved(event.channel, now)
            case RunUnstarted() if self.execution is not None:
                steps = self.execution.run_unstarted(event.job, now)
            case RunFinished() if self.execution is not None:
                steps = self.execution.run_finished(event.job, event.outcome, now)
            case RunProgressed() if self.execution is not None:
                steps = self.execution.run_progressed(event)
            case CapacityChanged() if self.execution is not None:
                steps = self.execution.capacity(event.slots, now)
            case RequestArrived() if self.submission is not None:
                steps = self.submission.request(event, now)
            case RequestAbandoned() if self.submission is not None:
                steps = self.submission.abandon(event.request, now)
            case _:
                pass
        return self._routed(steps, now, may_act=may_act)

    # --- time -----------------------------------------------------------------------------------------

    def tick(self, now: float, *, may_act: bool) -> Steps:
        """Let the halves see the time; the leader's half only while it may act (L3)."""
        steps: Steps = ()
        if may_act and self.dispatch is not None:
            steps = self._routed(self.dispatch.tick(now), now, may_act=may_act)
        if self.execution is not None:
            steps = (*steps, *self._routed(self.execution.tick(now), now, may_act=may_act))
        if self.submission is not None:
            steps = (*steps, *self.submission.tick(now))
        return steps

    def next_deadline(self, *, may_act: bool) -> float | None:
        """When `tick` has something to do."""
        soonest = None
        for half in (self.dispatch if may_act else None, self.execution, self.submission):
            moment = None if half is None else half.next_deadline()
            if moment is not None and (soonest is None or moment < soonest):
                soonest = moment
        return soonest

    @property
    def holds(self) -> bool:
        """Whether frames wait for the lease."""
        return len(self._office) > 0

    @property
    def idle(self) -> bool:
        """Whether nothing is owed to anybody (W10)."""
        execution_idle = self.execution is None or self.execution.idle
        return execution_idle and (self.submission is None or self.submission.idle)

    def drain(self, now: float) -> Steps:
        """Take nothing new (W10); a leader has resigned before."""
        steps: Steps = ()
        if self.execution is not None:
            steps = self._routed(self.execution.drain(now), now, may_act=False)
        if self.submission is not None:
            steps = (*steps, *self.submission.drain(now))
        return steps

    def load(self) -> Load:
        """Capacity and queue, for the facts (G5)."""
        slots, running = self.execution.load() if self.execution else (0, 0)
        return Load(slots, running, self.dispatch.queued if self.dispatch else 0)

    def snapshot(self) -> WorkSnapshot:
        """What people and metrics see."""
        return WorkSnapshot(
            self._welcomed,
            len(self._links),
            len(self._office),
            self.dispatch.snapshot() if self.dispatch else None,
            self.execution.snapshot() if self.execution else None,
            self.submission.snapshot() if self.submission else None,
            self._office.refused,
        )

    def validate(self) -> None:
        """Assert every half's invariants."""
        for half in (self.dispatch, self.execution, self.submission):
            if half is not None:
                half.validate()
        self._links.validate()
