"""The channels of a node: who is at the other end of each, and the one that it keeps to its leader (W2)."""

from __future__ import annotations

from cluster.core.effects import Close, Dial, HangUp, Steps
from cluster.core.events import ChannelId, ChannelOpened
from cluster.core.hello import Peer
from cluster.identity import Epoch, NodeId


class Links:
    """A table of open channels, and whom to dial.

    Attributes:
        target: the leader to be connected to, and the epoch to say HELLO with; None while leading.
        dialled: the open channel to it, if there is one.
    """

    def __init__(self) -> None:
        self.target: tuple[NodeId, Epoch] | None = None
        self.dialled: ChannelId | None = None
        self._peers: dict[ChannelId, Peer] = {}

    def __len__(self) -> int:
        """How many channels are open."""
        return len(self._peers)

    def follow(self, leader: NodeId, epoch: Epoch) -> Steps:
        """Dial this leader, unless that is being done already."""
        before, self.target = self.target, (leader, epoch)
        if before is not None and before[0] == leader:
            return ()
        self.dialled = None
        hang_up = () if before is None else (HangUp(f"server {leader} leads"),)
        return (*hang_up, Dial(leader))

    def leave(self, reason: str) -> Steps:
        """Dial nobody: this node leads itself."""
        before, self.target, self.dialled = self.target, None, None
        return () if before is None else (HangUp(reason),)

    def opened(self, event: ChannelOpened) -> Steps:
        """A channel is up. One to each peer is enough: a newer one replaces an older."""
        steps: Steps = tuple(
            Close(channel, "replaced by a newer channel")
            for channel, peer in self._peers.items()
            if peer.node == event.peer and peer.dialled == event.dialled
        )
        self._peers[event.channel] = Peer(event.peer, event.role, event.dialled)
        if not event.dialled:
            return steps
        if self.target is None or self.target[0] != event.peer:
            return (*steps, Close(event.channel, "not the leader any longer"))
        self.dialled = event.channel
        return steps

    def closed(self, channel: ChannelId) -> tuple[Peer | None, bool]:
        """A channel is gone: who was there, and whether it was the one to the leader."""
        to_leader = channel == self.dialled
        if to_leader:
            self.dialled = None
        return self._peers.pop(channel, None), to_leader

    def peer(self, channel: ChannelId) -> Peer | None:
        """The other end; None when the channel is unknown."""
        return self._peers.get(channel)

    def to(self, node: NodeId) -> ChannelId | None:
        """An open channel to this node, if there is one."""
        return next((channel for channel, peer in self._peers.items() if peer.node == node), None)

    def inbound(self) -> list[ChannelId]:
        """The channels that others dialled."""
        return [channel for channel, peer in self._peers.items() if not peer.dialled]

    def validate(self) -> None:
        """Assert what must hold between events."""
        assert self.dialled is None or self._peers[self.dialled].dialled
        assert self.dialled is None or self.target is not None
