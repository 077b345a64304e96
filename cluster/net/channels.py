"""All work channels of a node: the listener, the one dialler with reconnection, and the table (W2)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocol,
    IReactorTCP,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import ServerFactory
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from cluster.config import Member
from cluster.core.events import (
    ChannelClosed,
    ChannelId,
    ChannelMoved,
    ChannelOpened,
    DialFailed,
    Event,
    FrameArrived,
)
from cluster.errors import EnvironmentFault
from cluster.identity import NodeId, Role
from cluster.limits import JOINED_MAX
from cluster.net.channel import Channel
from cluster.net.listening import in_short_turns
from cluster.net.loglimit import LimitedLog
from cluster.net.tls import Identity
from cluster.wire.messages import Frame

HALF_OPEN_MAX = 64
"""Connections whose handshake is not done; one more closes the oldest of the address that has the most.

Each costs some hundred microseconds of public-key arithmetic, and one turn of the reactor does as many at
most: far less than a lease.
"""

CHANNELS_PER_PEER = 4
"""Open channels that one node dialled to us; one more closes its oldest. It needs one; the others linger."""

REDIAL_MIN_S = 0.02
REDIAL_MAX_S = 1.0
JITTER = 0.3
"""A wait before dialling again varies by this part of itself, either way."""

BACKLOG = 256

CONNECT_S = 2.0
"""How long a TCP connection may take to be made."""


def endpoints_of(reactor: IReactorTime, members: Iterable[Member]) -> dict[NodeId, IStreamClientEndpoint]:
    """How to reach each member that takes channels; names are resolved at each attempt."""
    return {
        NodeId(member.id): HostnameEndpoint(reactor, member.host, member.tcp, timeout=CONNECT_S)
        for member in members
        if member.tcp
    }


class Dialling:
    """What `Dial` asked for, until `HangUp`: one attempt, or one channel, or one wait at a time."""

    def __init__(self, to: NodeId) -> None:
        """Nothing is tried yet."""
        self.to = to
        self.failures = 0
        self.attempt: Deferred[IProtocol] | None = None
        self.channel: Channel | None = None
        self.wait: IDelayedCall | None = None

    def cancel(self) -> None:
        """No attempt and no wait any more."""
        if self.wait is not None and self.wait.active():
            self.wait.cancel()
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.cancel()


class _ChannelFactory(ServerFactory):
    """Makes channels; one for all that come to us, and one for each attempt to dial."""

    noisy = False

    def __init__(self, build: Callable[[str], Channel]) -> None:
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> Channel:  # noqa: N802
        """One connection, one channel."""
        return self._build(str(getattr(addr, "host", "")))


class Channels:
    """Opens, keeps and closes channels, and tells the core of each.

    Attributes:
        faults: what the other side of a connection did wrong, by reason.
        frames: arrived, by type; dropped: not sent, because the channel was crowded.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        cluster: str,
        me: NodeId,
        endpoints: Mapping[NodeId, IStreamClientEndpoint],
        members: frozenset[NodeId],
        tls: CertificateOptions,
        rng: random.Random,
        feed: Callable[[Event], None],
        joined_max: int = JOINED_MAX,
    ) -> None:
        """`endpoints` reach the peers; `members` may dial us, and workers, `joined_max` channels of them."""
        self.faults: Counter[str] = Counter()
        self.frames: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._reactor = reactor
        self._cluster = cluster
        self._me = me
        self._endpoints = dict(endpoints)
        self._members = members - {me}
        self._tls = tls
        self._rng = rng
        self._feed = feed
        self._joined_max = joined_max
        self._log = LimitedLog(reactor, Logger(namespace="cluster.net.channels"))
        self._last_number = 0
        self._half_open: dict[ChannelId, Channel] = {}
        self._open: dict[ChannelId, Channel] = {}
        self._dialling: Dialling | None = None
        self._port: IListeningPort | None = None

    @property
    def open_channels(self) -> int:
        """How many are open now."""
        return len(self._open)

    # --- what the driver asks for ------------------------------------------------------------------

    def send(self, channel: ChannelId, frame: Frame) -> None:
        """Send a frame; a channel that is closed swallows it.

        Raises:
            LocalProtocolError: the frame is too large.
        """
        if (found := self._open.get(channel)) is not None:
            found.send(frame)

    def close(self, channel: ChannelId, reason: str) -> None:
        """Close a channel; what is queued still leaves."""
        found = self._open.pop(channel, None)
        if found is None:
            return
        found.close()
        self._feed(ChannelClosed(channel, reason))
        self._after_dialled(found)

    def dial(self, to: NodeId) -> None:
        """Keep one channel to this node open; another one that was dialled is closed."""
        if self._dialling is not None:
            if self._dialling.to == to:
                return
            self.hang_up(f"dialling node {to} instead")
        self._dialling = Dialling(to)
        self._try(self._dialling)

    def hang_up(self, reason: str) -> None:
        """Dial no more, and close what was dialled."""
        dialling, self._dialling = self._dialling, None
        if dialling is None:
            return
        dialling.cancel()
        channel = dialling.channel
        if channel is None:
            return
        if channel.number in self._open:
            self.close(channel.number, reason)
        else:
            self._half_open.pop(channel.number, None)
            channel.abort(reason, "")

    # --- listening ---------------------------------------------------------------------------------

    def listen(self, interface: str, port: int) -> None:
        """Take connections of members.

        Raises:
            EnvironmentFault: the port is taken, or the address is not this machine's.
        """
        factory = cast(
            Any,  # a server factory, in all but its annotation
            TLSMemoryBIOFactory(self._tls, False, _ChannelFactory(self._accepted), self._reactor),
        )
        try:
            self._port = in_short_turns(
                IReactorTCP(self._reactor).listenTCP(port, factory, BACKLOG, interface)
            )
        except CannotListenError as error:
            raise EnvironmentFault(
                f"TCP port {port} of {interface} can't be bound ({error.socketError}); "
                f"is another node running here, and is this address the machine's own?"
            ) from error

    def stop(self) -> Deferred[None]:
        """Close everything; fires when the listening port is closed."""
        self.hang_up("stopping")
        for channel in (*self._half_open.values(), *self._open.values()):
            channel.close()
        self._half_open.clear()
        self._open.clear()
        port, self._port = self._port, None
        return succeed(None) if port is None else port.stopListening() or succeed(None)

    def _accepted(self, address: str) -> Channel:
        """Take a connection; whoever floods makes room for others, not they for it (X2)."""
        if len(self._half_open) >= HALF_OPEN_MAX:
            came = [channel for channel in self._half_open.values() if channel.dialled is None]
            for crowd, _count in Counter(channel.address for channel in came).most_common(1):
                oldest = next(channel for channel in came if channel.address == crowd)
                oldest.abort("too many connections at once", "half_open")
        return self._new_channel(None, address)

    def _new_channel(self, dialled: NodeId | None, address: str = "") -> Channel:
        self._last_number += 1
        channel = Channel(self._last_number, self, self._reactor, dialled, address)
        self._half_open[channel.number] = channel
        return channel

    # --- dialling ----------------------------------------------------------------------------------

    def _try(self, dialling: Dialling) -> None:
        endpoint = self._endpoints.get(dialling.to)
        if endpoint is None:
            self._dial_failed(dialling, f"node {dialling.to} takes no channels")
            return

        def build(_address: str) -> Channel:
            dialling.channel = self._new_channel(dialling.to)
            return dialling.channel

        factory = TLSMemoryBIOFactory(self._tls, True, _ChannelFactory(build), self._reactor)
        dialling.attempt = endpoint.connect(factory)
        dialling.attempt.addCallbacks(
            lambda _protocol: self._connected(dialling),
            lambda failure: self._not_connected(dialling, failure),
        )

    def _connected(self, dialling: Dialling) -> None:
        dialling.attempt = None
        if dialling is not self._dialling and dialling.channel is not None:
            self._half_open.pop(dialling.channel.number, None)
            dialling.channel.abort("not wanted any more", "")

    def _not_connected(self, dialling: Dialling, failure: Failure) -> None:
        dialling.attempt = None
        if dialling is not self._dialling or failure.check(CancelledError):
            return
        self._dial_failed(dialling, failure.getErrorMessage())

    def _dial_failed(self, dialling: Dialling, reason: str) -> None:
        self._feed(DialFailed(dialling.to, reason))
        self._try_later(dialling)

    def _try_later(self, dialling: Dialling) -> None:
        dialling.channel = None
        wait = min(REDIAL_MAX_S, REDIAL_MIN_S * 2 ** min(dialling.failures, 16))
        dialling.failures += 1
        wait *= 1 + self._rng.uniform(-JITTER, JITTER)
        dialling.wait = self._reactor.callLater(wait, self._try, dialling)

    def _after_dialled(self, channel: Channel) -> None:
        """A channel that we dialled is gone: dial again, soon if it was of use."""
        dialling = self._dialling
        if dialling is None or dialling.channel is not channel:
            return
        if channel.heard:
            dialling.failures = 0
        self._try_later(dialling)

    # --- what channels tell ------------------------------------------------------------------------

    def channel_opened(self, channel: Channel, identity: Identity) -> None:
        """Check whose it is, then tell the core (X2)."""
        self._half_open.pop(channel.number, None)
        if (problem := self._problem(channel, identity)) is not None:
            channel.abort(problem, "identity")
            return
        if channel.dialled is None:
            same = [c for c in self._open.values() if c.dialled is None and c.peer == identity.node]
            if len(same) >= CHANNELS_PER_PEER:
                self.close(same[0].number, "the node opened too many channels")
            elif identity.node not in self._members and not self._room_for_joined():
                text = f"{self._joined_max} channels of workers that are no members are open already"
                channel.abort(f"{text}: raise `ulimit -n`, or LimitNOFILE of the service", "joined")
                return
        self._open[channel.number] = channel
        self._feed(ChannelOpened(channel.number, identity.node, identity.role, channel.dialled is not None))

    def _room_for_joined(self) -> bool:
        """Whether one more worker's channel may open; its descriptor is kept from others. Old ones linger."""
        joined = [c for c in self._open.values() if c.dialled is None and c.peer not in self._members]
        if len(joined) < self._joined_max:
            return True
        for crowd, count in Counter(channel.peer for channel in joined).most_common(1):
            if count > 1:
                oldest = next(channel for channel in joined if channel.peer == crowd)
                self.close(oldest.number, "other workers need its place")
                return True
        return False

    def _problem(self, channel: Channel, identity: Identity) -> str | None:
        if identity.cluster != self._cluster:
            return f"its certificate is of cluster {identity.cluster}"
        # A worker needs no entry in anybody's member list: its certificate lets it in, and only dialling.
        joins = identity.role is Role.WORKER and channel.dialled is None and identity.node != self._me
        if identity.node not in self._members and not joins:
            return f"its certificate names node {identity.node}, which is not another member"
        if channel.dialled is not None and channel.dialled != identity.node:
            return f"its certificate names node {identity.node}, not node {channel.dialled}"
        return None

    def channel_frame(self, channel: Channel, frame: Frame) -> None:
        """Tell the core."""
        self.frames[type(frame).__name__] += 1
        self._feed(FrameArrived(channel.number, frame))

    def channel_moved(self, channel: Channel) -> None:
        """Tell the core."""
        if channel.number in self._open:
            self._feed(ChannelMoved(channel.number))

    def channel_dropped(self, frame: Frame) -> None:
        """Count it."""
        self.dropped[type(frame).__name__] += 1

    def channel_broken(self, channel: Channel, reason: str, fault: str) -> None:
        """Tell the core, count the peer's fault, and dial again if it was ours."""
        if fault:
            self.faults[fault] += 1
            self._log.warning(
                fault, "closed the channel with node {peer}: {reason}", peer=channel.peer, reason=reason
            )
        self._half_open.pop(channel.number, None)
        if self._open.pop(channel.number, None) is not None:
            self._feed(ChannelClosed(channel.number, reason))
            self._after_dialled(channel)
            return
        dialling = self._dialling
        if dialling is not None and dialling.channel is channel:
            self._dial_failed(dialling, reason)
