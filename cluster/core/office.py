"""The leader's half behind its lease (L3): acted on while the lease holds, else held in order.

Gateways and workers have everything that is held, so a leader that resigns simply forgets it and closes its
channels; they say it again to the next one (W2, W7).
"""

from __future__ import annotations

from collections import deque

from cluster.config import WorkSettings
from cluster.core.dispatch import Dispatch
from cluster.core.effects import Close, HigherEpochProven, Level, Log, SendFrame, Steps
from cluster.core.events import OWN_CHANNEL, ChannelClosed, ChannelId, FrameArrived
from cluster.core.hello import Terms
from cluster.core.ledger import Ledger
from cluster.core.links import Links
from cluster.identity import MAX_EPOCH_JUMP, Epoch, NodeId, Role
from cluster.wire.messages import (
    Fenced,
    Finished,
    Hello,
    Ping,
    Pong,
    Progress,
    ResultAck,
    Returned,
    Slots,
    Submit,
    Withdraw,
)


class Office:
    """Holds a `Dispatch` while this node leads, and guards it.

    Attributes:
        dispatch: None while this node does not lead.
        epoch: the epoch that it leads, or led last.
    """

    def __init__(self, terms: Terms, ledger: Ledger, settings: WorkSettings, links: Links) -> None:
        self._terms = terms
        self._ledger = ledger
        self._settings = settings
        self._links = links
        self._held: deque[FrameArrived | ChannelClosed] = deque()
        self.dispatch: Dispatch | None = None
        self.epoch = Epoch(0)
        self.refused = 0
        """HELLOs whose sender was not taken on."""

    def __len__(self) -> int:
        """How many frames and closings are held."""
        return len(self._held)

    def enter(self, epoch: Epoch, now: float, awaited: frozenset[NodeId], own: Hello) -> None:
        """Start leading; this node's own HELLO is the first to be counted, once the lease holds (W7)."""
        self.epoch = epoch
        self.dispatch = Dispatch(self._settings, self._terms.me, epoch, now, awaited=awaited)
        self._held.clear()
        self._held.append(FrameArrived(OWN_CHANNEL, own))

    def leave(self) -> Steps:
        """Forget what is held and close what others dialled (L3)."""
        self.dispatch = None
        self._held.clear()
        return tuple(Close(channel, "no longer the leader") for channel in self._links.inbound())

    def arrived(self, event: FrameArrived, now: float, *, may_act: bool) -> Steps:
        """A frame for the leader's half."""
        if self.dispatch is None:
            return self._not_leading(event)
        if may_act and not self._held:
            return self._act_on(self.dispatch, event, now)
        if isinstance(event.frame, Progress):
            return ()  # nothing rests on it (W13)
        if len(self._held) < self._settings.held_max or event.channel == OWN_CHANNEL:
            self._held.append(
                event
            )  # of this node's own there is no other copy, and no more than it has slots
            return ()
        # Its sender has everything that is in it, and says it again on a new channel.
        return (Close(event.channel, "the leader without its lease holds too many frames"),)

    def closed(self, event: ChannelClosed, now: float, *, may_act: bool) -> Steps:
        """A channel that another node had dialled is gone."""
        if self.dispatch is None:
            return ()
        if may_act and not self._held:
            return self.dispatch.channel_closed(event.channel, event.reason, now)
        self._held.append(event)
        return ()

    def release_one(self, now: float) -> Steps:
        """The lease is back: act on the oldest thing held."""
        if self.dispatch is None or not self._held:
            return ()
        event = self._held.popleft()
        if isinstance(event, ChannelClosed):
            return self.dispatch.channel_closed(event.channel, event.reason, now)
        return self._act_on(self.dispatch, event, now)

    def _not_leading(self, event: FrameArrived) -> Steps:
        if isinstance(event.frame, Hello):
            return (
                SendFrame(event.channel, Fenced(self._ledger.durable.fence_epoch)),
                Close(event.channel, "this server does not lead"),
            )
        return ()

    def _act_on(self, dispatch: Dispatch, event: FrameArrived, now: float) -> Steps:
        frame = event.frame
        match frame:
            case Hello():
                return self._take_on(dispatch, event.channel, frame, now)
            case Fenced():
                return self._claimed(event.channel, frame.epoch)
            case (
                Submit()
                | Withdraw()
                | Finished()
                | Progress()
                | Returned()
                | Slots()
                | ResultAck()
                | Ping()
                | Pong()
            ):
                return dispatch.receive(event.channel, frame, now)
            case _:
                return ()

    def _take_on(self, dispatch: Dispatch, channel: ChannelId, hello: Hello, now: float) -> Steps:
        """Check a HELLO against the certificate and the configuration, then welcome it (W2, X2, G7)."""
        peer = self._links.peer(channel)
        if peer is None and channel != OWN_CHANNEL:
            return ()
        problem = self._terms.problem_with(peer, hello) if peer is not None else ""
        if problem:
            self.refused += 1
            text = f"{self._terms.me}: refusing server {hello.node}: {problem}"
            return (Log(Level.SUMMARY, text), Close(channel, problem))
        if hello.epoch > self.epoch:
            return self._claimed(channel, hello.epoch)
        if hello.epoch < self.epoch:
            return (SendFrame(channel, Fenced(self.epoch)),)
        return dispatch.hello(channel, NodeId(hello.node), hello.role, hello, now)

    def _claimed(self, channel: ChannelId, epoch: int) -> Steps:
        """A later epoch is said to be established: a voter is believed, whoever does not vote is not (L5).

        While the lease holds it can't be true. A voter that says so has a record that must be outrun.
        """
        if not self.epoch < epoch <= self.epoch + MAX_EPOCH_JUMP:
            return ()
        peer = self._links.peer(channel)
        if peer is None or peer.role is Role.PEER:
            return (HigherEpochProven(Epoch(epoch)),)
        self.refused += 1
        text = f"{self._terms.me}: {peer.role} {peer.node} claims epoch {epoch} of somebody: not believed"
        return (Log(Level.SUMMARY, text), Close(channel, "it claims an epoch that nobody leads"))
