"""A node's part in the work: its channels, and who speaks on them (W2, L3, L6).

A node that follows dials its leader and says HELLO with the epoch that it follows; the leader, holding its
lease, answers WELCOME. From then on the worker's half (`execution.py`) and the gateway's half
(`submission.py`) talk to the leader's half (`dispatch.py`) over that channel. A leader's own jobs and results
go the same way over `OWN_CHANNEL`, which is no connection at all, so that the new leader counts them (W7).

While a leader has no lease it acts on nothing: whatever arrives is held, in order, until the lease is back,
or forgotten when it resigns; gateways and workers still have everything (L3).
"""

from __future__ import annotations

from collections import deque

import attrs

from cluster.config import CacheSettings, GatewaySettings, WorkSettings
from cluster.core.dispatch import Dispatch, DispatchSnapshot
from cluster.core.effects import (
    Close,
    HigherEpochProven,
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
    ChannelOpened,
    FrameArrived,
    RequestAbandoned,
    RequestArrived,
    RunFinished,
)
from cluster.core.execution import Execution, ExecutionSnapshot
from cluster.core.hello import Terms
from cluster.core.ledger import Ledger
from cluster.core.links import Links
from cluster.core.submission import Submission, SubmissionSnapshot
from cluster.identity import MAX_EPOCH_JUMP, Boot, Epoch, NodeId, Role
from cluster.wire.messages import (
    Assign,
    AttemptKey,
    CancelRun,
    Fenced,
    Finished,
    Frame,
    Hello,
    LossCounted,
    Ping,
    Pong,
    Refused,
    Release,
    Result,
    ResultAck,
    Returned,
    Slots,
    Submit,
    Welcome,
    Withdraw,
)

LocalEvent = RunFinished | CapacityChanged | RequestArrived | RequestAbandoned

FROM_LEADER = (Welcome, Assign, CancelRun, Release, Ping)
"""Frames that go to the worker's half when they travel on `OWN_CHANNEL`."""


@attrs.frozen
class Load:
    """Slots of this node, how many are busy, and (leader) how many jobs wait."""

    slots: int
    running: int
    queued: int


@attrs.frozen
class WorkSnapshot:
    """For status, metrics and logs; a part that this node does not have is None."""

    welcomed: bool
    channels: int
    held: int
    dispatch: DispatchSnapshot | None
    execution: ExecutionSnapshot | None
    submission: SubmissionSnapshot | None


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
        self._settings = settings
        self.java = ""
        self.execution = Execution(settings, me, ledger) if role is not Role.GATEWAY else None
        self.submission = Submission(settings, gateway, cache, me) if role is Role.GATEWAY else None
        self.dispatch: Dispatch | None = None
        self._links = Links()
        self._leader_boot = Boot(0)
        self._welcomed = False
        self._leading = Epoch(0)
        self._held: deque[FrameArrived | ChannelClosed] = deque()

    # --- who leads ------------------------------------------------------------------------------------

    def follow(self, leader: NodeId, boot: Boot, epoch: Epoch, now: float) -> Steps:
        """Dial the leader of the epoch heard; on an open channel to it, say HELLO again (W2)."""
        self._leader_boot = boot
        if self.submission is not None:
            self.submission.epoch_changed(epoch, self.java)
        steps = (*self._disconnected(now), *self._links.follow(leader, epoch))
        if self._links.dialled is not None:
            steps = (*steps, *self._say_hello(self._links.dialled, epoch))
        return steps

    def lead(self, epoch: Epoch, now: float, awaited: frozenset[NodeId]) -> Steps:
        """Start handing out work; my own jobs and results are the first to be counted (W7)."""
        steps = (*self._disconnected(now), *self._links.leave("this server leads"))
        self._leading = epoch
        self._leader_boot = Boot(self._ledger.record.boot)
        self._held.clear()
        self.dispatch = Dispatch(self._settings, self._me, epoch, now, awaited=awaited)
        self._held.append(FrameArrived(OWN_CHANNEL, self._hello(epoch)))
        return steps

    def stop_leading(self, now: float) -> Steps:
        """Forget the held frames and close the channels: gateways and workers have everything (L3)."""
        self.dispatch = None
        self._held.clear()
        closing = (Close(channel, "no longer the leader") for channel in self._links.inbound())
        return (*self._disconnected(now), *closing)

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
        if self.dispatch is None or peer.dialled:
            return ()
        if may_act and not self._held:
            steps = self.dispatch.channel_closed(event.channel, event.reason, now)
            return self._routed(steps, now, may_act=may_act)
        self._held.append(event)
        return ()

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
            return self._for_leader(event, now, may_act=may_act)
        peer = self._links.peer(event.channel)
        if peer is None:
            return ()
        if isinstance(event.frame, Ping):
            return (SendFrame(event.channel, Pong(event.frame.nonce)),)
        if peer.dialled:
            return self._routed(
                self._from_leader(event.channel, peer.node, event.frame, now), now, may_act=may_act
            )
        return self._for_leader(event, now, may_act=may_act)

    def _from_leader(self, channel: ChannelId, leader: NodeId, frame: Frame, now: float) -> Steps:
        match frame:
            case Welcome():
                return self._welcome(channel, frame, now)
            case Assign() | CancelRun() | Release() if self.execution is not None:
                return self.execution.receive(channel, leader, self._leader_boot, frame, now)
            case Result() | Refused() | LossCounted() if self.submission is not None:
                return self.submission.receive(channel, frame, now)
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

    def _for_leader(self, event: FrameArrived, now: float, *, may_act: bool) -> Steps:
        """A frame for the leader's half; held while the lease is lost (L3)."""
        if self.dispatch is None:
            return self._not_leading(event)
        if may_act and not self._held:
            return self._routed(self._lead_on(event, now), now, may_act=may_act)
        if len(self._held) < self._settings.held_max:
            self._held.append(event)
            return ()
        # Its sender has everything that is in it, and says it again on a new channel.
        return (Close(event.channel, "the leader without its lease holds too many frames"),)

    def _not_leading(self, event: FrameArrived) -> Steps:
        if isinstance(event.frame, Hello):
            return (
                SendFrame(event.channel, Fenced(self._ledger.durable.fence_epoch)),
                Close(event.channel, "this server does not lead"),
            )
        return ()

    def _lead_on(self, event: FrameArrived, now: float) -> Steps:
        assert self.dispatch is not None
        frame = event.frame
        match frame:
            case Hello():
                return self._take_on(event.channel, frame, now)
            case Fenced():
                return (HigherEpochProven(Epoch(frame.epoch)),) if self._is_later(frame.epoch) else ()
            case Submit() | Withdraw() | Finished() | Returned() | Slots() | ResultAck() | Pong():
                return self.dispatch.receive(event.channel, frame, now)
            case _:
                return ()

    def release_held(self, now: float) -> Steps:
        """The lease is back: act on what was held, in order (L3)."""
        steps: Steps = ()
        while self._held and self.dispatch is not None:
            event = self._held.popleft()
            more: Steps
            if isinstance(event, ChannelClosed):
                more = self.dispatch.channel_closed(event.channel, event.reason, now)
            else:
                more = self._lead_on(event, now)
            steps = (*steps, *self._routed(more, now, may_act=True))
        return steps

    # --- HELLO ----------------------------------------------------------------------------------------

    def _hello(self, epoch: Epoch) -> Hello:
        nothing: tuple[int, tuple[AttemptKey, ...], tuple[AttemptKey, ...], bool] = (0, (), (), False)
        slots, running, kept, draining = self.execution.hello_fields() if self.execution else nothing
        if epoch == self._leading and self.dispatch is not None and not self._alone:
            slots = 0  # a leader hands work out; alone among voters it also does it (N1)
        return self._terms.hello(
            boot=self._ledger.record.boot,
            epoch=epoch,
            slots=slots,
            java=self.java,
            running=running,
            kept=kept,
            draining=draining,
        )

    def _say_hello(self, channel: ChannelId, epoch: Epoch) -> Steps:
        return (SendFrame(channel, self._hello(epoch)),)

    def _take_on(self, channel: ChannelId, hello: Hello, now: float) -> Steps:
        """Check a HELLO against the certificate and the configuration, then welcome it (W2, X2, G7)."""
        assert self.dispatch is not None
        peer = self._links.peer(channel)
        if peer is None and channel != OWN_CHANNEL:
            return ()
        problem = self._terms.problem_with(peer, hello) if peer is not None else ""
        if problem:
            text = f"{self._me}: refusing server {hello.node}: {problem}"
            return (Log(Level.SUMMARY, text), Close(channel, problem))
        if hello.epoch > self._leading:
            return (HigherEpochProven(Epoch(hello.epoch)),) if self._is_later(hello.epoch) else ()
        if hello.epoch < self._leading:
            return (SendFrame(channel, Fenced(self._leading)),)
        node = NodeId(hello.node)
        return self.dispatch.hello(channel, node, hello.role, hello, now)

    def _is_later(self, epoch: int) -> bool:
        return self._leading < epoch <= self._leading + MAX_EPOCH_JUMP

    # --- frames to myself -----------------------------------------------------------------------------

    def _routed(self, steps: Steps, now: float, *, may_act: bool) -> Steps:
        """Deliver what goes to `OWN_CHANNEL`; pass everything else on."""
        result: Steps = ()
        for step in steps:
            if not isinstance(step, SendFrame) or step.channel != OWN_CHANNEL:
                result = (*result, step)
                continue
            frame = step.frame
            if isinstance(frame, Ping):
                frame = Pong(frame.nonce)
            if isinstance(frame, FROM_LEADER):
                more = self._from_leader(OWN_CHANNEL, self._me, frame, now)
            elif isinstance(frame, Slots) and not self._alone:
                continue
            else:
                result = (
                    *result,
                    *self._for_leader(FrameArrived(OWN_CHANNEL, frame), now, may_act=may_act),
                )
                continue
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
        """Something happened at this node itself: a run's end, a client's request."""
        steps: Steps = ()
        match event:
            case RunFinished() if self.execution is not None:
                steps = self.execution.run_finished(event.job, event.outcome, now)
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
        halves = (self.dispatch if may_act else None, self.execution, self.submission)
        moments = [half.next_deadline() for half in halves if half is not None]
        return min((moment for moment in moments if moment is not None), default=None)

    @property
    def holds(self) -> bool:
        """Whether frames wait for the lease."""
        return bool(self._held)

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
            len(self._held),
            self.dispatch.snapshot() if self.dispatch else None,
            self.execution.snapshot() if self.execution else None,
            self.submission.snapshot() if self.submission else None,
        )

    def validate(self) -> None:
        """Assert every half's invariants."""
        for half in (self.dispatch, self.execution, self.submission):
            if half is not None:
                half.validate()
        self._links.validate()
